package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// skipAfter is how many failures in a row make the environment work without the table
	// for skipTime.
	skipAfter = 2
	// callTime is how long the table may take to answer. A call without an answer ends a
	// session. Calls that leave a result are made even then, within finishTime each: a lease
	// that is not ended stops the other environments for its whole time.
	callTime   = 120 * time.Millisecond
	finishTime = 15 * time.Millisecond
	// sessionTime is what the calls of one load may take in all while the table does
	// answer, before the result and without the wait for another environment's work. It is long beside
	// callTime: what the table knows can keep a client from being locked.
	sessionTime = 5 * callTime
	// changeCalls is how much longer the calls of Change may take than others. Without them an
	// environment has only its share of a server's budget.
	changeCalls = 4
)

// Config configures a [Fleet].
type Config struct {
	// Table and Keys are required.
	Table Table
	Keys  Keys
	// Count is told of what operators should see, by the names of the Count constants;
	// nil: nothing is counted.
	Count func(name string)
	// Warn is told why the table was not used, at most a few times a minute; nil:
	// nothing is.
	Warn func(err error)
	// Patience is how long the table may take to answer; 0: 120 ms, for environments
	// whose callers wait. An environment without the table costs an exchange.
	Patience time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Rand returns a number in [0, 1) for jitter; nil: math/rand/v2.
	Rand func() float64
}

// Fleet is the table with its keys. It is safe for concurrent use. A nil *Fleet is one
// without a table.
type Fleet struct {
	table Table
	count func(string)
	warn  func(error)
	now   func() time.Time
	rand  func() float64
	// callTime and sessionTime are the constants, or more.
	callTime, sessionTime time.Duration
	epochs                *epochs
	memory                memory
	size                  size

	mu        sync.Mutex
	failures  int       // in a row; guarded by mu
	skipUntil time.Time // guarded by mu
	// hastyUntil is until when throttled calls are not made again: they were, in vain, and each
	// further one would take as long. Guarded by mu.
	hastyUntil time.Time
}

// New returns a Fleet. Nothing is called before [Fleet.Open] or the first session.
func New(cfg Config) *Fleet {
	f := &Fleet{table: cfg.Table, count: cfg.Count, warn: cfg.Warn, rand: cfg.Rand, callTime: callTime, sessionTime: sessionTime}
	if cfg.Patience > 0 {
		f.callTime, f.sessionTime = cfg.Patience, cfg.Patience*(sessionTime/callTime)
	}
	if f.count == nil {
		f.count = func(string) {}
	}
	if f.warn == nil {
		f.warn = func(error) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	// The monotonic clock stops while a function is frozen.
	f.now = func() time.Time { return cfg.Now().Round(0) }
	if f.rand == nil {
		f.rand = rand.Float64
	}
	f.size.choose(f.rand)
	f.epochs = newEpochs(&epochs{table: retryingTable{f.table, f.rand}, keys: cfg.Keys, count: f.count, warn: f.warn, now: f.now, rand: f.rand})
	return f
}

// Open prepares the first session: it connects to the table and decrypts the epoch's key.
// It takes at most a second. If it fails, a later session tries again.
func (f *Fleet) Open(ctx context.Context) {
	if f == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	if _, err := f.epochs.current(ctx); err == nil {
		f.session(ctx, false)
	}
}

func (f *Fleet) skipped() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now().Before(f.skipUntil)
}

// answered counts failures in a row.
func (f *Fleet) answered(ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ok {
		f.failures = 0
		return
	}
	if f.failures++; f.failures >= skipAfter {
		f.skipUntil = f.now().Add(skipTime)
	}
}

// tries returns how often a throttled call is made.
func (f *Fleet) tries(p purpose) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p == counting || f.now().Before(f.hastyUntil) {
		return 1
	}
	return throttledTries
}

// gaveUp notes that a call was throttled each time that it was made.
func (f *Fleet) gaveUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hastyUntil = f.now().Add(skipTime)
}

// Session is one load's use of the table. It is used by one goroutine, or by several for
// different rows. A nil *Session is one without a table: [Session.Acquire] returns
// [Alone], and nothing is kept.
type Session struct {
	f    *Fleet
	seal currentSeal

	mu     sync.Mutex
	left   time.Duration // guarded by mu
	failed bool          // a call was not answered; guarded by mu
}

// purpose is what a call of the table is for. It decides how long the call may take.
type purpose int

const (
	loading   purpose = iota // a load, within the session's time
	counting                 // of the environments: it is not made again while the table throttles
	changing                 // of a row without a lease
	finishing                // it leaves a result, and is made even after a call without an answer
)

// Session begins a session. It returns nil if the table cannot be used now.
func (f *Fleet) Session(ctx context.Context) *Session { return f.session(ctx, true) }

// session is Session. guard means that it also makes sure that the epoch's row is there.
func (f *Fleet) session(ctx context.Context, guard bool) *Session {
	if f == nil || f.skipped() {
		return nil
	}
	start := time.Now()
	opening, cancel := context.WithTimeout(ctx, f.callTime)
	defer cancel()
	key, err := f.epochs.current(opening)
	if err != nil || opening.Err() != nil {
		return nil // the table may have taken all of that to say whether tomorrow has begun
	}
	s := &Session{f: f, left: f.sessionTime - time.Since(start)}
	s.seal.Store(key)
	if s.join(ctx) && guard {
		s.call(ctx, loading, f.epochs.guard)
	}
	return s
}

