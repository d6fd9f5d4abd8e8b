package oauthtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// serveToken is the token endpoint: record, misbehave if told to, else answer.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	request, body := readRequest(r)
	// For a fault that lets the request through.
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.mu.Lock()
	s.requests = append(s.requests, request)
	fault := s.nextFault()
	s.mu.Unlock()
	// Even what went wrong has a correlation identifier, as in the servers' logs.
	if request.Path == XSUAAPath {
		w.Header().Set("X-Vcap-Request-Id", rand.Text())
	} else {
		w.Header().Set("X-Ids-Id", rand.Text())
	}
	w.Header().Set("Server", "SAP")
	w.Header().Set("Cache-Control", "private,no-cache,no-store")
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, request) })
	if fault != nil {
		fault(w, r, next, s.done)
		return
	}
	next.ServeHTTP(w, r)
}

// answer verifies the request and issues a token.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, request Request) {
	proofs := findProofs(request)
	if code, problem := badForm(r, request); code != "" {
		writeError(w, http.StatusBadRequest, code, problem)
		return
	}
	if len(proofs) > 1 {
		writeError(w, http.StatusBadRequest, "invalid_request", "the client is authenticated by more than one method")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, claimed := s.authenticate(request, proofs[0])
	if c == nil || c.locked(s.cfg.Now()) {
		s.failLogon(w, request, claimed)
		return
	}
	c.inARow = 0
	if code, problem := c.refuses(request.Form); code != "" {
		writeError(w, http.StatusBadRequest, code, problem)
		return
	}
	c.exchanges++
	writeJSON(w, http.StatusOK, s.token(c, request, proofs[0].method))
}

// badForm says what is wrong with a request before anybody is authenticated, in
// the terms of RFC 6749 section 5.2.
func badForm(r *http.Request, request Request) (code, problem string) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Method != http.MethodPost:
		return "invalid_request", "the method must be POST"
	case media != "application/x-www-form-urlencoded":
		return "invalid_request", "the body must be a form"
	case r.URL.RawQuery != "":
		return "invalid_request", "parameters belong in the body"
	case request.problem != "":
		return "invalid_request", request.problem
	}
	for name, values := range request.Form {
		if len(values) > 1 && name != "resource" {
			return "invalid_request", "a parameter is repeated"
		}
	}
	switch request.Form.Get("grant_type") {
	case "client_credentials":
		return "", ""
	case "":
		return "invalid_request", "grant_type is missing"
	}
	return "unsupported_grant_type", "grant_type must be client_credentials"
}

// refuses checks what an authenticated client asks for.
func (c *registered) refuses(form url.Values) (code, problem string) {
	for scope := range strings.FieldsSeq(form.Get("scope")) {
		if c.Scopes != nil && !slices.Contains(c.Scopes, scope) {
			return "invalid_scope", "the scope is not granted to the client"
		}
	}
	for _, resource := range form["resource"] {
		if c.Resources != nil && !slices.Contains(c.Resources, resource) {
			return "invalid_target", "the resource is not a dependency of the client"
		}
	}
	switch form.Get("token_format") {
	case "", "jwt", "opaque":
	default:
		return "invalid_request", "token_format must be jwt or opaque"
	}
	if c.AppTID != "" && form.Get("app_tid") != c.AppTID {
		return "invalid_request", "app_tid is missing"
	}
	return "", ""
}

// failLogon counts a failed logon of the claimed client, which may be nil, and
// answers as the server behind the path does. mu must be held.
func (s *Server) failLogon(w http.ResponseWriter, r Request, claimed *registered) {
	description := "Client not found"
	if claimed != nil {
		claimed.fail(s.cfg.Now(), s.cfg.NeverLock)
		description = "Client authentication failed"
	}
	if r.Path == XSUAAPath {
		w.Header().Set("WWW-Authenticate", `Basic realm="UAA/client", error="unauthorized", error_description="Bad credentials"`)
		writeError(w, http.StatusUnauthorized, "unauthorized", "Bad credentials")
		return
	}
	// RFC 6749 section 5.2 wants the scheme that the client used.
	if r.Header.Get("Authorization") != "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="oauthtest"`)
	}
	writeError(w, http.StatusUnauthorized, "invalid_client", description)
}

func writeError(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]any{"error": code, "error_description": description})
}

func writeJSON(w http.ResponseWriter, status int, members map[string]any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(members)
}

// token makes the token answer to a client that was authenticated by method.
func (s *Server) token(c *registered, r Request, method string) map[string]any {
	lifetime := c.Lifetime
	if lifetime == 0 {
		lifetime = defaultLifetime
	}
	members := map[string]any{"token_type": "Bearer", "expires_in": int(lifetime.Seconds())}
	if r.Path == XSUAAPath {
		members["token_type"], members["jti"] = "bearer", rand.Text()
	}
	if scope := r.Form.Get("scope"); scope != "" {
		members["scope"] = scope
	}
	members["access_token"] = rand.Text() + rand.Text()
	if format := r.Form.Get("token_format"); format == "opaque" || format == "" && c.Opaque {
		return members
	}
	now := s.cfg.Now()
	claims := map[string]any{
		"iss": s.Issuer(), "sub": c.ID, "azp": c.ID, "aud": c.ID, "sap_id_type": "app", "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}
	if resources := r.Form["resource"]; len(resources) > 0 {
		claims["aud"], claims["ias_apis"] = resources, []string{"all"}
	}
	if tid := r.Form.Get("app_tid"); tid != "" {
		claims["app_tid"] = tid
	}
	// Bound to the certificate only if that was the proof (RFC 8705 section 3).
	if method == "tls_client_auth" {
		sum := sha256.Sum256(r.Certificate.Raw)
		claims["cnf"] = map[string]string{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
	}
	members["access_token"] = s.sign(claims)
	return members
}

func (s *Server) sign(claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return text
}

// Key returns the key that verifies access tokens.
func (s *Server) Key() crypto.PublicKey { return s.key.Public() }

func (s *Server) serveKeys(w http.ResponseWriter, _ *http.Request) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public().(*ecdsa.PublicKey), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(set)
}

// serveMetadata answers as RFC 8414 section 3.2 and OpenID Connect Discovery do.
func (s *Server) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	s.counts.metadata++
	s.mu.Unlock()
	members := map[string]any{
		"issuer":                                s.Issuer(),
		"token_endpoint":                        s.TokenEndpoint(),
		"jwks_uri":                              s.url + "/oauth2/certs",
		"grant_types_supported":                 []string{"client_credentials"},
		"token_endpoint_auth_methods_supported": []string{"tls_client_auth", "client_secret_basic", "client_secret_post", "private_key_jwt"},
		"tls_client_certificate_bound_access_tokens": true,
		"response_types_supported":                   []string{"token"},
	}
	if s.cfg.Metadata != nil {
		s.cfg.Metadata(members)
	}
	writeJSON(w, http.StatusOK, members)
}
