package awsapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	aws "github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"tokenvendor/scripts/local/secretsmanager"
	"tokenvendor/shared/secret"
)

const (
	secretName = "token-vendor/clients/billing"
	secretARN  = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:token-vendor/clients/billing-AbCdEf"
	// awsText is an error text of AWS, which must not appear in an error.
	awsText = "User: arn:aws:sts::111122223333:assumed-role/token/cnry is not authorized"
)

// newSecrets returns the real SDK client, configured by environment variables as in Lambda,
// with a server of the test. calls counts requests.
func newSecrets(t *testing.T, handle http.HandlerFunc) (secrets *Secrets, calls *atomic.Int64) {
	t.Helper()
	calls = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		handle(w, r)
	}))
	t.Cleanup(server.Close)
	return NewSecrets(configOf(t, "AWS_ENDPOINT_URL_SECRETS_MANAGER", server.URL)), calls
}

func respondJSON(status int, body map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
}

// secretBody returns a response of GetSecretValue. change replaces members; nil removes one.
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

// checkText fails if an error contains text of AWS, which may hold ARNs and account ids.
func checkText(t *testing.T, err error) {
	t.Helper()
	if len(err.Error()) > 120 {
		t.Errorf("got an error of %d bytes, want at most 120", len(err.Error()))
	}
	for _, word := range []string{"arn:", "111122223333", "cnry", "127.0.0.1", "http"} {
		if strings.Contains(err.Error(), word) {
			t.Errorf("the error holds %q: %v", word, err)
		}
	}
}

// The request names the staging label.
func TestReadSecret(t *testing.T) {
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
					t.Errorf("got the request %v, %v, want the name and AWSCURRENT", in, err)
				}
				if r.Header.Get("X-Amz-Target") != "secretsmanager.GetSecretValue" || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
					t.Error("got another request, want a signed GetSecretValue")
				}
				respondJSON(http.StatusOK, secretBody(test.change))(w, r)
			})
			got, err := secrets.ReadSecret(t.Context(), secretName, secret.Want{})
			if err != nil || string(got.Text) != test.text || got.Version != test.version {
				t.Errorf("got %d bytes of version %q, %v, want %d bytes of version %q", len(got.Text), got.Version, err, len(test.text), test.version)
			}
			if calls.Load() != 1 {
				t.Errorf("got %d calls, want 1", calls.Load())
			}
		})
	}
}

// A response for another secret, or of another version, would give one client's token to the
// callers of another.
func TestReadSecretRefusesResponseForAnotherSecret(t *testing.T) {
	for name, change := range map[string]map[string]any{
		"other name":      {"Name": "token-vendor/clients/payroll"},
		"name of its ARN": {"Name": secretName + "-AbCdEf"},
		"other case":      {"Name": "token-vendor/clients/Billing"},
		"previous stage":  {"VersionStages": []string{"AWSPREVIOUS"}},
		"pending stage":   {"VersionStages": []string{"AWSPENDING"}},
	} {
		t.Run(name, func(t *testing.T) {
			secrets, _ := newSecrets(t, respondJSON(http.StatusOK, secretBody(change)))
			got, err := secrets.ReadSecret(t.Context(), secretName, secret.Want{})
			if !errors.Is(err, secret.ErrUnavailable) || got.Text != nil {
				t.Fatalf("got %d bytes and %v, want %v", len(got.Text), err, secret.ErrUnavailable)
			}
			checkText(t, err)
		})
	}
}

