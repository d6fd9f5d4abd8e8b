package registry

import (
	"context"
	"crypto/sha1" //nolint:gosec // for x5t
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"maps"
	"slices"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
)

// Client is a client as its document describes it. It is immutable, including its maps and
// slices, and safe for concurrent use.
type Client struct {
	// Name is the client's name.
	Name string
	// Version is the version of the credential: the version of the secret, with an identifier
	// of the public key if the key is in KMS, because its alias may change.
	Version string
	// Created is when the version of the secret was written; zero: that is not known.
	Created time.Time
	// OAuth authenticates the client; see [oauth.Exchanger]. It is nil only if
	// [Registry.Inspect] returned the client.
	OAuth *oauth.Client
	// Method is how the client authenticates.
	Method oauth.Method
	// Terms identifies everything in the document but the credential: client_id, the token
	// endpoint, scope, resource, audience, token_format, parameters, allow_parameters,
	// certificate_bound, ca_certificates, headers, grant_type and assume_expires_in. Two clients of a name have the same terms if
	// and only if these have the same meaning: the order of a list, the form of a URL's host
	// and members that are ignored have no influence. It is text of 43 characters. A key of
	// XSUAA that moves from a secret to a certificate has other terms, because certurl is
	// another endpoint. It is empty only if OAuth is nil.
	Terms string
	// Credential identifies the credential and how it is presented: method, secret,
	// basic_encoding, certificates, public key, kid and the other options of an assertion,
	// client_id_in_body, request_format and tls.
	// Two versions of a secret that hold the same credential have the same text, also if
	// the PEM is wrapped in another way or another password protects the key. It covers
	// neither client_id nor the endpoint: a server refuses a credential for some terms.
	//
	// It is a SHA-256 (43 characters) that allows a weak secret to be guessed. It must not be
	// logged, and must not be stored outside sealed rows.
	Credential string
	// Notes say what the document has that is not used, for operators. Each begins with the
	// name of a member and holds no value.
	Notes []string
	// SingleToken means that a new token ends the one before at this authorization server, so
	// that a token is not replaced before its end.
	SingleToken bool
	// NoPrevious says that the document forbids the use of its previous version.
	NoPrevious bool
	// Rate is how many exchanges per second the authorization server bears from the whole
	// deployment, as the document says; 0: it says nothing. It is at most [DefaultRate] where the
	// server counts all clients together; see [Budget].
	Rate float64

	// Defaults are what a request asks for that says nothing: scope, resource, audience,
	// token_format and parameters of the document, and app_tid of an identity key. They must not
	// be changed, because all requests share them.
	Defaults ask.Ask
	// Allow names the parameters that a caller may choose freely. They may include scope,
	// resource, audience, token_format and app_tid.
	Allow map[string]bool

	// CertificateBound is never empty.
	CertificateBound BoundPolicy
	// CertificateNotAfter is the end of the client's certificate; zero if it has none.
	CertificateNotAfter time.Time
	// Certificate is the client's certificate; nil if it has none.
	Certificate *x509.Certificate
	// Key describes the client's public key, such as RSA 2048 or EC P-256; empty if it has
	// none.
	Key string
	// Expires is when the credential ends, as its operator says: SAP does not tell when a secret
	// ends. It has no effect on tokens. Zero: that is not known.
	Expires time.Time
	// IssuerHost is the host of the token endpoint in canonical form: in lower case, with
	// neither a dot at its end nor the port 443, and an IPv4 address as such.
	IssuerHost string
	// Shadow is a second credential that is only tried; nil if there is none.
	Shadow *Shadow

	// id is the client_id, roots are the authorities of ca_certificates.
	id      string
	roots   []*x509.Certificate
	dialect oauth.Dialect
	// certified says that a certificate is offered in the TLS handshake.
	certified bool
	// discovered is the issuer from whose metadata the token endpoint is; empty if the
	// document says it.
	discovered string
	// material is the size of the credential in memory, in bytes.
	material int
	// source is the secret with the document.
	source secret.Identity
	// fixedUntil is until when the document makes the same client each time that it is read; zero:
	// it refers to what may change, or to what could not be found out.
	fixedUntil time.Time
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
	// Credential identifies its credential; see [Client.Credential]. It is empty if Problem
	// is not.
	Credential string

	material int // that of [Client]
}

// newClient makes the client of a document without problems, which the secret holds. OAuth is nil if the token endpoint is not known.
func newClient(d *document, s secret.Secret, cfg Config) (*Client, error) {
	c := &Client{
		Name:             d.name,
		Version:          s.Version + d.keyVersion,
		Created:          s.Created,
		Method:           d.method,
		Credential:       credentialOf(d),
		SingleToken:      d.options.single,
		Expires:          d.options.expires,
		NoPrevious:       d.options.noPrevious,
		Defaults:         d.options.defaults(),
		Allow:            d.options.allow,
		CertificateBound: d.options.bound,
		id:               d.clientID(),
		roots:            d.options.roots,
		dialect:          d.options.dialect,
		certified:        d.showsCertificate(),
		source:           s.Identity(),
		fixedUntil:       fixedUntil(d),
	}
	d.describe(c)
	if d.discovered {
		c.discovered = d.endpoint.issuer.value
	}
	var err error
	if d.tokenEndpoint != "" {
		if c.OAuth, err = newOAuthClient(d, cfg); err != nil {
			return nil, err
		}
		c.roots = c.OAuth.Connection().Roots()
		c.IssuerHost = canonicalHost(c.OAuth.Endpoint())
		c.Terms = termsOf(c)
	}
	c.Rate, c.Notes = d.options.rateAt(c.IssuerHost)
	if d.shadow != nil {
		c.Shadow, err = newShadow(d.shadow, s.Version, cfg)
	}
	return c, err
}

