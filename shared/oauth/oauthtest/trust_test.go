package oauthtest_test

import (
	"crypto"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenvendor/shared/oauth/oauthtest"
)

// TestTrust: a client that another issuer vouches for is known by that issuer's name,
// key, subject and tags, and by nothing of its own.
func TestTrust(t *testing.T) {
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
				t.Errorf("%s, again %t: status %d", tt.name, again, a.status)
			}
		}
	}
}
