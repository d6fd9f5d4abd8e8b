package cache

import (
	"context"
	"errors"
	"time"
)

// flight is a running load.
type flight[V any] struct {
	done    chan struct{} // closed when entry and err are set
	begun   time.Time     // with the monotonic reading of Config.Now
	entry   Entry[V]
	err     error
	waiters int // guarded by the cache's mu
}

// miss is Get after Lookup failed. It tries a second time in two cases: the process was
// frozen during the load, so that the value has expired, or the load of another caller
// returned a value that is not acceptable.
func (c *Cache[K, V]) miss(ctx context.Context, key K, accept func(V) bool, may func() bool, load Load[V]) (V, Outcome, error) {
	for try := range 2 {
		f, cached, outcome, err := c.begin(ctx, key, accept, may, load)
		if f == nil {
			return cached, outcome, err
		}
		value, err := c.wait(ctx, f)
		if err != nil {
			// The failed load may have shortened the life of the old value.
			if st := c.peek(key); st.usable(c.cfg.Now(), accept) {
				return st.entry.Value, Stale, nil
			}
		}
		if try == 0 && err == nil && outcome == Joined && accept != nil && !accept(value) {
			continue
		}
		if !errors.Is(err, ErrExpired) {
			return value, outcome, err
		}
	}
	return *new(V), Joined, ErrExpired
}

// begin starts or joins the load of key. If it returns no flight, the other results are
// those of Get.
func (c *Cache[K, V]) begin(ctx context.Context, key K, accept func(V) bool, may func() bool, load Load[V]) (_ *flight[V], cached V, _ Outcome, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	s := c.slots[key]
	if s == nil {
		s = &slot[K, V]{key: key}
		s.state.Store(&state[V]{})
	}
	s.touch(now)
	old := s.state.Load()
	usable := old.usable(now, accept)
	switch {
	case usable && (s.flight != nil || !old.due(now)):
		return nil, old.entry.Value, old.outcome(now), nil
	case usable && ctx.Err() != nil:
		return nil, old.entry.Value, Stale, nil
	case ctx.Err() != nil:
		return nil, cached, Joined, ctx.Err()
	case s.flight != nil && s.flight.waiters >= c.cfg.MaxWaiters:
		return nil, cached, Joined, ErrBusy
	case s.flight != nil:
		s.flight.waiters++
		return s.flight, cached, Joined, nil
	case old.waits(now):
		return nil, cached, Joined, &BackoffError{Err: old.err, Until: old.backoffUntil}
	case may != nil && !may():
		value, outcome, err := old.unloaded(now, usable)
		return nil, value, outcome, err
	}
	outcome := Loaded
	if usable {
		outcome = Refreshed
	}
	c.slots[key] = s
	s.flight = &flight[V]{done: make(chan struct{}), begun: now, waiters: 1}
	s.loading.Store(true)
	last := old.last(now, usable)
	f := s.flight
	c.cfg.Go(func() {
		c.run(ctx, s, f, func(ctx context.Context) (Entry[V], error) { return load(ctx, last) })
	})
	return f, cached, outcome, nil
}

// unloaded is the result of a call that may not begin a load.
func (s *state[V]) unloaded(now time.Time, usable bool) (value V, _ Outcome, _ error) {
	if usable {
		return s.entry.Value, s.outcome(now), nil
	}
	return value, Joined, ErrNoLoad
}

// last returns what a load gets that begins now.
func (s *state[V]) last(now time.Time, usable bool) Last[V] {
	return Last[V]{
		Value: s.entry.Value, Refresh: s.entry.Refresh, Serves: usable,
		SetBack: s.has && setBack(s.loaded, now), Failures: s.failures,
	}
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

// run runs a load. It recovers from a panic, because a crash of the process would end
// other invocations too.
func (c *Cache[K, V]) run(ctx context.Context, s *slot[K, V], f *flight[V], load func(context.Context) (Entry[V], error)) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.LoadTimeout)
	defer cancel()
	f.err = ErrPanic // unless load returns
	defer func() {
		_ = recover()
		c.finish(s, f)
	}()
	f.entry, f.err = load(ctx)
}

// finish stores the result of a load and wakes its waiters.
func (c *Cache[K, V]) finish(s *slot[K, V], f *flight[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.flight = nil
	s.loading.Store(false)
	c.replace(s, c.after(s.state.Load(), f))
	c.evict(s)
	close(f.done)
}

// after returns the state that follows old. It ignores the entry of a failed load.
func (c *Cache[K, V]) after(old *state[V], f *flight[V]) *state[V] {
	now := c.cfg.Now()
	if f.err == nil {
		f.entry.Refresh, f.entry.Expire = f.entry.Refresh.Round(0), f.entry.Expire.Round(0)
		size := c.cfg.Size(f.entry.Value) + slotSize
		if f.entry.Expire.IsZero() || c.cfg.MaxSize > 0 && size > c.cfg.MaxSize {
			return &state[V]{}
		}
		if setBack(f.begun, now) {
			now = f.begun // the entry may be from before the step
		}
		return &state[V]{entry: f.entry, loaded: now, has: true, size: size}
	}
	st := *old
	if st.failures++; st.failures == 1 {
		st.cached = old.usable(now, nil)
	}
	reaction := c.cfg.OnError(f.err, st.failures, st.cached)
	wall := now.Round(0)
	st.err, st.backoffUntil, st.backoff = f.err, wall.Add(reaction.Backoff), reaction.Backoff
	if reaction.Keep > 0 && wall.Add(reaction.Keep).Before(st.entry.Expire) {
		st.entry.Expire = wall.Add(reaction.Keep)
	}
	switch {
	case reaction.Keep < 0 || !st.usable(now, nil):
		st.entry, st.has, st.size = Entry[V]{}, false, slotSize
	case reaction.Postpone > 0:
		st.entry.Refresh, st.backoffUntil = wall.Add(reaction.Postpone), time.Time{}
	}
	return &st
}
