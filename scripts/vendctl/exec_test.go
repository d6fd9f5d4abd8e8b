package main

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A program gets the token, or a route that adds it, and nothing else. Neither is in an argument
// of a process.
func TestExecShowsNothingElse(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	binary, stack := build(t), vendor(t)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path+" "+r.Header.Get("Authorization"))
	}))
	defer api.Close()
	const spy = `tr '\0' '\n' </proc/$PPID/cmdline; tr '\0' '\n' </proc/$PPID/environ; tr '\0' '\n' </proc/$$/cmdline; echo ---; env; exit 7`
	output := func(args ...string) (outside, environment string) {
		out, err := exec.CommandContext(t.Context(), binary, append([]string{"--local", stack, "exec"}, args...)...).Output()
		var exit *exec.ExitError
		if ok := asExit(err, &exit); !ok || exit.ExitCode() != 7 {
			t.Fatalf("got %v, want the exit code of the program", err)
		}
		outside, environment, _ = strings.Cut(string(out), "---\n")
		return outside, "\n" + environment
	}
	outside, environment := output("billing", "--", "sh", "-c", spy)
	if strings.Contains(outside, "cnry-") || strings.Count(environment, "cnry-") != 1 || !strings.Contains(environment, "\nACCESS_TOKEN="+opaque+"\n") {
		t.Errorf("a token: got %q and %q", outside, environment)
	}
	outside, environment = output("--route", "my-api=billing@"+api.URL+"/v1", "--", "sh", "-c", spy)
	if strings.Contains(outside+environment, "cnry-") || strings.Contains(outside, "/r/my-api") || !strings.Contains(environment, "\nMY_API_URL=http://127.0.0.1:") {
		t.Errorf("a route: got %q and %q", outside, environment)
	}
	if curl, err := exec.LookPath("curl"); err == nil {
		out, err := exec.CommandContext(t.Context(), binary, "--local", stack, "exec", "--route", "my-api=billing@"+api.URL+"/v1", "--",
			"sh", "-c", curl+` -sS "$MY_API_URL/orders"`).CombinedOutput()
		if err != nil || string(out) != "/v1/orders Bearer "+opaque {
			t.Errorf("got %q, %v", out, err)
		}
	}
}

func asExit(err error, target **exec.ExitError) bool {
	exit, ok := err.(*exec.ExitError) //nolint:errorlint // of the command itself
	*target = exit
	return ok
}

// startReady starts a program, waits until it says ready, and returns the rest of its output. The program
// is killed if it takes too long.
func startReady(t *testing.T, cmd *exec.Cmd) io.Reader {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { timer.Stop() })
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	return out
}

// The routes of a program work until it has ended, also while it ends after a signal.
func TestExecServesUntilTheProgramEnds(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil || runtime.GOOS == "windows" {
		t.Skip("no curl")
	}
	binary, stack := build(t), vendor(t)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "last") }))
	defer api.Close()
	cmd := exec.Command(binary, "--local", stack, "exec", "--route", "a=billing@"+api.URL, "--", "sh", "-c", //nolint:noctx // it is ended below
		`trap '`+curl+` -sS "$A_URL/"; exit 5' TERM; trap : INT; echo ready; while :; do sleep 0.1; done`)
	out := startReady(t, cmd)
	// Ctrl-C is for the program, which gets it from the terminal.
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
	last, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if ok := asExit(cmd.Wait(), &exit); !ok || exit.ExitCode() != 5 || string(last) != "last" {
		t.Errorf("got %q, want the answer of the API and the program's exit code 5", last)
	}
}

// net/http writes by package log what a server sends after its answer.
func TestLogHoldsNothingThatServersSend(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl")
	}
	binary, stack := build(t), vendor(t)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		connection, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(connection, "HTTP/1.1 204 No Content\r\n\r\n"+`{"access_token":"cnry-token"}`)
		_ = connection.Close()
	}))
	defer api.Close()
	cmd := exec.CommandContext(t.Context(), binary, "--local", stack, "exec", "--route", "a=billing@"+api.URL, "--", "sh", "-c",
		curl+` -sS "$A_URL/"; read -r end`)
	stdin, stdinErr := cmd.StdinPipe()
	stderr, stderrErr := cmd.StderrPipe()
	if err := errors.Join(stdinErr, stderrErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(30*time.Second, func() { _ = stdin.Close() }) // which ends the program
	defer timer.Stop()
	line, err := bufio.NewReader(stderr).ReadString('\n')
	if err != nil || !strings.HasSuffix(line, " Unsolicited response received on idle HTTP channel\n") {
		t.Errorf("got %q, %v", line, err)
	}
	_ = stdin.Close()
	_ = cmd.Wait()
}

func TestExecTellsTheSignal(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals")
	}
	t.Setenv("ACCESS_TOKEN", "another")
	stack := vendor(t)
	if _, _, code := vendctl(t, "--local", stack, "exec", "billing", "--", "sh", "-c", "kill -9 $$"); code != exitSignal+9 {
		t.Errorf("got the exit code %d, want %d", code, exitSignal+9)
	}
	t.Setenv("NO_PROXY", "x.example")
	if _, _, code := vendctl(t, "--local", stack, "exec", "--route", "a=billing@https://x.example", "--", "sh", "-c", `test -z "$ACCESS_TOKEN" && test "$NO_PROXY" = x.example,127.0.0.1,localhost`); code != 0 {
		t.Error("a program with a route has a token of the environment, or calls the route through a proxy")
	}
}