// follow goes on with the next epoch if another environment, whose clock is ahead, has
// begun it since: what that environment wrote must not be taken for foreign.
func (s *Session) follow(ctx context.Context) bool {
	begun := false
	answered, _ := s.call(ctx, loading, func(ctx context.Context) (err error) {
		begun, err = s.f.epochs.follow(ctx, &s.seal)
		return err
	})
	return answered && begun
}

// timeFor is how long a call may take; 0: there is no time for it. A call that finishes
// something always has some.
func (s *Session) timeFor(p purpose) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case p == finishing && s.failed:
		return finishTime
	case p == finishing:
		return s.f.callTime
	case p == changing && s.failed:
		return 0
	case p == changing:
		return s.f.callTime * changeCalls
	}
	return max(min(s.left, s.f.callTime), 0)
}

// call performs one call of the table within the session's time, and again while the table
// throttles: that takes no time of the session. A call that failed ends the session, but for
// what has to be finished; sent is false if there was no time for it at all.
func (s *Session) call(ctx context.Context, p purpose, do func(context.Context) error) (answered, sent bool) {
	limit := s.timeFor(p)
	if limit == 0 || ctx.Err() != nil {
		return false, false
	}
	var took time.Duration
	tries := s.f.tries(p)
	err := retryThrottled(ctx, s.f.rand, tries, func() error {
		start := time.Now()
		calling, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		err := do(calling)
		took = time.Since(start)
		return err
	})
	throttled := errors.Is(err, ErrThrottled)
	// A call that was cut short says nothing of the table.
	hurried := limit < s.f.callTime && errors.Is(err, context.DeadlineExceeded)
	if ctx.Err() == nil && !hurried {
		s.f.answered(err == nil || throttled)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left -= took; err == nil {
		return true, true
	}
	switch {
	case !throttled:
		s.left, s.failed = 0, true
	case p == counting:
		return false, true
	case tries > 1 && ctx.Err() == nil:
		s.f.gaveUp()
	}
	s.f.count(CountFailed)
	s.f.warn(err)
	return false, true
}

// jitter returns a random part of d, at least half of it.
func (s *Session) jitter(d time.Duration) time.Duration { return halfJitter(d, s.f.rand) }

// name returns the name of the row of that kind for id.
func (s *Session) name(kind Kind, id string) string { return nameRow(s.seal.Load(), kind, id) }

// open reads an item, see [openRow] and [memory.check].
func (s *Session) open(kind Kind, name string, item *Item) (row *Row, sound bool) {
	now := s.f.now()
	row, sound = openRow(s.seal.Load(), kind, name, item, now)
	return row, s.f.memory.check(name, row, sound, now)
}

// guarded is [memory.guarded].
func (s *Session) guarded(name string) (row *Row, active bool) {
	return s.f.memory.guarded(name, s.f.now())
}

// sealedValue is [sealValue].
func (s *Session) sealedValue(kind Kind, name, owner string, generation int64, value []byte, keep time.Time) (item Item, pointer []byte, fits bool) {
	return sealValue(s.seal.Load(), kind, name, owner, generation, value, keep)
}

// sealed returns the item of a row in state st, see [sealRow].
func (s *Session) sealed(kind Kind, name string, st state, pointer []byte, keep time.Time) Item {
	st.Written = s.f.now().UnixMilli()
	return sealRow(s.seal.Load(), kind, name, st, pointer, keep)
}

// next returns the generation of a write of a row after the one that was read.
func (s *Session) next(name string, read int64) int64 {
	return s.f.memory.next(name, read, s.f.now())
}

// get reads a row.
func (s *Session) get(ctx context.Context, p purpose, name string) (item *Item, answered bool) {
	answered, _ = s.call(ctx, p, func(ctx context.Context) (err error) {
		item, err = s.f.table.Get(ctx, name)
		return err
	})
	return item, answered
}

// update makes one conditional write; see [Table] and [Session.call].
func (s *Session) update(ctx context.Context, p purpose, item Item, condition Condition) (old *Item, ok, answered, sent bool) {
	answered, sent = s.call(ctx, p, func(ctx context.Context) (err error) {
		old, ok, err = s.f.table.Update(ctx, item, condition)
		return err
	})
	return old, ok, answered, sent
}

// Wait waits for d. Afterwards the table may be asked as in a new session, because the time
// was another environment's. It returns false if ctx ended first.
func (s *Session) Wait(ctx context.Context, d time.Duration) bool {
	if pause(ctx, d) != nil {
		return false
	}
	if s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.left, s.failed = s.f.sessionTime, false
	}
	return true
}

// Sign returns a text that holds payload and that only environments of this fleet can have
// made, for that purpose, on the day (UTC) of at: today or yesterday, any other day counts
// as today. It is base64url and dots, the same for the same payload and day, and anybody can
// read it. The error wraps [ErrNoTable].
func (f *Fleet) Sign(ctx context.Context, purpose string, payload []byte, at time.Time) (string, error) {
	if f == nil {
		return "", ErrNoTable
	}
	return f.epochs.sign(ctx, purpose, payload, at)
}

// Verify returns the payload of a text that [Fleet.Sign] has made for that purpose today or
// yesterday. The error wraps [ErrForeign] or [ErrNoTable].
func (f *Fleet) Verify(ctx context.Context, purpose, text string) ([]byte, error) {
	if f == nil {
		return nil, ErrForeign
	}
	return f.epochs.verify(ctx, purpose, text)
}
