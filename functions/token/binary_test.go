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

// buildBinary compiles the function as it is deployed, once for all tests.
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
	build := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", &exec.Error{Name: "go build: " + string(out), Err: err}
	}
	return binary, nil
})

// binaryHarness is the compiled function in a process of its own, over the Lambda
// Runtime API, with the AWS SDK and the environment as they are in Lambda.
func binaryHarness(t *testing.T, w *env, env ...string) *harness {
	t.Helper()
	return concurrentHarness(t, w, 1, env...)
}

// concurrentHarness is one whose process takes so many events at a time, as on Lambda
// Managed Instances.
func concurrentHarness(t *testing.T, w *env, concurrency int, env ...string) *harness {
	t.Helper()
	logs, stderr := new(output), new(output)
	function := runFunction(t, w, runtimeapi.Config{MaxConcurrency: concurrency, Stdout: logs, Stderr: stderr, Env: env})
	return &harness{env: w, logs: logs, stderr: stderr, invoke: func(t testing.TB, in invoked) response {
		t.Helper()
		result, err := function.Invoke(t.Context(), runtimeapi.Invocation{Payload: in.payload, Qualifier: in.alias})
		if err != nil {
			t.Fatalf("Invoke: %v", err)
		}
		return response{requestID: result.RequestID, payload: result.Payload, failed: result.FunctionError != ""}
	}}
}

// runFunction runs the compiled function on a env, with env on top of what it needs.
func runFunction(t *testing.T, w *env, cfg runtimeapi.Config) *runtimeapi.Runtime {
	t.Helper()
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	secrets := httptest.NewServer(w)
	t.Cleanup(secrets.Close)
	cfg.Binary, cfg.FunctionName, cfg.Region, cfg.Account = binary, "cnry-function", "eu-central-1", "111122223333"
	if cfg.Timeout == 0 {
		cfg.Timeout = 20 * time.Second
	}
	cfg.Env = append([]string{
		"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=cnry-key", "AWS_SESSION_TOKEN=cnry-session",
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + secrets.URL,
		"CLIENT_SECRET_PREFIX=" + testPrefix, "ALLOW_PRIVATE_ENDPOINTS=true",
		"ENVELOPE_PROOF=" + testProof, "HTTP_ALIAS=" + testAlias,
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

// TestCorpusThroughTheBinary sends every input of testdata/bad through the
// compiled function.
func TestCorpusThroughTheBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	w := newEnv(t)
	f := binaryHarness(t, w)
	runCorpus(t, f)
	w.checkForms(t)
	// Its output comes through pipes, so what was late is looked at here.
	checkOutput(t, f)
}

// TestBinaryLogsAtEveryLevel: the level must not decide what a line may hold.
func TestBinaryLogsAtEveryLevel(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	w := newEnv(t)
	f := binaryHarness(t, w, "LOG_LEVEL=debug")
	for _, payload := range []string{`{"client":"billing"}`, `{"client":"billing"}`, `{"client":"broken"}`, `{"client":"payroll"}`, `{"client":"billing","scope":"refused"}`} {
		f.invoke(t, invoked{payload: []byte(payload)})
	}
	checkOutput(t, f)
}

// TestColdCallersThroughTheBinary: a hundred callers at once, up to 64 of them in
// one process, cost one secret and one exchange.
func TestColdCallersThroughTheBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	w := newEnv(t)
	f := concurrentHarness(t, w, 64)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if r := f.invoke(t, invoked{payload: []byte(`{"client":"billing"}`)}); r.failed {
				t.Error("no token")
			}
		})
	}
	all.Wait()
	if reads, exchanges := w.reads.Load(), w.exchanges.Load(); reads != 1 || exchanges != 1 {
		t.Errorf("%d secrets read, %d exchanges; want 1, 1", reads, exchanges)
	}
	checkOutput(t, f)
}

// TestPrefetchThroughTheBinary: the token is there before the first event, and a
// client that can't be had doesn't keep the function from starting.
func TestPrefetchThroughTheBinary(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	w := newEnv(t)
	f := binaryHarness(t, w, "PREFETCH_CLIENTS=billing,broken,nobody")
	if r := f.invoke(t, invoked{payload: []byte(`{"client":"broken"}`)}); !r.failed {
		t.Error("a broken client's token")
	}
	if w.exchanges.Load() != 1 {
		t.Errorf("%d exchanges before anybody asked for it, want 1", w.exchanges.Load())
	}
	if r := f.invoke(t, invoked{payload: []byte(`{"client":"billing"}`)}); r.failed || w.exchanges.Load() != 1 {
		t.Errorf("%d exchanges, failed: %v", w.exchanges.Load(), r.failed)
	}
	checkOutput(t, f)
}

// TestBinaryRefusesItsEnvironment: a function that is configured wrongly says so
// and does not serve.
func TestBinaryRefusesItsEnvironment(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	w := newEnv(t)
	f := binaryHarness(t, w, "POLICY_MODE=cnry-mode", "LOG_LEVEL=cnry-level", "CLIENT_SECRET_PREFIX=cnry-prefix?")
	r := f.invoke(t, invoked{payload: []byte(`{"client":"billing"}`)})
	if !r.failed {
		t.Fatal("the function served without a valid environment")
	}
	for _, name := range []string{"POLICY_MODE", "LOG_LEVEL", "CLIENT_SECRET_PREFIX"} {
		if !strings.Contains(string(r.payload), name) {
			t.Errorf("the error doesn't name %s", name)
		}
	}
	if w.reads.Load() != 0 {
		t.Error("a secret was read")
	}
	checkCanaries(t, "the answer", string(r.payload))
	checkOutput(t, f)
}

// checkOutput looks at what the process wrote. On stderr that is the runtime
// library, which repeats function errors.
func checkOutput(t *testing.T, f *harness) {
	t.Helper()
	checkCanaries(t, "stdout", f.logs.String())
	checkCanaries(t, "stderr", f.stderr.String())
}
