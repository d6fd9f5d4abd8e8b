package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// TestSoak: a short one is flat, and measures what it says.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function and starts processes of it")
	}
	t.Chdir("../..")
	var out bytes.Buffer
	if err := soak(t.Context(), []string{"-for", "6s", "-rest", "1s", "-processes", "2", "-concurrency", "4"}, &out); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if holds(1).memory == 0 {
		t.Skip("this system does not tell what a process holds")
	}
	for _, what := range []string{"memory, MB", "file descriptors", "goroutines", "credential changes", "tokens"} {
		if !regexp.MustCompile(`(?m)^  ` + what + ` +[1-9]`).MatchString(out.String()) {
			t.Errorf("%s: not measured in\n%s", what, out.String())
		}
	}
}

// TestSoakFindsGrowth that is more than the ratio allows.
func TestSoakFindsGrowth(t *testing.T) {
	for _, tt := range []struct {
		before, after int
		found         bool
	}{{10, 12, false}, {10, 13, true}, {0, 13, false}, {10, 3, false}} {
		s := blankStorm()
		if s.flat(new(bytes.Buffer), "things", tt.before, tt.after, 1.2); (len(s.problems) > 0) != tt.found {
			t.Errorf("%d, then %d: %v", tt.before, tt.after, s.problems)
		}
	}
	s := blankStorm()
	s.stacks = make([]int, 1)
	w := &watcher{storm: s}
	for _, part := range strings.SplitAfter("SIGQUIT\n\ngoroutine 1 [select]:\nmain\n\ngorou|tine 7 [running]:\n|\ngoroutine 8", "|") {
		if _, err := w.Write([]byte(strings.TrimSuffix(part, "|"))); err != nil || len(s.problems) > 0 {
			t.Error(err, s.problems)
		}
	}
	if s.stacks[0] != 3 {
		t.Errorf("%d goroutines, not 3", s.stacks[0])
	}
}
