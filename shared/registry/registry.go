// Package registry turns the name of a client into an OAuth client that is ready to
// authenticate. There is no list of clients: client "billing" is the secret
// <prefix>billing, and the secret's document says everything else. Start with
// [Registry.Load].
//
// The members of a document tell its format: native (client_id), a service key of SAP BTP
// (clientid, clientId), a secret that AWS rotates for Salesforce or Databricks (consumerKey,
// accountId), an envelope around one of these (credentials, uaa, oauth, oa2, messaging,
// VCAP_SERVICES, a file of Kubernetes), or a service key with native members beside it
// (service_key). The registry never tries one format after another.
//
// A client has terms and a credential; see [Client.Terms] and [Client.Credential]. While the
// credential of a new version has obtained no token, that of the version before it may
// obtain one on the same terms; see [Registry.LoadPrevious].
//
// All problems of a document are reported together, and each names its member. Documents
// may be secret or hostile: a problem holds no value, sizes and iteration counts are checked
// before they cost anything, and endpoints must use https. The package does not cache, and
// never calls a token endpoint.
//
// It imports the standard library, keypair, secret, oauth and strictjson. It does not know
// AWS: interfaces of [Config] stand for its services.
package registry

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tokenvendor/shared/keypair"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
)

// Registry loads clients by name. It is immutable and safe for concurrent use.
type Registry struct {
	cfg Config
}

// New returns a Registry.
func New(cfg Config) *Registry {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Discover == nil {
		cfg.Discover = oauth.Discover
	}
	cfg.connections = oauth.NewConnections(cfg.Addresses, keypair.TrustOnly)
	return &Registry{cfg: cfg}
}

// DocumentError holds all problems of a client's document. It names members and repeats no
// value.
type DocumentError struct {
	// Client is the client's name.
	Client string
	// Version is the version of the secret that holds the document.
	Version string
	// Created is when that version was written; zero: that is not known.
	Created time.Time
	// Certificate is the client's certificate, which may have expired; nil: none could be read.
	Certificate *x509.Certificate
	// Problems are sorted. Each begins with the name of its member.
	Problems []string
}

// Error implements error.
func (e *DocumentError) Error() string {
	return fmt.Sprintf("client %s: bad document: %s", e.Client, strings.Join(e.Problems, "; "))
}

// Have is what a caller of [Registry.Load] already has. The zero value is nothing.
type Have struct {
	// Client is returned again if nothing has changed, so that its connections are kept.
	Client *Client
	// Serves says that Client can still be used if the load fails. The secret is then read
	// with one attempt only.
	Serves bool
	// Refused says that the authorization server refused Client's credential. If the secret
	// holds the same credential, Load returns Client and does not call the authorization
	// server.
	Refused bool
	// MaxAge is that of [secret.Want].
	MaxAge time.Duration
}

// Load reads the secret of a client and makes the client ready. The caller caches the
// result, and counts its age from when the secret was read; zero: just now. A shared reading
// whose document has problems is not used: a person may have corrected it since. The error wraps
// [secret.ErrNotFound] (also for a name that no client can have), [secret.ErrDenied] or
// [secret.ErrUnavailable], or is a [*DocumentError].
func (r *Registry) Load(ctx context.Context, name string, have Have) (client *Client, read time.Time, err error) {
	shared := false
	load := func(s secret.Secret, problems *report) (*Client, error) {
		read, shared = s.Read, s.Shared
		return r.load(ctx, name, s, have, problems)
	}
	want := secret.Want{Once: have.Serves, MaxAge: have.MaxAge, Known: have.Client.known(r.cfg.Now())}
	client, err = r.read(ctx, r.cfg.Secrets, name, want, load)
	var document *DocumentError
	if shared && errors.As(err, &document) {
		want.MaxAge = 0
		client, err = r.read(ctx, r.cfg.Secrets, name, want, load)
	}
	return client, read, err
}

// Inspect reads the secret now, and is Load without a call to the authorization server. If the token endpoint must be
// discovered, the client's OAuth is nil. Its Shadow is always nil.
func (r *Registry) Inspect(ctx context.Context, name string) (*Client, error) {
	return r.read(ctx, r.cfg.Secrets, name, secret.Want{}, func(s secret.Secret, problems *report) (*Client, error) {
		d := parse(name, s.Text, r.cfg, problems)
		if !problems.empty() {
			return nil, nil
		}
		if err := r.openKeys(ctx, d, problems); err != nil || !problems.empty() {
			return nil, err
		}
		d.shadow = nil
		return r.build(d, s, problems), nil
	})
}

// read reads a client's secret and calls use with it. A problem that use reports becomes a
// [*DocumentError].
func (r *Registry) read(ctx context.Context, secrets secret.Reader, name string, want secret.Want, use func(secret.Secret, *report) (*Client, error)) (*Client, error) {
	if !ValidName(name) {
		return nil, fmt.Errorf("%w: not a client name", secret.ErrNotFound)
	}
	s, err := secrets.ReadSecret(ctx, r.cfg.Prefix+name, want)
	if err != nil {
		return nil, fmt.Errorf("client %s: %w", name, err)
	}
	found := &report{}
	client, err := use(s, found)
	switch {
	case err != nil:
		return nil, fmt.Errorf("client %s: %w", name, err)
	case !found.empty():
		slices.Sort(found.problems)
		return nil, &DocumentError{Client: name, Version: s.Version, Created: s.Created, Certificate: found.leaf, Problems: slices.Compact(found.problems)}
	}
	return client, nil
}