// The version before the current one is read at the local stack's Secrets Manager.
func TestPreviousReadsVersionBeforeCurrent(t *testing.T) {
	server := httptest.NewServer(secretsmanager.New(secretsmanager.Config{Region: "eu-central-1", Account: "111122223333"}))
	t.Cleanup(server.Close)
	secrets := NewSecrets(configOf(t, "AWS_ENDPOINT_URL_SECRETS_MANAGER", server.URL))
	id := func(n int) *string { return new(strings.Repeat(string(rune('0'+n)), 32)) }
	check := func(want int) {
		t.Helper()
		got, err := secrets.Previous().ReadSecret(t.Context(), secretName, secret.Want{})
		switch {
		case want == 0 && !errors.Is(err, secret.ErrNotFound):
			t.Errorf("got %d bytes of version %.1s, %v, want %v", len(got.Text), got.Version, err, secret.ErrNotFound)
		case want > 0 && (err != nil || got.Version != *id(want) || string(got.Text) != *id(want)):
			t.Errorf("got %d bytes of version %.1s, %v, want version %d", len(got.Text), got.Version, err, want)
		}
	}
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(n int, stages ...string) {
		t.Helper()
		do(secrets.client.PutSecretValue(t.Context(), &aws.PutSecretValueInput{SecretId: new(secretName), ClientRequestToken: id(n), SecretString: id(n), VersionStages: stages}))
	}
	move := func(from, to int) {
		t.Helper()
		do(secrets.client.UpdateSecretVersionStage(t.Context(), &aws.UpdateSecretVersionStageInput{
			SecretId: new(secretName), VersionStage: new(stageCurrent), RemoveFromVersionId: id(from), MoveToVersionId: id(to),
		}))
	}
	check(0)
	do(secrets.client.CreateSecret(t.Context(), &aws.CreateSecretInput{Name: new(secretName), ClientRequestToken: id(1), SecretString: id(1)}))
	check(0)
	put(2)
	check(1)
	put(3, "AWSPENDING")
	check(1)
	move(2, 3) // the end of a rotation
	check(2)
	move(3, 2) // and its rollback
	check(3)
	if got, err := secrets.ReadSecret(t.Context(), secretName, secret.Want{}); err != nil || got.Version != *id(2) {
		t.Errorf("got the current version %.1s, %v, want 2", got.Version, err)
	}
	do(secrets.client.DeleteSecret(t.Context(), &aws.DeleteSecretInput{SecretId: new(secretName)}))
	check(0)
}

func TestPreviousRefusesOtherVersion(t *testing.T) {
	for name, stages := range map[string][]string{"current stage": {"AWSCURRENT"}, "pending stage": {"AWSPENDING"}} {
		secrets, _ := newSecrets(t, respondJSON(http.StatusOK, secretBody(map[string]any{"VersionStages": stages})))
		got, err := secrets.Previous().ReadSecret(t.Context(), secretName, secret.Want{Once: true})
		if !errors.Is(err, secret.ErrUnavailable) || got.Text != nil {
			t.Fatalf("%s: got %d bytes and %v, want %v", name, len(got.Text), err, secret.ErrUnavailable)
		}
		checkText(t, err)
	}
}

// read is one call of ReadSecret that fails.
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

// readAll reads all secrets at the same time, because the SDK waits before a retry.
func readAll(t *testing.T, reads []*read) {
	t.Helper()
	var all sync.WaitGroup
	for _, r := range reads {
		all.Go(func() { _, r.err = r.secrets.ReadSecret(t.Context(), secretName, secret.Want{}) })
	}
	all.Wait()
}

func TestReadSecretSentinelOfErrorCode(t *testing.T) {
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
		reads = append(reads, newRead(t, respondJSON(test.status, map[string]any{"__type": test.code, "Message": awsText})))
	}
	readAll(t, reads)
	for i, test := range table {
		t.Run(test.code, func(t *testing.T) {
			err, calls := reads[i].err, reads[i].calls
			for _, sentinel := range []error{secret.ErrNotFound, secret.ErrDenied, secret.ErrUnavailable} {
				if errors.Is(err, sentinel) != (sentinel == test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
			}
			if calls.Load() != test.calls {
				t.Errorf("got %d calls, want %d", calls.Load(), test.calls)
			}
			if err != nil {
				checkText(t, err)
			}
		})
	}
}

