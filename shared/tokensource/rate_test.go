package tokensource

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// TestLimitsOfRates: the default has the numbers that protect SAP, and those of any other rate
// are in proportion. They fulfil the sum of [rate].
func TestLimitsOfRates(t *testing.T) {
	const ms = time.Millisecond
	for r, want := range map[rate][3]limit{
		registry.DefaultRate: {{10, 100 * ms}, {20, 125 * ms}, {65, time.Second * 2 / 13}},
		0.5:                  {{1, 2 * time.Second}, {1, 2500 * ms}, {3, time.Second * 40 / 13}},
		100:                  {{100, 10 * ms}, {200, 12500 * time.Microsecond}, {650, time.Second / 65}},
	} {
		if got := [3]limit{r.environment(), r.fleet(), r.alone(1)}; got != want {
			t.Errorf("rate %v: got %v, want %v", r, got, want)
		}
	}
	for _, r := range []rate{0.5, 0.7, 1, 3.3, 10, 77, 100, 1000} {
		per := func(l limit) float64 { return float64(time.Second) / float64(l.interval) }
		sum := float64(r.fleet().burst) + per(r.fleet())*62 + 1.2*per(r.alone(1))*aloneTime.Seconds()
		if sum >= 60*float64(r) {
			t.Errorf("rate %v: %v exchanges in a minute", r, sum)
		}
	}
	if n := rate(registry.DefaultRate).lot(); n != 4 {
		t.Errorf("lots of %d by default, want 4", n)
	}
}

// serve lets every environment make exchanges for n clients, one for each, with so many requests
// at a time. It returns how long that takes.
func serve(all []*member, n, requests int) time.Duration {
	begun := time.Now()
	var next atomic.Int64
	var wait sync.WaitGroup
	for _, m := range slices.Repeat(all, requests) {
		wait.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				for m.exchange(fmt.Sprint("client-", i)) != nil {
					time.Sleep(time.Duration(rand.IntN(int(time.Second))))
				}
			}
		})
	}
	wait.Wait()
	return time.Since(begun)
}

// TestNewClientsOfFastServer: a server that bears ten times as much as by default serves 1000
// new clients in the time of 100 by default, and never gets more than it bears.
func TestNewClientsOfFastServer(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector")
	}
	for _, tt := range []struct {
		environments, requests int
		table                  bool
		latency                time.Duration
	}{
		{1, 40, false, 0},
		{1, 40, true, 0},
		{1, 40, true, 15 * time.Millisecond},
		{10, 4, true, 5 * time.Millisecond},
		{10, 4, true, 15 * time.Millisecond},
		{40, 1, true, 5 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(tt.environments, " environments, table ", tt.table, " ", tt.latency), func(t *testing.T) {
			t.Parallel()
			took := make(map[float64]time.Duration)
			for _, r := range []float64{registry.DefaultRate, 100} {
				runCrowd(t, func(c *crowd) {
					c.rate = func(string) float64 { return r }
					c.table.Limit()
					all := c.joinAll(tt.environments, tt.table, 0)
					c.table.Misbehave(late(tt.latency))
					took[r] = serve(all, int(10*r), tt.requests)
					second := c.mostIn(time.Second)
					t.Logf("rate %v: %v clients in %v, %d in the busiest second, %d calls of the table, %d throttled, %v", r, 10*r, took[r], second, c.table.Calls(), c.table.Throttled(), c.counts)
					if burst := 2 * int(r); second > burst+int(r) || c.table.Throttled() > 0 {
						t.Errorf("%d exchanges in a second, %d calls of the table were throttled", second, c.table.Throttled())
					}
				})
			}
			if took[100] > took[registry.DefaultRate]*3/2 {
				t.Errorf("1000 clients of a fast server and 100 by default took %v", took)
			}
		})
	}
}

// TestRateAtAnyLatency is [TestBudgetAtAnyLatency] for other rates.
func TestRateAtAnyLatency(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector")
	}
	for _, r := range []float64{0.5, 50} {
		for name, tt := range map[string]struct {
			before, then fleettest.Fault
			share        float64 // of 60 times the rate, at least
		}{
			"15 ms":      {then: late(15 * time.Millisecond), share: 0.7},
			"gone":       {then: fleettest.Down, share: 0.5},
			"comes back": {before: fleettest.Down, share: 0.6},
		} {
			t.Run(fmt.Sprint(r, " ", name), func(t *testing.T) {
				t.Parallel()
				runCrowd(t, func(c *crowd) {
					c.rate = func(string) float64 { return r }
					c.table.Misbehave(tt.before)
					all := c.joinAll(20, true, 20)
					demand(all, 30*time.Second, oneClient)
					c.table.Misbehave(tt.then)
					demand(all, 70*time.Second, oneClient)
					most := float64(c.most())
					t.Logf("%v exchanges in the busiest minute, %v", most, c.counts)
					// Of few exchanges, the phases of the environments without the table decide some.
					limit := max(60*r, 40)
					if most >= limit || most < 60*r*tt.share {
						t.Errorf("got %v exchanges in a minute, want %v to less than %v", most, 60*r*tt.share, limit)
					}
				})
			})
		}
	}
}

