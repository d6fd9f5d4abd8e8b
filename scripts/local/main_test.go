package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// output collects what several goroutines write.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// startStack runs a stack until the end of the test.
func startStack(t *testing.T, log io.Writer) *stack {
	t.Helper()
	s, err := start(t.Context(), "", io.Discard, log)
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

func (s *stack) secretsAPI() *secretsmanager.Client {
	credentials := func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "x", SecretAccessKey: "x"}, nil
	}
	return secretsmanager.New(secretsmanager.Options{Region: region, BaseEndpoint: aws.String(s.secretsURL), Credentials: aws.CredentialsProviderFunc(credentials)})
}

// TestOncePrintsTokensAndLeavesNothing runs the first command of the README with -once.
func TestOncePrintsTokensAndLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	file := filepath.Join(t.TempDir(), "stack.json")
	var out bytes.Buffer
	if err := run(t.Context(), options{once: true, jsonFile: file}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"access_token":"`, "client_secret_post", "client_secret_basic", "tls_client_auth", "self_signed_tls_client_auth", "private_key_jwt"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %s", want)
		}
	}
	var d description
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil || d.TokenURL == "" || len(d.Principals) != 2 || len(d.Clients) != 9 {
		t.Errorf("got the description %+v, %v", d, err)
	}
	if _, err := os.Stat(filepath.Dir(d.CAFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary directory still exists: %v", err)
	}
}

func TestPolicyRefusesOneClientAndOthersGetTokens(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the functions and runs them")
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
		t.Errorf("got %s, want one refusal, of the client basic", text)
	}
}

func TestFailedStartLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the build fails
	if _, err := start(ctx, "", io.Discard, io.Discard); err == nil {
		t.Fatal("got no error from a failed build")
	}
	left, err := filepath.Glob(filepath.Join(temp, "token-vendor-local-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("%q still exist, %v", left, err)
	}
}
