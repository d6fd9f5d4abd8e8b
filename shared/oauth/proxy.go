package oauth

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/nowait"
)

// proxyTimeout limits the time until the proxy has connected to the server. It is longer than
// dialTimeout, because the proxy also resolves the server's name.
const proxyTimeout = 3 * time.Second

const proxySilent = "the proxy did not answer in time"

// Proxy is an HTTP proxy that connects to authorization servers by CONNECT (RFC 9110 section
// 9.3.6). It sees the server's name and port, and nothing of the TLS connection. It prints
// without its credentials.
type Proxy struct {
	address string // host and port
	// host is the name that the certificate of an https proxy must have; empty: an http proxy.
	host string
	// authorization is the header Proxy-Authorization; empty: none.
	authorization Secret
}

// ParseProxy parses the URL of a proxy: http or https, with a host and a port, and perhaps a
// user and a password for Basic authentication (RFC 7617). The error does not contain the URL.
func ParseProxy(raw string) (*Proxy, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || strings.ContainsFunc(raw, notURLByte):
		return nil, errors.New("not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("neither an http nor an https URL")
	case u.Hostname() == "" || strings.Contains(u.Hostname(), "%") || u.Port() == "" || !validPort(u):
		return nil, errors.New("has no valid host and port")
	case strings.Trim(u.Path, "/") != "" || strings.ContainsAny(raw, "?#"):
		return nil, errors.New("has more than a host and a port")
	}
	p := &Proxy{address: u.Host}
	if u.Scheme == "https" {
		p.host = u.Hostname()
	}
	if u.User != nil {
		password, _ := u.User.Password()
		if strings.Contains(u.User.Username(), ":") || strings.ContainsFunc(u.User.Username()+password, controlByte) {
			return nil, errors.New("has a user or password that Basic authentication cannot send")
		}
		p.authorization = NewSecret("Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	return p, nil
}

func controlByte(r rune) bool { return r < ' ' || r == 0x7f }

// proxyError is the error of a connection that the proxy did not make. Its text is
// [Error.Detail].
type proxyError string

func (e proxyError) Error() string { return string(e) }

// proxyFailure returns the failure of an attempt that did not get past the proxy; nil: err is
// another error.
func (t *attemptTrace) proxyFailure(err error) *Error {
	var failed proxyError
	switch {
	case errors.As(err, &failed):
		return &Error{Reason: Unreachable, Detail: failed.Error()}
	case t.atProxy.Load() && isTimeout(err):
		return &Error{Reason: Unreachable, Detail: proxySilent}
	}
	return nil
}

// connector returns a [dialFunc] that connects to servers through the policy's proxy.
func (p AddressPolicy) connector() dialFunc {
	dial := p.Dial
	if dial == nil {
		d := p.dialer()
		d.dial = nowait.Dial(new(net.Dialer).DialContext) // the policy is about servers
		dial = d.connect
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, _, err := net.SplitHostPort(address); err != nil || !p.AllowsHost(host) {
			return nil, errAddress
		}
		trace := traceOf(ctx)
		trace.atProxy.Store(true)
		ctx, cancel := context.WithTimeout(ctx, proxyTimeout)
		defer cancel()
		conn, err := dial(ctx, network, p.Proxy.address)
		if err != nil {
			return nil, proxyError("the proxy could not be reached: " + dialDetail(err))
		}
		tunnel, err := p.Proxy.open(ctx, conn, address)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		trace.atProxy.Store(false)
		return tunnel, nil
	}
}

// open makes the proxy connect conn to address. It returns the connection for the server.
func (p *Proxy) open(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	if p.host != "" {
		secure := tls.Client(conn, &tls.Config{ServerName: p.host, MinVersion: tls.VersionTLS12})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, failedAtProxy(err, "the TLS handshake with the proxy failed")
		}
		conn = secure
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{"User-Agent": {defaultUserAgent}}}
	if !p.authorization.IsZero() {
		req.Header.Set("Proxy-Authorization", p.authorization.Expose())
	}
	if err := req.Write(conn); err != nil {
		return nil, failedAtProxy(err, "the proxy closed the connection")
	}
	reader := bufio.NewReader(io.LimitReader(conn, maxHeaderBytes))
	resp, err := http.ReadResponse(reader, req) //nolint:bodyclose // the body would be read to its end
	switch {
	case err != nil:
		return nil, failedAtProxy(err, "the proxy gave no valid answer")
	case resp.StatusCode/100 != 2:
		return nil, p.refused(resp.StatusCode)
	case reader.Buffered() > 0:
		// In TLS, the server does not send the first byte.
		return nil, proxyError("the proxy gave no valid answer")
	case !stop():
		return nil, failedAtProxy(context.Cause(ctx), "")
	}
	return conn, nil
}

// refused returns the error of the proxy's answer.
func (p *Proxy) refused(status int) error {
	text := "the proxy did not connect to it"
	if status == http.StatusProxyAuthRequired {
		text = "the proxy wants credentials"
		if !p.authorization.IsZero() {
			text = "the proxy wants other credentials than it was sent"
		}
	}
	return proxyError(text + ", status " + strconv.Itoa(status))
}

// failedAtProxy drops the text of err, which may contain what the proxy sent.
func failedAtProxy(err error, detail string) error {
	if isTimeout(err) {
		return proxyError(proxySilent)
	}
	return proxyError(detail)
}
