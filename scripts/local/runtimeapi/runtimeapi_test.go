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

func TestSecondEventUsesSameProcess(t *testing.T) {
	r := start(t, func(c *Config) { c.Alias = "http" })
	first := mustReport(t, invoke(t, r, `{"text":"one"}`))
	second := mustReport(t, invoke(t, r, `{"text":"two"}`))
	if first.PID == 0 || first.PID != second.PID {
		t.Errorf("got the processes %d and %d, want one", first.PID, second.PID)
	}
	if first.Text != "one" || second.Text != "two" {
		t.Errorf("got %q and %q, want one and two", first.Text, second.Text)
	}
	if want := "arn:aws:lambda:eu-central-1:123456789012:function:token:http"; first.ARN != want {
		t.Errorf("got the ARN %s, want %s", first.ARN, want)
	}
	if first.Left < 15_000 || first.Left > 20_000 {
		t.Errorf("got %d ms to the deadline, want nearly 20 s", first.Left)
	}
	if first.ID == second.ID || len(first.ID) != 36 {
		t.Errorf("got the request ids %q and %q", first.ID, second.ID)
	}
}

func TestQualifierAndRequestIDReachTheFunction(t *testing.T) {
	r := start(t, func(c *Config) { c.Alias = "http" })
	result, err := r.Invoke(t.Context(), Invocation{Qualifier: "direct"})
	if err != nil {
		t.Fatal(err)
	}
	if got := mustReport(t, result); !strings.HasSuffix(got.ARN, ":function:token:direct") || got.ID != result.RequestID {
		t.Errorf("got %s and the id %s, want the alias direct and %s", got.ARN, got.ID, result.RequestID)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PARENT_SECRET", "hidden")
	t.Setenv("AWS_PROFILE", "developer")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	r := start(t, func(c *Config) {
		c.MemoryMB, c.MaxConcurrency = 256, 2
		c.Env = []string{"OWN=yes", "AWS_REGION=mars", "AWS_LAMBDA_RUNTIME_API=elsewhere", "TZ=Europe/Berlin"}
	})
	env := mustReport(t, invoke(t, r, `{}`)).Env
	for _, want := range []string{
		"OWN=yes", "AWS_REGION=eu-central-1", "AWS_DEFAULT_REGION=eu-central-1", "TZ=Europe/Berlin",
		"AWS_LAMBDA_FUNCTION_NAME=token", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "_HANDLER=bootstrap", "AWS_LAMBDA_MAX_CONCURRENCY=2",
		"LAMBDA_TASK_ROOT=" + filepath.Dir(binary), "AWS_CONFIG_FILE=" + os.DevNull,
	} {
		if !slices.Contains(env, want) {
			t.Errorf("the environment lacks %s", want)
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

func TestOneEventAtATime(t *testing.T) {
	r := start(t, nil)
	invoke(t, r, `{}`)
	if took := invokeAtOnce(t, r, 4, `{"do":"sleep","ms":50}`); took < 200*time.Millisecond {
		t.Errorf("four events of 50 ms took %v, want one after the other", took)
	}
}

func TestMaxConcurrencyEventsAtATime(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxConcurrency = 8 })
	invoke(t, r, `{}`)
	if took := invokeAtOnce(t, r, 8, `{"do":"sleep","ms":400}`); took > 8*400*time.Millisecond/2 {
		t.Errorf("eight events of 400 ms took %v, want them at once", took)
	}
}

// invokeAtOnce sends n events at a time to one process and returns how long they took.
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
		t.Errorf("got the processes %v, want one", pids)
	}
	return time.Since(begin)
}

