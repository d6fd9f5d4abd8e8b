package awsapi

import (
	"compress/gzip"
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tokenvendor/shared/secret"
)

// setEnvironment sets AWS's variables as Lambda does, and removes all others.
func setEnvironment(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "cnry-key",
		"AWS_SESSION_TOKEN": "cnry-session", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

// configOf returns the configuration of an environment in which variable names the endpoint
// of a service.
func configOf(t *testing.T, variable, url string) aws.Config {
	t.Helper()
	setEnvironment(t)
	t.Setenv(variable, url)
	cfg, err := LoadConfig()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestSignedRequestDoesNotFollowRedirect(t *testing.T) {
	var redirected atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { redirected.Add(1) }))
	defer target.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		secrets, _ := newSecrets(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, target.URL, status) })
		_, err := secrets.ReadSecret(t.Context(), secretName, secret.Want{})
		if !errors.Is(err, secret.ErrUnavailable) {
			t.Errorf("status %d: got %v, want %v", status, err, secret.ErrUnavailable)
		}
	}
	if n := redirected.Load(); n != 0 {
		t.Errorf("the target of the redirect got %d requests, want 0", n)
	}
}

// The HTTP client has the time-out of an attempt, and trusts the certificates of AWS_CA_BUNDLE.
func TestLoadConfigSetsHTTPClient(t *testing.T) {
	setEnvironment(t)
	server := httptest.NewUnstartedServer(respondJSON(http.StatusOK, secretBody(nil)))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server.URL)
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		bundle string
		want   error
	}{{"", secret.ErrUnavailable}, {bundle, nil}} {
		t.Setenv("AWS_CA_BUNDLE", test.bundle)
		cfg, err := LoadConfig()
		if err != nil {
			t.Fatal(err)
		}
		if client, ok := cfg.HTTPClient.(httpClient); !ok || client.timeout != attemptTimeout {
			t.Errorf("got a client with the time-out %v, want %v", client.timeout, attemptTimeout)
		}
		if _, err := NewSecrets(cfg).ReadSecret(t.Context(), secretName, secret.Want{}); !errors.Is(err, test.want) {
			t.Errorf("AWS_CA_BUNDLE is set: %t: got %v, want %v", test.bundle != "", err, test.want)
		}
	}
}

// roundTripFunc is a transport.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The template declares AWS_ENDPOINT_URL with an empty value.
func TestEmptyEndpointURLMeansAWS(t *testing.T) {
	for value, want := range map[string]string{"": "secretsmanager.eu-central-1.amazonaws.com", "http://192.0.2.1:4566": "192.0.2.1:4566"} {
		setEnvironment(t)
		cfg := configOf(t, "AWS_ENDPOINT_URL", value)
		var host string
		cfg.HTTPClient = &http.Client{Transport: roundTripFunc(func(r *http.Request) (*http.Response, error) {
			host = r.URL.Host
			return nil, errors.New("no network")
		})}
		_, err := NewSecrets(cfg).ReadSecret(t.Context(), secretName, secret.Want{Once: true})
		if host != want || !errors.Is(err, secret.ErrUnavailable) {
			t.Errorf("AWS_ENDPOINT_URL=%q: got a request to %q, error %v; want %q", value, host, err, want)
		}
	}
}

func TestLoadConfigErrorNamesVariableWithoutValue(t *testing.T) {
	setEnvironment(t)
	t.Setenv("AWS_CA_BUNDLE", "/cnry/does/not/exist.pem")
	if _, err := LoadConfig(); err == nil || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") || strings.Contains(err.Error(), "cnry") {
		t.Errorf("a bundle that cannot be read: got %v, want AWS_CA_BUNDLE", err)
	}
	t.Setenv("AWS_CA_BUNDLE", "")
	t.Setenv("AWS_REGION", "")
	if _, err := LoadConfig(); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("no region: got %v, want AWS_REGION", err)
	}
}

// A response that is too large is an error and does not use up the memory. This includes error
// responses and compressed responses.
func TestResponsesAreLimited(t *testing.T) {
	const size = 64 << 20
	for name, respond := range map[string]func(http.ResponseWriter){
		"huge": func(w http.ResponseWriter) {
			_, _ = io.CopyN(w, blanks{}, size)
		},
		"huge error": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.CopyN(w, blanks{}, size)
		},
		"compressed": func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.CopyN(z, blanks{}, size)
			_ = z.Close()
		},
		"huge header": func(w http.ResponseWriter) { w.Header().Set("X-Filler", strings.Repeat("x", 2<<20)) },
	} {
		secrets, calls := newSecrets(t, func(w http.ResponseWriter, _ *http.Request) { respond(w) })
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := secrets.ReadSecret(t.Context(), secretName, secret.Want{}); err == nil {
			t.Errorf("%s: got no error, want one", name)
		}
		runtime.ReadMemStats(&after)
		// This includes what the server of the test allocates.
		if took := int64(after.TotalAlloc - before.TotalAlloc); calls.Load() == 0 || took > 24<<20 {
			t.Errorf("%s: got %d calls and %d bytes allocated for %d, want at most %d", name, calls.Load(), took, size, 24<<20)
		}
	}
	// A response of exactly the limit is complete.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.CopyN(w, blanks{}, maxBody) }))
	t.Cleanup(server.Close)
	response := get(t, server.URL, attemptTimeout)
	defer func() { _ = response.Body.Close() }()
	if text, err := io.ReadAll(response.Body); err != nil || len(text) != maxBody {
		t.Errorf("got %d bytes, %v, want %d", len(text), err, maxBody)
	}
}

// The time-out of an attempt holds until the end of the body, and ends when the body is closed.
func TestTimeoutIncludesBody(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	response := get(t, server.URL, 100*time.Millisecond)
	if text, err := io.ReadAll(response.Body); string(text) != "half" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %q, %v, want half a body and %v", text, err, context.DeadlineExceeded)
	}
	if err := response.Body.Close(); err != nil {
		t.Error(err)
	}
	ended := false
	if err := (responseBody{io.NopCloser(strings.NewReader("")), func() { ended = true }}).Close(); err != nil || !ended {
		t.Errorf("got %v, and the end of the time-out: %t", err, ended)
	}
}

// get returns the response of a server, as the SDK gets it with this time-out of an attempt.
func get(t *testing.T, url string, timeout time.Duration) *http.Response {
	t.Helper()
	client, err := newHTTPClient("")
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := withTimeout(client, timeout).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Without keys in variables, Lambda names an endpoint in the execution environment.
func TestCredentialsOfEndpoint(t *testing.T) {
	setEnvironment(t)
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1); r.Header.Get("Authorization") != "cnry-authorization" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"AccessKeyId":"id","SecretAccessKey":"cnry-key","Token":"cnry-session","Expiration":"2999-01-01T00:00:00Z"}`)
	}))
	defer server.Close()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": server.URL, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "cnry-authorization",
	} {
		t.Setenv(name, value)
	}
	cfg, err := LoadConfig()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got, err := cfg.Credentials.Retrieve(t.Context()); err != nil || got.AccessKeyID != "id" || got.SessionToken != "cnry-session" {
			t.Errorf("got an error %t, want the credentials of the endpoint", err != nil)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("got %d requests for credentials, want 1", asked.Load())
	}
}
