package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// callLog is what the callers of one phase got. It is safe for concurrent use.
type callLog struct {
	mu      sync.Mutex
	waited  []time.Duration
	tokens  map[string]bool
	errors  map[string]int // by text
	expired int
	deaths  int
	failure error
}

// answered records the answer to one call.
func (l *callLog) answered(answer []byte, failed bool, waited time.Duration) {
	var a struct {
		AccessToken  string `json:"access_token"`
		ExpiresIn    int64  `json:"expires_in"`
		ErrorType    string `json:"errorType"`
		ErrorMessage string `json:"errorMessage"`
	}
	_ = json.Unmarshal(answer, &a)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waited = append(l.waited, waited)
	if failed || a.AccessToken == "" {
		// Texts that differ only in the times after the semicolon count as one.
		text, _, _ := strings.Cut(a.ErrorMessage, ";")
		l.errors[a.ErrorType+": "+text]++
		return
	}
	l.tokens[a.AccessToken] = true
	if a.ExpiresIn < 0 {
		l.expired++
	}
}

func (l *callLog) died() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaths++
}

// fail records an error of the run itself.
func (l *callLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = err
}

// percentile returns how long that share of the calls waited at most. waited is sorted.
func (l *callLog) percentile(share float64) time.Duration {
	if len(l.waited) == 0 {
		return 0
	}
	return l.waited[int(share*float64(len(l.waited)-1))].Round(10 * time.Microsecond)
}

// phase runs one phase and reports it.
func (f *fleetRun) phase(name string, run func(*callLog)) {
	before := f.env.counts()
	l := &callLog{tokens: make(map[string]bool), errors: make(map[string]int)}
	run(l)
	c := f.env.counts().minus(before)
	failed := 0
	for _, n := range l.errors {
		failed += n
	}
	slices.Sort(l.waited)
	fmt.Fprintf(f.out, "\n%s\n", name)
	for _, row := range []struct {
		what  string
		value any
	}{
		{"calls", len(l.waited)}, {"failed calls", failed}, {"different tokens", len(l.tokens)},
		{"exchanges", c.exchanges}, {"token requests", c.requests}, {"failed logons", c.failedLogons},
		{"waited, p50", l.percentile(0.5)}, {"waited, p99", l.percentile(0.99)}, {"waited, most", l.percentile(1)},
		{"table calls", c.table}, {"KMS calls", c.keys}, {"GetSecretValue", c.reads},
	} {
		fmt.Fprintf(f.out, "  %-18s %10v\n", row.what, row.value)
	}
	for _, text := range slices.Sorted(maps.Keys(l.errors)) {
		fmt.Fprintf(f.out, "  %d times %s\n", l.errors[text], text)
	}
	if l.deaths > 0 {
		fmt.Fprintf(f.out, "  %d processes were killed\n", l.deaths)
	}
	if l.expired > 0 {
		fmt.Fprintf(f.out, "  %d expired tokens\n", l.expired)
	}
	if l.failure != nil {
		fmt.Fprintf(f.out, "  %v\n", l.failure)
	}
}
