package cache_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"tokenvendor/shared/cache"
)

// TestGetReturnsAtItsOwnDeadline proves that a load continues for other callers after the
// deadline of the one that started it.
func TestGetReturnsAtItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{wait: 3 * time.Second, refresh: 30 * time.Minute, life: time.Hour}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, _, err := c.Get(short, "k", nil, s.load); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got error %v, want %v", err, context.DeadlineExceeded)
			}
		})
		synctest.Wait()
		want(t, c, s, 1, cache.Joined)
		all.Wait()
		// During a refresh, the old value is returned at the deadline.
		time.Sleep(31 * time.Minute)
		short, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if value, outcome, err := c.Get(short, "k", nil, s.load); value != 1 || outcome != cache.Stale || err != nil {
			t.Errorf("got value %d, outcome %v, error %v; want 1, %v", value, outcome, err, cache.Stale)
		}
		time.Sleep(3 * time.Second)
		want(t, c, s, 2, cache.Hit)
	})
}

func TestLoadHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{LoadTimeout: 2 * time.Second})
		s := &source{wait: time.Hour}
		start := time.Now()
		_, _, err := get(t, c, s)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 2*time.Second {
			t.Errorf("got error %v after %v, want %v after 2s", err, time.Since(start), context.DeadlineExceeded)
		}
	})
}

func TestGetIfJoinsRunningLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{wait: time.Second, life: time.Hour, refresh: 20 * time.Minute}
		never := func() bool { return false }
		if _, _, err := c.GetIf(t.Context(), "k", nil, never, s.load); !errors.Is(err, cache.ErrNoLoad) {
			t.Errorf("no load is running: got error %v, want %v", err, cache.ErrNoLoad)
		}
		var all sync.WaitGroup
		all.Go(func() { want(t, c, s, 1, cache.Loaded) })
		synctest.Wait()
		if value, outcome, err := c.GetIf(t.Context(), "k", nil, never, s.load); value != 1 || outcome != cache.Joined || err != nil {
			t.Errorf("a load is running: got value %d, outcome %v, error %v; want 1, %v", value, outcome, err, cache.Joined)
		}
		all.Wait()
		if value, outcome, err := c.GetIf(t.Context(), "k", nil, never, s.load); value != 1 || outcome != cache.Hit || err != nil {
			t.Errorf("after the load: got value %d, outcome %v, error %v; want 1, %v", value, outcome, err, cache.Hit)
		}
		time.Sleep(30 * time.Minute)
		if value, _, err := c.GetIf(t.Context(), "k", nil, never, s.load); value != 1 || err != nil || s.loads.Load() != 1 {
			t.Errorf("the value is due: got %d, %v after %d loads, want it as it is", value, err, s.loads.Load())
		}
		other := func(value int64) bool { return value != 1 }
		if _, _, err := c.GetIf(t.Context(), "k", other, never, s.load); !errors.Is(err, cache.ErrNoLoad) {
			t.Errorf("another value is wanted: got error %v, want %v", err, cache.ErrNoLoad)
		}
	})
}

func TestGetStartsNoLoadAfterContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{refresh: time.Minute, life: time.Hour}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := c.Get(over, "k", nil, s.load); !errors.Is(err, context.Canceled) || s.loads.Load() != 0 {
			t.Errorf("got error %v, %d loads; want %v, none", err, s.loads.Load(), context.Canceled)
		}
		want(t, c, s, 1, cache.Loaded)
		for _, outcome := range []cache.Outcome{cache.Hit, cache.Stale} {
			if value, got, err := c.Get(over, "k", nil, s.load); value != 1 || got != outcome || err != nil {
				t.Errorf("got value %d, outcome %v, error %v; want 1, %v", value, got, err, outcome)
			}
			time.Sleep(2 * time.Minute)
		}
	})
}

