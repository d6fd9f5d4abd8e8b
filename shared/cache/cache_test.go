package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/cache"
)

var errDown = errors.New("down")

// source is a loader that counts.
type source struct {
	loads   atomic.Int64
	wait    time.Duration
	refresh time.Duration // 0: never early
	life    time.Duration // 0: not kept
	err     error
}

func (s *source) load(ctx context.Context, _ cache.Last[int64]) (e cache.Entry[int64], err error) {
	e.Value = s.loads.Add(1)
	now := time.Now()
	select {
	case <-time.After(s.wait):
	case <-ctx.Done():
		return e, ctx.Err()
	}
	if s.refresh != 0 {
		e.Refresh = now.Add(s.refresh)
	}
	if s.life != 0 {
		e.Expire = now.Add(s.life)
	}
	return e, s.err
}

// get asks for the key "k".
func get(t *testing.T, c *cache.Cache[string, int64], s *source) (int64, cache.Outcome, error) {
	return c.Get(t.Context(), "k", nil, s.load)
}

func want(t *testing.T, c *cache.Cache[string, int64], s *source, value int64, outcome cache.Outcome) {
	t.Helper()
	if v, o, err := get(t, c, s); v != value || o != outcome || err != nil {
		t.Errorf("value %d, outcome %v, error %v; want %d, %v", v, o, err, value, outcome)
	}
}

func TestOneLoadForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{wait: time.Second, life: time.Minute}
		var all sync.WaitGroup
		var joined atomic.Int64
		for range 100 {
			all.Go(func() {
				value, outcome, err := get(t, c, s)
				if err != nil || value != 1 {
					t.Errorf("got %d, %v", value, err)
				}
				if outcome == cache.Joined {
					joined.Add(1)
				}
			})
		}
		all.Wait()
		if s.loads.Load() != 1 || joined.Load() != 99 {
			t.Errorf("%d loads, %d joined; want 1, 99", s.loads.Load(), joined.Load())
		}
		want(t, c, s, 1, cache.Hit)
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{life: time.Minute}
		for _, step := range []struct {
			sleep   time.Duration
			want    int64
			outcome cache.Outcome
		}{{0, 1, cache.Loaded}, {time.Minute - 1, 1, cache.Hit}, {1, 2, cache.Loaded}, {time.Hour, 3, cache.Loaded}} {
			time.Sleep(step.sleep)
			want(t, c, s, step.want, step.outcome)
		}
	})
}

func TestNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, s := range map[string]*source{
			"no expiry": {},
			"error":     {life: time.Hour, err: errDown},
		} {
			c := cache.New[string](cache.Config[int64]{})
			for range 3 {
				_, _, _ = get(t, c, s)
			}
			if s.loads.Load() != 3 {
				t.Errorf("%s: %d loads, want 3", name, s.loads.Load())
			}
		}
	})
}

// TestRefresh: in the window one caller waits for the newer value, the others get
// the old one meanwhile.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{wait: time.Second, refresh: 80 * time.Second, life: 100 * time.Second}
		want(t, c, s, 1, cache.Loaded)
		time.Sleep(79*time.Second - 1)
		want(t, c, s, 1, cache.Hit)
		time.Sleep(time.Nanosecond)
		var all sync.WaitGroup
		all.Go(func() { want(t, c, s, 2, cache.Refreshed) })
		synctest.Wait()
		for range 50 {
			start := time.Now()
			want(t, c, s, 1, cache.Hit)
			if time.Since(start) != 0 {
				t.Error("had to wait although there was a value")
			}
		}
		all.Wait()
		want(t, c, s, 2, cache.Hit)
		if n := s.loads.Load(); n != 2 {
			t.Errorf("%d loads, want 2", n)
		}
	})
}

