package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// clearAWS makes the AWS SDK see this test's variables only.
func clearAWS(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, value, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, value) // restored when the test ends
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// TestNew calls nobody and names every problem, those of AWS's variables too.
func TestNew(t *testing.T) {
	clearAWS(t)
	_, err := New(t.Context(), Config{Getenv: getenv(map[string]string{"LOG_LEVEL": "cnry", "POLICY_MODE": "cnry"}), Output: io.Discard})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{"AWS_REGION", "LOG_LEVEL", "POLICY_MODE"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q doesn't name %s", err, name)
		}
	}
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_CA_BUNDLE", "/cnry/does/not/exist.pem")
	_, err = New(t.Context(), Config{Getenv: getenv(nil), Output: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") || strings.Contains(err.Error(), "cnry") {
		t.Errorf("a bundle that cannot be read: %v", err)
	}
}

// TestWired: the parts fit, the prefix and the log level reach their places.
func TestWired(t *testing.T) {
	clearAWS(t)
	var asked string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ SecretId string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		asked = in.SecretId
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"ResourceNotFoundException"}`)
	}))
	defer server.Close()
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server.URL)
	var log bytes.Buffer
	a, err := New(t.Context(), Config{Getenv: getenv(map[string]string{"CLIENT_SECRET_PREFIX": "other/", "LOG_LEVEL": "warn"}), Output: &log})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Vendor.Vend(t.Context(), tokentest.Read(token.Request{Client: "billing"}))
	if e := fault.From(err); e.Kind != fault.Denied {
		t.Errorf("got %v, want that there is no such client", err)
	}
	if asked != "other/billing" {
		t.Errorf("the secret %q was asked for", asked)
	}
	a.Log.Info("quiet")
	a.Log.Warn("loud", "key", "value")
	decision, loud, _ := strings.Cut(log.String(), "\n")
	if !strings.Contains(decision, `"type":"decision"`) || !strings.Contains(decision, `"client":"billing","allowed":false`) {
		t.Errorf("the decision is not recorded: %s", decision)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(loud), &line); err != nil {
		t.Fatalf("want one JSON object, the loud one: %v", err)
	}
	if line["message"] != "loud" || line["level"] != "WARN" || line["timestamp"] == nil || line["key"] != "value" {
		t.Errorf("the line has other keys than Lambda's own: %v", line)
	}
}

// TestFailInit speaks to the Lambda Runtime API as its documentation has it.
func TestFailInit(t *testing.T) {
	var got struct {
		path, kind string
		body       struct{ ErrorType, ErrorMessage string }
		calls      int
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.calls++
		got.path, got.kind = r.Method+" "+r.URL.Path, r.Header.Get("Lambda-Runtime-Function-Error-Type")
		_ = json.NewDecoder(r.Body).Decode(&got.body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	FailInit(getenv(nil), errors.New("LOG_LEVEL is bad"))
	if got.calls != 0 {
		t.Error("outside of Lambda somebody was called")
	}
	FailInit(getenv(map[string]string{"AWS_LAMBDA_RUNTIME_API": strings.TrimPrefix(server.URL, "http://")}), errors.New("LOG_LEVEL is bad"))
	if got.path != "POST /2018-06-01/runtime/init/error" || got.kind == "" || got.body.ErrorType != got.kind || got.body.ErrorMessage != "LOG_LEVEL is bad" {
		t.Errorf("the Runtime API got %+v", got)
	}
}
