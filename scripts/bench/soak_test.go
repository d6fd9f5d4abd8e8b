package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestSoakMeasuresNoGrowth(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function and starts processes of it")
	}
	t.Parallel()
	var out bytes.Buffer
	if err := soak(t.Context(), []string{"-for", "6s", "-rest", "1s", "-processes", "2", "-concurrency", "4"}, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if memory(os.Getpid(), "VmRSS") == 0 {
		t.Skip("this system does not tell what a process uses")
	}
	for _, what := range []string{"memory, MB", "file descriptors", "goroutines", "credential changes", "tokens"} {
		if !regexp.MustCompile(`(?m)^  ` + what + ` +[1-9]`).MatchString(out.String()) {
			t.Errorf("want a figure for %q; got\n%s", what, out.String())
		}
	}
}

func TestGrowthAboveTheRatioIsAProblem(t *testing.T) {
	for _, tt := range []struct {
		before, after int
		found         bool
	}{{10, 12, false}, {10, 13, true}, {0, 13, false}, {10, 3, false}} {
		c := newChecker(1)
		if c.checkGrowth(new(bytes.Buffer), "things", tt.before, tt.after, 1.2); (c.err() != nil) != tt.found {
			t.Errorf("%d, then %d: got %v, want a problem: %t", tt.before, tt.after, c.err(), tt.found)
		}
	}
}

func TestOutputScannerCountsGoroutines(t *testing.T) {
	c := newChecker(1)
	w := &outputScanner{checker: c}
	for _, part := range strings.SplitAfter("SIGQUIT\n\ngoroutine 1 [select]:\nmain\n\ngorou|tine 7 [running]:\n|\ngoroutine 8", "|") {
		if _, err := w.Write([]byte(strings.TrimSuffix(part, "|"))); err != nil || c.err() != nil {
			t.Error(err, c.err())
		}
	}
	if c.stacks[0] != 3 {
		t.Errorf("got %d goroutines, want 3", c.stacks[0])
	}
}
