package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

// claims are what a JWT or an introspection says of a token.
type claims struct {
	Active       bool
	Issuer       string   `json:"iss"`
	Client       string   `json:"client_id"`
	Audience     audience `json:"aud"`
	Expires      int64    `json:"exp"` // Unix seconds
	Scope        string
	Confirmation struct {
		Thumbprint string `json:"x5t#S256"`
	} `json:"cnf"`

	// how it is known: by the token's signature or by introspection.
	how string
}

// audience is one text or several (RFC 7519 section 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// authority is where a server says what its tokens are worth.
type authority struct {
	http          *http.Client
	inspector     row
	Introspection string                      `json:"introspection_endpoint"`
	KeySet        string                      `json:"jwks_uri"`
	TokenEndpoint string                      `json:"token_endpoint"`
	keys          map[string]crypto.PublicKey // by kid
}

// authority reads the server's metadata and keys. inspector may introspect.
func (s *server) authority(ctx context.Context, g *ground, inspector row) (*authority, error) {
	a := &authority{http: g.http, inspector: inspector, keys: make(map[string]crypto.PublicKey)}
	if err := a.get(ctx, s.metadata(), a); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if s.has("introspection") == (a.Introspection == "") {
		return nil, errors.New("the description is wrong about introspection")
	}
	if a.KeySet == "" {
		return a, nil
	}
	var set struct{ Keys []jwk }
	if err := a.get(ctx, a.KeySet, &set); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	for _, key := range set.Keys {
		// A kind that is not known here signs other things.
		if public, err := key.public(); err == nil {
			a.keys[key.ID] = public
		}
	}
	return a, nil
}

func (a *authority) get(ctx context.Context, address string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	return a.do(request, into)
}

func (a *authority) do(request *http.Request, into any) error {
	response, err := a.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return json.Unmarshal(text, into)
}

// examine returns what the server says of a token; how is empty if it cannot.
func (a *authority) examine(ctx context.Context, token string) (c claims, err error) {
	switch {
	case strings.Count(token, ".") == 2:
		return a.verify(token)
	case a.Introspection == "":
		return c, nil
	}
	form := url.Values{"token": {token}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.Introspection, strings.NewReader(form.Encode()))
	if err != nil {
		return c, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	secret, _ := a.inspector.register["client_secret"].(string)
	request.SetBasicAuth(url.QueryEscape(a.inspector.id()), url.QueryEscape(secret))
	if err := a.do(request, &c); err != nil {
		return c, fmt.Errorf("introspection: %w", err)
	}
	c.how = "introspected"
	return c, nil
}

// verify checks the signature of a JWT (RFC 7515).
func (a *authority) verify(token string) (c claims, err error) {
	signed, encoded, _ := cutLast(token, ".")
	head, body, _ := strings.Cut(signed, ".")
	var header struct{ Alg, Kid string }
	signature, err := base64.RawURLEncoding.DecodeString(encoded)
	if err := errors.Join(err, decodePart(head, &header), decodePart(body, &c)); err != nil {
		return c, errors.New("the token is no JWT")
	}
	if !signedBy(a.keys[header.Kid], header.Alg, signed, signature) {
		return c, errors.New("the signature of the token is not the server's")
	}
	c.how, c.Active = "signature", true
	return c, nil
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

func decodePart(part string, into any) error {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func signedBy(key crypto.PublicKey, alg, text string, signature []byte) bool {
	hash := crypto.SHA256
	if strings.HasSuffix(alg, "384") {
		hash = crypto.SHA384
	}
	h := hash.New()
	h.Write([]byte(text))
	digest := h.Sum(nil)
	switch k := key.(type) {
	case *rsa.PublicKey:
		switch alg {
		case "RS256":
			return rsa.VerifyPKCS1v15(k, hash, digest, signature) == nil
		case "PS256":
			return rsa.VerifyPSS(k, hash, digest, signature, &rsa.PSSOptions{SaltLength: hash.Size()}) == nil
		}
	case *ecdsa.PublicKey:
		half := (k.Params().BitSize + 7) / 8
		return len(signature) == 2*half && alg == fmt.Sprintf("ES%d", hash.Size()*8) &&
			ecdsa.Verify(k, digest, new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]))
	}
	return false
}

// fault says what is not right about a token of r; empty: nothing.
func (c claims) fault(r row, issuer string, now time.Time) string {
	switch {
	case c.how == "" && r.audience == "" && r.thumbprint == "":
		return ""
	case c.how == "":
		return "the token is no JWT, and nobody says what it is worth"
	case !c.Active:
		return "the server does not know its token"
	case c.Issuer != "" && c.Issuer != issuer, c.how == "signature" && c.Issuer == "":
		return "the token is of another issuer"
	case c.Client != r.id():
		return "the token is of another client"
	case c.Expires <= now.Unix():
		return "the token has expired"
	case r.audience != "" && (c.how != "signature" || !slices.Contains(c.Audience, r.audience)):
		return "the token is no JWT for the resource"
	case c.Confirmation.Thumbprint != r.thumbprint:
		return "the token is not bound to the certificate that it must be bound to, if any"
	}
	return ""
}
