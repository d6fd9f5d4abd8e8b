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

// source counts its loads, and returns their number as the value.
type source struct {
	loads   atomic.Int64
	wait    time.Duration // the time of a load
	refresh time.Duration // the age at which a value becomes due for a refresh; 0: none
	life    time.Duration // the age at which a value expires; 0: values are not kept
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

// get gets the value of the key "k".
func get(t *testing.T, c *cache.Cache[string, int64], s *source) (int64, cache.Outcome, error) {
	return c.Get(t.Context(), "k", nil, s.load)
}

// want checks what get returns.
func want(t *testing.T, c *cache.Cache[string, int64], s *source, value int64, outcome cache.Outcome) {
	t.Helper()
	if v, o, err := get(t, c, s); v != value || o != outcome || err != nil {
		t.Errorf("got value %d, outcome %v, error %v; want %d, %v", v, o, err, value, outcome)
	}
}

func TestGetSharesOneLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{wait: time.Second, life: time.Minute}
		var all sync.WaitGroup
		var joined atomic.Int64
		for range 100 {
			all.Go(func() {
				value, outcome, err := get(t, c, s)
				if err != nil || value != 1 {
					t.Errorf("got value %d, error %v; want 1", value, err)
				}
				if outcome == cache.Joined {
					joined.Add(1)
				}
			})
		}
		all.Wait()
		if s.loads.Load() != 1 || joined.Load() != 99 {
			t.Errorf("got %d loads, %d joined; want 1, 99", s.loads.Load(), joined.Load())
		}
		want(t, c, s, 1, cache.Hit)
	})
}

func TestGetLoadsAfterExpiry(t *testing.T) {
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

func TestGetKeepsNoErrorsAndNoValuesWithoutExpiry(t *testing.T) {
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
				t.Errorf("%s: got %d loads, want 3", name, s.loads.Load())
			}
		}
	})
}

// TestRefreshBlocksOneCaller proves that a due value is loaded by one caller, and that all
// others get the old value at once.
func TestRefreshBlocksOneCaller(t *testing.T) {
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
			if d := time.Since(start); d != 0 {
				t.Errorf("got the old value after %v, want no delay", d)
			}
		}
		all.Wait()
		want(t, c, s, 2, cache.Hit)
		if n := s.loads.Load(); n != 2 {
			t.Errorf("got %d loads, want 2", n)
		}
	})
}

// TestOutage proves that during an outage of the source an unexpired value is returned, an
// expired one is not, and loads begin only after the backoff.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed []string
		start := time.Now()
		c := cache.New[string](cache.Config[int64]{OnError: func(_ error, failures int, cached bool) cache.Reaction {
			failed = append(failed, fmt.Sprint(time.Since(start), failures, cached))
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
				t.Fatalf("after %v: got value %d, error %v; want %v", age, value, err, errDown)
			case age < 200*time.Second && (err != nil || value != 1 || (outcome == cache.Stale) != (age >= 80*time.Second)):
				t.Fatalf("after %v: got value %d, outcome %v, error %v; want value 1, stale from 1m20s", age, value, outcome, err)
			}
		}
		if got, want := strings.Join(failed, ", "), "1m20s 1 true, 1m50s 2 true, 2m50s 3 true, 4m50s 4 true"; got != want {
			t.Errorf("got failures at %s, want %s", got, want)
		}
		s.err = nil
		var backoff *cache.BackoffError
		if _, _, err := get(t, c, s); !errors.As(err, &backoff) || backoff.Until.Sub(start) != 530*time.Second {
			t.Errorf("got error %v, want a BackoffError until 8m50s", err)
		}
		time.Sleep(130 * time.Second)
		want(t, c, s, 6, cache.Loaded)
		want(t, c, s, 6, cache.Hit)
	})
}

// TestReactionKeepShortensLife proves that a failed load can shorten the life of an old
// value or drop it.
func TestReactionKeepShortensLife(t *testing.T) {
	for _, tt := range []struct {
		name  string
		keep  time.Duration
		until time.Duration
	}{{"zero", 0, time.Hour}, {"shorter", time.Minute, 11 * time.Minute}, {"longer", 10 * time.Hour, time.Hour}, {"dropped", -1, 10 * time.Minute}} {
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
				t.Errorf("%s: got a value for %v, want %v", tt.name, age, tt.until)
			}
		})
	}
}

