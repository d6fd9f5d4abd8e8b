package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// clearAWS hides all AWS variables and files from the AWS SDK, except those that the test sets.
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

// TestNewNamesAllBadVariables proves that the error has the problems of the AWS SDK's
// variables too.
func TestNewNamesAllBadVariables(t *testing.T) {
	clearAWS(t)
	_, err := New(Config{Getenv: getenv(map[string]string{"LOG_LEVEL": "cnry", "POLICY_MODE": "cnry"}), Output: io.Discard})
	if err == nil {
		t.Fatal("got no error, want one")
	}
	for _, name := range []string{"AWS_REGION", "LOG_LEVEL", "POLICY_MODE"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("got error %q, want %s in it", err, name)
		}
	}
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_CA_BUNDLE", "/cnry/does/not/exist.pem")
	_, err = New(Config{Getenv: getenv(nil), Output: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") || strings.Contains(err.Error(), "cnry") {
		t.Errorf("got error %v, want one that names AWS_CA_BUNDLE without its value", err)
	}
}

// TestNewWiresVendorAndLog proves that the prefix of secrets and the log level have an effect.
func TestNewWiresVendorAndLog(t *testing.T) {
	clearAWS(t)
	var secretID string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ SecretId string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		secretID = in.SecretId
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"ResourceNotFoundException"}`)
	}))
	defer server.Close()
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server.URL)
	var log bytes.Buffer
	a, err := New(Config{Getenv: getenv(map[string]string{"CLIENT_SECRET_PREFIX": "other/", "LOG_LEVEL": "warn"}), Output: &log})
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.Vendor.Vend(t.Context(), tokentest.Read(token.Request{Client: "billing"}))
	if e := fault.From(err); e.Kind != fault.Denied {
		t.Errorf("got %v, want the error of an unknown client", err)
	}
	if secretID != "other/billing" {
		t.Errorf("got secret %q, want other/billing", secretID)
	}
	a.Log.Info("quiet")
	a.Log.Warn("loud", "key", "value")
	decision, rest, _ := strings.Cut(log.String(), "\n")
	counts, loud, _ := strings.Cut(rest, "\n")
	if !strings.Contains(counts, `"Denied":1}`) {
		t.Errorf("got line %s, want the count of the denied decision", counts)
	}
	if !strings.Contains(decision, `"type":"decision"`) || !strings.Contains(decision, `"client":"billing","allowed":false`) {
		t.Errorf("got line %s, want the denied decision", decision)
	}
	var line map[string]any
	if err := json.Unmarshal([]byte(loud), &line); err != nil {
		t.Fatalf("got %q, want one JSON object: %v", loud, err)
	}
	if line["message"] != "loud" || line["level"] != "WARN" || line["timestamp"] == nil || line["key"] != "value" {
		t.Errorf("got line %v, want the keys of Lambda's own lines", line)
	}
}

// TestFailInitReportsToRuntimeAPI follows "Initialization error" in the documentation of the
// AWS Lambda Runtime API.
func TestFailInitReportsToRuntimeAPI(t *testing.T) {
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
		t.Errorf("got %d calls outside of Lambda, want none", got.calls)
	}
	FailInit(getenv(map[string]string{"AWS_LAMBDA_RUNTIME_API": strings.TrimPrefix(server.URL, "http://")}), errors.New("LOG_LEVEL is bad"))
	if got.path != "POST /2018-06-01/runtime/init/error" || got.kind == "" || got.body.ErrorType != got.kind || got.body.ErrorMessage != "LOG_LEVEL is bad" {
		t.Errorf("got %+v at the Runtime API, want the error", got)
	}
}

// TestLogHoldsNothingThatServersSend: net/http writes by package log what a server sends after its
// answer.
func TestLogHoldsNothingThatServersSend(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(connection, "HTTP/1.1 204 No Content\r\n\r\n"+`{"access_token":"cnry-token"}`)
		_ = connection.Close()
	}))
	defer server.Close()
	lines := make(lineWriter)
	defaultLog, output, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(newLog(lines, slog.LevelInfo)) // as the functions do
	defer func() {
		slog.SetDefault(defaultLog)
		log.SetOutput(output)
		log.SetFlags(flags)
	}()
	response, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if line := <-lines; !strings.Contains(line, `"message":"Unsolicited response received on idle HTTP channel"`) || strings.Contains(line, "cnry") {
		t.Errorf("got %s", line)
	}
}

// lineWriter sends each line to the test.
type lineWriter chan string

func (w lineWriter) Write(line []byte) (int, error) {
	w <- string(line)
	return len(line), nil
}
