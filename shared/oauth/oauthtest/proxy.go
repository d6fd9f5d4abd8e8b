package oauthtest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// ProxyConfig configures a [Proxy].
type ProxyConfig struct {
	// Target is the URL of the server, http or https, without a path. Required.
	Target string
	// CA issues the proxy's certificate for localhost, 127.0.0.1 and ::1, and verifies an
	// https server. Required.
	CA *CA
	// KeepAlive keeps every other connection open after its first request, to find clients
	// that leave connections behind. A request on an open connection is not affected by
	// a trouble of connecting.
	KeepAlive bool
}

// Proxy is a TLS reverse proxy in front of any server. It injects a [Trouble]. It is safe
// for concurrent use.
type Proxy struct {
	address      string
	http         *http.Server
	forward      http.Handler
	certificates [connectFaults]*tls.Certificate // nil: the same as without a trouble
	done         chan struct{}                   // closed by Close
	hold         [2]net.Conn                     // keeps the port while it is closed
	work         sync.WaitGroup

	met      atomic.Int64
	hidden   atomic.Int64
	strayed  atomic.Int64
	requests atomic.Int64

	mu          sync.Mutex
	listener    net.Listener // nil: the port is closed; guarded by mu, as the fields below
	trouble     Trouble
	unanswered  map[net.Conn]struct{} // connections that are silent until Close
	closeCalled bool
}

// StartProxy starts a proxy. The caller must close it.
func StartProxy(cfg ProxyConfig) (*Proxy, error) {
	target, err := url.Parse(cfg.Target)
	if err != nil || target.Host == "" || cfg.CA == nil {
		return nil, errors.New("oauthtest: a proxy needs the URL of its server and an authority")
	}
	p := &Proxy{done: make(chan struct{}), unanswered: make(map[net.Conn]struct{}), forward: forward(target, cfg.CA)}
	if p.certificates, err = proxyCertificates(cfg.CA); err != nil {
		return nil, err
	}
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	p.address = p.listener.Addr().String()
	if p.hold, err = holdPort(p.listener); err != nil {
		return nil, errors.Join(err, p.listener.Close())
	}
	p.http = &http.Server{
		Handler: p, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: p.certificate,
			// Clients meet the handshake of a server with mutual TLS. The certificate is not
			// forwarded.
			ClientAuth: tls.RequestClientCert,
			// A client would not verify the certificate again when it resumes a session.
			SessionTicketsDisabled: true,
		},
	}
	// A request on an open connection would not meet a trouble of connecting.
	p.http.SetKeepAlivesEnabled(cfg.KeepAlive)
	p.serve(p.listener)
	return p, nil
}

// holdPort returns both ends of a connection to the listener. While they are open, the
// system gives the listener's port to no other socket that asks for a free one.
func holdPort(listener net.Listener) (ends [2]net.Conn, err error) {
	if ends[0], err = net.Dial("tcp", listener.Addr().String()); err != nil {
		return ends, err
	}
	for {
		if ends[1], err = listener.Accept(); err != nil {
			return ends, errors.Join(err, ends[0].Close())
		}
		if ends[1].RemoteAddr().String() == ends[0].LocalAddr().String() {
			return ends, nil
		}
		_ = ends[1].Close() // a stranger's
	}
}

// proxyCertificates issues the valid certificate and those of the connect faults.
func proxyCertificates(ca *CA) (certificates [connectFaults]*tls.Certificate, err error) {
	other, err := NewCA("strangers")
	if err != nil {
		return certificates, err
	}
	valid := Leaf{CommonName: "proxy", Hosts: []string{"localhost", "127.0.0.1", "::1"}}
	expired := valid
	expired.NotAfter = time.Now().Add(-time.Minute)
	expired.NotBefore = expired.NotAfter.AddDate(0, 0, -1)
	for fault, from := range map[connectFault]struct {
		ca   *CA
		leaf Leaf
	}{
		connected:          {ca, valid},
		unknownAuthority:   {other, valid},
		expiredCertificate: {ca, expired},
		wrongHost:          {ca, Leaf{CommonName: "proxy", Hosts: []string{"other.example"}}},
	} {
		issued, err := from.ca.Issue(from.leaf)
		if err != nil {
			return certificates, err
		}
		certificate := issued.TLS()
		certificates[fault] = &certificate
	}
	return certificates, nil
}