// TestSourceDown: an unexpired value keeps serving, an expired one never; the
// source is asked as often as the reactions say.
func TestSourceDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		start := time.Now()
		c := cache.New[string](cache.Config[int64]{OnError: func(_ error, failures int, warm bool) cache.Reaction {
			asked = append(asked, fmt.Sprint(time.Since(start), failures, warm))
			return cache.Reaction{Backoff: 30 * time.Second << (failures - 1)}
		}})
		s := &source{refresh: 80 * time.Second, life: 200 * time.Second}
		want(t, c, s, 1, cache.Loaded)
		s.err = errDown
		for ; time.Since(start) < 400*time.Second; time.Sleep(time.Second) {
			value, outcome, err := get(t, c, s)
			age := time.Since(start)
			switch {
			case age >= 200*time.Second && !errors.Is(err, errDown):
				t.Fatalf("after %v: %d, %v", age, value, err)
			case age < 200*time.Second && (err != nil || value != 1 || (outcome == cache.Stale) != (age >= 80*time.Second)):
				t.Fatalf("after %v: %d, outcome %v, %v", age, value, outcome, err)
			}
		}
		if got := strings.Join(asked, ", "); got != "1m20s 1 true, 1m50s 2 true, 2m50s 3 true, 4m50s 4 true" {
			t.Error("asked at", got)
		}
		s.err = nil
		var backoff *cache.BackoffError
		if _, _, err := get(t, c, s); !errors.As(err, &backoff) || backoff.Until.Sub(start) != 530*time.Second {
			t.Errorf("error %v doesn't say until when", err)
		}
		time.Sleep(130 * time.Second)
		want(t, c, s, 6, cache.Loaded)
		want(t, c, s, 6, cache.Hit)
	})
}

// TestReactions: a failure may shorten the life of an old value, or end it.
func TestReactions(t *testing.T) {
	for _, tt := range []struct {
		name  string
		keep  time.Duration
		until time.Duration
	}{{"no word", 0, time.Hour}, {"shorter", time.Minute, 11 * time.Minute}, {"longer", 10 * time.Hour, time.Hour}, {"dropped", -1, 10 * time.Minute}} {
		synctest.Test(t, func(t *testing.T) {
			c := cache.New[string](cache.Config[int64]{OnError: func(error, int, bool) cache.Reaction {
				return cache.Reaction{Keep: tt.keep}
			}})
			s := &source{refresh: 10 * time.Minute, life: time.Hour}
			start := time.Now()
			want(t, c, s, 1, cache.Loaded)
			s.err = errDown
			time.Sleep(10 * time.Minute)
			for ; ; time.Sleep(time.Second) {
				if _, _, err := get(t, c, s); err != nil {
					break
				}
			}
			if age := time.Since(start); age != tt.until {
				t.Errorf("%s: served for %v, want %v", tt.name, age, tt.until)
			}
		})
	}
}

// TestLoadKnowsWhatThereIs: the old value, and whether it still serves.
func TestLoadKnowsWhatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		var seen []string
		load := func(_ context.Context, last cache.Last[int64]) (cache.Entry[int64], error) {
			seen = append(seen, fmt.Sprint(last.Value, last.Serves))
			now := time.Now()
			return cache.Entry[int64]{Value: last.Value + 1, Refresh: now.Add(time.Minute), Expire: now.Add(time.Hour)}, nil
		}
		for _, pause := range []time.Duration{0, time.Minute, time.Hour} {
			time.Sleep(pause)
			_, _, _ = c.Get(t.Context(), "k", nil, load)
		}
		_, _, _ = c.Get(t.Context(), "k", func(int64) bool { return false }, load)
		if got := strings.Join(seen, ", "); got != "0 false, 1 true, 2 false, 3 false" {
			t.Error(got)
		}
	})
}

func TestNotGoodEnough(t *testing.T) {
	c := cache.New[string](cache.Config[int64]{})
	s := &source{life: time.Hour}
	atLeast := func(n int64) func(int64) bool { return func(v int64) bool { return v >= n } }
	for i, want := range []int64{1, 1, 2, 2} {
		value, _, _ := c.Get(t.Context(), "k", atLeast(want), s.load)
		if value != want {
			t.Errorf("call %d: value %d, want %d", i, value, want)
		}
	}
	// What is not good for one stays for the others.
	s.err = errDown
	if _, _, err := c.Get(t.Context(), "k", atLeast(3), s.load); !errors.Is(err, errDown) {
		t.Errorf("error %v", err)
	}
	want(t, c, s, 2, cache.Hit)
}

