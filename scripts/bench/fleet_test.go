package main

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// runFleet runs a small fleet and returns the counts of each phase by their names.
func runFleet(t *testing.T, flags ...string) map[string]map[string]int {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a function and starts processes of it")
	}
	var out bytes.Buffer
	if err := fleet(t.Context(), append([]string{"-processes", "6", "-callers", "30", "-lives", "0"}, flags...), &out); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(out.String()) // it says why calls failed
		}
	})
	phases, row := make(map[string]map[string]int), regexp.MustCompile(`^  (\S.*?)\s+(\d+)$`)
	var phase map[string]int
	for line := range strings.Lines(out.String()) {
		line = strings.TrimRight(line, "\n")
		if match := row.FindStringSubmatch(line); match != nil && phase != nil {
			phase[match[1]], _ = strconv.Atoi(match[2])
		} else if line != "" && line[0] != ' ' {
			phase = make(map[string]int)
			phases[line] = phase
		}
	}
	return phases
}

func TestFleetMakesOneExchangeForAllCallers(t *testing.T) {
	phases := runFleet(t)
	cold := phases["cold start"]
	if cold["calls"] != 30 || cold["failed calls"] != 0 || cold["exchanges"] != 1 || cold["different tokens"] != 1 || cold["GetSecretValue"] > 3 {
		t.Errorf("cold start: got %v, want 30 calls, none failed, 1 exchange, 1 token, 1 read of the secret (at most 3 if the machine is slow)", cold)
	}
	if start := phases["start"]; start["KMS calls"] != 6 {
		t.Errorf("start: got %v, want 6 KMS calls", start)
	}
}

// A correction takes effect at once.
func TestFleetWithWrongSecretFailsAtMostTwoLogons(t *testing.T) {
	phases := runFleet(t, "-wrong-secret")
	if cold := phases["cold start"]; cold["failed calls"] != 30 || cold["failed logons"] < 1 || cold["failed logons"] > 2 {
		t.Errorf("cold start: got %v, want 30 failed calls, 1 or 2 failed logons", cold)
	}
	if corrected := phases["corrected"]; corrected["failed calls"] != 0 || corrected["failed logons"] != 0 {
		t.Errorf("after the correction: got %v, want no failed calls and logons", corrected)
	}
}

// A table that hangs counts as no table.
func TestFleetWithoutTableMakesOneExchangePerProcess(t *testing.T) {
	for _, flag := range []string{"-table=false", "-table-down"} {
		t.Run(flag, func(t *testing.T) {
			if cold := runFleet(t, flag)["cold start"]; cold["failed calls"] != 0 || cold["exchanges"] != 6 {
				t.Errorf("cold start: got %v, want no failed calls, 6 exchanges", cold)
			}
		})
	}
}

// The holder of the lease is killed (SIGKILL) during its exchange.
func TestFleetRepeatsTheExchangeOfKilledProcess(t *testing.T) {
	if cold := runFleet(t, "-kill-holder")["cold start"]; cold["failed calls"] != 0 || cold["exchanges"] != 1 || cold["token requests"] != 2 {
		t.Errorf("cold start: got %v, want no failed calls, 1 exchange, 2 token requests", cold)
	}
}
