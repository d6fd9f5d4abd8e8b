package oauth

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
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

// IssuedAssertion proves the client by a JWT that somebody else issues, whom the
// authorization server trusts to say who we are (RFC 7521 section 3, RFC 7523
// section 3; SAP Cloud Identity Services: trust by issuer). Then there is no
// credential of the client's to keep at all.
type IssuedAssertion struct {
	// Issue returns a new JWT for each attempt; it keeps the deadline of ctx. An
	// error that wraps [ErrTemporary] may go away by itself. Required.
	Issue func(ctx context.Context) (Secret, error)
}

// Authenticate implements [Authenticator].
func (a IssuedAssertion) Authenticate(ctx context.Context, form url.Values, _ http.Header) error {
	jwt, err := a.Issue(ctx)
	if err != nil {
		return fmt.Errorf("get the client assertion: %w", err)
	}
	form.Set("client_assertion_type", AssertionTypeJWTBearer)
	form.Set("client_assertion", jwt.Expose())
	return nil
}
