// Package cache keeps values that are expensive to load. For each key, one load runs at a
// time and all callers share it. A value is refreshed before it expires, and is still
// returned while refreshing fails, but never after it has expired. The package is generic
// and imports only the standard library.
//
// All times are wall-clock times, because the monotonic clock stops while AWS Lambda
// freezes the process. A value is also no longer returned if the wall clock was set back since
// its load, because its end would then be too late.
package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// maxStep is how far the wall clock may be set back without effect. Small corrections are common.
const maxStep = 5 * time.Second

// Outcome is where a value came from.
type Outcome int

// The outcomes of [Cache.Get].
const (
	// Hit: the value was in the cache.
	Hit Outcome = iota
	// Loaded: this call loaded the value, and no usable value was in the cache.
	Loaded
	// Refreshed: this call loaded the value to replace one that was still usable.
	Refreshed
	// Joined: this call waited for the load of another one.
	Joined
	// Stale: the value was due for a refresh, which failed.
	Stale
)

// The errors of [Cache.Get], in addition to those of loads.
var (
	// ErrPanic means that the load panicked. The value of the panic is dropped, because
	// it may contain a secret.
	ErrPanic = errors.New("internal error: the load panicked")
	// ErrBusy means that Config.MaxWaiters callers wait for the load already.
	ErrBusy = errors.New("too many callers wait for the same value")
	// ErrNoLoad means that [Cache.GetIf] may begin no load, and that none is running.
	ErrNoLoad = errors.New("no load of the value is running")
	// ErrExpired means that the value had expired when its load returned.
	ErrExpired = errors.New("the value expired before its load returned")
)

// BackoffError is the error of [Cache.Get] during the backoff after a failed load.
type BackoffError struct {
	// Err is the error of that load.
	Err error
	// Until is when the backoff ends and the next load may begin.
	Until time.Time
}

// Error implements error.
func (e *BackoffError) Error() string { return e.Err.Error() }

// Unwrap returns the load's error.
func (e *BackoffError) Unwrap() error { return e.Err }

// Entry is the result of a load.
type Entry[V any] struct {
	Value V
	// Refresh is when the value becomes due for a refresh; zero: when it expires.
	Refresh time.Time
	// Expire is when the value is no longer returned; zero: the value is not kept, and
	// only the callers that wait for the load get it.
	Expire time.Time
}

// A Load fetches a value. ctx has the values of the context of the call that started the
// load, but not its deadline: Config.LoadTimeout applies.
type Load[V any] func(ctx context.Context, last Last[V]) (Entry[V], error)

// Last is the state of a key at the start of a load.
type Last[V any] struct {
	// Value is the last value, which may have expired; the zero value if there is none.
	Value V
	// Refresh is that of the Entry of Value.
	Refresh time.Time
	// Serves means that Value is still usable, so that callers get it if the load fails.
	Serves bool
	// SetBack means that the wall clock was set back since the load of Value, so that its times may
	// be too late.
	SetBack bool
	// Failures is the number of loads that failed since the last success.
	Failures int
}

// Reaction is the consequence of a failed load. The zero value keeps the usable value, if
// there is one, and lets the next caller load.
type Reaction struct {
	// Backoff is how long the key is not loaded again. Until it ends, callers without
	// an acceptable value get a [*BackoffError]. Zero means that the next caller loads;
	// only the number of failures is kept.
	Backoff time.Duration
	// Postpone, if not zero and an older value is still usable, replaces Backoff: the
	// value is refreshed after Postpone, but a caller that does not accept it loads at
	// once.
	Postpone time.Duration
	// Keep, if not zero, is how long from now an older value remains usable at most;
	// negative: it is dropped.
	Keep time.Duration
}

