package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"tokenvendor/shared/oauth/oauthtest"
)

// row is one way to authenticate.
type row struct {
	client, method, key string
	// register is the client's registration at the server (RFC 7591), document its
	// secret, without the members that all have.
	register, document map[string]any
	// request is what is asked for besides.
	request map[string]any
	// wrong: the credential is; bound: the token is bound to the certificate;
	// audience: that of the token, which is a JWT.
	wrong, bound bool
	audience     string
}

// secretText has the characters that are written in more than one way.
const secretText = "Sp@re: /+%&=~"

// rows are all ways that the server takes.
func (g *ground) rows(p *peer) (all []row, err error) {
	for _, make := range []func(*peer) ([]row, error){g.secretRows, g.keyRows, g.certificateRows} {
		rows, err := make(p)
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

func (g *ground) secretRows(p *peer) ([]row, error) {
	var rows []row
	for _, method := range []string{"client_secret_post", "client_secret_basic"} {
		r := newRow(strings.ReplaceAll(method, "_", "-"), method, "secret")
		secret := rand.Text() + secretText
		r.register["client_secret"], r.document["client_secret"] = secret, secret
		wrong := newRow("wrong-"+r.client, method, "wrong secret")
		wrong.register["client_secret"], wrong.document["client_secret"], wrong.wrong = secret, secret+"x", true
		rows = append(rows, r, wrong)
	}
	scoped := newRow("scope", "client_secret_post", "secret, scope")
	scoped.register["client_secret"], scoped.document["client_secret"] = secretText+"0123456789012345678", secretText+"0123456789012345678"
	scoped.request["scope"] = "read"
	resource := newRow("resource", "client_secret_post", "secret, resource")
	resource.register["client_secret"], resource.document["client_secret"] = secretText+"0123456789012345678", secretText+"0123456789012345678"
	resource.request["resource"], resource.audience = "https://api.example.com/orders", "https://api.example.com/orders"
	if p.has("scope") {
		rows = append(rows, scoped)
	}
	if p.has("resource") {
		rows = append(rows, resource)
	}
	return rows, nil
}

// keyRows are private_key_jwt with keys in the document and in KMS.
func (g *ground) keyRows(*peer) ([]row, error) {
	var rows []row
	for _, k := range []struct {
		alg, spec string
		kind      oauthtest.KeyKind
	}{{"RS256", "RSA_2048", oauthtest.RSA2048}, {"PS256", "RSA_2048", oauthtest.RSA2048}, {"ES256", "ECC_NIST_P256", oauthtest.P256}, {"ES384", "ECC_NIST_P384", oauthtest.P384}} {
		local := newRow("pem-"+strings.ToLower(k.alg), "private_key_jwt", "PEM "+k.alg)
		key, err := oauthtest.NewKey(k.kind)
		if err != nil {
			return nil, err
		}
		if local.document["private_key"], err = oauthtest.KeyPEM(key); err != nil {
			return nil, err
		}
		remote := newRow("kms-"+strings.ToLower(k.alg), "private_key_jwt", "KMS "+k.spec+" "+k.alg)
		alias := "token-vendor/" + remote.client
		if _, err := g.keys.AddKey(k.spec, alias); err != nil {
			return nil, err
		}
		public, err := g.keys.Public("alias/" + alias)
		if err != nil {
			return nil, err
		}
		remote.document["kms_key_id"] = "alias/" + alias
		wrong := newRow("wrong-"+local.client, "private_key_jwt", "PEM "+k.alg+", of somebody else")
		wrong.document["private_key"], wrong.wrong = local.document["private_key"], true
		for _, pair := range []struct {
			r   row
			key crypto.PublicKey
		}{{local, key.Public()}, {remote, public}, {wrong, public}} {
			pair.r.document["alg"], pair.r.document["kid"] = k.alg, "k1"
			pair.r.register["token_endpoint_auth_signing_alg"] = k.alg
			pair.r.register["jwks"] = map[string]any{"keys": []any{jwk(pair.key, k.alg)}}
			rows = append(rows, pair.r)
		}
	}
	return rows, nil
}

// jwk is a public key as RFC 7517 writes it.
func jwk(key crypto.PublicKey, alg string) map[string]string {
	encode := base64.RawURLEncoding.EncodeToString
	out := map[string]string{"kid": "k1", "use": "sig", "alg": alg}
	switch k := key.(type) {
	case *rsa.PublicKey:
		out["kty"], out["n"], out["e"] = "RSA", encode(k.N.Bytes()), encode(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			return nil
		}
		half := (len(point) - 1) / 2
		out["kty"], out["crv"] = "EC", k.Params().Name
		out["x"], out["y"] = encode(point[1:1+half]), encode(point[1+half:])
	}
	return out
}

func (g *ground) certificateRows(p *peer) ([]row, error) {
	var rows []row
	for _, method := range []string{"tls_client_auth", "self_signed_tls_client_auth"} {
		issued, err := g.ca.Issue(oauthtest.Leaf{CommonName: method})
		if method == "self_signed_tls_client_auth" {
			issued, err = oauthtest.SelfSigned(oauthtest.Leaf{CommonName: method})
		}
		if err != nil {
			return nil, err
		}
		key, err := oauthtest.KeyPEM(issued.Key)
		if err != nil {
			return nil, err
		}
		certified := func(client, what string) row {
			r := newRow(client, method, what)
			r.document["certificate"], r.document["private_key"] = oauthtest.CertificatePEM(issued.Chain...), key
			r.register["tls_client_auth_subject_dn"] = issued.Chain[0].Subject.String()
			if method == "self_signed_tls_client_auth" {
				delete(r.register, "tls_client_auth_subject_dn")
				public := jwk(issued.Key.Public(), "ES256")
				entry := map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(issued.Chain[0].Raw)}}
				for name, value := range public {
					entry[name] = value
				}
				r.register["jwks"] = map[string]any{"keys": []any{entry}}
			}
			return r
		}
		name := strings.ReplaceAll(method, "_", "-")
		rows = append(rows, certified(name, "certificate"))
		if p.has("certificate_bound") && p.has("resource") {
			bound := certified("bound-"+name, "certificate, token bound to it")
			bound.register["tls_client_certificate_bound_access_tokens"], bound.bound = true, true
			bound.request["resource"], bound.audience = "https://api.example.com/orders", "https://api.example.com/orders"
			rows = append(rows, bound)
		}
		stranger, err := g.ca.Issue(oauthtest.Leaf{CommonName: "stranger"})
		if err != nil {
			return nil, err
		}
		strangerKey, err := oauthtest.KeyPEM(stranger.Key)
		if err != nil {
			return nil, err
		}
		wrong := certified("wrong-"+name, "certificate of somebody else")
		wrong.document["certificate"], wrong.document["private_key"], wrong.wrong = oauthtest.CertificatePEM(stranger.Chain...), strangerKey, true
		rows = append(rows, wrong)
	}
	return rows, nil
}

