package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// onTerminal runs a command whose standard error is a terminal, and returns what is on its standard
// output and what the terminal got.
func onTerminal(t *testing.T, args ...string) (out, shown string) {
	t.Helper()
	var stdout bytes.Buffer
	shown = withTerminal(t, func(terminal io.Writer) int { return run(t.Context(), args, &stdout, terminal) })
	return stdout.String(), shown
}

// withTerminal calls a command with a terminal, and returns what the terminal got.
func withTerminal(t *testing.T, command func(terminal io.Writer) int) string {
	t.Helper()
	master, slave := openTerminal(t)
	t.Setenv("TERM", "xterm")
	read := make(chan string)
	go func() {
		text, err := io.ReadAll(master)
		// At its end a terminal has an error of its own.
		if err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, fs.ErrClosed) {
			t.Error(err)
		}
		read <- string(text)
	}()
	code := command(slave)
	if err := slave.Close(); err != nil {
		t.Fatal(err)
	}
	shown := <-read
	if code != 0 {
		t.Fatalf("got %d, %q", code, shown)
	}
	return shown
}

// Long operations say on a terminal how far they are, and leave nothing behind. In a pipe they say
// nothing.
func TestProgressIsOnATerminalOnly(t *testing.T) {
	var lines []map[string]any
	for i := range 2000 {
		lines = append(lines, map[string]any{"time": at(time.Minute), "request_id": fmt.Sprint(i), "caller": "aws:1:role/job", "client": "billing", "allowed": true, "outcome": "hit", "token_sha256": fmt.Sprintf("%064x", i)})
	}
	stack, _ := logged(t, lines)
	file := stack + ".policy"
	if err := os.WriteFile(file, []byte(`{"rules": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	dead := newBuried(t)
	dead.bury(orderBody, "original-1")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--local", stack, "audit"}, "\rreading the log: 0 lines\x1b[K"},
		{[]string{"--local", stack, "audit", "-o", "json"}, "\rreading the log: 0 lines\x1b[K"},
		{[]string{"--local", stack, "who-holds", "billing"}, "\rreading the log: 0 lines\x1b[K"},
		{[]string{"--local", stack, "policy", "diff", file}, "\rreading the log: 0 lines\x1b[K"},
		{[]string{"--local", dead.stack, "dead-letters"}, "\rreading the dead-letter queue: 1 messages\x1b[K"},
		{[]string{"--local", dead.stack, "dead-letters", "redrive", "--dry-run"}, "\rreading the dead-letter queue: 1 messages, 0 put back\x1b[K"},
	} {
		out, shown := onTerminal(t, test.args...)
		if !strings.Contains(shown, test.want) || !strings.HasSuffix(shown, "\r\x1b[K") || strings.Contains(shown, "\n") {
			t.Errorf("%v: the terminal got %q, want %q and nothing left", test.args, shown, test.want)
		}
		if len(out) < 50 || strings.ContainsAny(out, "\r\x1b") {
			t.Errorf("%v: got %q", test.args, out[:min(len(out), 200)])
		}
		if _, shown := onTerminal(t, append(test.args, "-q")...); shown != "" {
			t.Errorf("%v -q: the terminal got %q", test.args, shown)
		}
		if piped, errs, code := vendctl(t, test.args...); code != 0 || errs != "" || piped != out {
			t.Errorf("%v in a pipe: got %d, %q and another output: %t", test.args, code, errs, piped != out)
		}
	}
}

// Lines of JSON are on the same terminal, and none follows the progress.
func TestLinesAreNotMixedWithProgress(t *testing.T) {
	stack, _ := logged(t, []map[string]any{{"time": at(time.Minute), "client": "billing", "allowed": true}, {"time": at(time.Minute), "client": "orders", "allowed": true}})
	shown := withTerminal(t, func(terminal io.Writer) int {
		return run(t.Context(), []string{"--local", stack, "audit", "-o", "json"}, terminal, terminal)
	})
	progress := regexp.MustCompile(`^(\rreading the log: \d+ lines\x1b\[K)+\r\x1b\[K\{`) // a slow machine shows more of it
	if !progress.MatchString(shown) || strings.Count(shown, "\n{") != 1 {
		t.Errorf("the terminal got %q", shown)
	}
}

// A text that is shown is removed before a line is printed on the same terminal.
func TestProgressIsRemovedBeforeALine(t *testing.T) {
	var terminal bytes.Buffer
	p := &progress{out: &terminal}
	p.show("%d messages", 1)
	p.show("%d messages", 2) // too soon
	p.clear()
	p.clear()
	if got := terminal.String(); got != "\r1 messages\x1b[K\r\x1b[K" {
		t.Errorf("got %q", got)
	}
	terminal.Reset()
	(&watchedLog{progress: &progress{out: &terminal}, part: 0.5, lines: 7}).show()
	if got := terminal.String(); got != "\rreading the log: 50 %, 7 lines\x1b[K" {
		t.Errorf("got %q", got)
	}
	var none *progress
	none.show("x")
	none.clear()
}
