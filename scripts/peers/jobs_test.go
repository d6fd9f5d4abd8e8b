package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestWorkers: there are jobs only where there is a function for them and a secret to
// send.
func TestWorkers(t *testing.T) {
	g := new(ground)
	for _, tt := range []struct {
		method, binary string
		workers        int
	}{{"client_secret_basic", "batch", 2}, {"client_secret_basic", "", 0}, {"private_key_jwt", "batch", 0}} {
		if got := g.workers(&peer{Methods: []string{tt.method}}, tt.binary); len(got) != tt.workers {
			t.Errorf("%+v: %d", tt, len(got))
		}
	}
	if _, err := g.startJobs("batch", row{}); err == nil {
		t.Error("jobs without queues")
	}
}

// TestCost: one exchange for each function is what all jobs may cost.
func TestCost(t *testing.T) {
	for _, tt := range []struct {
		tally
		good bool
	}{{tally{requests: 1, granted: 1}, true}, {tally{}, false}, {tally{requests: 2, granted: 2}, true}, {tally{requests: 3, granted: 3}, false}, {tally{requests: 2, granted: 1}, false}, {tally{requests: 2, granted: 1, failedLogons: 1}, false}} {
		if d := cost(tt.tally); (d.problem == "") != tt.good {
			t.Errorf("%+v: %q", tt.tally, d.problem)
		}
	}
}

// TestPrintJobs: what is not as it must be is counted.
func TestPrintJobs(t *testing.T) {
	var out bytes.Buffer
	bad := printJobs(&out, "server", []job{{what: "one"}, {what: "two", problem: "it broke"}})
	if got := out.String(); bad != 1 || !strings.Contains(got, "NOT OK: it broke") || !strings.Contains(got, "2 kinds of order, 1 not") {
		t.Errorf("%d\n%s", bad, got)
	}
}
