package registry

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"net/url"
	"strings"
	"time"

	"tokenvendor/shared/oauth"
)

// BoundPolicy says what to do with a token that is bound to the client's
// certificate (RFC 8705 section 3), which a caller without the key may not be
// able to use.
type BoundPolicy string

// The policies of the member certificate_bound.
const (
	// BoundWarn hands the token out and says that it is bound.
	BoundWarn BoundPolicy = "warn"
	// BoundAllow hands it out without a word.
	BoundAllow BoundPolicy = "allow"
	// BoundRefuse keeps it.
	BoundRefuse BoundPolicy = "refuse"
)

// Client is a client as its document describes it. It is immutable, maps and
// slices included, and safe for concurrent use.
type Client struct {
	// Name is the client's name. Version is that of its credential: the version of its
	// secret, with a mark of the key where that is in KMS, whose alias may change.
	Name, Version string
	// OAuth authenticates the client; see [oauth.Exchanger]. It is nil only after
	// [Registry.Inspect].
	OAuth *oauth.Client
	// Method is how the client authenticates.
	Method oauth.Method

	// Scope, Resource, Audience and TokenFormat are the defaults of a request;
	// empty: the parameter is not sent.
	Scope       []string
	Resource    []string
	Audience    string
	TokenFormat string
	// Parameters are further form parameters of each request, app_tid of an
	// identity key included. Never nil.
	Parameters map[string]string
	// Allow names the parameters that a caller may choose freely; scope,
	// resource, audience, token_format and app_tid may be among them. Never nil.
	Allow map[string]bool

	// CertificateBound is never empty.
	CertificateBound BoundPolicy
	// CertificateNotAfter is when the client's certificate ends; zero: it has
	// none.
	CertificateNotAfter time.Time
	// IssuerHost is the host of the token endpoint, lower-cased, with its port
	// where the URL has one.
	IssuerHost string
	// Shadow is a second credential that is only being tried; nil: there is none.
	Shadow *Shadow
}

// Shadow is a credential that refreshes try beside the client's own, so that a team
// can leave the old one with evidence. Its tokens are never given out.
type Shadow struct {
	OAuth  *oauth.Client
	Method oauth.Method
	// IssuerHost is the host of its token endpoint.
	IssuerHost string
	// Share is the part of refreshes that try it, above 0 and at most 1.
	Share float64
	// Problem says why it cannot be tried at present, by names of members and no
	// value; empty: it can. A shadow must not cost the credential that works.
	Problem string
	// Version is that of its credential, as [Client.Version] is.
	Version string
}

// client makes the client of a document that has no problems; nil: it has one that
// only showed now.
func (r *Registry) client(d *document, version string, problems *report) *Client {
	var client *oauth.Client
	if d.tokenEndpoint != "" {
		client = r.oauthClient(d, problems)
		if client == nil {
			return nil
		}
	}
	c := &Client{
		Name:             d.name,
		Version:          version + d.keyVersion(),
		OAuth:            client,
		Method:           d.method,
		Scope:            d.options.scope,
		Resource:         d.options.resource,
		Audience:         d.options.audience,
		TokenFormat:      d.options.tokenFormat,
		Parameters:       d.options.parameters,
		Allow:            d.options.allow,
		CertificateBound: d.options.bound,
		IssuerHost:       hostOf(d.tokenEndpoint),
	}
	if len(d.pair.Chain) > 0 {
		c.CertificateNotAfter = d.pair.Chain[0].NotAfter
	}
	c.Shadow = r.shadow(d, version, problems)
	return c
}

// shadow makes the document's shadow; nil: it has none.
func (r *Registry) shadow(d *document, version string, problems *report) *Shadow {
	inner := d.options.shadow
	if inner == nil {
		return nil
	}
	s := &Shadow{Method: inner.method, IssuerHost: hostOf(inner.tokenEndpoint), Share: d.options.shadowShare, Problem: d.options.shadowProblem, Version: version + inner.keyVersion()}
	if s.Problem == "" {
		s.OAuth = r.oauthClient(inner, problems)
	}
	return s
}

func (r *Registry) oauthClient(d *document, problems *report) *oauth.Client {
	client, err := oauth.NewClient(oauth.Config{
		ID:            d.id.value,
		TokenEndpoint: d.tokenEndpoint,
		Method:        d.method,
		Authenticator: r.authenticator(d),
		Certificate:   d.tlsCertificate(),
		RootCAs:       d.options.roots,
		Addresses:     r.cfg.Addresses,
	})
	if err != nil {
		// The oauth package names no values either.
		problems.add("the document", "cannot be used: "+err.Error())
	}
	return client
}

// tlsCertificate returns what the TLS handshake offers; nil unless the client
// authenticates by it.
func (d *document) tlsCertificate() *tls.Certificate {
	if !d.method.MutualTLS() {
		return nil
	}
	certificate := &tls.Certificate{PrivateKey: d.pair.Key, Leaf: d.pair.Chain[0]}
	for _, c := range d.pair.Chain {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	return certificate
}

func (r *Registry) authenticator(d *document) oauth.Authenticator {
	switch d.method {
	case oauth.ClientSecretPost:
		return oauth.SecretPost{Secret: oauth.NewSecret(d.credential.secret.value)}
	case oauth.ClientSecretBasic:
		return oauth.SecretBasic{
			ClientID: d.id.value,
			Secret:   oauth.NewSecret(d.credential.secret.value),
			Encoding: d.basicEncoding(),
		}
	case oauth.PrivateKeyJWT:
		return r.assertion(d)
	case oauth.AWSWebIdentity:
		return r.webIdentity(d)
	}
	leaf := d.pair.Chain[0]
	return oauth.Certificate{NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Now: r.cfg.Now}
}

func (r *Registry) assertion(d *document) oauth.Assertion {
	a := oauth.Assertion{
		ClientID: d.id.value,
		Audience: d.assertionAudience(),
		Signer:   d.signer,
		KeyID:    d.options.assertion.keyID,
		Type:     d.options.assertion.typ,
		Lifetime: d.options.assertion.lifetime,
		Now:      r.cfg.Now,
	}
	if len(d.pair.Chain) > 0 {
		sum := sha256.Sum256(d.pair.Chain[0].Raw)
		a.Thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return a
}

// assertionAudience is what the document names, else the issuer: the safer audience,
// since no other server shares it, and the only one that the revision of RFC 7523
// allows.
func (d *document) assertionAudience() string {
	return cmp.Or(d.options.assertion.audience.value, d.audience, d.tokenEndpoint)
}

func hostOf(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}