func TestPanicOfLoadIsError(t *testing.T) {
	c := cache.New[string](cache.Config[int64]{})
	_, _, err := c.Get(t.Context(), "k", nil, func(context.Context, cache.Last[int64]) (cache.Entry[int64], error) { panic("a secret") })
	if !errors.Is(err, cache.ErrPanic) || strings.Contains(err.Error(), "secret") {
		t.Errorf("got error %v, want %v", err, cache.ErrPanic)
	}
	want(t, c, &source{life: time.Hour}, 1, cache.Loaded)
}

func TestWaitersAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{MaxWaiters: 3})
		s := &source{wait: time.Second, life: time.Hour}
		var all sync.WaitGroup
		var busy atomic.Int64
		for range 10 {
			all.Go(func() {
				if _, _, err := get(t, c, s); errors.Is(err, cache.ErrBusy) {
					busy.Add(1)
				}
			})
		}
		all.Wait()
		if busy.Load() != 7 || s.loads.Load() != 1 {
			t.Errorf("got %d times ErrBusy, %d loads; want 7, 1", busy.Load(), s.loads.Load())
		}
	})
}

// TestValueThatExpiresDuringLoadIsNotReturned: AWS Lambda may freeze the process in the
// middle of a load for hours.
func TestValueThatExpiresDuringLoadIsNotReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var frozen atomic.Int64 // how long the process was frozen
		now := func() time.Time { return time.Now().Add(time.Duration(frozen.Load())) }
		c := cache.New[string](cache.Config[int64]{Now: now})
		loads := 0
		load := func(context.Context, cache.Last[int64]) (cache.Entry[int64], error) {
			loads++
			e := cache.Entry[int64]{Value: int64(loads), Expire: now().Add(time.Hour)}
			if loads == 1 {
				frozen.Add(int64(3 * time.Hour))
			}
			return e, nil
		}
		if value, _, err := c.Get(t.Context(), "k", nil, load); value != 2 || err != nil {
			t.Errorf("got value %d, error %v; want 2", value, err)
		}
		expired := func(context.Context, cache.Last[int64]) (cache.Entry[int64], error) {
			loads++
			return cache.Entry[int64]{Expire: now()}, nil
		}
		loads = 0
		if _, _, err := c.Get(t.Context(), "other", nil, expired); !errors.Is(err, cache.ErrExpired) || loads != 2 {
			t.Errorf("got error %v after %d loads, want %v after 2", err, loads, cache.ErrExpired)
		}
	})
}

// TestClockIsSetBackInBackoff: a failure while the clock is ahead by hours delays the next load by no more
// than the backoff.
func TestClockIsSetBackInBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		for _, has := range []bool{false, true} {
			c := cache.New[string](cache.Config[int64]{Now: now, OnError: func(error, int, bool) cache.Reaction { return cache.Reaction{Backoff: time.Minute} }})
			s := &source{refresh: time.Hour, life: 5 * time.Hour}
			if has {
				want(t, c, s, 1, cache.Loaded)
			}
			s.err = errDown
			ahead.Store(int64(2 * time.Hour))
			for range 2 {
				_, _, _ = get(t, c, s) // the second one is in the backoff
			}
			failed := s.loads.Load()
			s.err = nil
			ahead.Store(0)
			time.Sleep(time.Minute)
			if has {
				time.Sleep(time.Hour) // until the value is due
			}
			if _, _, err := get(t, c, s); err != nil || s.loads.Load() != failed+1 || failed > 2 {
				t.Errorf("a value %v: got error %v, %d loads after %d", has, err, s.loads.Load(), failed)
			}
		}
	})
}

// later returns a time that is after base by one duration on the wall clock, in whole seconds, and by
// another on the monotonic clock. No function of package time returns one.
func later(base time.Time, wall, monotonic time.Duration) time.Time {
	at := base.Add(monotonic)
	*(*uint64)(unsafe.Pointer(&at)) += uint64((wall-monotonic)/time.Second) << 30 // a bit, 33 of seconds, 30 of nanoseconds
	return at
}

