package endpoint_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tokenvendor/scripts/vendctl/endpoint"
	"tokenvendor/shared/client"
)

const (
	tokenCanary  = "cnry-token"
	awsCanary    = "cnry-aws"
	secretCanary = "cnry-local-secret"
)

// vendor is the API of a vendor. It is safe for concurrent use.
type vendor struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string // path and body; guarded by mu, as what follows
	status int      // of all answers; 0: 200
	delay  time.Duration
	offset time.Duration // of the clock
	// lifeless tokens have no expires_in.
	lifeless bool
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	v.mu.Lock()
	v.asked = append(v.asked, r.URL.Path+" "+string(body))
	n, status, delay := len(v.asked), v.status, v.delay
	v.mu.Unlock()
	time.Sleep(delay)
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIA/") {
		status = http.StatusForbidden
	}
	if status != 0 {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"error":%q,"error_description":"d","request_id":"r1"}`, map[int]string{503: "temporarily_unavailable", 403: "access_denied", 502: "server_error"}[status])
		return
	}
	if v.lifeless {
		_, _ = fmt.Fprintf(w, `{"access_token":"%s-%d","token_type":"Bearer"}`, tokenCanary, n)
		return
	}
	_, _ = fmt.Fprintf(w, `{"access_token":"%s-%d","token_type":"Bearer","expires_in":600,"refresh_after":480,"scope":"read"}`, tokenCanary, n)
}

func (v *vendor) requests() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]string(nil), v.asked...)
}

func (v *vendor) set(status int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.status = status
}

func (v *vendor) pass(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.offset += d
}

func (v *vendor) now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Now().Add(v.offset)
}

// kit is an endpoint with its vendor.
type kit struct {
	*httptest.Server
	t      *testing.T
	vendor *vendor
	mu     sync.Mutex
	log    bytes.Buffer // guarded by mu
	given  atomic.Int64 // calls of Config.Given
}

// Write implements [io.Writer] for the log.
func (k *kit) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.log.Write(p)
}

func newKit(t *testing.T, routes ...string) *kit {
	t.Helper()
	v := &vendor{}
	v.Server = httptest.NewServer(v)
	t.Cleanup(v.Close)
	k := &kit{t: t, vendor: v}
	tokens, err := client.New(client.Config{URLs: []string{v.URL + "/prod/token"}, Now: v.now, AWS: aws.Config{
		Region: "eu-central-1", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: awsCanary}, nil
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := endpoint.Config{Tokens: tokens, Secret: secretCanary, Log: k, Now: v.now, Given: func() { k.given.Add(1) }}
	for _, text := range routes {
		route, err := endpoint.ParseRoute(text)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Routes = append(cfg.Routes, route)
	}
	handler, err := endpoint.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	k.Server = httptest.NewServer(handler)
	t.Cleanup(k.Close)
	t.Cleanup(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.checkSilent("the log", k.log.String())
		k.checkSilent("the metrics", k.get("/metrics", nil).body)
	})
	return k
}

func (k *kit) checkSilent(where, text string) {
	k.t.Helper()
	for _, canary := range []string{tokenCanary, awsCanary, secretCanary} {
		if strings.Contains(text, canary) {
			k.t.Errorf("%s shows %s", where, canary)
		}
	}
}

// result is an answer.
type result struct {
	status int
	header http.Header
	body   string
}

func (r result) members(t *testing.T) (members map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), &members); err != nil {
		t.Fatalf("got %q, want JSON", r.body)
	}
	return members
}

func (k *kit) do(method, path string, header map[string]string, body io.Reader) result {
	k.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, k.URL+path, body)
	if err != nil {
		k.t.Fatal(err)
	}
	for name, value := range header {
		if name == "Host" {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	noRedirects := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := noRedirects.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		k.t.Fatal(err)
	}
	return result{resp.StatusCode, resp.Header, string(text)}
}

func (k *kit) get(path string, header map[string]string) result {
	k.t.Helper()
	return k.do(http.MethodGet, path, header, nil)
}

// post sends a form.
func (k *kit) post(path string, header map[string]string, form url.Values) result {
	k.t.Helper()
	all := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	for name, value := range header {
		all[name] = value
	}
	return k.do(http.MethodPost, path, all, strings.NewReader(form.Encode()))
}

// good is a form that brings a token.
func good(more ...string) url.Values {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"billing"}, "client_secret": {secretCanary}}
	for i := 0; i < len(more); i += 2 {
		form[more[i]] = append(form[more[i]], more[i+1])
	}
	return form
}
