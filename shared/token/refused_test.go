package token_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// onAny applies f to the requests that have the parameter.
func onAny(name string, f oauthtest.Fault) oauthtest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		if r.FormValue(name) != "" {
			f(w, r, next, done)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// counting counts the requests to which f is applied, which the server itself does not count.
func counting(n *atomic.Int64, f oauthtest.Fault) oauthtest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		n.Add(1)
		f(w, r, next, done)
	}
}

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
				// After the longest lockout an ask that a caller chose may need a second logon.
				if within(failed, 10*time.Minute) > 2 || within(failed, 70*time.Minute) > 3 || within(failed, 310*time.Minute) > 4 || len(failed) < 5 || len(failed) > 6 {
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
		env.Pass(100 * time.Minute) // the reference is not old yet
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

// tenants asks for the tokens of tenants. The server knows all of them.
func tenants(env *tokentest.Fleet, n int) (of func(i int) token.Request) {
	env.Put("billing", "v1", map[string]any{"allow_parameters": []string{"app_tid"}})
	env.WantTokens(1)
	of = func(i int) token.Request {
		return token.Request{Caller: fmt.Sprint("caller", i%3), Ask: ask.Ask{AppTID: fmt.Sprint("tenant", i)}}
	}
	for i := range n {
		if _, err := env.Ask(env.Vendors[i%len(env.Vendors)], of(i)); err != nil {
			env.Fatal(err)
		}
		env.Pass(8 * time.Second)
	}
	return of
}

// TestOffboardedTenants: Their tokens worked, and then the server refuses them. Each of them fails
// once when its token ends. A single one is tried again after 10 minutes and then each hour, several
// of them together once an hour. Callers of another tenant suffer nothing.
func TestOffboardedTenants(t *testing.T) {
	const hours = 4
	for _, c := range []struct{ environments, tenants int }{{0, 1}, {1, 1}, {3, 1}, {3, 8}, {3, 30}} {
		t.Run(fmt.Sprint(c.environments, " environments, ", c.tenants, " tenants"), func(t *testing.T) {
			t.Parallel()
			tokentest.RunFleet(t, c.environments, func(t *testing.T, env *tokentest.Fleet) {
				if c.environments == 0 {
					env.Vendors = append(env.Vendors, token.New(env.Config()))
				}
				of := tenants(env, c.tenants)
				var refused atomic.Int64
				env.Server.Misbehave(onAny("app_tid", counting(&refused, oauthtest.RefuseWith(401, "invalid_client", ""))))
				failed := logonsFailed(env.Env, hours*time.Hour, func() int { return int(refused.Load()) }, func(i int) {
					for k := range c.tenants {
						_, _ = env.Ask(env.Vendors[(i+k)%len(env.Vendors)], of(k))
					}
					if _, err := env.Ask(env.Vendors[i%len(env.Vendors)], token.Request{Caller: "innocent"}); err != nil {
						t.Fatalf("another caller: %v", err)
					}
				})
				if first := within(failed, 50*time.Minute); first > c.tenants+1 {
					t.Errorf("%d failed logons of %d tenants", first, c.tenants)
				}
				if len(failed) < c.tenants+1 || len(failed) > c.tenants+hours {
					t.Errorf("logons failed at %v", failed)
				}
				if largest := env.Table.Usage().Largest; largest > 20_000 {
					t.Errorf("a row has %d bytes", largest)
				}
			})
		})
	}
}

// TestTenantThatIsOnboardedAgain: It gets a token at the latest an hour after the last try, and
// counts as any other one then.
func TestTenantThatIsOnboardedAgain(t *testing.T) {
	tokentest.RunFleet(t, 3, func(t *testing.T, env *tokentest.Fleet) {
		of := tenants(env, 1)
		env.Server.Misbehave(onAny("app_tid", oauthtest.RefuseWith(401, "invalid_client", "")))
		env.Pass(2 * time.Hour)
		for i := range 30 {
			if _, err := env.Ask(env.Vendors[i%3], of(0)); err == nil {
				t.Fatal("got a token of a tenant that the server refuses")
			}
			env.Pass(time.Minute)
		}
		env.Server.Behave()
		env.Pass(time.Hour)
		for range 5 {
			if _, errs := env.All(1, of(0)); len(errs) != 0 {
				t.Fatal(errs)
			}
			env.Pass(40 * time.Minute)
		}
	})
}

// TestTenantOfTheFirstTokenIsOffboarded: Another caller's mistake must not be taken for that of the
// credential then.
func TestTenantOfTheFirstTokenIsOffboarded(t *testing.T) {
	for name, c := range map[string]struct {
		pass time.Duration // between the first token and the mistake
		last token.Request // that obtained a token
	}{
		"defaults":         {0, token.Request{}},
		"long ago":         {11 * time.Hour, token.Request{}},
		"another tenant":   {2 * time.Hour, token.Request{Ask: ask.Ask{AppTID: "other"}}},
		"nothing for long": {3 * time.Hour, token.Request{Ask: ask.Ask{AppTID: "first"}}},
	} {
		t.Run(name, func(t *testing.T) {
			tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
				env.Put("billing", "v1", map[string]any{"allow_parameters": []string{"app_tid"}})
				if _, errs := env.All(1, token.Request{Ask: ask.Ask{AppTID: "first"}}); len(errs) != 0 {
					t.Fatal(errs)
				}
				env.Pass(c.pass / 2)
				if c.last.AppTID != "first" {
					if _, err := env.Ask(env.Vendors[1], c.last); err != nil {
						t.Fatal(err)
					}
				}
				env.Pass(c.pass / 2)
				env.Server.Misbehave(onForm("app_tid", "first", oauthtest.RefuseWith(401, "invalid_client", "")))
				mistake := token.Request{Caller: "mistaken", Ask: ask.Ask{AppTID: "first", Scope: []string{"x"}}}
				for i := range env.Vendors {
					if _, err := env.Ask(env.Vendors[i], mistake); err == nil || !fault.From(err).Fuse.IsZero() {
						t.Errorf("the mistake: %v", err)
					}
					if _, err := env.Ask(env.Vendors[i], token.Request{Caller: "innocent", Ask: ask.Ask{Scope: []string{fmt.Sprint(i)}}}); err != nil {
						t.Errorf("another caller: %v", err)
					}
				}
			})
		})
	}
}

