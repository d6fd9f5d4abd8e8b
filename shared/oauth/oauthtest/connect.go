package oauthtest

import (
	"cmp"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"sync/atomic"
)

// ConnectProxy is an HTTP proxy that connects to servers by CONNECT (RFC 9110 section 9.3.6).
// The zero value is ready to use, as a handler of HTTP/1.1.
type ConnectProxy struct {
	// Credentials are a user and a password with a colon between them; empty: none are needed.
	Credentials string
	// Addresses are those of servers, by the host and port of CONNECT. A server without one is
	// dialled as its name says.
	Addresses map[string]string
	// Status is the answer to every request; 0: that of a proxy without a fault.
	Status int

	requests  atomic.Int64
	connected atomic.Int64
}

// Requests returns how many requests the proxy got.
func (p *ConnectProxy) Requests() int { return int(p.requests.Load()) }

// Connected returns how many connections the proxy made.
func (p *ConnectProxy) Connected() int { return int(p.connected.Load()) }

// ServeHTTP implements [http.Handler].
func (p *ConnectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.requests.Add(1)
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.Credentials))
	switch {
	case p.Status != 0:
		w.WriteHeader(p.Status)
		return
	case p.Credentials != "" && r.Header.Get("Proxy-Authorization") != want:
		w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	case r.Method != http.MethodConnect:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	server, err := net.Dial("tcp", cmp.Or(p.Addresses[r.Host], r.Host)) // #nosec G704 -- a proxy for tests
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = server.Close() }()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = client.Close() }()
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	p.connected.Add(1)
	go func() {
		// What the client sent since then may be in the buffer already.
		_, _ = io.Copy(server, buffered)
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
}
