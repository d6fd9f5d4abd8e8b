package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tokenvendor/shared/cache"
)

const (
	// callTime is how long the table may take to answer; a call without an answer
	// ends a visit, but for finishTime to leave its result: a lease that is not ended
	// holds the others up for its whole time.
	callTime   = 120 * time.Millisecond
	finishTime = 30 * time.Millisecond
	// visitTime is what the calls of one load may take in all while the table does
	// answer, waiting for another environment's work aside. It is long beside
	// callTime: what the table knows can keep a client from being locked.
	visitTime = 500 * time.Millisecond
	// spareTime is how long a call may have taken for the table to be asked for
	// what only helps.
	spareTime = 25 * time.Millisecond
	// openTime bounds opening the epoch.
	openTime = time.Second
	// afterFailures failures in a row the table is left alone for skipTime.
	afterFailures = 2
	skipTime      = 30 * time.Second
)

// Item is a row as the table has it. Zero members are absent.
type Item struct {
	// Name is the hash key.
	Name string
	// Until is when the row is free, in Unix milliseconds.
	Until int64
	// Owner names the lease that the row is under; empty: none.
	Owner string
	// State is Until, Owner and more, sealed. Value is the result of the work,
	// sealed.
	State, Value []byte
	// ExpiresAt is when DynamoDB may delete the row, in Unix seconds.
	ExpiresAt int64
}

// Condition says what a row must be like for a write. Exactly one member is set.
type Condition struct {
	// FreeAt: there is no such row, or its Until isn't after this time (Unix
	// milliseconds).
	FreeAt int64
	// OwnedBy: it is under this lease, and its Until is not before OwnedAt.
	OwnedBy string
	OwnedAt int64
	// Like: its Until and State are those of this item; one without a name: there
	// is no such row.
	Like *Item
	// Any: whatever is there.
	Any bool
}

// Table is a DynamoDB table. Its errors hold no values.
type Table interface {
	// Get reads a row consistently; nil: there is none.
	Get(ctx context.Context, name string) (*Item, error)
	// Update sets the members of a row that are not absent in item, and removes
	// Owner if it is. It returns the row as it was before (nil: there was none),
	// also when ok is false because the condition does not hold.
	Update(ctx context.Context, item Item, condition Condition) (old *Item, ok bool, err error)
}

// ErrNoKey is wrapped by the errors of [Keys] for an encrypted key that can never
// be opened.
var ErrNoKey = errors.New("this is no key of ours")

// Keys is a KMS key that encrypts data keys, bound to an epoch.
type Keys interface {
	// Generate makes a data key of 32 bytes.
	Generate(ctx context.Context, epoch string) (plain, encrypted []byte, err error)
	// Decrypt opens one.
	Decrypt(ctx context.Context, epoch string, encrypted []byte) (plain []byte, err error)
}

// Config configures a [Fleet].
type Config struct {
	// Table and Keys are required.
	Table Table
	Keys  Keys
	// Count is told of what operators should see, by the names of the Count
	// constants; nil: nobody is.
	Count func(name string)
	// Warn is told why the table was not used, at most a few times a minute; nil:
	// nobody is.
	Warn func(err error)
	// Patience is how long the table may take to answer; 0: 120 ms, for environments
	// whose callers wait. An environment on its own costs an exchange.
	Patience time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Rand returns a number in [0, 1) for pauses; nil: math/rand/v2.
	Rand func() float64
}

// What is counted.
const (
	// CountRefused: a row of the table was not made by this deployment, or not for
	// this place.
	CountRefused = "TableRefused"
	// CountFailed: the table, or the key, could not be used.
	CountFailed = "TableFailed"
)

// Fleet is the table with its keys. It is safe for concurrent use. A nil *Fleet
// is one without a table.
type Fleet struct {
	table Table
	keys  Keys
	count func(string)
	warn  func(error)
	now   func() time.Time
	rand  func() float64
	// callTime and visitTime are the constants, or more.
	callTime, visitTime time.Duration
	epochs              *cache.Cache[string, *seal]

	mu        sync.Mutex
	failures  int       // in a row; guarded by mu
	skipUntil time.Time // guarded by mu
}

