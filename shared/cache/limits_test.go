package cache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/cache"
)

func TestLeastRecentlyUsedIsEvicted(t *testing.T) {
	for name, cfg := range map[string]cache.Config[int64]{
		"bytes":   {MaxSize: 100_000, Size: func(int64) int { return 30_000 }},
		"entries": {MaxEntries: 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := cache.New[int](cfg)
			s := &source{life: time.Hour}
			for _, key := range []int{1, 2, 3, 1, 4} { // 2 is the least recently used when 4 is added
				_, _, _ = c.Get(t.Context(), key, nil, s.load)
				time.Sleep(time.Second)
			}
			for _, tt := range []struct {
				key  int
				want cache.Outcome
			}{{1, cache.Hit}, {3, cache.Hit}, {4, cache.Hit}, {2, cache.Loaded}} {
				if _, outcome, _ := c.Get(t.Context(), tt.key, nil, s.load); outcome != tt.want {
					t.Errorf("%s: key %d: got outcome %v, want %v", name, tt.key, outcome, tt.want)
				}
			}
		})
	}
}

func TestValueLargerThanMaxSizeIsNotKept(t *testing.T) {
	s := &source{life: time.Hour}
	c := cache.New[string](cache.Config[int64]{MaxSize: 10_000, Size: func(int64) int { return 30_000 }})
	for range 2 {
		_, _, _ = get(t, c, s)
	}
	if got := s.loads.Load(); got != 2 {
		t.Errorf("got %d loads, want 2", got)
	}
}

func TestGroupDisplacesOnlyItsOwnValues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New[int](cache.Config[int64]{MaxGroup: 3, Group: func(v int64, _ error) string { return fmt.Sprint(v > 1) }})
		s := &source{life: time.Hour}
		for key := range 10 { // only the first value is of the other group
			_, _, _ = c.Get(t.Context(), key, nil, s.load)
			time.Sleep(time.Second)
		}
		fail := func(context.Context, cache.Last[int64]) (cache.Entry[int64], error) {
			return cache.Entry[int64]{}, errDown
		}
		for key := range 10 {
			_, _, err := c.Get(t.Context(), key, nil, fail)
			if got, want := err == nil, key == 0 || key > 6; got != want {
				t.Errorf("key %d: got kept %t, want %t", key, got, want)
			}
		}
	})
}

// TestKeysInBackoffAreLimited proves that requests for unknown names cannot exhaust the
// memory.
func TestKeysInBackoffAreLimited(t *testing.T) {
	c := cache.New[int](cache.Config[int64]{MaxEntries: 50, OnError: func(error, int, bool) cache.Reaction {
		return cache.Reaction{Backoff: time.Hour}
	}})
	down := &source{err: errDown}
	up := &source{life: time.Hour}
	for i := range 1000 {
		_, _, _ = c.Get(t.Context(), i, nil, down.load)
		_, _, _ = c.Get(t.Context(), i, nil, down.load)
	}
	if n := down.loads.Load(); n != 1000 {
		t.Errorf("got %d loads, want 1000, one for each key", n)
	}
	backoffs := 0
	for i := range 1000 {
		if _, _, err := c.Get(t.Context(), i, nil, up.load); err != nil {
			backoffs++
		}
	}
	if backoffs > 50 {
		t.Errorf("got %d keys in backoff, want at most 50", backoffs)
	}
}

// TestKeysInUseAreNotEvicted: of many keys, those of the last minute are kept.
func TestKeysInUseAreNotEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all, inUse = 10_000, 1000
		c := cache.New[int](cache.Config[int64]{MaxEntries: all})
		s := &source{life: 24 * time.Hour}
		get := func(from, to int) {
			for key := from; key < to; key++ {
				_, _, _ = c.Get(t.Context(), key, nil, s.load)
			}
		}
		get(0, all)
		time.Sleep(time.Minute)
		get(0, inUse)
		time.Sleep(time.Minute)
		get(all, all+inUse)
		loads := s.loads.Load()
		if get(0, inUse); s.loads.Load() != loads {
			t.Errorf("%d of %d keys in use were evicted", s.loads.Load()-loads, inUse)
		}
	})
}

// TestGroupOfFailuresIsBounded: failures of one group displace one another and no values.
func TestGroupOfFailuresIsBounded(t *testing.T) {
	c := cache.New[int](cache.Config[int64]{Group: func(int64, error) string { return "one" }, MaxGroup: 5, OnError: func(error, int, bool) cache.Reaction {
		return cache.Reaction{Backoff: time.Hour}
	}})
	up, down := &source{life: time.Hour}, &source{err: errDown}
	for key := range 5 {
		_, _, _ = c.Get(t.Context(), key, nil, up.load)
	}
	for key := range 100 {
		_, _, _ = c.Get(t.Context(), 1000+key, nil, down.load)
	}
	keys := 0
	c.Expedite("one", func(int64, error) bool { keys++; return false })
	if keys != 10 {
		t.Errorf("the group has %d keys, want 5 values and 5 failures", keys)
	}
}

// BenchmarkEviction loads a new key into a full cache.
func BenchmarkEviction(b *testing.B) {
	for _, n := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := cache.New[int](cache.Config[int64]{MaxEntries: n, MaxGroup: 64, Group: func(v int64, _ error) string { return fmt.Sprint(v / 64) }})
			s := &source{life: time.Hour}
			key := 0
			add := func() {
				_, _, _ = c.Get(b.Context(), key, nil, s.load)
				key++
			}
			for range n {
				add()
			}
			for b.Loop() {
				add()
			}
		})
	}
}

func TestMakeRoom(t *testing.T) {
	m := make(map[int]bool)
	add := func(key int, guards bool) {
		cache.MakeRoom(m, 100, func(guards bool) bool { return guards })
		m[key] = guards
	}
	for key := range 99 {
		add(key, true)
	}
	for key := 1000; key < 2000; key++ {
		add(key, false)
	}
	kept := 0
	for _, guards := range m {
		if guards {
			kept++
		}
	}
	if kept != 99 {
		t.Errorf("got %d of 99 entries that must be kept", kept)
	}
	if len(m) > 300 { // each entry that may go is found by chance
		t.Errorf("got %d entries, want about 100", len(m))
	}
	for key := range 1000 {
		cache.MakeRoom(m, 100, nil)
		m[key+5000] = false
	}
	if before := len(m); before > 300 {
		t.Errorf("got %d entries, want no more than before", before)
	}
}
