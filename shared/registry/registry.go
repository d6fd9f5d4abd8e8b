package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"tokenvendor/shared/oauth"
)

// What the error of a [SecretReader] wraps, and so the error of
// [Registry.Load].
var (
	// ErrNotFound: there is no such secret, or it is scheduled for deletion.
	ErrNotFound = errors.New("no such client")
	// ErrDenied: the secret, or the key that encrypts it, may not be used.
	ErrDenied = errors.New("the client's secret may not be read")
	// ErrUnavailable: a later call may succeed.
	ErrUnavailable = errors.New("the client's secret cannot be read now")
)

// Secret is a secret as it was read.
type Secret struct {
	// Text is the SecretString, or the SecretBinary.
	Text []byte
	// Version is the identifier of the secret's version.
	Version string
}

// SecretReader reads the current version (AWSCURRENT) of a secret; once: it does
// not try again, because there is an older version to go on with. Its error wraps [ErrNotFound], [ErrDenied] or [ErrUnavailable] and holds neither a value
// nor an ARN.
type SecretReader interface {
	ReadSecret(ctx context.Context, name string, once bool) (Secret, error)
}

// SecretReaderFunc is a function as a [SecretReader].
type SecretReaderFunc func(ctx context.Context, name string, once bool) (Secret, error)

// ReadSecret implements [SecretReader].
func (f SecretReaderFunc) ReadSecret(ctx context.Context, name string, once bool) (Secret, error) {
	return f(ctx, name, once)
}

// DiscoverFunc reads the metadata of an issuer. The connection trusts roots
// (nil: the system's) and offers certificate (nil: none). An error that wraps
// [oauth.ErrDiscovery] is temporary; the text of any other becomes a problem of
// the document.
type DiscoverFunc func(ctx context.Context, roots *x509.CertPool, certificate *tls.Certificate, issuer string) (oauth.Metadata, error)

// Config configures a [Registry].
type Config struct {
	// Secrets reads the documents; required.
	Secrets SecretReader
	// Prefix stands before a client's name in the name of its secret; empty:
	// nothing does.
	Prefix string
	// Addresses says where token endpoints may be. The zero value: at public
	// addresses only.
	Addresses oauth.AddressPolicy
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Discover is called for a document that names an issuer outside SAP and no
	// token endpoint; nil means [oauth.Discover].
	Discover DiscoverFunc
}

// Registry knows every client by name. It is immutable and safe for concurrent
// use.
type Registry struct {
	cfg Config
}

// New returns a Registry.
func New(cfg Config) *Registry {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Discover == nil {
		cfg.Discover = discoverer(cfg.Addresses)
	}
	return &Registry{cfg: cfg}
}

func discoverer(addresses oauth.AddressPolicy) DiscoverFunc {
	return func(ctx context.Context, roots *x509.CertPool, certificate *tls.Certificate, issuer string) (oauth.Metadata, error) {
		client := oauth.NewHTTPClient(roots, certificate, addresses)
		defer client.CloseIdleConnections()
		return oauth.Discover(ctx, client, issuer)
	}
}

// Load reads the secret of a client and makes the client ready. Nothing is
// kept: the caller caches. old is what the caller has of it (nil: nothing); it is
// returned again if it is as good as new, so that its connections live on. once
// says that old still serves if the read fails. The error wraps [ErrNotFound] (also for a name that
// no client can have), [ErrDenied] or [ErrUnavailable], or is a
// [*DocumentError].
func (r *Registry) Load(ctx context.Context, name string, old *Client, once bool) (*Client, error) {
	if !ValidName(name) {
		return nil, fmt.Errorf("%w: not a client name", ErrNotFound)
	}
	secret, err := r.cfg.Secrets.ReadSecret(ctx, r.cfg.Prefix+name, once)
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", name, err)
	}
	problems := &report{}
	d := r.parse(secret.Text, problems)
	if problems.empty() {
		err = r.locate(ctx, d, problems)
	}
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", name, err)
	}
	if !problems.empty() {
		return nil, problems.error(name, secret.Version)
	}
	client, err := r.client(d)
	if err != nil {
		// The oauth package names no values either.
		problems.add("the document", "cannot be used: "+err.Error())
		return nil, problems.error(name, secret.Version)
	}
	client.Name, client.Version = name, secret.Version
	if old != nil && old.Version == client.Version && old.OAuth.TokenEndpoint() == client.OAuth.TokenEndpoint() {
		return old, nil
	}
	return client, nil
}

// ValidName reports whether name can be the name of a client: 1 to 63
// characters a-z, 0-9 and "-", neither first nor last a "-". The grammar leaves
// no second way to write a name in a path, a policy or a secret's name.
func ValidName(name string) bool {
	if len(name) == 0 || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		if c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
