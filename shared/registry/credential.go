package registry

import (
	"bytes"
	"crypto"
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"tokenvendor/shared/keypair"
	"tokenvendor/shared/oauth"
)

// credential holds the members that prove the client's identity.
type credential struct {
	secret                 text
	certificate            text
	key, keyPassword       text
	pkcs12, pkcs12Password text
	// keyAlias names a private key in AWS KMS.
	keyAlias text
	// methodName is token_endpoint_auth_method; without it, chooseMethod decides by the other members.
	methodName text
	// kind is the credential-type of a service key.
	kind text
}

func readCredential(o object) credential {
	c := credential{
		secret:         o.text("client_secret", maxSecret),
		certificate:    o.text("certificate", maxDocument),
		key:            readKey(o),
		keyPassword:    o.text("private_key_password", maxSecret),
		pkcs12:         o.text("pkcs12", maxDocument),
		pkcs12Password: o.text("pkcs12_password", maxSecret),
		keyAlias:       o.text("kms_key_id", maxLine),
		methodName:     o.line("token_endpoint_auth_method", maxLine),
	}
	if !c.keyPassword.given() && !o.given("pkcs12") {
		// If there is one password only, it may be given as pkcs12_password.
		c.keyPassword.value = c.pkcs12Password.value
	}
	return c
}

// readKey reads private_key: PEM, or a JWK as an object or as JSON in a string.
func readKey(o object) text {
	const name = "private_key"
	if raw := o.members[name]; bytes.HasPrefix(raw, []byte("{")) {
		return text{o.path + name, string(raw)}
	}
	return o.text(name, maxDocument)
}

// merge adds the native members beside a service key: the private key of a certificate that
// was uploaded to SAP, or a credential that was made at the tenant itself.
func (c *credential) merge(outer credential, problems *report) {
	for _, member := range []struct{ own, given *text }{
		{&c.secret, &outer.secret},
		{&c.certificate, &outer.certificate},
		{&c.key, &outer.key},
	} {
		switch {
		case member.own.given() && member.given.given():
			problems.add(member.given.name, "and "+member.own.name+" are both given")
		case member.given.given():
			*member.own = *member.given
		}
	}
	if c.keyPassword = outer.keyPassword; outer.methodName.given() || !c.methodName.given() {
		c.methodName = outer.methodName
	}
	c.pkcs12, c.pkcs12Password, c.keyAlias = outer.pkcs12, outer.pkcs12Password, outer.keyAlias
}

// spread finds the key and the chain if one member holds both, as people export them, such as
// by openssl pkcs12 -nodes.
func (c *credential) spread() {
	key, _ := keypair.Holds(c.certificate.value)
	_, certificate := keypair.Holds(c.key.value)
	switch {
	case key && !c.key.given():
		c.key = text{c.certificate.name, c.certificate.value}
	case certificate && !c.certificate.given():
		c.certificate = text{c.key.name, c.key.value}
	}
}

// chooseMethod returns how the client authenticates; empty if a problem prevents a choice.
func (c credential) chooseMethod(problems *report) oauth.Method {
	certified := c.certificate.given() || c.pkcs12.given()
	switch {
	case c.methodName.given():
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
		// The key of a service key belongs to its certificate.
		problems.missing(c.certificate.name, "")
	case slices.ContainsFunc([]string{c.key.name, c.certificate.name, c.pkcs12.name}, problems.has):
		// It is given, and of a wrong type.
	default:
		problems.missing(c.secret.name, ", and so is any other credential")
	}
	return ""
}

func (c credential) namedMethod(problems *report) oauth.Method {
	switch m := oauth.Method(c.methodName.value); m {
	case oauth.ClientSecretPost, oauth.ClientSecretBasic, oauth.PrivateKeyJWT,
		oauth.TLSClientAuth, oauth.SelfSignedTLSClientAuth, oauth.AWSWebIdentity:
		return m
	}
	problems.add(c.methodName.name, "must be client_secret_post, client_secret_basic, private_key_jwt, tls_client_auth, self_signed_tls_client_auth or aws_web_identity")
	return ""
}

// methodByKind chooses between a secret and a certificate by the credential-type of the
// service key: secret, x509_generated, x509_provided and x509_attested of the service
// identity, binding-secret, instance-secret and x509 of XSUAA, with any letters and dashes.
func (c credential) methodByKind(problems *report) oauth.Method {
	switch kind := strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(strings.ToLower(c.kind.value)); {
	case slices.Contains([]string{"secret", "clientsecret", "bindingsecret", "instancesecret"}, kind):
		return oauth.ClientSecretPost
	case strings.HasPrefix(kind, "x509"):
		return oauth.TLSClientAuth
	}
	decider := "token_endpoint_auth_method"
	if c.methodName.name == "" {
		decider = c.kind.name
	}
	problems.add(c.secret.name, "is ambiguous beside a certificate or a key: "+decider+" must say which one counts")
	return ""
}

