package tokensource

import (
	"cmp"
	"context"
	"sync"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

const (
	// defaultEnvironments is how many are assumed if their number has no limit, as by the
	// default of ReservedConcurrency in template.yaml.
	defaultEnvironments = 50
	// probePoll is how soon a caller looks again for the result of another one's probe.
	probePoll = 400 * time.Millisecond
	// maxServers bounds the memory; documents name the servers.
	maxServers = 1024
)

// limiter decides how often an authorization server is called: by this environment and, if
// there is a table, by all. It is safe for concurrent use.
type limiter struct {
	runtime
	fleet *fleet.Fleet // nil: there is no table
	// environments is how many there may be; 0: that is not known.
	environments int
	// rates are what the operator says of servers, named as by [registry.Budget].
	rates map[string]float64

	mu    sync.Mutex
	hosts map[string]*host // guarded by mu
}

// permitFor says what a permit is for.
type permitFor struct {
	// host is that of the authorization server, see [registry.Client], and client the
	// client's name.
	host, client string
	// rate is that of the client's document, see [registry.Client]; 0: the default.
	rate float64
	// cached means that the caller has a token and does not wait.
	cached bool
	// patience is how long the caller can wait.
	patience time.Duration
}

func (l *limiter) host(name string) *host {
	server, byHost := registry.Budget(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.hosts[server]; known != nil {
		return known
	}
	if l.hosts == nil {
		l.hosts = make(map[string]*host)
	}
	cache.MakeRoom(l.hosts, maxServers, func(h *host) bool { return h.silenced(l.now()) })
	l.hosts[server] = &host{name: server, byHost: byHost, lots: make(map[rate]*lot), slots: slots{phase: l.rand()}}
	return l.hosts[server]
}

// applicant returns who asks for a permit. The operator knows the server better than documents.
func (l *limiter) applicant(h *host, p permitFor) applicant {
	return applicant{clientID(p.client), rate(cmp.Or(l.rates[h.name], p.rate, registry.DefaultRate))}
}

// admit waits for a permit for one exchange with an authorization server. A caller with a
// cached token does not wait: retry is then when to look again. The error says that there
// is no permit in time.
func (l *limiter) admit(ctx context.Context, session *fleet.Session, p permitFor) (retry time.Duration, err error) {
	h := l.host(p.host)
	a := l.applicant(h, p)
	patience := p.patience
	if p.cached {
		patience = 0
	} else if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)-exchangeReserve)
	}
	for begun := l.now(); ; {
		// A request that waits for longer reserves no permit that others may need before.
		got := l.reserve(ctx, session, h, a, max(0, min(maxWait, patience-l.now().Sub(begun))))
		if got.ok && got.wait > 0 {
			if err := pause(ctx, got.wait); err != nil {
				return 0, err
			}
			got = l.recheck(ctx, session, h, a.id)
		}
		switch {
		case got.ok:
			return 0, nil
		case p.cached:
			l.count(CountThrottled)
			return max(got.wait, refreshPoll), nil
		case got.final(patience):
			l.count(CountThrottled)
			return 0, got.refusal()
		case l.now().Sub(begun) >= patience:
			if got.contended {
				l.count(CountThrottled)
			}
			return 0, got.refusal()
		}
		if !session.Wait(ctx, min(l.jitter(probePoll, 0.5), max(patience-l.now().Sub(begun), time.Millisecond))) {
			return 0, fault.TimedOut()
		}
	}
}

// final reports whether a longer wait within patience would bring no permit.
func (p permit) final(patience time.Duration) bool {
	return !p.probing && !p.contended && (patience <= maxWait || p.silent > 0)
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

// reserve takes a permit: of the lot that this environment has, of the table's row, or of this
// environment's share if the table cannot be used.
func (l *limiter) reserve(ctx context.Context, session *fleet.Session, h *host, a applicant, patience time.Duration) permit {
	if p := h.blocked(l.now(), a.id); p.silent > 0 {
		return p
	}
	if session != nil {
		p, answered := l.reserveShared(ctx, session, h, a, patience)
		if answered {
			return h.cap(l.now(), p, patience)
		}
	}
	p := h.reserveAlone(l.now(), a, l.sharers(), patience)
	if p.ok && l.fleet != nil {
		l.count(CountAlone)
	}
	return p
}

// reserveShared takes a permit of the fleet. It returns false if the table cannot be used.
func (l *limiter) reserveShared(ctx context.Context, session *fleet.Session, h *host, a applicant, patience time.Duration) (permit, bool) {
	if taken, ok := h.take(l.now(), a); ok && taken.wait <= patience {
		if p, answered := l.read(ctx, session, h, a.id); !answered || p.wait > 0 {
			return p, answered
		}
		return taken, true
	}
	want, debt := h.wanted(l.now(), a)
	var p permit
	var times []time.Time
	answered, ok := h.change(ctx, session, l.now, patience, func(s *server) {
		now := l.now()
		s.spend(now, debt)
		p, times = s.lot(now, a, want, patience)
	})
	if !ok {
		return permit{contended: true, wait: time.Second}, answered
	}
	h.lend(l.now(), a, p, times, debt)
	return p, true
}

// read makes sure that the last reading of the row is not old, so that a silence is seen before
// a permit is used. It returns false if the table cannot be used.
func (l *limiter) read(ctx context.Context, session *fleet.Session, h *host, id uint64) (permit, bool) {
	if !h.fresh(l.now()) {
		if answered, _ := h.change(ctx, session, l.now, 0, nil); !answered {
			return permit{}, false
		}
	}
	return h.blockedByOthers(l.now(), id), true
}

// recheck is called after a wait for a permit: a silence may have begun meanwhile.
func (l *limiter) recheck(ctx context.Context, session *fleet.Session, h *host, id uint64) permit {
	p, answered := l.read(ctx, session, h, id)
	if !answered {
		p = h.blockedByOthers(l.now(), id)
	}
	p.ok = p.silent == 0
	return p
}

// sharers returns how many environments have a share of a budget without the table; 0: nothing
// is shared.
func (l *limiter) sharers() int {
	n, current := l.fleet.Size()
	switch {
	case l.fleet == nil:
		// The operator chose that the environments share nothing. The share of one among as
		// many as there may be is too small for a few that serve many clients.
		return 0
	case !current:
		n = max(n, cmp.Or(l.environments, defaultEnvironments))
	}
	return max(n, 1)
}

// report notes the result of an exchange; failure is nil if it brought a token.
func (l *limiter) report(ctx context.Context, session *fleet.Session, hostName, client string, failure *oauth.Error) {
	o, answered := outcomeOfExchange(failure)
	if !answered {
		return
	}
	h, id := l.host(hostName), clientID(client)
	note := func(s *server) { s.report(l.now(), id, h.byHost, o) }
	if h.report(id, o, note) {
		h.change(ctx, session, l.now, maxWait, note)
	}
}
