package token_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

// late is a table that takes its time.
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

// skewed starts an environment whose clock differs.
func (a *armada) skewed(by time.Duration) *token.Vendor {
	now := func() time.Time { return a.now().Add(by) }
	f := fleet.New(fleet.Config{Table: &a.table, Keys: &a.keys, Count: a.count, Now: now})
	f.Open(a.t.Context())
	return token.New(token.Config{
		Clients:   registry.New(registry.Config{Secrets: a.bench, Addresses: oauth.AddressPolicy{Private: true}}),
		Exchanger: oauth.NewExchanger(oauth.ExchangerConfig{Now: now}),
		Fleet:     f, Count: a.count, Now: now,
	})
}

// leased counts the rows that somebody holds.
func (a *armada) leased() (n int) {
	for _, item := range a.table.Items() {
		if item.Owner != "" {
			n++
		}
	}
	return n
}

// together runs f for each of n callers at once, and returns how many of them had to
// wait longer than d.
func together(n int, d time.Duration, f func(i int)) (held int64) {
	var late atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			start := time.Now()
			f(i)
			if time.Since(start) > d {
				late.Add(1)
			}
		})
	}
	all.Wait()
	return late.Load()
}

// TestSlowTable: no lease is left behind, and the result is there for the next.
func TestSlowTable(t *testing.T) {
	for _, d := range []time.Duration{15, 30, 45, 60} {
		t.Run((d * time.Millisecond).String(), func(t *testing.T) {
			t.Parallel()
			a := newArmada(t, 2)
			a.table.Misbehave(late(d * time.Millisecond))
			for _, v := range a.vendors {
				if _, err := a.ask(v, token.Request{}); err != nil {
					t.Error(err)
				}
				if n := a.leased(); n != 0 {
					t.Errorf("%d leases are left", n)
				}
			}
			a.wantCounts(1, 0)
		})
	}
}

// TestSlowTableKeepsTheFuse: the rule that keeps the client from being locked comes
// before the count of exchanges.
func TestSlowTableKeepsTheFuse(t *testing.T) {
	a := newArmada(t, 6)
	a.put("billing", "v1", map[string]any{"client_secret": "bad"})
	a.table.Misbehave(late(40 * time.Millisecond))
	for i, v := range a.vendors {
		_, _ = a.ask(v, token.Request{Scope: []string{fmt.Sprint(i)}})
		a.pass(9 * time.Second)
	}
	if n := a.server.FailedLogons("id"); n > 2 {
		t.Errorf("%d failed logons", n)
	}
}

// TestManyClientsOfOneServer contend for its row, and leave no lease behind.
func TestManyClientsOfOneServer(t *testing.T) {
	a := newArmada(t, 24)
	for i := range a.vendors {
		a.put(fmt.Sprint("c", i), "v1", nil)
	}
	together(len(a.vendors), time.Minute, func(i int) {
		if _, err := a.ask(a.vendors[i], token.Request{Client: fmt.Sprint("c", i)}); err != nil {
			t.Error(err)
		}
	})
	if n := a.leased(); n != 0 {
		t.Errorf("%d leases are left", n)
	}
}

// TestClockBehind: what a clock that is ahead wrote holds nobody up.
func TestClockBehind(t *testing.T) {
	for _, by := range []time.Duration{-3 * time.Second, -30 * time.Second, -2 * time.Minute} {
		a := newArmada(t, 1)
		behind := a.skewed(by)
		if _, err := a.ask(a.vendors[0], token.Request{Scope: []string{"a"}}); err != nil {
			t.Fatal(err)
		}
		held := together(1, time.Second, func(int) {
			if _, err := a.ask(behind, token.Request{Scope: []string{"b"}}); err != nil {
				t.Errorf("%v: %v", by, err)
			}
		})
		if held != 0 {
			t.Errorf("%v: held up", by)
		}
	}
}

// TestSilenceOfAClockAhead: a server is left alone for as long as it may ask, and no
// longer.
func TestSilenceOfAClockAhead(t *testing.T) {
	a := newArmada(t, 1)
	ahead := a.skewed(20 * time.Minute)
	a.server.Misbehave(oauthtest.HTML429("2"))
	_, _ = a.ask(ahead, token.Request{})
	a.server.Behave()
	a.pass(10 * time.Second)
	if _, err := a.ask(a.vendors[0], token.Request{Scope: []string{"other"}}); err != nil {
		t.Error(err)
	}
}

