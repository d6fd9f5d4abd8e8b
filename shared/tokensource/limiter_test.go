package tokensource

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// crowd is many environments, whose limiters are real, and one authorization server, which is
// not.
type crowd struct {
	*testing.T
	table fleettest.Table
	keys  fleettest.Keys

	mu     sync.Mutex
	asked  []time.Time    // guarded by mu
	by     map[string]int // exchanges by client; guarded by mu
	counts map[string]int // guarded by mu
	// answer is the server's; nil: it gives a token.
	answer func(client string) *oauth.Error // guarded by mu
	// rate is what the document of a client says; nil: nothing. rates is the operator's list.
	rate  func(client string) float64
	rates map[string]float64
}

// member is one environment.
type member struct {
	*crowd
	limiter *limiter
	fleet   *fleet.Fleet
	now     func() time.Time
}

func runCrowd(t *testing.T, test func(c *crowd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour) // not at midnight, when the key changes
		test(&crowd{T: t, by: make(map[string]int), counts: make(map[string]int)})
	})
}

func (c *crowd) count(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[name]++
}

// join starts one more environment. With reserved, it knows how many there may be.
func (c *crowd) join(table bool, reserved int) *member {
	m := &member{crowd: c, now: func() time.Time { return time.Now().Round(0) }}
	if table {
		m.fleet = fleet.New(fleet.Config{Table: &c.table, Keys: &c.keys, Count: c.count})
		m.fleet.Open(c.Context())
	}
	m.limiter = &limiter{runtime: runtime{now: m.now, rand: rand.Float64, count: c.count}, fleet: m.fleet, environments: reserved, rates: c.rates}
	return m
}

// joinAll starts n environments at once.
func (c *crowd) joinAll(n int, table bool, reserved int) []*member {
	all := make([]*member, n)
	var wait sync.WaitGroup
	for i := range all {
		wait.Go(func() { all[i] = c.join(table, reserved) })
	}
	wait.Wait()
	return all
}

// exchange makes one exchange as a load does.
func (m *member) exchange(client string) error {
	const host = "as.example"
	ctx, cancel := context.WithTimeout(m.Context(), 20*time.Second)
	defer cancel()
	session := m.fleet.Session(ctx)
	a := session.Acquire(ctx, fleet.TokenRow, fmt.Sprint(rand.Uint64()), fleet.Want{})
	defer a.Lease.Release(ctx)
	p := permitFor{host: host, client: client, patience: time.Minute}
	if m.rate != nil {
		p.rate = m.rate(client)
	}
	if _, err := m.limiter.admit(ctx, session, p); err != nil {
		return err
	}
	m.mu.Lock()
	m.asked = append(m.asked, time.Now())
	answer := m.answer
	m.mu.Unlock()
	time.Sleep(20 * time.Millisecond)
	var failure *oauth.Error
	if answer != nil {
		failure = answer(client)
	}
	if failure == nil {
		m.mu.Lock()
		m.by[client]++
		m.mu.Unlock()
	}
	m.limiter.report(ctx, session, host, client, failure)
	return nil
}

// demand lets every environment make one exchange after the other for d.
func demand(all []*member, d time.Duration, client func(i int) string) {
	end := time.Now().Add(d)
	var wait sync.WaitGroup
	for i, m := range all {
		wait.Go(func() {
			for time.Now().Before(end) {
				if m.exchange(client(i)) != nil {
					time.Sleep(time.Duration(rand.IntN(int(time.Second))))
				}
			}
		})
	}
	wait.Wait()
}

// most returns the most exchanges in any minute.
func (c *crowd) most() int { return c.mostIn(time.Minute) }

// mostIn returns the most exchanges in any window.
func (c *crowd) mostIn(window time.Duration) (most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, from := range c.asked {
		n, _ := slices.BinarySearchFunc(c.asked[i:], from.Add(window), time.Time.Compare)
		most = max(most, n)
	}
	return most
}

func oneClient(int) string { return "a" }

