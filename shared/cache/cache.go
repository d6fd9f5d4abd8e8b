// Package cache keeps values that are costly to load: for each key one load at a
// time, however many ask, and no value past its end. It knows nothing of tokens
// or documents and imports the standard library only.
package cache

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// Outcome says where a value came from.
type Outcome int

// The outcomes.
const (
	// Hit: the value was there.
	Hit Outcome = iota
	// Loaded: this caller started the load.
	Loaded
	// Joined: another caller's load was under way.
	Joined
)

// ErrPanic is what the callers of a load get that panicked. The panic's text
// may hold a secret, so it is left behind.
var ErrPanic = errors.New("internal error: the load panicked")

// Config configures a [Cache].
type Config[V any] struct {
	// Size is what a value counts against MaxSize; nil: each counts 1.
	Size func(V) int
	// MaxSize bounds the sum of sizes; the least recently used values leave
	// first. Zero: 1000.
	MaxSize int
	// LoadTimeout bounds a load; zero: 20 seconds.
	LoadTimeout time.Duration
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Cache keeps values by key. It is safe for concurrent use. It starts no
// goroutine but the one of a load, which ends with the load's own deadline.
type Cache[K comparable, V any] struct {
	size        func(V) int
	maxSize     int
	loadTimeout time.Duration
	now         func() time.Time

	mu      sync.Mutex
	used    int                 // sum of sizes; guarded by mu
	entries map[K]*list.Element // values are *entry[K, V]; guarded by mu
	order   *list.List          // most recently used first; guarded by mu
	flights map[K]*flight[V]    // loads under way; guarded by mu
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	expire time.Time
}

type flight[V any] struct {
	done  chan struct{} // closed when value and err are set
	value V
	err   error
}

// A Load fetches a value and says until when it may be used; the zero time
// means that it must not be kept. Its ctx has the values of the caller that
// started it, but a deadline of its own.
type Load[V any] func(ctx context.Context) (value V, expire time.Time, err error)

// New returns an empty cache.
func New[K comparable, V any](cfg Config[V]) *Cache[K, V] {
	c := &Cache[K, V]{
		size:        cfg.Size,
		maxSize:     cfg.MaxSize,
		loadTimeout: cfg.LoadTimeout,
		now:         cfg.Now,
		entries:     make(map[K]*list.Element),
		order:       list.New(),
		flights:     make(map[K]*flight[V]),
	}
	if c.size == nil {
		c.size = func(V) int { return 1 }
	}
	if c.maxSize == 0 {
		c.maxSize = 1000
	}
	if c.loadTimeout == 0 {
		c.loadTimeout = 20 * time.Second
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

// Get returns the value of key if it is unexpired and good says so (nil: any
// is good), else what load brings. Callers that ask meanwhile share that load
// and its error, and take its value without asking good again. An error is not
// kept. When ctx ends first, its error is returned and the load goes on; when it
// has ended already, nothing is started.
func (c *Cache[K, V]) Get(ctx context.Context, key K, good func(V) bool, load Load[V]) (V, Outcome, error) {
	c.mu.Lock()
	if value, ok := c.lookup(key); ok && (good == nil || good(value)) {
		c.mu.Unlock()
		return value, Hit, nil
	}
	f, outcome := c.flights[key], Joined
	if err := ctx.Err(); err != nil {
		c.mu.Unlock()
		return *new(V), Joined, err
	}
	if f == nil {
		f, outcome = &flight[V]{done: make(chan struct{})}, Loaded
		c.flights[key] = f
		go c.run(ctx, key, f, load)
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.value, outcome, f.err
	case <-ctx.Done():
		return *new(V), outcome, ctx.Err()
	}
}

// run performs a load. A panic in it must not end the process: other events
// may be in flight.
func (c *Cache[K, V]) run(ctx context.Context, key K, f *flight[V], load Load[V]) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.loadTimeout)
	defer cancel()
	var expire time.Time
	f.err = ErrPanic
	defer func() {
		if recover() != nil {
			f.err = ErrPanic
		}
		c.mu.Lock()
		delete(c.flights, key)
		if f.err == nil {
			c.store(key, f.value, expire)
		}
		c.mu.Unlock()
		close(f.done)
	}()
	f.value, expire, f.err = load(ctx)
}

// lookup must be called with mu held.
func (c *Cache[K, V]) lookup(key K) (value V, ok bool) {
	element, ok := c.entries[key]
	if !ok {
		return value, false
	}
	e := element.Value.(*entry[K, V])
	// Round(0): the monotonic clock stops while a function is frozen.
	if !c.now().Round(0).Before(e.expire) {
		c.remove(element)
		return value, false
	}
	c.order.MoveToFront(element)
	return e.value, true
}

// store must be called with mu held.
func (c *Cache[K, V]) store(key K, value V, expire time.Time) {
	if element, ok := c.entries[key]; ok {
		c.remove(element)
	}
	if expire.IsZero() || c.size(value) > c.maxSize {
		return
	}
	c.entries[key] = c.order.PushFront(&entry[K, V]{key: key, value: value, expire: expire.Round(0)})
	c.used += c.size(value)
	for c.used > c.maxSize {
		c.remove(c.order.Back())
	}
}

// remove must be called with mu held.
func (c *Cache[K, V]) remove(element *list.Element) {
	e := element.Value.(*entry[K, V])
	delete(c.entries, e.key)
	c.order.Remove(element)
	c.used -= c.size(e.value)
}
