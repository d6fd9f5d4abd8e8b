package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestJobsNeedBatchFunctionAndSecrets(t *testing.T) {
	e := new(env)
	for _, tt := range []struct {
		method, binary string
		clients        int
	}{{"client_secret_basic", "batch", 2}, {"client_secret_basic", "", 0}, {"private_key_jwt", "batch", 0}} {
		if got := e.jobClients(&peer{Methods: []string{tt.method}}, tt.binary); len(got) != tt.clients {
			t.Errorf("%s, binary %q: got %d clients, want %d", tt.method, tt.binary, len(got), tt.clients)
		}
	}
	if _, err := e.startJobs("batch", row{}); err == nil {
		t.Error("startJobs: got no error without queues")
	}
}

func TestAllJobsMayCostOneExchangePerFunction(t *testing.T) {
	for _, tt := range []struct {
		tally
		good bool
	}{{tally{requests: 1, granted: 1}, true}, {tally{}, false}, {tally{requests: 2, granted: 2}, true}, {tally{requests: 3, granted: 3}, false}, {tally{requests: 2, granted: 1}, false}, {tally{requests: 2, granted: 1, failedLogons: 1}, false}} {
		if d := checkCost(tt.tally); (d.problem == "") != tt.good {
			t.Errorf("%+v: got %q, want a problem: %t", tt.tally, d.problem, !tt.good)
		}
	}
}

func TestPrintJobsCountsProblems(t *testing.T) {
	var out bytes.Buffer
	bad := printJobs(&out, "server", []job{{what: "one"}, {what: "two", problem: "it broke"}})
	if got := out.String(); bad != 1 || !strings.Contains(got, "NOT OK: it broke") || !strings.Contains(got, "2 jobs, 1 failed") {
		t.Errorf("got %d failed, want 1\n%s", bad, got)
	}
}
