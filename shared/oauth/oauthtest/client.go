package oauthtest

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"time"
)

const (
	// lockAfter failed logons in a row a client is locked for lockTime, as at SAP
	// Cloud Identity Services.
	lockAfter = 5
	lockTime  = time.Hour

	defaultLifetime = time.Hour
)

// Client is a registered client.
type Client struct {
	// ID is the client identifier; required.
	ID string
	// Methods are the registered names of the methods it may use; required.
	Methods []string
	// Path is the only path at which it is known, [TokenPath] or [XSUAAPath];
	// empty: both.
	Path string
	// Secrets are good side by side.
	Secrets []string
	// RawBasic makes client_secret_basic be read without form-decoding, as
	// XSUAA does unless the header X-CF-ENCODED-CREDENTIALS is true.
	RawBasic bool
	// SubjectDN is the subject of the certificate for tls_client_auth, as
	// pkix.Name prints it.
	SubjectDN string
	// Thumbprint is the SHA-256 of the certificate for
	// self_signed_tls_client_auth, in hex; see [Thumbprint].
	Thumbprint string
	// Keys verify assertions, by kid; the kid "" is for assertions without one.
	Keys map[string]crypto.PublicKey
	// Trust makes the client known by assertions of another issuer instead of its
	// own keys; nil: it is not.
	Trust *Trust
	// Audiences are taken in assertions; nil: the issuer and the token endpoint.
	Audiences []string
	// Scopes and Resources may be asked for; nil: any.
	Scopes, Resources []string
	// Lifetime is that of its tokens; zero: an hour.
	Lifetime time.Duration
	// Opaque makes its tokens opaque where a request has no token_format; else
	// they are JWTs.
	Opaque bool
	// AppTID must be sent as app_tid; empty: need not.
	AppTID string
}

// Trust is a client that another issuer vouches for (RFC 7523 section 3; trust by
// issuer at SAP Cloud Identity Services): its assertions, of the method
// private_key_jwt, have the issuer's name and key, and the subject that the issuer
// knows the client by.
type Trust struct {
	Issuer, Subject string
	// Keys are the issuer's, by kid.
	Keys map[string]crypto.PublicKey
	// Tags must be among the request_tags that AWS STS writes into its tokens.
	Tags map[string]string
}

// String names the client only: the rest holds secrets.
func (c Client) String() string { return "client " + c.ID }

// GoString is as String.
func (c Client) GoString() string { return c.String() }

// clone takes a copy, so that what the caller changes later is no race.
func (c Client) clone() Client {
	c.Methods, c.Secrets, c.Audiences = slices.Clone(c.Methods), slices.Clone(c.Secrets), slices.Clone(c.Audiences)
	c.Scopes, c.Resources, c.Keys = slices.Clone(c.Scopes), slices.Clone(c.Resources), maps.Clone(c.Keys)
	if c.Trust != nil {
		trust := *c.Trust
		trust.Keys, trust.Tags = maps.Clone(trust.Keys), maps.Clone(trust.Tags)
		c.Trust = &trust
	}
	return c
}

// registered is a client with its counts, which the server's mu guards.
type registered struct {
	Client
	exchanges    int
	failedLogons int
	inARow       int
	lockedUntil  time.Time
}

func (c *registered) locked(now time.Time) bool { return now.Before(c.lockedUntil) }

// fail counts a failed logon. One that meets the lock is counted too, but doesn't
// prolong it: the lock ends by itself.
func (c *registered) fail(now time.Time, neverLock bool) {
	c.failedLogons++
	if neverLock || c.locked(now) {
		return
	}
	if c.inARow++; c.inARow == lockAfter {
		c.inARow, c.lockedUntil = 0, now.Add(lockTime)
	}
}

// Register registers a client, or replaces one of the same ID with its counts
// reset.
func (s *Server) Register(c Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[c.ID] = &registered{Client: c.clone()}
}

// Update changes a client in one step and keeps its ID, its counts and its lock.
// It is how keys, certificates and secrets are rotated under load. change must
// not call the server. It fails when there is no such client.
func (s *Server) Update(id string, change func(*Client)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
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

// Thumbprint returns the SHA-256 of a certificate in hex.
func Thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
