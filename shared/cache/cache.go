// Package cache keeps values that are costly to load: for each key one load at a
// time, however many ask; a newer value before the old one ends; the old one
// while no newer can be had; and none past its end. It knows nothing of tokens or
// documents and imports the standard library only.
//
// Time is the wall clock throughout: the monotonic one stops while a function is
// frozen.
package cache

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Outcome says where a value came from.
type Outcome int

// The outcomes.
const (
	// Hit: the value was there.
	Hit Outcome = iota
	// Loaded: this caller started the load, and there was nothing before.
	Loaded
	// Refreshed: this caller's load replaced a value that would have done.
	Refreshed
	// Joined: another caller's load was under way.
	Joined
	// Stale: the value should have been replaced, but that failed.
	Stale
)

// The errors of [Cache.Get] beside those of loads.
var (
	// ErrPanic is what the callers of a load get that panicked. The panic's text
	// may hold a secret, so it is left behind.
	ErrPanic = errors.New("internal error: the load panicked")
	// ErrBusy: too many callers wait for the load of this key already.
	ErrBusy = errors.New("too many wait for the same value")
	// ErrExpired: the value was past its end when it came.
	ErrExpired = errors.New("the value ended before it came")
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

// Entry is what a load brings.
type Entry[V any] struct {
	Value V
	// Refresh is when a newer value is looked for, while this one still serves;
	// zero: not before it expires.
	Refresh time.Time
	// Expire is when the value is given out no more; zero: it is not kept, and
	// goes only to those who wait for it.
	Expire time.Time
}

// A Load fetches a value. ctx has the values of the caller that started it, but a
// deadline of its own.
type Load[V any] func(ctx context.Context, last Last[V]) (Entry[V], error)

// Last is what there was when a load began.
type Last[V any] struct {
	// Value is the last value, which may be past its end; the zero value: none.
	Value V
	// Refresh is that of its Entry.
	Refresh time.Time
	// Serves says that the load may fail without harm: Value is still good.
	Serves bool
	// Failures is how many loads failed in a row before.
	Failures int
}

// Reaction is what follows from a failed load.
type Reaction struct {
	// Backoff is how long the key is not loaded again. Until it ends, callers without
	// an acceptable value get a [*BackoffError]. Zero means that the next caller loads;
	// only the number of failures is kept.
	Backoff time.Duration
	// Postpone, if not zero and an older value is still usable, replaces Backoff: the
	// value is refreshed after Postpone, but a caller that does not accept it loads at
	// once.
	Postpone time.Duration
	// Keep, when not zero, is for how long from now an older value may serve at
	// most; negative: it is dropped.
	Keep time.Duration
}

// Config configures a [Cache].
type Config[V any] struct {
	// OnError says what follows from err, the failures'th in a row for its key,
	// 1 being the first; warm says that an unexpired value was there when they
	// began. nil: nothing is remembered.
	OnError func(err error, failures int, warm bool) Reaction
	// Size is what a value counts against MaxSize; nil: nothing.
	Size func(V) int
	// MaxSize bounds the sum of sizes, MaxEntries the number of keys, remembered
	// errors included; the least recently used leave first. Zero: no bound on the
	// sum, 1000 keys.
	MaxSize, MaxEntries int
	// Group names what a value belongs to, and MaxGroup bounds the values of one
	// group, so that none takes the room of the others; nil: there are no groups.
	Group    func(V) string
	MaxGroup int
	// MaxWaiters bounds the callers that wait for one load; zero: 256.
	MaxWaiters int
	// LoadTimeout bounds a load; zero: 20 seconds.
	LoadTimeout time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Cache keeps values by key. It is safe for concurrent use. It starts no
// goroutine but the one of a load, which ends by the load's own deadline; a hit
// takes a read lock for the time of a map access.
type Cache[K comparable, V any] struct {
	cfg Config[V]

	mu    sync.RWMutex
	slots map[K]*slot[V] // guarded by mu
	used  int            // sum of sizes; guarded by mu
}

// slot is what is known of one key.
type slot[V any] struct {
	// state is replaced whole, with the cache's mu held; never nil.
	state atomic.Pointer[state[V]]
	// loading mirrors flight, for those who don't hold mu.
	loading atomic.Bool
	// usedAt is when a caller asked last, in Unix milliseconds.
	usedAt atomic.Int64
	// flight is the load under way; nil: none. Guarded by the cache's mu.
	flight *flight[V]
}

// state is immutable.
type state[V any] struct {
	entry    Entry[V]
	has      bool // entry is one
	size     int
	failures int  // loads that failed in a row
	warm     bool // there was an unexpired value when they began
	err      error
	// backoffUntil is when the next load may begin.
	backoffUntil time.Time
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
	if cfg.LoadTimeout == 0 {
		cfg.LoadTimeout = 20 * time.Second
	}
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	cfg.Now = func() time.Time { return now().Round(0) }
	return &Cache[K, V]{cfg: cfg, slots: make(map[K]*slot[V])}
}

// Get returns the value of key, if there is one that good (nil: any) accepts. When
// it is time for a newer one, one caller loads it; the others go on with the old
// one, and that caller too if the load fails. Without an acceptable value all wait
// for one load and share its error; the caller who started it takes its value
// whatever good says of it. While the key rests after a failure, they get that error
// at once.
//
// When ctx ends first, its error is returned, or the old value, and the load goes
// on; when ctx has ended already, nothing is started.
func (c *Cache[K, V]) Get(ctx context.Context, key K, good func(V) bool, load Load[V]) (V, Outcome, error) {
	if value, outcome, ok := c.Lookup(key, good); ok {
		return value, outcome, nil
	}
	return c.miss(ctx, key, good, load)
}

// Lookup is Get without a load: ok is false if Get would start or join one. A caller that
// calls it first needs to make its Load for a miss only.
func (c *Cache[K, V]) Lookup(key K, good func(V) bool) (value V, outcome Outcome, ok bool) {
	c.mu.RLock()
	s := c.slots[key]
	c.mu.RUnlock()
	if s == nil {
		return value, outcome, false
	}
	now, st := c.cfg.Now(), s.state.Load()
	if !st.usable(now, good) || st.due(now) && !s.loading.Load() {
		return value, outcome, false
	}
	s.touch(now)
	return st.entry.Value, st.outcome(now), true
}

// Peek returns the value of key if Get would give it out without looking for a newer
// one.
func (c *Cache[K, V]) Peek(key K) (V, bool) {
	now, st := c.cfg.Now(), c.peek(key)
	if !st.usable(now, nil) || st.due(now) {
		return *new(V), false
	}
	return st.entry.Value, true
}

// usable reports whether there is a value that will do.
func (s *state[V]) usable(now time.Time, good func(V) bool) bool {
	return s.has && now.Before(s.entry.Expire) && (good == nil || good(s.entry.Value))
}

// due reports whether a newer value should be looked for.
func (s *state[V]) due(now time.Time) bool {
	return !s.entry.Refresh.IsZero() && !now.Before(s.entry.Refresh) && !now.Before(s.backoffUntil)
}

// outcome of giving out the value as it is.
func (s *state[V]) outcome(now time.Time) Outcome {
	if s.failures > 0 && now.Before(s.backoffUntil) {
		return Stale
	}
	return Hit
}

// touch notes the use. Under load most uses find their millisecond noted, and
// don't write where other processors read.
func (s *slot[V]) touch(now time.Time) {
	if at := now.UnixMilli(); s.usedAt.Load() != at {
		s.usedAt.Store(at)
	}
}

// Remove forgets the values for which match is true; loads under way go on.
func (c *Cache[K, V]) Remove(match func(key K, value V) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, s := range c.slots {
		if st := s.state.Load(); st.has && match(key, st.entry.Value) {
			c.replace(key, s, &state[V]{})
		}
	}
}

// replace sets the state of a slot, and drops slots that hold nothing. mu must be
// held.
func (c *Cache[K, V]) replace(key K, s *slot[V], st *state[V]) {
	c.used += st.size - s.state.Load().size
	s.state.Store(st)
	if !st.has && st.err == nil && s.flight == nil {
		delete(c.slots, key)
	}
}
