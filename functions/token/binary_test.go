package main

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
)

// TestMain removes the binary that [buildBinary] may have built.
func TestMain(m *testing.M) {
	code := m.Run()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

// binaryDir is written by buildBinary only.
var binaryDir string

// buildBinary compiles the function as for a deployment, once for all tests.
var buildBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "token-function")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	binary := filepath.Join(dir, "bootstrap")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-tags", "lambda.norpc", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", &exec.Error{Name: "go build: " + string(out), Err: err}
	}
	return binary, nil
})

// startBinary runs the compiled function in a process of its own, over the Lambda Runtime
// API, with the environment that it has in Lambda. cfg.Env is added to that.
func startBinary(t *testing.T, cfg runtimeapi.Config) *runtimeapi.Runtime {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Binary, cfg.FunctionName, cfg.Region, cfg.Account = binary, "cnry-function", "eu-central-1", "111122223333"
	if cfg.Timeout == 0 {
		cfg.Timeout = 20 * time.Second
	}
	cfg.Env = append([]string{
		"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=cnry-aws-key", "AWS_SESSION_TOKEN=cnry-aws-session",
		"ALLOW_PRIVATE_ENDPOINTS=true", "ENVELOPE_PROOF=" + testProof, "HTTP_ALIAS=" + testAlias,
	}, cfg.Env...)
	function, err := runtimeapi.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := function.Close(); err != nil {
			t.Error(err)
		}
	})
	return function
}

// start runs the compiled function with the secrets of e.
func (e *env) start(t *testing.T, cfg runtimeapi.Config) *runtimeapi.Runtime {
	t.Helper()
	secrets := httptest.NewServer(e)
	t.Cleanup(secrets.Close)
	cfg.Env = append([]string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + secrets.URL, "CLIENT_SECRET_PREFIX=" + testPrefix}, cfg.Env...)
	return startBinary(t, cfg)
}

// binaryHarness returns the compiled function, whose process takes concurrency events at a
// time: 1 as in Lambda, or more as on Lambda Managed Instances.
func binaryHarness(t *testing.T, e *env, concurrency int, env ...string) *harness {
	t.Helper()
	logs, stderr := new(output), new(output)
	function := e.start(t, runtimeapi.Config{MaxConcurrency: concurrency, Stdout: logs, Stderr: stderr, Env: env})
	return &harness{env: e, logs: logs, stderr: stderr, invoke: func(t testing.TB, in invoked) response {
		t.Helper()
		result, err := function.Invoke(t.Context(), runtimeapi.Invocation{Payload: in.payload, Qualifier: in.alias})
		if err != nil {
			t.Fatalf("Invoke: %v", err)
		}
		return response{requestID: result.RequestID, payload: result.Payload, failed: result.FunctionError != ""}
	}}
}

func TestBinaryAnswersEveryBadInput(t *testing.T) {
	e := newEnv(t)
	f := binaryHarness(t, e, 1)
	runCorpus(t, f)
	e.checkForms(t)
	// The output comes through pipes, so that some of it may be later than the answers.
	checkOutput(t, f)
}

func TestDebugLogOfTheBinaryHoldsNoSecret(t *testing.T) {
	e := newEnv(t)
	f := binaryHarness(t, e, 1, "LOG_LEVEL=debug")
	for _, payload := range []string{`{"client":"billing"}`, `{"client":"billing"}`, `{"client":"broken"}`, `{"client":"payroll"}`, `{"client":"billing","scope":"refused"}`} {
		f.invoke(t, invoked{payload: []byte(payload)})
	}
	checkOutput(t, f)
}

// A hundred callers at once, up to 64 of them in one process, read one secret and cause one
// exchange.
func TestConcurrentCallersOfTheBinaryShareOneExchange(t *testing.T) {
	e := newEnv(t)
	f := binaryHarness(t, e, 64)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if r := f.invoke(t, invoked{payload: []byte(`{"client":"billing"}`)}); r.failed {
				t.Errorf("got %s, want a token", r.payload)
			}
		})
	}
	all.Wait()
	if reads, exchanges := e.reads.Load(), e.exchanges.Load(); reads != 1 || exchanges != 1 {
		t.Errorf("got %d secrets read and %d exchanges, want 1 and 1", reads, exchanges)
	}
	checkOutput(t, f)
}

// The token is fetched before the first event. A client that has none does not keep the
// function from starting.
func TestBinaryPrefetchesTokens(t *testing.T) {
	e := newEnv(t)
	f := binaryHarness(t, e, 1, "PREFETCH_CLIENTS=billing,broken,missing")
	if r := f.invoke(t, invoked{payload: []byte(`{"client":"broken"}`)}); !r.failed {
		t.Error("got a token for a client whose document is broken")
	}
	if e.exchanges.Load() != 1 {
		t.Errorf("got %d exchanges before the first request for the token, want 1", e.exchanges.Load())
	}
	if r := f.invoke(t, invoked{payload: []byte(`{"client":"billing"}`)}); r.failed || e.exchanges.Load() != 1 {
		t.Errorf("got %s after %d exchanges, want the token that was fetched", r.payload, e.exchanges.Load())
	}
	checkOutput(t, f)
}

// A function with a wrong configuration names the variables and serves no request.
func TestBinaryRefusesAWrongEnvironment(t *testing.T) {
	e := newEnv(t)
	f := binaryHarness(t, e, 1, "POLICY_MODE=cnry-mode", "LOG_LEVEL=cnry-level", "CLIENT_SECRET_PREFIX=cnry-prefix?", "EGRESS_PROXY=http://cnry-user:cnry-password@cnry-proxy")
	r := f.invoke(t, invoked{payload: []byte(`{"client":"billing"}`)})
	if !r.failed {
		t.Fatal("the function served without a valid environment")
	}
	for _, name := range []string{"POLICY_MODE", "LOG_LEVEL", "CLIENT_SECRET_PREFIX", "EGRESS_PROXY"} {
		if !strings.Contains(string(r.payload), name) {
			t.Errorf("got %s, want an error that names %s", r.payload, name)
		}
	}
	if e.reads.Load() != 0 {
		t.Errorf("got %d secrets read, want none", e.reads.Load())
	}
	checkCanaries(t, "the answer", string(r.payload))
	checkOutput(t, f)
}

// checkOutput fails the test if the process wrote a canary. On stderr the runtime library
// repeats function errors.
func checkOutput(t *testing.T, f *harness) {
	t.Helper()
	checkCanaries(t, "stdout", f.logs.String())
	checkCanaries(t, "stderr", f.stderr.String())
}
