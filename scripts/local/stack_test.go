package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"tokenvendor/scripts/local/apigateway"
)

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func startStack(t *testing.T) *stack {
	t.Helper()
	s, err := start(t.Context(), "", io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestPolicy: with a policy the stack says who is not allowed, and goes on.
func TestPolicy(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	file := filepath.Join(t.TempDir(), "policy.json")
	policy := `{"rules": [{"name": "developers", "callers": ["arn:aws:iam::123456789012:user/developer"], "clients": ["*"]}], "freeze": ["basic"]}`
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), options{once: true, policyFile: file}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Count(text, "not allowed") != 1 || !strings.Contains(text, "basic            not allowed") || !strings.Contains(text, "no-credential") {
		t.Errorf("got %s", text)
	}
}

// TestOnce is what the README promises, from the first line to the last file.
func TestOnce(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	file := filepath.Join(t.TempDir(), "stack.json")
	var out bytes.Buffer
	if err := run(t.Context(), options{once: true, jsonFile: file}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"access_token":"`, "client_secret_post", "client_secret_basic", "tls_client_auth", "self_signed_tls_client_auth", "private_key_jwt"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output doesn't show %s", want)
		}
	}
	var d description
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil || d.TokenURL == "" || len(d.Principals) != 2 || len(d.Clients) != 9 {
		t.Errorf("description is %+v, %v", d, err)
	}
	if _, err := os.Stat(filepath.Dir(d.CAFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary directory is left behind: %v", err)
	}
}

// TestFront: who is let through, with the real function behind the front.
func TestFront(t *testing.T) {
	s := startStack(t)
	developer, job := s.principals[0], s.principals[1]
	sign := func(p apigateway.Principal, path string, at time.Time) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.apiURL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		credentials := aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey, SessionToken: p.SessionToken}
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, emptyHash, "execute-api", region, at); err != nil {
			t.Fatal(err)
		}
		return r
	}
	stranger := developer
	stranger.SecretAccessKey += "x"
	moved := sign(developer, "basic", time.Now())
	moved.URL.Path = strings.Replace(moved.URL.Path, "basic", firstClient, 1)
	unsigned := sign(developer, firstClient, time.Now())
	unsigned.Header.Del("Authorization")
	for _, tt := range []struct {
		name string
		r    *http.Request
		want int
	}{
		{"signed", sign(developer, firstClient, time.Now()), 200},
		{"the role's own client", sign(job, firstClient, time.Now()), 200},
		{"another client of the role", sign(job, "basic", time.Now()), 403},
		{"unsigned", unsigned, 403},
		{"wrongly signed", sign(stranger, firstClient, time.Now()), 403},
		{"stale", sign(developer, firstClient, time.Now().Add(-6*time.Minute)), 403},
		{"from the future", sign(developer, firstClient, time.Now().Add(6*time.Minute)), 403},
		{"signed for another path", moved, 403},
		{"no such client", sign(developer, "nobody", time.Now()), 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, err := http.DefaultTransport.RoundTrip(tt.r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = answer.Body.Close() }()
			if answer.StatusCode != tt.want {
				t.Errorf("status %d, want %d", answer.StatusCode, tt.want)
			}
		})
	}
}

// TestAddClient: a client is there on the call after its secret is.
func TestAddClient(t *testing.T) {
	s := startStack(t)
	ctx := t.Context()
	if status, _, err := s.call(ctx, s.principals[0], spareClient); err != nil || status != http.StatusForbidden {
		t.Fatalf("before: %d, %v", status, err)
	}
	document, err := os.ReadFile(s.sparePath())
	if err != nil {
		t.Fatal(err)
	}
	api := secretsmanager.New(secretsmanager.Options{Region: region, BaseEndpoint: &s.secretsURL, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "x", SecretAccessKey: "x"}, nil
	})})
	in := &secretsmanager.CreateSecretInput{Name: aws.String(prefix + spareClient), SecretString: aws.String(string(document))}
	if _, err := api.CreateSecret(ctx, in); err != nil {
		t.Fatal(err)
	}
	if status, body, err := s.call(ctx, s.principals[0], spareClient); err != nil || status != http.StatusOK {
		t.Errorf("after: %d %s, %v", status, body, err)
	}
}

