package oauth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
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
	// Connection leads to the server of TokenEndpoint with Certificate, and replaces RootCAs,
	// Addresses and TLS; nil: the client has its own, by these.
	Connection *Connection
}

// Client is a registered client that is ready to authenticate. Two clients, or two versions of
// a client's credential, never share a [Client]; they may share a [Connection] if they have no
// certificate. It is safe for concurrent use.
type Client struct {
	id         string
	endpoint   *url.URL // of the token endpoint; requests share it
	url        string   // endpoint as text
	mutualTLS  bool
	auth       Authenticator
	dialect    Dialect
	connection *Connection
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
	connection := cfg.Connection
	if connection == nil {
		connection = newConnection(cfg.Addresses.connect(), newTLSConfig(cfg.RootCAs, cfg.Certificate, cfg.TLS))
	}
	return &Client{
		id:         cfg.ID,
		endpoint:   endpoint,
		url:        endpoint.String(),
		mutualTLS:  cfg.Method.MutualTLS() || cfg.Certificate != nil,
		auth:       cfg.Authenticator,
		dialect:    cfg.Dialect,
		connection: connection,
	}, nil
}

// TokenEndpoint returns the URL of the token endpoint.
func (c *Client) TokenEndpoint() string { return c.url }

// Endpoint returns that URL in its parts, which the caller must not change.
func (c *Client) Endpoint() *url.URL { return c.endpoint }

// Connection returns the client's connections to its server.
func (c *Client) Connection() *Connection { return c.connection }

// Size returns the size of the client in memory, in bytes, without its Authenticator and what it
// shares with other clients.
func (c *Client) Size() int {
	const own, header = 440, 100 // of a client with its parsed URL, and of one of its headers
	size := own + len(c.id) + len(c.url) + c.connection.Size()
	for name, value := range c.dialect.Headers {
		size += header + len(name) + len(value.Expose())
	}
	return size
}

// Close closes the idle connections of a client that is no longer used, unless other clients
// use them. Exchanges in progress are not affected.
func (c *Client) Close() { c.connection.Close() }
