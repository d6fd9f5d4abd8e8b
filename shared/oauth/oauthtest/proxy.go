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
	// CA issues the certificate of the proxy for localhost, 127.0.0.1 and ::1, and is
	// the authority that an https server is verified against. Required.
	CA *CA
	// Clients are certificates that callers may show, with their keys: the proxy shows
	// the server the same one. Any other is not shown.
	Clients []*Issued
	// Listener is where the proxy listens; nil: a free port of 127.0.0.1.
	Listener net.Listener
	// KeepAlive lets every other connection live on after its first request, so that it
	// shows who leaves them behind. Who comes on one of them meets the trouble of those
	// who ask, not of those who connect.
	KeepAlive bool
}

// Proxy stands with TLS in front of one server, anybody's, and makes [Trouble] in its
// place. It is safe for concurrent use.
type Proxy struct {
	address string
	http    *http.Server
	roots   *x509.CertPool
	keep    bool
	clients map[string]http.Handler // by the DER of the certificate; "" for none
	shown   [greetings]*tls.Certificate
	done    chan struct{} // closed by Close
	work    sync.WaitGroup
	met     atomic.Int64
	hidden  atomic.Int64
	strayed atomic.Int64
	asked   atomic.Int64

	mu       sync.Mutex
	listener net.Listener          // guarded by mu, as what follows
	trouble  Trouble               // what is met now
	held     map[net.Conn]struct{} // connections that never get an answer
	closed   bool
}

// NewProxy starts a proxy that ends with the test.
func NewProxy(tb TB, cfg ProxyConfig) *Proxy {
	tb.Helper()
	p, err := StartProxy(cfg)
	if err != nil {
		tb.Fatalf("oauthtest: %v", err)
	}
	tb.Cleanup(p.Close)
	return p
}

// StartProxy starts a proxy. The caller must close it.
func StartProxy(cfg ProxyConfig) (*Proxy, error) {
	target, err := url.Parse(cfg.Target)
	if err != nil || target.Host == "" || cfg.CA == nil {
		return nil, errors.New("oauthtest: a proxy needs the URL of its server and an authority")
	}
	p := &Proxy{
		roots: x509.NewCertPool(), done: make(chan struct{}), listener: cfg.Listener,
		held: make(map[net.Conn]struct{}), keep: cfg.KeepAlive,
	}
	p.roots.AddCert(cfg.CA.Certificate)
	p.clients = map[string]http.Handler{"": p.forward(target, nil)}
	for _, client := range cfg.Clients {
		p.clients[string(client.Chain[0].Raw)] = p.forward(target, client)
	}
	if err := p.certificates(cfg.CA); err != nil {
		return nil, err
	}
	if p.listener == nil {
		if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	p.address = p.listener.Addr().String()
	p.http = &http.Server{
		Handler: p, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, ClientAuth: tls.RequestClientCert, GetCertificate: p.certificate,
			// A resumed session would not look at the certificate again.
			SessionTicketsDisabled: true,
		},
	}
	// Unless it is asked for otherwise, every request connects: one on a connection of
	// before would not meet what happens to those who connect now.
	p.http.SetKeepAlivesEnabled(p.keep)
	p.serve(p.listener)
	return p, nil
}

// certificates makes those that the proxy shows: the good one, and the wrong ones.
func (p *Proxy) certificates(ca *CA) error {
	strangers, err := NewCA("strangers")
	if err != nil {
		return err
	}
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	past := time.Now().Add(-time.Minute)
	for greeting, make := range map[greeting]func() (*Issued, error){
		welcome:  func() (*Issued, error) { return ca.Issue(Leaf{CommonName: "proxy", Hosts: hosts}) },
		stranger: func() (*Issued, error) { return strangers.Issue(Leaf{CommonName: "proxy", Hosts: hosts}) },
		expired: func() (*Issued, error) {
			return ca.Issue(Leaf{CommonName: "proxy", Hosts: hosts, NotBefore: past.AddDate(0, 0, -1), NotAfter: past})
		},
		misnamed: func() (*Issued, error) {
			return ca.Issue(Leaf{CommonName: "proxy", Hosts: []string{"other.example"}})
		},
	} {
		issued, err := make()
		if err != nil {
			return err
		}
		certificate := issued.TLS()
		p.shown[greeting] = &certificate
	}
	return nil
}