// TestFailedStartLeavesNothing: what was started goes when a later step fails.
func TestFailedStartLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the build fails
	if _, err := start(ctx, "", io.Discard, io.Discard); err == nil {
		t.Fatal("started without a binary")
	}
	left, err := filepath.Glob(filepath.Join(temp, "token-vendor-local-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestSharedTable: the real function leaves its tokens in the table, and nobody who
// reads it finds any there, nor the client, nor the scope, nor the secret.
func TestSharedTable(t *testing.T) {
	s := startStack(t)
	_, answer, err := s.call(t.Context(), s.principals[0], firstClient)
	if err != nil {
		t.Fatal(err)
	}
	var token struct {
		AccessToken  string `json:"access_token"`
		RefreshAfter int    `json:"refresh_after"`
	}
	if err := json.Unmarshal(answer, &token); err != nil || token.AccessToken == "" || token.RefreshAfter == 0 {
		t.Fatalf("the answer is no token with a time to refresh it, %v", err)
	}
	rows, values := 0, 0
	for _, item := range s.table.Items(cacheTable) {
		rows++
		for name, value := range item {
			if name == "value" {
				values++
			}
			for _, secret := range []string{token.AccessToken, token.AccessToken[:20], firstClient, spareSecret, "access_token", "Bearer"} {
				if strings.Contains(value.Text, secret) {
					t.Errorf("the attribute %s shows what should be sealed", name)
				}
			}
		}
	}
	// The rows of the epoch's key, the token, the token's lease with a pointer to it, the
	// client's logons and the server. The first three have a value.
	if rows != 5 || values != 3 {
		t.Errorf("got %d rows with %d values, want 5 with 3", rows, values)
	}
	if n := s.keys.Calls("GenerateDataKey") + s.keys.Calls("Decrypt"); n != 1 {
		t.Errorf("%d KMS calls, want 1", n)
	}
}

// lines collects what two writers write, line by line.
type lines struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// TestU08Reconciliation: the gateway's access log and the function's audit lines are two
// trails of one thing, which match one to one.
func TestU08Reconciliation(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	log := new(lines)
	s, err := start(t.Context(), "", io.Discard, log)
	if err != nil {
		t.Fatal(err)
	}
	answered := map[int]int{}
	for i := range 60 {
		principal, client := s.principals[i%2], []string{firstClient, "basic", "kms-key", "no-such-client"}[i%4]
		status, _, err := s.call(t.Context(), principal, client)
		if err != nil {
			t.Fatal(err)
		}
		answered[status]++
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	access, audited := map[string]int{}, map[string]bool{}
	for line := range strings.Lines(log.text.String()) {
		var both struct {
			RequestID string `json:"requestId"`
			Status    int    `json:"status"`
			Type      string `json:"type"`
			Gateway   string `json:"gateway_request_id"`
			Allowed   bool   `json:"allowed"`
			Token     string `json:"token_sha256"`
		}
		if json.Unmarshal([]byte(line), &both) != nil {
			continue
		}
		if both.Type == "decision" {
			if _, twice := audited[both.Gateway]; twice || both.Allowed != (both.Token != "") {
				t.Errorf("a second or a wrong line: %s", line)
			}
			audited[both.Gateway] = both.Allowed
		} else if both.Status != 0 {
			access[both.RequestID] = both.Status
		}
	}
	tokens := 0
	for id, status := range access {
		allowed, reached := audited[id]
		if allowed != (status == 200) || status == 200 && !reached {
			t.Errorf("request %s: status %d, audited %t, allowed %t", id, status, reached, allowed)
		}
		if allowed {
			tokens++
		}
	}
	if tokens != answered[200] || len(access) != 60 || tokens == 0 || answered[403] == 0 {
		t.Errorf("%d tokens in the logs and %v answers", tokens, answered)
	}
}