func late(d time.Duration) fleettest.Fault {
	return func(ctx context.Context) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TestBudgetAtAnyLatency: the fleet makes fewer than 600 exchanges in any minute, and makes use
// of most of that.
func TestBudgetAtAnyLatency(t *testing.T) {
	const environments = 20
	half := func(ctx context.Context) error {
		if rand.IntN(2) == 0 {
			return errors.New("down")
		}
		return late(15 * time.Millisecond)(ctx)
	}
	for name, tt := range map[string]struct {
		before, then fleettest.Fault
		reserved     int
		most         int // in a minute, at least
		alone        bool
	}{
		"0 ms":               {most: 400},
		"15 ms":              {then: late(15 * time.Millisecond), most: 400},
		"30 ms":              {then: late(30 * time.Millisecond), most: 400},
		"100 ms":             {then: late(100 * time.Millisecond), most: 300},
		"500 ms":             {then: late(500 * time.Millisecond), most: 300, alone: true},
		"gone":               {then: fleettest.Down, most: 300, alone: true},
		"hangs":              {then: fleettest.Hang, most: 300, alone: true},
		"gone at first":      {before: fleettest.Down, then: fleettest.Down, reserved: environments, most: 300, alone: true},
		"comes back":         {before: fleettest.Down, reserved: environments, most: 400, alone: true},
		"every other call":   {then: half, most: 200, alone: true},
		"unknown size, gone": {before: fleettest.Down, then: fleettest.Down, most: 100, alone: true},
		"one of many, gone":  {before: fleettest.Down, then: fleettest.Down, reserved: 1000, most: 1, alone: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runCrowd(t, func(c *crowd) {
				c.table.Misbehave(tt.before)
				all := c.joinAll(environments, true, tt.reserved)
				demand(all, 30*time.Second, oneClient)
				c.table.Misbehave(tt.then)
				demand(all, 70*time.Second, oneClient)
				most, all2 := c.most(), len(c.asked)
				t.Logf("%d exchanges in the busiest minute, %d in 100 s, %d without the table, %d withheld, %d calls of the table", most, all2, c.counts[CountAlone], c.counts[CountThrottled], c.table.Calls())
				if most >= 600 || most < tt.most {
					t.Errorf("got %d exchanges in a minute, want %d to 599", most, tt.most)
				}
				if alone := c.counts[CountAlone] > 0; alone != tt.alone {
					t.Errorf("%d permits were taken without the table", c.counts[CountAlone])
				}
			})
		})
	}
}

// TestIdleFleetSharesBudgetAlone: environments that made no exchange with the table are counted
// all the same.
func TestIdleFleetSharesBudgetAlone(t *testing.T) {
	runCrowd(t, func(c *crowd) {
		all := c.joinAll(100, true, 0)
		for _, m := range all {
			m.fleet.Session(c.Context())
		}
		for range 2 { // the first session counts the environment, and the second one reads how many there are
			time.Sleep(270 * time.Second)
			for _, m := range all {
				time.Sleep(10 * time.Millisecond)
				m.fleet.Session(c.Context())
			}
		}
		c.table.Misbehave(fleettest.Down)
		demand(all, 70*time.Second, oneClient)
		if most := c.most(); most >= 600 || most < 300 {
			t.Errorf("got %d exchanges in a minute, want 300 to 599", most)
		}
	})
}

func throttled(after time.Duration) *oauth.Error {
	return &oauth.Error{Reason: oauth.Refused, Status: 429, RetryAfter: after}
}

