package registry

import (
	"context"
	"crypto"
	"errors"
	"net/http"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
)

// Config configures a [Registry].
type Config struct {
	// Secrets reads the documents; required.
	Secrets secret.Reader
	// Previous reads the secret's version before the current one (AWSPREVIOUS), for
	// [Registry.LoadPrevious]; nil: there is none.
	Previous secret.Reader
	// Prefix and a client's name are the name of its secret. It may be empty.
	Prefix string
	// Addresses says where token endpoints may be. The zero value allows public addresses
	// only.
	Addresses oauth.AddressPolicy
	// Keys signs for documents with kms_key_id; nil refuses them.
	Keys SigningKeys
	// KeyAliases and a client's name are the alias of the client's key in AWS KMS; empty:
	// alias/token-vendor/ and the name.
	KeyAliases string
	// Identity issues the assertions of aws_web_identity; nil refuses such documents.
	Identity WebIdentity
	// Audiences are the audiences that a document may request from Identity. Without this
	// list the author of one document could have the vendor prove its identity to any
	// server that trusts it.
	Audiences []string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Discover is called for a document that names an issuer outside SAP and no token
	// endpoint; nil means [oauth.Discover].
	Discover DiscoverFunc

	// connections are set by [New].
	connections *oauth.Connections
}

// DiscoverFunc reads the metadata of an issuer (RFC 8414) with the HTTP client of the document's
// client. An error that wraps [oauth.ErrDiscovery] is temporary; the text of any other error
// becomes a problem of the document.
type DiscoverFunc func(ctx context.Context, client *http.Client, issuer string) (oauth.Metadata, error)

// ErrNoKey means that there is no such key, or that it is not a signing key. The error of
// [SigningKeys.Public] wraps it.
var ErrNoKey = errors.New("no such key for signatures")

// SigningKeys are private keys in AWS KMS. Errors hold neither a value nor an ARN.
type SigningKeys interface {
	// Public returns the public key of the signing key that an alias refers to, and those of
	// [oauth.Algorithms] that KMS has for it; none: that is not known. Its error wraps
	// [ErrNoKey], [secret.ErrDenied] or [secret.ErrUnavailable].
	Public(ctx context.Context, alias string) (public crypto.PublicKey, algorithms []string, err error)
	// Sign signs a digest by a JWS algorithm, or the message with EdDSA; see
	// [oauth.SignDigest].
	Sign(ctx context.Context, alias, algorithm string, digest []byte) ([]byte, error)
}

// WebIdentity issues JWTs whose subject is the function's own role (AWS STS
// GetWebIdentityToken). Its error wraps [oauth.ErrTemporary] if a later call may succeed,
// and holds neither a value nor an ARN.
type WebIdentity interface {
	Issue(ctx context.Context, r WebIdentityRequest) (oauth.Secret, error)
}

// WebIdentityRequest describes the JWT that a [WebIdentity] issues.
type WebIdentityRequest struct {
	// Client is the client's name. It becomes a tag of the token, so that the authorization
	// server can tell the vendor's clients apart.
	Client string
	// Audience is the only value of aud.
	Audience string
	// Algorithm is RS256 or ES384.
	Algorithm string
	// Lifetime is 1 to 5 minutes, in whole seconds.
	Lifetime time.Duration
}
