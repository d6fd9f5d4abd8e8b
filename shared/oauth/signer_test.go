package oauth_test

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"

	"tokenvendor/shared/oauth"
)

// TestSignerRefusesSignatureOfOtherKey: the authorization server would count a failed logon.
func TestSignerRefusesSignatureOfOtherKey(t *testing.T) {
	rsaKey, p256, otherP256 := rsaKey(), ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	otherRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	fixed := func(signature []byte) oauth.SignDigest {
		return func(context.Context, []byte, crypto.SignerOpts) ([]byte, error) { return signature, nil }
	}
	by := func(key crypto.Signer, opts crypto.SignerOpts) oauth.SignDigest {
		return func(_ context.Context, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
			return key.Sign(rand.Reader, digest, opts)
		}
	}
	longSalt := &rsa.PSSOptions{SaltLength: 20, Hash: crypto.SHA256}
	for name, test := range map[string]struct {
		key  crypto.Signer
		alg  string
		sign oauth.SignDigest
		good bool
	}{
		"RS256": {rsaKey, "RS256", by(rsaKey, crypto.SHA256), true}, "RS256, other key": {rsaKey, "RS256", by(otherRSA, crypto.SHA256), false},
		"RS256, empty": {rsaKey, "RS256", fixed(nil), false}, "RS256, short": {rsaKey, "RS256", fixed(make([]byte, 255)), false},
		"RS256, 1 MiB":      {rsaKey, "RS256", fixed(make([]byte, 1<<20)), false},
		"PS256 for RS256":   {rsaKey, "RS256", by(rsaKey, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}), false},
		"PS256":             {rsaKey, "PS256", by(rsaKey, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}), true},
		"PS256, other salt": {rsaKey, "PS256", by(rsaKey, longSalt), false}, "RS256 for PS256": {rsaKey, "PS256", by(rsaKey, crypto.SHA256), false},
		"ES256": {p256, "ES256", by(p256, crypto.SHA256), true}, "ES256, other key": {p256, "ES256", by(otherP256, crypto.SHA256), false},
		"ES256, empty": {p256, "ES256", fixed(nil), false}, "ES256, another signature": {p256, "ES256", fixed([]byte{0x30, 0x06, 2, 1, 1, 2, 1, 1}), false},
	} {
		signer, err := oauth.NewSigner(test.key.Public(), test.alg, test.sign)
		if err != nil {
			t.Fatal(err)
		}
		if signature, err := signer.Sign(t.Context(), []byte("message")); (err == nil) != test.good || err != nil && signature != nil {
			t.Errorf("%s: got %d bytes, error %v, want success: %v", name, len(signature), err, test.good)
		}
	}
}

// TestSlowIssuerIsNoProof: a timeout of the assertion's issuer is not a timeout of the
// authorization server.
func TestSlowIssuerIsNoProof(t *testing.T) {
	client, err := oauth.NewClient(oauth.Config{
		ID: "x", TokenEndpoint: "https://as.example/token", Method: oauth.AWSWebIdentity,
		Authenticator: oauth.IssuedAssertion{Issue: func(context.Context) (oauth.Secret, error) {
			return oauth.Secret{}, errors.Join(errors.New("sts"), oauth.ErrTemporary, context.DeadlineExceeded)
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = exchanger().Exchange(t.Context(), client, oauth.Request{})
	var failure *oauth.Error
	if !errors.As(err, &failure) || failure.Reason != oauth.NoProof || !failure.Temporary() || !strings.Contains(err.Error(), "sts") {
		t.Errorf("got %v, want a temporary NoProof error that names sts", err)
	}
}