// TestSilenceIsReadBeforePermitIsUsed: the server answers 429 once; no environment asks it in
// the next minute, but for what began in the half second before it was read.
func TestSilenceIsReadBeforePermitIsUsed(t *testing.T) {
	for _, latency := range []time.Duration{0, 15, 30, 100} {
		t.Run((latency * time.Millisecond).String(), func(t *testing.T) {
			t.Parallel()
			runCrowd(t, func(c *crowd) {
				c.table.Misbehave(late(latency * time.Millisecond))
				all := c.joinAll(20, true, 0)
				demand(all, 20*time.Second, oneClient)
				var silent time.Time
				c.mu.Lock()
				c.answer = func(string) *oauth.Error {
					c.mu.Lock()
					defer c.mu.Unlock()
					if silent.IsZero() {
						silent = time.Now()
					}
					if time.Since(silent) < time.Minute {
						return throttled(time.Minute)
					}
					return nil
				}
				c.mu.Unlock()
				demand(all, 55*time.Second, oneClient)
				var at []time.Duration
				for _, asked := range c.asked {
					if d := asked.Sub(silent); d > 0 {
						at = append(at, d)
					}
				}
				t.Logf("asked %d times during the silence, the last time after %v", len(at), at[max(0, len(at)-1):])
				if len(at) > 8 || len(at) > 0 && at[len(at)-1] > readTime+2*latency*time.Millisecond+150*time.Millisecond { // other changes of the row come before
					t.Errorf("the server was asked at %v of its silence", at)
				}
				before := len(c.asked)
				time.Sleep(10 * time.Second)
				c.mu.Lock()
				c.answer = func(string) *oauth.Error { time.Sleep(time.Second); return throttled(time.Minute) }
				c.mu.Unlock()
				demand(all, 5*time.Second, oneClient)
				if n := len(c.asked) - before; n != 1 {
					t.Errorf("%d probes after the silence, want 1", n)
				}
			})
		})
	}
}

// TestSilenceOfOneClient: a 429 stops the client that got it, in the fleet, and no other. Where
// the server counts by host, or a second client gets one, it stops all.
func TestSilenceOfOneClient(t *testing.T) {
	for name, tt := range map[string]struct {
		host   string
		second bool
		all    bool
	}{
		"one client":  {host: "as.example"},
		"two clients": {host: "as.example", second: true, all: true},
		"IAS":         {host: "tenant.accounts.ondemand.com", all: true},
		"XSUAA":       {host: "sub.authentication.eu10.hana.ondemand.com", all: true},
	} {
		for _, table := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " table ", table), func(t *testing.T) {
				runCrowd(t, func(c *crowd) {
					one := c.join(table, 0)
					two := one
					if table {
						two = c.join(table, 0)
					}
					admit := func(m *member, client string) error {
						ctx, cancel := context.WithTimeout(c.Context(), 20*time.Second)
						defer cancel()
						_, err := m.limiter.admit(ctx, m.fleet.Session(ctx), permitFor{host: tt.host, client: client, patience: maxWait})
						return err
					}
					report := func(m *member, client string) {
						m.limiter.report(c.Context(), m.fleet.Session(c.Context()), tt.host, client, throttled(time.Minute))
					}
					report(one, "a")
					if tt.second {
						time.Sleep(30 * time.Second)
						report(two, "b")
					}
					err := admit(two, "a")
					if e := fault.From(err); e.Kind != fault.Throttled || e.RetryAfter < 20*time.Second {
						t.Errorf("the client that got a 429: %v", err)
					}
					if err := admit(two, "c"); (err != nil) != tt.all {
						t.Errorf("another client: %v", err)
					}
					time.Sleep(61 * time.Second)
					if err := admit(two, "a"); err != nil {
						t.Errorf("after the silence: %v", err)
					}
					if err := admit(one, "a"); err == nil {
						t.Error("two probes")
					}
				})
			})
		}
	}
}

// TestTwoHostsOfOneSubaccount: XSUAA counts both together, and so does the limiter, whatever
// the case of the name.
func TestTwoHostsOfOneSubaccount(t *testing.T) {
	runCrowd(t, func(c *crowd) {
		m := c.join(false, 0)
		m.limiter.report(c.Context(), nil, "sub.authentication.cert.eu10.hana.ondemand.com", "a", throttled(time.Minute))
		if _, err := m.limiter.admit(c.Context(), nil, permitFor{host: "sub.authentication.eu10.hana.ondemand.com", client: "b"}); err == nil {
			t.Error("the other host of the subaccount is called during its silence")
		}
	})
}

