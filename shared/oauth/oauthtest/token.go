package oauthtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// The paths of the token endpoint.
const (
	// TokenPath is that of SAP Cloud Identity Services.
	TokenPath = "/oauth2/token"
	// XSUAAPath is that of XSUAA, which answers a failed logon differently.
	XSUAAPath = "/oauth/token"
)

// endpoint is the token endpoint.
type endpoint struct {
	key       crypto.Signer // signs access tokens
	neverLock bool

	mu       sync.Mutex
	verifier verifier // guarded by mu
}

// answer verifies the request and issues a token.
func (e *endpoint) answer(w http.ResponseWriter, r *http.Request, request Request) {
	credentials := findCredentials(request)
	if code, problem := malformed(r, request); code != "" {
		writeError(w, http.StatusBadRequest, code, problem)
		return
	}
	if len(credentials) > 1 {
		writeError(w, http.StatusBadRequest, "invalid_request", "the client is authenticated by more than one method")
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c, proven := e.verifier.authenticate(request, credentials[0])
	if !proven || c.locked(e.verifier.now()) {
		e.failLogon(w, request, c)
		return
	}
	c.inARow = 0
	if code, problem := c.refuses(request.Form); code != "" {
		writeError(w, http.StatusBadRequest, code, problem)
		return
	}
	c.exchanges++
	writeJSON(w, http.StatusOK, e.token(c, request, credentials[0].method))
}

// malformed returns the error of a request that is refused before the client is
// authenticated (RFC 6749 section 5.2).
func malformed(r *http.Request, request Request) (code, problem string) {
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

// refuses returns the error for parameters that an authenticated client may not send.
func (c *registered) refuses(form url.Values) (code, problem string) {
	for scope := range strings.FieldsSeq(form.Get("scope")) {
		if c.Scopes != nil && !slices.Contains(c.Scopes, scope) {
			return "invalid_scope", "the scope is not granted to the client"
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

// failLogon counts a failed logon of the named client, which may be nil, and answers as
// the server of the path does. mu must be held.
func (e *endpoint) failLogon(w http.ResponseWriter, r Request, named *registered) {
	description := "Client not found"
	if named != nil {
		named.fail(e.verifier.now(), e.neverLock)
		description = "Client authentication failed"
	}
	if r.Path == XSUAAPath {
		w.Header().Set("WWW-Authenticate", `Basic realm="UAA/client", error="unauthorized", error_description="Bad credentials"`)
		writeError(w, http.StatusUnauthorized, "unauthorized", "Bad credentials")
		return
	}
	// RFC 6749 section 5.2 requires the scheme that the client used.
	if r.Header.Get("Authorization") != "" {
		w.Header().Set("WWW-Authenticate", `Basic realm="oauthtest"`)
	}
	writeError(w, http.StatusUnauthorized, "invalid_client", description)
}

// token returns the answer to a client that was authenticated by method.
func (e *endpoint) token(c *registered, r Request, method string) map[string]any {
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
	now := e.verifier.now()
	claims := map[string]any{
		"iss": e.verifier.issuer, "sub": c.ID, "azp": c.ID, "aud": c.ID, "sap_id_type": "app", "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}
	if resources := r.Form["resource"]; len(resources) > 0 {
		claims["aud"], claims["ias_apis"] = resources, []string{"all"}
	}
	if tid := r.Form.Get("app_tid"); tid != "" {
		claims["app_tid"] = tid
	}
	// Only a token for a client authenticated by its certificate is bound to it
	// (RFC 8705 section 3).
	if method == "tls_client_auth" {
		sum := sha256.Sum256(r.Certificate.Raw)
		claims["cnf"] = map[string]string{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
	}
	members["access_token"] = e.accessToken(claims)
	return members
}

func (e *endpoint) accessToken(claims map[string]any) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: e.key, KeyID: "k1"}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return text
}

func (e *endpoint) serveKeys(w http.ResponseWriter, _ *http.Request) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: e.key.Public().(*ecdsa.PublicKey), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(set)
}
