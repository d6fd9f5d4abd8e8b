package token_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
	"tokenvendor/shared/tokensource"
)

// onForm applies f to the requests whose parameter has the value.
func onForm(name, value string, f oauthtest.Fault) oauthtest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		if r.FormValue(name) == value {
			f(w, r, next, done)
			return
		}
		next.ServeHTTP(w, r)
	}
}

func scoped(caller, scope string) token.Request {
	return token.Request{Caller: caller, Ask: ask.Ask{Scope: []string{scope}}}
}

// TestWrongPasteLosesNoToken: Calls every 10 s, from warm and from new environments, get a
// token while the current version of the secret is wrong.
func TestWrongPasteLosesNoToken(t *testing.T) {
	tokentest.RunFleet(t, 4, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		env.Pass(10 * time.Minute)
		env.Put("billing", "v2", map[string]any{"client_secret": "pasted wrong"})
		old := 0
		for begin := env.Now(); env.Now().Sub(begin) < 4*time.Hour; env.Pass(10 * time.Second) {
			vendors := slices.Clone(env.Vendors)
			if env.Now().Sub(begin)%(7*time.Minute) == 0 {
				vendors = append(vendors, env.Environment(nil))
			}
			for _, v := range vendors {
				grant, err := env.Ask(v, token.Request{})
				if err != nil {
					t.Fatalf("after %v: %v", env.Now().Sub(begin), err)
				}
				if grant.OldCredential {
					old++
				}
				if grant.OldCredential != (grant.Outcome == tokensource.Stale) || grant.Token.Version() != "v1" {
					t.Fatalf("after %v: got outcome %s of version %s", env.Now().Sub(begin), grant.Outcome, grant.Token.Version())
				}
			}
			if begin.Add(9 * time.Minute).After(env.Now()) {
				env.WantCounts(1, min(1, env.Server.FailedLogons("id")))
			}
		}
		if failed := env.Server.FailedLogons("id"); failed > 3 {
			t.Errorf("%d failed logons in four hours", failed)
		}
		if old < 1000 || env.Counted(tokensource.CountCandidate) == 0 {
			t.Errorf("%d tokens of the old credential, %d reports of the candidate", old, env.Counted(tokensource.CountCandidate))
		}
		env.Put("billing", "v3", nil)
		env.Pass(10 * time.Second)
		for _, v := range env.Vendors {
			if grant, err := env.Ask(v, token.Request{}); err != nil || grant.OldCredential {
				t.Errorf("with the right secret: %v, old credential %v", err, grant.OldCredential)
			}
		}
	})
}

// TestWrongPasteWithoutTable: A new environment makes one exchange with the previous version.
func TestWrongPasteWithoutTable(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v2", map[string]any{"client_secret": "pasted wrong"})
		for range 5 {
			if grant := env.WantOutcome(tokensource.Stale); !grant.OldCredential || grant.Token.Version() != "v1" {
				t.Errorf("got a token of version %s", grant.Token.Version())
			}
		}
		env.WantCounts(1, 1)
		env.Put("billing", "v3", map[string]any{"previous": "never", "client_secret": "wrong again"})
		env.Pass(10 * time.Second)
		env.WantOutcome(tokensource.Stale) // a token is not an exchange
		env.Pass(time.Hour)
		env.WantKind(token.Request{}, fault.Misconfigured)
	})
}

// TestBothVersionsWrong: Two failed logons come of it at once, of the current version two more from
// 10 minutes on, and no further one within four hours, whatever callers ask for.
func TestBothVersionsWrong(t *testing.T) {
	for _, c := range []struct{ environments, scopes, callers int }{{0, 0, 1}, {0, 8, 3}, {3, 0, 1}, {3, 8, 4}} {
		t.Run(fmt.Sprint(c.environments, " environments, ", c.scopes, " scopes"), func(t *testing.T) {
			t.Parallel()
			tokentest.RunFleet(t, c.environments, func(t *testing.T, env *tokentest.Fleet) {
				if c.environments == 0 {
					env.Vendors = append(env.Vendors, token.New(env.Config()))
				}
				env.Put("billing", "v1", map[string]any{"client_secret": "wrong"})
				env.Put("billing", "v2", map[string]any{"client_secret": "wrong as well"})
				failed := logonsFailed(env.Env, 4*time.Hour-time.Minute, func() int { return env.Server.FailedLogons("id") }, func(i int) {
					for k, v := range env.Vendors {
						r := token.Request{Caller: fmt.Sprint("caller", (i+k)%c.callers)}
						if c.scopes > 0 {
							r.Scope = []string{fmt.Sprint((i + k) % c.scopes)}
						}
						if _, err := env.Ask(v, r); err == nil {
							t.Fatal("got a token")
						}
					}
				})
				if within(failed, 9*time.Minute) != 2 || within(failed, time.Hour) < 3 || len(failed) != 4 {
					t.Errorf("logons failed at %v", failed)
				}
			})
		})
	}
}