// defaults returns [Client.Defaults]. A parameter without a value counts as not sent (RFC 6749
// section 3.2).
func (o *options) defaults() ask.Ask {
	a := ask.Ask{
		Scope: setOf(o.scope), Resource: setOf(o.resource), Audience: o.audience, TokenFormat: o.tokenFormat,
		AppTID: o.parameters["app_tid"],
	}
	for name, value := range o.parameters {
		if name == "app_tid" || value == "" {
			continue
		}
		if a.Parameters == nil {
			a.Parameters = make(map[string]string)
		}
		a.Parameters[name] = value
	}
	return a
}

// ParameterNames returns the names of the further form parameters of each request, sorted.
func (c *Client) ParameterNames() []string {
	names := slices.Collect(maps.Keys(c.Defaults.Parameters))
	if c.Defaults.AppTID != "" {
		names = append(names, "app_tid")
	}
	slices.Sort(names)
	return names
}

func newShadow(s *shadow, version string, cfg Config) (*Shadow, error) {
	made := &Shadow{Method: s.method, IssuerHost: hostOf(s.tokenEndpoint), Share: s.share, Problem: s.problem, Version: version + s.keyVersion}
	var err error
	if s.problem == "" {
		made.Credential, made.material = credentialOf(s.document), materialOf(s.document)
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
		Connection:    cfg.connections.To(d.tokenEndpoint, trustOf(d)),
		Dialect:       d.options.dialect,
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
	thumbprint := d.options.assertion.thumbprint
	switch {
	case len(d.pair.Chain) == 0 || thumbprint == thumbprintNone:
	case thumbprint == thumbprintSHA1:
		// AD FS finds the certificate by it. It is a name and protects nothing.
		sum := sha1.Sum(d.pair.Chain[0].Raw) //nolint:gosec // RFC 7515 section 4.1.7 requires SHA-1
		a.OldThumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	default:
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

// termsOf returns [Client.Terms].
func termsOf(c *Client) string {
	f := fields{"terms 1", c.id, canonicalURL(*c.OAuth.Endpoint(), c.IssuerHost), c.Defaults.Audience, c.Defaults.TokenFormat, string(c.CertificateBound)}
	f.addSet(c.Defaults.Scope)
	f.addSet(c.Defaults.Resource)
	f.addSet(slices.Collect(maps.Keys(c.Allow)))
	f.addSet(rawCertificates(c.roots))
	for _, name := range c.ParameterNames() {
		value := c.Defaults.Parameters[name]
		if name == "app_tid" {
			value = c.Defaults.AppTID
		}
		f = append(f, name, value)
	}
	return append(f, dialectTerms(c.dialect)...).digest()
}

// credentialOf returns [Client.Credential]. It covers what the method presents only: a secret
// beside a certificate that counts, or the alias of a key, makes no difference to the server.
// A client with a secret has a chain only if it offers the certificate too.
func credentialOf(d *document) string {
	f, assertion := fields{"credential 1", string(d.method)}, d.options.assertion
	switch d.method {
	case oauth.ClientSecretPost:
		f = append(f, d.secret().Expose())
		f = append(f, rawCertificates(d.pair.Chain)...)
	case oauth.ClientSecretBasic:
		f = append(f, d.secret().Expose(), string(d.basicEncoding()))
		f = append(f, rawCertificates(d.pair.Chain)...)
	case oauth.PrivateKeyJWT:
		f = append(f, string(d.publicKey), d.signer.Algorithm(), assertion.keyID, assertion.typ, d.assertionAudience(), assertion.lifetime.String())
		// The certificate's thumbprint is in the assertion.
		f = append(f, rawCertificates(d.pair.Chain)...)
	case oauth.AWSWebIdentity:
		f = append(f, assertion.algorithm.value, d.assertionAudience(), assertion.lifetime.String())
	default:
		// The key is that of the leaf.
		f = append(f, rawCertificates(d.pair.Chain)...)
	}
	return append(f, dialectCredential(d.options)...).digest()
}

func rawCertificates(list []*x509.Certificate) []string {
	var raw []string
	for _, c := range list {
		raw = append(raw, string(c.Raw))
	}
	return raw
}

// known returns which secret need not be read again to make c again; zero: any must be, or c is
// nil.
func (c *Client) known(now time.Time) secret.Identity {
	if c == nil || now.After(c.fixedUntil) {
		return secret.Identity{}
	}
	return c.source
}

// same reports whether nothing has changed from the old client, c, to a new one. The version
// of the secret does not tell that alone: an issuer's metadata, an alias, and the versions of
// an emulator change without it.
func (c *Client) same(fresh *Client) bool {
	return c.Version == fresh.Version && c.Terms == fresh.Terms && c.Credential == fresh.Credential &&
		c.NoPrevious == fresh.NoPrevious && c.Expires.Equal(fresh.Expires) && c.SingleToken == fresh.SingleToken && c.Rate == fresh.Rate && c.OAuth.TokenEndpoint() == fresh.OAuth.TokenEndpoint() && c.Shadow.same(fresh.Shadow)
}

func (s *Shadow) same(fresh *Shadow) bool {
	if s == nil || fresh == nil {
		return s == fresh
	}
	return s.Problem == fresh.Problem && s.Version == fresh.Version && s.IssuerHost == fresh.IssuerHost &&
		s.Credential == fresh.Credential && s.Share == fresh.Share &&
		(s.Problem != "" || s.OAuth.TokenEndpoint() == fresh.OAuth.TokenEndpoint())
}
