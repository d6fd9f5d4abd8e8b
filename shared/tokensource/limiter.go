package tokensource

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
)

const (
	// One environment makes environmentBurst exchanges with one authorization server at
	// once, and one more each interval.
	environmentBurst    = 10
	environmentInterval = time.Second / 10
	// The fleet makes fewer than 600 a minute: SAP Cloud Identity Services takes 1000 of a
	// tenant, logins of people included, and 50 a second from one address.
	fleetBurst    = 50
	fleetInterval = time.Second / 9
	// probePoll is how soon a caller looks again for the result of another one's probe.
	probePoll = 400 * time.Millisecond
	// probeTime is how long other callers wait for the result of a probe.
	probeTime = 6 * time.Second
	// firstSilence is the backoff after a 429 without Retry-After, doubling to longSilence.
	firstSilence = 2 * time.Second
	longSilence  = 30 * time.Second
	// maxServers bounds the memory; documents name the servers.
	maxServers = 1024
)

// limiter decides how often an authorization server is called: by this environment and, if
// there is a table, by all. It is safe for concurrent use.
type limiter struct {
	runtime

	mu    sync.Mutex
	hosts map[string]*host // guarded by mu
}

// host is one authorization server.
type host struct {
	name string

	mu    sync.Mutex
	own   server      // what this environment knows; guarded by mu
	fleet server      // what was last read of the table; guarded by mu
	last  *fleet.Last // guarded by mu
}

func (l *limiter) host(name string) *host {
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.hosts[name]; known != nil {
		return known
	}
	if l.hosts == nil || len(l.hosts) >= maxServers {
		l.hosts = make(map[string]*host)
	}
	l.hosts[name] = &host{name: name}
	return l.hosts[name]
}

// admit waits for a permit for one exchange with an authorization server. A caller with a
// cached token does not wait: retry is then when to look again. The error says that there
// is no permit in time.
func (l *limiter) admit(ctx context.Context, session *fleet.Session, name string, cached bool) (retry time.Duration, err error) {
	h := l.host(name)
	patience := time.Duration(0)
	if deadline, ok := ctx.Deadline(); ok && !cached {
		patience = min(time.Until(deadline)-exchangeReserve, maxReservation)
	}
	for begun := l.now(); ; {
		p := h.reserve(ctx, session, l.now(), max(0, patience-l.now().Sub(begun)))
		switch {
		case p.ok && p.wait == 0:
			return 0, nil
		case cached:
			l.count(CountThrottled)
			return max(p.wait, refreshPoll), nil
		case p.ok:
			return 0, pause(ctx, p.wait)
		case !p.probing:
			l.count(CountThrottled)
			return 0, p.refusal()
		case l.now().Sub(begun) >= patience:
			return 0, p.refusal()
		}
		if !session.Wait(ctx, l.jitter(probePoll, 0.5)) {
			return 0, fault.TimedOut()
		}
	}
}

// refusal is the error of an exchange that was not made, to spare the server.
func (p permit) refusal() error {
	why, after := "the budget of exchanges with the authorization server is used up", p.wait
	switch {
	case p.silent > 0:
		why = "the authorization server asked not to be called for a while"
	case p.probing:
		why, after = "another request is finding out whether the authorization server still asks not to be called", time.Second
	}
	after = max(after, time.Second)
	return &failure{fault: &fault.Error{Kind: fault.Throttled, Description: why, Detail: why, RetryAfter: after}, backoff: after}
}

// reserve asks the table, if there is one: it decides. This environment's own limit holds
// in any case.
func (h *host) reserve(ctx context.Context, session *fleet.Session, now time.Time, patience time.Duration) (p permit) {
	h.mu.Lock()
	silent := max(h.own.silence(now), h.fleet.silence(now))
	h.mu.Unlock()
	if silent > 0 {
		return permit{silent: silent, wait: silent}
	}
	shared := h.change(ctx, session, func(s *server) { p = s.reserve(now, fleetBurst, fleetInterval, patience) })
	h.mu.Lock()
	defer h.mu.Unlock()
	if !shared {
		return h.own.reserve(now, environmentBurst, environmentInterval, patience)
	}
	h.own.reset()
	if p.ok {
		own := h.own.reserve(now, environmentBurst, environmentInterval, patience)
		p.wait, p.ok = max(p.wait, own.wait), own.ok
	}
	return p
}