// TestRotationDuringOutage: The server answers 503 for as long as the old token lives.
func TestRotationDuringOutage(t *testing.T) {
	tokentest.RunFleet(t, 4, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		if err := env.Server.SetSecrets("id", "new"); err != nil {
			t.Fatal(err)
		}
		env.Server.Misbehave(oauthtest.Answer(503, "", ""))
		env.Put("billing", "v2", map[string]any{"client_secret": "new"})
		for begin := env.Now(); env.Now().Sub(begin) < 59*time.Minute; env.Pass(10 * time.Second) {
			for _, v := range append(slices.Clone(env.Vendors), env.Environment(nil)) {
				if _, err := env.Ask(v, token.Request{}); err != nil {
					t.Fatalf("after %v: %v", env.Now().Sub(begin), err)
				}
			}
		}
		env.Server.Behave()
		env.Pass(7 * time.Minute)
		env.WantTokens(1)
		env.WantCounts(2, 0)
	})
}

// TestSameContentCostsNoExchange: A new version that holds the same credential is proven.
func TestSameContentCostsNoExchange(t *testing.T) {
	tokentest.RunFleet(t, 3, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		env.Put("billing", "v2", nil)
		env.Pass(6 * time.Minute)
		for _, v := range append(slices.Clone(env.Vendors), env.Environment(nil)) {
			if grant, err := env.Ask(v, token.Request{}); err != nil || grant.Outcome == tokensource.Stale {
				t.Errorf("got outcome %s, error %v", grant.Outcome, err)
			}
		}
		env.WantCounts(1, 0)
	})
}

// TestProvenVersionReplacesTokensAtRefresh: A rotation costs one exchange for all scopes.
func TestProvenVersionReplacesTokensAtRefresh(t *testing.T) {
	tokentest.RunFleet(t, 3, func(t *testing.T, env *tokentest.Fleet) {
		for i := range 5 {
			if _, errs := env.All(1, scoped("", fmt.Sprint(i))); len(errs) != 0 {
				t.Fatal(errs)
			}
		}
		if err := env.Server.SetSecrets("id", "good", "new"); err != nil {
			t.Fatal(err)
		}
		env.Put("billing", "v2", map[string]any{"client_secret": "new"})
		env.Pass(6 * time.Minute)
		for range 3 {
			for i := range 5 {
				if _, errs := env.All(1, scoped("", fmt.Sprint(i))); len(errs) != 0 {
					t.Fatal(errs)
				}
			}
			env.Pass(10 * time.Second)
		}
		env.WantCounts(6, 0)
	})
}

// TestNarrowedDocumentIsObeyed: Tokens of other terms are not handed out.
func TestNarrowedDocumentIsObeyed(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		if _, errs := env.All(1, scoped("", "write")); len(errs) != 0 {
			t.Fatal(errs)
		}
		env.Put("billing", "v2", map[string]any{"scope": "read", "client_secret": "wrong"})
		env.Pass(6 * time.Minute)
		for _, v := range env.Vendors {
			if _, err := env.Ask(v, scoped("", "write")); fault.From(err).Kind != fault.InvalidScope {
				t.Errorf("got error %v, want an invalid scope", err)
			}
			// The previous version's credential serves for the terms of the current one.
			if grant, err := env.Ask(v, token.Request{}); err != nil || !grant.OldCredential {
				t.Errorf("got error %v, old credential %v", err, grant.OldCredential)
			}
		}
		env.Put("billing", "v3", map[string]any{"client_id": "other", "client_secret": "wrong"})
		env.Pass(6 * time.Minute)
		if _, errs := env.All(1, token.Request{}); len(errs) != 2 {
			t.Errorf("got %d errors for another client_id, want 2", len(errs))
		}
		env.PutText("billing", "", "")
		env.Pass(6 * time.Minute)
		for _, v := range env.Vendors {
			if _, err := env.Ask(v, token.Request{}); fault.From(err).Kind != fault.Denied {
				t.Errorf("got error %v of a deleted client", err)
			}
		}
	})
}

