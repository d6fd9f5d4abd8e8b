package tokensource

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/fleet"
)

const (
	// lotTime is how long permits can be used that were taken ahead.
	lotTime = 2 * time.Second
	// readTime is how old a reading of the row may be when a permit is used.
	readTime = 500 * time.Millisecond
	// maxLots bounds the memory for the rates of one server, which documents name.
	maxLots = 16
	// maxCharge is how long the fleet makes up for permits that were taken without the table: 5
	// seconds after its bucket is empty.
	maxCharge = time.Duration(float64(fleetTime)/fleetShare) + 5*time.Second
)

// host is one authorization server, as this environment knows it.
type host struct {
	name string
	// byHost: the server counts all clients together.
	byHost bool

	mu    sync.Mutex
	own   server        // what this environment found out itself; guarded by mu
	fleet server        // what was last read of the table; guarded by mu
	last  *fleet.Last   // guarded by mu
	read  time.Time     // when that was; guarded by mu
	rate  RateLimiter   // of this environment; guarded by mu
	slots slots         // of this environment without the table; guarded by mu
	debt  time.Duration // of permits taken without the table lately; guarded by mu
	alone time.Time     // when the last of them was taken; guarded by mu
	lots  map[rate]*lot // by the clients' rate; guarded by mu
}

// applicant is a client that asks for a permit.
type applicant struct {
	id   uint64 // see [clientID]
	rate rate
}

// lot is what an environment took ahead for the clients that have the same rate.
type lot struct {
	rate  rate // at which it was taken
	size  int
	taken time.Time
	left  []ahead // not used, in the order of their times
}

// ahead is a permit that a client took ahead, and when it begins to hold.
type ahead struct {
	by   uint64
	from time.Time
}

// lot takes up to want permits: more than one only of those that are there soon after the first.
func (s *server) lot(now time.Time, a applicant, want int, patience time.Duration) (first permit, times []time.Time) {
	all := RateLimiter{full: time.UnixMilli(s.Next)}
	fleet := s.limited(now, a.rate).fleet()
	b := bucket{limit: fleet, reserve: func(patience time.Duration) (time.Duration, bool) {
		return all.Reserve(now, fleet.burst, fleet.interval, patience)
	}}
	if first = s.reserve(now, a, b, patience); !first.ok {
		return first, nil
	}
	for len(times) < want-1 && s.Throttled == 0 && !s.throttled(a.id) {
		p := s.reserve(now, a, b, first.wait+lotSpan)
		if !p.ok {
			break
		}
		times = append(times, now.Add(p.wait))
	}
	s.Next = all.millis()
	return first, times
}

// spend charges the time of permits that were taken without the table.
func (s *server) spend(now time.Time, debt time.Duration) {
	if debt > 0 {
		all := RateLimiter{full: time.UnixMilli(s.Next)}
		all.spend(now, debt, maxCharge)
		s.Next = all.millis()
	}
}

// take takes a permit that this environment has. A client that has had its half while others
// want the server gets none that another one took.
func (h *host) take(now time.Time, a applicant) (p permit, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.lots[a.rate]
	if l == nil {
		return permit{}, false
	}
	l.left = slices.DeleteFunc(l.left, func(p ahead) bool { return now.Sub(p.from) >= lotTime || p.from.Sub(now) >= maxWait })
	spent := h.fleet.spent(now, a.id, l.rate.fleet().half())
	i := slices.IndexFunc(l.left, func(p ahead) bool { return !spent || p.by == a.id })
	if i < 0 {
		return permit{}, false
	}
	from := l.left[i].from
	l.left = slices.Delete(l.left, i, i+1)
	return permit{ok: true, wait: max(0, from.Sub(now)), rate: l.rate}, true
}

// wanted returns how many permits to take, and the time of those that were taken without the
// table and are to be charged. An environment that used up its last lot soon takes one of twice
// the size.
func (h *host) wanted(now time.Time, a applicant) (want int, debt time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	want = 1
	if l := h.lots[a.rate]; l != nil && len(l.left) == 0 && now.Sub(l.taken) < lotTime {
		want = min(2*l.size, l.rate.lot())
	}
	if now.Sub(h.alone) < time.Minute {
		debt = h.debt
	}
	return want, debt
}

