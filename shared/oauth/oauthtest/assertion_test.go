package oauthtest_test

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"tokenvendor/shared/oauth/oauthtest"
)

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func newKey(t *testing.T, kind oauthtest.KeyKind) crypto.Signer {
	t.Helper()
	key, err := oauthtest.NewKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAssertionsAreVerified(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	key, other := newKey(t, oauthtest.P256), newKey(t, oauthtest.P256)
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{"": key.Public()}})
	logon := func(claims map[string]any, key crypto.Signer) answer {
		return post(t, s, nil, "", "client_id", "c", "client_assertion", assertion(t, jose.ES256, "", key, claims), "client_assertion_type", jwtBearer)
	}
	once := claimsFor(s)
	logon(once, key).want(t, "good", 200, nil)
	logon(once, key).want(t, "replayed", 401, "invalid_client")
	logon(claimsFor(s), other).want(t, "other key", 401, "invalid_client")
	for name, value := range map[string]any{
		"iss": "x", "sub": "x", "aud": "https://other.test", "jti": "", "exp": time.Now().Add(-time.Second).Unix(),
	} {
		claims := claimsFor(s)
		claims[name] = value
		logon(claims, key).want(t, "wrong "+name, 401, "invalid_client")
		delete(claims, name)
		logon(claims, key).want(t, "no "+name, 401, "invalid_client")
	}
	claims := claimsFor(s)
	claims["exp"] = time.Now().Add(2 * time.Hour).Unix()
	logon(claims, key).want(t, "exp too far in the future", 401, "invalid_client")
	claims = claimsFor(s)
	claims["aud"] = []string{s.Issuer(), "https://other.test"}
	logon(claims, key).want(t, "two audiences", 401, "invalid_client")
}