// hookedTable calls hook after each write that succeeds. A panic in it is one of ours.
type hookedTable struct {
	fleet.Table
	hook func(item fleet.Item, c fleet.Condition)
}

func (t *hookedTable) Update(ctx context.Context, item fleet.Item, c fleet.Condition) (*fleet.Item, bool, error) {
	old, ok, err := t.Table.Update(ctx, item, c)
	if ok && t.hook != nil {
		t.hook(item, c)
	}
	return old, ok, err
}

// hooked starts an environment with a table that calls the hook.
func hooked(env *tokentest.Fleet) (*token.Vendor, *hookedTable) {
	table := &hookedTable{Table: &env.Table}
	return env.Environment(func(c *token.Config) {
		c.Fleet = fleet.New(fleet.Config{Table: table, Keys: &env.Keys, Now: env.Now})
		c.Fleet.Open(env.Context())
	}), table
}

// TestFreezeBeforeALogon: The function is frozen when it has the lease of the logon, and another
// environment learns meanwhile that the credential is refused.
func TestFreezeBeforeALogon(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", map[string]any{"client_secret": "bad"})
		frozen, table := hooked(env)
		leases := 0
		table.hook = func(item fleet.Item, c fleet.Condition) {
			if c.FreeAt == 0 || item.Owner == "" {
				return
			}
			if leases++; leases == 2 { // the first one is that of the token
				env.Pass(time.Minute)
				_, _ = env.Ask(env.Vendors[0], token.Request{})
				env.WantCounts(0, 1)
			}
		}
		if _, err := env.Ask(frozen, token.Request{}); err == nil || leases < 2 {
			t.Errorf("got error %v after %d leases", err, leases)
		}
		env.WantCounts(0, 1)
	})
}

// TestPanicAtTheEndOfALogon: It ends neither the process nor the use of the credential.
func TestPanicAtTheEndOfALogon(t *testing.T) {
	tokentest.RunFleet(t, 0, func(t *testing.T, env *tokentest.Fleet) {
		v, table := hooked(env)
		panics := 0
		table.hook = func(_ fleet.Item, c fleet.Condition) {
			if c.OwnedBy != "" {
				panics++
				panic("table")
			}
		}
		_, _ = env.Ask(v, token.Request{})
		if table.hook = nil; panics == 0 {
			t.Fatal("no lease was ended")
		}
		env.Pass(time.Minute)
		if _, err := env.Ask(v, scoped("", "read")); err != nil {
			t.Errorf("after the panic: %v", err)
		}
	})
}