// lend keeps what was taken ahead at the rate of p.
func (h *host) lend(now time.Time, a applicant, p permit, times []time.Time, debt time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.debt = max(0, h.debt-debt)
	if !p.ok {
		return
	}
	if _, known := h.lots[a.rate]; !known {
		cache.MakeRoom(h.lots, maxLots, nil)
	}
	taken := &lot{rate: p.rate, size: 1 + len(times), taken: now}
	if l := h.lots[a.rate]; l != nil && l.rate == p.rate {
		taken.left = l.left // of another request that took them meanwhile
	}
	for _, from := range times {
		taken.left = append(taken.left, ahead{a.id, from})
	}
	slices.SortStableFunc(taken.left, func(p, q ahead) int { return p.from.Compare(q.from) })
	h.lots[a.rate] = taken
}

// cap applies the environment's own limit to a permit.
func (h *host) cap(now time.Time, p permit, patience time.Duration) permit {
	if !p.ok {
		return p
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	own := p.rate.environment()
	wait, ok := h.rate.Reserve(now, own.burst, own.interval, patience)
	p.wait, p.ok = max(p.wait, wait), ok
	return p
}

// reserveAlone takes a permit without the table, of the share of one among so many environments;
// 0: nothing but its own limit is known.
func (h *host) reserveAlone(now time.Time, a applicant, environments int, patience time.Duration) permit {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.own.limited(now, a.rate)
	own := r.environment()
	b := bucket{limit: own, reserve: func(patience time.Duration) (time.Duration, bool) {
		return h.rate.Reserve(now, own.burst, own.interval, patience)
	}}
	if environments > 0 {
		capped := b.reserve
		b.limit = r.alone(environments)
		b.reserve = func(patience time.Duration) (time.Duration, bool) {
			wait, ok := h.slots.reserve(now, b.limit.interval, aloneTime, patience)
			if !ok {
				return wait, false
			}
			limited, ok := capped(patience)
			return max(wait, limited), ok
		}
	}
	p := h.own.reserve(now, a, b, patience)
	if p.ok {
		if now.Sub(h.alone) >= time.Minute {
			h.debt = 0
		}
		h.debt, h.alone = min(h.debt+r.fleet().interval, maxCharge), now
	}
	return p
}

// blocked returns why a client is not to call the server, as far as this environment knows.
func (h *host) blocked(now time.Time, id uint64) permit {
	h.mu.Lock()
	defer h.mu.Unlock()
	own, shared := h.own.blocked(now, id), h.fleet.blocked(now, id)
	if shared.silent > own.silent {
		return shared
	}
	return own
}

// silenced reports whether the server, or a client of it, is not to call it.
func (h *host) silenced(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range [...]*server{&h.own, &h.fleet} {
		if s.remaining(now) > 0 || slices.ContainsFunc(s.Clients, func(c clientBudget) bool { return c.remaining(now) > 0 }) {
			return true
		}
	}
	return false
}

// blockedByOthers is blocked without the probes, one of which may be the caller's own.
func (h *host) blockedByOthers(now time.Time, id uint64) permit {
	p := h.blocked(now, id)
	return permit{silent: p.silent, wait: p.silent}
}

// fresh reports whether the row was read a moment ago.
func (h *host) fresh(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Sub(h.read).Abs() < readTime
}

// report notes the result of an exchange. It returns whether other environments need to know.
func (h *host) report(id uint64, o outcome, note func(*server)) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	quiet := !o.throttled && !h.own.throttled(id) && !h.fleet.throttled(id)
	if note(&h.own); o.throttled {
		clear(h.lots)
	}
	return !quiet
}

// change applies f to what the table knows, as often as another environment is faster within
// patience; a nil f only reads. answered is false if the table cannot be used; ok is false if
// the others were faster each time. No lock is held while the table is called.
func (h *host) change(ctx context.Context, session *fleet.Session, now func() time.Time, patience time.Duration, f func(*server)) (answered, ok bool) {
	h.mu.Lock()
	last, own := h.last, h.own
	own.Clients = append([]clientBudget(nil), own.Clients...)
	h.mu.Unlock()
	if f == nil {
		last, f = nil, func(*server) {}
	}
	var s server
	last, ok = session.Change(ctx, patience, fleet.ServerRow, h.name, last, func(note []byte) []byte {
		s = readServer(note)
		before := encode(s)
		s.merge(now(), &own)
		f(&s)
		if after := encode(s); !bytes.Equal(before, after) {
			return after
		}
		return note
	})
	if ok {
		h.mu.Lock()
		h.last, h.fleet, h.read = last, s, now()
		h.mu.Unlock()
	}
	return last != nil, ok
}
