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

	"tokenvendor/shared/cache"
)

// source is a loader that counts.
type source struct {
	loads atomic.Int64
	wait  time.Duration
	life  time.Duration
	err   error
}

func (s *source) load(ctx context.Context) (int64, time.Time, error) {
	n := s.loads.Add(1)
	select {
	case <-time.After(s.wait):
	case <-ctx.Done():
		return 0, time.Time{}, ctx.Err()
	}
	if s.life == 0 {
		return n, time.Time{}, s.err
	}
	return n, time.Now().Add(s.life), s.err
}

func TestOneLoadForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{wait: time.Second, life: time.Minute}
		var all sync.WaitGroup
		var joined atomic.Int64
		for range 100 {
			all.Go(func() {
				value, outcome, err := c.Get(t.Context(), "k", nil, s.load)
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
		if _, outcome, _ := c.Get(t.Context(), "k", nil, s.load); outcome != cache.Hit {
			t.Errorf("outcome %v, want a hit", outcome)
		}
	})
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{life: time.Minute}
		for _, step := range []struct {
			sleep time.Duration
			want  int64
		}{{0, 1}, {time.Minute - 1, 1}, {1, 2}, {time.Hour, 3}} {
			time.Sleep(step.sleep)
			if value, _, _ := c.Get(t.Context(), "k", nil, s.load); value != step.want {
				t.Errorf("after %v: value %d, want %d", step.sleep, value, step.want)
			}
		}
	})
}

func TestNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, s := range map[string]*source{
			"no expiry": {},
			"error":     {life: time.Hour, err: errors.New("no")},
		} {
			c := cache.New[string](cache.Config[int64]{})
			for range 3 {
				_, _, _ = c.Get(t.Context(), "k", nil, s.load)
			}
			if s.loads.Load() != 3 {
				t.Errorf("%s: %d loads, want 3", name, s.loads.Load())
			}
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
}

// TestWaiterLeaves: a waiter goes at its own deadline, and the load it started
// serves the others.
func TestWaiterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{})
		s := &source{wait: 3 * time.Second, life: time.Hour}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, _, err := c.Get(short, "k", nil, s.load); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("first waiter: %v, want its deadline", err)
			}
		})
		synctest.Wait()
		if value, outcome, err := c.Get(t.Context(), "k", nil, s.load); value != 1 || outcome != cache.Joined || err != nil {
			t.Errorf("second waiter: %d, %v, %v", value, outcome, err)
		}
		all.Wait()
	})
}

func TestLoadHasItsOwnDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[string](cache.Config[int64]{LoadTimeout: 2 * time.Second})
		s := &source{wait: time.Hour}
		start := time.Now()
		_, _, err := c.Get(t.Context(), "k", nil, s.load)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestNothingStartsTooLate(t *testing.T) {
	c := cache.New[string](cache.Config[int64]{})
	s := &source{life: time.Hour}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Get(over, "k", nil, s.load); !errors.Is(err, context.Canceled) || s.loads.Load() != 0 {
		t.Errorf("error %v, %d loads", err, s.loads.Load())
	}
	_, _, _ = c.Get(t.Context(), "k", nil, s.load)
	if value, outcome, err := c.Get(over, "k", nil, s.load); value != 1 || outcome != cache.Hit || err != nil {
		t.Errorf("what is there is not given: %d, %v, %v", value, outcome, err)
	}
}

func TestPanicInALoad(t *testing.T) {
	c := cache.New[string](cache.Config[int64]{})
	_, _, err := c.Get(t.Context(), "k", nil, func(context.Context) (int64, time.Time, error) { panic("a secret") })
	if !errors.Is(err, cache.ErrPanic) || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
	s := &source{life: time.Hour}
	if value, _, err := c.Get(t.Context(), "k", nil, s.load); value != 1 || err != nil {
		t.Errorf("after the panic: %d, %v", value, err)
	}
}

func TestBound(t *testing.T) {
	c := cache.New[int](cache.Config[int64]{MaxSize: 100, Size: func(int64) int { return 30 }})
	s := &source{life: time.Hour}
	for _, key := range []int{1, 2, 3, 1, 4} { // 4 drives out 2, the least recently used
		_, _, _ = c.Get(t.Context(), key, nil, s.load)
	}
	for _, tt := range []struct {
		key  int
		want cache.Outcome
	}{{1, cache.Hit}, {3, cache.Hit}, {4, cache.Hit}, {2, cache.Loaded}} {
		if _, outcome, _ := c.Get(t.Context(), tt.key, nil, s.load); outcome != tt.want {
			t.Errorf("key %d: %v, want %v", tt.key, outcome, tt.want)
		}
	}
	huge := cache.New[int](cache.Config[int64]{MaxSize: 10, Size: func(int64) int { return 30 }})
	for range 2 {
		_, _, _ = huge.Get(t.Context(), 1, nil, s.load)
	}
	if got := s.loads.Load(); got != 7 {
		t.Errorf("%d loads, want 7: a value over the bound is not kept", got)
	}
}

func BenchmarkHit(b *testing.B) {
	c := cache.New[[32]byte](cache.Config[int64]{})
	s := &source{life: time.Hour}
	var key [32]byte
	ctx := b.Context()
	_, _, _ = c.Get(ctx, key, nil, s.load)
	b.ReportAllocs()
	for b.Loop() {
		_, _, _ = c.Get(ctx, key, nil, s.load)
	}
}