// TestParametersOfOneCallerHarmNoOther: The server answers 401 to some parameters.
func TestParametersOfOneCallerHarmNoOther(t *testing.T) {
	requests := 1000 // in 75 minutes
	if testing.Short() {
		requests = 200
	}
	for name, bad := range map[string]struct {
		request token.Request
		fault   oauthtest.Fault
		order   bool
		failed  int // logons in 75 minutes; other answers of the server are none
	}{
		"app_tid": {token.Request{Ask: ask.Ask{AppTID: "nobody"}}, onForm("app_tid", "nobody", oauthtest.RefuseWith(401, "invalid_client", "")), false, 2},
		"order":   {token.Request{Ask: ask.Ask{AppTID: "nobody"}}, onForm("app_tid", "nobody", oauthtest.RefuseWith(401, "invalid_client", "")), true, 2},
		"scope":   {scoped("", "bad"), onForm("scope", "bad", oauthtest.RefuseWith(401, "invalid_client", "")), false, 2},
		"text":    {scoped("", "invalid_client"), onForm("scope", "invalid_client", oauthtest.Answer(400, "text/html", "<p>unknown scope invalid_client</p>")), false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokentest.RunFleet(t, 3, func(t *testing.T, env *tokentest.Fleet) {
				env.Put("billing", "v1", map[string]any{"allow_parameters": []string{"app_tid"}})
				env.WantTokens(1)
				env.Server.Misbehave(bad.fault)
				for i := range requests {
					request := bad.request
					request.Caller = "attacker"
					v := env.Vendors[i%3]
					var err error
					if bad.order {
						_, err = env.TryAnnounce(i%3, request, token.Order{ID: fmt.Sprint(i)})
					} else {
						_, err = env.Ask(v, request)
					}
					if err == nil {
						t.Fatal("the attacker got a token")
					}
					own := token.Request{Caller: "innocent"}
					if i%100 == 0 {
						own = scoped("innocent", fmt.Sprint("s", i))
						v = env.Environment(nil)
					}
					if _, err := env.Ask(v, own); err != nil {
						t.Fatalf("call %d of another caller: %v", i, err)
					}
					env.Pass(75 * time.Minute / time.Duration(requests))
				}
				if n := env.Counted(tokensource.CountFailedLogon); n != bad.failed {
					t.Errorf("%d failed logons in 75 minutes, want %d", n, bad.failed)
				}
			})
		})
	}
}

// TestParametersFaultIsTheCallers: The answer says so, and that the credential is good.
func TestParametersFaultIsTheCallers(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.MustVend(token.Request{})
		env.Server.Misbehave(onForm("scope", "bad", oauthtest.Answer(401, "application/json", `{"error":"invalid_client"}`)))
		failure := env.WantKind(scoped("a", "bad"), fault.Malformed)
		if failure.Upstream == nil || failure.Upstream.Status != 401 || !failure.Fuse.IsZero() {
			t.Errorf("got %+v", failure)
		}
		if env.Counted(tokensource.CountParameters) != 1 {
			t.Error("it is not counted")
		}
	})
}

// TestRevokedCredentialBlowsTheFuse: Parameters of callers do not hide that the credential is
// refused.
func TestRevokedCredentialBlowsTheFuse(t *testing.T) {
	tokentest.RunFleet(t, 3, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		if err := env.Server.SetSecrets("id", "revoked"); err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			if _, err := env.Ask(env.Vendors[i%3], scoped("a", fmt.Sprint(i))); fault.From(err).Fuse.IsZero() {
				t.Fatalf("got error %v, want that of the fuse", err)
			}
			env.Pass(5 * time.Second)
		}
		if n := env.Server.FailedLogons("id"); n > 2 {
			t.Errorf("%d failed logons", n)
		}
	})
}