// The operator's text says what is wrong with the secret, and whether IAM or KMS refuses.
func TestReadSecretErrorTexts(t *testing.T) {
	const user = "User: arn:aws:sts::111122223333:assumed-role/token/cnry is not authorized to perform: "
	table := []struct{ code, message, want string }{
		{"ResourceNotFoundException", "Secrets Manager can't find the specified secret.", "no such secret (ResourceNotFoundException)"},
		{"ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
			"the secret has no value with the label AWSCURRENT (ResourceNotFoundException)"},
		{"InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.",
			"the secret is scheduled for deletion (InvalidRequestException)"},
		{"AccessDeniedException", user + "secretsmanager:GetSecretValue on resource: arn:aws:secretsmanager:eu-central-1:111122223333:secret:access-to-kms",
			"access denied by IAM: check the role and the resource's policy (AccessDeniedException)"},
		{"AccessDeniedException", "Access to KMS is not allowed", "access denied by KMS: check kms:Decrypt and the key's policy (AccessDeniedException)"},
		{"AccessDeniedException", user + "kms:Decrypt on resource: arn:aws:kms:eu-central-1:111122223333:key/cnry",
			"access denied by KMS: check kms:Decrypt and the key's policy (AccessDeniedException)"},
		{"DecryptionFailure", awsText, "access denied by KMS: check kms:Decrypt and the key's policy (DecryptionFailure)"},
		{"UnrecognizedClientException", awsText, "access denied: AWS refuses the vendor's credentials (UnrecognizedClientException)"},
		{"ValidationException", awsText, "access denied (ValidationException)"},
	}
	var reads []*read
	for _, test := range table {
		reads = append(reads, newRead(t, respondJSON(http.StatusBadRequest, map[string]any{"__type": test.code, "Message": test.message})))
	}
	readAll(t, reads)
	for i, test := range table {
		if got := reads[i].err; got == nil || got.Error() != "secretsmanager: "+test.want {
			t.Errorf("%s: got %v, want %q", test.message, got, test.want)
		} else {
			checkText(t, got)
		}
	}
}

// An answer that is empty or broke off is not that of Secrets Manager. The second one is read.
func TestReadSecretRetriesAfterIncompleteAnswer(t *testing.T) {
	for name, body := range map[string]string{"empty": "", "no members": "{}", "broken off": `{"SecretString":"cnry`, "no value": `{"Name":"` + secretName + `"}`} {
		t.Run(name, func(t *testing.T) {
			var first atomic.Bool
			secrets, calls := newSecrets(t, func(w http.ResponseWriter, r *http.Request) {
				if first.CompareAndSwap(false, true) {
					w.Header().Set("Content-Length", "500")
					if name == "empty" {
						w.Header().Set("Content-Length", "0")
					}
					_, _ = io.WriteString(w, body)
					return
				}
				respondJSON(http.StatusOK, secretBody(nil))(w, r)
			})
			got, err := secrets.ReadSecret(t.Context(), secretName, secret.Want{})
			if err != nil || string(got.Text) != "text" || calls.Load() != 2 {
				t.Errorf("got %d bytes after %d calls, %v, want 4 bytes after 2 calls", len(got.Text), calls.Load(), err)
			}
			first.Store(false)
			if got, err := secrets.ReadSecret(t.Context(), secretName, secret.Want{Once: true}); !errors.Is(err, secret.ErrUnavailable) || calls.Load() != 3 {
				t.Errorf("once: got %d bytes after %d calls, %v, want %v after one more call", len(got.Text), calls.Load(), err, secret.ErrUnavailable)
			}
		})
	}
}