// during returns the exchanges of each client while f runs.
func (c *crowd) during(f func()) map[string]int {
	c.mu.Lock()
	clear(c.by)
	c.mu.Unlock()
	f()
	return c.by
}

// TestDocumentRaisesRateOnlyForItself: a document that names a higher rate does not raise the
// load on a server while a client wants it whose document does not, in the whole fleet.
func TestDocumentRaisesRateOnlyForItself(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector")
	}
	for _, table := range []bool{true, false} {
		t.Run(fmt.Sprint("table ", table), func(t *testing.T) {
			runCrowd(t, func(c *crowd) {
				c.rate = func(client string) float64 {
					return map[string]float64{"fast": 100, "other": 50, "slow": 0.5}[client]
				}
				all := c.joinAll(1, table, 0)
				if table {
					all = append(all, c.joinAll(19, true, 0)...)
				}
				all = append(all, slices.Repeat(all[:1], 20)...)
				with := func(client string) map[string]int {
					return c.during(func() {
						demand(all, 20*time.Second, func(i int) string {
							if i == 20 {
								return client
							}
							return "fast"
						})
					})
				}
				// What was taken ahead, before the other client asked first, is used at the higher rate.
				for _, tt := range []struct {
					other            string
					all, most        int // exchanges of both
					least, mostOther int // of the other
				}{
					{"fast", 20 * 70, 20 * 110, 0, 20 * 110},
					{"other", 20 * 30, 20*50 + 400, 1, 20 * 50},
					{"default", 20 * 6, 20*10 + 600, 20 * 3, 20 * 10},
					{"slow", 20 * 5, 20*10 + 600, 1, 20},
					{"fast", 20 * 70, 20 * 110, 0, 20 * 110},
				} {
					got := with(tt.other)
					other, sum := got[tt.other], 0
					for _, n := range got {
						sum += n
					}
					if sum < tt.all || sum > tt.most || other < tt.least || other > tt.mostOther {
						t.Errorf("with the client %s: %v", tt.other, got)
					}
					time.Sleep(wantTime)
				}
			})
		})
	}
}

// TestDocumentLowersRateOnlyForItself: a document that names a lower rate does not slow others
// down, but for the half of the budget that it may use.
func TestDocumentLowersRateOnlyForItself(t *testing.T) {
	for _, table := range []bool{true, false} {
		runCrowd(t, func(c *crowd) {
			c.rate = func(client string) float64 { return map[string]float64{"slow": 0.5}[client] }
			all := slices.Repeat(c.joinAll(2, table, 0), 10)
			got := c.during(func() { // which takes up to 15 s more
				demand(all, time.Minute, func(i int) string { return []string{"slow", "default"}[i%2] })
			})
			if got["slow"] < 5 || got["slow"] > 39 || got["default"] < 60*4 {
				t.Errorf("table %t: %v", table, got)
			}
		})
	}
}

// TestOperatorsRateCountsForAllClients: whatever their documents say, also at a server that
// counts all of its clients together. Other servers keep theirs.
func TestOperatorsRateCountsForAllClients(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector")
	}
	for _, r := range []float64{2, 100} {
		runCrowd(t, func(c *crowd) {
			c.rates = map[string]float64{"as.example": r, "sub.authentication.eu10.hana.ondemand.com": 3}
			c.rate = func(client string) float64 { return map[string]float64{"fast": 1000, "slow": 1}[client] }
			all := slices.Repeat(c.joinAll(10, true, 0), 3)
			got := c.during(func() {
				demand(all, time.Minute, func(i int) string { return []string{"fast", "slow", "default"}[i/10] })
			})
			sum := float64(got["fast"] + got["slow"] + got["default"])
			// The requests of the minute wait for up to 15 s more.
			if float64(c.most()) >= 60*r || sum < 60*r*0.7 || float64(min(got["fast"], got["slow"], got["default"])) < sum/6 {
				t.Errorf("rate %v: %v", r, got)
			}
			l := all[0].limiter
			for host, want := range map[string]rate{"sub.authentication.cert.eu10.hana.ondemand.com": 3, "other.example": 1000} {
				if got := l.applicant(l.host(host), permitFor{host: host, rate: 1000}).rate; got != want {
					t.Errorf("%s: got rate %v, want %v", host, got, want)
				}
			}
		})
	}
}