// TestWaiterLeaves: a waiter goes at its own deadline, and the load it started
// serves the others.
func TestWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{wait: 3 * time.Second, refresh: 30 * time.Minute, life: time.Hour}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, _, err := c.Get(short, "k", nil, s.load); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("first waiter: %v, want its deadline", err)
			}
		})
		synctest.Wait()
		want(t, c, s, 1, cache.Joined)
		all.Wait()
		// One that refreshes leaves with the old value.
		time.Sleep(31 * time.Minute)
		short, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if value, outcome, err := c.Get(short, "k", nil, s.load); value != 1 || outcome != cache.Stale || err != nil {
			t.Errorf("%d, %v, %v", value, outcome, err)
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
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestNothingStartsTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{refresh: time.Minute, life: time.Hour}
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := c.Get(over, "k", nil, s.load); !errors.Is(err, context.Canceled) || s.loads.Load() != 0 {
			t.Errorf("error %v, %d loads", err, s.loads.Load())
		}
		want(t, c, s, 1, cache.Loaded)
		for _, outcome := range []cache.Outcome{cache.Hit, cache.Stale} {
			if value, got, err := c.Get(over, "k", nil, s.load); value != 1 || got != outcome || err != nil {
				t.Errorf("what is there is not given: %d, %v, %v", value, got, err)
			}
			time.Sleep(2 * time.Minute)
		}
	})
}

func TestPanicInALoad(t *testing.T) {
	c := cache.New[string](cache.Config[int64]{})
	_, _, err := c.Get(t.Context(), "k", nil, func(context.Context, cache.Last[int64]) (cache.Entry[int64], error) { panic("a secret") })
	if !errors.Is(err, cache.ErrPanic) || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
	want(t, c, &source{life: time.Hour}, 1, cache.Loaded)
}

func TestTooManyWait(t *testing.T) {
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
			t.Errorf("%d turned away, %d loads; want 7, 1", busy.Load(), s.loads.Load())
		}
	})
}

// TestFrozenLoad: a process may be frozen in the middle of a load and thaw hours
// later. Nobody gets what is over by then.
func TestFrozenLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var frozen atomic.Int64 // what the wall clock is ahead of the process
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
			t.Errorf("got value %d, %v", value, err)
		}
		always := func(context.Context, cache.Last[int64]) (cache.Entry[int64], error) {
			loads++
			return cache.Entry[int64]{Expire: now()}, nil
		}
		loads = 0
		if _, _, err := c.Get(t.Context(), "other", nil, always); !errors.Is(err, cache.ErrExpired) || loads != 2 {
			t.Errorf("%v after %d loads", err, loads)
		}
	})
}

func TestBound(t *testing.T) {
	for name, cfg := range map[string]cache.Config[int64]{
		"bytes":   {MaxSize: 100, Size: func(int64) int { return 30 }},
		"entries": {MaxEntries: 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := cache.New[int](cfg)
			s := &source{life: time.Hour}
			for _, key := range []int{1, 2, 3, 1, 4} { // 4 drives out 2, the least recently used
				_, _, _ = c.Get(t.Context(), key, nil, s.load)
				time.Sleep(time.Second)
			}
			for _, tt := range []struct {
				key  int
				want cache.Outcome
			}{{1, cache.Hit}, {3, cache.Hit}, {4, cache.Hit}, {2, cache.Loaded}} {
				if _, outcome, _ := c.Get(t.Context(), tt.key, nil, s.load); outcome != tt.want {
					t.Errorf("%s: key %d: %v, want %v", name, tt.key, outcome, tt.want)
				}
			}
		})
	}
	s := &source{life: time.Hour}
	huge := cache.New[string](cache.Config[int64]{MaxSize: 10, Size: func(int64) int { return 30 }})
	for range 2 {
		_, _, _ = get(t, huge, s)
	}
	if got := s.loads.Load(); got != 2 {
		t.Errorf("%d loads, want 2: a value over the bound is not kept", got)
	}
}