// TestRotationUnderLoad: 64 at once meet the old secret's end; none fails, and one
// logon does.
func TestRotationUnderLoad(t *testing.T) {
	b := newBench(t)
	b.mustVend(token.Request{})
	if err := b.server.SetSecrets("id", "new"); err != nil {
		t.Fatal(err)
	}
	b.put("billing", "v2", map[string]any{"client_secret": "new"})
	together(64, time.Minute, func(int) {
		if _, err := b.vend(token.Request{Scope: []string{"a"}}); err != nil {
			t.Error(err)
		}
	})
	b.wantCounts(2, 1)
}

// TestCorrectionAfterABlip: that Secrets Manager failed once a moment ago doesn't
// keep a correction from counting.
func TestCorrectionAfterABlip(t *testing.T) {
	b := newBench(t)
	b.mustVend(token.Request{})
	b.setReadErr(secret.ErrUnavailable)
	b.pass(5*time.Minute + time.Second)
	b.mustVend(token.Request{}) // reads in vain
	b.setReadErr(nil)
	if err := b.server.SetSecrets("id", "new"); err != nil {
		t.Fatal(err)
	}
	b.put("billing", "v2", map[string]any{"client_secret": "new"})
	b.mustVend(token.Request{Scope: []string{"a"}})
}

// TestHangHoldsOneCaller: of all who have a usable token, one waits for a server that
// hangs.
func TestHangHoldsOneCaller(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("table ", shared), func(t *testing.T) {
			t.Parallel()
			a := newArmada(t, 1)
			v := a.vendor
			if shared {
				v = a.vendors[0]
			}
			for i := range 4 {
				if _, err := a.ask(v, token.Request{Scope: []string{fmt.Sprint(i)}}); err != nil {
					t.Fatal(err)
				}
			}
			a.server.Misbehave(oauthtest.Late(1500 * time.Millisecond))
			a.pass(52 * time.Minute)
			held := together(20, time.Second, func(i int) {
				if _, err := a.ask(v, token.Request{Scope: []string{fmt.Sprint(i % 4)}}); err != nil {
					t.Error(err)
				}
			})
			if held > 1 {
				t.Errorf("%d callers waited", held)
			}
		})
	}
}

// TestColdEnvironmentDoesNotWait for a refresh: the table's token serves.
func TestColdEnvironmentDoesNotWait(t *testing.T) {
	a := newArmada(t, 1)
	a.wantAll(1)
	a.server.Misbehave(oauthtest.Late(1500 * time.Millisecond))
	a.pass(52 * time.Minute)
	cold := a.environment()
	held := together(20, time.Second, func(int) {
		if _, err := a.ask(cold, token.Request{}); err != nil {
			t.Error(err)
		}
	})
	if held > 1 {
		t.Errorf("%d callers waited", held)
	}
}