func TestAssertionAlgorithmsAreVerified(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	rsa, p256, p384 := newKey(t, oauthtest.RSA2048), newKey(t, oauthtest.P256), newKey(t, oauthtest.P384)
	p521, ed := newKey(t, oauthtest.P521), newKey(t, oauthtest.Ed25519)
	public, err := x509.MarshalPKIXPublicKey(rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{
		"rsa": rsa.Public(), "p256": p256.Public(), "p384": p384.Public(), "p521": p521.Public(), "ed": ed.Public(),
	}})
	for _, tt := range []struct {
		name, kid string
		alg       jose.SignatureAlgorithm
		key       any
		ok        bool
	}{
		{"RS256", "rsa", jose.RS256, rsa, true},
		{"PS256", "rsa", jose.PS256, rsa, true},
		{"ES256", "p256", jose.ES256, p256, true},
		{"ES384", "p384", jose.ES384, p384, true},
		{"ES512", "p521", jose.ES512, p521, true},
		{"EdDSA", "ed", jose.EdDSA, ed, true},
		{"RS384", "rsa", jose.RS384, rsa, true},
		{"RS512", "rsa", jose.RS512, rsa, true},
		{"PS384", "rsa", jose.PS384, rsa, true},
		{"PS512", "rsa", jose.PS512, rsa, true},
		{"public key as HMAC key", "rsa", jose.HS256, public, false},
		{"other key's kid", "p256", jose.ES384, p384, false},
		{"unknown kid", "unknown", jose.ES256, p256, false},
		{"no kid", "", jose.ES256, p256, false},
	} {
		text := assertion(t, tt.alg, tt.kid, tt.key, claimsFor(s))
		if a := post(t, s, nil, "", "client_id", "c", "client_assertion", text, "client_assertion_type", jwtBearer); (a.status == 200) != tt.ok {
			t.Errorf("%s: got status %d, want success: %v", tt.name, a.status, tt.ok)
		}
	}
	text, err := json.Marshal(claimsFor(s))
	if err != nil {
		t.Fatal(err)
	}
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"p256"}`))
	unsigned := header + "." + base64.RawURLEncoding.EncodeToString(text) + "."
	post(t, s, nil, "", "client_id", "c", "client_assertion", unsigned, "client_assertion_type", jwtBearer).want(t, "none", 401, "invalid_client")
}

func TestAssertionParametersAreVerified(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	key := newKey(t, oauthtest.P256)
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{"": key.Public()}})
	good := func() string { return assertion(t, jose.ES256, "", key, claimsFor(s)) }
	for name, form := range map[string][]string{
		"no type":      {"client_id", "c", "client_assertion", good()},
		"other type":   {"client_id", "c", "client_assertion", good(), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
		"no assertion": {"client_id", "c", "client_assertion_type", jwtBearer},
		"no client_id": {"client_assertion", good(), "client_assertion_type", jwtBearer},
		"not a JWT":    {"client_id", "c", "client_assertion", "a.b.c", "client_assertion_type", jwtBearer},
	} {
		post(t, s, nil, "", form...).want(t, name, 401, "invalid_client")
	}
	for _, tt := range []struct {
		name, claim string
		value       any
		ok          bool
	}{
		{"token endpoint as audience", "aud", s.TokenEndpoint(), true},
		{"audience in an array", "aud", []string{s.Issuer()}, false},
		{"audience of another path", "aud", s.URL() + oauthtest.XSUAAPath, false},
		{"nbf now", "nbf", time.Now().Unix(), true},
		{"nbf in an hour", "nbf", time.Now().Add(time.Hour).Unix(), false},
		{"iat in an hour", "iat", time.Now().Add(time.Hour).Unix(), false},
		{"exp as text", "exp", "9999999999", false},
	} {
		claims := claimsFor(s)
		claims[tt.claim] = tt.value
		text := assertion(t, jose.ES256, "", key, claims)
		if a := post(t, s, nil, "", "client_id", "c", "client_assertion", text, "client_assertion_type", jwtBearer); (a.status == 200) != tt.ok {
			t.Errorf("%s: got status %d, want success: %v", tt.name, a.status, tt.ok)
		}
	}
	if err := s.Update("c", func(c *oauthtest.Client) { c.Audiences = []string{"urn:a"} }); err != nil {
		t.Fatal(err)
	}
	post(t, s, nil, "", "client_id", "c", "client_assertion", good(), "client_assertion_type", jwtBearer).want(t, "not the registered audience", 401, "invalid_client")
}

func claimsFor(s *oauthtest.Server) map[string]any {
	now := time.Now()
	return map[string]any{"iss": "c", "sub": "c", "aud": s.Issuer(), "jti": fmt.Sprint(now.UnixNano()), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
}

func assertion(t *testing.T, alg jose.SignatureAlgorithm, kid string, key any, claims map[string]any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestTrustAcceptsTheOtherIssuerOnly: with Trust, the issuer's name, key, subject and tags
// authenticate the client, and its own key does not.
func TestTrustAcceptsTheOtherIssuerOnly(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	key, other := newKey(t, oauthtest.P256), newKey(t, oauthtest.P256)
	s.Register(oauthtest.Client{
		ID: "c", Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{"k": other.Public()},
		Trust: &oauthtest.Trust{Issuer: "https://sts.example", Subject: "arn:aws:iam::1:role/token", Keys: map[string]crypto.PublicKey{"k": key.Public()}, Tags: map[string]string{"client": "billing"}},
	})
	tags := func(tags map[string]string) map[string]any { return map[string]any{"request_tags": tags} }
	const aws = "https://sts.amazonaws.com/"
	for _, tt := range []struct {
		name   string
		change map[string]any
		key    crypto.Signer
		ok     bool
	}{
		{"good", nil, key, true},
		{"more tags", map[string]any{aws: tags(map[string]string{"client": "billing", "job": "x"})}, key, true},
		{"its own key", nil, other, false},
		{"its own name", map[string]any{"iss": "c", "sub": "c"}, key, false},
		{"another issuer", map[string]any{"iss": "https://sts.example/"}, key, false},
		{"another subject", map[string]any{"sub": "arn:aws:iam::2:role/token"}, key, false},
		{"another audience", map[string]any{"aud": "https://other.example"}, key, false},
		{"another client's tag", map[string]any{aws: tags(map[string]string{"client": "payroll"})}, key, false},
		{"no tags", map[string]any{aws: nil}, key, false},
		{"expired", map[string]any{"exp": time.Now().Add(-time.Second).Unix()}, key, false},
	} {
		claims := claimsFor(s)
		claims["iss"], claims["sub"], claims[aws] = "https://sts.example", "arn:aws:iam::1:role/token", tags(map[string]string{"client": "billing"})
		for name, value := range tt.change {
			claims[name] = value
		}
		text := assertion(t, jose.ES256, "k", tt.key, claims)
		for _, again := range []bool{false, true} {
			a := post(t, s, nil, "", "client_id", "c", "client_assertion", text, "client_assertion_type", jwtBearer)
			if (a.status == 200) != (tt.ok && !again) {
				t.Errorf("%s, replayed %t: got status %d, want success: %v", tt.name, again, a.status, tt.ok && !again)
			}
		}
	}
}