// New returns a Fleet. Nothing is called before [Fleet.Open] or the first visit.
func New(cfg Config) *Fleet {
	f := &Fleet{table: cfg.Table, keys: cfg.Keys, count: cfg.Count, warn: cfg.Warn, now: cfg.Now, rand: cfg.Rand}
	f.callTime, f.visitTime = callTime, visitTime
	if cfg.Patience > 0 {
		f.callTime, f.visitTime = cfg.Patience, cfg.Patience*(visitTime/callTime)
	}
	if f.count == nil {
		f.count = func(string) {}
	}
	if f.warn == nil {
		f.warn = func(error) {}
	}
	if f.now == nil {
		f.now = time.Now
	}
	if f.rand == nil {
		f.rand = rand.Float64
	}
	f.epochs = cache.New[string](cache.Config[*seal]{
		MaxEntries: 4, LoadTimeout: openTime, Now: f.now,
		OnError: func(err error, _ int, _ bool) cache.Reaction {
			if errors.Is(err, errNotYet) {
				// Whoever made the key may have died, and is not waited for any longer.
				return cache.Reaction{Rest: notYetRest}
			}
			return cache.Reaction{Rest: skipTime}
		},
	})
	return f
}

// Open prepares the first visit: the connection is made and the epoch's key
// opened. It takes at most a second, and an error is none: the fleet is then
// tried again later.
func (f *Fleet) Open(ctx context.Context) {
	if f == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	_, _ = f.seal(ctx)
}

// wall returns the time without the monotonic clock, which stops while a function
// is frozen.
func (f *Fleet) wall() time.Time { return f.now().Round(0) }

// Visit is one load's use of the table. It is used by one goroutine, or by several
// for different rows. A nil *Visit is one without a table: everything is free and
// nothing is kept.
type Visit struct {
	f *Fleet
	// seal is replaced when the next epoch turns out to have begun.
	seal atomic.Pointer[seal]

	mu      sync.Mutex
	left    time.Duration // guarded by mu
	slowest time.Duration // of the calls that were answered; guarded by mu
}

// Visit begins one; nil when the table can't be used now.
func (f *Fleet) Visit(ctx context.Context) *Visit {
	if f == nil || f.skipped() {
		return nil
	}
	start := time.Now()
	opening, cancel := context.WithTimeout(ctx, f.callTime)
	defer cancel()
	s, err := f.seal(opening)
	if err != nil || opening.Err() != nil {
		return nil // or the table took all of that to say whether tomorrow has begun
	}
	v := &Visit{f: f, left: f.visitTime - time.Since(start)}
	v.seal.Store(s)
	return v
}

func (f *Fleet) skipped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wall().Before(f.skipUntil)
}

// note keeps count of failures in a row.
func (f *Fleet) note(failed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !failed {
		f.failures = 0
		return
	}
	if f.failures++; f.failures >= afterFailures {
		f.skipUntil = f.wall().Add(skipTime)
	}
}

// room is how long a call may take; 0: there is no time for it. One that finishes
// something always has some.
func (v *Visit) room(finishing bool) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	room := min(v.left, v.f.callTime)
	if finishing {
		return max(room, finishTime)
	}
	return max(room, 0)
}

// spare reports whether the table is fast enough to be asked for what only helps.
func (v *Visit) spare() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.left > 0 && v.slowest <= spareTime
}

// call performs one call of the table within the visit's time. A call that failed
// ends the visit, but for what has to be finished; sent is false if there was no
// time for it at all.
func (v *Visit) call(ctx context.Context, finishing bool, do func(context.Context) error) (answered, sent bool) {
	room := v.room(finishing)
	if room == 0 || ctx.Err() != nil {
		return false, false
	}
	start := time.Now()
	calling, cancel := context.WithTimeout(ctx, room)
	defer cancel()
	err := do(calling)
	took := time.Since(start)
	if ctx.Err() == nil {
		v.f.note(err != nil)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.left -= took; err == nil {
		v.slowest = max(v.slowest, took)
		return true, true
	}
	v.left = 0
	v.f.count(CountFailed)
	v.f.warn(err)
	return false, true
}

// Wait waits a while before a row is looked at again that another environment
// works on, which isn't the table's fault: it may be asked as if anew. False: ctx
// ended first.
func (v *Visit) Wait(ctx context.Context) bool {
	if v.f.pause(ctx) != nil {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.left = v.f.visitTime
	return true
}