// TestGreedyClientLeavesHalf: many environments ask for one client, and one for another.
func TestGreedyClientLeavesHalf(t *testing.T) {
	for i := range 4 {
		table, r := i%2 == 1, []float64{registry.DefaultRate, 40}[i/2]
		t.Run(fmt.Sprint("table ", table, ", rate ", r), func(t *testing.T) {
			runCrowd(t, func(c *crowd) {
				c.rate = func(string) float64 { return r }
				all := c.joinAll(1, table, 0)
				if table {
					all = append(all, c.joinAll(19, true, 0)...)
				}
				all = append(all, slices.Repeat(all[:1], 19)...)
				client := func(i int) string {
					if i == 0 || i >= 20 && i < 24 {
						return "modest"
					}
					return "greedy"
				}
				demand(all, time.Minute, client)
				t.Log(maps.Clone(c.by))
				if modest, greedy := c.by["modest"], c.by["greedy"]; modest < (modest+greedy)*2/5 {
					t.Errorf("got %d exchanges of the greedy client and %d of the other", greedy, modest)
				}
			})
		})
	}
}

// TestGreedyClientUsesAllAlone: half of the budget is a limit only while others want it.
func TestGreedyClientUsesAllAlone(t *testing.T) {
	runCrowd(t, func(c *crowd) {
		demand(c.joinAll(20, true, 0), time.Minute, oneClient)
		if n := c.by["a"]; n < 450 {
			t.Errorf("got %d exchanges, want the whole budget", n)
		}
	})
}

// TestNoRequestWaitsLongerThanTwoSeconds: or than it can.
func TestNoRequestWaitsLongerThanTwoSeconds(t *testing.T) {
	for _, table := range []bool{false, true} {
		for _, patience := range []time.Duration{0, 300 * time.Millisecond, time.Minute} {
			runCrowd(t, func(c *crowd) {
				all := slices.Repeat(c.joinAll(2, table, 2), 40)
				if table {
					c.table.Misbehave(late(15 * time.Millisecond))
				}
				var wait sync.WaitGroup
				for _, m := range all {
					wait.Go(func() {
						for range 5 {
							ctx, cancel := context.WithTimeout(c.Context(), 20*time.Second)
							begun := time.Now()
							_, err := m.limiter.admit(ctx, m.fleet.Session(ctx), permitFor{host: "h", client: "a", patience: patience})
							if took := time.Since(begun); took > patience+400*time.Millisecond {
								t.Errorf("patience %v: waited %v", patience, took)
							}
							if e := fault.From(err); err != nil && (e.Kind != fault.Throttled || e.RetryAfter < time.Second) {
								t.Errorf("%v, Retry-After %v", err, e.RetryAfter)
							}
							cancel()
						}
					})
				}
				wait.Wait()
			})
		}
	}
}

// TestSilenceSurvivesWipedTable: the environment that saw it writes it back.
func TestSilenceSurvivesWipedTable(t *testing.T) {
	runCrowd(t, func(c *crowd) {
		one, two := c.join(true, 0), c.join(true, 0)
		ask := func(m *member) error {
			_, err := m.limiter.admit(c.Context(), m.fleet.Session(c.Context()), permitFor{host: "h", client: "b"})
			return err
		}
		if err := ask(one); err != nil {
			t.Fatal(err)
		}
		one.limiter.report(c.Context(), one.fleet.Session(c.Context()), "h", "a", throttled(time.Minute))
		for _, item := range c.table.Items() {
			if item.Until == 1 {
				c.table.Delete(item.Name)
			}
		}
		time.Sleep(readTime)
		if err := ask(one); err != nil { // another client
			t.Fatal(err)
		}
		if c.counts[fleet.CountLost] == 0 {
			t.Error("the deletion was not counted")
		}
		if _, err := two.limiter.admit(c.Context(), two.fleet.Session(c.Context()), permitFor{host: "h", client: "a"}); err == nil {
			t.Error("the silence is forgotten")
		}
	})
}