// checkSecret reports problems of the secret, which is sent byte for byte.
func (c credential) checkSecret(problems *report) {
	secret := c.secret
	switch {
	case !secret.given():
		problems.missing(secret.name, "")
	case strings.TrimSpace(secret.value) == "":
		problems.add(secret.name, "is blank")
	case strings.HasSuffix(secret.value, "\n"), strings.HasSuffix(secret.value, "\r"):
		problems.add(secret.name, "ends in a newline")
	case strings.ContainsFunc(secret.value, unicode.IsControl), strings.ContainsFunc(secret.value, isInvisible):
		problems.add(secret.name, "holds a line break or another invisible character")
	case isPlaceholder(secret.value):
		problems.add(secret.name, "is a placeholder: put the value in its place")
	}
}

// isInvisible is true for characters without width, which come with a paste.
func isInvisible(r rune) bool {
	return r == '\ufeff' || r >= '\u200b' && r <= '\u200f' || r == '\u2060'
}

// isPlaceholder reports whether a value stands for another one, as in documents and templates, and in
// what tools print or export in the place of a secret: <client secret>, ${SECRET}, {{ secret }},
// [REDACTED], your-client-secret, or asterisks. It is not one if it may be random, or somebody's name.
func isPlaceholder(value string) bool {
	value = strings.TrimSpace(value)
	if value != "" && strings.Trim(value, "*") == "" {
		return true
	}
	for _, marks := range [...][2]string{{"<", ">"}, {"${", "}"}, {"{{", "}}"}, {"[", "]"}} {
		if inner, ok := strings.CutPrefix(value, marks[0]); ok && strings.HasSuffix(inner, marks[1]) {
			return isWording(strings.Trim(inner, "<>{}[] "))
		}
	}
	yours, ok := strings.CutPrefix(strings.ToLower(value), "your")
	return ok && strings.Trim(yours, "_- ") != yours && strings.HasSuffix(yours, "secret") && isWording(value)
}

// isWording reports whether a text consists of words, and of what stands between them. The letters of a
// word are of one case, except for the first one.
func isWording(text string) bool {
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("_-./ ", r) })
	return len(words) > 0 && !slices.ContainsFunc(words, func(word string) bool {
		_, first := utf8.DecodeRuneInString(word)
		rest := word[first:]
		return strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsLetter(r) }) || rest != strings.ToLower(rest) && word != strings.ToUpper(word)
	})
}

// certificateMember returns the member that holds the certificate.
func (c credential) certificateMember() text {
	if c.pkcs12.given() {
		return c.pkcs12
	}
	return c.certificate
}

// readPair returns the private key and the certificates, as far as they are given.
func (c credential) readPair(problems *report) keypair.Pair {
	if c.pkcs12.given() {
		return c.pkcs12Pair(problems)
	}
	return c.pemPair(problems)
}

func (c credential) pkcs12Pair(problems *report) keypair.Pair {
	for _, other := range []text{c.certificate, c.key} {
		if other.given() {
			problems.add(other.name, "and "+c.pkcs12.name+" are both given")
		}
	}
	pair, err := keypair.ParsePKCS12(c.pkcs12.value, keypair.Password{Name: c.pkcs12Password.name, Value: c.pkcs12Password.value})
	if err != nil {
		problems.add(c.pkcs12.name, err.Error())
	}
	return pair
}

func (c credential) pemPair(problems *report) (pair keypair.Pair) {
	var err error
	switch {
	case keypair.IsJWK(c.key.value):
		pair = c.jwkPair(problems)
	case c.key.given():
		pair.Key = c.parseKey(c.key, problems)
	}
	if second, _ := keypair.Holds(c.certificate.value); second && c.certificate.value != c.key.value {
		other := c.parseKey(c.certificate, problems)
		if other != nil && pair.Key != nil && !keypair.SamePublicKey(other.Public(), pair.Key.Public()) {
			problems.add(c.certificate.name, "holds another private key than "+c.key.name)
		}
	}
	if c.certificate.given() {
		pair.Chain, err = keypair.ParseChain(c.certificate.value, pair.Key)
		switch {
		case errors.Is(err, keypair.ErrMismatch) && c.certificate.value == c.key.value:
			problems.add(c.certificate.name, "does not hold the certificate of its key")
		case errors.Is(err, keypair.ErrMismatch):
			problems.add(c.certificate.name, "and "+c.key.name+" do not belong together")
		case err != nil:
			problems.add(c.certificate.name, err.Error())
		}
	}
	return pair
}

// jwkPair reads the private key as a JWK.
func (c credential) jwkPair(problems *report) keypair.Pair {
	pair, err := keypair.ParseJWK(c.key.value)
	if err != nil {
		problems.add(c.key.name, err.Error())
	}
	if c.keyPassword.given() {
		problems.add(c.keyPassword.name, "is not used by a JWK")
	}
	return pair
}

// parseKey reads the private key in t. It returns nil if there is a problem.
func (c credential) parseKey(t text, problems *report) crypto.Signer {
	key, err := keypair.ParseKey(t.value, keypair.Password{Name: c.keyPassword.name, Value: c.keyPassword.value})
	if err != nil {
		problems.add(t.name, err.Error())
		return nil
	}
	return key
}
