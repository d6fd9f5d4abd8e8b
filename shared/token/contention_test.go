package token_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
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

func TestSlowTableLeavesNoLease(t *testing.T) {
	for _, d := range []time.Duration{15, 30, 45, 60} {
		t.Run((d * time.Millisecond).String(), func(t *testing.T) {
			t.Parallel()
			tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
				env.Table.Misbehave(late(d * time.Millisecond))
				for _, v := range env.Vendors {
					if _, err := env.Ask(v, token.Request{}); err != nil {
						t.Error(err)
					}
					if n := env.Leased(); n != 0 {
						t.Errorf("%d leases are left", n)
					}
				}
				env.WantCounts(1, 0)
			})
		})
	}
}

func TestSlowTableKeepsTheLockout(t *testing.T) {
	tokentest.RunFleet(t, 6, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", map[string]any{"client_secret": "bad"})
		env.Table.Misbehave(late(40 * time.Millisecond))
		for i, v := range env.Vendors {
			_, _ = env.Ask(v, token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint(i)}}})
			env.Pass(9 * time.Second)
		}
		if n := env.Server.FailedLogons("id"); n > 2 {
			t.Errorf("%d failed logons", n)
		}
	})
}

// TestClientsOfOneServerLeaveNoLease: They contend for the row of the server.
func TestClientsOfOneServerLeaveNoLease(t *testing.T) {
	tokentest.RunFleet(t, 24, func(t *testing.T, env *tokentest.Fleet) {
		for i := range env.Vendors {
			env.Put(fmt.Sprint("c", i), "v1", nil)
		}
		together(len(env.Vendors), time.Minute, func(i int) {
			if _, err := env.Ask(env.Vendors[i], token.Request{Client: fmt.Sprint("c", i)}); err != nil {
				t.Error(err)
			}
		})
		if n := env.Leased(); n != 0 {
			t.Errorf("%d leases are left", n)
		}
	})
}

func TestSkewedClockDelaysNoCaller(t *testing.T) {
	for _, by := range []time.Duration{-3 * time.Second, -30 * time.Second, -2 * time.Minute} {
		tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
			behind := env.Skewed(by)
			if _, err := env.Ask(env.Vendors[0], token.Request{Ask: ask.Ask{Scope: []string{"a"}}}); err != nil {
				t.Fatal(err)
			}
			held := together(1, time.Second, func(int) {
				if _, err := env.Ask(behind, token.Request{Ask: ask.Ask{Scope: []string{"b"}}}); err != nil {
					t.Errorf("%v: %v", by, err)
				}
			})
			if held != 0 {
				t.Errorf("%v: held up", by)
			}
		})
	}
}

// TestThrottlingOfSkewedClockEnds: A server is not called for at most as long as it may
// ask for.
func TestThrottlingOfSkewedClockEnds(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		ahead := env.Skewed(20 * time.Minute)
		env.Server.Misbehave(oauthtest.HTML429("2"))
		_, _ = env.Ask(ahead, token.Request{})
		env.Server.Behave()
		env.Pass(10 * time.Second)
		if _, err := env.Ask(env.Vendors[0], token.Request{Ask: ask.Ask{Scope: []string{"other"}}}); err != nil {
			t.Error(err)
		}
	})
}

// TestRotationUnderLoad: 64 callers at once meet the end of the old secret. No call
// fails, and there is one failed logon.
func TestRotationUnderLoad(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.MustVend(token.Request{})
		if err := env.Server.SetSecrets("id", "new"); err != nil {
			t.Fatal(err)
		}
		env.Put("billing", "v2", map[string]any{"client_secret": "new"})
		together(64, time.Minute, func(int) {
			if _, err := env.Vend(token.Request{Ask: ask.Ask{Scope: []string{"a"}}}); err != nil {
				t.Error(err)
			}
		})
		env.WantCounts(2, 1)
	})
}

