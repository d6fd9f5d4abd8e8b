package registry

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strconv"
	"time"

	"tokenvendor/shared/keypair"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/strictjson"
)

// document is a client's document, in any of the formats.
type document struct {
	// name is the client's name.
	name       string
	id         text
	credential credential
	endpoint   endpoint
	options    options
	// shadow is nil if the document has none.
	shadow *shadow
	// native has the native members; none for a service key alone. key has the members of a
	// service key of SAP BTP.
	native, key object

	// check sets the fields below. Registry.resolve completes tokenEndpoint, signer and
	// keyVersion by asking other servers.

	method oauth.Method
	pair   keypair.Pair
	signer oauth.Signer
	// publicKey is the public key of signer in DER (PKIX).
	publicKey []byte
	// keyVersion identifies the key in KMS that signs; empty if there is none.
	keyVersion string
	// tokenEndpoint is empty until it is discovered.
	tokenEndpoint string
	// discovered says that tokenEndpoint is from the issuer's metadata.
	discovered bool
	// issuer is empty if it is not known.
	issuer string
}

// shadow is the second credential of a document, which is only tried.
type shadow struct {
	*document
	// share is the part of refreshes that try it.
	share float64
	// problem is why it cannot be tried at present; empty if it can.
	problem string
}

// nativeMembers are the members of a native document: the registered names of RFC 7591 and
// RFC 8414 where there is one. private_key_password decrypts private_key.
func nativeMembers() []string {
	return []string{
		"token_endpoint", "issuer", "client_id", "client_secret", "token_endpoint_auth_method",
		"certificate", "private_key", "private_key_password", "pkcs12", "pkcs12_password",
		"kid", "alg", "assertion_audience", "assertion_type_header", "assertion_lifetime",
		"basic_encoding", "ca_certificates", "scope", "resource", "audience", "token_format",
		"parameters", "allow_parameters", "certificate_bound", "kms_key_id", "shadow", "previous",
		"headers", "assume_expires_in", "client_id_in_body", "attempt_timeout", "grant_type", "request_format",
		"assertion_thumbprint", "tls", "single_token", "expires", "exchanges_per_second",
	}
}

func isNative(name string) bool { return slices.Contains(nativeMembers(), name) }

// isBasic reports whether a member says who the client is or where the token endpoint is. It is not
// one of the options.
func isBasic(name string) bool {
	switch name {
	case "token_endpoint", "issuer", "client_id", "client_secret", "service_key":
		return true
	}
	return false
}

// readNative reads a native document. An unknown member is a problem: a mistyped "audience"
// would otherwise yield a broader token.
func readNative(o object) *document {
	d := &document{
		id:         o.line("client_id", maxLine),
		credential: readCredential(o),
		endpoint:   readEndpoint(o),
		options:    emptyOptions(),
		native:     o,
	}
	optional := false
	for name := range o.members {
		if isBasic(name) {
			continue
		}
		if optional = true; !isNative(name) {
			o.report.add(o.path+strictjson.Quote(name), "is not known here"+hint(name))
		}
	}
	if optional { // many documents have no such member
		d.options, d.shadow = readOptions(o), readShadow(o)
	}
	return d
}

// hint explains names that other tools use for the same thing.
func hint(name string) string {
	meant := map[string]string{
		"token_url": "token_endpoint", "token_uri": "token_endpoint", "url": "issuer or token_endpoint",
		"key": "private_key", "cert": "certificate", "secret": "client_secret", "scopes": "scope",
		"ca_certificate": "ca_certificates", "password": "private_key_password or pkcs12_password",
	}[name]
	if meant == "" {
		meant = strictjson.Like(name, nativeMembers())
	}
	if meant == "" {
		return ""
	}
	return ": " + meant + " is meant?"
}

// mergeNative adds the native members beside a service key. They must not repeat what the
// key says.
func (d *document) mergeNative(outer *document, problems *report) {
	d.credential.merge(outer.credential, problems)
	parameters := d.options.parameters
	scope := d.options.scope
	d.options, d.shadow, d.native = outer.options, outer.shadow, outer.native
	if len(d.options.scope) == 0 {
		d.options.scope = scope
	}
	for name, value := range parameters {
		// An empty parameter removes that of the key.
		if _, ok := d.options.parameters[name]; !ok {
			d.options.parameters[name] = value
		}
	}
}

// shadowMembers are the members of shadow. They mean the same as in a native document.
func shadowMembers() []string {
	return []string{
		"client_id", "token_endpoint", "issuer", "client_secret", "token_endpoint_auth_method",
		"certificate", "private_key", "private_key_password", "pkcs12", "pkcs12_password", "kms_key_id",
		"kid", "alg", "assertion_audience", "assertion_type_header", "assertion_lifetime", "assertion_thumbprint", "basic_encoding", "share",
	}
}

