package registry

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"time"

	"tokenvendor/shared/oauth"
)

// Client is a client as its document describes it. It is immutable, including its maps and
// slices, and safe for concurrent use.
type Client struct {
	// Name is the client's name.
	Name string
	// Version is the version of the credential: the version of the secret, with an identifier
	// of the public key if the key is in KMS, because its alias may change.
	Version string
	// OAuth authenticates the client; see [oauth.Exchanger]. It is nil only if
	// [Registry.Inspect] returned the client.
	OAuth *oauth.Client
	// Method is how the client authenticates.
	Method oauth.Method

	// Scope, Resource, Audience and TokenFormat are the defaults of a request. An empty one
	// is not sent.
	Scope       []string
	Resource    []string
	Audience    string
	TokenFormat string
	// Parameters are further form parameters of each request, app_tid of an identity key
	// included. Never nil.
	Parameters map[string]string
	// Allow names the parameters that a caller may choose freely. They may include scope,
	// resource, audience, token_format and app_tid. Never nil.
	Allow map[string]bool

	// CertificateBound is never empty.
	CertificateBound BoundPolicy
	// CertificateNotAfter is the end of the client's certificate; zero if it has none.
	CertificateNotAfter time.Time
	// IssuerHost is the host of the token endpoint, in lower case, with its port if the URL
	// has one.
	IssuerHost string
	// Shadow is a second credential that is only tried; nil if there is none.
	Shadow *Shadow
}

// Shadow is a credential that refreshes try beside the client's own, so that a team can
// see that it works before the old one is removed. Its tokens are never returned to a
// caller.
type Shadow struct {
	// OAuth is nil if Problem is not empty.
	OAuth  *oauth.Client
	Method oauth.Method
	// IssuerHost is the host of its token endpoint.
	IssuerHost string
	// Share is the part of refreshes that try it, above 0 and at most 1.
	Share float64
	// Problem says why it cannot be tried at present, with names of members and no value;
	// empty if it can. A problem of the shadow is no problem of the client.
	Problem string
	// Version is the version of its credential; see [Client.Version].
	Version string
}

// newClient makes the client of a document without problems, which the secret's version
// holds. OAuth is nil if the token endpoint is not known.
func newClient(d *document, version string, cfg Config) (*Client, error) {
	c := &Client{
		Name:             d.name,
		Version:          version + d.keyVersion,
		Method:           d.method,
		Scope:            d.options.scope,
		Resource:         d.options.resource,
		Audience:         d.options.audience,
		TokenFormat:      d.options.tokenFormat,
		Parameters:       maps.Clone(d.options.parameters),
		Allow:            d.options.allow,
		CertificateBound: d.options.bound,
		IssuerHost:       hostOf(d.tokenEndpoint),
	}
	// A parameter without a value counts as not sent (RFC 6749 section 3.2).
	maps.DeleteFunc(c.Parameters, func(_, value string) bool { return value == "" })
	if len(d.pair.Chain) > 0 {
		c.CertificateNotAfter = d.pair.Chain[0].NotAfter
	}
	var err error
	if d.tokenEndpoint != "" {
		if c.OAuth, err = newOAuthClient(d, cfg); err != nil {
			return nil, err
		}
	}
	if d.shadow != nil {
		c.Shadow, err = newShadow(d.shadow, version, cfg)
	}
	return c, err
}

func newShadow(s *shadow, version string, cfg Config) (*Shadow, error) {
	made := &Shadow{Method: s.method, IssuerHost: hostOf(s.tokenEndpoint), Share: s.share, Problem: s.problem, Version: version + s.keyVersion}
	var err error
	if s.problem == "" {
		made.OAuth, err = newOAuthClient(s.document, cfg)
	}
	return made, err
}

func newOAuthClient(d *document, cfg Config) (*oauth.Client, error) {
	return oauth.NewClient(oauth.Config{
		ID:            d.clientID(),
		TokenEndpoint: d.tokenEndpoint,
		Method:        d.method,
		Authenticator: newAuthenticator(d, cfg),
		Certificate:   d.tlsCertificate(),
		RootCAs:       d.options.roots,
		Addresses:     cfg.Addresses,
	})
}

func newAuthenticator(d *document, cfg Config) oauth.Authenticator {
	switch d.method {
	case oauth.ClientSecretPost:
		return oauth.SecretPost{Secret: d.secret()}
	case oauth.ClientSecretBasic:
		return oauth.SecretBasic{ClientID: d.clientID(), Secret: d.secret(), Encoding: d.basicEncoding()}
	case oauth.PrivateKeyJWT:
		return newAssertion(d, cfg.Now)
	case oauth.AWSWebIdentity:
		return newIssuedAssertion(d, cfg.Identity)
	}
	leaf := d.pair.Chain[0]
	return oauth.Certificate{NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Now: cfg.Now}
}

func newAssertion(d *document, now func() time.Time) oauth.Assertion {
	a := oauth.Assertion{
		ClientID: d.clientID(),
		Audience: d.assertionAudience(),
		Signer:   d.signer,
		KeyID:    d.options.assertion.keyID,
		Type:     d.options.assertion.typ,
		Lifetime: d.options.assertion.lifetime,
		Now:      now,
	}
	if len(d.pair.Chain) > 0 {
		sum := sha256.Sum256(d.pair.Chain[0].Raw)
		a.Thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return a
}

func newIssuedAssertion(d *document, identity WebIdentity) oauth.IssuedAssertion {
	request := WebIdentityRequest{
		Client:    d.name,
		Audience:  d.assertionAudience(),
		Algorithm: d.options.assertion.algorithm.value,
		Lifetime:  d.options.assertion.lifetime,
	}
	return oauth.IssuedAssertion{Issue: func(ctx context.Context) (oauth.Secret, error) {
		return identity.Issue(ctx, request)
	}}
}

// same reports whether a new client is as good as the old one, c.
func (c *Client) same(fresh *Client) bool {
	return c.Version == fresh.Version && c.OAuth.TokenEndpoint() == fresh.OAuth.TokenEndpoint() && c.Shadow.same(fresh.Shadow)
}

func (s *Shadow) same(fresh *Shadow) bool {
	if s == nil || fresh == nil {
		return s == fresh
	}
	return s.Problem == fresh.Problem && s.Version == fresh.Version && s.IssuerHost == fresh.IssuerHost &&
		(s.Problem != "" || s.OAuth.TokenEndpoint() == fresh.OAuth.TokenEndpoint())
}