// TestCorrectedSecretIsUsedAfterFailedRead: Secrets Manager failed once a moment ago.
func TestCorrectedSecretIsUsedAfterFailedRead(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.MustVend(token.Request{})
		env.FailReads(secret.ErrUnavailable)
		env.Pass(5*time.Minute + time.Second)
		env.MustVend(token.Request{}) // reads in vain
		env.FailReads(nil)
		if err := env.Server.SetSecrets("id", "new"); err != nil {
			t.Fatal(err)
		}
		env.Put("billing", "v2", map[string]any{"client_secret": "new"})
		env.MustVend(token.Request{Ask: ask.Ask{Scope: []string{"a"}}})
	})
}

// TestHangingServerDelaysTwoCallers: All callers have a cached token, and two exchanges may use
// one credential at the same time.
func TestHangingServerDelaysTwoCallers(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("table ", shared), func(t *testing.T) {
			t.Parallel()
			tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
				v := env.Vendor
				if shared {
					v = env.Vendors[0]
				}
				for i := range 4 {
					if _, err := env.Ask(v, token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint(i)}}}); err != nil {
						t.Fatal(err)
					}
				}
				env.Server.Misbehave(oauthtest.Late(1500 * time.Millisecond))
				env.Pass(52 * time.Minute)
				held := together(20, time.Second, func(i int) {
					if _, err := env.Ask(v, token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint(i % 4)}}}); err != nil {
						t.Error(err)
					}
				})
				if held > 2 {
					t.Errorf("%d callers waited", held)
				}
			})
		})
	}
}

func TestNewEnvironmentUsesTokenDueForRefresh(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		env.Server.Misbehave(oauthtest.Late(1500 * time.Millisecond))
		env.Pass(52 * time.Minute)
		cold := env.Environment(nil)
		held := together(20, time.Second, func(int) {
			if _, err := env.Ask(cold, token.Request{}); err != nil {
				t.Error(err)
			}
		})
		if held > 1 {
			t.Errorf("%d callers waited", held)
		}
	})
}

func TestWaiterSurvivesFailingTable(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		env.Server.Misbehave(oauthtest.Late(1500 * time.Millisecond))
		var all sync.WaitGroup
		for i, scope := range []string{"a", "b"} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 200 * time.Millisecond)
				if _, err := env.Ask(env.Vendors[0], token.Request{Ask: ask.Ask{Scope: []string{scope}}}); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(500 * time.Millisecond)
		env.Table.Misbehave(fleettest.Down)
		all.Wait()
	})
}

// TestNewClientsWaitForPermits: No caller is refused.
func TestNewClientsWaitForPermits(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		for i := range 30 {
			env.Put(fmt.Sprint("c", i), "v1", nil)
		}
		together(30, time.Minute, func(i int) {
			if _, err := env.Vend(token.Request{Client: fmt.Sprint("c", i)}); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestAllCallersAreServedAfterProbe: This includes callers that came during the probe,
// in this and in another environment.
func TestAllCallersAreServedAfterProbe(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		for i := range 8 {
			env.Put(fmt.Sprint("c", i), "v1", nil)
		}
		env.Server.Misbehave(oauthtest.HTML429("2"))
		_, _ = env.Ask(env.Vendors[0], token.Request{})
		env.Server.Misbehave(oauthtest.Late(100 * time.Millisecond))
		env.Pass(12 * time.Second)
		together(8, time.Minute, func(i int) {
			if _, err := env.Ask(env.Vendors[i%2], token.Request{Client: fmt.Sprint("c", i)}); err != nil {
				t.Error(err)
			}
		})
	})
}

// TestMaintenancePageBacksOffTheFleet: The server answers a page with status 200.
func TestMaintenancePageBacksOffTheFleet(t *testing.T) {
	tokentest.RunFleet(t, 8, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		env.Server.Misbehave(oauthtest.Answer(200, "text/html", "<html>maintenance</html>"))
		env.Pass(52 * time.Minute)
		before := len(env.Server.Requests())
		for range 9 {
			if _, failures := env.All(1, token.Request{}); len(failures) > 0 {
				t.Error(failures)
			}
			env.Pass(3 * time.Second)
		}
		if n := len(env.Server.Requests()) - before; n != 1 {
			t.Errorf("asked %d times in 27 s, want 1", n)
		}
	})
}

