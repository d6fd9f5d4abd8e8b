package main

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// drilled runs a small fleet and returns what each phase counted, by name.
func drilled(t *testing.T, flags ...string) map[string]map[string]int {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a function and starts processes of it")
	}
	t.Chdir("../..")
	var out bytes.Buffer
	if err := fleet(t.Context(), append([]string{"-processes", "6", "-callers", "30", "-lives", "0"}, flags...), &out); err != nil {
		t.Fatal(err)
	}
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

// TestFleet: six processes and thirty callers want one token.
func TestFleet(t *testing.T) {
	phases := drilled(t)
	cold := phases["cold start"]
	if cold["calls"] != 30 || cold["failed calls"] != 0 || cold["exchanges"] != 1 || cold["different tokens"] != 1 || cold["GetSecretValue"] != 6 {
		t.Errorf("the cold start counted %v", cold)
	}
	if start := phases["start"]; start["KMS calls"] != 6 {
		t.Errorf("the start counted %v", start)
	}
}

// TestFleetWithWrongSecret: at most two logons fail, and the correction counts at
// once.
func TestFleetWithWrongSecret(t *testing.T) {
	phases := drilled(t, "-wrong-secret")
	if cold := phases["cold start"]; cold["failed calls"] != 30 || cold["failed logons"] < 1 || cold["failed logons"] > 2 {
		t.Errorf("the cold start counted %v", cold)
	}
	if corrected := phases["corrected"]; corrected["failed calls"] != 0 || corrected["failed logons"] != 0 {
		t.Errorf("the correction counted %v", corrected)
	}
}

// TestFleetWithoutTable: each process is on its own, whether there is no table or
// one that hangs.
func TestFleetWithoutTable(t *testing.T) {
	for _, flag := range []string{"-table=false", "-table-down"} {
		t.Run(flag, func(t *testing.T) {
			if cold := drilled(t, flag)["cold start"]; cold["failed calls"] != 0 || cold["exchanges"] != 6 {
				t.Errorf("the cold start counted %v", cold)
			}
		})
	}
}

// TestFleetLosesTheHolder of the lease by SIGKILL in the middle of its exchange:
// another takes over, and that is all.
func TestFleetLosesTheHolder(t *testing.T) {
	if cold := drilled(t, "-kill-holder")["cold start"]; cold["failed calls"] != 0 || cold["exchanges"] != 1 || cold["token requests"] != 2 {
		t.Errorf("the cold start counted %v", cold)
	}
}
