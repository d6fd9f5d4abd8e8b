package tokensource

import (
	"bytes"
	"context"
	"sync"
	"time"

	"tokenvendor/shared/fleet"
)

const (
	// One environment makes environmentBurst exchanges with one authorization server at
	// once, and one more each interval.
	environmentBurst    = 10
	environmentInterval = time.Second / 10
	// The fleet makes fewer than 600 a minute: SAP Cloud Identity Services takes 1000 of a
	// tenant, logins of people included, and 50 a second from one address. That holds for
	// every minute in which the table goes or comes back, with lots that are used
	// lotTime later, and with a fleet that is a fifth larger than it was counted:
	// 20 + 8 × 62 + 1.2 × 6.5 × 10 = 594.
	fleetBurst    = 20
	fleetInterval = time.Second / 8
	// maxLot is how many permits an environment takes ahead, and lotTime how long they can be
	// used. A permit that is not used is lost to the fleet.
	maxLot  = 4
	lotTime = 2 * time.Second
	// readTime is how old a reading of the row may be when a permit is used.
	readTime = 500 * time.Millisecond
	// maxLots bounds the memory for the clients of one server.
	maxLots = 256
	// maxDebt is how long the fleet makes up for permits that were taken without the table,
	// and maxCharged how many of them one environment counts.
	maxDebt    = 5 * time.Second
	maxCharged = 1000
)

// host is one authorization server, as this environment knows it.
type host struct {
	name string
	// byHost: the server counts all clients together.
	byHost bool

	mu    sync.Mutex
	own   server          // what this environment found out itself; guarded by mu
	fleet server          // what was last read of the table; guarded by mu
	last  *fleet.Last     // guarded by mu
	read  time.Time       // when that was; guarded by mu
	rate  RateLimiter     // of this environment; guarded by mu
	slots slots           // of this environment without the table; guarded by mu
	debt  int             // permits taken without the table lately; guarded by mu
	alone time.Time       // when the last of them was taken; guarded by mu
	lots  map[uint64]*lot // by client; guarded by mu
}

// lot is what an environment took ahead for one client.
type lot struct {
	size  int
	taken time.Time
	left  []time.Time // when each permit that was not used begins to hold
}

// share is one environment's part of a budget. A zero interval means that nothing but the
// environment's own limit is known.
type share struct{ interval, burst time.Duration }

// lot takes up to want permits of a client: more than one only of those that are there now.
func (s *server) lot(now time.Time, id uint64, want int, patience time.Duration) (first permit, times []time.Time) {
	rate := RateLimiter{full: time.UnixMilli(s.Next)}
	b := bucket{burst: fleetBurst, interval: fleetInterval, reserve: func(patience time.Duration) (time.Duration, bool) {
		return rate.Reserve(now, fleetBurst, fleetInterval, patience)
	}}
	if first = s.reserve(now, id, b, patience); !first.ok {
		return first, nil
	}
	for len(times) < want-1 && s.Throttled == 0 && !s.throttled(id) {
		p := s.reserve(now, id, b, 0)
		if !p.ok {
			break
		}
		times = append(times, now.Add(p.wait))
	}
	s.Next = rate.full.UnixMilli()
	return first, times
}

// spend charges permits that were taken without the table.
func (s *server) spend(now time.Time, debt int) {
	if debt > 0 {
		rate := RateLimiter{full: time.UnixMilli(s.Next)}
		rate.spend(now, debt, fleetBurst, fleetInterval, maxDebt)
		s.Next = rate.full.UnixMilli()
	}
}

// take takes a permit of the client's lot.
func (h *host) take(now time.Time, id uint64) (wait time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.lots[id]
	for l != nil && len(l.left) > 0 {
		from := l.left[0]
		l.left = l.left[1:]
		if age := now.Sub(from); age < lotTime && age > -maxWait {
			return max(0, -age), true
		}
	}
	return 0, false
}

// wanted returns how many permits to take ahead, and how many that were taken without the table
// are to be charged. A client that used up its last lot soon gets one of twice the size.
func (h *host) wanted(now time.Time, id uint64) (want, debt int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	want = 1
	if l := h.lots[id]; l != nil && len(l.left) == 0 && now.Sub(l.taken) < lotTime {
		want = min(2*l.size, maxLot)
	}
	if now.Sub(h.alone) < time.Minute {
		debt = h.debt
	}
	return want, debt
}

// lend keeps what a client took ahead.
func (h *host) lend(now time.Time, id uint64, times []time.Time, debt int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.lots[id]; !known && len(h.lots) >= maxLots {
		clear(h.lots)
	}
	h.lots[id] = &lot{size: 1 + len(times), taken: now, left: times}
	h.debt = max(0, h.debt-debt)
}

// cap applies the environment's own limit to a permit.
func (h *host) cap(now time.Time, p permit, patience time.Duration) permit {
	if !p.ok {
		return p
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	wait, ok := h.rate.Reserve(now, environmentBurst, environmentInterval, patience)
	p.wait, p.ok = max(p.wait, wait), ok
	return p
}

// reserveAlone takes a permit without the table.
func (h *host) reserveAlone(now time.Time, id uint64, s share, patience time.Duration) permit {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := bucket{burst: environmentBurst, interval: environmentInterval, reserve: func(patience time.Duration) (time.Duration, bool) {
		return h.rate.Reserve(now, environmentBurst, environmentInterval, patience)
	}}
	if s.interval > 0 {
		own := b.reserve
		b.burst, b.interval = int(s.burst/s.interval), max(s.interval, environmentInterval)
		b.reserve = func(patience time.Duration) (time.Duration, bool) {
			wait, ok := h.slots.reserve(now, s.interval, s.burst, patience)
			if !ok {
				return wait, false
			}
			limited, ok := own(patience)
			return max(wait, limited), ok
		}
	}
	p := h.own.reserve(now, id, b, patience)
	if p.ok {
		if now.Sub(h.alone) >= time.Minute {
			h.debt = 0
		}
		h.debt, h.alone = min(h.debt+1, maxCharged), now
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
