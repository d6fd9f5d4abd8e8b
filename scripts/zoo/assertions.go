package main

import (
	"crypto"
	"crypto/sha1" // #nosec G505 -- x5t (RFC 7515 section 4.1.7) is SHA-1
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

// signers are private keys by their kinds.
type signers map[string]crypto.Signer

func newSigners() signers {
	made := make(signers)
	for name, kind := range map[string]oauthtest.KeyKind{
		"rsa": oauthtest.RSA2048, "P-256": oauthtest.P256, "P-521": oauthtest.P521, "Ed25519": oauthtest.Ed25519,
	} {
		key, err := oauthtest.NewKey(kind)
		must(err)
		made[name] = key
	}
	return made
}

// byKey returns a document with a private key, and further members.
func byKey(key any, more doc) func(*zoo, string) any {
	return with("private_key", key, more)
}

// jwk returns a key as a JWK that another implementation writes.
func (s signers) jwk(key, kid, alg string) doc {
	text, err := json.Marshal(jose.JSONWebKey{Key: s[key], KeyID: kid, Algorithm: alg, Use: "sig"})
	var members doc
	if err == nil {
		err = json.Unmarshal(text, &members)
	}
	must(err)
	return members
}

func (s signers) jwkText(key, kid, alg string) string {
	text, err := json.Marshal(s.jwk(key, kid, alg))
	must(err)
	return string(text)
}

func (s signers) pem(key string) string {
	text, err := oauthtest.KeyPEM(s[key])
	must(err)
	return text
}

// assertions are keys and headers of private_key_jwt.
func assertions(s signers) []scenario {
	return []scenario{
		{name: "jwk", oddity: "a JWK as private_key, with its kid and alg", document: byKey(s.jwk("P-256", "k1", "ES256"), nil), check: s.signed("P-256", doc{"alg": "ES256", "kid": "k1"})},
		{name: "jwk-text", oddity: "the same as a text", document: byKey(s.jwkText("P-256", "k2", "ES256"), nil), check: s.signed("P-256", doc{"alg": "ES256", "kid": "k2"})},
		{name: "jwk-rsa", oddity: "a JWK with RS384", document: byKey(s.jwk("rsa", "r1", "RS384"), nil), check: s.signed("rsa", doc{"alg": "RS384", "kid": "r1"})},
		{name: "jwk-ed25519", oddity: "a JWK with EdDSA", document: byKey(s.jwkText("Ed25519", "o1", "EdDSA"), nil), check: s.signed("Ed25519", doc{"alg": "EdDSA", "kid": "o1"})},
		{name: "jwk-other-kid", oddity: "a JWK and another kid beside it", document: byKey(s.jwk("P-256", "k3", ""), doc{"kid": "k4"}), refused: "kid is not the same as private_key.kid", check: nothingSent},
		{name: "jwk-public", oddity: "the public half of a JWK", document: byKey(doc{"kty": "OKP", "crv": "Ed25519", "x": s.jwk("Ed25519", "", "")["x"]}, nil), refused: "private_key is a public JWK", check: nothingSent},
		{name: "es512", oddity: "ES512 (alg)", document: byKey(s.pem("P-521"), doc{"kid": "e1", "alg": "ES512"}), check: s.signed("P-521", doc{"alg": "ES512", "kid": "e1"})},
		{name: "rs512", oddity: "RS512 (alg)", document: byKey(s.pem("rsa"), doc{"kid": "r2", "alg": "RS512"}), check: s.signed("rsa", doc{"alg": "RS512", "kid": "r2"})},
		{name: "eddsa", oddity: "the algorithm of the key, and no client_id in the body", document: byKey(s.pem("Ed25519"), doc{"client_id_in_body": "false"}), check: s.signed("Ed25519", doc{"alg": "EdDSA", "kid": nil})},
		{name: "wrong-alg", oddity: "an alg that is not the key's", document: byKey(s.pem("rsa"), doc{"alg": "ES256"}), refused: "alg", check: nothingSent},
		{name: "x5t", oddity: "AD FS: x5t (assertion_thumbprint)", document: func(z *zoo, h string) any {
			chain, key := z.pair("x5t")
			return doc{
				"token_endpoint": "https://" + h + "/token", "client_id": theID, "certificate": chain, "private_key": key,
				"token_endpoint_auth_method": "private_key_jwt", "assertion_thumbprint": "x5t",
			}
		}, check: func(v *outcome) error {
			token, err := jwt.ParseSigned(v.requests[0].form.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				return err
			}
			head := token.Headers[0].ExtraHeaders
			if text, _ := head["x5t"].(string); base64.RawURLEncoding.DecodedLen(len(text)) != sha1.Size || head["x5t#S256"] != nil {
				return fmt.Errorf("the header has x5t %v and x5t#S256 %v", head["x5t"], head["x5t#S256"])
			}
			return nil
		}},
	}
}

// signed returns a check of the first request's assertion: its signature by a key, its claims, and
// members of its header.
func (s signers) signed(key string, want doc) func(*outcome) error {
	return func(v *outcome) error {
		var all []jose.SignatureAlgorithm
		for _, alg := range oauth.Algorithms() {
			all = append(all, jose.SignatureAlgorithm(alg))
		}
		token, err := jwt.ParseSigned(v.requests[0].form.Get("client_assertion"), all)
		if err != nil {
			return err
		}
		var claims jwt.Claims
		if err := token.Claims(s[key].Public(), &claims); err != nil {
			return err
		}
		if claims.Issuer != theID || claims.Subject != theID || claims.ID == "" || len(claims.Audience) != 1 {
			return fmt.Errorf("the claims were %+v", claims)
		}
		head := doc{"alg": token.Headers[0].Algorithm, "kid": token.Headers[0].KeyID}
		for name, value := range want {
			if value == nil {
				value = ""
			}
			if head[name] != value {
				return fmt.Errorf("the header %s was %v, want %v", name, head[name], value)
			}
		}
		return nil
	}
}
