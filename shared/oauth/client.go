package oauth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

// Config describes a client as it is registered at an authorization server.
type Config struct {
	// ID is the client identifier (RFC 6749 section 2.2); required.
	ID string
	// TokenEndpoint is the https URL of the token endpoint; required.
	TokenEndpoint string
	// Method is how the client authenticates. After a broken TLS handshake it decides, with
	// Certificate, whether the server refused the client's certificate.
	Method Method
	// Authenticator authenticates each attempt; required.
	Authenticator Authenticator
	// Certificate is offered in the TLS handshake with its whole chain; nil: none. Beside a
	// secret it is what the token is bound to (RFC 8705 section 3).
	Certificate *tls.Certificate
	// RootCAs verify the server's certificate; nil: the system's.
	RootCAs *x509.CertPool
	// Addresses decides which addresses may be dialled; zero: public ones only.
	Addresses AddressPolicy
	// Dialect is what the server wants in another way than the RFCs say.
	Dialect Dialect
	// TLS loosens TLS for an old server.
	TLS TLSOptions
}

// Client is a registered client that is ready to authenticate. It has its own connections
// and TLS state, because both carry the identity of its certificate: two clients, or two
// versions of a client's credential, never share a [Client]. It is safe for concurrent use.
type Client struct {
	id        string
	url       string // of the token endpoint
	host      string // of url, with the port
	mutualTLS bool
	auth      Authenticator
	dialect   Dialect
	versions  *versions
	http      *http.Client // by versions
	used      atomic.Int64 // when the last request began, in Unix nanoseconds
}

// NewClient returns the client that cfg describes. The error says which field is invalid.
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
	v := newVersions(cfg.Addresses.connect(), NewTLSConfig(cfg.RootCAs, cfg.Certificate, cfg.TLS))
	return &Client{
		id:        cfg.ID,
		url:       endpoint.String(),
		host:      endpoint.Host,
		mutualTLS: cfg.Method.MutualTLS() || cfg.Certificate != nil,
		auth:      cfg.Authenticator,
		dialect:   cfg.Dialect,
		versions:  v,
		http:      newHTTPClient(v),
	}, nil
}

// TokenEndpoint returns the URL of the token endpoint.
func (c *Client) TokenEndpoint() string { return c.url }

// Close closes the idle connections of a client that is no longer used. Exchanges in
// progress are not affected.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// dropIdle closes the connections that were idle for idleTimeout on the wall clock, before a
// request. The timer of net/http stops while a Lambda function is frozen, and after it thaws
// the connections may be dead.
func (c *Client) dropIdle(now time.Time) {
	if last := c.used.Swap(now.UnixNano()); now.Sub(time.Unix(0, last)) >= idleTimeout {
		c.http.CloseIdleConnections()
	}
}
