package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestFaults: a short storm, with one event at a time and with many.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function and starts processes of it")
	}
	t.Chdir("../..")
	for _, flags := range [][]string{{"-processes", "6"}, {"-processes", "1", "-concurrency", "64"}} {
		var out bytes.Buffer
		if err := faults(t.Context(), append(flags, "-requests", "100"), &out); err != nil {
			t.Errorf("%v\n%s", err, out.String())
		}
		if !strings.Contains(out.String(), "-seed ") || strings.Contains(out.String(), "faults                  0") {
			t.Errorf("printed %s", out.String())
		}
	}
}

// TestStormLooks: what must not be is found.
func TestStormLooks(t *testing.T) {
	good := "x." + "eyJleHAiOjQ4MDAwMDAwMDB9" + ".y" // exp in 2122
	for name, test := range map[string]struct {
		answer string
		failed bool
	}{
		"no JSON":        {"x", false},
		"expired":        {`{"access_token":"x.eyJleHAiOjE3MDAwMDAwMDB9.y","scope":"s1","expires_in":5}`, false},
		"no token":       {`{"access_token":"x","scope":"s1","expires_in":5}`, false},
		"negative":       {`{"access_token":"` + good + `","scope":"s1","expires_in":-1}`, false},
		"ends early":     {`{"access_token":"` + good + `","scope":"s1","expires_in":4800000000}`, false},
		"other scope":    {`{"access_token":"` + good + `","scope":"s2","expires_in":5}`, false},
		"secret":         {`{"errorType":"server_error","errorMessage":"` + firstSecret + `"}`, true},
		"token in error": {`{"errorType":"server_error","errorMessage":"eyJhbGciOi"}`, true},
		"base64":         {`{"errorType":"server_error","errorMessage":"YmVuY2g6Y25yeS1maXJzdA=="}`, true}, // bench:cnry-first
		"claims":         {`{"errorType":"server_error","errorMessage":"eyJhdWQiOi"}`, true},
		"page":           {`{"errorType":"server_error","errorMessage":"\u003chtml\u003e"}`, true},
		"a mistake":      {`{"errorType":"server_error","errorMessage":"internal error"}`, true},
		"beside a token": {`{"access_token":"` + good + `","scope":"s1","expires_in":5,"x":"` + secondSecret + `"}`, false},
		"other error":    {`{"errorType":"access_denied"}`, true},
		"no type":        {`{}`, true},
	} {
		s := blankStorm()
		if s.look([]byte(test.answer), test.failed, "s1", time.Second); len(s.problems) == 0 {
			t.Errorf("%s: nothing was found", name)
		}
	}
	s := blankStorm()
	answer := `{"access_token":"` + good + `","scope":"s1","expires_in":5}`
	s.look([]byte(answer), false, "s1", time.Second)
	s.look([]byte(`{"errorType":"temporarily_unavailable"}`), true, "s1", time.Second)
	if len(s.problems) != 0 {
		t.Errorf("found %v in what is good", s.problems)
	}
	if s.look([]byte(strings.Replace(answer, "s1", "s2", 1)), false, "s2", time.Second); len(s.problems) == 0 {
		t.Error("one token for two scopes was not found")
	}
	w := &watcher{storm: s}
	for _, part := range []string{"a " + secondSecret[:5], secondSecret[5:]} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Error(err)
		}
	}
	if len(s.problems) < 2 {
		t.Error("a secret in the log was not found")
	}
}

func blankStorm() *storm {
	return &storm{tokens: make(map[string]string), errors: make(map[string]int)}
}