func TestPanicEndsTheProcessAndTypedErrorDoesNot(t *testing.T) {
	r := start(t, nil)
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

// TestNoEventIsLostAfterPanic: after a panic the process is still exiting when the next
// events arrive, and must get none of them.
func TestNoEventIsLostAfterPanic(t *testing.T) {
	for _, concurrency := range []int{1, 8} {
		r := start(t, func(c *Config) { c.MaxConcurrency = concurrency })
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

func TestPanicDoesNotFailOtherEvents(t *testing.T) {
	var stdout output
	r := start(t, func(c *Config) { c.MaxConcurrency, c.Stdout = 4, &stdout })
	invoke(t, r, `{}`)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() { mustReport(t, invoke(t, r, `{"do":"sleep","ms":200}`)) })
	}
	eventually(t, "three events run", func() bool { return strings.Count(stdout.String(), "sleeping") == 3 })
	all.Go(func() { mustFail(t, invoke(t, r, `{"do":"panic","text":"boom"}`)) })
	all.Wait()
}

func TestDeadlineEndsEventAndProcess(t *testing.T) {
	r := start(t, func(c *Config) { c.Timeout = 300 * time.Millisecond })
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

// TestDeadlineDoesNotFailOtherEvents: the process is killed after its other events have
// ended.
func TestDeadlineDoesNotFailOtherEvents(t *testing.T) {
	r := start(t, func(c *Config) { c.Timeout, c.MaxConcurrency = time.Second, 3 })
	before := mustReport(t, invoke(t, r, `{}`)).PID
	var all sync.WaitGroup
	all.Go(func() {
		mustFail(t, invoke(t, r, `{"do":"hang"}`))
		if pid := mustReport(t, invoke(t, r, `{}`)).PID; pid == before {
			t.Error("a draining process got an event")
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	<-ctx.Done() // the second event must still run at the deadline of the first
	all.Go(func() {
		if pid := mustReport(t, invoke(t, r, `{"do":"sleep","ms":700}`)).PID; pid != before {
			t.Error("the second event ran in another process")
		}
	})
	all.Wait()
	if after := mustReport(t, invoke(t, r, `{}`)).PID; after == before {
		t.Error("the process outlived the deadline")
	}
}

// TestProcessThatRequestsNoEventIsKilled: it is killed at the deadline of the event that
// it answered last.
func TestProcessThatRequestsNoEventIsKilled(t *testing.T) {
	r := start(t, func(c *Config) { c.Timeout, c.Env = 300*time.Millisecond, []string{"BEHAVIOUR=mute"} })
	first := mustReport(t, invoke(t, r, `{}`)).PID
	if second := mustReport(t, invoke(t, r, `{}`)).PID; first == second || second == 0 {
		t.Errorf("got the processes %d and %d, want two", first, second)
	}
}

func TestCrashFailsTheEvent(t *testing.T) {
	r := start(t, nil)
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

func TestNoEventIsLostWhenIdleProcessIsKilled(t *testing.T) {
	r := start(t, nil)
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

func TestFailedStartFailsTheEvent(t *testing.T) {
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
			r := start(t, func(c *Config) {
				c.Env = []string{"BEHAVIOUR=" + tt.behaviour}
				if tt.behaviour == "init-hang" {
					c.testOnlyInitTimeout = 300 * time.Millisecond
				}
			})
			for range 2 { // the next event starts another process
				got := mustFail(t, invoke(t, r, `{}`))
				if got.ErrorType != tt.kind || !strings.Contains(got.ErrorMessage, tt.message) {
					t.Errorf("got %+v, want %s %s", got, tt.kind, tt.message)
				}
			}
		})
	}
}

func TestBinaryThatIsNotExecutableFailsTheEvent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bootstrap")
	if err := os.WriteFile(file, []byte("not a program"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, func(c *Config) { c.Binary = file })
	if got := mustFail(t, invoke(t, r, `{}`)); got.ErrorType != "Runtime.InvalidEntrypoint" {
		t.Errorf("got %+v", got)
	}
}

func TestStartRefusesBinaryThatIsNotAFile(t *testing.T) {
	for name, path := range map[string]string{"none": "", "missing": "/does/not/exist", "directory": t.TempDir()} {
		cfg := testConfig()
		cfg.Binary = path
		if r, err := Start(cfg); err == nil {
			_ = r.Close()
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestPayloadLimits(t *testing.T) {
	r := start(t, nil)
	_, err := r.Invoke(t.Context(), Invocation{Payload: make([]byte, maxPayload+1)})
	if !errors.Is(err, ErrPayloadTooLarge) {
		t.Errorf("got %v", err)
	}
	largest := `{"ignored":"` + strings.Repeat("x", maxPayload-len(`{"ignored":""}`)) + `"}`
	mustReport(t, invoke(t, r, largest))
	if got := invoke(t, r, `{"do":"grow","ms":6291500}`); got.FunctionError != "" {
		t.Errorf("nearly largest response: got %.200s", got.Payload)
	}
	if got := mustFail(t, invoke(t, r, `{"do":"grow","ms":6291600}`)); got.ErrorType != "Function.ResponseSizeTooLarge" {
		t.Errorf("got %+v", got)
	}
	mustReport(t, invoke(t, r, `{}`))
}

// TestCallerThatLeaves: a running event continues without its caller, and a queued one is
// dropped.
func TestCallerThatLeaves(t *testing.T) {
	r := start(t, nil)
	invoke(t, r, `{}`)
	count := func() (running, waiting int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.proc.running), len(r.queue)
	}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			_, err := r.Invoke(ctx, Invocation{Payload: []byte(`{"do":"sleep","ms":1000}`)})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	}
	eventually(t, "one event runs and one waits", func() bool {
		running, waiting := count()
		return running == 1 && waiting == 1
	})
	leave()
	all.Wait()
	running, waiting := count()
	if running != 1 || waiting != 0 {
		t.Errorf("%d events are running and %d queued, want 1 and 0", running, waiting)
	}
	mustReport(t, invoke(t, r, `{}`))
}

func TestCloseFailsRunningEvent(t *testing.T) {
	r := start(t, nil)
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
