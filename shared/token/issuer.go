package token

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
)

const (
	// One environment makes so many exchanges with one authorization server at
	// once, and one more an interval.
	environmentBurst    = 10
	environmentInterval = time.Second / 10
	// The fleet makes fewer than 600 a minute: SAP Cloud Identity Services takes
	// 1000 of a tenant, logins of people included, and 50 a second from one
	// address.
	fleetBurst    = 50
	fleetInterval = time.Second / 9
	// budgetWait is how long an exchange waits for its place.
	budgetWait = 3 * time.Second

	// A server that answered 429 without a word on when, is left alone for
	// firstSilence, doubling to longSilence; then one exchange probes it.
	firstSilence = 2 * time.Second
	longSilence  = 30 * time.Second
	// maxIssuers bounds the memory; documents name the servers.
	maxIssuers = 1024
)

// standing is what is known of an authorization server; with a table, what all
// environments know together.
type standing struct {
	// Next is that of [pace], in Unix milliseconds.
	Next int64 `json:"next"`
	// Silent is until when the server is left alone, in Unix milliseconds; 0: it
	// isn't.
	Silent int64 `json:"silent,omitempty"`
	// Throttled is how often in a row it asked for that.
	Throttled int `json:"throttled,omitempty"`
}

// enter takes a place for one exchange, or says how long there is none. Of those
// who come when a silence is over, the first probes and the others wait for what
// comes of it.
func (s *standing) enter(now time.Time, burst int, interval time.Duration) (wait time.Duration, silent bool) {
	if s.Silent != 0 {
		if wait := time.UnixMilli(s.Silent).Sub(now); wait > 0 {
			return min(wait, oauth.MaxRetryAfter), true
		}
		s.Silent = now.Add(longSilence).UnixMilli()
	}
	p := pace{next: time.UnixMilli(s.Next)}
	wait = p.take(now, burst, interval)
	s.Next = p.next.UnixMilli()
	return wait, false
}

// throttle begins a silence.
func (s *standing) throttle(now time.Time, retryAfter time.Duration) {
	silence := max(retryAfter, min(firstSilence<<min(s.Throttled, 10), longSilence))
	s.Throttled++
	s.Silent = now.Add(silence).UnixMilli()
}

// issuers keeps the standing of the authorization servers by host.
type issuers struct {
	mu    sync.Mutex
	hosts map[string]*issuer // guarded by mu
}

type issuer struct {
	mu    sync.Mutex
	own   standing    // what this environment knows; guarded by mu
	fleet standing    // what was last read of the fleet's; guarded by mu
	last  *fleet.Last // guarded by mu
}

func (i *issuers) of(host string) *issuer {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.hosts == nil || len(i.hosts) >= maxIssuers {
		i.hosts = make(map[string]*issuer)
	}
	if i.hosts[host] == nil {
		i.hosts[host] = &issuer{}
	}
	return i.hosts[host]
}

// enterIssuer waits for a place for one exchange with the host. Without one in
// time, or when there is a token to fall back on, the error says when to come
// again.
func (v *Vendor) enterIssuer(ctx context.Context, visit *fleet.Visit, host string, fallback bool) error {
	i := v.issuers.of(host)
	for begun := v.now(); ; {
		wait, silent := v.place(ctx, visit, i, host)
		if wait == 0 {
			return nil
		}
		if silent || fallback || v.now().Add(wait).Sub(begun) > budgetWait {
			v.count(CountThrottled)
			e := &Error{Kind: Throttled, Description: "the budget of exchanges with the authorization server is used up", RetryAfter: wait}
			if silent {
				e.Description = "the authorization server asked to be left alone for a while"
			}
			e.Detail = e.Description
			return e
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return timeout()
		}
	}
}

// place asks both budgets. The fleet's is only asked where ours has room.
func (v *Vendor) place(ctx context.Context, visit *fleet.Visit, i *issuer, host string) (wait time.Duration, silent bool) {
	i.mu.Lock()
	wait, silent = i.own.enter(v.now(), environmentBurst, environmentInterval)
	i.mu.Unlock()
	if wait > 0 {
		return wait, silent
	}
	v.change(ctx, visit, i, host, func(s *standing) {
		wait, silent = s.enter(v.now(), fleetBurst, fleetInterval)
	})
	return wait, silent
}

// leaveIssuer notes what came of the exchange: failure is nil if a token did.
func (v *Vendor) leaveIssuer(ctx context.Context, visit *fleet.Visit, host string, failure *oauth.Error) {
	throttled := failure != nil && (failure.Status == 429 || failure.Status == 503 && failure.RetryAfter > 0)
	answered := failure == nil || failure.Status != 0
	say := func(s *standing) {
		switch {
		case throttled:
			s.throttle(v.now(), failure.RetryAfter)
		case answered:
			s.Silent, s.Throttled = 0, 0
		}
	}
	i := v.issuers.of(host)
	i.mu.Lock()
	quiet := !throttled && i.own.Silent == 0 && i.fleet.Silent == 0
	say(&i.own)
	i.mu.Unlock()
	if !quiet {
		v.change(ctx, visit, i, host, say)
	}
}

// change applies f to what the fleet knows. The table is not waited for with a lock
// held.
func (v *Vendor) change(ctx context.Context, visit *fleet.Visit, i *issuer, host string, f func(*standing)) {
	i.mu.Lock()
	last := i.last
	i.mu.Unlock()
	var s standing
	last, ok := visit.Change(ctx, fleet.ServerRow, host, last, func(note []byte) []byte {
		s = standing{}
		_ = json.Unmarshal(note, &s)
		f(&s)
		changed, err := json.Marshal(s)
		if err != nil {
			panic("internal error: impossible: " + err.Error())
		}
		return changed
	})
	if ok {
		i.mu.Lock()
		i.last, i.fleet = last, s
		i.mu.Unlock()
	}
}