// TestNewAsksAreLimited: One caller may take two thirds of a client's bucket, and asks that obtained
// a token before are not limited.
func TestNewAsksAreLimited(t *testing.T) {
	tokentest.RunFleet(t, 5, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		made := func(caller, prefix string) (n int) {
			for i := range 40 {
				_, err := env.Ask(env.Vendors[i%5], scoped(caller, fmt.Sprint(prefix, i)))
				if err == nil {
					n++
				} else if failure := fault.From(err); failure.Kind != fault.Throttled || failure.RetryAfter < time.Second {
					t.Errorf("got error %v", err)
				}
			}
			return n
		}
		if n := made("greedy", "a"); n != 20 {
			t.Errorf("one caller got %d new asks, want 20", n)
		}
		if n := made("other", "b"); n != 10 {
			t.Errorf("another caller got %d new asks, want 10", n)
		}
		if n := made("greedy", "a"); n < 20 {
			t.Errorf("%d of the known asks were answered, want 20", n)
		}
		env.Pass(time.Minute)
		if n := made("third", "c"); n != 12 {
			t.Errorf("%d new asks after a minute, want 12", n)
		}
	})
}

// known obtains the tokens of n scopes for a caller, and returns requests with which it has them
// replaced.
func known(env *tokentest.Fleet, caller string, n int, minTTL time.Duration) (again []token.Request) {
	for i := range n {
		r := scoped(caller, fmt.Sprint("known", i))
		grant, err := env.Ask(env.Vendors[i%len(env.Vendors)], r)
		if err != nil {
			env.Fatal(err)
		}
		if r.MinTTL = minTTL; minTTL == 0 {
			r.Rejected = grant.Token.Fingerprint()
		}
		again = append(again, r)
		env.Pass(8 * time.Second)
	}
	env.Pass(5 * time.Minute)
	return again
}

// TestReplacedTokensAreLimited: A caller rejects 60 tokens at once, or wants all of their life. The
// new asks of other callers are answered as if it did not, and the caller gets its share.
func TestReplacedTokensAreLimited(t *testing.T) {
	for name, c := range map[string]struct {
		minTTL       time.Duration
		environments int // 0: one without the table
	}{"rejected": {0, 0}, "min_ttl": {time.Hour, 3}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokentest.RunFleet(t, c.environments, func(t *testing.T, env *tokentest.Fleet) {
				if c.environments == 0 {
					env.Vendors = append(env.Vendors, token.New(env.Config()))
				}
				again := known(env, "greedy", 60, c.minTTL)
				for i := range c.environments {
					env.Vendors[i] = env.Environment(nil) // the tokens are in the table only
				}
				before := env.Server.Exchanges()
				var all sync.WaitGroup
				for i, r := range again {
					all.Go(func() { _, _ = env.Ask(env.Vendors[i%len(env.Vendors)], r) })
				}
				const others = 20
				for i := range others {
					time.Sleep(50 * time.Millisecond)
					all.Go(func() {
						if _, err := env.Ask(env.Vendors[i%len(env.Vendors)], scoped(fmt.Sprint("other", i%4), fmt.Sprint("new", i))); err != nil {
							t.Errorf("new ask %d: %v", i, err)
						}
					})
				}
				all.Wait()
				if n := env.Server.Exchanges() - before - others; n < 10 || n > 20 {
					t.Errorf("%d tokens of the greedy caller were replaced, want its share", n)
				}
			})
		})
	}
}

// TestReplacedTokensLeaveASlot: The server is slow, and callers wait to have tokens replaced.
func TestReplacedTokensLeaveASlot(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		again := known(env, "greedy", 20, 0)
		env.Server.Misbehave(oauthtest.Late(1500 * time.Millisecond))
		var all sync.WaitGroup
		for _, r := range again {
			all.Go(func() { _, _ = env.Ask(env.Vendors[0], r) })
		}
		time.Sleep(100 * time.Millisecond)
		if _, err := env.Ask(env.Vendors[0], scoped("other", "new")); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
}

