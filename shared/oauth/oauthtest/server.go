package oauthtest

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config configures a [Server]. The zero value is ready to use.
type Config struct {
	// Listener is where the server listens; nil: a free port of 127.0.0.1.
	Listener net.Listener
	// CA is the server's own authority; nil: a new one.
	CA *CA
	// Certificate is the server's; nil: one of its own authority for 127.0.0.1, ::1 and
	// localhost.
	Certificate *tls.Certificate
	// TLS, when not nil, changes the TLS configuration before the server starts.
	TLS func(*tls.Config)
	// Metadata, when not nil, changes the server's metadata before it is sent.
	Metadata func(map[string]any)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// NeverLock disables the lockout.
	NeverLock bool
}

// Server is an authorization server. It is safe for concurrent use.
type Server struct {
	cfg      Config
	ca       *CA
	endpoint endpoint
	url      string
	http     *http.Server
	done     chan struct{} // closed by Close
	close    func()

	connections atomic.Int64
	metadata    atomic.Int64 // requests

	mu       sync.Mutex
	requests []Request // guarded by mu
	fault    Fault     // guarded by mu
	faults   int       // how many more requests fault applies to, -1: all; guarded by mu
}

// TB is the part of *testing.T that [NewServer] needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// NewServer starts a server that is closed when the test ends.
func NewServer(tb TB, cfg Config) *Server {
	tb.Helper()
	s, err := Start(cfg)
	if err != nil {
		tb.Fatalf("oauthtest: %v", err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Start starts a server. The caller must close it.
func Start(cfg Config) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	ca := cfg.CA
	if ca == nil {
		made, err := NewCA("oauthtest root")
		if err != nil {
			return nil, err
		}
		ca = made
	}
	key, err := NewKey(P256)
	if err != nil {
		return nil, err
	}
	if cfg.Certificate == nil {
		issued, err := ca.Issue(Leaf{CommonName: "localhost", Hosts: []string{"localhost", "127.0.0.1", "::1"}, NotAfter: time.Now().AddDate(1, 0, 0)})
		if err != nil {
			return nil, err
		}
		certificate := issued.TLS()
		cfg.Certificate = &certificate
	}
	if cfg.Listener == nil {
		if cfg.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
	}
	s := &Server{cfg: cfg, ca: ca, url: "https://" + cfg.Listener.Addr().String(), done: make(chan struct{})}
	s.close = sync.OnceFunc(func() {
		close(s.done)
		_ = s.http.Close()
	})
	s.endpoint.key, s.endpoint.neverLock = key, cfg.NeverLock
	s.endpoint.verifier = verifier{issuer: s.url, roots: s.CAPool(), now: cfg.Now, clients: make(map[string]*registered), jtis: make(map[string]time.Time)}
	s.serve()
	return s, nil
}

func (s *Server) serve() {
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{*s.cfg.Certificate},
		// Mutual TLS uses the same host and path as every other method, so each client's
		// registration decides which certificate is valid, not the handshake.
		ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"http/1.1"},
	}
	if s.cfg.TLS != nil {
		s.cfg.TLS(config)
	}
	mux := http.NewServeMux()
	mux.HandleFunc(TokenPath, s.serveToken)
	mux.HandleFunc(XSUAAPath, s.serveToken)
	mux.HandleFunc("GET /.well-known/openid-configuration", s.serveMetadata)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.serveMetadata)
	mux.HandleFunc("GET /oauth2/certs", s.endpoint.serveKeys)
	s.http = &http.Server{
		Handler:           mux,
		TLSConfig:         config,
		ReadHeaderTimeout: 10 * time.Second,
		// Many tests provoke refused handshakes.
		ErrorLog: log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.connections.Add(1)
			}
		},
	}
	go func() { _ = s.http.ServeTLS(s.cfg.Listener, "", "") }()
}

// serveToken records the request, and answers it or lets the fault answer.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	request, body := readRequest(r)
	// A fault may read the body again.
	r.Body = io.NopCloser(bytes.NewReader(body))
	fault := s.record(request)
	// The servers log a correlation identifier for failed requests too.
	if request.Path == XSUAAPath {
		w.Header().Set("X-Vcap-Request-Id", rand.Text())
	} else {
		w.Header().Set("X-Ids-Id", rand.Text())
	}
	w.Header().Set("Server", "SAP")
	w.Header().Set("Cache-Control", "private,no-cache,no-store")
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.endpoint.answer(w, r, request) })
	if fault != nil {
		fault(w, r, next, s.done)
		return
	}
	next.ServeHTTP(w, r)
}

