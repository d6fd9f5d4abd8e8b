package cache

import (
	"context"
	"errors"
	"time"
)

// flight is a load under way.
type flight[V any] struct {
	done    chan struct{} // closed when entry and err are set
	entry   Entry[V]
	err     error
	waiters int // guarded by the cache's mu
}

// miss is Get for what isn't simply there. It tries again in case that a load
// that spanned a freeze brought what is over by now, or that another caller's load
// brought what doesn't do.
func (c *Cache[K, V]) miss(ctx context.Context, key K, good func(V) bool, load Load[V]) (V, Outcome, error) {
	for try := range 2 {
		f, there, outcome, err := c.begin(ctx, key, good, load)
		if f == nil {
			return there, outcome, err
		}
		value, err := c.wait(ctx, f)
		if err != nil {
			// What the failure left of the old value.
			if st := c.peek(key); st.usable(c.cfg.Now(), good) {
				return st.entry.Value, Stale, nil
			}
		}
		if try == 0 && err == nil && outcome == Joined && good != nil && !good(value) {
			continue // that load was for somebody with other wishes
		}
		if !errors.Is(err, ErrExpired) {
			return value, outcome, err
		}
	}
	return *new(V), Joined, ErrExpired
}

// begin starts or joins the load of key. A nil flight means that the value, or
// the error, is the answer.
func (c *Cache[K, V]) begin(ctx context.Context, key K, good func(V) bool, load Load[V]) (_ *flight[V], there V, _ Outcome, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	s := c.slots[key]
	if s == nil {
		s = &slot[V]{}
		s.state.Store(&state[V]{})
	}
	s.touch(now)
	old := s.state.Load()
	usable := old.usable(now, good)
	switch {
	case usable && (s.flight != nil || !old.due(now)):
		return nil, old.entry.Value, old.outcome(now), nil
	case usable && ctx.Err() != nil:
		return nil, old.entry.Value, Stale, nil
	case ctx.Err() != nil:
		return nil, there, Joined, ctx.Err()
	case s.flight != nil && s.flight.waiters >= c.cfg.MaxWaiters:
		return nil, there, Joined, ErrBusy
	case s.flight != nil:
		s.flight.waiters++
		return s.flight, there, Joined, nil
	case now.Before(old.backoffUntil):
		return nil, there, Joined, &BackoffError{Err: old.err, Until: old.backoffUntil}
	}
	outcome := Loaded
	if usable {
		outcome = Refreshed
	}
	c.slots[key] = s
	s.flight = &flight[V]{done: make(chan struct{}), waiters: 1}
	s.loading.Store(true)
	go c.run(ctx, key, s, func(ctx context.Context) (Entry[V], error) {
		return load(ctx, Last[V]{Value: old.entry.Value, Refresh: old.entry.Refresh, Serves: usable, Failures: old.failures})
	})
	return s.flight, there, outcome, nil
}

// peek returns the state of key.
func (c *Cache[K, V]) peek(key K) *state[V] {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if s := c.slots[key]; s != nil {
		return s.state.Load()
	}
	return &state[V]{}
}

func (c *Cache[K, V]) wait(ctx context.Context, f *flight[V]) (V, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return *new(V), ctx.Err()
	}
	if f.err == nil && !f.entry.Expire.IsZero() && !c.cfg.Now().Before(f.entry.Expire) {
		return *new(V), ErrExpired
	}
	return f.entry.Value, f.err
}

// run performs a load. A panic in it must not end the process: other events may
// be in flight.
func (c *Cache[K, V]) run(ctx context.Context, key K, s *slot[V], load func(context.Context) (Entry[V], error)) {
	c.mu.Lock()
	f := s.flight
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.LoadTimeout)
	defer cancel()
	f.err = ErrPanic
	defer func() {
		if recover() != nil {
			f.err = ErrPanic
		}
		c.land(key, s, f)
	}()
	f.entry, f.err = load(ctx)
}

// land keeps what a load brought and lets the waiters go.
func (c *Cache[K, V]) land(key K, s *slot[V], f *flight[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.flight = nil
	s.loading.Store(false)
	c.replace(key, s, c.after(s.state.Load(), f))
	c.evict(key)
	close(f.done)
}

// after is the state that follows old. The entry of a load that failed is not
// looked at.
func (c *Cache[K, V]) after(old *state[V], f *flight[V]) *state[V] {
	if f.err == nil {
		size := c.cfg.Size(f.entry.Value)
		if f.entry.Expire.IsZero() || c.cfg.MaxSize > 0 && size > c.cfg.MaxSize {
			return &state[V]{}
		}
		f.entry.Refresh, f.entry.Expire = f.entry.Refresh.Round(0), f.entry.Expire.Round(0)
		return &state[V]{entry: f.entry, has: true, size: size}
	}
	now := c.cfg.Now()
	st := *old
	if st.failures++; st.failures == 1 {
		st.warm = old.usable(now, nil)
	}
	reaction := c.cfg.OnError(f.err, st.failures, st.warm)
	st.err, st.backoffUntil = f.err, now.Add(reaction.Backoff)
	if reaction.Keep > 0 && now.Add(reaction.Keep).Before(st.entry.Expire) {
		st.entry.Expire = now.Add(reaction.Keep)
	}
	switch {
	case reaction.Keep < 0 || !now.Before(st.entry.Expire):
		st.entry, st.has, st.size = Entry[V]{}, false, 0
	case reaction.Postpone > 0:
		st.entry.Refresh, st.backoffUntil = now.Add(reaction.Postpone), time.Time{}
	}
	return &st
}

// evict makes room: what is over leaves first, then what was used least recently,
// but not newest. mu must be held.
func (c *Cache[K, V]) evict(newest K) {
	c.evictGroup(newest)
	if !c.over() {
		return
	}
	now := c.cfg.Now()
	for key, s := range c.slots {
		if st := s.state.Load(); s.flight == nil && key != newest && !st.usable(now, nil) && !now.Before(st.backoffUntil) {
			c.drop(key, s)
		}
	}
	for c.over() {
		key, s, _ := c.oldest(newest, func(*state[V]) bool { return true })
		if s == nil {
			return
		}
		c.drop(key, s)
	}
}

// evictGroup makes room in the group of newest. mu must be held.
func (c *Cache[K, V]) evictGroup(newest K) {
	s := c.slots[newest]
	if c.cfg.Group == nil || s == nil || !s.state.Load().has {
		return
	}
	group := c.cfg.Group(s.state.Load().entry.Value)
	for {
		key, s, others := c.oldest(newest, func(st *state[V]) bool { return st.has && c.cfg.Group(st.entry.Value) == group })
		if s == nil || others < c.cfg.MaxGroup {
			return
		}
		c.drop(key, s)
	}
}

// oldest returns, of the slots that match and may leave, the one that was used least
// recently (nil: there is none), and how many match beside newest. mu must be held.
func (c *Cache[K, V]) oldest(newest K, match func(*state[V]) bool) (oldestKey K, oldest *slot[V], matching int) {
	for key, s := range c.slots {
		if key == newest || !match(s.state.Load()) {
			continue
		}
		matching++
		if s.flight == nil && (oldest == nil || s.usedAt.Load() < oldest.usedAt.Load()) {
			oldest, oldestKey = s, key
		}
	}
	return oldestKey, oldest, matching
}

func (c *Cache[K, V]) over() bool {
	return len(c.slots) > c.cfg.MaxEntries || c.cfg.MaxSize > 0 && c.used > c.cfg.MaxSize
}

func (c *Cache[K, V]) drop(key K, s *slot[V]) {
	c.used -= s.state.Load().size
	delete(c.slots, key)
}
