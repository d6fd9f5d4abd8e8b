package runtimeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// binary is testdata/function, compiled as the product's functions are.
var binary string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "runtimeapi")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "bootstrap")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	out, err := exec.Command("go", "build", "-buildvcs=false", "-tags", "lambda.norpc", "-o", binary, "./testdata/function").CombinedOutput()
	if err != nil {
		panic(fmt.Sprintf("%v\n%s", err, out))
	}
	return m.Run()
}

// output is a writer that a test can read while the function writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func testConfig() Config {
	return Config{Binary: binary, FunctionName: "token", Region: "eu-central-1", Account: "123456789012", Timeout: 20 * time.Second}
}

// start runs the function of testConfig, with the members that change sets, until the end
// of the test.
func start(t *testing.T, change func(*Config)) *Runtime {
	t.Helper()
	cfg := testConfig()
	if change != nil {
		change(&cfg)
	}
	r, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func invoke(t *testing.T, r *Runtime, payload string) Result {
	t.Helper()
	result, err := r.Invoke(t.Context(), Invocation{Payload: []byte(payload)})
	if err != nil {
		t.Errorf("Invoke(%s): %v", payload, err)
	}
	return result
}

// report is what the function reports about itself.
type report struct {
	PID  int
	Text string
	ARN  string
	ID   string
	Left int64 // milliseconds to the deadline
	Env  []string
}

func mustReport(t *testing.T, result Result) report {
	t.Helper()
	var got report
	if err := json.Unmarshal(result.Payload, &got); err != nil || result.FunctionError != "" {
		t.Errorf("got %s %.300s, want a report", result.FunctionError, result.Payload)
	}
	return got
}

// failure is the payload of an error.
type failure struct{ ErrorType, ErrorMessage string }

func mustFail(t *testing.T, result Result) failure {
	t.Helper()
	var got failure
	if err := json.Unmarshal(result.Payload, &got); err != nil || result.FunctionError != "Unhandled" {
		t.Errorf("got %q %.300s, want an error", result.FunctionError, result.Payload)
	}
	return got
}

// eventually fails the test if ok returns false for ten seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		case <-tick.C:
		}
	}
}
