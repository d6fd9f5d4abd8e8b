package oauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"strings"
	"testing"

	"tokenvendor/shared/oauth"
)

// TestForeignSignatures: what is not of the key that was named is not sent: it would be a
// failed logon of a key that was never used.
func TestForeignSignatures(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	otherRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	otherP256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
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
		"RS256, nothing": {rsaKey, "RS256", fixed(nil), false}, "RS256, short": {rsaKey, "RS256", fixed(make([]byte, 255)), false},
		"RS256, a megabyte": {rsaKey, "RS256", fixed(make([]byte, 1<<20)), false},
		"PS256 for RS256":   {rsaKey, "RS256", by(rsaKey, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}), false},
		"PS256":             {rsaKey, "PS256", by(rsaKey, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}), true},
		"PS256, other salt": {rsaKey, "PS256", by(rsaKey, longSalt), false}, "RS256 for PS256": {rsaKey, "PS256", by(rsaKey, crypto.SHA256), false},
		"ES256": {p256, "ES256", by(p256, crypto.SHA256), true}, "ES256, other key": {p256, "ES256", by(otherP256, crypto.SHA256), false},
		"ES256, nothing": {p256, "ES256", fixed(nil), false}, "ES256, rubbish": {p256, "ES256", fixed([]byte{0x30, 0x06, 2, 1, 1, 2, 1, 1}), false},
	} {
		signer, err := oauth.NewSigner(test.key.Public(), test.alg, test.sign)
		if err != nil {
			t.Fatal(err)
		}
		if signature, err := signer.Sign(t.Context(), []byte("message")); (err == nil) != test.good || err != nil && signature != nil {
			t.Errorf("%s: %d bytes, %v", name, len(signature), err)
		}
	}
}

// TestSlowProof: whose time was over is not the authorization server's fault.
func TestSlowProof(t *testing.T) {
	client, err := oauth.NewClient(oauth.Config{
		ID: "x", TokenEndpoint: "https://as.example/token", Method: oauth.AWSWebIdentity,
		Authenticator: oauth.IssuedAssertion{Issue: func(context.Context) (oauth.Secret, error) {
			return oauth.Secret{}, errors.Join(errors.New("sts"), oauth.ErrTemporary, context.DeadlineExceeded)
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = oauth.NewExchanger(oauth.ExchangerConfig{}).Exchange(t.Context(), client, oauth.Request{})
	var failure *oauth.Error
	if !errors.As(err, &failure) || failure.Reason != oauth.NoProof || !failure.Temporary() || !strings.Contains(err.Error(), "sts") {
		t.Errorf("%v", err)
	}
}
