package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// Two kinds of trouble stand for all.
func TestTroublesFindsNoProblem(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function and starts processes of it")
	}
	for _, name := range []string{"reset", unknownName} {
		var out bytes.Buffer
		if err := troubles(t.Context(), []string{"-only", name}, &out); err != nil {
			t.Errorf("got %v\n%s", err, out.String())
		}
		if got := out.String(); strings.Count(got, "error ") < 4 || strings.Count(got, "token ") < 2 || !strings.Contains(got, "6 cases, 0 failed") {
			t.Errorf("got %s\nwant 6 cases, of which 4 have an error and 2 a token", got)
		}
	}
	for _, flags := range [][]string{{"-only", "nothing"}, {"-processes", "0"}, {"-x"}} {
		if err := troubles(t.Context(), flags, new(bytes.Buffer)); err == nil {
			t.Errorf("flags %v were accepted", flags)
		}
	}
}

// Each case has a client of its own.
func TestTroubleCasesHaveEveryTroubleAndTarget(t *testing.T) {
	ids := make(map[string]bool)
	for _, row := range troubleCases("") {
		for _, c := range row {
			ids[c.id] = true
		}
	}
	if want := (len(oauthtest.Troubles()) + 1) * len(targets()); len(ids) != want {
		t.Errorf("got %d clients, want %d", len(ids), want)
	}
}

func TestTroubleCaseCheckFindsProblems(t *testing.T) {
	issuer, table, secrets := target{}, target{variable: "X", optional: true}, target{variable: "X"}
	passed, blocked := oauthtest.Trouble{Name: "a", Passed: true}, oauthtest.Trouble{Name: "b"}
	for name, tt := range map[string]struct {
		target
		trouble          oauthtest.Trouble
		code             string
		requests, failed int
		good             bool
	}{
		"a token through a slow server":       {issuer, passed, "", 1, 0, true},
		"two requests, since one may be lost": {issuer, passed, "server_error", 2, 0, true},
		"an error, then a token":              {issuer, blocked, "server_error", 1, 0, true},
		"the request was repeated":            {issuer, blocked, "server_error", 2, 0, false},
		"a token, and no answer":              {issuer, blocked, "", 1, 0, false},
		"a failed logon":                      {issuer, passed, "server_error", 1, 1, false},
		"a token without the table":           {table, blocked, "", 1, 0, true},
		"none without the table":              {table, blocked, "server_error", 1, 0, false},
		"two because of the table":            {table, passed, "", 2, 0, false},
		"two because of Secrets Manager":      {secrets, passed, "server_error", 2, 0, false},
		"a token without its document":        {secrets, blocked, "", 1, 0, false},
		"never asked":                         {secrets, blocked, "server_error", 0, 0, false},
		"no name":                             {secrets, oauthtest.Trouble{Name: unknownName}, "server_error", 0, 0, true},
		"no name, and a request":              {secrets, oauthtest.Trouble{Name: unknownName}, "server_error", 1, 0, false},
		"no name, and a token":                {secrets, oauthtest.Trouble{Name: unknownName}, "", 0, 0, false},
		"the table has no name, and no token": {table, oauthtest.Trouble{Name: unknownName}, "server_error", 0, 0, false},
		"the table has no name, and a token":  {table, oauthtest.Trouble{Name: unknownName}, "", 1, 0, true},
	} {
		c := troubleCase{target: tt.target, trouble: tt.trouble, code: tt.code}
		if problem := c.check(tt.requests, tt.failed); (problem == "") != tt.good {
			t.Errorf("%s: got %q, want a problem: %t", name, problem, !tt.good)
		}
	}
}

func TestPrintTroublesFailsWithTheProblem(t *testing.T) {
	all := troubleCases("reset")
	all[0][1].code, all[0][1].answered, all[0][1].recovery = "server_error", time.Second, 2*time.Second
	var out bytes.Buffer
	if err := printTroubles(&out, all); err != nil || !strings.Contains(out.String(), "error 1.0 s, token 2.0 s") {
		t.Errorf("got %v\n%s", err, out.String())
	}
	all[0][2].problem = "it broke"
	out.Reset()
	if err := printTroubles(&out, all); err == nil || !strings.Contains(err.Error(), all[0][2].name+", reset: it broke") || !strings.Contains(out.String(), "NOT OK") {
		t.Errorf("got %v\n%s", err, out.String())
	}
}
