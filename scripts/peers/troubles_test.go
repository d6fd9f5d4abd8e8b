package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// TestTroubledJudge: what must not be is found, and told.
func TestTroubledJudge(t *testing.T) {
	good := func() troubled {
		return troubled{first: answer{Error: "server_error"}, answered: time.Second, tally: tally{requests: 1, granted: 1}}
	}
	for name, change := range map[string]func(*troubled){
		"late":            func(x *troubled) { x.answered = answerTime + 1 },
		"other error":     func(x *troubled) { x.first.Error = "access_denied" },
		"no error":        func(x *troubled) { x.first.Error = "" },
		"token":           func(x *troubled) { x.first.Token = "t" },
		"failed logon":    func(x *troubled) { x.failedLogons = 1 },
		"never exchanged": func(x *troubled) { x.granted = 0 },
		"two exchanges":   func(x *troubled) { x.granted = 2 },
		"no token after":  func(x *troubled) { x.problem = "no token after it" },
	} {
		x := good()
		change(&x)
		var out bytes.Buffer
		if printTroubles(&out, "s", []troubled{good(), x}) != 1 || strings.Count(out.String(), "NOT OK: ") != 1 {
			t.Errorf("%s: printed\n%s", name, out.String())
		}
	}
	passed := good()
	passed.trouble = oauthtest.Trouble{Passed: true}
	passed.first, passed.granted = answer{Token: "t"}, 2
	if problem := passed.judge(); problem != "" {
		t.Errorf("found %s in what is good", problem)
	}
}
