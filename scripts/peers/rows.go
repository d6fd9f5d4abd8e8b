package main

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"tokenvendor/shared/oauth/oauthtest"
)

// row is one way to authenticate, and the client that does so.
type row struct {
	client, method, key string
	// register is the client's registration at the server (RFC 7591), document its document
	// without the members that all clients have.
	register, document map[string]any
	// request has further members of the token request.
	request map[string]any
	// wrong says that the server must refuse the credential.
	wrong bool
	// If audience is not empty the token must be a JWT for it. thumbprint is the x5t#S256
	// of the certificate that the token must be bound to; empty: it must not be bound.
	audience, thumbprint string
}

const (
	// secretText has characters that forms, JSON and RFC 6749 section 2.3.1 encode.
	secretText = "Sp@re: /+%&=~"
	resource   = "https://api.example.com/orders"
)

func (r row) id() string { return "id-" + r.client }

// rows returns a right and a wrong row for each way to authenticate that the server takes.
func (e *env) rows(p *peer) (all []row, err error) {
	for _, rowsOf := range []func(*peer) ([]row, error){e.secretRows, e.keyRows, e.certificateRows} {
		rows, err := rowsOf(p)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return slices.DeleteFunc(all, func(r row) bool { return !slices.Contains(p.Methods, r.method) }), nil
}

func newRow(client, method, key string) row {
	return row{
		client: client, method: method, key: key,
		register: map[string]any{
			"client_id": "id-" + client, "token_endpoint_auth_method": method, "grant_types": []string{"client_credentials"},
			"redirect_uris": []string{}, "response_types": []string{}, "scope": "read write",
		},
		document: map[string]any{"client_id": "id-" + client, "token_endpoint_auth_method": method},
		request:  map[string]any{},
	}
}

// secretRow returns a row with a new secret, which the server and the document have.
func (e *env) secretRow(client, method, key string) row {
	r := newRow(client, method, key)
	secret := rand.Text() + secretText
	e.addSecret(secret)
	r.register["client_secret"], r.document["client_secret"] = secret, secret
	return r
}

func (e *env) secretRows(p *peer) ([]row, error) {
	var rows []row
	for _, method := range []string{"client_secret_post", "client_secret_basic"} {
		right := e.secretRow(strings.ReplaceAll(method, "_", "-"), method, "secret")
		wrong := e.secretRow("wrong-"+right.client, method, "wrong secret")
		other := rand.Text() + secretText
		e.addSecret(other)
		wrong.document["client_secret"], wrong.wrong = other, true
		rows = append(rows, right, wrong)
	}
	method := p.secretMethod()
	if p.has("scope") {
		scoped := e.secretRow("scope", method, "secret, scope")
		scoped.request["scope"] = "read"
		rows = append(rows, scoped)
	}
	if p.has("resource") {
		targeted := e.secretRow("resource", method, "secret, resource")
		targeted.request["resource"], targeted.audience = resource, resource
		rows = append(rows, targeted)
	}
	return rows, nil
}

// keyRows returns the rows of private_key_jwt, with keys in the document and in KMS.
func (e *env) keyRows(p *peer) ([]row, error) {
	var rows []row
	for _, k := range []struct {
		alg, spec string
		kind      oauthtest.KeyKind
	}{{"RS256", "RSA_2048", oauthtest.RSA2048}, {"PS256", "RSA_2048", oauthtest.RSA2048}, {"ES256", "ECC_NIST_P256", oauthtest.P256}, {"ES384", "ECC_NIST_P384", oauthtest.P384}} {
		if !slices.Contains(p.Algorithms, k.alg) {
			continue
		}
		key, err := oauthtest.NewKey(k.kind)
		if err != nil {
			return nil, err
		}
		other, err := oauthtest.NewKey(k.kind)
		if err != nil {
			return nil, err
		}
		text, err := oauthtest.KeyPEM(key)
		if err != nil {
			return nil, err
		}
		name := strings.ToLower(k.alg)
		pem := keyRow("pem-"+name, "PEM "+k.alg, k.alg, key.Public())
		pem.document["private_key"] = text
		wrong := keyRow("wrong-pem-"+name, "PEM "+k.alg+", wrong key", k.alg, other.Public())
		wrong.document["private_key"], wrong.wrong = text, true
		rows = append(rows, pem, wrong)
		if !e.aws.signsDigests() {
			continue
		}
		public, err := e.addKey("kms-"+name, k.spec)
		if err != nil {
			return nil, err
		}
		kms := keyRow("kms-"+name, "KMS "+k.spec+" "+k.alg, k.alg, public)
		kms.document["kms_key_id"] = alias(kms.client)
		if _, err := e.addKey("wrong-kms-"+name, k.spec); err != nil {
			return nil, err
		}
		wrongKMS := keyRow("wrong-kms-"+name, "KMS "+k.spec+" "+k.alg+", wrong key", k.alg, other.Public())
		wrongKMS.document["kms_key_id"], wrongKMS.wrong = alias(wrongKMS.client), true
		rows = append(rows, kms, wrongKMS)
	}
	return rows, nil
}

// keyRow returns a row whose registration has a public key.
func keyRow(client, key, alg string, public crypto.PublicKey) row {
	r := newRow(client, "private_key_jwt", key)
	r.document["alg"], r.document["kid"] = alg, keyID
	r.register["token_endpoint_auth_signing_alg"] = alg
	r.register["jwks"] = map[string]any{"keys": []any{jwkOf(public, alg)}}
	return r
}

// alias returns the only alias of a key in KMS that the function accepts for a client.
func alias(client string) string { return "alias/token-vendor/" + client }

func (e *env) addKey(client, spec string) (crypto.PublicKey, error) {
	return e.aws.addKey(spec, alias(client))
}

// certificateRows returns the rows of the methods of RFC 8705.
func (e *env) certificateRows(p *peer) ([]row, error) {
	var rows []row
	for _, method := range []string{"tls_client_auth", "self_signed_tls_client_auth"} {
		issue := e.ca.Issue
		if method == "self_signed_tls_client_auth" {
			issue = oauthtest.SelfSigned
		}
		issued, err := issue(oauthtest.Leaf{CommonName: method})
		if err != nil {
			return nil, err
		}
		other, err := issue(oauthtest.Leaf{CommonName: "other"})
		if err != nil {
			return nil, err
		}
		name := strings.ReplaceAll(method, "_", "-")
		right, err := certificateRow(name, method, "certificate", issued, issued)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(issued.Chain[0].Raw)
		thumbprint := base64.RawURLEncoding.EncodeToString(sum[:])
		if p.has("always_certificate_bound") {
			right.thumbprint = thumbprint
		}
		rows = append(rows, right)
		if p.has("certificate_bound") && p.has("resource") {
			bound, err := certificateRow("bound-"+name, method, "certificate, token bound to it", issued, issued)
			if err != nil {
				return nil, err
			}
			bound.register["tls_client_certificate_bound_access_tokens"] = true
			bound.thumbprint = thumbprint
			bound.request["resource"], bound.audience = resource, resource
			rows = append(rows, bound)
		}
		wrong, err := certificateRow("wrong-"+name, method, "wrong certificate", issued, other)
		if err != nil {
			return nil, err
		}
		wrong.wrong = true
		rows = append(rows, wrong)
	}
	return rows, nil
}

// certificateRow returns a row whose registration has one certificate and whose document
// has another, or the same.
func certificateRow(client, method, what string, registered, shown *oauthtest.Issued) (row, error) {
	r := newRow(client, method, what)
	key, err := oauthtest.KeyPEM(shown.Key)
	if err != nil {
		return r, err
	}
	r.document["certificate"], r.document["private_key"] = oauthtest.CertificatePEM(shown.Chain...), key
	leaf := registered.Chain[0]
	if method == "tls_client_auth" {
		r.register["tls_client_auth_subject_dn"] = leaf.Subject.String()
		return r, nil
	}
	entry := jwkOf(leaf.PublicKey, "ES256")
	entry.Chain = []string{base64.StdEncoding.EncodeToString(leaf.Raw)}
	r.register["jwks"] = map[string]any{"keys": []any{entry}}
	return r, nil
}
