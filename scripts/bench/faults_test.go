package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// The runs are short, with one event at a time and with many.
func TestFaultsFindsNoProblem(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function and starts processes of it")
	}
	for _, flags := range [][]string{{"-processes", "6"}, {"-processes", "1", "-concurrency", "64"}} {
		var out bytes.Buffer
		if err := faults(t.Context(), append(flags, "-requests", "100"), &out); err != nil {
			t.Errorf("%v\n%s", err, out.String())
		}
		if !strings.Contains(out.String(), "-seed ") || strings.Contains(out.String(), "faults                  0") {
			t.Errorf("got %s\nwant a seed, and faults", out.String())
		}
	}
}

func TestCheckerFindsProblems(t *testing.T) {
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
		c := newChecker(1)
		if c.checkAnswer([]byte(test.answer), test.failed, "s1", time.Second); c.err() == nil {
			t.Errorf("%s: got no problem", name)
		}
	}
	c := newChecker(1)
	answer := `{"access_token":"` + good + `","scope":"s1","expires_in":5}`
	if granted, code := c.checkAnswer([]byte(answer), false, "s1", time.Second); !granted || code != "" {
		t.Errorf("a good token: got %t, %q", granted, code)
	}
	if granted, code := c.checkAnswer([]byte(`{"errorType":"temporarily_unavailable"}`), true, "s1", time.Second); granted || code != "temporarily_unavailable" {
		t.Errorf("an error: got %t, %q", granted, code)
	}
	if err := c.err(); err != nil {
		t.Errorf("good answers: got %v, want no problem", err)
	}
	if c.checkAnswer([]byte(strings.Replace(answer, "s1", "s2", 1)), false, "s2", time.Second); len(c.problems) != 1 {
		t.Errorf("one token for two scopes: got problems %q, want 1", c.problems)
	}
	w := &outputScanner{checker: c}
	for _, part := range []string{"a " + secondSecret[:5], secondSecret[5:]} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Error(err)
		}
	}
	if len(c.problems) != 2 {
		t.Errorf("a secret in the output: got problems %q, want 2", c.problems)
	}
}
