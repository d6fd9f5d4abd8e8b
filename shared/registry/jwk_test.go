package registry

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// jwkOf returns a private key as another implementation writes it, as an object of a document.
func jwkOf(t testing.TB, key any, kid, alg string) members {
	t.Helper()
	m := members{}
	if err := json.Unmarshal(must(json.Marshal(jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: alg, Use: "sig"})), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// The kid and the alg of a JWK are those of the assertion, whose signature the key verifies.
func TestJWKSignsAssertion(t *testing.T) {
	rsa := testMaterial().RSA
	p521 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	for _, test := range []struct {
		key      crypto.Signer
		kid, alg string
		more     members
		wantKid  string
		want     jose.SignatureAlgorithm
	}{
		{testMaterial().EC256, "k1", "ES256", nil, "k1", jose.ES256},
		{testMaterial().EC384, "k1", "", nil, "k1", jose.ES384},
		{p521, "k1", "ES512", members{"kid": "k1", "alg": "ES512"}, "k1", jose.ES512},
		{rsa, "r1", "RS384", nil, "r1", jose.RS384},
		{rsa, "", "", members{"kid": "own", "alg": "PS512"}, "own", jose.PS512},
		{rsa, "r1", "", members{"certificate": testMaterial().PEM["rsa.chain"], "token_endpoint_auth_method": "private_key_jwt"}, "r1", jose.RS256},
		{ed, "o1", "EdDSA", nil, "o1", jose.EdDSA},
		{ed, "o1", "Ed25519", nil, "o1", jose.EdDSA},
		{ed, "", "", nil, "", jose.EdDSA},
	} {
		object := jwkOf(t, test.key, test.kid, test.alg)
		for form, value := range map[string]any{"object": object, "text": string(must(json.Marshal(object)))} {
			document := members{"private_key": value}
			maps.Copy(document, test.more)
			got, _, err := exchangeAt(t, document, nil)
			if err != nil {
				t.Fatalf("%s as %s: %v", test.want, form, err)
			}
			_, assertion, _ := strings.Cut(got.body, "client_assertion=")
			assertion, _, _ = strings.Cut(assertion, "&")
			token, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{test.want})
			if err != nil {
				t.Fatalf("%s as %s: %v", test.want, form, err)
			}
			if err := token.Claims(test.key.Public(), &jwt.Claims{}); err != nil || token.Headers[0].KeyID != test.wantKid {
				t.Errorf("%s as %s: got kid %q, error %v, want kid %q and a good signature", test.want, form, token.Headers[0].KeyID, err, test.wantKid)
			}
		}
	}
}

// The forms in which a document may hold a JWK mean the same.
func TestJWKInEveryDocument(t *testing.T) {
	key := jwkOf(t, testMaterial().EC256, "w1", "ES256")
	text := string(must(json.Marshal(key)))
	service := members{"clientid": "billing", "url": "https://tenant.accounts.ondemand.com", "app_tid": "t"}
	for name, document := range map[string]any{
		"wrapped":         members{"service_key": service, "private_key": key},
		"wrapped text":    members{"service_key": service, "private_key": text},
		"credentials":     members{"credentials": members{"client_id": "billing", "issuer": "https://tenant.accounts.ondemand.com", "private_key": key}},
		"text of the doc": string(native(members{"private_key": text})),
		"shadow":          members{"client_id": "billing", "token_endpoint": "https://as.example.com/token", "client_secret": "s", "shadow": members{"private_key": key}},
	} {
		client, err := load(t, must(json.Marshal(document)), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		method := client.Method
		if client.Shadow != nil {
			method = client.Shadow.Method
		}
		if method != "private_key_jwt" {
			t.Errorf("%s: got the method %s", name, method)
		}
	}
}

func TestJWKProblems(t *testing.T) {
	key := jwkOf(t, testMaterial().EC256, "k1", "ES256")
	with := func(changes members) members {
		changed := maps.Clone(key)
		maps.Copy(changed, changes)
		return changed
	}
	for _, test := range []struct {
		document members
		want     string
	}{
		{members{"private_key": with(members{"alg": "RSA-OAEP"})}, "private_key.alg does not fit the key"},
		{members{"private_key": with(members{"alg": "ES384"})}, "private_key.alg does not fit the key"},
		{members{"private_key": key, "alg": "ES384"}, "alg is not the same as private_key.alg"},
		{members{"private_key": key, "alg": "RS256"}, "alg is not the same as private_key.alg"},
		{members{"private_key": with(members{"kid": strings.Repeat("k", 257)})}, "private_key.kid is too long"},
		{members{"private_key": with(members{"kid": "a\nb"})}, "private_key.kid is too long, or holds"},
		{members{"private_key": key, "private_key_password": "p"}, "private_key_password is not used by a JWK"},
		{members{"private_key": key, "kid": "other"}, "kid is not the same as private_key.kid"},
		{members{"private_key": with(members{"d": nil})}, "private_key is a JWK whose d is not a string"},
		{members{"private_key": with(members{"use": "enc"})}, "private_key is a JWK whose use or key_ops"},
		{members{"private_key": members{"keys": []any{key}}}, "private_key is a JWK Set"},
		{members{"private_key": members{}}, "private_key is a JWK whose kty is not"},
		{members{"private_key": []any{key}}, "private_key must be a string"},
		{members{"private_key": "{" + base64.StdEncoding.EncodeToString([]byte("x"))}, "private_key looks like a JWK and is not a JSON object"},
		{members{"private_key": key, "certificate": testMaterial().PEM["rsa.chain"], "token_endpoint_auth_method": "private_key_jwt"}, "certificate and private_key do not belong together"},
		{members{"private_key": key, "client_secret": "s", "token_endpoint_auth_method": "client_secret_basic"}, "private_key is not used by client_secret_basic"},
	} {
		document := native(test.document)
		problems := problemsOf(t, document)
		if !strings.HasPrefix(problems[0], test.want) {
			t.Errorf("got %q, want %q", problems, test.want)
		}
		d, _ := key["d"].(string)
		if text := strings.Join(problems, " "); strings.Contains(text, d) {
			t.Error("the problem repeats the private key")
		}
	}
}