// TestOldValueIsRefused: An attacker who can write the table puts back a token that was
// replaced.
func TestOldValueIsRefused(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		old := env.Table.Items()
		first, err := env.Ask(env.Vendors[0], token.Request{})
		if err != nil {
			t.Fatal(err)
		}
		revoked := first.Token.Fingerprint()
		if _, err := env.Ask(env.Vendors[0], token.Request{Rejected: revoked}); err != nil {
			t.Fatal(err)
		}
		for _, was := range old {
			for _, is := range env.Table.Items() {
				if was.Name == is.Name && was.Value != nil && is.State != nil {
					is.Value = was.Value
					env.Table.Put(is)
				}
			}
		}
		grant, err := env.Ask(env.Environment(nil), token.Request{})
		if err != nil || grant.Token.Fingerprint() == revoked || env.Counted(fleet.CountRefused) == 0 {
			t.Errorf("outcome %s, %v, %d refused", grant.Outcome, err, env.Counted(fleet.CountRefused))
		}
	})
}

// TestJoinedLoadMustBeAcceptable: A caller that joins a load for another caller looks
// again.
func TestJoinedLoadMustBeAcceptable(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		grant, err := env.Ask(env.Vendors[0], token.Request{})
		if err != nil {
			t.Fatal(err)
		}
		rejected := grant.Token.Fingerprint()
		env.Server.Misbehave(oauthtest.Late(time.Second))
		env.Pass(52 * time.Minute)
		var all sync.WaitGroup
		all.Go(func() { _, _ = env.Ask(env.Vendors[0], token.Request{}) }) // holds the lease
		time.Sleep(100 * time.Millisecond)
		env.Table.Misbehave(late(30 * time.Millisecond))
		all.Go(func() { _, _ = env.Ask(env.Vendors[1], token.Request{}) }) // looks at the row
		time.Sleep(10 * time.Millisecond)
		again, err := env.Ask(env.Vendors[1], token.Request{Rejected: rejected})
		if err != nil || again.Token.Fingerprint() == rejected {
			t.Errorf("the rejected token was handed out again: %s, %v", again.Outcome, err)
		}
		all.Wait()
	})
}

// TestRefreshAfterIsAtLeastASecond: The same token would come again.
func TestRefreshAfterIsAtLeastASecond(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Server.Misbehave(oauthtest.Members(map[string]any{"expires_in": 60}))
		for range 58 {
			if grant := env.MustVend(token.Request{Caller: "x"}); grant.RefreshAfter(env.Now()) < time.Second {
				t.Fatalf("ask again after %v", grant.RefreshAfter(env.Now()))
			}
			env.Pass(time.Second)
		}
	})
}

// TestThrottlingTableDelaysOneRequest: while the table throttles all calls, one request of an
// environment finds out that this lasts. All get their tokens in time, and no further one makes a
// call again.
func TestThrottlingTableDelaysOneRequest(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		env.Table.Misbehave(func(context.Context) error { return fleet.ErrThrottled })
		var calls []int
		for i := range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // less than the function's Timeout
			before := env.Table.Calls()
			_, err := env.Vendors[0].Vend(ctx, func(r *token.Request) error {
				*r = token.Request{Client: "billing", Ask: ask.Ask{Scope: []string{fmt.Sprint("s", i)}}, Caller: "aws:111122223333:role/x"}
				return nil
			})
			if cancel(); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
			calls = append(calls, env.Table.Calls()-before)
			time.Sleep(8 * time.Second) // until the environment's share has a permit again
		}
		if calls[1] > calls[0]/2 || calls[2] > calls[0]/2 {
			t.Errorf("the requests made %d calls", calls)
		}
	})
}
