package awsapi

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/secret"
)

const (
	secretName = "token-vendor/clients/billing"
	secretARN  = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:token-vendor/clients/billing-AbCdEf"
	// awsText is what must not be in an error of ours.
	awsText = "User: arn:aws:sts::111122223333:assumed-role/token/cnry is not authorized"
)

// newSecrets is the real SDK client, configured by AWS's variables as in Lambda,
// on a server of the test.
func newSecrets(t *testing.T, handle http.HandlerFunc) (secrets *Secrets, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		handle(w, r)
	}))
	t.Cleanup(server.Close)
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "cnry-key",
		"AWS_SESSION_TOKEN": "cnry-session", "AWS_ENDPOINT_URL_SECRETS_MANAGER": server.URL,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	cfg, err := LoadConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return NewSecrets(cfg), calls
}

func answerJSON(status int, body map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
}

func secretBody(change map[string]any) map[string]any {
	body := map[string]any{
		"ARN": secretARN, "Name": secretName, "SecretString": "text", "VersionId": "v1", "VersionStages": []string{"AWSCURRENT"},
	}
	for name, value := range change {
		if body[name] = value; value == nil {
			delete(body, name)
		}
	}
	return body
}

// checkText: AWS's own texts hold ARNs and accounts.
func checkText(t *testing.T, err error) {
	t.Helper()
	if len(err.Error()) > 120 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
	for _, word := range []string{"arn:", "111122223333", "cnry", "127.0.0.1", "http"} {
		if strings.Contains(err.Error(), word) {
			t.Errorf("the error holds %q: %v", word, err)
		}
	}
}

// TestS16ReadSecret: the stage is named, and each way to keep a text is read.
func TestS16ReadSecret(t *testing.T) {
	hash := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("text")))
	for _, test := range []struct {
		name          string
		change        map[string]any
		text, version string
	}{
		{"string", nil, "text", "v1"},
		{"binary", map[string]any{"SecretString": nil, "SecretBinary": base64.StdEncoding.EncodeToString([]byte{0, 0xff})}, "\x00\xff", "v1"},
		{"empty", map[string]any{"SecretString": ""}, "", "v1"},
		{"several stages", map[string]any{"VersionStages": []string{"AWSPENDING", "AWSCURRENT"}}, "text", "v1"},
		{"without a version", map[string]any{"VersionId": nil}, "text", hash},
		{"without name and stages", map[string]any{"Name": nil, "VersionStages": nil}, "text", "v1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			secrets, calls := newSecrets(t, func(w http.ResponseWriter, r *http.Request) {
				var in map[string]string
				if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in["SecretId"] != secretName || in["VersionStage"] != "AWSCURRENT" || len(in) != 2 {
					t.Errorf("the request is %v, %v", in, err)
				}
				if r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
					t.Error("not a signed GetSecretValue")
				}
				answerJSON(http.StatusOK, secretBody(test.change))(w, r)
			})
			got, err := secrets.ReadSecret(t.Context(), secretName, false)
			if err != nil || string(got.Text) != test.text || got.Version != test.version {
				t.Errorf("got %d bytes of version %q, %v", len(got.Text), got.Version, err)
			}
			if calls.Load() != 1 {
				t.Errorf("%d calls", calls.Load())
			}
		})
	}
}

// TestS17OtherSecretIsRefused: an answer for another secret, or of another version,
// would vend one client's token to the callers of another.
func TestS17OtherSecretIsRefused(t *testing.T) {
	for name, change := range map[string]map[string]any{
		"other name":      {"Name": "token-vendor/clients/payroll"},
		"name of its ARN": {"Name": secretName + "-AbCdEf"},
		"other case":      {"Name": "token-vendor/clients/Billing"},
		"previous stage":  {"VersionStages": []string{"AWSPREVIOUS"}},
		"pending stage":   {"VersionStages": []string{"AWSPENDING"}},
	} {
		t.Run(name, func(t *testing.T) {
			secrets, _ := newSecrets(t, answerJSON(http.StatusOK, secretBody(change)))
			got, err := secrets.ReadSecret(t.Context(), secretName, false)
			if !errors.Is(err, secret.ErrUnavailable) || got.Text != nil {
				t.Fatalf("got %d bytes and %v", len(got.Text), err)
			}
			checkText(t, err)
		})
	}
}

// read is one ReadSecret that will end in an error.
type read struct {
	secrets *Secrets
	calls   *atomic.Int64
	err     error
}