// readShadow reads shadow; nil if there is none.
func readShadow(o object) *shadow {
	if !o.given("shadow") {
		return nil
	}
	inner, ok := o.child("shadow")
	if !ok {
		return nil
	}
	for name := range inner.members {
		if !slices.Contains(shadowMembers(), name) {
			o.report.add(inner.path+strictjson.Quote(name), "is not known here")
		}
	}
	d := &document{
		id:         inner.line("client_id", maxLine),
		credential: readCredential(inner),
		endpoint:   readEndpoint(inner),
		options:    emptyOptions(),
		native:     inner,
	}
	d.options.encoding = readEncoding(inner)
	d.options.assertion = readAssertion(inner)
	return &shadow{document: d, share: readShare(inner)}
}

// readShare reads share; the default is 1.
func readShare(o object) float64 {
	raw := o.bare("share")
	if raw == "" {
		return 1
	}
	share, err := strconv.ParseFloat(raw, 64)
	// Not a number is written in words, which only a string can hold.
	if err != nil || !(share > 0 && share <= 1) {
		o.report.add(o.path+"share", "must be a number above 0 and at most 1")
	}
	return share
}

// inherit takes what the shadow leaves open from the document around it.
func (s *shadow) inherit(outer *document) {
	s.name = outer.name
	if !s.id.given() {
		s.id = outer.id
	}
	if !s.endpoint.url.given() && !s.endpoint.issuer.given() {
		s.endpoint = outer.endpoint
		// The headers are secrets of that server.
		s.options.dialect, s.options.tls = outer.options.dialect, outer.options.tls
	}
	if s.options.encoding == "" {
		s.options.encoding = outer.options.encoding
	}
	s.options.roots, s.options.bound = outer.options.roots, outer.options.bound
}

func (d *document) clientID() string { return d.id.value }

func (d *document) secret() oauth.Secret { return oauth.NewSecret(d.credential.secret.value) }

// isServiceKey reports whether the document is in a format of its issuer, such as SAP BTP.
func (d *document) isServiceKey() bool { return d.endpoint.service != "" }

// basicEncoding returns the encoding of HTTP Basic: XSUAA takes an encoded secret literally,
// every other server decodes it (RFC 6749 section 2.3.1).
func (d *document) basicEncoding() oauth.BasicEncoding {
	switch {
	case d.options.encoding != "":
		return d.options.encoding
	case d.endpoint.service == xsuaaService:
		return oauth.BasicRaw
	}
	return oauth.BasicForm
}

// assertionAudience returns assertion_audience, or else the issuer. The issuer is the safer
// audience, because no other server has it, and the only one that the revision of RFC 7523
// allows.
func (d *document) assertionAudience() string {
	return cmp.Or(d.options.assertion.audience.value, d.issuer, d.tokenEndpoint)
}

// describe sets what c says of the document's key and certificate, and their size.
func (d *document) describe(c *Client) {
	c.Certificate, c.CertificateNotAfter, c.Key, c.material = nil, time.Time{}, "", materialOf(d)
	if len(d.pair.Chain) > 0 {
		c.Certificate = d.pair.Chain[0]
		c.CertificateNotAfter = c.Certificate.NotAfter
		c.Key = keypair.Describe(c.Certificate.PublicKey)
	}
	if len(d.publicKey) == 0 {
		return
	}
	if key, err := x509.ParsePKIXPublicKey(d.publicKey); err == nil {
		c.Key = keypair.Describe(key)
	}
}

// noEnd is a time that does not come (RFC 5280 section 4.1.2.5).
func noEnd() time.Time { return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }

// fixedUntil returns that of [Client] for a document: an issuer's metadata and the key of an alias change
// without the document, and a certificate ends.
func fixedUntil(d *document) time.Time {
	if d.discovered || d.credential.keyAlias.given() || d.shadow != nil && d.shadow.problem != "" {
		return time.Time{}
	}
	until := noEnd()
	if len(d.pair.Chain) > 0 {
		until = d.pair.Chain[0].NotAfter
	}
	if d.shadow != nil {
		if own := fixedUntil(d.shadow.document); own.Before(until) {
			until = own
		}
	}
	return until
}

// showsCertificate reports whether the certificate is offered in the TLS handshake: the client
// authenticates by it, or it authenticates by a secret and wants tokens that are bound to it.
// oidc-provider asks for the latter (RFC 8705 section 3).
func (d *document) showsCertificate() bool {
	bySecret := d.method == oauth.ClientSecretPost || d.method == oauth.ClientSecretBasic
	return d.method.MutualTLS() || bySecret && d.options.bound == BoundAllow && d.native.givenAny("certificate", "private_key", "pkcs12")
}

// tlsCertificate returns the certificate of the TLS handshake; nil if there is none.
func (d *document) tlsCertificate() *tls.Certificate {
	if !d.showsCertificate() {
		return nil
	}
	certificate := &tls.Certificate{PrivateKey: d.pair.Key, Leaf: d.pair.Chain[0]}
	for _, c := range d.pair.Chain {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	return certificate
}

// trustOf returns how the client and its server trust each other in the TLS handshake.
func trustOf(d *document) oauth.Trust {
	return oauth.Trust{Roots: d.options.roots, RootsSize: sizeOf(d.options.roots...), Certificate: d.tlsCertificate(), TLS: d.options.tls}
}
