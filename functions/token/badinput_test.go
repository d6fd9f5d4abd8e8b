package main

import (
	"strings"
	"testing"
)

// TestCorpus sends every input of testdata/bad through the handler.
func TestCorpus(t *testing.T) {
	w := newEnv(t)
	runCorpus(t, handlerHarness(w, closedGate()))
	w.checkForms(t)
}

// runCorpus sends every input through a harness, one after the other.
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
			t.Errorf("the inputs marked %s, which mean the same, made %d exchanges, want 1", mark, exchanges)
		}
	}
}

// counts is who was asked how often.
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
		t.Errorf("error_description %q doesn't say %q", a.text, s.Says)
	}
}

func (s sample) checkAsked(t *testing.T, before, after counts) {
	t.Helper()
	asked := s.Asked
	if asked == "" && s.Status != 200 {
		asked = "nobody"
	}
	switch asked {
	case "nobody":
		if before != after {
			t.Errorf("a refused input was passed on: before %+v, after %+v", before, after)
		}
	case "secret":
		if before.exchanges != after.exchanges {
			t.Error("the authorization server was asked")
		}
	case "anybody":
	case "server":
		if before.exchanges == after.exchanges {
			t.Error("the authorization server was not asked")
		}
	}
}

// checkLeaks looks for values of the input and of the env in what came out.
// A token is in its own answer, and nowhere else.
func checkLeaks(t *testing.T, a answer, log string) {
	t.Helper()
	body := string(a.body)
	if a.code == "" {
		body = strings.ReplaceAll(body, `"access_token":"`+testToken+`"`, "")
	}
	checkCanaries(t, "the answer", body)
	checkCanaries(t, "the log", log)
	for line := range strings.Lines(log) {
		if len(line) > 4096 || !strings.HasPrefix(line, "{") {
			t.Errorf("a log line of %d bytes, want one JSON object of at most 4096", len(line))
		}
	}
}

// TestCorpusIsWhole keeps rows from being lost.
func TestCorpusIsWhole(t *testing.T) {
	have := make(map[string]int)
	for _, s := range corpus(t) {
		have[s.ID]++
	}
	total := 0
	for _, n := range have {
		total += n
	}
	if len(have) < 80 || total < 800 {
		t.Errorf("testdata/bad has %d rows with %d events, want at least 80 and 800", len(have), total)
	}
}
