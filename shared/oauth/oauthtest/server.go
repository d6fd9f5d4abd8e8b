package oauthtest

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// The paths of the token endpoint.
const (
	// TokenPath is that of SAP Cloud Identity Services.
	TokenPath = "/oauth2/token"
	// XSUAAPath is that of XSUAA, whose answers to a failed logon differ.
	XSUAAPath = "/oauth/token"
)

// Config configures a [Server]. The zero value is ready to use.
type Config struct {
	// Listener is where the server listens; nil: a free port of 127.0.0.1.
	Listener net.Listener
	// Certificate is the server's; nil: one of its own authority for
	// 127.0.0.1, ::1 and localhost.
	Certificate *tls.Certificate
	// ClientCAs are trusted for tls_client_auth; nil: the server's own.
	ClientCAs *x509.CertPool
	// TLS, when not nil, changes the TLS configuration before the start.
	TLS func(*tls.Config)
	// Metadata, when not nil, changes the server's metadata before it is sent.
	Metadata func(map[string]any)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// NeverLock switches the lock off.
	NeverLock bool
}

// Server is an authorization server. It is safe for concurrent use.
type Server struct {
	cfg      Config
	ca       *CA
	key      crypto.Signer // signs access tokens
	url      string
	http     *http.Server
	done     chan struct{} // closed by Close
	closeOne sync.Once

	mu       sync.Mutex
	clients  map[string]*registered // guarded by mu
	jtis     map[string]time.Time   // seen assertion ids and their end; guarded by mu
	requests []Request              // guarded by mu
	fault    Fault                  // guarded by mu
	faults   int                    // how many more requests it hits, -1: all; guarded by mu
	counts   counts                 // guarded by mu
}

// TB is what [NewServer] needs of a *testing.T.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// NewServer starts a server that ends with the test.
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
	ca, err := NewCA("oauthtest root")
	if err != nil {
		return nil, err
	}
	key, err := NewKey(P256)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, ca: ca, key: key, done: make(chan struct{}), clients: make(map[string]*registered), jtis: make(map[string]time.Time)}
	if s.cfg.ClientCAs == nil {
		s.cfg.ClientCAs = s.CAPool()
	}
	config, err := s.tlsConfig()
	if err != nil {
		return nil, err
	}
	if err := s.listen(config); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) tlsConfig() (*tls.Config, error) {
	certificate := s.cfg.Certificate
	if certificate == nil {
		issued, err := s.ca.Issue(Leaf{CommonName: "localhost", Hosts: []string{"localhost", "127.0.0.1", "::1"}, NotAfter: time.Now().AddDate(1, 0, 0)})
		if err != nil {
			return nil, err
		}
		own := issued.TLS()
		certificate = &own
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{*certificate},
		// Mutual TLS on the same host and path as everything else; which
		// certificate is good is decided per client, not here.
		ClientAuth: tls.RequestClientCert,
		NextProtos: []string{"http/1.1"},
	}
	if s.cfg.TLS != nil {
		s.cfg.TLS(config)
	}
	s.countHandshakes(config)
	return config, nil
}

func (s *Server) listen(config *tls.Config) error {
	listener := s.cfg.Listener
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	s.url = "https://" + listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle(TokenPath, http.HandlerFunc(s.serveToken))
	mux.Handle(XSUAAPath, http.HandlerFunc(s.serveToken))
	mux.HandleFunc("GET /.well-known/openid-configuration", s.serveMetadata)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", s.serveMetadata)
	mux.HandleFunc("GET /oauth2/certs", s.serveKeys)
	s.http = &http.Server{
		Handler:           mux,
		TLSConfig:         config,
		ReadHeaderTimeout: 10 * time.Second,
		// Refused handshakes are what many tests are about.
		ErrorLog:  log.New(io.Discard, "", 0),
		ConnState: s.countConnection,
	}
	go func() { _ = s.http.ServeTLS(listener, "", "") }()
	return nil
}

// Close ends the server and every answer that is under way.
func (s *Server) Close() {
	s.closeOne.Do(func() {
		close(s.done)
		_ = s.http.Close()
	})
}

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
