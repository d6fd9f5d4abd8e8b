package registry

import (
	"strings"

	"tokenvendor/shared/oauth"
)

// credential is what proves the client's identity, as the document has it.
type credential struct {
	secret                 text
	certificate            text
	key, keyPassword       text
	pkcs12, pkcs12Password text
	// keyAlias names a private key in AWS KMS.
	keyAlias text
	// method is what the document names; not given: what is there decides.
	method text
	// kind is the credential-type of a service key.
	kind text
}

// chooseMethod returns how the client authenticates; "" when a problem keeps it
// from being known.
func (d *document) chooseMethod(problems *report) oauth.Method {
	c := d.credential
	certified := c.certificate.given() || c.pkcs12.given()
	switch {
	case c.method.given():
		return c.namedMethod(problems)
	case c.secret.given() && (certified || c.key.given() || c.keyAlias.given()):
		return c.methodByKind(problems)
	case c.secret.given():
		return oauth.ClientSecretPost
	case c.keyAlias.given():
		return oauth.PrivateKeyJWT
	case certified:
		return oauth.TLSClientAuth
	case c.key.given() && strings.HasSuffix(c.key.name, "private_key"):
		return oauth.PrivateKeyJWT
	case c.key.given():
		// A service key has its key for the certificate, which got lost.
		problems.missing(c.certificate.name, "")
	default:
		problems.missing(c.secret.name, ", and so is any other credential")
	}
	return ""
}

func (c credential) namedMethod(problems *report) oauth.Method {
	switch m := oauth.Method(c.method.value); m {
	case oauth.ClientSecretPost, oauth.ClientSecretBasic, oauth.PrivateKeyJWT,
		oauth.TLSClientAuth, oauth.SelfSignedTLSClientAuth, oauth.AWSWebIdentity:
		return m
	default:
		problems.add(c.method.name, "must be client_secret_post, client_secret_basic, private_key_jwt, tls_client_auth, self_signed_tls_client_auth or aws_web_identity")
	}
	return ""
}

// methodByKind decides between a secret and a certificate by the
// credential-type of the service key.
func (c credential) methodByKind(problems *report) oauth.Method {
	switch strings.ToLower(c.kind.value) {
	case "secret", "binding-secret", "instance-secret":
		return oauth.ClientSecretPost
	case "x509", "x509_generated", "x509_provided", "x509_attested":
		return oauth.TLSClientAuth
	}
	decider := "token_endpoint_auth_method"
	if c.method.name == "" {
		decider = c.kind.name
	}
	problems.add(c.secret.name, "is ambiguous beside a certificate or a key: "+decider+" must say which one counts")
	return ""
}

// checkSecret looks at the secret, which is used byte for byte.
func (c credential) checkSecret(problems *report) {
	secret := c.secret
	switch {
	case !secret.given():
		problems.missing(secret.name, "")
	case strings.TrimSpace(secret.value) == "":
		problems.add(secret.name, "is blank")
	case strings.HasSuffix(secret.value, "\n"), strings.HasSuffix(secret.value, "\r"):
		problems.add(secret.name, "ends in a newline")
	}
}

// basicEncoding returns how Basic is written: XSUAA takes an encoded secret
// literally, every other server decodes it (RFC 6749 section 2.3.1).
func (d *document) basicEncoding() oauth.BasicEncoding {
	switch {
	case d.options.encoding != "":
		return d.options.encoding
	case d.place.service == xsuaaService:
		return oauth.BasicRaw
	}
	return oauth.BasicForm
}

// checkID looks at the client identifier (RFC 6749 section 2.2).
func (d *document) checkID(problems *report) {
	switch {
	case !d.id.given():
		problems.missing(d.id.name, "")
	case strings.TrimSpace(d.id.value) != d.id.value:
		problems.add(d.id.name, "begins or ends with a blank")
	case d.method == oauth.ClientSecretBasic && d.basicEncoding() == oauth.BasicRaw && strings.Contains(d.id.value, ":"):
		problems.add(d.id.name, "holds a colon, which basic_encoding raw cannot carry")
	}
}