// result is a row with what came of it.
type result struct {
	row
	asked, failedLogons, tokens int
	// problem says what is not as it must be; empty: nothing.
	problem string
}

// ask stores the row's document and asks for its token twice.
func (g *ground) ask(ctx context.Context, s *server, r row) (out result) {
	out.row = r
	r.document["issuer"], r.document["ca_certificates"] = s.issuer, oauthtest.CertificatePEM(g.ca.Certificate)
	text, err := json.Marshal(r.document)
	if err == nil {
		_, err = g.secrets.Seed("token-vendor/clients/"+r.client, string(text))
	}
	var answers [2]answer
	if err == nil {
		answers[0], err = g.gateway(ctx, r.client, r.request)
	}
	if err == nil {
		answers[1], err = g.direct(ctx, r.client, r.request)
	}
	if err != nil {
		out.problem = err.Error()
		return out
	}
	statuses := s.asked("id-"+r.client, 1)
	for _, status := range statuses {
		if out.asked++; status != 200 {
			out.failedLogons++
		}
	}
	for _, a := range answers {
		if a.Token != "" {
			out.tokens++
		}
	}
	out.problem = judge(out, answers)
	return out
}

// judge says what is not as it must be.
func judge(out result, answers [2]answer) string {
	first := answers[0]
	switch {
	case out.wrong && (out.tokens > 0 || out.asked != 1 || out.failedLogons != 1 || first.Error != "server_error"):
		return fmt.Sprintf("a wrong credential must cost one failed logon and bring server_error; got %s", first.Error)
	case out.wrong:
		return ""
	case out.tokens != 2 || out.asked != 1 || out.failedLogons > 0:
		return fmt.Sprintf("two answers must cost one exchange; got %s and %s", first.Error, answers[1].Error)
	case first.Token != answers[1].Token:
		return "the second token must be the first"
	case !strings.EqualFold(first.Type, "Bearer") || first.ExpiresIn <= 0 || first.ExpiresIn > 600:
		return "the answer has no type or no life"
	case first.bound != out.bound:
		return fmt.Sprintf("certificate-bound is %t", first.bound)
	case out.audience != "" && !hasAudience(first.Token, out.audience):
		return "the token is not for the resource"
	case out.request["scope"] != nil && first.Scope != out.request["scope"]:
		return "the scope is another"
	}
	return ""
}

func hasAudience(token, audience string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Aud string }
	return err == nil && json.Unmarshal(text, &claims) == nil && claims.Aud == audience
}
