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
	// probeTime is how long others wait for what comes of a probe, looking again
	// every probeLook, or a little later where there is a table.
	probeTime = 6 * time.Second
	probeLook = 200 * time.Millisecond

	// A server that answered 429 without a word on when, is left alone for
	// firstSilence, doubling to longSilence; then one exchange probes it.
	firstSilence = 2 * time.Second
	longSilence  = 30 * time.Second
	// maxIssuers bounds the memory; documents name the servers.
	maxIssuers = 1024
)

// standing is what is known of an authorization server; with a table, what all
// environments know together. Times are in Unix milliseconds.
type standing struct {
	// Next is that of [pace].
	Next int64 `json:"next"`
	// Throttled is how often in a row it asked to be left alone; Silent is until
	// when, and Probe until when somebody is finding out whether it still does.
	Throttled int   `json:"throttled,omitempty"`
	Silent    int64 `json:"silent,omitempty"`
	Probe     int64 `json:"probe,omitempty"`
}

// silent returns how long the server is to be left alone. Longer than a server may
// ask for is a clock of somebody else's.
func (s *standing) silent(now time.Time) time.Duration {
	if wait := time.UnixMilli(s.Silent).Sub(now); s.Throttled > 0 && wait <= oauth.MaxRetryAfter {
		return max(0, wait)
	}
	return 0
}

// probe makes the caller the one who finds out whether a server still wants to be
// left alone; else it returns how long another caller is doing so.
func (s *standing) probe(now time.Time) time.Duration {
	if s.Throttled == 0 {
		return 0
	}
	if wait := time.UnixMilli(s.Probe).Sub(now); wait > 0 && wait <= probeTime {
		return wait
	}
	s.Probe = now.Add(probeTime).UnixMilli()
	return 0
}

// place takes a place for one exchange.
func (s *standing) place(now time.Time, burst int, interval, patience time.Duration) (wait time.Duration, ok bool) {
	p := pace{next: time.UnixMilli(s.Next)}
	wait, ok = p.take(now, burst, interval, patience)
	s.Next = p.next.UnixMilli()
	return wait, ok
}

// throttle begins a silence.
func (s *standing) throttle(now time.Time, retryAfter time.Duration) {
	silence := max(retryAfter, min(firstSilence<<min(s.Throttled, 10), longSilence))
	s.Throttled++
	s.Silent, s.Probe = now.Add(silence).UnixMilli(), 0
}

// forgive ends it: the server has answered something else.
func (s *standing) forgive() { s.Throttled, s.Silent, s.Probe = 0, 0, 0 }

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
	if known := i.hosts[host]; known != nil {
		return known
	}
	if i.hosts == nil || len(i.hosts) >= maxIssuers {
		i.hosts = make(map[string]*issuer)
	}
	i.hosts[host] = &issuer{}
	return i.hosts[host]
}

// enterIssuer waits for a place for one exchange with the client's authorization
// server. Who has a token to fall back on doesn't wait: again is when to look again.
// The error says that there will be no place in time.
func (v *Vendor) enterIssuer(ctx context.Context, visit *fleet.Visit, w *wish) (again time.Duration, err error) {
	i := v.issuers.of(w.client.IssuerHost)
	patience := time.Duration(0)
	if deadline, ok := ctx.Deadline(); ok && !w.fallback {
		patience = min(time.Until(deadline)-waitMargin, maxPatience)
	}
	for begun := v.now(); ; {
		a := v.approach(ctx, visit, i, w.client.IssuerHost, max(0, patience-v.now().Sub(begun)))
		switch {
		case a.ok && a.wait == 0:
			return 0, nil
		case w.fallback:
			v.count(CountThrottled)
			return max(a.wait, elsewhereRest), nil
		case a.silent > 0:
			v.count(CountThrottled)
			return 0, withheld("the authorization server asked to be left alone for a while", a.silent)
		case a.ok:
			return 0, pause(ctx, a.wait)
		case a.probing && v.now().Sub(begun) < patience:
			if visit != nil && !visit.Wait(ctx) {
				return 0, timeout()
			}
			if err := pause(ctx, probeLook); err != nil {
				return 0, err
			}
		case a.probing:
			return 0, withheld("somebody is finding out whether the authorization server still wants to be left alone", time.Second)
		default:
			v.count(CountThrottled)
			return 0, withheld("the budget of exchanges with the authorization server is used up", a.wait)
		}
	}
}

// withheld is the error of an exchange that was not made, to spare the server.
func withheld(why string, again time.Duration) *Error {
	return &Error{Kind: Throttled, Description: why, Detail: why, RetryAfter: max(again, time.Second), rest: max(again, time.Second)}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return timeout()
	}
}

// approach is what a caller learns who wants to call a server.
type approach struct {
	silent  time.Duration // it is to be left alone for so long
	probing bool          // somebody is finding out whether it still is
	ok      bool          // there is a place,
	wait    time.Duration // when this is over
}

// approach asks what this environment knows, and then, where there is a table, what
// all know: that decides.
func (v *Vendor) approach(ctx context.Context, visit *fleet.Visit, i *issuer, host string, patience time.Duration) (a approach) {
	now := v.now()
	ask := func(s *standing, burst int, interval time.Duration) {
		a = approach{silent: s.silent(now)}
		if a.silent > 0 {
			a.wait = a.silent
			return
		}
		if a.wait = s.probe(now); a.wait > 0 {
			a.probing = true
			return
		}
		a.wait, a.ok = s.place(now, burst, interval, patience)
	}
	i.mu.Lock()
	known := max(i.own.silent(now), i.fleet.silent(now))
	i.mu.Unlock()
	if known > 0 {
		return approach{silent: known, wait: known}
	}
	if visit != nil && v.change(ctx, visit, i, host, func(s *standing) { ask(s, fleetBurst, fleetInterval) }) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.own.forgive()
		if !a.ok {
			return a
		}
		wait, ok := i.own.place(now, environmentBurst, environmentInterval, patience)
		a.wait, a.ok = max(a.wait, wait), ok
		return a
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	ask(&i.own, environmentBurst, environmentInterval)
	return a
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
			s.forgive()
		}
	}
	i := v.issuers.of(host)
	i.mu.Lock()
	quiet := !throttled && i.own.Throttled == 0 && i.fleet.Throttled == 0
	say(&i.own)
	i.mu.Unlock()
	if !quiet {
		v.change(ctx, visit, i, host, say)
	}
}

// change applies f to what the fleet knows; false: the table can't be used. The
// table is not waited for with a lock held.
func (v *Vendor) change(ctx context.Context, visit *fleet.Visit, i *issuer, host string, f func(*standing)) bool {
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
	return ok
}