// TestRejectedTokensOfAnHonestCaller: They were revoked. The caller gets new ones at once, also of
// scopes whose tokens another caller rejects after it has used up its share.
func TestRejectedTokensOfAnHonestCaller(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		again := known(env, "greedy", 30, 0)
		for i, r := range again[:20] {
			if _, err := env.Ask(env.Vendors[i%2], r); err != nil {
				t.Errorf("token %d of the share: %v", i, err)
			}
		}
		env.Table.Misbehave(late(20 * time.Millisecond)) // so that both callers ask at the same time
		var all sync.WaitGroup
		defer all.Wait()
		for i, beyond := range again[20:] {
			r := beyond
			all.Go(func() {
				if _, err := env.Ask(env.Vendors[i%2], beyond); fault.From(err).Kind != fault.Throttled || fault.From(err).RetryAfter < time.Second {
					t.Errorf("beyond the share: got error %v, want that of a limit", err)
				}
			})
			time.Sleep(10 * time.Millisecond)
			revoked := r.Rejected
			r.Caller = "honest"
			if grant, err := env.Ask(env.Vendors[i%2], r); err != nil || grant.Token.Fingerprint() == revoked {
				t.Errorf("token %d of another caller: %v", i, err)
			}
		}
	})
}

// TestBackoffDoublesForEveryFailure: A server that refuses is not asked a thousand times an
// hour.
func TestBackoffDoublesForEveryFailure(t *testing.T) {
	interval := time.Second // of requests
	if testing.Short() {
		interval *= 4
	}
	for name, f := range map[string]oauthtest.Fault{
		"404":           oauthtest.Answer(404, "", ""),
		"invalid_grant": oauthtest.RefuseWith(400, "invalid_grant", ""),
		"no token":      oauthtest.Answer(200, "application/json", `{}`),
		"invalid_scope": oauthtest.RefuseWith(400, "invalid_scope", ""),
		"redirect":      oauthtest.Redirect(302, "https://elsewhere.example"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tokentest.RunFleet(t, 3, func(t *testing.T, env *tokentest.Fleet) {
				env.Server.Misbehave(f)
				for begin := env.Now(); env.Now().Sub(begin) < time.Hour; env.Pass(interval) {
					_, _ = env.Ask(env.Vendors[env.Now().Second()%3], token.Request{})
				}
				if n := len(env.Server.Requests()); n < 20 || n > 60 {
					t.Errorf("%d requests in an hour", n)
				}
			})
		})
	}
}

// TestCorrectedHostIsSeenAtOnce: A document whose client fails is read again after 10 s, and
// a correction that is wrong itself is reported.
func TestCorrectedHostIsSeenAtOnce(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Server.Misbehave(oauthtest.Reset)
		env.WantKind(token.Request{}, fault.Unavailable)
		env.Server.Behave()
		env.PutText("billing", "v2", `{"client_id": 5}`)
		env.Pass(11 * time.Second)
		env.Server.Misbehave(oauthtest.Reset)
		failure := env.WantKind(token.Request{}, fault.Unavailable)
		if env.Counted(token.CountDocument) == 0 || failure.Detail == "" {
			t.Errorf("the new version's problem is not reported: %v", failure)
		}
		env.Server.Behave()
		env.Put("billing", "v3", nil)
		env.Pass(time.Minute)
		env.MustVend(token.Request{})
	})
}

// TestShortLivedTokens: expires_in is never 0.
func TestShortLivedTokens(t *testing.T) {
	for life := 1; life <= 20; life++ {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			env.Server.Misbehave(oauthtest.Members(map[string]any{"expires_in": life}))
			for range 100 {
				grant, err := env.Vend(token.Request{})
				if err == nil && grant.Token.Expiry().Sub(env.Now()) < min(time.Second, time.Duration(life)*time.Second/2) {
					t.Fatalf("life %d: a token with %v left", life, grant.Token.Expiry().Sub(env.Now()))
				}
				env.Pass(290 * time.Millisecond)
			}
		})
	}
}

// TestTokenOfFastClockIsNotShared: Its end is not known.
func TestTokenOfFastClockIsNotShared(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		if _, err := env.Ask(env.Skewed(time.Hour), token.Request{}); err != nil {
			t.Fatal(err)
		}
		grant, err := env.Ask(env.Vendors[0], token.Request{})
		if err != nil || grant.Token.Issued().After(env.Now()) {
			t.Errorf("got a token issued %v ahead, error %v", grant.Token.Issued().Sub(env.Now()), err)
		}
	})
}

