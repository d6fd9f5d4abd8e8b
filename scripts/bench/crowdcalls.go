package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// party is one caller with the answers to its calls. It is safe for concurrent use.
type party struct {
	name string // of the caller's role
	env  *crowdEnv

	mu       sync.Mutex
	waited   []time.Duration // guarded by mu, as what follows
	cold     int             // calls in a new environment, and how many of them failed
	coldLost int
	failures map[string]int // by status and text
	warnings map[string]int
	tokens   map[string]bool
}

func (e *crowdEnv) party(name string) *party {
	return &party{name: name, env: e, failures: make(map[string]int), warnings: make(map[string]int), tokens: make(map[string]bool)}
}

// ask makes one call.
func (p *party) ask(ctx context.Context, client, form string) {
	begin := time.Now()
	l, err := p.env.pool.acquire(ctx)
	p.finish(l, err, client, form, begin)
}

// wave makes n calls at the same moment, each in an environment of its own. form returns that
// of a call.
func (p *party) wave(ctx context.Context, n int, client string, form func(i int) string) {
	p.waveOf(ctx, n, n, client, form)
}

// waveOf is wave with at most atOnce calls under way: in Lambda the environments do not share
// a processor.
func (p *party) waveOf(ctx context.Context, n, atOnce int, client string, form func(i int) string) {
	leases, errs := make([]*lease, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { leases[i], errs[i] = p.env.pool.acquire(ctx) })
	}
	all.Wait()
	slots := make(chan struct{}, atOnce)
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			p.finish(leases[i], errs[i], client, form(i), time.Now())
		})
	}
	all.Wait()
}

func (p *party) finish(l *lease, err error, client, form string, begin time.Time) {
	if err != nil {
		p.answered(nil, err, false, time.Since(begin))
		return
	}
	answer, failed, err := l.run(p.env.request(p.name, client, form))
	if failed && err == nil {
		err = errors.New("a function error")
	}
	p.answered(answer, err, l.cold, time.Since(begin))
}

// proxyAnswer is the answer to an event of API Gateway.
type proxyAnswer struct {
	StatusCode int
	Headers    map[string]string
	Body       string
}

// tokenAnswer is its body.
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	ExpiresIn   int64  `json:"expires_in"`
	ExpiresAt   int64  `json:"expires_at"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// answered records an answer, or the error of the platform.
func (p *party) answered(answer []byte, err error, cold bool, waited time.Duration) {
	var a proxyAnswer
	var t tokenAnswer
	if err == nil {
		err = json.Unmarshal(answer, &a)
	}
	if err == nil {
		err = json.Unmarshal([]byte(a.Body), &t)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waited = append(p.waited, waited)
	if cold {
		p.cold++
	}
	if warning := a.Headers["Token-Vendor-Warning"]; warning != "" {
		p.warnings[warning]++
	}
	switch {
	case err != nil:
		p.failures[err.Error()]++
	case a.StatusCode != 200:
		// Texts that differ only in the times after the semicolon count as one.
		text, _, _ := strings.Cut(t.Description, ";")
		p.failures[fmt.Sprintf("%d %s: %s", a.StatusCode, t.Error, text)]++
	case t.AccessToken == "" || t.ExpiresAt != 0 && t.ExpiresAt < p.env.clock.Now().Unix():
		p.failures["no token, or an expired one"]++
	default:
		p.tokens[t.AccessToken] = true
		return
	}
	if cold {
		p.coldLost++
	}
}

// failed returns how many calls brought no token.
func (p *party) failed() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, times := range p.failures {
		n += times
	}
	return n
}

func (p *party) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waited)
}

// percentile returns how long that share of the calls waited at most.
func (p *party) percentile(share float64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waited) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(p.waited))
	return sorted[int(share*float64(len(sorted)-1))]
}