// load makes the client of a secret. It returns nil once there are problems.
func (r *Registry) load(ctx context.Context, name string, s secret.Secret, have Have, problems *report) (*Client, error) {
	if s.Text == nil {
		return have.Client, nil // it is the one that Have says
	}
	d := parse(name, s.Text, r.cfg, problems)
	if !problems.empty() {
		return nil, nil
	}
	old := have.Client
	if have.Refused && old != nil && strings.HasPrefix(old.Version, s.Version) {
		// The secret is the same, but an alias may refer to another key by now.
		if err := r.openKeys(ctx, d, problems); err != nil || !problems.empty() {
			return nil, err
		}
		if old.Version == s.Version+d.keyVersion && old.Credential == credentialOf(d) {
			return old, nil
		}
	}
	if err := r.resolve(ctx, d, problems); err != nil || !problems.empty() {
		return nil, err
	}
	r.resolveShadow(ctx, d.shadow)
	client := r.build(d, s, problems)
	if client != nil && old != nil && old.same(client) {
		return old, nil
	}
	return client, nil
}

func (r *Registry) build(d *document, s secret.Secret, problems *report) *Client {
	client, err := newClient(d, s, r.cfg)
	if err != nil {
		// The errors of package oauth hold no value.
		problems.add("the document", "cannot be used: "+err.Error())
		return nil
	}
	return client
}

// resolve asks other servers for what the document refers to: the token endpoint of an
// issuer and the key of an alias. The error wraps [secret.ErrDenied] or
// [secret.ErrUnavailable].
func (r *Registry) resolve(ctx context.Context, d *document, problems *report) error {
	if d.tokenEndpoint == "" {
		if err := r.discover(ctx, d, problems); err != nil || !problems.empty() {
			return err
		}
	}
	return r.openKeys(ctx, d, problems)
}

// shadowTime is how long a client waits for the servers that its shadow refers to.
const shadowTime = 2 * time.Second

// resolveShadow does the same for a shadow, unless it has a problem already; nil: there is
// none. An error becomes its problem, because it must not affect the client.
func (r *Registry) resolveShadow(ctx context.Context, s *shadow) {
	if s == nil || s.problem != "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, shadowTime)
	defer cancel()
	problems := &report{}
	err := r.resolve(ctx, s.document, problems)
	switch {
	case err != nil:
		s.problem = err.Error()
	case !problems.empty():
		s.problem = strings.Join(problems.problems, "; ")
	}
}

// discover asks the issuer for its token endpoint. The error wraps [secret.ErrUnavailable].
func (r *Registry) discover(ctx context.Context, d *document, problems *report) error {
	issuer := d.endpoint.issuer
	connection := r.cfg.connections.To(issuer.value, trustOf(d))
	defer connection.Close()
	metadata, err := r.cfg.Discover(ctx, connection.HTTP(r.cfg.Now()), issuer.value)
	switch {
	case err == nil:
	case errors.Is(err, oauth.ErrDiscovery), ctx.Err() != nil:
		return fmt.Errorf("%w: %v", secret.ErrUnavailable, err)
	default:
		problems.add(issuer.name, "cannot be used: "+strings.TrimPrefix(err.Error(), "issuer: "))
		return nil
	}
	d.tokenEndpoint, d.discovered = metadata.TokenEndpoint, true
	alias := metadata.MutualTLSTokenEndpoint
	if !d.showsCertificate() || alias == "" {
		return nil
	}
	// Another host could use a secret that it was sent. It cannot use a certificate that it was shown.
	sendsSecret := !d.method.MutualTLS() || len(d.options.dialect.Headers) > 0
	if sendsSecret && plainHost(alias) != plainHost(issuer.value) {
		problems.add(issuer.name, "has a token_endpoint on another host in its mtls_endpoint_aliases, and no secret is sent there; give token_endpoint in the document")
		return nil
	}
	d.tokenEndpoint = alias
	return nil
}

// openKeys checks what AWS will sign for the document: an assertion by a key in KMS, or a
// token of STS. The error wraps [secret.ErrDenied] or [secret.ErrUnavailable].
func (r *Registry) openKeys(ctx context.Context, d *document, problems *report) error {
	switch d.method {
	case oauth.AWSWebIdentity:
		d.checkAudience(r.cfg.Audiences, problems)
	case oauth.PrivateKeyJWT:
		return d.openKey(ctx, r.cfg.Keys, problems)
	}
	return nil
}

// ValidName reports whether name can be the name of a client: 1 to 63 of the characters a-z,
// 0-9 and "-", and neither the first nor the last is "-". A name therefore has one form only
// in a path, a policy and the name of a secret.
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
