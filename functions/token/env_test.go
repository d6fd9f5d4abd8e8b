package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

const (
	testPrefix = "token-vendor/clients/"
	// Everything that must never be seen again begins with "cnry-".
	testSecret = "cnry-client-secret"
	testToken  = "cnry-access-token-0123456789abcdef"
	testProof  = "cnry-envelope-proof"
	testAlias  = "http"
)

// env is what stands behind the function: an authorization server and the
// secrets of its clients. It counts what it is asked.
type env struct {
	server           *httptest.Server
	secrets          map[string]string // by name; not changed after newEnv
	anyClient        bool              // every other name is billing's; not changed after the first event
	reads, exchanges atomic.Int64

	mu    sync.Mutex
	wrong []string // forms that no authorization server may be sent; guarded by mu
}

func newEnv(t testing.TB) *env {
	t.Helper()
	w := &env{}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(w.exchange))
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	w.secrets = map[string]string{
		"billing":   w.document(t, nil),
		"bil--ling": w.document(t, nil),
		"large":     w.document(t, map[string]any{"client_id": "large"}),
		"bounded": w.document(t, map[string]any{
			"scope": "read write", "resource": []string{"urn:a", "urn:b"}, "audience": "inside", "token_format": "jwt",
		}),
		"broken": `{"client_id":"` + testSecret + `"`,
	}
	return w
}

// document is a client's secret in the native format.
func (w *env) document(t testing.TB, more map[string]any) string {
	t.Helper()
	members := map[string]any{
		"token_endpoint": w.server.URL + "/oauth2/token", "client_id": "id", "client_secret": testSecret,
		"ca_certificates":  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.Certificate().Raw})),
		"allow_parameters": []string{"x_extra"},
	}
	for name, value := range more {
		members[name] = value
	}
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// exchange is the authorization server.
func (w *env) exchange(rw http.ResponseWriter, r *http.Request) {
	w.exchanges.Add(1)
	if err := r.ParseForm(); err != nil {
		w.objectTo("not a form")
	}
	for name, values := range r.PostForm {
		switch name {
		case "grant_type", "client_id", "client_secret", "scope", "audience", "token_format", "app_tid", "x_extra":
			if len(values) != 1 {
				w.objectTo(name + " is repeated")
			}
		case "resource":
		default:
			w.objectTo("a parameter that nobody allowed")
		}
	}
	if r.PostForm.Get("client_secret") != testSecret || r.PostForm.Get("grant_type") != "client_credentials" {
		w.objectTo("the caller replaced the credential or the grant")
	}
	rw.Header().Set("Content-Type", "application/json")
	if r.PostForm.Get("scope") == "refused" {
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(rw, `{"error":"invalid_scope"}`)
		return
	}
	access := testToken
	if r.PostForm.Get("client_id") == "large" {
		access = strings.Repeat("x", 60_000)
	}
	_, _ = io.WriteString(rw, `{"access_token":"`+access+`","token_type":"Bearer","expires_in":3600}`)
}

func (w *env) objectTo(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, what)
}

// checkForms fails the test if the authorization server was sent what a caller
// must not be able to make it be sent.
func (w *env) checkForms(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, what := range w.wrong {
		t.Errorf("the authorization server was sent a wrong form: %s", what)
	}
}

// ReadSecret implements secret.Reader.
func (w *env) ReadSecret(_ context.Context, name string, _ bool) (secret.Secret, error) {
	w.reads.Add(1)
	text, ok := w.secrets[strings.TrimPrefix(name, testPrefix)]
	if !ok && w.anyClient {
		text, ok = w.secrets["billing"], true
	}
	if !ok || !strings.HasPrefix(name, testPrefix) {
		return secret.Secret{}, secret.ErrNotFound
	}
	return secret.Secret{Text: []byte(text), Version: "v1"}, nil
}

// ServeHTTP is the GetSecretValue of AWS Secrets Manager, for the binary.
func (w *env) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	var in struct{ SecretId, VersionStage string }
	rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if json.NewDecoder(r.Body).Decode(&in) != nil || r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" || in.VersionStage != "AWSCURRENT" {
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(rw, `{"__type":"ValidationException","Message":"cnry-message"}`)
		return
	}
	read, err := w.ReadSecret(r.Context(), in.SecretId, false)
	if errors.Is(err, secret.ErrNotFound) {
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(rw, `{"__type":"ResourceNotFoundException","Message":"cnry-message"}`)
		return
	}
	_ = json.NewEncoder(rw).Encode(map[string]any{
		"ARN": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:cnry-abcdef", "Name": in.SecretId,
		"SecretString": string(read.Text), "VersionId": read.Version, "VersionStages": []string{"AWSCURRENT"},
	})
}

// vendor is the real core on this env.
func (w *env) vendor(lines io.Writer) *token.Vendor { return token.New(w.config(lines)) }

func (w *env) config(lines io.Writer) token.Config {
	return token.Config{
		Audit: audit.New(audit.Config{Output: lines}).Write,
		Clients: registry.New(registry.Config{
			Secrets: w, Prefix: testPrefix, Addresses: oauth.AddressPolicy{Private: true},
		}),
		Exchanger: oauth.NewExchanger(oauth.ExchangerConfig{UserAgent: "test"}),
	}
}

// grant is a grant of the real core.
func (w *env) grant(t testing.TB, client string) token.Grant {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	grant, err := w.vendor(io.Discard).Vend(ctx, tokentest.Read(token.Request{Client: client}))
	if err != nil {
		t.Fatalf("no token: %v", err)
	}
	return grant
}