// Config configures a [Cache].
type Config[V any] struct {
	// OnError returns the consequence of err. failures counts the failed loads of the key
	// since the last success, err included. cached means that an unexpired value existed
	// when the first of them failed. nil: each consequence is the zero Reaction.
	OnError func(err error, failures int, cached bool) Reaction
	// Size returns the size of a value in bytes; nil: all sizes are zero. The cache adds what it
	// needs itself for a key, about 400 bytes.
	Size func(V) int
	// MaxSize limits the sum of all sizes in bytes; zero: no limit. MaxEntries limits the number
	// of keys, including those in backoff; zero: 1000. Of a few keys, chosen at random, the least
	// recently used one is evicted first, so that the cost does not depend on their number.
	MaxSize, MaxEntries int
	// Group returns the group of a key by its value or, if it has none, by the error of its last
	// load; empty: none. nil: there are no groups. MaxGroup limits the number of values in one
	// group, and that of its keys without a value, so that it cannot displace the values of
	// others.
	Group    func(value V, err error) string
	MaxGroup int
	// MaxWaiters limits the number of callers that wait for one load; zero: 256.
	MaxWaiters int
	// Go runs a load in a goroutine and returns at once; nil: each load has a goroutine of its
	// own.
	Go func(load func())
	// LoadTimeout limits the time of a load; zero: 20 seconds.
	LoadTimeout time.Duration
	// Now is the clock; nil: time.Now. If its times have a monotonic reading, the cache notices each
	// time that the wall clock is set back, and otherwise only that a value is from the future.
	Now func() time.Time
}

// Cache keeps values by key. It is safe for concurrent use. Its only goroutines run loads. A hit takes a read lock for one map access.
type Cache[K comparable, V any] struct {
	cfg Config[V]

	mu     sync.RWMutex
	slots  map[K]*slot[K, V]        // guarded by mu
	groups map[string][]*slot[K, V] // guarded by mu
	used   int                      // sum of sizes; guarded by mu
}

// slot is the state of one key.
type slot[K comparable, V any] struct {
	key K
	// state is replaced as a whole, under the cache's mu; never nil.
	state atomic.Pointer[state[V]]
	// loading is flight != nil, for readers without mu.
	loading atomic.Bool
	// usedAt is the time of the last call of Get for the key, in Unix milliseconds.
	usedAt atomic.Int64
	// flight is the running load; nil: none. Guarded by the cache's mu.
	flight *flight[V]
}

// state is the last value of a key and its failed loads. It is immutable.
type state[V any] struct {
	entry    Entry[V]
	loaded   time.Time // with the monotonic reading of Config.Now
	has      bool      // entry is set
	size     int
	failures int  // failed loads since the last success
	cached   bool // an unexpired value existed when the first of them failed
	err      error
	// backoffUntil is when the next load may begin, backoff after the last one.
	backoffUntil time.Time
	backoff      time.Duration
}

// New returns an empty cache.
func New[K comparable, V any](cfg Config[V]) *Cache[K, V] {
	if cfg.OnError == nil {
		cfg.OnError = func(error, int, bool) Reaction { return Reaction{} }
	}
	if cfg.Size == nil {
		cfg.Size = func(V) int { return 0 }
	}
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = 1000
	}
	if cfg.MaxWaiters == 0 {
		cfg.MaxWaiters = 256
	}
	if cfg.Go == nil {
		cfg.Go = func(load func()) { go load() }
	}
	if cfg.LoadTimeout == 0 {
		cfg.LoadTimeout = 20 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Cache[K, V]{cfg: cfg, slots: make(map[K]*slot[K, V]), groups: make(map[string][]*slot[K, V])}
}

// Get returns the value of key if the cache has an unexpired one that accept returns true
// for; a nil accept accepts all values. If the value is due for a refresh, one caller loads
// a new one, and gets the old value if that fails; all others get the old value at once.
//
// Without an acceptable value, all callers wait for one load and get its error if it fails.
// The caller that started the load gets the new value without a call of accept. During the
// backoff after a failed load, callers get a [*BackoffError] at once.
//
// If ctx ends during the load, Get returns the old value or else the error of ctx, and the
// load continues for other callers. If ctx has ended before, Get starts no load.
func (c *Cache[K, V]) Get(ctx context.Context, key K, accept func(V) bool, load Load[V]) (V, Outcome, error) {
	if value, outcome, ok := c.Lookup(key, accept); ok {
		return value, outcome, nil
	}
	return c.miss(ctx, key, accept, nil, load)
}