// TestClockIsSetBackAfterLoad: a value whose end may be too late is loaded again.
func TestClockIsSetBackAfterLoad(t *testing.T) {
	base := time.Now()
	for _, tt := range []struct {
		name            string
		wall, monotonic time.Duration // since the load
		has             bool
	}{
		{"right", 30 * time.Minute, 30 * time.Minute, true},
		{"before the load", -time.Hour, time.Minute, false},
		{"after it", time.Hour, 2 * time.Hour, false},
		{"after it, past the end", 9 * time.Hour, 11 * time.Hour, false},
		{"corrected", -3 * time.Second, 0, true},
		{"frozen", 2 * time.Hour, time.Minute, true},
		{"frozen past the end", 10 * time.Hour, time.Minute, false},
		{"frozen, then before the load", -time.Hour, 0, false},
	} {
		now := base
		at := later(base, tt.wall, tt.monotonic)
		if at.Sub(base) != tt.monotonic || at.Round(0).Sub(base.Round(0)) != tt.wall {
			t.Fatalf("%s: the time is not the wanted one", tt.name)
		}
		c := cache.New[string](cache.Config[int64]{Now: func() time.Time { return now }})
		var setBack []bool
		load := func(_ context.Context, last cache.Last[int64]) (cache.Entry[int64], error) {
			setBack = append(setBack, last.SetBack)
			return cache.Entry[int64]{Value: int64(len(setBack)), Expire: now.Round(0).Add(10 * time.Hour)}, nil
		}
		_, _, _ = c.Get(t.Context(), "k", nil, load)
		now = at
		if _, _, ok := c.Lookup("k", nil); ok != tt.has {
			t.Errorf("%s: got a value %t, want %t", tt.name, ok, tt.has)
		}
		for range 2 {
			if _, _, err := c.Get(t.Context(), "k", nil, load); err != nil {
				t.Errorf("%s: got error %v", tt.name, err)
			}
		}
		if loads := map[bool]int{true: 1, false: 2}[tt.has]; len(setBack) != loads || setBack[0] || !tt.has && setBack[1] != !strings.HasPrefix(tt.name, "frozen past") {
			t.Errorf("%s: got loads with SetBack %v, want %d", tt.name, setBack, loads)
		}
	}
}

// TestClockIsSetBackDuringLoad: the times of the value may be of the clock as it was before.
func TestClockIsSetBackDuringLoad(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	c := cache.New[string](cache.Config[int64]{Now: func() time.Time { return now }})
	loads := 0
	load := func(context.Context, cache.Last[int64]) (cache.Entry[int64], error) {
		loads++
		e := cache.Entry[int64]{Value: 1, Expire: now.Add(10 * time.Hour)}
		if loads == 1 {
			now = now.Add(-time.Hour)
		}
		return e, nil
	}
	for range 3 {
		_, _, _ = c.Get(t.Context(), "k", nil, load)
	}
	if loads != 2 {
		t.Errorf("got %d loads, want 2", loads)
	}
}

// TestClockIsSetBackInOutage: a value that was not returned is not returned later, when the clock
// shows the time of its load again.
func TestClockIsSetBackInOutage(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	c := cache.New[string](cache.Config[int64]{Now: func() time.Time { return now }})
	fail := false
	load := func(context.Context, cache.Last[int64]) (cache.Entry[int64], error) {
		if fail {
			return cache.Entry[int64]{}, errDown
		}
		return cache.Entry[int64]{Value: 1, Expire: now.Add(10 * time.Hour)}, nil
	}
	_, _, _ = c.Get(t.Context(), "k", nil, load)
	fail = true
	for range 3 {
		now = now.Add(-time.Hour)
		if _, _, err := c.Get(t.Context(), "k", nil, load); !errors.Is(err, errDown) {
			t.Errorf("got error %v, want %v", err, errDown)
		}
		now = now.Add(2 * time.Hour)
	}
}
