package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"tokenvendor/scripts/local/options"
	"tokenvendor/scripts/local/workdir"
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
	s, err := start(t.Context(), config{verbose: log, out: io.Discard, errOut: log})
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
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	var out bytes.Buffer
	if err := run(t.Context(), options.Options{Once: true}, "", &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"access_token":"`, "client_secret_post", "client_secret_basic", "tls_client_auth", "self_signed_tls_client_auth", "private_key_jwt", "log: "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %s", want)
		}
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("%v still exist, %v", left, err)
	}
}

// TestFilesDescribeTheStackWhileItRuns: programs read -json, shells read -env, and scripts/sam
// finds the description in the stack's directory.
func TestFilesDescribeTheStackWhileItRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the functions and runs them")
	}
	t.Setenv("TMPDIR", t.TempDir())
	files := t.TempDir()
	o := options.Options{JSON: filepath.Join(files, "stack.json"), Env: filepath.Join(files, "stack.env")}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, o, "", io.Discard, io.Discard) }()
	defer cancel()
	var d description
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if len(workdir.Running()) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no stack is running after a minute")
		}
	}
	for _, file := range []string{o.JSON, workdir.Running()[0]} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &d); err != nil || d.TokenURL == "" || d.AWSURL == "" || len(d.Principals) != 2 || len(d.Clients) != 11 {
			t.Errorf("got the description %+v, %v", d, err)
		}
	}
	env, err := os.ReadFile(o.Env)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(env)) {
		if !regexp.MustCompile(`^(# .*|export [A-Z_]+='[^']*')\n$`).MatchString(line) {
			t.Errorf("a shell cannot read the line %q", line)
		}
	}
	if want := "export TOKEN_URL='" + strings.TrimSuffix(d.TokenURL, "/") + "'"; !strings.Contains(string(env), want) {
		t.Errorf("the variables lack %s", want)
	}
	if log, err := os.ReadFile(d.Log); err != nil || !strings.Contains(string(log), `"type":"decision"`) {
		t.Errorf("the log has no decision, %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(files); err != nil || len(left) != 0 {
		t.Errorf("%v outlived the stack, %v", left, err)
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
	if err := run(t.Context(), options.Options{Once: true, Policy: file}, "", &out, io.Discard); err != nil {
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
	if _, err := start(ctx, config{out: io.Discard, errOut: io.Discard}); err == nil {
		t.Fatal("got no error from a failed build")
	}
	left, err := filepath.Glob(filepath.Join(temp, "token-vendor-local-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("%q still exist, %v", left, err)
	}
}

func TestBrokenPolicyEndsTheStart(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(`{"rules": [{"name": "developers", "callers": ["aws:123456789012:user/developer"], "client": ["*"]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := start(t.Context(), config{policy: file, out: io.Discard, errOut: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "policy.json") || !strings.Contains(err.Error(), "rules[0]") {
		t.Errorf("got the error %v, want one that names the file and the rule", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("%v exist, %v", left, err)
	}
}

// TestClosedOutputEndsTheStack: a pager or head that reads the output ends first.
func TestClosedOutputEndsTheStack(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the functions and runs them")
	}
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// The error is that of the interrupted start; run returns before ctx ends.
	_ = run(ctx, options.Options{}, "", closedOutput{}, io.Discard)
	if ctx.Err() != nil {
		t.Error("the stack is still running after a minute")
	}
}

// closedOutput is an output that nobody reads.
type closedOutput struct{}

func (closedOutput) Write([]byte) (int, error) { return 0, syscall.EPIPE }