// TestGroup: one group's values don't drive out another's.
func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[int](cache.Config[int64]{MaxGroup: 3, Group: func(v int64) string { return fmt.Sprint(v > 1) }})
		s := &source{life: time.Hour}
		for key := range 10 { // the first is the other group's
			_, _, _ = c.Get(t.Context(), key, nil, s.load)
			time.Sleep(time.Second)
		}
		for key := range 10 {
			want := cache.Loaded
			if key == 0 || key > 6 {
				want = cache.Hit
			}
			if _, outcome, _ := c.Get(t.Context(), key, func(int64) bool { return true }, func(context.Context, cache.Last[int64]) (cache.Entry[int64], error) {
				return cache.Entry[int64]{}, errDown
			}); (outcome == cache.Hit) != (want == cache.Hit) {
				t.Errorf("key %d: %v, want %v", key, outcome, want)
			}
		}
	})
}

// TestRememberedErrorsAreBounded: nobody fills the memory with names that don't
// exist.
func TestRememberedErrorsAreBounded(t *testing.T) {
	c := cache.New[int](cache.Config[int64]{MaxEntries: 50, OnError: func(error, int, bool) cache.Reaction {
		return cache.Reaction{Backoff: time.Hour}
	}})
	s := &source{err: errDown}
	good := &source{life: time.Hour}
	for i := range 1000 {
		_, _, _ = c.Get(t.Context(), i, nil, s.load)
		_, _, _ = c.Get(t.Context(), i, nil, s.load)
	}
	if n := s.loads.Load(); n != 1000 {
		t.Errorf("%d loads, want 1000: errors are remembered", n)
	}
	before := 0
	for i := range 1000 {
		if _, _, err := c.Get(t.Context(), i, nil, good.load); err != nil {
			before++
		}
	}
	if before > 50 {
		t.Errorf("%d errors were remembered, want at most 50", before)
	}
}

func TestRemove(t *testing.T) {
	c := cache.New[string](cache.Config[int64]{})
	s := &source{life: time.Hour}
	want(t, c, s, 1, cache.Loaded)
	c.Remove(func(_ string, v int64) bool { return v == 7 })
	want(t, c, s, 1, cache.Hit)
	c.Remove(func(_ string, v int64) bool { return v == 1 })
	want(t, c, s, 2, cache.Loaded)
}

// TestNeverPastTheEnd plays random histories: lives, refresh points, outages,
// freezes in and between loads, wanted values. No value may leave past its end.
func TestNeverPastTheEnd(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	histories := 2000
	if testing.Short() {
		histories = 100
	}
	for range histories {
		now := time.Unix(1_000_000, 0)
		pass := func(most time.Duration) { now = now.Add(time.Duration(random.Int64N(int64(most)))) }
		c := cache.New[string](cache.Config[time.Time]{
			Now: func() time.Time { return now },
			OnError: func(error, int, bool) cache.Reaction {
				return cache.Reaction{Backoff: time.Duration(random.IntN(40)) * time.Second}
			},
		})
		load := func(context.Context, cache.Last[time.Time]) (cache.Entry[time.Time], error) {
			end := now.Add(time.Duration(random.IntN(300)) * time.Second)
			refresh := now.Add(time.Duration(random.IntN(300)) * time.Second)
			pass(20 * time.Second)
			if random.IntN(20) == 0 {
				pass(3 * time.Hour) // frozen
			}
			if random.IntN(3) == 0 {
				return cache.Entry[time.Time]{}, errDown
			}
			return cache.Entry[time.Time]{Value: end, Refresh: refresh, Expire: end}, nil
		}
		for range 50 {
			pass(time.Minute)
			if random.IntN(20) == 0 {
				pass(3 * time.Hour)
			}
			least := now.Add(time.Duration(random.IntN(60)) * time.Second)
			good := func(v time.Time) bool { return v.After(least) }
			if random.IntN(2) == 0 {
				good = nil
			}
			end, _, err := c.Get(t.Context(), "k", good, load)
			if err == nil && !now.Before(end) {
				t.Fatalf("seed %d: a value left %v past its end", seed, now.Sub(end))
			}
		}
	}
}

func BenchmarkHit(b *testing.B) {
	c := cache.New[[32]byte](cache.Config[int64]{})
	s := &source{life: time.Hour}
	var key [32]byte
	ctx := b.Context()
	_, _, _ = c.Get(ctx, key, nil, s.load)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _, _ = c.Get(ctx, key, nil, s.load)
		}
	})
}
