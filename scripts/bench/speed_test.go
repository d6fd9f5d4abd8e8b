package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestSpeedReportsAllRatios runs the benchmark for a moment, whatever the figures are.
func TestSpeedReportsAllRatios(t *testing.T) {
	t.Chdir("../..")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"speed", "-rounds", "2", "-calls", "5"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"token ", "constant again", "plain ", "bare ", "hit p50 ", "cold start, full core"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in the report; got\n%s", want, out.String())
		}
	}
	if run(t.Context(), []string{"nothing"}, &out) == nil {
		t.Error("an unknown subcommand was accepted")
	}
}

func TestRatioIsTheMedianOfRounds(t *testing.T) {
	a, b := []float64{2, 30, 9}, []float64{1, 10, 9}
	if got := ratio(a, b); got != 2 {
		t.Errorf("got %v for ratios of 2, 3 and 1, want 2", got)
	}
}
