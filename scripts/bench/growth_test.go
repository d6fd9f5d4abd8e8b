package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// TestGrowthCounts: figures that are times may be any.
func TestGrowthCounts(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function and starts processes of it")
	}
	t.Parallel()
	var out bytes.Buffer
	if err := run(t.Context(), []string{"growth", "-small", "-only", "rules,clients,tokens,processes"}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "NOT OK") && !strings.Contains(line, "takes") {
			t.Error(line)
		}
	}
	// With each row: clients, tokens, the time of a hit, its ratio, reads of secrets per hit, memory.
	row := regexp.MustCompile(`(?m)^ +\d+ +\d+ +\S+s +[\d.]+ +0\.00 +[1-9]\d*$`)
	if rows := row.FindAllString(out.String(), -1); len(rows) != 5 {
		t.Errorf("got %d rows of hits without reads of secrets, want 5", len(rows))
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestGrowthRefusesUnknownPart(t *testing.T) {
	for _, only := range []string{"nothing", "rules,nothing"} {
		var out bytes.Buffer
		if err := run(t.Context(), []string{"growth", "-small", "-only", only}, &out); err == nil || !strings.Contains(err.Error(), "-only") {
			t.Errorf("-only %s: got %v", only, err)
		}
	}
}