// forward returns a handler that forwards requests unchanged, including Host, which AWS
// signs.
func forward(target *url.URL, ca *CA) http.Handler {
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{
			TLSClientConfig:    &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DisableCompression: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Second,
		},
		// A connection that the server breaks is broken for the client too.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
}

// URL returns "https://" and the address, which never changes.
func (p *Proxy) URL() string { return "https://" + p.address }

// Make injects t from now on and replaces the trouble before it. Connections and requests
// that already met a trouble keep it. Make fails if the proxy is closed, or if it cannot
// listen at its address again.
func (p *Proxy) Make(t Trouble) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closeCalled {
		return net.ErrClosed
	}
	p.trouble = t
	if t.connect == refused {
		if p.listener != nil {
			_ = p.listener.Close()
			p.listener = nil
		}
		return nil
	}
	if p.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", p.address)
	if err != nil {
		return err
	}
	p.listener = listener
	p.serve(listener)
	return nil
}

// Met returns how many connections and requests met a trouble. Refused connections are not
// counted.
func (p *Proxy) Met() int { return int(p.met.Load()) }

// Hidden returns how many answers of status 401 a trouble may have kept from the client,
// which then cannot know of its failed logon.
func (p *Proxy) Hidden() int { return int(p.hidden.Load()) }

// Strayed returns how many requests followed a redirect.
func (p *Proxy) Strayed() int { return int(p.strayed.Load()) }

// Close stops the proxy and closes its connections.
func (p *Proxy) Close() {
	p.mu.Lock()
	if p.closeCalled {
		p.mu.Unlock()
		return
	}
	p.closeCalled = true
	close(p.done)
	for connection := range p.unanswered {
		_ = connection.Close()
	}
	p.mu.Unlock()
	_, _ = p.hold[0].Close(), p.hold[1].Close()
	_ = p.http.Close()
	p.work.Wait()
}

func (p *Proxy) serve(listener net.Listener) {
	p.work.Go(func() { _ = p.http.ServeTLS(faultyListener{listener, p}, "", "") })
}

// current returns the current trouble.
func (p *Proxy) current() Trouble {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trouble
}

func (p *Proxy) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	fault := p.current().connect
	if c := p.certificates[fault]; c != nil && fault != connected {
		p.met.Add(1)
		return c, nil
	}
	return p.certificates[connected], nil
}

// ServeHTTP forwards a request, or lets the fault answer it.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A server notices that its client closed the connection only after the body was read.
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if r.URL.Path == strayPath {
		p.strayed.Add(1)
		http.NotFound(w, r)
		return
	}
	if p.requests.Add(1)%2 == 0 {
		w.Header().Set("Connection", "close")
	}
	fault := p.current().fault
	if fault == nil {
		p.forward.ServeHTTP(w, r)
		return
	}
	p.met.Add(1)
	fault(w, r, http.HandlerFunc(p.forwardCounting), p.done)
}

// forwardCounting forwards a request and counts the answer if it is a 401.
func (p *Proxy) forwardCounting(w http.ResponseWriter, r *http.Request) {
	recorded := &statusRecorder{ResponseWriter: w}
	defer func() {
		if recorded.status == http.StatusUnauthorized {
			p.hidden.Add(1)
		}
	}()
	p.forward.ServeHTTP(recorded, r)
}

// statusRecorder records the status of an answer.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// faultyListener injects the connect faults that precede TLS.
type faultyListener struct {
	net.Listener
	proxy *Proxy
}

// Accept returns the next connection that TLS may start on.
func (l faultyListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		switch l.proxy.current().connect {
		case silent:
			l.proxy.met.Add(1)
			l.proxy.neverAnswer(connection)
		case resetConnection:
			l.proxy.met.Add(1)
			if tcp, ok := connection.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = connection.Close()
		case plaintext:
			l.proxy.met.Add(1)
			_, _ = io.WriteString(connection, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
			_ = connection.Close()
		default:
			return connection, nil
		}
	}
}

// neverAnswer keeps a connection open until Close.
func (p *Proxy) neverAnswer(connection net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closeCalled {
		_ = connection.Close()
		return
	}
	p.unanswered[connection] = struct{}{}
}
