package oauthtest

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

const (
	// A client is locked for lockTime after lockAfter failed logons in a row, as at SAP
	// Cloud Identity Services.
	lockAfter = 5
	lockTime  = time.Hour

	defaultLifetime = time.Hour
)

// Client is a registered client. It contains secrets, so it prints as its ID only.
type Client struct {
	// ID is the client identifier; required.
	ID string
	// Methods are the registered names of the authentication methods that the client may
	// use; required.
	Methods []string
	// Secrets are all valid at the same time.
	Secrets []string
	// RawBasic reads client_secret_basic without form-decoding, as XSUAA does.
	RawBasic bool
	// SubjectDN is the certificate's subject for tls_client_auth, as pkix.Name prints it.
	SubjectDN string
	// Thumbprint is the certificate's SHA-256 in hex for self_signed_tls_client_auth; see
	// [Thumbprint].
	Thumbprint string
	// Keys verify assertions, by kid. The kid "" is for assertions without one.
	Keys map[string]crypto.PublicKey
	// Trust accepts assertions of another issuer in place of the client's own; nil: none.
	Trust *Trust
	// Audiences are accepted in assertions; nil: the issuer and the token endpoint.
	Audiences []string
	// Scopes are granted to the client; nil: every scope.
	Scopes []string
	// Lifetime is that of the client's tokens; zero: one hour.
	Lifetime time.Duration
	// Opaque makes tokens opaque when the request has no token_format. The default is JWT.
	Opaque bool
	// AppTID must be sent as app_tid; empty: app_tid is optional.
	AppTID string
}

// Trust describes the assertions that another issuer makes for a client (RFC 7523 section
// 3; trust by issuer at SAP Cloud Identity Services). The client's method is
// private_key_jwt.
type Trust struct {
	// Issuer and Subject are the required claims iss and sub.
	Issuer, Subject string
	// Keys are the issuer's, by kid.
	Keys map[string]crypto.PublicKey
	// Tags must be among the request_tags of a token of AWS STS.
	Tags map[string]string
}

// Format implements [fmt.Formatter].
func (c Client) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "client "+c.ID) }

// clone copies c, so that later changes by the caller are no data race.
func (c Client) clone() Client {
	c.Methods, c.Secrets, c.Audiences = slices.Clone(c.Methods), slices.Clone(c.Secrets), slices.Clone(c.Audiences)
	c.Scopes, c.Keys = slices.Clone(c.Scopes), maps.Clone(c.Keys)
	if c.Trust != nil {
		trust := *c.Trust
		trust.Keys, trust.Tags = maps.Clone(trust.Keys), maps.Clone(trust.Tags)
		c.Trust = &trust
	}
	return c
}

// registered is a client with its counts. The mu of its [endpoint] guards it.
type registered struct {
	Client
	exchanges    int
	failedLogons int
	inARow       int
	lockedUntil  time.Time
}

func (c *registered) locked(now time.Time) bool { return now.Before(c.lockedUntil) }

// fail counts a failed logon. A failed logon of a locked client is counted but does not
// prolong the lock.
func (c *registered) fail(now time.Time, neverLock bool) {
	c.failedLogons++
	if neverLock || c.locked(now) {
		return
	}
	if c.inARow++; c.inARow == lockAfter {
		c.inARow, c.lockedUntil = 0, now.Add(lockTime)
	}
}

// Thumbprint returns the SHA-256 of a certificate in hex.
func Thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}
