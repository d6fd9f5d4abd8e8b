package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// TestTroubles: two of them before every server.
func TestTroubles(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function and starts processes of it")
	}
	t.Chdir("../..")
	for _, name := range []string{"reset", nameless} {
		var out bytes.Buffer
		if err := troubles(t.Context(), []string{"-only", name}, &out); err != nil {
			t.Errorf("%v\n%s", err, out.String())
		}
		if got := out.String(); strings.Count(got, "error ") < 4 || strings.Count(got, "token ") < 2 || !strings.Contains(got, "6 troubles, 0 not") {
			t.Errorf("printed %s", got)
		}
	}
	for _, flags := range [][]string{{"-only", "nothing"}, {"-processes", "0"}, {"-x"}} {
		if err := troubles(t.Context(), flags, new(bytes.Buffer)); err == nil {
			t.Errorf("%v was taken", flags)
		}
	}
}

// TestHardshipsAreAll: every trouble is made before every place, for a client of its own.
func TestHardshipsAreAll(t *testing.T) {
	ids := make(map[string]bool)
	for _, row := range hardships("") {
		for _, h := range row {
			ids[h.id] = true
		}
	}
	if want := (len(oauthtest.Troubles()) + 1) * len(places()); len(ids) != want {
		t.Errorf("%d, want %d", len(ids), want)
	}
}

// TestHardshipJudge: what must not be is found.
func TestHardshipJudge(t *testing.T) {
	issuer, table, secrets := place{}, place{variable: "X", needless: true}, place{variable: "X"}
	passed, kept := oauthtest.Trouble{Name: "a", Passed: true}, oauthtest.Trouble{Name: "b"}
	for name, tt := range map[string]struct {
		place
		trouble       oauthtest.Trouble
		first         string
		asked, failed int
		good          bool
	}{
		"a token through a slow server":            {issuer, passed, "", 1, 0, true},
		"two requests, since one may be lost":      {issuer, passed, "server_error", 2, 0, true},
		"an error, then a token":                   {issuer, kept, "server_error", 1, 0, true},
		"the request was repeated":                 {issuer, kept, "server_error", 2, 0, false},
		"a token out of nowhere":                   {issuer, kept, "", 1, 0, false},
		"a failed logon":                           {issuer, passed, "server_error", 1, 1, false},
		"a token without the table":                {table, kept, "", 1, 0, true},
		"none without the table":                   {table, kept, "server_error", 1, 0, false},
		"two because of the table":                 {table, passed, "", 2, 0, false},
		"two because of Secrets Manager":           {secrets, passed, "server_error", 2, 0, false},
		"a token without its document":             {secrets, kept, "", 1, 0, false},
		"never asked":                              {secrets, kept, "server_error", 0, 0, false},
		"no name":                                  {secrets, oauthtest.Trouble{Name: nameless}, "server_error", 0, 0, true},
		"no name, and a request all the same":      {secrets, oauthtest.Trouble{Name: nameless}, "server_error", 1, 0, false},
		"no name, and a token":                     {secrets, oauthtest.Trouble{Name: nameless}, "", 0, 0, false},
		"the table has no name, and no token":      {table, oauthtest.Trouble{Name: nameless}, "server_error", 0, 0, false},
		"the table has no name, and nobody needed": {table, oauthtest.Trouble{Name: nameless}, "", 1, 0, true},
	} {
		h := hardship{place: tt.place, trouble: tt.trouble, first: tt.first}
		if problem := h.judge(tt.asked, tt.failed); (problem == "") != tt.good {
			t.Errorf("%s: %q", name, problem)
		}
	}
}

// TestPrintHardships: one that is not as it must be is named, and fails the run.
func TestPrintHardships(t *testing.T) {
	all := hardships("reset")
	all[0][1].first, all[0][1].after, all[0][1].again = "server_error", time.Second, 2*time.Second
	var out bytes.Buffer
	if err := printHardships(&out, all); err != nil || !strings.Contains(out.String(), "error 1.0 s, token 2.0 s") {
		t.Errorf("%v\n%s", err, out.String())
	}
	all[0][2].problem = "it broke"
	out.Reset()
	if err := printHardships(&out, all); err == nil || !strings.Contains(err.Error(), all[0][2].name+", reset: it broke") || !strings.Contains(out.String(), "NOT OK") {
		t.Errorf("%v\n%s", err, out.String())
	}
}