// report notes the result of an exchange; failure is nil if it brought a token.
func (l *limiter) report(ctx context.Context, session *fleet.Session, name string, failure *oauth.Error) {
	throttled := failure != nil && (failure.Status == 429 || failure.Status == 503 && failure.RetryAfter > 0)
	answered := failure == nil || failure.Status != 0
	note := func(s *server) {
		switch {
		case throttled:
			s.throttle(l.now(), failure.RetryAfter)
		case answered:
			s.reset()
		}
	}
	h := l.host(name)
	h.mu.Lock()
	quiet := !throttled && h.own.Throttled == 0 && h.fleet.Throttled == 0
	note(&h.own)
	h.mu.Unlock()
	if !quiet {
		h.change(ctx, session, note)
	}
}

// change applies f to what the table knows; false: it cannot be used. No lock is held while
// the table is called.
func (h *host) change(ctx context.Context, session *fleet.Session, f func(*server)) bool {
	h.mu.Lock()
	last := h.last
	h.mu.Unlock()
	var s server
	last, ok := session.Change(ctx, fleet.ServerRow, h.name, last, func(note []byte) []byte { return s.changed(note, f) })
	if ok {
		h.mu.Lock()
		h.last, h.fleet = last, s
		h.mu.Unlock()
	}
	return ok
}

// server is what is known of an authorization server, here or in the table. Times are in
// Unix milliseconds.
type server struct {
	// Next is that of [RateLimiter].
	Next int64 `json:"next"`
	// Throttled is how often in a row the server asked not to be called, and Silent until
	// when. Probe is until when a caller finds out whether it still does.
	Throttled int   `json:"throttled,omitempty"`
	Silent    int64 `json:"silent,omitempty"`
	Probe     int64 `json:"probe,omitempty"`
}

// permit is the answer to a caller that wants to call a server.
type permit struct {
	silent  time.Duration // the server is not to be called for so long
	probing bool          // another caller finds out whether that still holds
	ok      bool          // the caller has a permit,
	wait    time.Duration // which holds after this
}

// reserve takes a permit for one exchange. After a silence one caller gets it, as a probe.
func (s *server) reserve(now time.Time, burst int, interval, patience time.Duration) (p permit) {
	if p.silent = s.silence(now); p.silent > 0 {
		p.wait = p.silent
		return p
	}
	if p.wait = s.probe(now); p.wait > 0 {
		p.probing = true
		return p
	}
	l := RateLimiter{full: time.UnixMilli(s.Next)}
	p.wait, p.ok = l.Reserve(now, burst, interval, patience)
	s.Next = l.full.UnixMilli()
	return p
}

// silence returns how long the server is not to be called. A wait that is longer than a
// server may ask for can only come from another environment's skewed clock; it is ignored.
func (s *server) silence(now time.Time) time.Duration {
	if wait := time.UnixMilli(s.Silent).Sub(now); s.Throttled > 0 && wait <= oauth.MaxRetryAfter {
		return max(0, wait)
	}
	return 0
}

// probe lets the caller find out whether a throttling server can be called again; it returns
// how long another caller is doing so, or 0.
func (s *server) probe(now time.Time) time.Duration {
	if s.Throttled == 0 {
		return 0
	}
	if wait := time.UnixMilli(s.Probe).Sub(now); wait > 0 && wait <= probeTime {
		return wait
	}
	s.Probe = now.Add(probeTime).UnixMilli()
	return 0
}

// throttle begins a silence.
func (s *server) throttle(now time.Time, retryAfter time.Duration) {
	silence := max(retryAfter, min(firstSilence<<min(s.Throttled, 10), longSilence))
	s.Throttled++
	s.Silent, s.Probe = now.Add(silence).UnixMilli(), 0
}

// reset ends it: the server has answered something else.
func (s *server) reset() { s.Throttled, s.Silent, s.Probe = 0, 0, 0 }

// changed returns the note of a row with f applied to the server that it describes.
func (s *server) changed(note []byte, f func(*server)) []byte {
	*s = server{}
	_ = json.Unmarshal(note, s)
	f(s)
	return encode(s)
}
