package token_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// logonsFailed asks every 20 s for the time d, and returns when logons failed after the first.
func logonsFailed(env *tokentest.Env, d time.Duration, failed func() int, ask func(i int)) (at []time.Duration) {
	var first time.Time
	for begin, i := env.Now(), 0; env.Now().Sub(begin) < d; i++ {
		before := failed()
		ask(i)
		for range failed() - before {
			if len(at) == 0 {
				first = env.Now()
			}
			at = append(at, env.Now().Sub(first))
		}
		env.Pass(20 * time.Second)
	}
	return at
}

// within returns how many logons failed in the first part of the time.
func within(at []time.Duration, d time.Duration) (n int) {
	for _, each := range at {
		if each < d {
			n++
		}
	}
	return n
}

// TestRevokedCredentialIsSentRarely: It worked, and callers ask for several scopes. One request finds
// out whether the scope is at fault, in whichever slot it is sent; then it is sent after 10
// minutes, an hour and 4 hours.
func TestRevokedCredentialIsSentRarely(t *testing.T) {
	for _, c := range []struct{ environments, scopes int }{{0, 1}, {0, 3}, {1, 1}, {1, 3}, {3, 3}, {6, 8}} {
		t.Run(fmt.Sprint(c.environments, " environments, ", c.scopes, " scopes"), func(t *testing.T) {
			t.Parallel()
			tokentest.RunFleet(t, c.environments, func(t *testing.T, env *tokentest.Fleet) {
				if c.environments == 0 {
					env.Vendors = append(env.Vendors, token.New(env.Config()))
				}
				for i := range c.scopes {
					if _, errs := env.All(1, scoped("", fmt.Sprint(i))); len(errs) != 0 {
						t.Fatal(errs)
					}
					env.Pass(2 * time.Minute)
				}
				if err := env.Server.SetSecrets("id", "revoked"); err != nil {
					t.Fatal(err)
				}
				failed := logonsFailed(env.Env, 7*time.Hour, func() int { return env.Server.FailedLogons("id") }, func(int) {
					for range 2 {
						_, _ = env.Ask(env.Vendors[rand.IntN(len(env.Vendors))], scoped("", fmt.Sprint(rand.IntN(c.scopes))))
					}
				})
				if within(failed, 10*time.Minute) > 2 || within(failed, 70*time.Minute) > 3 || within(failed, 310*time.Minute) > 4 || len(failed) != 5 {
					t.Errorf("logons failed at %v", failed)
				}
			})
		})
	}
}

// TestLostLockoutIsCounted: The table is down while an environment learns that the credential is
// refused, and the next lockout is longer all the same.
func TestLostLockoutIsCounted(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		env.Pass(2 * time.Hour)
		if err := env.Server.SetSecrets("id", "revoked"); err != nil {
			t.Fatal(err)
		}
		env.Table.Misbehave(fleettest.Down)
		_, _ = env.Ask(env.Vendors[0], token.Request{})
		env.Table.Misbehave(nil)
		env.Pass(11 * time.Minute)
		for range 4 {
			_, _ = env.Ask(env.Vendors[0], token.Request{})
			env.Pass(11 * time.Minute)
		}
		env.WantCounts(1, 2)
	})
}

// TestTwoAsksOfARevokedCredential: Both are sent at once, and one of them finds out why they failed.
func TestTwoAsksOfARevokedCredential(t *testing.T) {
	tokentest.RunFleet(t, 4, func(t *testing.T, env *tokentest.Fleet) {
		for i := range 4 {
			if _, errs := env.All(1, scoped("", fmt.Sprint(i))); len(errs) != 0 {
				t.Fatal(errs)
			}
		}
		env.Pass(2 * time.Hour)
		if err := env.Server.SetSecrets("id", "revoked"); err != nil {
			t.Fatal(err)
		}
		env.Server.Misbehave(oauthtest.Late(300 * time.Millisecond))
		var all sync.WaitGroup
		for i, v := range env.Vendors {
			all.Go(func() {
				for range 3 {
					_, _ = env.Ask(v, scoped("", fmt.Sprint(i)))
					time.Sleep(time.Second)
				}
			})
		}
		all.Wait()
		if n := env.Server.FailedLogons("id"); n > 3 {
			t.Errorf("%d failed logons, want three at most", n)
		}
	})
}

// TestAcceptedCredentialStartsAfresh: It was locked out in both slots, and is accepted again.
func TestAcceptedCredentialStartsAfresh(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		for range 4 {
			if err := env.Server.SetSecrets("id", "good"); err != nil {
				t.Fatal(err)
			}
			env.WantTokens(1)
			env.Pass(2 * time.Hour)
			if err := env.Server.SetSecrets("id", "revoked"); err != nil {
				t.Fatal(err)
			}
			if _, errs := env.All(1, token.Request{}); len(errs) != 2 {
				t.Fatalf("got %d errors, want 2", len(errs))
			}
			env.Pass(11 * time.Minute)
		}
		env.WantCounts(4, 4)
	})
}
