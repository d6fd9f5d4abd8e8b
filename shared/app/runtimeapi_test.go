package app

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// countedConn counts the calls of Write.
type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// TestCorkedConn: a request arrives as it was sent, and by one call of Write if its length is not
// known. The connection serves all requests one after the other.
func TestCorkedConn(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, string(body)+r.Trailer.Get("X-End"))
	}))
	defer server.Close()
	var writes, connections atomic.Int64
	transport := new(http.Transport)
	TuneRuntimeAPI(transport)
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		connections.Add(1)
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &corkedConn{Conn: countedConn{conn, &writes}}, err
	}
	defer transport.CloseIdleConnections()
	type unknownLength struct{ io.Reader }
	for _, tt := range []struct {
		name    string
		body    io.Reader
		trailer string
		want    string
		most    int64 // calls of Write
	}{
		{"no body", nil, "", "", 1},
		{"answer", unknownLength{strings.NewReader("answer")}, "", "answer", 1},
		{"lines in the answer", unknownLength{strings.NewReader("a\r\n\r\n0\r\n\r\n")}, "", "a\r\n\r\n0\r\n\r\n", 2},
		{"trailer", unknownLength{strings.NewReader("answer")}, "end", "answerend", 1},
		{"empty answer", unknownLength{strings.NewReader("")}, "", "", 1},
		{"known length", strings.NewReader("answer"), "", "answer", 1},
		{"known length, empty line", strings.NewReader("answer\r\n\r\n"), "", "answer\r\n\r\n", 1},
		{"40 KB", unknownLength{strings.NewReader(strings.Repeat("x", 40<<10))}, "", strings.Repeat("x", 40<<10), 1},
		{"1 MB", unknownLength{strings.NewReader(strings.Repeat("x", 1<<20))}, "", strings.Repeat("x", 1<<20), 1 << 10},
		{"answer after it", unknownLength{strings.NewReader("answer")}, "", "answer", 1},
	} {
		writes.Store(0)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, tt.body)
		if err != nil {
			t.Fatal(err)
		}
		if tt.trailer != "" {
			req.Trailer = http.Header{"X-End": {tt.trailer}}
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got %d bytes, %v; want %d", tt.name, len(got), err, len(tt.want))
		}
		if writes.Load() > tt.most {
			t.Errorf("%s: got %d calls of Write, want at most %d", tt.name, writes.Load(), tt.most)
		}
	}
	if connections.Load() != 1 {
		t.Errorf("got %d connections, want 1", connections.Load())
	}
}

// TestCorkedConnReportsErrors: what is buffered is lost with the connection, and net/http learns it.
func TestCorkedConnReportsErrors(t *testing.T) {
	client, server := net.Pipe()
	_ = server.Close()
	c := &corkedConn{Conn: client}
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
		t.Errorf("got %v for what is buffered", err)
	}
	if n, err := io.WriteString(c, "0\r\n\r\n"); n != 0 || err == nil {
		t.Errorf("got %d, %v; want an error", n, err)
	}
}
