package keypair

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"tokenvendor/shared/keypair/keypairtest"
)

// jwkOf returns a key as another implementation writes it, with its members changed. A nil
// value removes a member.
func jwkOf(t testing.TB, key any, changes map[string]any) string {
	t.Helper()
	text := must(json.Marshal(jose.JSONWebKey{Key: key, KeyID: "k1", Use: "sig"}))
	members := make(map[string]any)
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	maps.Copy(members, changes)
	maps.DeleteFunc(members, func(_ string, value any) bool { return value == nil })
	return string(must(json.Marshal(members)))
}

func curveKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func TestParseJWK(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	for name, key := range map[string]crypto.Signer{
		"RSA": testMaterial().RSA, "P-256": curveKey(elliptic.P256()), "P-384": curveKey(elliptic.P384()), "P-521": curveKey(elliptic.P521()), "Ed25519": ed,
	} {
		t.Run(name, func(t *testing.T) {
			text := jwkOf(t, key, map[string]any{"alg": "any", "key_ops": []string{"sign"}, "x5c": []string{"MII"}})
			for form, text := range map[string]string{"as it is": text, "indented": "\n  " + text + "\n", "byte order mark": byteOrderMark + text} {
				if !IsJWK(text) {
					t.Errorf("%s: IsJWK is false", form)
				}
				pair, err := ParseJWK(text)
				if err != nil {
					t.Fatalf("%s: %v", form, err)
				}
				if !SamePublicKey(pair.Key.Public(), key.Public()) || pair.KeyID != "k1" || pair.Algorithm != "any" || len(pair.Chain) != 0 {
					t.Errorf("%s: got another key, kid %q or alg %q", form, pair.KeyID, pair.Algorithm)
				}
				message := make([]byte, 32)
				var opts crypto.SignerOpts = crypto.SHA256
				if name == "Ed25519" {
					opts = crypto.Hash(0)
				}
				if _, err := pair.Key.Sign(rand.Reader, message, opts); err != nil {
					t.Errorf("%s: the key does not sign: %v", form, err)
				}
			}
		})
	}
}

// Some libraries leave leading zeros out, and some pad base64url.
func TestParseJWKWithShortNumbers(t *testing.T) {
	key := curveKey(elliptic.P256())
	for must(key.Bytes())[0] != 0 {
		key = curveKey(elliptic.P256())
	}
	short := base64.URLEncoding.EncodeToString(bytes.TrimLeft(must(key.Bytes()), "\x00"))
	if pair, err := ParseJWK(jwkOf(t, key, map[string]any{"d": short})); err != nil || !key.PublicKey.Equal(pair.Key.Public()) {
		t.Errorf("got error %v, want the key", err)
	}
}

func TestParseJWKErrors(t *testing.T) {
	m := testMaterial()
	ec, other := curveKey(elliptic.P256()), curveKey(elliptic.P256())
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	encode := base64.RawURLEncoding.EncodeToString
	change := func(key any, name string, value any) string { return jwkOf(t, key, map[string]any{name: value}) }
	numbers := "is a JWK whose numbers do not belong together"
	for _, test := range []struct{ name, text, want string }{
		{"no kty", change(ec, "kty", nil), "is a JWK whose kty is not RSA, EC or OKP"},
		{"other kty", change(ec, "kty", keypairtest.Canary), "is a JWK whose kty is not RSA, EC or OKP"},
		{"set", `{"keys": [` + jwkOf(t, ec, nil) + `]}`, "is a JWK Set"},
		{"symmetric", jwkOf(t, []byte(keypairtest.Canary), nil), "is a symmetric JWK"},
		{"public RSA", jwkOf(t, m.RSA.Public(), nil), "is a public JWK"},
		{"public EC", jwkOf(t, ec.Public(), nil), "is a public JWK"},
		{"for encryption", change(ec, "use", "enc"), "is a JWK whose use or key_ops"},
		{"for verification", change(ec, "key_ops", []string{"verify"}), "is a JWK whose use or key_ops"},
		{"small", jwkOf(t, must(rsa.GenerateKey(rand.Reader, 1024)), nil), "is an RSA key of a size"},
		{"no n", change(m.RSA, "n", nil), "is a JWK whose n is missing"},
		{"no e", change(m.RSA, "e", nil), "is a JWK whose e is missing"},
		{"e of 64 bits", change(m.RSA, "e", encode([]byte{1, 0, 0, 0, 0, 0, 0, 1})), numbers},
		{"e of 1", change(m.RSA, "e", encode([]byte{1})), numbers},
		{"no primes", jwkOf(t, m.RSA, map[string]any{"p": nil, "q": nil}), "is a JWK without p and q"},
		{"three primes", change(m.RSA, "oth", []any{map[string]any{"r": "AQ"}}), "is an RSA key of more than two primes"},
		{"other d", change(m.RSA, "d", encode(m.RSA.N.Bytes()[1:])), numbers},
		{"other p", change(m.RSA, "p", encode(m.RSA.Primes[1].Bytes())), numbers},
		{"zero p", change(m.RSA, "p", encode([]byte{0})), numbers},
		{"d is no base64url", change(m.RSA, "d", "+/ "+keypairtest.Canary), "is a JWK whose d is not base64url"},
		{"d is a number", change(ec, "d", 12), "is a JWK whose d is not a string"},
		{"kid is a number", change(ec, "kid", 12), "is a JWK whose kid is not a string"},
		{"other curve", change(ec, "crv", "secp256k1"), "is an EC key on a curve"},
		{"no crv", change(ec, "crv", nil), "is an EC key on a curve"},
		{"no x", change(ec, "x", nil), "is a JWK whose x is missing"},
		{"other d of a curve", change(ec, "d", encode(must(other.Bytes()))), numbers},
		{"zero d of a curve", change(ec, "d", encode(make([]byte, 32))), numbers},
		{"long x", change(ec, "x", encode(bytes.Repeat([]byte{1}, 33))), "is a JWK whose x is too long"},
		{"X25519", change(ed, "crv", "X25519"), "is an OKP key on a curve"},
		{"short d of Ed25519", change(ed, "d", encode(make([]byte, 31))), numbers},
		{"other x of Ed25519", change(ed, "x", encode(make([]byte, 32))), numbers},
		{"two kty", strings.Replace(jwkOf(t, ec, nil), "{", `{"kty":"EC",`, 1), `looks like a JWK and is ambiguous`},
		{"half", jwkOf(t, ec, nil)[:40], "looks like a JWK and is not a JSON object"},
	} {
		t.Run(test.name, func(t *testing.T) {
			pair, err := ParseJWK(test.text)
			checkError(t, err, test.want, strings.ReplaceAll(test.text, `"`, "\n"))
			if err == nil || pair.Key != nil {
				t.Errorf("got a key: %t, error %v", pair.Key != nil, err)
			}
		})
	}
	for _, text := range []string{m.PEM["rsa.key"], "", "[]", `"{}"`} {
		if IsJWK(text) {
			t.Error("IsJWK is true for what is not an object")
		}
	}
}