// TestMistakeAfterARotation: The server accepts no request without a tenant, and the first one after
// a rotation names none that exists. Other callers' requests work with the new version, after the
// time of two failed logons: the version before was refused as well.
func TestMistakeAfterARotation(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		env.Server.Misbehave(needsTenant)
		tenant := func(caller, id string) token.Request { return token.Request{Caller: caller, Ask: ask.Ask{AppTID: id}} }
		members := map[string]any{"allow_parameters": []string{"app_tid"}}
		env.Put("billing", "v1", members)
		if _, errs := env.All(1, tenant("a", "one")); len(errs) != 0 {
			t.Fatal(errs)
		}
		if err := env.Server.SetSecrets("id", "new"); err != nil {
			t.Fatal(err)
		}
		members["client_secret"] = "new"
		env.Put("billing", "v2", members)
		env.Pass(6 * time.Minute)
		if _, err := env.Ask(env.Vendors[0], tenant("mistaken", "nobody")); err == nil {
			t.Fatal("got a token for nobody")
		}
		env.Pass(11 * time.Minute)
		if grant, err := env.Ask(env.Vendors[1], tenant("b", "two")); err != nil || grant.Token.Version() != "v2" {
			t.Errorf("another caller: %v", err)
		}
	})
}

// needsTenant is a server that accepts no request without a tenant, nor with an unknown one.
func needsTenant(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
	if id := r.FormValue("app_tid"); id == "" || id == "nobody" {
		oauthtest.RefuseWith(401, "invalid_client", "")(w, r, next, done)
		return
	}
	next.ServeHTTP(w, r)
}

// TestMistakeBeforeTheFirstToken: The first request of a client names no tenant that exists. Another
// caller gets a token at once, and the first one with the right parameters, too.
func TestMistakeBeforeTheFirstToken(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		env.Server.Misbehave(needsTenant)
		env.Put("billing", "v1", map[string]any{"allow_parameters": []string{"app_tid"}})
		tenant := func(caller, id string) token.Request { return token.Request{Caller: caller, Ask: ask.Ask{AppTID: id}} }
		if _, err := env.Ask(env.Vendors[0], tenant("mistaken", "nobody")); err == nil {
			t.Fatal("got a token for nobody")
		}
		for i, r := range []token.Request{tenant("b", "two"), tenant("mistaken", "one")} {
			if _, err := env.Ask(env.Vendors[(1+i)%2], r); err != nil {
				t.Errorf("caller %s: %v", r.Caller, err)
			}
		}
	})
}

// TestWrongSecretOfAClientWithTenants: Its server accepts no request without a tenant, either. Three
// logons fail at once, and then one each four hours. When the server knows the secret, the next one
// brings a token.
func TestWrongSecretOfAClientWithTenants(t *testing.T) {
	for _, environments := range []int{0, 3} {
		t.Run(fmt.Sprint(environments, " environments"), func(t *testing.T) {
			t.Parallel()
			tokentest.RunFleet(t, environments, func(t *testing.T, env *tokentest.Fleet) {
				if environments == 0 {
					env.Vendors = append(env.Vendors, token.New(env.Config()))
				}
				env.Put("billing", "v1", map[string]any{"client_secret": "soon", "allow_parameters": []string{"app_tid"}})
				var refused atomic.Int64
				env.Server.Misbehave(counting(&refused, oauthtest.RefuseWith(401, "invalid_client", "")))
				served := 0
				try := func(i int) {
					r := token.Request{Caller: fmt.Sprint("caller", i%3), Ask: ask.Ask{AppTID: fmt.Sprint("tenant", i%8)}}
					if _, err := env.Ask(env.Vendors[i%len(env.Vendors)], r); err == nil {
						served++
					}
				}
				failed := logonsFailed(env.Env, 7*time.Hour, func() int { return int(refused.Load()) }, try)
				if within(failed, time.Minute) != 3 || within(failed, 4*time.Hour-time.Minute) != 3 || len(failed) != 4 {
					t.Errorf("logons failed at %v", failed)
				}
				if err := env.Server.SetSecrets("id", "soon"); err != nil {
					t.Fatal(err)
				}
				env.Server.Misbehave(needsTenant)
				if logonsFailed(env.Env, 2*time.Hour, func() int { return env.Server.FailedLogons("id") }, try); served == 0 {
					t.Error("no caller got a token")
				}
			})
		})
	}
}
