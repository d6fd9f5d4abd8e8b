package registry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
)

// ErrNoPrevious means that the previous version of a client's secret cannot be used, and that
// this remains so until somebody changes the secret.
var ErrNoPrevious = errors.New("no usable previous version")

// LoadPrevious returns the current client with the credential of the secret's previous
// version (AWSPREVIOUS): a client with the terms of current, and with the Version, Method,
// Credential and CertificateNotAfter of the previous version. It has no shadow. current is a
// result of [Registry.Load].
//
// The error wraps [ErrNoPrevious] if there is no such version, the current document forbids
// its use, its document has a problem, it has another client_id or token endpoint than
// current, or its credential is the same. Its text says "previous version", and then names
// the version and members only. It is no [*DocumentError], because the client's own document
// has no problem. Any other error wraps [secret.ErrDenied], [secret.ErrUnavailable] or the
// error of an ended context.
//
// LoadPrevious calls an authorization server only to discover a token endpoint that current
// does not know.
func (r *Registry) LoadPrevious(ctx context.Context, current *Client) (*Client, error) {
	switch {
	case current.NoPrevious:
		return nil, noPrevious(current, "the current one says previous: never")
	case r.cfg.Previous == nil:
		return nil, noPrevious(current, "it is not read here")
	}
	client, err := r.read(ctx, r.cfg.Previous, current.Name, secret.Want{}, func(s secret.Secret, problems *report) (*Client, error) {
		return r.loadPrevious(ctx, current, s, problems)
	})
	var document *DocumentError
	switch {
	case errors.As(err, &document):
		return nil, noPrevious(current, "version "+document.Version+": "+strings.Join(document.Problems, "; "))
	case errors.Is(err, secret.ErrNotFound):
		return nil, noPrevious(current, "there is none")
	}
	return client, err
}

// LoadOld returns the client of the secret's previous version (AWSPREVIOUS) with the terms of
// its own document, for use while the current version is no valid document. The error is one
// of [Registry.Load], or wraps [ErrNoPrevious] if that document forbids its use.
func (r *Registry) LoadOld(ctx context.Context, name string) (*Client, error) {
	if r.cfg.Previous == nil {
		return nil, secret.ErrNotFound
	}
	client, err := r.read(ctx, r.cfg.Previous, name, secret.Want{}, func(s secret.Secret, problems *report) (*Client, error) {
		return r.load(ctx, name, s, Have{}, problems)
	})
	if err == nil && client.NoPrevious {
		return nil, noPrevious(client, "it says previous: never")
	}
	return client, err
}

func noPrevious(c *Client, reason string) error {
	return fmt.Errorf("client %s: %w: %s", c.Name, ErrNoPrevious, reason)
}

// loadPrevious makes the client of a previous version. It returns nil once there are
// problems.
func (r *Registry) loadPrevious(ctx context.Context, current *Client, s secret.Secret, problems *report) (*Client, error) {
	d := parseOwn(current.Name, s.Text, r.cfg, problems)
	if !problems.empty() {
		return nil, nil
	}
	if d.clientID() != current.id {
		problems.add(d.id.name, "is not that of the current version")
		return nil, nil
	}
	d.options.roots, d.options.dialect = current.roots, adoptDialect(d.options.dialect, current.dialect)
	if err := r.adoptEndpoint(ctx, d, current, problems); err != nil || !problems.empty() {
		return nil, err
	}
	if err := r.openKeys(ctx, d, problems); err != nil || !problems.empty() {
		return nil, err
	}
	client := *current
	client.Version, client.Method, client.Credential = s.Version+d.keyVersion, d.method, credentialOf(d)
	client.Created, client.Expires, client.Shadow, client.certified = s.Created, d.options.expires, nil, d.showsCertificate()
	d.describe(&client)
	if client.Credential == current.Credential {
		problems.add("the credential", "is that of the current version")
		return nil, nil
	}
	var err error
	if client.OAuth, err = newOAuthClient(d, r.cfg); err != nil {
		problems.add("the document", "cannot be used: "+err.Error())
	}
	return &client, nil
}

// adoptDialect returns how the credential of a previous version speaks to the server of current:
// what is of the terms, and the time, are the current document's, and what is of the credential
// is its own.
func adoptDialect(own, current oauth.Dialect) oauth.Dialect {
	current.OmitClientID, current.JSON = own.OmitClientID, own.JSON
	return current
}

// adoptEndpoint sets the token endpoint of a previous version to that of current. It reports
// a previous version that has another one, because the credential must not be sent to a
// server for which it was not made.
func (r *Registry) adoptEndpoint(ctx context.Context, d *document, current *Client, problems *report) error {
	endpoint := current.OAuth.TokenEndpoint()
	// Metadata names one endpoint for certificates and one for all other methods.
	sameMetadata := d.endpoint.issuer.value == current.discovered && d.showsCertificate() == current.certified
	if d.tokenEndpoint == "" && !sameMetadata {
		if err := r.discover(ctx, d, problems); err != nil || !problems.empty() {
			return err
		}
	}
	if u, err := url.Parse(d.tokenEndpoint); d.tokenEndpoint != "" && (err != nil || canonicalURL(*u, canonicalHost(u)) != canonicalURL(*current.OAuth.Endpoint(), current.IssuerHost)) {
		problems.add("the token endpoint", "is not that of the current version")
	}
	d.tokenEndpoint = endpoint
	return nil
}
