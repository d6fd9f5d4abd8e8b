package runtimeapi

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestColdThenWarm(t *testing.T) {
	r := start(t, Config{FunctionName: "token", Region: "eu-central-1", Account: "123456789012", Alias: "http"})
	first := mustReport(t, invoke(t, r, `{"text":"one"}`))
	second := mustReport(t, invoke(t, r, `{"text":"two"}`))
	if first.PID == 0 || first.PID != second.PID {
		t.Errorf("processes %d and %d, want one", first.PID, second.PID)
	}
	if first.Text != "one" || second.Text != "two" {
		t.Errorf("echoed %q and %q", first.Text, second.Text)
	}
	if want := "arn:aws:lambda:eu-central-1:123456789012:function:token:http"; first.ARN != want {
		t.Errorf("ARN %s, want %s", first.ARN, want)
	}
	if first.Left < 15_000 || first.Left > 20_000 {
		t.Errorf("%d ms left, want nearly 20 s", first.Left)
	}
	if first.ID == second.ID || len(first.ID) != 36 {
		t.Errorf("request ids %q and %q", first.ID, second.ID)
	}
}

func TestInvocationMembers(t *testing.T) {
	r := start(t, Config{Alias: "http"})
	result, err := r.Invoke(t.Context(), Invocation{
		Qualifier: "direct", ClientContext: `{"custom":{"a":"b"}}`, TraceID: "Root=1-5-6;Sampled=1",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := mustReport(t, result)
	if !strings.HasSuffix(got.ARN, ":function:function:direct") || got.Context["a"] != "b" || got.Trace != "Root=1-5-6;Sampled=1" {
		t.Errorf("got %s %v %s", got.ARN, got.Context, got.Trace)
	}
	if got.ID != result.RequestID {
		t.Errorf("the function saw id %s, the caller %s", got.ID, result.RequestID)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PARENT_SECRET", "hidden")
	t.Setenv("AWS_PROFILE", "developer")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	r := start(t, Config{
		Region: "eu-west-1", MemoryMB: 256, MaxConcurrency: 2,
		Env: []string{"OWN=yes", "AWS_REGION=mars", "AWS_LAMBDA_RUNTIME_API=elsewhere", "TZ=Europe/Berlin"},
	})
	env := mustReport(t, invoke(t, r, `{}`)).Env
	for _, want := range []string{
		"OWN=yes", "AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1", "TZ=Europe/Berlin",
		"AWS_LAMBDA_FUNCTION_NAME=function", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "_HANDLER=bootstrap", "AWS_LAMBDA_MAX_CONCURRENCY=2",
		"LAMBDA_TASK_ROOT=" + filepath.Dir(binary), "AWS_CONFIG_FILE=" + os.DevNull,
	} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, variable := range env {
		for _, name := range []string{"PARENT_SECRET=", "AWS_PROFILE=", "HTTPS_PROXY=", "AWS_EXECUTION_ENV="} {
			if strings.HasPrefix(variable, name) {
				t.Errorf("%s reached the function", variable)
			}
		}
	}
}

func TestOneAtATime(t *testing.T) {
	r := start(t, Config{})
	invoke(t, r, `{}`)
	if took := invokeAtOnce(t, r, 4, `{"do":"sleep","ms":50}`); took < 200*time.Millisecond {
		t.Errorf("four events of 50 ms took %v, want one after the other", took)
	}
}

func TestConcurrency(t *testing.T) {
	r := start(t, Config{MaxConcurrency: 8})
	invoke(t, r, `{}`)
	if took := invokeAtOnce(t, r, 8, `{"do":"sleep","ms":400}`); took > 8*400*time.Millisecond/2 {
		t.Errorf("eight events of 400 ms took %v, want them at once", took)
	}
}

// invokeAtOnce invokes n times at once, wants one process, and says how long it took.
func invokeAtOnce(t *testing.T, r *Runtime, n int, payload string) time.Duration {
	t.Helper()
	begin := time.Now()
	pids := make([]int, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { pids[i] = mustReport(t, invoke(t, r, payload)).PID })
	}
	all.Wait()
	if len(slices.Compact(pids)) != 1 {
		t.Errorf("processes %v, want one", pids)
	}
	return time.Since(begin)
}

func TestFunctionErrors(t *testing.T) {
	r := start(t, Config{})
	before := mustReport(t, invoke(t, r, `{}`)).PID
	if got := mustFail(t, invoke(t, r, `{"do":"fail","text":"no such client"}`)); got != (failure{"access_denied", "no such client"}) {
		t.Errorf("got %+v", got)
	}
	if after := mustReport(t, invoke(t, r, `{}`)).PID; after != before {
		t.Error("a typed error ended the process")
	}
	if got := mustFail(t, invoke(t, r, `{"do":"panic","text":"boom"}`)); got != (failure{"string", "boom"}) {
		t.Errorf("got %+v", got)
	}
	if after := mustReport(t, invoke(t, r, `{}`)).PID; after == before {
		t.Error("a panic did not end the process")
	}
}

// A panic's process is still dying when the next events come. None of them may be
// given to it.
func TestEventsAfterPanic(t *testing.T) {
	for _, concurrency := range []int{1, 8} {
		r := start(t, Config{MaxConcurrency: concurrency})
		for range 20 {
			var all sync.WaitGroup
			all.Go(func() { mustFail(t, invoke(t, r, `{"do":"panic","text":"boom"}`)) })
			all.Wait()
			for range 4 {
				all.Go(func() { mustReport(t, invoke(t, r, `{}`)) })
			}
			all.Wait()
		}
	}
}

// At a concurrency above one the events beside a panic end well.
func TestPanicBesideOthers(t *testing.T) {
	var stdout output
	r := start(t, Config{MaxConcurrency: 4, Stdout: &stdout})
	invoke(t, r, `{}`)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { mustReport(t, invoke(t, r, `{"do":"sleep","ms":200}`)) })
	}
	eventually(t, "three events run", func() bool { return strings.Count(stdout.String(), "sleeping") == 3 })
	all.Go(func() { mustFail(t, invoke(t, r, `{"do":"panic","text":"boom"}`)) })
	all.Wait()
}

