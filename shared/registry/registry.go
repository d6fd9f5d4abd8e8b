package registry

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
)

// ErrNoKey: there is no such key, or it is not for signatures. It is what the
// error of [SigningKeys.Public] wraps, besides [secret.ErrDenied] and [secret.ErrUnavailable].
var ErrNoKey = errors.New("no such key for signatures")

// SigningKeys are private keys that never leave the place where they are, AWS KMS.
// Errors hold neither a value nor an ARN.
type SigningKeys interface {
	// Public returns the public key of the signing key behind an alias. Its error
	// wraps [ErrNoKey], [secret.ErrDenied] or [secret.ErrUnavailable].
	Public(ctx context.Context, alias string) (crypto.PublicKey, error)
	// Sign signs a digest with it by a JWS algorithm; see [oauth.SignDigest].
	Sign(ctx context.Context, alias, algorithm string, digest []byte) ([]byte, error)
}

// WebIdentity issues JWTs that name the vendor's own role (AWS STS
// GetWebIdentityToken). Its error wraps [oauth.ErrTemporary] if it may go away by
// itself, and holds neither a value nor an ARN.
type WebIdentity interface {
	Issue(ctx context.Context, r WebIdentityRequest) (oauth.Secret, error)
}

// WebIdentityRequest is what a JWT of the vendor's own identity is to say.
type WebIdentityRequest struct {
	// Client is the client's name: a tag of the request, so that the authorization
	// server can tell the vendor's clients apart.
	Client string
	// Audience is the one value of aud.
	Audience string
	// Algorithm is RS256 or ES384.
	Algorithm string
	// Lifetime is 1 minute to 1 hour, in whole seconds.
	Lifetime time.Duration
}

// DiscoverFunc reads the metadata of an issuer. The connection trusts roots
// (nil: the system's) and offers certificate (nil: none). An error that wraps
// [oauth.ErrDiscovery] is temporary; the text of any other becomes a problem of
// the document.
type DiscoverFunc func(ctx context.Context, roots *x509.CertPool, certificate *tls.Certificate, issuer string) (oauth.Metadata, error)

// Config configures a [Registry].
type Config struct {
	// Secrets reads the documents; required.
	Secrets secret.Reader
	// Prefix stands before a client's name in the name of its secret; empty:
	// nothing does.
	Prefix string
	// Addresses says where token endpoints may be. The zero value: at public
	// addresses only.
	Addresses oauth.AddressPolicy
	// Keys signs for documents with kms_key_id; nil: they are refused.
	Keys SigningKeys
	// Identity issues the assertions of aws_web_identity; nil: it is refused.
	Identity WebIdentity
	// Audiences are those that a document may ask an assertion of Identity for.
	// Whoever writes one document could otherwise have the vendor prove itself to
	// any server that trusts it.
	Audiences []string
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

// Have is what the caller of [Registry.Load] has of a client. The zero value: nothing.
type Have struct {
	// Client is returned again if it is as good as new, so that its connections live on.
	Client *Client
	// Serves says that Client still serves if the load fails.
	Serves bool
	// Refused says that Client's credential was, so that only another one counts. The
	// authorization server then hears nothing of a load that finds none.
	Refused bool
}

// Load reads the secret of a client and makes the client ready. Nothing is
// kept: the caller caches. The error wraps [secret.ErrNotFound] (also for a name that
// no client can have), [secret.ErrDenied] or [secret.ErrUnavailable], or is a
// [*DocumentError].
func (r *Registry) Load(ctx context.Context, name string, have Have) (*Client, error) {
	return r.read(ctx, name, have.Serves, func(s secret.Secret, problems *report) (*Client, error) {
		return r.load(ctx, name, s, have, problems)
	})
}

// Inspect is Load without a word to the authorization server: where the document
// leaves the token endpoint to the server's metadata, the client's OAuth is nil, and so
// is its Shadow in any case.
func (r *Registry) Inspect(ctx context.Context, name string) (*Client, error) {
	return r.read(ctx, name, false, func(s secret.Secret, problems *report) (*Client, error) {
		d := r.parse(name, s.Text, problems)
		if !problems.empty() {
			return nil, nil
		}
		if err := r.openKeys(ctx, d, problems); err != nil || !problems.empty() {
			return nil, err
		}
		d.options.shadow = nil
		return r.client(d, s.Version, problems), nil
	})
}

// read reads a client's secret for use. What use returns counts unless it found
// problems.
func (r *Registry) read(ctx context.Context, name string, once bool, use func(secret.Secret, *report) (*Client, error)) (*Client, error) {
	if !ValidName(name) {
		return nil, fmt.Errorf("%w: not a client name", secret.ErrNotFound)
	}
	s, err := r.cfg.Secrets.ReadSecret(ctx, r.cfg.Prefix+name, once)
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", name, err)
	}
	problems := &report{}
	client, err := use(s, problems)
	switch {
	case err != nil:
		return nil, fmt.Errorf("client %s: %w", name, err)
	case !problems.empty():
		return nil, problems.error(name, s.Version)
	}
	return client, nil
}

// load makes the client of a secret. It stops where the problems found leave
// nothing to go on with.
func (r *Registry) load(ctx context.Context, name string, s secret.Secret, have Have, problems *report) (*Client, error) {
	d := r.parse(name, s.Text, problems)
	if !problems.empty() {
		return nil, nil
	}
	old := have.Client
	if have.Refused && old != nil && strings.HasPrefix(old.Version, s.Version) {
		// The key behind an alias may be another all the same.
		if err := r.openKeys(ctx, d, problems); err != nil || !problems.empty() {
			return nil, err
		}
		if old.Version == s.Version+d.keyVersion() {
			return old, nil
		}
	}
	if err := r.reach(ctx, d, problems); err != nil || !problems.empty() {
		return nil, err
	}
	r.reachShadow(ctx, d)
	client := r.client(d, s.Version, problems)
	if client == nil {
		return nil, nil
	}
	if old != nil && old.Version == client.Version && old.OAuth.TokenEndpoint() == client.OAuth.TokenEndpoint() && sameShadow(old.Shadow, client.Shadow) {
		return old, nil
	}
	return client, nil
}

// reach asks the servers that a document leads to: where the token endpoint is, and
// which key an alias has. The error wraps [secret.ErrDenied] or [secret.ErrUnavailable].
func (r *Registry) reach(ctx context.Context, d *document, problems *report) error {
	if err := r.locate(ctx, d, problems); err != nil || !problems.empty() {
		return err
	}
	return r.openKeys(ctx, d, problems)
}

// reachShadow does that for the shadow, which must not take the client with it.
func (r *Registry) reachShadow(ctx context.Context, d *document) {
	shadow := d.options.shadow
	if shadow == nil {
		return
	}
	problems := &report{}
	err := r.reach(ctx, shadow, problems)
	switch {
	case err != nil:
		d.options.shadowProblem = err.Error()
	case !problems.empty():
		d.options.shadowProblem = strings.Join(problems.problems, "; ")
	}
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