// GetIf is Get, but begins a load only if may returns true. It joins a running load without a
// call of may. If there is none and may returns false, it returns the value if that is
// acceptable, though due for a refresh, or else [ErrNoLoad]. may is called
// while the cache is locked, and must not use it.
func (c *Cache[K, V]) GetIf(ctx context.Context, key K, accept func(V) bool, may func() bool, load Load[V]) (V, Outcome, error) {
	return c.miss(ctx, key, accept, may, load)
}

// Lookup is Get without loads: ok is false if Get would start or join one. A caller that
// calls Lookup first need not allocate its Load for a hit.
func (c *Cache[K, V]) Lookup(key K, accept func(V) bool) (value V, outcome Outcome, ok bool) {
	c.mu.RLock()
	s := c.slots[key]
	c.mu.RUnlock()
	if s == nil {
		return value, outcome, false
	}
	now, st := c.cfg.Now(), s.state.Load()
	if !st.usable(now, accept) || st.due(now) && !s.loading.Load() {
		return value, outcome, false
	}
	s.touch(now)
	return st.entry.Value, st.outcome(now), true
}

// Peek returns the value of key if it has neither expired nor become due for a refresh. It
// does not count as a use of the key.
func (c *Cache[K, V]) Peek(key K) (V, bool) {
	now, st := c.cfg.Now(), c.peek(key)
	if !st.usable(now, nil) || st.due(now) {
		return *new(V), false
	}
	return st.entry.Value, true
}

// usable reports whether there is an unexpired value that accept returns true for.
func (s *state[V]) usable(now time.Time, accept func(V) bool) bool {
	return s.has && now.Before(s.entry.Expire) && !setBack(s.loaded, now) && (accept == nil || accept(s.entry.Value))
}

// setBack reports whether the wall clock was set back between two times: it shows less time than
// the monotonic clock, or less than none. It may show more, because the monotonic clock stops
// while the process is frozen.
func setBack(from, to time.Time) bool {
	passed := time.Duration(to.UnixMilli()-from.UnixMilli()) * time.Millisecond
	return passed < max(to.Sub(from), 0)-maxStep
}

// due reports whether the value is due for a refresh and the backoff has ended.
func (s *state[V]) due(now time.Time) bool {
	return !s.entry.Refresh.IsZero() && !now.Before(s.entry.Refresh) && !s.waits(now)
}

// waits reports whether the backoff has not ended. If more than all of it is left, the clock was
// set back since, and it counts as ended: the clock may have been wrong by hours.
func (s *state[V]) waits(now time.Time) bool {
	left := s.backoffUntil.Sub(now)
	return left > 0 && left <= s.backoff
}

// outcome is the outcome of a call that returns the value without a load.
func (s *state[V]) outcome(now time.Time) Outcome {
	if s.failures > 0 && s.waits(now) {
		return Stale
	}
	return Hit
}

// touch records the use. It skips the write if usedAt is up to date, as in most calls under
// load, because a write takes the cache line from the other processors.
func (s *slot[K, V]) touch(now time.Time) {
	if at := now.UnixMilli(); s.usedAt.Load() != at {
		s.usedAt.Store(at)
	}
}

// Remove removes the values of a group; all of them, if there are no groups. Running loads
// continue.
func (c *Cache[K, V]) Remove(group string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.members(group) {
		if s.state.Load().has {
			c.replace(s, &state[V]{})
		}
	}
}

// Expedite makes the values of a group for which match returns true due for a refresh now, and
// ends the backoff of loads; those of all keys, if there are no groups. match gets the zero value
// if there is none, and the error of the last load if that failed.
func (c *Cache[K, V]) Expedite(group string, match func(value V, err error) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	for _, s := range c.members(group) {
		st := *s.state.Load()
		if !match(st.entry.Value, st.err) {
			continue
		}
		st.failures, st.err, st.backoffUntil = 0, nil, time.Time{}
		if st.has {
			st.entry.Refresh = now.Round(0)
		}
		c.replace(s, &st)
	}
}