func TestDeadline(t *testing.T) {
	r := start(t, Config{Timeout: 300 * time.Millisecond})
	before := mustReport(t, invoke(t, r, `{}`)).PID
	result := invoke(t, r, `{"do":"hang"}`)
	got := mustFail(t, result)
	words := strings.SplitN(got.ErrorMessage, " ", 3)
	if len(words) != 3 || words[1] != result.RequestID || words[2] != "Task timed out after 0.30 seconds" || got.ErrorType != "" {
		t.Errorf("got %+v", got)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", words[0]); err != nil {
		t.Error(err)
	}
	if after := mustReport(t, invoke(t, r, `{}`)).PID; after == before {
		t.Error("the process outlived the deadline")
	}
}

// An event past its deadline takes the process with it, but not before the events
// beside it have ended.
func TestDeadlineBesideOthers(t *testing.T) {
	r := start(t, Config{Timeout: time.Second, MaxConcurrency: 3})
	before := mustReport(t, invoke(t, r, `{}`)).PID
	var all sync.WaitGroup
	all.Go(func() {
		mustFail(t, invoke(t, r, `{"do":"hang"}`))
		if pid := mustReport(t, invoke(t, r, `{}`)).PID; pid == before {
			t.Error("a process that is about to be killed got an event")
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	<-ctx.Done() // so that the second event is still running at the first one's deadline
	all.Go(func() {
		if pid := mustReport(t, invoke(t, r, `{"do":"sleep","ms":700}`)).PID; pid != before {
			t.Error("not beside the hanging event")
		}
	})
	all.Wait()
	if after := mustReport(t, invoke(t, r, `{}`)).PID; after == before {
		t.Error("the process outlived the deadline")
	}
}

// A process that answers and then does not ask for more is ended at the deadline of
// the event that it answered.
func TestAnsweredThenHangs(t *testing.T) {
	r := start(t, Config{Timeout: 300 * time.Millisecond, Env: []string{"BEHAVIOUR=mute"}})
	first := mustReport(t, invoke(t, r, `{}`)).PID
	if second := mustReport(t, invoke(t, r, `{}`)).PID; first == second || second == 0 {
		t.Errorf("processes %d and %d, want two", first, second)
	}
}

func TestCrash(t *testing.T) {
	r := start(t, Config{})
	before := mustReport(t, invoke(t, r, `{}`)).PID
	result := invoke(t, r, `{"do":"exit"}`)
	want := failure{"Runtime.ExitError", "RequestId: " + result.RequestID + " Error: Runtime exited with error: exit status 3"}
	if got := mustFail(t, result); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if after := mustReport(t, invoke(t, r, `{}`)).PID; after == before {
		t.Error("a crashed process answered")
	}
}

// A process killed between events is replaced, and no event is lost to it.
func TestKilledWhileIdle(t *testing.T) {
	r := start(t, Config{})
	for range 10 {
		pid := mustReport(t, invoke(t, r, `{}`)).PID
		r.mu.Lock()
		proc := r.proc
		r.mu.Unlock()
		killGroup(proc.cmd)
		<-proc.exited
		if again := mustReport(t, invoke(t, r, `{}`)).PID; again == pid {
			t.Fatal("a killed process answered")
		}
	}
}

func TestInitFailures(t *testing.T) {
	tests := map[string]struct {
		behaviour string
		kind      string
		message   string // a part
	}{
		"exit before the first request": {"init-exit", "Runtime.ExitError", "Runtime exited with error: exit status 1"},
		"init/error":                    {"init-error", "Configuration", "two variables are missing"},
		"no request in time":            {"init-hang", "", "Task timed out after 0.30 seconds"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Env: []string{"BEHAVIOUR=" + tt.behaviour}}
			if tt.behaviour == "init-hang" {
				cfg.InitTimeout = 300 * time.Millisecond
			}
			r := start(t, cfg)
			for range 2 { // the next event tries again
				got := mustFail(t, invoke(t, r, `{}`))
				if got.ErrorType != tt.kind || !strings.Contains(got.ErrorMessage, tt.message) {
					t.Errorf("got %+v", got)
				}
			}
		})
	}
}

func TestNotExecutable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(file, []byte("not a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Start(Config{Binary: file})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if got := mustFail(t, invoke(t, r, `{}`)); got.ErrorType != "Runtime.InvalidEntrypoint" {
		t.Errorf("got %+v", got)
	}
}

func TestStartRefuses(t *testing.T) {
	for name, path := range map[string]string{"none": "", "missing": "/does/not/exist", "directory": t.TempDir()} {
		if r, err := Start(Config{Binary: path}); err == nil {
			_ = r.Close()
			t.Errorf("%s: started", name)
		}
	}
}

func TestPayloadLimits(t *testing.T) {
	r := start(t, Config{})
	_, err := r.Invoke(t.Context(), Invocation{Payload: make([]byte, maxPayload+1)})
	if !errors.Is(err, ErrPayloadTooLarge) {
		t.Errorf("got %v", err)
	}
	largest := `{"ignored":"` + strings.Repeat("x", maxPayload-len(`{"ignored":""}`)) + `"}`
	mustReport(t, invoke(t, r, largest))
	if got := invoke(t, r, `{"do":"grow","ms":6291500}`); got.FunctionError != "" {
		t.Errorf("nearly largest answer: %.200s", got.Payload)
	}
	if got := mustFail(t, invoke(t, r, `{"do":"grow","ms":6291600}`)); got.ErrorType != "Function.ResponseSizeTooLarge" {
		t.Errorf("got %+v", got)
	}
	mustReport(t, invoke(t, r, `{}`))
}

// An event whose caller has left runs on; one that waits behind it is dropped.
func TestCallerLeaves(t *testing.T) {
	r := start(t, Config{})
	invoke(t, r, `{}`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			_, err := r.Invoke(ctx, Invocation{Payload: []byte(`{"do":"sleep","ms":300}`)})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	r.mu.Lock()
	running, waiting := len(r.proc.running), len(r.queue)
	r.mu.Unlock()
	if running != 1 || waiting != 0 {
		t.Errorf("%d events run and %d wait, want 1 and 0", running, waiting)
	}
	mustReport(t, invoke(t, r, `{}`))
}

func TestClose(t *testing.T) {
	r := start(t, Config{})
	invoke(t, r, `{}`)
	ended := make(chan Result)
	go func() { ended <- invoke(t, r, `{"do":"hang"}`) }()
	eventually(t, "the event runs", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.proc.running) == 1
	})
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if got := mustFail(t, <-ended); got.ErrorType != "Runtime.ExitError" {
		t.Errorf("got %+v", got)
	}
	if _, err := r.Invoke(t.Context(), Invocation{}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestExtensionGetsSIGTERM(t *testing.T) {
	var stdout output
	r := start(t, Config{Env: []string{"BEHAVIOUR=sigterm"}, Stdout: &stdout})
	mustReport(t, invoke(t, r, `{}`))
	r.mu.Lock()
	first := r.proc
	r.mu.Unlock()
	if terminate(first.cmd) != nil { // also tells that a second SIGTERM does no harm
		t.Skip("no SIGTERM here")
	}
	<-first.exited // the next event must find it gone
	if !strings.Contains(stdout.String(), "terminated politely") {
		t.Error("the callback did not run")
	}
	mustReport(t, invoke(t, r, `{}`))
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(stdout.String(), "terminated politely"); n != 2 {
		t.Errorf("the callback ran %d times, want 2", n)
	}
}
