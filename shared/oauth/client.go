package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Method is a client authentication method by its registered name (RFC 7591
// section 2, RFC 8705 section 2).
type Method string

// The methods this package speaks.
const (
	ClientSecretPost        Method = "client_secret_post"
	ClientSecretBasic       Method = "client_secret_basic"
	PrivateKeyJWT           Method = "private_key_jwt"
	TLSClientAuth           Method = "tls_client_auth"
	SelfSignedTLSClientAuth Method = "self_signed_tls_client_auth"
	// AWSWebIdentity is our own name for a private_key_jwt whose assertion AWS STS
	// issues to the vendor's own role; see [IssuedAssertion].
	AWSWebIdentity Method = "aws_web_identity"
)

// MutualTLS reports whether the method proves the client by its certificate in
// the TLS handshake (RFC 8705).
func (m Method) MutualTLS() bool { return m == TLSClientAuth || m == SelfSignedTLSClientAuth }

// Config describes a client as it is registered at an authorization server.
type Config struct {
	// ID is the client identifier (RFC 6749 section 2.2); required.
	ID string
	// TokenEndpoint is the https URL of the token endpoint; required.
	TokenEndpoint string
	// Method names how the client authenticates; for logs and cache keys.
	Method Method
	// Authenticator proves the client's identity in each attempt; required.
	Authenticator Authenticator
	// Certificate is offered in the TLS handshake, with its whole chain. Nil:
	// none is offered.
	Certificate *tls.Certificate
	// RootCAs are whom the client believes to be the server. Nil: the system's.
	RootCAs *x509.CertPool
	// Addresses says which addresses may be dialled. The zero value: public
	// ones only.
	Addresses AddressPolicy
}

// Client is a registered client that is ready to authenticate. It has
// connections and TLS state of its own, because both carry the identity of its
// certificate: two clients, or two versions of one client's credential, never
// share a [Client]. It is immutable and safe for concurrent use.
type Client struct {
	id       string
	endpoint *url.URL
	url      string // of endpoint
	method   Method
	auth     Authenticator
	http     *http.Client
}

// NewClient returns the client that cfg describes. The error names the field.
func NewClient(cfg Config) (*Client, error) {
	endpoint, err := ParseEndpoint(cfg.TokenEndpoint)
	switch {
	case err != nil:
		return nil, err
	case cfg.ID == "":
		return nil, errors.New("client_id is empty")
	case cfg.Authenticator == nil:
		return nil, errors.New("no client authentication")
	}
	return &Client{
		id:       cfg.ID,
		endpoint: endpoint,
		url:      endpoint.String(),
		method:   cfg.Method,
		auth:     cfg.Authenticator,
		http:     NewHTTPClient(cfg.RootCAs, cfg.Certificate, cfg.Addresses),
	}, nil
}

// Method returns how the client authenticates.
func (c *Client) Method() Method { return c.method }

// TokenEndpoint returns the URL of the token endpoint.
func (c *Client) TokenEndpoint() string { return c.url }

// Close gives back the idle connections of a client that isn't used any more.
// Exchanges under way are not disturbed.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// ParseEndpoint checks an endpoint URL: https, a host, no user information, no
// fragment (RFC 6749 section 3.2). The error says what is wrong, not the URL.
func ParseEndpoint(raw string) (*url.URL, error) {
	if len(raw) > 2048 {
		return nil, errors.New("longer than 2048 bytes")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || strings.ContainsFunc(raw, notURLByte):
		return nil, errors.New("not a URL")
	case u.Scheme != "https":
		return nil, errors.New("not an https URL")
	case u.User != nil:
		return nil, errors.New("must not hold user information")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, errors.New("must not have a fragment")
	case u.Hostname() == "" || strings.ContainsAny(u.Hostname(), "%_*\\") || !goodPort(u):
		return nil, errors.New("host or port is not valid")
	}
	return u, nil
}

func notURLByte(r rune) bool { return r <= ' ' || r >= 0x7f }

func goodPort(u *url.URL) bool {
	port := u.Port()
	if port == "" {
		// "https://host:" has an empty port that net/http would accept.
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := net.LookupPort("tcp", port)
	return err == nil && n > 0
}

const (
	// SAP's users found 2 s too short from Asia, and IAS documents no figure.
	dialTimeout = 2 * time.Second
	tlsTimeout  = 3 * time.Second
	// An exchange happens once in a token's life; a pooled connection is worth
	// keeping only for a retry. It also bounds how long a connection can be
	// dead after a frozen function thaws.
	idleTimeout = 10 * time.Second

	maxHeaderBytes = 64 << 10
)

// NewHTTPClient returns an HTTP client for an authorization server: TLS 1.2 or
// newer, HTTP/1.1, no redirects, no proxy, one renegotiation.
func NewHTTPClient(roots *x509.CertPool, certificate *tls.Certificate, addresses AddressPolicy) *http.Client {
	dial := addresses.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, ControlContext: addresses.control}).DialContext
	}
	return &http.Client{
		Transport: &http.Transport{
			// A proxy would hide the server's address from the check above.
			Proxy:       nil,
			DialContext: dial,
			// A TLSClientConfig of our own keeps HTTP/2 off, which cannot be
			// combined with renegotiation.
			TLSClientConfig:        tlsConfig(roots, certificate),
			TLSHandshakeTimeout:    tlsTimeout,
			IdleConnTimeout:        idleTimeout,
			MaxIdleConnsPerHost:    4,
			MaxResponseHeaderBytes: maxHeaderBytes,
		},
		// A redirect would carry the credential to another place
		// (RFC 9700 section 4.12).
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func tlsConfig(roots *x509.CertPool, certificate *tls.Certificate) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    roots,
		// SAP Cloud Identity Services may ask for the client certificate only
		// after the handshake.
		Renegotiation: tls.RenegotiateOnceAsClient,
	}
	if certificate != nil {
		// Go sends no certificate, silently, when none is issued by a CA of the
		// server's list; a callback always offers it, so that the server's
		// refusal is seen.
		cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			noteAsked(info.Context())
			return certificate, nil
		}
	}
	return cfg
}

// An Authenticator proves the client's identity in one attempt of an exchange.
type Authenticator interface {
	// Authenticate adds the proof to the form or the header of one attempt. It
	// is called anew for each attempt, because an assertion must not go out
	// twice. It must not log what it adds. An error ends the exchange without a
	// call; it reaches the operator, so it must not hold a secret. Wrap
	// ErrTemporary when a later call may succeed.
	Authenticate(ctx context.Context, form url.Values, header http.Header) error
}
