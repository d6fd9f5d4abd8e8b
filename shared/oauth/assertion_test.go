package oauth_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"tokenvendor/shared/oauth"
)

func assertion(t *testing.T, a oauth.Assertion) string {
	t.Helper()
	form := url.Values{}
	if err := a.Authenticate(t.Context(), form, http.Header{}); err != nil {
		t.Fatal(err)
	}
	if got := form.Get("client_assertion_type"); got != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		t.Errorf("got client_assertion_type %q", got)
	}
	return form.Get("client_assertion")
}

// TestAssertionVerifies verifies assertions with another implementation of JWS.
func TestAssertionVerifies(t *testing.T) {
	p256, p384, p521 := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), ecKey(t, elliptic.P521())
	_, ed, _ := ed25519.GenerateKey(rand.Reader) // never fails
	now := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		alg, want string
		key       crypto.Signer
	}{
		{"", "RS256", rsaKey()}, {"RS256", "RS256", rsaKey()}, {"PS256", "PS256", rsaKey()},
		{"RS384", "RS384", rsaKey()}, {"RS512", "RS512", rsaKey()}, {"PS384", "PS384", rsaKey()}, {"PS512", "PS512", rsaKey()},
		{"", "ES256", p256}, {"ES256", "ES256", p256}, {"", "ES384", p384}, {"ES384", "ES384", p384},
		{"", "ES512", p521}, {"ES512", "ES512", p521}, {"", "EdDSA", ed}, {"EdDSA", "EdDSA", ed},
	} {
		t.Run(tt.alg+" as "+tt.want, func(t *testing.T) {
			signer, err := oauth.NewLocalSigner(tt.key, tt.alg)
			if err != nil {
				t.Fatal(err)
			}
			text := assertion(t, oauth.Assertion{ClientID: "c1", Audience: "https://as.test", Signer: signer, KeyID: "k1", Thumbprint: "tp", Type: "client-authentication+jwt",
				Now: func() time.Time { return now }})
			parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(tt.want)})
			if err != nil {
				t.Fatal(err)
			}
			var claims struct {
				jwt.Claims
				Audience any `json:"aud"`
			}
			if err := parsed.Claims(tt.key.Public(), &claims); err != nil {
				t.Fatalf("verify the signature: %v", err)
			}
			head := parsed.Headers[0]
			if head.KeyID != "k1" || head.ExtraHeaders["typ"] != "client-authentication+jwt" || head.ExtraHeaders["x5t#S256"] != "tp" {
				t.Errorf("got header %v", head)
			}
			if claims.Issuer != "c1" || claims.Subject != "c1" || claims.Audience != "https://as.test" ||
				claims.IssuedAt.Time().Unix() != now.Unix() || claims.Expiry.Time().Sub(now) != time.Minute || claims.NotBefore != nil || len(claims.ID) < 22 {
				t.Errorf("got claims %+v", claims)
			}
		})
	}
}

func TestEachAssertionHasNewID(t *testing.T) {
	signer, err := oauth.NewLocalSigner(ecKey(t, elliptic.P256()), "")
	if err != nil {
		t.Fatal(err)
	}
	a := oauth.Assertion{ClientID: "c1", Audience: "a", Signer: signer}
	first, second := assertion(t, a), assertion(t, a)
	if payload(first) == payload(second) {
		t.Error("two assertions have the same claims")
	}
}

func payload(jwt string) string { return strings.Split(jwt, ".")[1] }

func TestNewSignerRefusesOtherAlgorithm(t *testing.T) {
	p256 := ecKey(t, elliptic.P256())
	for name, tt := range map[string]struct {
		alg string
		key crypto.Signer
	}{
		"none": {"none", rsaKey()}, "HMAC": {"HS256", rsaKey()}, "EC alg with RSA": {"ES256", rsaKey()}, "RSA alg with EC": {"PS256", p256},
		"larger curve": {"ES384", p256}, "P-224": {"", ecKey(t, elliptic.P224())}, "EdDSA with EC": {"EdDSA", p256}, "EdDSA with RSA": {"EdDSA", rsaKey()}, "SHA-1": {"RS1", rsaKey()},
	} {
		if _, err := oauth.NewLocalSigner(tt.key, tt.alg); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
