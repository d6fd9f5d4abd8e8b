// Package endpoint is the token endpoint that vendctl serve offers on this machine: programs
// that cannot sign for AWS get tokens from it as from any authorization server (RFC 6749
// section 4.4), or send their requests through a route that adds the token.
//
// A secret of this machine takes the place of the client secret. It keeps out the other users
// of the machine, web pages and servers that a program can be made to call.
package endpoint

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"tokenvendor/shared/client"
)

// secretHeader holds the local secret in requests of a route.
const secretHeader = "Token-Vendor-Local-Secret"

// bodyTime is how long a client may take to send a body. net/http also reads what is left of a body
// after the answer, so that without a limit a client that sends nothing more keeps its connection.
const bodyTime = 10 * time.Second

// Config configures a [Server]. Tokens and Secret are required.
type Config struct {
	// Tokens gets the tokens.
	Tokens *client.Client
	// Secret is the local secret.
	Secret string
	// Routes are reverse proxies by their names.
	Routes []Route
	// Socket means that the server listens on a Unix socket, whose file keeps others out, so
	// that the header Host says nothing.
	Socket bool
	// Log gets a line of JSON for each token in one Write, which programs wait for; nil: it is
	// discarded.
	Log io.Writer
	// Given is called after each token; nil: nothing is.
	Given func()
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Server is an [http.Handler]. It is safe for concurrent use.
type Server struct {
	cfg    Config
	secret [sha256.Size]byte
	routes map[string]http.Handler
	counts counts
	// targets sends the requests of routes.
	targets *http.Transport
	logMu   sync.Mutex
}

// New returns a Server. The error names the member or the route that is not valid.
func New(cfg Config) (*Server, error) {
	if cfg.Secret == "" {
		return nil, errors.New("the local secret is empty")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	s := &Server{cfg: cfg, secret: sha256.Sum256([]byte(cfg.Secret)), routes: make(map[string]http.Handler)}
	s.targets = &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 16, DisableCompression: true,
	}
	for _, route := range cfg.Routes {
		if err := route.check(); err != nil {
			return nil, err
		}
		if s.routes[route.Name] != nil {
			return nil, errors.New("the route " + route.Name + " is given twice")
		}
		s.routes[route.Name] = s.newProxy(route)
	}
	return s, nil
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // a test's writer has none
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if problem := s.foreign(r); problem != "" {
		s.counts.add("refused", "")
		answer(w, http.StatusForbidden, failure{Error: "access_denied", Description: problem})
		return
	}
	switch path := r.URL.Path; {
	case path == "/oauth2/token", path == "/oauth/token", path == "/token":
		s.serveToken(w, r)
	case strings.HasPrefix(path, "/r/"):
		s.serveRoute(w, r)
	case path == "/.well-known/openid-configuration", path == "/.well-known/oauth-authorization-server":
		s.serveMetadata(w, r)
	case path == "/jwks":
		answer(w, http.StatusOK, map[string][]string{"keys": {}})
	case path == "/healthz":
		answer(w, http.StatusOK, map[string]string{"status": "ok"})
	case path == "/metrics":
		s.counts.serve(w)
	default:
		answer(w, http.StatusNotFound, failure{Error: "invalid_request", Description: "there is no such path"})
	}
}

// foreign says why a request is not that of a program on this machine; empty: it may be. A
// browser names the page that sends a request, a proxy the program before it. A page whose host
// name was made to lead here (DNS rebinding) has another Host. Sec-Fetch-Mode is no such mark:
// the fetch of Node.js sends it.
func (s *Server) foreign(r *http.Request) string {
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "X-Forwarded-For", "Forwarded"} {
		if r.Header.Get(name) != "" {
			return "requests of web pages and proxies are refused: " + name
		}
	}
	if s.cfg.Socket {
		return ""
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if IsLoopback(strings.Trim(host, "[]")) {
		return ""
	}
	return "the host of the request is not this machine: use 127.0.0.1 or localhost"
}

// IsLoopback reports whether a host without a port is this machine.
func IsLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// known reports whether a text is the local secret. It takes the same time for any text.
func (s *Server) known(text string) bool {
	sum := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(sum[:], s.secret[:]) == 1
}

// failure is an error document (RFC 6749 section 5.2).
type failure struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	RequestID   string `json:"request_id,omitempty"`
}

func answer(w http.ResponseWriter, status int, document any) {
	text, err := json.Marshal(document)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	write(w, status, text)
}

func write(w http.ResponseWriter, status int, text []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// fail answers with the error of a token that could not be got.
func (s *Server) fail(w http.ResponseWriter, err error) {
	var e *client.Error
	if !errors.As(err, &e) {
		e = &client.Error{Code: "temporarily_unavailable", Description: "the request ended before there was a token"}
	}
	document := failure{Error: e.Code, Description: e.Description, RequestID: e.RequestID}
	status := e.Status
	switch {
	case e.Temporary() && status != http.StatusTooManyRequests:
		status, document.Error = http.StatusServiceUnavailable, "temporarily_unavailable"
	case status < http.StatusBadRequest, e.Code == "" && (status == http.StatusUnauthorized || status == http.StatusProxyAuthRequired):
		// None, or that of a proxy: it would say something about the program's own request.
		status = http.StatusBadGateway
	}
	if document.Error == "" || document.Error == "no_credentials" {
		document.Error = "server_error"
	}
	if status >= http.StatusTooManyRequests || e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int((e.RetryAfter+time.Second-1)/time.Second))))
	}
	answer(w, status, document)
}

// base returns the URL of this server as the request names it.
func base(r *http.Request) string {
	u := url.URL{Scheme: "http", Host: r.Host}
	return u.String()
}

// serveMetadata serves the metadata of RFC 8414. Its issuer is the address that the program
// uses, because libraries compare the two. There is nothing behind authorization_endpoint and
// jwks_uri, without which some libraries refuse it (the SDK of MCP, OpenID Connect).
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) {
	issuer := base(r)
	answer(w, http.StatusOK, map[string]any{
		"issuer":                                issuer,
		"token_endpoint":                        issuer + "/oauth2/token",
		"authorization_endpoint":                issuer + "/oauth2/authorize",
		"jwks_uri":                              issuer + "/jwks",
		"grant_types_supported":                 []string{"client_credentials"},
		"response_types_supported":              []string{},
		"token_endpoint_auth_methods_supported": []string{"client_secret_basic", "client_secret_post"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
	})
}
