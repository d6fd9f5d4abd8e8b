package app

import (
	"bytes"
	"context"
	"net"
	"net/http"

	"tokenvendor/shared/nowait"
)

// TuneRuntimeAPI sets t up for the requests of aws-lambda-go to the Lambda Runtime API. aws-lambda-go
// uses a copy of [http.DefaultTransport], and does not say how long an answer is. net/http then sends
// the head of the request, the answer and the end by three system calls, and the Runtime API wakes up
// for each. With t it sends them by one.
func TuneRuntimeAPI(t *http.Transport) {
	dial := nowait.Dial(new(net.Dialer).DialContext)
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &corkedConn{Conn: conn}, nil
	}
	t.DisableCompression = true // the Runtime API sends events as they are
}

// maxCorked is how many bytes of a request are buffered at most, or a little more.
const maxCorked = 64 << 10

// corkedConn buffers a chunked request (RFC 9112 section 7.1) until it is complete, as TCP_CORK of Linux
// does. One goroutine of net/http makes all calls of Write.
type corkedConn struct {
	net.Conn
	buffered []byte
}

// Write implements [net.Conn]. Both the head and the end of a chunked request end with an empty line.
func (c *corkedConn) Write(p []byte) (int, error) {
	const emptyLine = "\r\n\r\n"
	ends := bytes.HasSuffix(p, []byte(emptyLine))
	if len(c.buffered) == 0 {
		head := ends && bytes.Index(p, []byte(emptyLine)) == len(p)-len(emptyLine)
		if !head || !bytes.Contains(p, []byte("\r\nTransfer-Encoding: chunked\r\n")) {
			return c.Conn.Write(p)
		}
		ends = false
	}
	c.buffered = append(c.buffered, p...)
	if !ends && len(c.buffered) < maxCorked {
		return len(p), nil
	}
	_, err := c.Conn.Write(c.buffered)
	c.buffered = c.buffered[:0]
	if err != nil {
		return 0, err
	}
	return len(p), nil
}