// TestFastServerIsObeyed: a 429 stops the exchanges of the fleet as soon as at a slow server.
func TestFastServerIsObeyed(t *testing.T) {
	for _, latency := range []time.Duration{0, 15 * time.Millisecond} {
		runCrowd(t, func(c *crowd) {
			c.rate = func(string) float64 { return 100 }
			c.table.Misbehave(late(latency))
			all := c.joinAll(20, true, 0)
			demand(all, 10*time.Second, oneClient)
			silent := time.Now()
			c.mu.Lock()
			c.answer = func(string) *oauth.Error { return throttled(time.Minute - time.Since(silent)) }
			c.mu.Unlock()
			before := len(c.asked)
			demand(all, 50*time.Second, oneClient)
			last := c.asked[len(c.asked)-1].Sub(silent)
			t.Logf("%d exchanges after the 429, the last after %v", len(c.asked)-before, last)
			if n := len(c.asked) - before; n > 100 || last > readTime+2*latency+100*time.Millisecond {
				t.Errorf("%d exchanges after the 429, the last after %v", n, last)
			}
			time.Sleep(11 * time.Second)
			c.mu.Lock()
			c.answer = func(string) *oauth.Error { time.Sleep(time.Second); return throttled(time.Minute) }
			c.mu.Unlock()
			before = len(c.asked)
			demand(all, 5*time.Second, oneClient)
			if n := len(c.asked) - before; n != 1 {
				t.Errorf("%d probes after the silence, want 1", n)
			}
		})
	}
}

// TestLotsServeAllClients: permits that one client took ahead serve another one of the same
// rate, but none that has had its half.
func TestLotsServeAllClients(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	h := &host{lots: make(map[rate]*lot)}
	one, two := applicant{1, 10}, applicant{2, 10}
	h.lend(now, one, permit{ok: true, rate: 10}, []time.Time{now, now, now.Add(time.Second)}, 0)
	if _, ok := h.take(now, applicant{2, 20}); ok {
		t.Error("a client of another rate got a permit")
	}
	if p, ok := h.take(now, two); !ok || p.wait != 0 || p.rate != 10 {
		t.Errorf("another client: %+v, %v", p, ok)
	}
	h.fleet.Clients = []clientBudget{{ID: 1, Wanted: now.UnixMilli(), Next: now.Add(3 * time.Second).UnixMilli()}, {ID: 2, Wanted: now.UnixMilli(), Next: now.Add(3 * time.Second).UnixMilli()}}
	if _, ok := h.take(now, two); ok {
		t.Error("a client that has had its half got a permit of another one")
	}
	if _, ok := h.take(now, one); !ok {
		t.Error("the client did not get its own permit")
	}
	if p, ok := h.take(now, one); !ok || p.wait != time.Second {
		t.Errorf("the last permit: %+v, %v", p, ok)
	}
	if _, ok := h.take(now, one); ok {
		t.Error("a permit was used twice")
	}
	h.lend(now, one, permit{ok: true, rate: 10}, []time.Time{now}, 0)
	if _, ok := h.take(now.Add(lotTime), one); ok {
		t.Error("an old permit was used")
	}
	h.fleet = server{}
	h.lend(now, one, permit{ok: true, rate: 10}, []time.Time{now.Add(time.Second)}, 0)
	h.lend(now, two, permit{ok: true, rate: 10}, []time.Time{now}, 0)
	if p, ok := h.take(now, one); !ok || p.wait != 0 {
		t.Errorf("of two lots, the earlier permit: %+v, %v", p, ok)
	}
	for i := range 100 {
		r := rate(i + 1)
		h.lend(now, applicant{3, r}, permit{ok: true, rate: r}, nil, 0)
	}
	if len(h.lots) > maxLots {
		t.Errorf("%d lots", len(h.lots))
	}
}

// TestRowOfOlderVersion: its environments write neither the rate nor when that was asked for.
func TestRowOfOlderVersion(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	for note, want := range map[string]rate{
		`{"next":1,"clients":[{"id":1,"next":3,"wanted":1800000000000}]}`: 100,
		`{"rate":20,"rateAt":1799999999000}`:                              20,
		`{"rate":20,"rateAt":1799999996000}`:                              100,
		`{"rate":20,"rateAt":1800000004000}`:                              100,
		`{"rate":-1,"rateAt":1800000000000}`:                              registry.DefaultRate,
	} {
		s := readServer([]byte(note))
		if got := s.limited(now, 100); got != want {
			t.Errorf("%s: got rate %v, want %v", note, got, want)
		}
		if got := s.limited(now, 2); got != 2 {
			t.Errorf("%s: got rate %v for a client of a lower one", note, got)
		}
	}
	var s server
	s.limitOthers(now, 0.5)
	if text := string(encode(s)); !strings.Contains(text, `"rate":10,`) {
		t.Errorf("a client of a lower rate limits others: %s", text)
	}
}
