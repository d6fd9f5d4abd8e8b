package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"maps"
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
	// Values that no output may hold begin with "cnry-".
	testSecret = "cnry-client-secret"
	testToken  = "cnry-access-token-0123456789abcdef"
	testProof  = "cnry-envelope-proof"
	testAlias  = "http"
)

// env is what the function calls: an authorization server and the secrets of its clients. It
// counts the calls.
type env struct {
	server           *httptest.Server
	secrets          map[string]string // by name; not changed after newEnv
	anyClient        bool              // every other name has the secret of billing; not changed after the first event
	reads, exchanges atomic.Int64

	mu    sync.Mutex
	wrong []string // what was wrong about forms; guarded by mu
}

func newEnv(t testing.TB) *env {
	t.Helper()
	e := &env{}
	e.server = httptest.NewUnstartedServer(http.HandlerFunc(e.exchange))
	e.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	e.server.StartTLS()
	t.Cleanup(e.server.Close)
	e.secrets = map[string]string{
		"billing":   e.document(t, nil),
		"bil--ling": e.document(t, nil),
		"large":     e.document(t, map[string]any{"client_id": "large"}),
		"bounded": e.document(t, map[string]any{
			"scope": "read write", "resource": []string{"urn:a", "urn:b"}, "audience": "inside", "token_format": "jwt",
		}),
		"broken": `{"client_id":"` + testSecret + `"`,
	}
	return e
}

// document returns a client's secret in the native format, changed by more.
func (e *env) document(t testing.TB, more map[string]any) string {
	t.Helper()
	members := map[string]any{
		"token_endpoint": e.server.URL + "/oauth2/token", "client_id": "id", "client_secret": testSecret,
		"ca_certificates":  string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: e.server.Certificate().Raw})),
		"allow_parameters": []string{"x_extra", "app_tid"},
	}
	maps.Copy(members, more)
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// exchange is the authorization server.
func (e *env) exchange(w http.ResponseWriter, r *http.Request) {
	e.exchanges.Add(1)
	if err := r.ParseForm(); err != nil {
		e.addWrong("not a form")
	}
	for name, values := range r.PostForm {
		switch name {
		case "grant_type", "client_id", "client_secret", "scope", "audience", "token_format", "app_tid", "x_extra":
			if len(values) != 1 {
				e.addWrong(name + " is repeated")
			}
		case "resource":
		default:
			e.addWrong("a parameter that the document does not allow")
		}
	}
	if r.PostForm.Get("client_secret") != testSecret || r.PostForm.Get("grant_type") != "client_credentials" {
		e.addWrong("another credential or grant_type than the document's")
	}
	w.Header().Set("Content-Type", "application/json")
	if r.PostForm.Get("scope") == "refused" {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_scope"}`)
		return
	}
	access := testToken
	if r.PostForm.Get("client_id") == "large" {
		access = strings.Repeat("x", 60_000)
	}
	_, _ = io.WriteString(w, `{"access_token":"`+access+`","token_type":"Bearer","expires_in":3600}`)
}

func (e *env) addWrong(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wrong = append(e.wrong, what)
}

// checkForms fails the test if the authorization server got a form that no caller may cause.
func (e *env) checkForms(t *testing.T) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, what := range e.wrong {
		t.Errorf("the authorization server got a wrong form: %s", what)
	}
}

// ReadSecret implements secret.Reader.
func (e *env) ReadSecret(_ context.Context, name string, _ secret.Want) (secret.Secret, error) {
	e.reads.Add(1)
	text, ok := e.secrets[strings.TrimPrefix(name, testPrefix)]
	if !ok && e.anyClient {
		text, ok = e.secrets["billing"], true
	}
	if !ok || !strings.HasPrefix(name, testPrefix) {
		return secret.Secret{}, secret.ErrNotFound
	}
	return secret.Secret{Text: []byte(text), Version: "v1"}, nil
}

// ServeHTTP answers GetSecretValue of AWS Secrets Manager, for the binary.
func (e *env) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct{ SecretId, VersionStage string }
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if json.NewDecoder(r.Body).Decode(&in) != nil || r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" || in.VersionStage != "AWSCURRENT" && in.VersionStage != "AWSPREVIOUS" {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"ValidationException","Message":"cnry-message"}`)
		return
	}
	read, err := e.ReadSecret(r.Context(), in.SecretId, secret.Want{})
	if in.VersionStage == "AWSPREVIOUS" || errors.Is(err, secret.ErrNotFound) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"ResourceNotFoundException","Message":"cnry-message"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"ARN": "arn:aws:secretsmanager:eu-central-1:111122223333:secret:cnry-abcdef", "Name": in.SecretId,
		"SecretString": string(read.Text), "VersionId": read.Version, "VersionStages": []string{"AWSCURRENT"},
	})
}

// vendor returns the real core on this env.
func (e *env) vendor(lines io.Writer) *token.Vendor { return token.New(e.config(lines)) }

func (e *env) config(lines io.Writer) token.Config {
	return token.Config{
		Audit: audit.New(audit.Config{Output: lines}).Write,
		Clients: registry.New(registry.Config{
			Secrets: e, Prefix: testPrefix, Addresses: oauth.AddressPolicy{Private: true},
		}),
		Exchanger: oauth.NewExchanger(oauth.ExchangerConfig{UserAgent: "test"}),
	}
}

// grant returns a grant of the real core.
func (e *env) grant(t testing.TB, client string) token.Grant {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	grant, err := e.vendor(io.Discard).Vend(ctx, tokentest.Read(token.Request{Client: client}))
	if err != nil {
		t.Fatalf("Vend: %v", err)
	}
	return grant
}
