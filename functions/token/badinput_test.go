package main

import (
	"strings"
	"testing"
)

func TestHandlerAnswersEveryBadInput(t *testing.T) {
	e := newEnv(t)
	runCorpus(t, handlerHarness(e, closedGate()))
	e.checkForms(t)
}

// runCorpus sends every input of testdata/bad to the function, one after the other.
func runCorpus(t *testing.T, f *harness) {
	exchangesOf := make(map[string]int64)
	for _, s := range corpus(t) {
		t.Run(s.name, func(t *testing.T) {
			before := f.count()
			r := f.invoke(t, s.invocation(t))
			after := f.count()
			a := readAnswer(t, r, s.direct)
			s.checkAnswer(t, a)
			s.checkAsked(t, before, after)
			if s.Same != "" {
				exchangesOf[s.Same] += after.exchanges - before.exchanges
			}
			checkLeaks(t, a, f.logs.take())
		})
	}
	for mark, exchanges := range exchangesOf {
		if exchanges != 1 {
			t.Errorf("got %d exchanges for the inputs marked %s, which mean the same, want 1", exchanges, mark)
		}
	}
}

// counts is how often the core, Secrets Manager and the authorization server were called.
type counts struct{ vends, reads, exchanges int64 }

func (f *harness) count() counts {
	c := counts{reads: f.env.reads.Load(), exchanges: f.env.exchanges.Load()}
	if f.vends != nil {
		c.vends = f.vends()
	}
	return c
}

func (s sample) checkAnswer(t *testing.T, a answer) {
	t.Helper()
	if s.direct {
		if (s.Status == 200) != (a.code == "") || a.code != s.Error {
			t.Errorf("got error %q (%s), want %q", a.code, a.text, s.Error)
		}
	} else if a.status != s.Status || a.code != s.Error {
		t.Errorf("got %d %q (%s), want %d %q", a.status, a.code, a.text, s.Status, s.Error)
	}
	if !strings.Contains(a.text, s.Says) {
		t.Errorf("got error_description %q, want %q in it", a.text, s.Says)
	}
}

func (s sample) checkAsked(t *testing.T, before, after counts) {
	t.Helper()
	asked := s.Asked
	if asked == "" && s.Status != 200 {
		asked = "none"
	}
	switch asked {
	case "none":
		if before != after {
			t.Errorf("got calls for a refused input: before %+v, after %+v", before, after)
		}
	case "secret":
		if before.exchanges != after.exchanges {
			t.Errorf("got %d exchanges, want none", after.exchanges-before.exchanges)
		}
	case "any":
	case "server":
		if before.exchanges == after.exchanges {
			t.Error("got no exchange, want one")
		}
	}
}

// checkLeaks fails the test if the answer or the log hold a secret or a value of the input. A
// token is in its own answer only.
func checkLeaks(t *testing.T, a answer, log string) {
	t.Helper()
	body := string(a.body)
	if a.code == "" {
		body = strings.ReplaceAll(body, `"access_token":"`+testToken+`"`, "")
	}
	checkCanaries(t, "the answer", body)
	checkCanaries(t, "the log", log)
	for line := range strings.Lines(log) {
		if len(line) > 128<<10 || !strings.HasPrefix(line, "{") {
			t.Errorf("got a log line of %d bytes, want a JSON object of at most 128 KiB", len(line))
		}
	}
}

// The test fails if rows or events of testdata/bad get lost.
func TestBadInputsAreComplete(t *testing.T) {
	have := make(map[string]int)
	for _, s := range corpus(t) {
		have[s.title()]++
	}
	total := 0
	for _, n := range have {
		total += n
	}
	if len(have) < 230 || total < 800 {
		t.Errorf("got %d rows with %d events in testdata/bad, want at least 230 and 800", len(have), total)
	}
}