func newRead(t *testing.T, handle http.HandlerFunc) *read {
	t.Helper()
	secrets, calls := newSecrets(t, handle)
	return &read{secrets: secrets, calls: calls}
}

// readAll reads all at once, because the SDK waits before it tries again.
func readAll(t *testing.T, reads []*read) {
	t.Helper()
	var all sync.WaitGroup
	for _, r := range reads {
		all.Go(func() { _, r.err = r.secrets.ReadSecret(t.Context(), secretName, false) })
	}
	all.Wait()
}

// TestErrorCodes: AWS's error codes by what they mean for a caller.
func TestErrorCodes(t *testing.T) {
	table := []struct {
		code   string
		status int
		want   error
		calls  int64
	}{
		{"ResourceNotFoundException", 400, secret.ErrNotFound, 1},
		// The secret is scheduled for deletion.
		{"InvalidRequestException", 400, secret.ErrNotFound, 1},
		{"AccessDeniedException", 400, secret.ErrDenied, 1},
		{"AccessDenied", 403, secret.ErrDenied, 1},
		{"DecryptionFailure", 400, secret.ErrDenied, 1},
		{"UnrecognizedClientException", 400, secret.ErrDenied, 1},
		{"InvalidSignatureException", 403, secret.ErrDenied, 1},
		{"InvalidParameterException", 400, secret.ErrDenied, 1},
		{"ValidationException", 400, secret.ErrDenied, 1},
		{"ThrottlingException", 400, secret.ErrUnavailable, attempts},
		{"InternalServiceError", 500, secret.ErrUnavailable, attempts},
		{"ServiceUnavailable", 503, secret.ErrUnavailable, attempts},
		{"SomethingNew", 400, secret.ErrUnavailable, 1},
		{"arn:aws:iam::111122223333:role/cnry", 400, secret.ErrUnavailable, 1},
		{strings.Repeat("x", 200), 400, secret.ErrUnavailable, 1},
		{"", 400, secret.ErrUnavailable, 1},
	}
	var reads []*read
	for _, test := range table {
		reads = append(reads, newRead(t, answerJSON(test.status, map[string]any{"__type": test.code, "Message": awsText})))
	}
	readAll(t, reads)
	for i, test := range table {
		t.Run(test.code, func(t *testing.T) {
			err, calls := reads[i].err, reads[i].calls
			for _, sentinel := range []error{secret.ErrNotFound, secret.ErrDenied, secret.ErrUnavailable} {
				if errors.Is(err, sentinel) != (sentinel == test.want) {
					t.Errorf("%v, want %v", err, test.want)
				}
			}
			if calls.Load() != test.calls {
				t.Errorf("%d calls, want %d", calls.Load(), test.calls)
			}
			if err != nil {
				checkText(t, err)
			}
		})
	}
}

// TestThrottledOnce is survived by the retry.
func TestThrottledOnce(t *testing.T) {
	var first atomic.Bool
	secrets, calls := newSecrets(t, func(w http.ResponseWriter, r *http.Request) {
		if first.CompareAndSwap(false, true) {
			answerJSON(http.StatusBadRequest, map[string]any{"__type": "ThrottlingException"})(w, r)
			return
		}
		answerJSON(http.StatusOK, secretBody(nil))(w, r)
	})
	if got, err := secrets.ReadSecret(t.Context(), secretName, false); err != nil || string(got.Text) != "text" || calls.Load() != 2 {
		t.Errorf("%d bytes after %d calls, %v", len(got.Text), calls.Load(), err)
	}
}

// TestBadAnswers: what no service should send is an error for later, in our
// words.
func TestBadAnswers(t *testing.T) {
	var reads []*read
	for _, handle := range map[string]http.HandlerFunc{
		"not JSON":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>"+awsText) },
		"broken off": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"Name":"`) },
		"reset":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"HTML and 500": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "<html>"+awsText)
		},
	} {
		reads = append(reads, newRead(t, handle))
	}
	readAll(t, reads)
	for _, r := range reads {
		if !errors.Is(r.err, secret.ErrUnavailable) || r.calls.Load() > attempts {
			t.Fatalf("%v after %d calls", r.err, r.calls.Load())
		}
		checkText(t, r.err)
	}
}