// record records a request and returns the fault that answers it, nil for none.
func (s *Server) record(r Request) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if s.faults == 0 {
		return nil
	}
	if s.faults > 0 {
		s.faults--
	}
	return s.fault
}

// serveMetadata answers as RFC 8414 section 3.2 and OpenID Connect Discovery do.
func (s *Server) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	s.metadata.Add(1)
	members := map[string]any{
		"issuer":                                s.Issuer(),
		"token_endpoint":                        s.TokenEndpoint(),
		"jwks_uri":                              s.url + "/oauth2/certs",
		"grant_types_supported":                 []string{"client_credentials"},
		"token_endpoint_auth_methods_supported": []string{"tls_client_auth", "client_secret_basic", "client_secret_post", "private_key_jwt"},
		"tls_client_certificate_bound_access_tokens": true,
		"response_types_supported":                   []string{"token"},
	}
	if s.cfg.Metadata != nil {
		s.cfg.Metadata(members)
	}
	writeJSON(w, http.StatusOK, members)
}

// Close stops the server and breaks off the answers in progress.
func (s *Server) Close() { s.close() }

// URL returns "https://" and the address.
func (s *Server) URL() string { return s.url }

// Issuer returns the issuer identifier, which is the URL.
func (s *Server) Issuer() string { return s.url }

// TokenEndpoint returns the URL of the token endpoint.
func (s *Server) TokenEndpoint() string { return s.url + TokenPath }

// CA returns the server's authority, which is also trusted for clients.
func (s *Server) CA() *CA { return s.ca }

// CAPEM returns the certificate of the server's authority in PEM.
func (s *Server) CAPEM() []byte { return []byte(CertificatePEM(s.ca.Certificate)) }

// CAPool returns a pool with the server's authority.
func (s *Server) CAPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.ca.Certificate)
	return pool
}

// Register registers a client. It replaces a client of the same ID and resets its counts.
func (s *Server) Register(c Client) {
	s.endpoint.mu.Lock()
	defer s.endpoint.mu.Unlock()
	s.endpoint.verifier.clients[c.ID] = &registered{Client: c.clone()}
}

// Update changes a client atomically, for a rotation under load. The client keeps its ID,
// its counts and its lock. change must not call the server. The error says that the client
// does not exist.
func (s *Server) Update(id string, change func(*Client)) error {
	s.endpoint.mu.Lock()
	defer s.endpoint.mu.Unlock()
	c := s.endpoint.verifier.clients[id]
	if c == nil {
		return errors.New("oauthtest: no such client")
	}
	changed := c.Client.clone()
	change(&changed)
	changed.ID = id
	c.Client = changed.clone()
	return nil
}

// SetSecrets replaces the secrets of a client; see [Server.Update].
func (s *Server) SetSecrets(id string, secrets ...string) error {
	return s.Update(id, func(c *Client) { c.Secrets = secrets })
}

// Misbehave applies f to every token request from now on, until [Server.Behave].
func (s *Server) Misbehave(f Fault) { s.setFault(f, -1) }

// MisbehaveNext applies f to the next n token requests.
func (s *Server) MisbehaveNext(n int, f Fault) { s.setFault(f, n) }

// Behave removes the fault.
func (s *Server) Behave() { s.setFault(nil, 0) }

func (s *Server) setFault(f Fault, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.faults = f, n
}

// Requests returns the token requests received so far, including those that a fault
// answered. The caller must not change them.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Connections returns how many connections were accepted.
func (s *Server) Connections() int { return int(s.connections.Load()) }

// MetadataRequests returns how often the metadata was requested.
func (s *Server) MetadataRequests() int { return int(s.metadata.Load()) }

// Exchanges returns how many tokens were issued to all clients.
func (s *Server) Exchanges() int {
	s.endpoint.mu.Lock()
	defer s.endpoint.mu.Unlock()
	n := 0
	for _, c := range s.endpoint.verifier.clients {
		n += c.exchanges
	}
	return n
}

// FailedLogons returns how many failed logons of a client were counted, including those
// while it was locked.
func (s *Server) FailedLogons(id string) int {
	s.endpoint.mu.Lock()
	defer s.endpoint.mu.Unlock()
	if c := s.endpoint.verifier.clients[id]; c != nil {
		return c.failedLogons
	}
	return 0
}