// forward passes requests on as they are, with the caller's Host (AWS signs it), and
// with a certificate if there is one.
func (p *Proxy) forward(target *url.URL, client *Issued) http.Handler {
	config := &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12}
	if client != nil {
		config.Certificates = []tls.Certificate{client.TLS()}
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host
			r.Out.Host = r.In.Host
		},
		Transport: &http.Transport{TLSClientConfig: config, DisableCompression: true, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Second},
		// A server that breaks off breaks off here, too.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     log.New(io.Discard, "", 0),
	}
}

// URL returns "https://" and the address, which stays the same.
func (p *Proxy) URL() string { return "https://" + p.address }

// Make makes trouble from now on, until it is told to make another; the zero Trouble
// is none. What has met trouble goes through with it. It fails if the proxy is closed, or
// if its address can't be had back after nobody listened there.
func (p *Proxy) Make(t Trouble) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	p.trouble = t
	if t.greeting == refusal {
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

// Met returns how many connections and requests met trouble. Who was refused is not
// seen.
func (p *Proxy) Met() int { return int(p.met.Load()) }

// Hidden returns how many refusals (status 401) met trouble that may have kept them from
// the caller, who then cannot know.
func (p *Proxy) Hidden() int { return int(p.hidden.Load()) }

// Strayed returns how many requests followed a redirect.
func (p *Proxy) Strayed() int { return int(p.strayed.Load()) }

// Close ends the proxy and whatever it holds.
func (p *Proxy) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	close(p.done)
	for connection := range p.held {
		_ = connection.Close()
	}
	p.mu.Unlock()
	_ = p.http.Close()
	p.work.Wait()
}

func (p *Proxy) serve(listener net.Listener) {
	p.work.Go(func() { _ = p.http.ServeTLS(door{listener, p}, "", "") })
}

// now returns the trouble of now.
func (p *Proxy) now() Trouble {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trouble
}

func (p *Proxy) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := p.shown[p.now().greeting]; c != nil {
		if c != p.shown[welcome] {
			p.met.Add(1)
		}
		return c, nil
	}
	return p.shown[welcome], nil
}

// ServeHTTP passes a request on, or lets it meet its fault.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Read first: a server notices that its client went away only behind the body.
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
	if p.asked.Add(1)%2 == 0 {
		w.Header().Set("Connection", "close")
	}
	next := p.clients[""]
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		if shown, known := p.clients[string(r.TLS.PeerCertificates[0].Raw)]; known {
			next = shown
		}
	}
	if fault := p.now().fault; fault != nil {
		p.met.Add(1)
		fault(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen := &statusSeen{ResponseWriter: w}
			defer func() {
				if seen.status == http.StatusUnauthorized {
					p.hidden.Add(1)
				}
			}()
			next.ServeHTTP(seen, r)
		}), p.done)
		return
	}
	next.ServeHTTP(w, r)
}

// statusSeen keeps the status of an answer that it passes on.
type statusSeen struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (s *statusSeen) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (s *statusSeen) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// door is where connections come in.
type door struct {
	net.Listener
	proxy *Proxy
}

// Accept returns the next connection that gets as far as TLS.
func (d door) Accept() (net.Conn, error) {
	for {
		connection, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		switch d.proxy.now().greeting {
		case silence:
			d.proxy.met.Add(1)
			d.proxy.hold(connection)
		case hangUp:
			d.proxy.met.Add(1)
			if tcp, ok := connection.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = connection.Close()
		case noTLS:
			d.proxy.met.Add(1)
			_, _ = io.WriteString(connection, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
			_ = connection.Close()
		default:
			return connection, nil
		}
	}
}

func (p *Proxy) hold(connection net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = connection.Close()
		return
	}
	p.held[connection] = struct{}{}
}