func TestLoadGetsLastValue(t *testing.T) {
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
		if got, want := strings.Join(seen, ", "), "0 false, 1 true, 2 false, 3 false"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

func TestGetLoadsIfValueIsNotAccepted(t *testing.T) {
	c := cache.New[string](cache.Config[int64]{})
	s := &source{life: time.Hour}
	atLeast := func(n int64) func(int64) bool { return func(v int64) bool { return v >= n } }
	for i, want := range []int64{1, 1, 2, 2} {
		value, _, _ := c.Get(t.Context(), "k", atLeast(want), s.load)
		if value != want {
			t.Errorf("call %d: got value %d, want %d", i, value, want)
		}
	}
	// Callers that accept the old value still get it.
	s.err = errDown
	if _, _, err := c.Get(t.Context(), "k", atLeast(3), s.load); !errors.Is(err, errDown) {
		t.Errorf("got error %v, want %v", err, errDown)
	}
	want(t, c, s, 2, cache.Hit)
}

func TestRemove(t *testing.T) {
	c := cache.New[string](cache.Config[int64]{})
	s := &source{life: time.Hour}
	want(t, c, s, 1, cache.Loaded)
	c.Remove("")
	want(t, c, s, 2, cache.Loaded)
}

// evenOrOdd is the group of a value, or "failed".
func evenOrOdd(v int64, err error) string {
	if err != nil {
		return "failed"
	}
	return []string{"even", "odd"}[v%2]
}

func TestGroups(t *testing.T) {
	c := cache.New[string](cache.Config[int64]{Group: evenOrOdd, MaxGroup: 8, OnError: func(error, int, bool) cache.Reaction {
		return cache.Reaction{Backoff: time.Hour}
	}})
	odd, even, down := &source{life: time.Hour}, &source{life: time.Hour}, &source{err: errDown}
	even.loads.Store(1)
	check := func(step, key string, s *source, ok bool) {
		t.Helper()
		loads := s.loads.Load()
		_, _, err := c.Get(t.Context(), key, nil, s.load)
		if hit := s.loads.Load() == loads; hit != ok {
			t.Errorf("%s: key %s: got no load: %t, want %t, error %v", step, key, hit, ok, err)
		}
		s.loads.Store(loads)
	}
	check("first", "odd", odd, false)
	check("first", "even", even, false)
	check("first", "down", down, false)
	c.Remove("odd")
	check("odd is removed", "even", even, true)
	check("odd is removed", "odd", odd, false)
	seen := 0
	c.Expedite("failed", func(v int64, err error) bool {
		if seen++; v != 0 || !errors.Is(err, errDown) {
			t.Errorf("got value %d, error %v of the group of failed keys", v, err)
		}
		return true
	})
	check("failed is expedited", "down", down, false)
	check("failed is expedited", "odd", odd, true)
	c.Expedite("odd", func(int64, error) bool { seen++; return true })
	check("odd is expedited", "even", even, true)
	check("odd is expedited", "odd", odd, false)
	if seen != 2 {
		t.Errorf("match was called %d times, want once for each of two groups", seen)
	}
}

// TestGetNeverReturnsExpiredValue runs random sequences of calls, with random expiries,
// refreshes, outages, freezes and demands of the caller.
func TestGetNeverReturnsExpiredValue(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	sequences := 2000
	if testing.Short() {
		sequences = 100
	}
	for range sequences {
		now := time.Unix(1_000_000, 0)
		pass := func(most time.Duration) { now = now.Add(time.Duration(random.Int64N(int64(most)))) }
		c := cache.New[string](cache.Config[time.Time]{
			Now: func() time.Time { return now },
			OnError: func(error, int, bool) cache.Reaction {
				return cache.Reaction{Backoff: time.Duration(random.IntN(40)) * time.Second}
			},
		})
		load := func(context.Context, cache.Last[time.Time]) (cache.Entry[time.Time], error) {
			expire := now.Add(time.Duration(random.IntN(300)) * time.Second)
			refresh := now.Add(time.Duration(random.IntN(300)) * time.Second)
			pass(20 * time.Second)
			if random.IntN(20) == 0 {
				pass(3 * time.Hour) // frozen
			}
			if random.IntN(3) == 0 {
				return cache.Entry[time.Time]{}, errDown
			}
			return cache.Entry[time.Time]{Value: expire, Refresh: refresh, Expire: expire}, nil
		}
		for range 50 {
			pass(time.Minute)
			if random.IntN(20) == 0 {
				pass(3 * time.Hour)
			}
			least := now.Add(time.Duration(random.IntN(60)) * time.Second)
			accept := func(v time.Time) bool { return v.After(least) }
			if random.IntN(2) == 0 {
				accept = nil
			}
			expire, _, err := c.Get(t.Context(), "k", accept, load)
			if err == nil && !now.Before(expire) {
				t.Fatalf("seed %d: got a value %v after its expiry", seed, now.Sub(expire))
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