// The text says why there was no answer.
func TestReadSecretWithoutAnswer(t *testing.T) {
	tlsServer := httptest.NewUnstartedServer(respondJSON(http.StatusOK, secretBody(nil)))
	tlsServer.Config.ErrorLog = log.New(io.Discard, "", 0)
	tlsServer.StartTLS()
	t.Cleanup(tlsServer.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	stop := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
	t.Cleanup(func() { close(stop); silent.Close() })
	for _, test := range []struct{ name, url, key, want string }{
		{"DNS", "http://secretsmanager.invalid", "", "no answer: DNS does not resolve the endpoint"},
		{"refused", closed.URL, "", "no answer: no connection; check route, security groups and VPC endpoint"},
		// TEST-NET-1 of RFC 5737: no network routes it. Depending on the machine, the packets are
		// dropped, or there is an error at once.
		{"no route", "http://192.0.2.1", "", "no answer: no connection; check route, security groups and VPC endpoint"},
		{"TLS", tlsServer.URL, "", "no answer: the TLS handshake failed"},
		{"not TLS", strings.Replace(silent.URL, "http:", "https:", 1), "", "no answer: the TLS handshake failed"},
		{"silent", silent.URL, "", "no answer in time"},
		{"no credentials", silent.URL, "none", "no AWS credentials"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := configOf(t, "AWS_ENDPOINT_URL_SECRETS_MANAGER", test.url)
			if test.key == "none" {
				t.Setenv("AWS_ACCESS_KEY_ID", "")
				t.Setenv("AWS_SECRET_ACCESS_KEY", "")
				var err error
				if cfg, err = LoadConfig(); err != nil {
					t.Fatal(err)
				}
			}
			_, err := NewSecrets(cfg).ReadSecret(t.Context(), secretName, secret.Want{Once: true})
			if err == nil || !strings.HasSuffix(err.Error(), "("+test.want+")") {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			checkText(t, err)
		})
	}
}

func TestReadSecretRetriesAfterThrottling(t *testing.T) {
	var first atomic.Bool
	secrets, calls := newSecrets(t, func(w http.ResponseWriter, r *http.Request) {
		if first.CompareAndSwap(false, true) {
			respondJSON(http.StatusBadRequest, map[string]any{"__type": "ThrottlingException"})(w, r)
			return
		}
		respondJSON(http.StatusOK, secretBody(nil))(w, r)
	})
	if got, err := secrets.ReadSecret(t.Context(), secretName, secret.Want{}); err != nil || string(got.Text) != "text" || calls.Load() != 2 {
		t.Errorf("got %d bytes after %d calls, %v, want 4 bytes after 2 calls", len(got.Text), calls.Load(), err)
	}
}

func TestReadSecretBrokenResponseIsTemporary(t *testing.T) {
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
			t.Fatalf("got %v after %d calls, want %v after at most %d", r.err, r.calls.Load(), secret.ErrUnavailable, attempts)
		}
		checkText(t, r.err)
	}
}

func TestReadSecretEndsWithContext(t *testing.T) {
	done := make(chan struct{})
	secrets, _ := newSecrets(t, func(http.ResponseWriter, *http.Request) { <-done })
	t.Cleanup(func() { close(done) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := secrets.ReadSecret(ctx, secretName, secret.Want{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want %v", err, context.DeadlineExceeded)
	}
	checkText(t, err)
	if took := time.Since(start); took > readTimeout {
		t.Errorf("ReadSecret took %v, want at most %v", took, readTimeout)
	}
}

// A caller of a cold environment gets an answer within 4.5 seconds, although its context has
// no deadline.
func TestReadTimeout(t *testing.T) {
	if worst := readTimeout; worst > 4500*time.Millisecond {
		t.Errorf("one read may take %v, want at most 4.5s", worst)
	}
	if attemptTimeout >= readTimeout {
		t.Errorf("one attempt may take %v, want less than the %v of the whole read", attemptTimeout, readTimeout)
	}
}

// silent is an HTTP client whose requests get no answer.
type silent struct{}

func (silent) Do(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// TestConnectEndsWithoutAnswer proves that an endpoint that does not answer delays the start by
// the time-out only.
func TestConnectEndsWithoutAnswer(t *testing.T) {
	cfg := configOf(t, "AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
	cfg.HTTPClient = silent{}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		NewSecrets(cfg).Connect(t.Context())
		if got := time.Since(start); got != connectTimeout {
			t.Errorf("Connect returned after %v, want %v", got, connectTimeout)
		}
	})
}
