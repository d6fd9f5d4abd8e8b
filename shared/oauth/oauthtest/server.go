package oauthtest

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
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

const (
	// lockAfter failed logons a client is locked for lockTime, as at SAP Cloud
	// Identity Services.
	lockAfter = 5
	lockTime  = time.Hour

	defaultLifetime = time.Hour
	maxForm         = 64 << 10
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
	conns    int                    // connections accepted; guarded by mu
	metadata int                    // metadata requests; guarded by mu
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
	return s, s.listen(config)
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

func (s *Server) countConnection(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		s.mu.Lock()
		s.conns++
		s.mu.Unlock()
	}
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

// Request is a token request as it was received. It holds what the client
// sent, secrets included.
type Request struct {
	Path        string
	Header      http.Header
	Form        url.Values
	Certificate *x509.Certificate // nil: none was offered
	Resumed     bool              // the TLS session was resumed
	TLSVersion  uint16

	chain []*x509.Certificate // what came with Certificate
}

// Requests returns the token requests received so far, misbehaved ones included.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Connections returns how many connections were accepted.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// MetadataRequests returns how often the metadata was asked for.
func (s *Server) MetadataRequests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.metadata
}

// Exchanges returns how many tokens were issued, to all clients together.
func (s *Server) Exchanges() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.clients {
		n += c.exchanges
	}
	return n
}

// FailedLogons returns how many failed logons were counted for a client.
func (s *Server) FailedLogons(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[id]; c != nil {
		return c.failedLogons
	}
	return 0
}

// Locked reports whether a client is locked now.
func (s *Server) Locked(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	return c != nil && s.cfg.Now().Before(c.lockedUntil)
}

// Register registers a client, or replaces one of the same ID with its counts
// reset.
func (s *Server) Register(c Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[c.ID] = &registered{Client: c}
}

// SetSecrets replaces the secrets of a client and keeps its counts.
func (s *Server) SetSecrets(id string, secrets ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	if c == nil {
		return errors.New("oauthtest: no such client")
	}
	c.Secrets = secrets
	return nil
}

// Client is a registered client.
type Client struct {
	// ID is the client identifier; required.
	ID string
	// Methods are the registered names of the methods it may use; required.
	Methods []string
	// Secrets are good side by side.
	Secrets []string
	// RawBasic makes client_secret_basic be read without form-decoding, as
	// XSUAA does.
	RawBasic bool
	// SubjectDN is the subject of the certificate for tls_client_auth, as
	// pkix.Name prints it.
	SubjectDN string
	// Thumbprint is the SHA-256 of the certificate for
	// self_signed_tls_client_auth, in hex; see [Thumbprint].
	Thumbprint string
	// Keys verify assertions, by kid; the kid "" is for assertions without one.
	Keys map[string]crypto.PublicKey
	// Audiences are taken in assertions; nil: the issuer and the token endpoint.
	Audiences []string
	// Scopes and Resources may be asked for; nil: any.
	Scopes, Resources []string
	// Lifetime is that of its tokens; zero: an hour.
	Lifetime time.Duration
	// AppTID must be sent as app_tid; empty: need not.
	AppTID string
}

// registered is a client with its counts, which the server's mu guards.
type registered struct {
	Client
	exchanges    int
	failedLogons int
	inARow       int
	lockedUntil  time.Time
}

// Thumbprint returns the SHA-256 of a certificate in hex.
func Thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// String names the path only: the rest holds secrets.
func (r Request) String() string { return "POST " + r.Path }
