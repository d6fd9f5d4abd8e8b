package cache_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tokenvendor/shared/cache"
)

// A value is loaded once and shared until it expires.
func Example() {
	noon := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	now := noon
	c := cache.New[string](cache.Config[string]{
		Now: func() time.Time { return now },
	})
	loads := 0
	load := func(context.Context, cache.Last[string]) (cache.Entry[string], error) {
		loads++
		return cache.Entry[string]{Value: fmt.Sprint("token ", loads), Expire: now.Add(time.Hour)}, nil
	}
	for _, age := range []time.Duration{0, time.Minute, 59 * time.Minute, time.Hour} {
		now = noon.Add(age)
		token, outcome, err := c.Get(context.Background(), "billing", nil, load)
		fmt.Println(now.Format(time.TimeOnly), token, outcome == cache.Hit, err)
	}
	// Output:
	// 12:00:00 token 1 false <nil>
	// 12:01:00 token 1 true <nil>
	// 12:59:00 token 1 true <nil>
	// 13:00:00 token 2 false <nil>
}

// A value with a Refresh time is replaced before it expires, so that no caller has to wait
// at its expiry.
func ExampleEntry_refresh() {
	noon := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	now := noon
	c := cache.New[string](cache.Config[string]{
		Now: func() time.Time { return now },
	})
	load := func(_ context.Context, last cache.Last[string]) (cache.Entry[string], error) {
		fmt.Printf("%s load, usable value: %t\n", now.Format(time.TimeOnly), last.Serves)
		return cache.Entry[string]{
			Value:   "token of " + now.Format(time.TimeOnly),
			Refresh: now.Add(48 * time.Minute),
			Expire:  now.Add(time.Hour),
		}, nil
	}
	for _, age := range []time.Duration{0, 47 * time.Minute, 48 * time.Minute} {
		now = noon.Add(age)
		token, outcome, err := c.Get(context.Background(), "billing", nil, load)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(now.Format(time.TimeOnly), token, outcome == cache.Refreshed)
	}
	// Output:
	// 12:00:00 load, usable value: false
	// 12:00:00 token of 12:00:00 false
	// 12:47:00 token of 12:00:00 false
	// 12:48:00 load, usable value: true
	// 12:48:00 token of 12:48:00 true
}

// While loads fail, callers get the old value until it expires. OnError decides when the
// next load may begin: here two minutes after the first failure, then four minutes, and so on.
func ExampleReaction() {
	noon := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	now := noon
	c := cache.New[string](cache.Config[string]{
		Now: func() time.Time { return now },
		OnError: func(err error, failures int, _ bool) cache.Reaction {
			fmt.Printf("%s failure %d: %v\n", now.Format(time.TimeOnly), failures, err)
			return cache.Reaction{Backoff: time.Minute << failures}
		},
	})
	load := func(context.Context, cache.Last[string]) (cache.Entry[string], error) {
		if now.After(noon) {
			return cache.Entry[string]{}, errors.New("the server is down")
		}
		return cache.Entry[string]{Value: "token", Refresh: now.Add(57 * time.Minute), Expire: now.Add(time.Hour)}, nil
	}
	for _, minute := range []time.Duration{0, 57, 58, 59, 60} {
		now = noon.Add(minute * time.Minute)
		token, outcome, err := c.Get(context.Background(), "billing", nil, load)
		if backoff, ok := errors.AsType[*cache.BackoffError](err); ok {
			fmt.Println(now.Format(time.TimeOnly), "no load until", backoff.Until.Format(time.TimeOnly))
			continue
		}
		fmt.Printf("%s %q, stale: %t\n", now.Format(time.TimeOnly), token, outcome == cache.Stale)
	}
	// Output:
	// 12:00:00 "token", stale: false
	// 12:57:00 failure 1: the server is down
	// 12:57:00 "token", stale: true
	// 12:58:00 "token", stale: true
	// 12:59:00 failure 2: the server is down
	// 12:59:00 "token", stale: true
	// 13:00:00 no load until 13:03:00
}