// twoClocks returns a function that makes the clock of an environment in a bubble, whose times have no
// monotonic reading. [tokentest.Fleet.Pass] changes the wall clock only. Package time offers no such
// times.
func twoClocks() func(env *tokentest.Fleet) func() time.Time {
	base := time.Now()
	return func(env *tokentest.Fleet) func() time.Time {
		start := time.Now()
		return func() time.Time {
			at := base.Add(time.Since(start))
			*(*uint64)(unsafe.Pointer(&at)) += uint64(env.Now().Sub(at.Round(0))/time.Second) << 30
			return at
		}
	}
}

// TestClockIsSetBack: Documents, policies and tokens in memory do not live longer, with the table and
// without it.
func TestClockIsSetBack(t *testing.T) {
	clock := twoClocks()
	for name, back := range map[string]time.Duration{"to after the load": 20 * time.Second, "to before it": time.Hour} {
		for _, alone := range []bool{true, false} {
			tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
				policyReads := 0
				vendor := env.Environment(func(cfg *token.Config) {
					if alone {
						*cfg = env.Config()
					}
					cfg.Now = clock(env)
					cfg.Policy = func(context.Context, bool) (secret.Secret, error) {
						policyReads++
						return tokentest.PolicySecret(onlyA), nil
					}
				})
				ask := func(step string, reads int) string {
					t.Helper()
					grant, err := env.Ask(vendor, token.Request{Caller: teamA})
					if err != nil || env.Reads() != reads || policyReads != reads {
						t.Fatalf("%s, alone %t, %s: got error %v, %d reads of the document, %d of the policy; want %d", name, alone, step, err, env.Reads(), policyReads, reads)
					}
					return grant.Token.Fingerprint()
				}
				first := ask("at first", 1)
				time.Sleep(30 * time.Second)
				if ask("before", 1) != first {
					t.Fatal("the first token is not in memory")
				}
				env.Pass(-back)
				second := ask("after", 2)
				if second == first {
					t.Errorf("%s, alone %t: got the token of before", name, alone)
				}
				if ask("later", 2) != second {
					t.Errorf("%s, alone %t: the second token is not in memory", name, alone)
				}
			})
		}
	}
}

// TestReloadsAfterClockIsSetBack: Callers did not cause these loads, so that their share does not
// limit them.
func TestReloadsAfterClockIsSetBack(t *testing.T) {
	clock := twoClocks()
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		vendor := env.Environment(func(cfg *token.Config) {
			*cfg = env.Config()
			cfg.Now = clock(env)
		})
		for round := range 2 {
			for i := range 25 {
				if _, err := env.Ask(vendor, scoped(teamA, fmt.Sprint("s", i))); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
				time.Sleep(time.Duration(1-round) * 10 * time.Second) // a new ask is limited
			}
			env.Pass(-time.Hour)
		}
	})
}

// TestNewSecretIsTriedAgainSoon: The server accepts it a moment after it was written.
func TestNewSecretIsTriedAgainSoon(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.DateVersions()
		env.Put("fresh", "v1", map[string]any{"client_secret": "soon"})
		env.WantKind(token.Request{Client: "fresh"}, fault.Misconfigured)
		if err := env.Server.SetSecrets("id", "soon"); err != nil {
			t.Fatal(err)
		}
		env.Pass(2*time.Minute + time.Second)
		env.MustVend(token.Request{Client: "fresh"})
	})
}

// TestMalformedPasteLosesNoToken: A new environment uses the version before, for a day.
func TestMalformedPasteLosesNoToken(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		env.DateVersions()
		env.PutText("billing", "v2", `{"client_id":`)
		cold := env.Environment(nil)
		for range 3 {
			if grant, err := env.Ask(cold, token.Request{}); err != nil || grant.Token.Version() != "v1" {
				t.Fatalf("got error %v", err)
			}
			env.Pass(2 * time.Minute)
		}
		if env.Counted(token.CountDocument) == 0 {
			t.Error("the broken document is not counted")
		}
		env.Pass(24 * time.Hour)
		if _, err := env.Ask(cold, token.Request{}); fault.From(err).Kind != fault.Misconfigured {
			t.Errorf("after a day: got error %v", err)
		}
	})
}
