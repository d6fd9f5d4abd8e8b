package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // crypto.SHA256 in Algorithms
	_ "crypto/sha512" // crypto.SHA384 in Algorithms
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// AssertionTypeJWTBearer is the client_assertion_type of RFC 7523 section 2.2.
const AssertionTypeJWTBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// DefaultAssertionLifetime is how long an assertion is valid when
// [Assertion.Lifetime] is zero.
const DefaultAssertionLifetime = 60 * time.Second

// A Signer signs with a private key that may live elsewhere.
type Signer interface {
	// Algorithm is the JWS name of the signature, such as RS256 (RFC 7518
	// section 3.1).
	Algorithm() string
	// Sign returns the signature of message in the form that JWS asks for; for
	// ECDSA that is r and s side by side (RFC 7518 section 3.4). It keeps the
	// deadline of ctx, because a key may be a network away.
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// Assertion proves the client by a JWT that it signs itself (private_key_jwt,
// RFC 7523 section 2.2 and OpenID Connect Core section 9). Each attempt gets a
// new one, because servers refuse a jti that they have seen.
type Assertion struct {
	ClientID string
	// Audience is the one value of aud: the issuer, or the token endpoint.
	Audience string
	// Signer makes the signature; required.
	Signer Signer
	// KeyID is the kid header; empty: none.
	KeyID string
	// Thumbprint is the x5t#S256 header, base64url (RFC 7515 section 4.1.8);
	// empty: none.
	Thumbprint string
	// Type is the typ header; empty: JWT.
	Type string
	// Lifetime is the time from iat to exp; zero: [DefaultAssertionLifetime].
	Lifetime time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

type assertionHeader struct {
	Algorithm  string `json:"alg"`
	Type       string `json:"typ"`
	KeyID      string `json:"kid,omitempty"`
	Thumbprint string `json:"x5t#S256,omitempty"`
}

// assertionClaims has no nbf: a server whose clock is a second behind would
// refuse the assertion, and count a failed logon.
type assertionClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	ID       string `json:"jti"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
}

// Authenticate implements [Authenticator].
func (a Assertion) Authenticate(ctx context.Context, form url.Values, _ http.Header) error {
	jwt, err := a.sign(ctx)
	if err != nil {
		return err
	}
	form.Set("client_assertion_type", AssertionTypeJWTBearer)
	form.Set("client_assertion", jwt)
	return nil
}

func (a Assertion) sign(ctx context.Context) (string, error) {
	header := assertionHeader{Algorithm: a.Signer.Algorithm(), Type: a.Type, KeyID: a.KeyID, Thumbprint: a.Thumbprint}
	if header.Type == "" {
		header.Type = "JWT"
	}
	lifetime := a.Lifetime
	if lifetime == 0 {
		lifetime = DefaultAssertionLifetime
	}
	now := wallClock(a.Now)()
	claims := assertionClaims{
		Issuer:   a.ClientID,
		Subject:  a.ClientID,
		Audience: a.Audience,
		ID:       rand.Text(),
		IssuedAt: now.Unix(),
		Expires:  now.Add(lifetime).Unix(),
	}
	input := segment(header) + "." + segment(claims)
	signature, err := a.Signer.Sign(ctx, []byte(input))
	if err != nil {
		return "", fmt.Errorf("sign the client assertion: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func segment(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// localSigner signs with a key in memory.
type localSigner struct {
	key  crypto.Signer
	alg  string
	hash crypto.Hash
	opts crypto.SignerOpts
	// size is the length of r and of s in bytes; zero for RSA.
	size int
}

// DefaultAlgorithm returns the JWS algorithm that a key signs with when nothing
// else is said: RS256 for RSA, as the one that SAP's servers are known to take,
// ES256 for P-256, ES384 for P-384; "" for another key.
func DefaultAlgorithm(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return "RS256"
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return "ES256"
		case elliptic.P384():
			return "ES384"
		}
	}
	return ""
}

// NewLocalSigner returns a [Signer] for a key in memory. alg is RS256, PS256,
// ES256 or ES384 and must fit the key; empty means [DefaultAlgorithm].
func NewLocalSigner(key crypto.Signer, alg string) (Signer, error) {
	natural := DefaultAlgorithm(key.Public())
	if alg == "" {
		alg = natural
	}
	s := &localSigner{key: key, alg: alg, hash: crypto.SHA256}
	switch {
	case natural == "":
		return nil, errors.New("the key is neither RSA nor on the curve P-256 or P-384")
	case alg == "RS256" && natural == "RS256":
		s.opts = crypto.SHA256
	case alg == "PS256" && natural == "RS256":
		// RFC 7518 section 3.5: the salt is as long as the hash.
		s.opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	case alg == "ES256" && natural == "ES256":
		s.opts, s.size = crypto.SHA256, 32
	case alg == "ES384" && natural == "ES384":
		s.hash, s.opts, s.size = crypto.SHA384, crypto.SHA384, 48
	default:
		return nil, errors.New("alg does not fit the key, or is not one of RS256, PS256, ES256, ES384")
	}
	return s, nil
}

func (s *localSigner) Algorithm() string { return s.alg }

func (s *localSigner) Sign(_ context.Context, message []byte) ([]byte, error) {
	h := s.hash.New()
	h.Write(message)
	signature, err := s.key.Sign(rand.Reader, h.Sum(nil), s.opts)
	if err != nil {
		return nil, errors.New("the key failed to sign")
	}
	if s.size == 0 {
		return signature, nil
	}
	return JoinECDSA(signature, s.size)
}