// TestTableDownWhileWaiting: who waits behind another exchange is not failed by it.
func TestTableDownWhileWaiting(t *testing.T) {
	a := newArmada(t, 1)
	a.server.Misbehave(oauthtest.Late(3 * time.Second))
	var all sync.WaitGroup
	for i, scope := range []string{"a", "b"} {
		all.Go(func() {
			time.Sleep(time.Duration(i) * 200 * time.Millisecond)
			if _, err := a.ask(a.vendors[0], token.Request{Scope: []string{scope}}); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	a.table.Misbehave(fleettest.Down)
	all.Wait()
}

// TestColdClientsOfOneServer wait for their places in the budget; nobody is refused.
func TestColdClientsOfOneServer(t *testing.T) {
	b := newBench(t)
	for i := range 30 {
		b.put(fmt.Sprint("c", i), "v1", nil)
	}
	together(30, time.Minute, func(i int) {
		if _, err := b.vend(token.Request{Client: fmt.Sprint("c", i)}); err != nil {
			t.Error(err)
		}
	})
}

// TestAfterTheProbe all are served: those who came meanwhile, and those of the
// environment that didn't make it.
func TestAfterTheProbe(t *testing.T) {
	a := newArmada(t, 2)
	for i := range 8 {
		a.put(fmt.Sprint("c", i), "v1", nil)
	}
	a.server.Misbehave(oauthtest.HTML429("2"))
	_, _ = a.ask(a.vendors[0], token.Request{})
	a.server.Misbehave(oauthtest.Late(100 * time.Millisecond))
	a.pass(12 * time.Second)
	together(8, time.Minute, func(i int) {
		if _, err := a.ask(a.vendors[i%2], token.Request{Client: fmt.Sprint("c", i)}); err != nil {
			t.Error(err)
		}
	})
}

// TestServerUnderMaintenance answers a page with status 200: one environment finds
// out for all.
func TestServerUnderMaintenance(t *testing.T) {
	a := newArmada(t, 8)
	a.wantAll(1)
	a.server.Misbehave(oauthtest.Answer(200, "text/html", "<html>maintenance</html>"))
	a.pass(52 * time.Minute)
	before := len(a.server.Requests())
	for range 9 {
		if _, failures := a.all(1, token.Request{}); len(failures) > 0 {
			t.Error(failures)
		}
		a.pass(3 * time.Second)
	}
	if n := len(a.server.Requests()) - before; n != 1 {
		t.Errorf("asked %d times in 27 s, want 1", n)
	}
}

// TestOlderValue: who can write the table can't put back a token that was replaced.
func TestOlderValue(t *testing.T) {
	a := newArmada(t, 1)
	a.wantAll(1)
	old := a.table.Items()
	first, err := a.ask(a.vendors[0], token.Request{})
	if err != nil {
		t.Fatal(err)
	}
	revoked := token.Fingerprint(first.Token)
	if _, err := a.ask(a.vendors[0], token.Request{Rejected: revoked}); err != nil {
		t.Fatal(err)
	}
	for _, was := range old {
		for _, is := range a.table.Items() {
			if was.Name == is.Name && was.Value != nil && is.State != nil {
				is.Value = was.Value
				a.table.Put(is)
			}
		}
	}
	grant, err := a.ask(a.environment(), token.Request{})
	if err != nil || token.Fingerprint(grant.Token) == revoked || a.counted(fleet.CountRefused) == 0 {
		t.Errorf("outcome %s, %v, %d refused", grant.Outcome, err, a.counted(fleet.CountRefused))
	}
}

// TestRejectedWhileOthersRefresh: what joins a load with other wishes looks again.
func TestRejectedWhileOthersRefresh(t *testing.T) {
	a := newArmada(t, 2)
	a.wantAll(1)
	grant, err := a.ask(a.vendors[0], token.Request{})
	if err != nil {
		t.Fatal(err)
	}
	rejected := token.Fingerprint(grant.Token)
	a.server.Misbehave(oauthtest.Late(time.Second))
	a.pass(52 * time.Minute)
	var all sync.WaitGroup
	all.Go(func() { _, _ = a.ask(a.vendors[0], token.Request{}) }) // holds the lease
	time.Sleep(100 * time.Millisecond)
	a.table.Misbehave(late(30 * time.Millisecond))
	all.Go(func() { _, _ = a.ask(a.vendors[1], token.Request{}) }) // looks at the row
	time.Sleep(10 * time.Millisecond)
	again, err := a.ask(a.vendors[1], token.Request{Rejected: rejected})
	if err != nil || token.Fingerprint(again.Token) == rejected {
		t.Errorf("the rejected token was handed out again: %s, %v", again.Outcome, err)
	}
	all.Wait()
}

// TestRefreshAfterIsNeverAtOnce: the same token would come again.
func TestRefreshAfterIsNeverAtOnce(t *testing.T) {
	b := newBench(t)
	b.server.Misbehave(oauthtest.Members(map[string]any{"expires_in": 60}))
	for range 58 {
		if grant := b.mustVend(token.Request{Caller: "x"}); grant.RefreshAfter(b.now()) < time.Second {
			t.Fatalf("ask again after %v", grant.RefreshAfter(b.now()))
		}
		b.pass(time.Second)
	}
}
