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

// maxAnswer bounds what is read of a response body, in bytes.
const maxAnswer = 1 << 20

// claims are the claims of a JWT or of an introspection response.
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

	how string // "signature", "introspected", or empty: not known
}

// audience is one string or several (RFC 7519 section 4.1.3).
type audience []string

func (a *audience) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(text, (*[]string)(a))
}

// verifier verifies the tokens of one server, by its keys or by introspection.
type verifier struct {
	http          *http.Client
	inspector     row
	Introspection string                      `json:"introspection_endpoint"`
	KeySet        string                      `json:"jwks_uri"`
	TokenEndpoint string                      `json:"token_endpoint"`
	keys          map[string]crypto.PublicKey // by kid
}

// newVerifier reads the server's metadata and keys. inspector is the client that
// introspects.
func (s *server) newVerifier(ctx context.Context, e *env, inspector row) (*verifier, error) {
	v := &verifier{http: e.http, inspector: inspector, keys: make(map[string]crypto.PublicKey)}
	if err := v.get(ctx, s.metadata(), v); err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if s.has("introspection") == (v.Introspection == "") {
		return nil, errors.New("the metadata and the description differ about introspection")
	}
	if v.KeySet == "" {
		return v, nil
	}
	var set struct{ Keys []jwk }
	if err := v.get(ctx, v.KeySet, &set); err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	for _, key := range set.Keys {
		// Keys of other kinds do not sign tokens.
		if public, err := key.public(); err == nil {
			v.keys[key.ID] = public
		}
	}
	return v, nil
}

func (v *verifier) get(ctx context.Context, address string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	return fetch(v.http.Do, request, into)
}

// fetch sends a request by do and decodes the JSON of the answer, which must have status
// 200; into may be nil.
func fetch(do func(*http.Request) (*http.Response, error), request *http.Request, into any) error {
	response, err := do(request)
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
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// examine verifies or introspects a token. Without a way to do so, how is empty.
func (v *verifier) examine(ctx context.Context, token string) (c claims, err error) {
	switch {
	case strings.Count(token, ".") == 2:
		return v.verify(token)
	case v.Introspection == "":
		return c, nil
	}
	form := url.Values{"token": {token}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, v.Introspection, strings.NewReader(form.Encode()))
	if err != nil {
		return c, err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	secret, _ := v.inspector.register["client_secret"].(string)
	request.SetBasicAuth(url.QueryEscape(v.inspector.id()), url.QueryEscape(secret))
	if err := fetch(v.http.Do, request, &c); err != nil {
		return c, fmt.Errorf("introspection: %w", err)
	}
	c.how = "introspected"
	return c, nil
}

// verify checks the signature of a JWT (RFC 7515) and returns its claims.
func (v *verifier) verify(token string) (c claims, err error) {
	last := strings.LastIndexByte(token, '.')
	signed, encoded := token[:last], token[last+1:]
	head, body, _ := strings.Cut(signed, ".")
	var header struct{ Alg, Kid string }
	signature, err := base64.RawURLEncoding.DecodeString(encoded)
	if err := errors.Join(err, decodePart(head, &header), decodePart(body, &c)); err != nil {
		return c, errors.New("the token is not a JWT")
	}
	if !signedBy(v.keys[header.Kid], header.Alg, signed, signature) {
		return c, errors.New("the token's signature is not by a key of the server")
	}
	c.how, c.Active = "signature", true
	return c, nil
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

// check says what is wrong with a token of r; empty: nothing.
func (c claims) check(r row, issuer string, now time.Time) string {
	switch {
	case c.how == "" && r.audience == "" && r.thumbprint == "":
		return ""
	case c.how == "":
		return "the token cannot be verified"
	case !c.Active:
		return "the token is not active"
	case c.Issuer != "" && c.Issuer != issuer, c.how == "signature" && c.Issuer == "":
		return "the token is of another issuer"
	case c.Client != r.id():
		return "the token is of another client"
	case c.Expires <= now.Unix():
		return "the token has expired"
	case r.audience != "" && (c.how != "signature" || !slices.Contains(c.Audience, r.audience)):
		return "the token is not a JWT for the resource"
	case c.Confirmation.Thumbprint != r.thumbprint:
		return "the token is bound to another certificate than it must be, or to none"
	}
	return ""
}