// TestHang: the caller's time counts.
func TestHang(t *testing.T) {
	done := make(chan struct{})
	secrets, _ := newSecrets(t, func(http.ResponseWriter, *http.Request) { <-done })
	t.Cleanup(func() { close(done) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := secrets.ReadSecret(ctx, secretName, false)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	checkText(t, err)
	if took := time.Since(start); took > readTimeout {
		t.Errorf("it took %v", took)
	}
}

// TestReadTimeout: without a deadline of the caller the read ends by its own, so
// that a cold caller gets an answer within 4.5 s.
func TestReadTimeout(t *testing.T) {
	if worst := readTimeout; worst > 4500*time.Millisecond {
		t.Errorf("one read may take %v", worst)
	}
	if attemptTimeout >= readTimeout {
		t.Error("one attempt may use up the time of all")
	}
}

// TestS18RedirectSinkReceivesNothing: a signed request must not follow a redirect.
func TestS18RedirectSinkReceivesNothing(t *testing.T) {
	var sunk atomic.Int64
	sink := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sunk.Add(1) }))
	defer sink.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		secrets, _ := newSecrets(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, sink.URL, status) })
		_, err := secrets.ReadSecret(t.Context(), secretName, false)
		if !errors.Is(err, secret.ErrUnavailable) {
			t.Errorf("%d: %v", status, err)
		}
	}
	if sunk.Load() != 0 {
		t.Error("a redirect was followed")
	}
}

// TestClientOfTheSDK has the time-out of an attempt, keeps away from redirects
// and still believes whom AWS_CA_BUNDLE names.
func TestClientOfTheSDK(t *testing.T) {
	newSecrets(t, nil)
	server := httptest.NewUnstartedServer(answerJSON(http.StatusOK, secretBody(nil)))
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
		cfg, err := LoadConfig(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		client, ok := cfg.HTTPClient.(*http.Client)
		if !ok || client.Timeout != attemptTimeout || client.CheckRedirect == nil || !errors.Is(client.CheckRedirect(nil, nil), http.ErrUseLastResponse) {
			t.Error("the SDK's client follows redirects or has no time-out")
		}
		if _, err := NewSecrets(cfg).ReadSecret(t.Context(), secretName, false); !errors.Is(err, test.want) {
			t.Errorf("with the bundle %v: %v", test.bundle != "", err)
		}
	}
}

// TestLoadConfig names the variable at fault and not what it holds.
func TestLoadConfig(t *testing.T) {
	newSecrets(t, nil)
	t.Setenv("AWS_CA_BUNDLE", "/cnry/does/not/exist.pem")
	if _, err := LoadConfig(t.Context()); err == nil || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") || strings.Contains(err.Error(), "cnry") {
		t.Errorf("a bundle that cannot be read: %v", err)
	}
	t.Setenv("AWS_CA_BUNDLE", "")
	t.Setenv("AWS_REGION", "")
	if _, err := LoadConfig(t.Context()); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("no region: %v", err)
	}
}

// TestAnswersAreBounded: an endpoint that answers without end costs an error and not
// the memory, whether it succeeds or fails, packed or not.
func TestAnswersAreBounded(t *testing.T) {
	const size = 64 << 20
	for name, answer := range map[string]func(http.ResponseWriter){
		"huge": func(w http.ResponseWriter) {
			_, _ = io.CopyN(w, blanks{}, size)
		},
		"huge error": func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.CopyN(w, blanks{}, size)
		},
		"bomb": func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.CopyN(z, blanks{}, size)
			_ = z.Close()
		},
		"huge head": func(w http.ResponseWriter) { w.Header().Set("X-Filler", strings.Repeat("x", 2<<20)) },
	} {
		secrets, calls := newSecrets(t, func(w http.ResponseWriter, _ *http.Request) { answer(w) })
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := secrets.ReadSecret(t.Context(), secretName, false); err == nil {
			t.Errorf("%s: it was taken", name)
		}
		runtime.ReadMemStats(&after)
		// The server of the test allocates here as well.
		if took := int64(after.TotalAlloc - before.TotalAlloc); calls.Load() == 0 || took > 24<<20 {
			t.Errorf("%s: %d calls, %d bytes allocated for %d", name, calls.Load(), took, size)
		}
	}
	// What is just small enough is read whole.
	body := &boundedBody{io.NopCloser(strings.NewReader(strings.Repeat("x", maxAnswer))), maxAnswer}
	if text, err := io.ReadAll(body); err != nil || len(text) != maxAnswer {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

type blanks struct{}

func (blanks) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}