// TestSilenceOfDeadTableIsPublished: the table could not be used when the 429 came.
func TestSilenceOfDeadTableIsPublished(t *testing.T) {
	for _, host := range []string{"h", "t.accounts.ondemand.com"} {
		runCrowd(t, func(c *crowd) {
			one, two := c.join(true, 0), c.join(true, 0)
			ask := func(m *member, client string) error {
				_, err := m.limiter.admit(c.Context(), m.fleet.Session(c.Context()), permitFor{host: host, client: client})
				return err
			}
			c.table.Misbehave(fleettest.Down)
			one.limiter.report(c.Context(), one.fleet.Session(c.Context()), host, "a", throttled(time.Minute))
			c.table.Misbehave(nil)
			one.limiter.report(c.Context(), one.fleet.Session(c.Context()), host, "a", nil) // that began before the silence
			if err := ask(two, "a"); err == nil {
				t.Errorf("%s: another environment does not know of the silence", host)
			}
			if err := ask(two, "b"); (err == nil) != (host == "h") {
				t.Errorf("%s: another client: %v", host, err)
			}
		})
	}
}

// TestPermitsWithoutTableAreMadeUpFor: when it is back, other environments have that many fewer.
func TestPermitsWithoutTableAreMadeUpFor(t *testing.T) {
	runCrowd(t, func(c *crowd) {
		ask := func(m *member) bool {
			_, err := m.limiter.admit(c.Context(), m.fleet.Session(c.Context()), permitFor{host: "h", client: "a"})
			return err == nil
		}
		burst := func(m *member) (n int) {
			for ask(m) {
				n++
			}
			return n
		}
		two, three := c.join(true, 0), c.join(true, 0)
		c.table.Misbehave(fleettest.Down)
		one := c.join(true, 1)
		alone := burst(one)
		c.table.Misbehave(nil)
		time.Sleep(31 * time.Second)
		if alone != rate(registry.DefaultRate).environment().burst || !ask(one) {
			t.Fatalf("%d permits without the table", alone)
		}
		if n := burst(two) + burst(three); n > rate(registry.DefaultRate).fleet().burst-alone {
			t.Errorf("%d permits at once after %d without the table", n, alone)
		}
	})
}

// TestLotsSaveCalls: permits are taken ahead in lots, so that an exchange
// costs less than one call of the table for its permit.
func TestLotsSaveCalls(t *testing.T) {
	runCrowd(t, func(c *crowd) {
		m := c.join(true, 0)
		before, exchanges := c.table.Calls(), 0
		for begun := time.Now(); time.Since(begun) < 20*time.Second; time.Sleep(150 * time.Millisecond) {
			if _, err := m.limiter.admit(c.Context(), m.fleet.Session(c.Context()), permitFor{host: "h", client: "a", patience: maxWait}); err != nil {
				t.Fatal(err)
			}
			exchanges++
		}
		if calls := c.table.Calls() - before; calls > exchanges {
			t.Errorf("%d calls of the table for %d permits", calls, exchanges)
		}
	})
}

// FuzzServer: a note is sealed, but may be that of another version of this program.
func FuzzServer(f *testing.F) {
	f.Add([]byte(`{"next":1,"throttled":1,"silent":2,"clients":[{"id":1,"next":3}]}`), uint64(1))
	f.Add([]byte(`{"clients":[{},{},{},{},{},{},{},{},{},{}]}`), uint64(0))
	f.Fuzz(func(t *testing.T, note []byte, id uint64) {
		now := time.UnixMilli(1_800_000_000_000)
		s := readServer(note)
		p, times := s.lot(now, applicant{id, registry.DefaultRate}, maxLot, maxWait)
		if p.ok && p.wait > maxWait || len(times) >= maxLot || len(s.Clients) > maxServerClients {
			t.Errorf("%+v, %d permits, %d clients", p, len(times), len(s.Clients))
		}
		if p.silent > oauth.MaxRetryAfter {
			t.Errorf("silent for %v", p.silent)
		}
		s.report(now, id, false, outcome{throttled: true, retryAfter: time.Second})
		if p := s.blocked(now, id); p.silent == 0 {
			t.Error("not silent after a 429")
		}
	})
}
