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

// log is what callers saw in a phase.
type log struct {
	mu      sync.Mutex
	waited  []time.Duration
	tokens  map[string]bool
	errors  map[string]int // by their text
	expired int
	deaths  int
	problem error
}

// answered notes the answer to one caller.
func (l *log) answered(answer []byte, failed bool, waited time.Duration) {
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
	switch {
	case failed || a.AccessToken == "":
		// Without the times in it.
		text, _, _ := strings.Cut(a.ErrorMessage, ";")
		l.errors[a.ErrorType+": "+text]++
	default:
		l.tokens[a.AccessToken] = true
		if a.ExpiresIn < 0 {
			l.expired++
		}
	}
}

func (l *log) died() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaths++
}

func (l *log) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.problem = err
}

// phase runs one phase and reports it.
func (f *formation) phase(name string, run func(*log)) {
	before := f.ground.counts()
	l := &log{tokens: make(map[string]bool), errors: make(map[string]int)}
	run(l)
	c := f.ground.counts().minus(before)
	failed := 0
	for _, n := range l.errors {
		failed += n
	}
	slices.Sort(l.waited)
	at := func(share float64) time.Duration {
		if len(l.waited) == 0 {
			return 0
		}
		return l.waited[int(share*float64(len(l.waited)-1))].Round(10 * time.Microsecond)
	}
	fmt.Fprintf(f.out, "\n%s\n", name)
	for _, row := range []struct {
		what  string
		value any
	}{
		{"calls", len(l.waited)}, {"failed calls", failed}, {"different tokens", len(l.tokens)},
		{"exchanges", c.exchanges}, {"token requests", c.asked}, {"failed logons", c.failedLogons},
		{"waited, p50", at(0.5)}, {"waited, p99", at(0.99)}, {"waited, most", at(1)},
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
	if l.problem != nil {
		fmt.Fprintf(f.out, "  %v\n", l.problem)
	}
}
