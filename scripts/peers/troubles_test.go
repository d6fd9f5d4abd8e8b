package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

func TestTroublesFindAndPrintProblems(t *testing.T) {
	good := func() troubleCase {
		return troubleCase{first: answer{Error: "server_error"}, answered: time.Second, tally: tally{requests: 1, granted: 1}}
	}
	for name, change := range map[string]func(*troubleCase){
		"late":            func(x *troubleCase) { x.answered = answerTime + 1 },
		"other error":     func(x *troubleCase) { x.first.Error = "access_denied" },
		"no error":        func(x *troubleCase) { x.first.Error = "" },
		"token":           func(x *troubleCase) { x.first.Token = "t" },
		"failed logon":    func(x *troubleCase) { x.failedLogons = 1 },
		"never exchanged": func(x *troubleCase) { x.granted = 0 },
		"two exchanges":   func(x *troubleCase) { x.granted = 2 },
		"no token after":  func(x *troubleCase) { x.problem = "no token after it" },
	} {
		x := good()
		change(&x)
		var out bytes.Buffer
		if printTroubles(&out, "s", []troubleCase{good(), x}) != 1 || strings.Count(out.String(), "NOT OK: ") != 1 {
			t.Errorf("%s: want one problem in two cases; got\n%s", name, out.String())
		}
	}
	passed := good()
	passed.trouble = oauthtest.Trouble{Passed: true}
	passed.first, passed.granted = answer{Token: "t"}, 2
	if problem := passed.check(); problem != "" {
		t.Errorf("a good result: got %q, want no problem", problem)
	}
}
