package oauth

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Assertion authenticates the client by a JWT that the client signs (private_key_jwt,
// RFC 7523 section 2.2 and OpenID Connect Core section 9). Each attempt sends a new JWT,
// because servers refuse a jti that was used before.
type Assertion struct {
	ClientID string
	// Audience is the only value of aud: the issuer or the token endpoint.
	Audience string
	// Signer signs the JWT; required.
	Signer Signer
	// KeyID is the kid header; empty: none.
	KeyID string
	// Thumbprint is the x5t#S256 header in base64url (RFC 7515 section 4.1.8); empty: none.
	Thumbprint string
	// OldThumbprint is the x5t header in base64url (RFC 7515 section 4.1.7), which AD FS
	// wants; empty: none.
	OldThumbprint string
	// Type is the typ header; empty: JWT.
	Type string
	// Lifetime is the time from iat to exp; zero: 60 seconds.
	Lifetime time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

type assertionHeader struct {
	Algorithm     string `json:"alg"`
	Type          string `json:"typ"`
	KeyID         string `json:"kid,omitempty"`
	Thumbprint    string `json:"x5t#S256,omitempty"`
	OldThumbprint string `json:"x5t,omitempty"`
}

// assertionClaims has no nbf: a server whose clock is a second late would refuse the
// assertion and count a failed logon.
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
	header := assertionHeader{Algorithm: a.Signer.Algorithm(), Type: cmp.Or(a.Type, "JWT"), KeyID: a.KeyID, Thumbprint: a.Thumbprint, OldThumbprint: a.OldThumbprint}
	now := wallClock(a.Now)()
	claims := assertionClaims{
		Issuer:   a.ClientID,
		Subject:  a.ClientID,
		Audience: a.Audience,
		ID:       rand.Text(),
		IssuedAt: now.Unix(),
		Expires:  now.Add(cmp.Or(a.Lifetime, 60*time.Second)).Unix(),
	}
	input := segment(header) + "." + segment(claims)
	signature, err := a.Signer.Sign(ctx, []byte(input))
	if err != nil {
		return fmt.Errorf("sign the client assertion: %w", err)
	}
	setAssertion(form, input+"."+base64.RawURLEncoding.EncodeToString(signature))
	return nil
}

func segment(v any) string { return base64.RawURLEncoding.EncodeToString(encode(v)) }

// encode encodes a struct of strings, numbers and times as JSON.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return text
}

// setAssertion sets the parameters of RFC 7523 section 2.2.
func setAssertion(form url.Values, jwt string) {
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", jwt)
}

// IssuedAssertion authenticates the client by a JWT of another issuer, which the
// authorization server trusts (RFC 7521 section 3, RFC 7523 section 3; SAP Cloud Identity
// Services: trust by issuer). The client then has no credential of its own.
type IssuedAssertion struct {
	// Issue returns a new JWT for each attempt, before the deadline of ctx. Its error wraps
	// [ErrTemporary] if a later call may succeed. Required.
	Issue func(ctx context.Context) (Secret, error)
}

// Authenticate implements [Authenticator].
func (a IssuedAssertion) Authenticate(ctx context.Context, form url.Values, _ http.Header) error {
	jwt, err := a.Issue(ctx)
	if err != nil {
		return fmt.Errorf("get the client assertion: %w", err)
	}
	setAssertion(form, jwt.Expose())
	return nil
}
