package token_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
	"tokenvendor/shared/tokensource"
)

// TestTokenIsRefreshedAtFourFifths: Jitter is a twentieth of the life.
func TestTokenIsRefreshedAtFourFifths(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.WantOutcome(tokensource.Exchanged)
		env.Pass(44*time.Minute + 59*time.Second)
		env.WantOutcome(tokensource.Hit)
		env.Pass(6*time.Minute + 2*time.Second)
		env.WantOutcome(tokensource.Refreshed)
		env.WantOutcome(tokensource.Hit)
		env.WantCounts(2, 0)
	})
}

// TestShortTokenIsNotRefreshedEarly: SAP allows a life of a minute.
func TestShortTokenIsNotRefreshedEarly(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Server.Misbehave(oauthtest.Members(map[string]any{"expires_in": 60}))
		env.WantOutcome(tokensource.Exchanged)
		env.Pass(56 * time.Second)
		env.WantOutcome(tokensource.Hit)
		env.Pass(time.Second)
		env.WantOutcome(tokensource.Exchanged)
		env.WantCounts(2, 0)
	})
}

// TestOutageUsesCachedToken: The outage is longer than the refresh window (envoy #44674,
// azure-sdk #31169). Every unexpired token is handed out, no expired one is, and the
// server is asked rarely.
func TestOutageUsesCachedToken(t *testing.T) {
	for name, inject := range map[string]oauthtest.Fault{"503": oauthtest.Answer(503, "", ""), "reset": oauthtest.Reset, "429": oauthtest.HTML429("")} {
		t.Run(name, func(t *testing.T) {
			tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
				env.WantOutcome(tokensource.Exchanged)
				env.Server.Misbehave(inject)
				var asked []time.Duration
				start := env.Now()
				for age := time.Duration(0); age < 100*time.Minute; age = env.Now().Sub(start) {
					before := len(env.Server.Requests())
					grant, err := env.Vend(token.Request{})
					switch {
					case err == nil && !env.Now().Before(grant.Token.Expiry().Add(-30*time.Second)):
						t.Fatalf("after %v: an expired token", age)
					case err != nil && age < 59*time.Minute+30*time.Second:
						t.Fatalf("after %v: %v", age, err)
					case err != nil && fault.From(err).RetryAfter < time.Second:
						t.Fatalf("after %v: no Retry-After", age)
					}
					if n := len(env.Server.Requests()) - before; n > 1 {
						t.Fatalf("after %v: %d calls at once", age, n)
					} else if n == 1 {
						asked = append(asked, age)
					}
					env.Pass(time.Second)
				}
				least := 30 * time.Second
				for i := 1; i < len(asked); i++ {
					if pause := asked[i] - asked[i-1]; pause < least || pause > least*5/4+2*time.Second {
						t.Errorf("pause %d was %v, want %v and up to a quarter more", i, pause, least)
					}
					least = min(2*least, 5*time.Minute)
				}
				if len(asked) < 10 {
					t.Errorf("asked %d times only: it is not tried any more", len(asked))
				}
				env.Server.Behave()
				env.Pass(7 * time.Minute)
				env.WantOutcome(tokensource.Exchanged)
				env.WantOutcome(tokensource.Hit)
			})
		})
	}
}

// TestFirstFailureIsRemembered: It counts for all callers, for seconds.
func TestFirstFailureIsRemembered(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Server.Misbehave(oauthtest.Answer(500, "", ""))
		for range 20 {
			env.WantKind(token.Request{}, fault.Unavailable)
		}
		if n := len(env.Server.Requests()); n != 1 {
			t.Errorf("asked %d times, want 1", n)
		}
		env.Server.Behave()
		env.Pass(5 * time.Second)
		env.WantOutcome(tokensource.Exchanged)
	})
}

// Test429StopsAllExchangesWithServer: MSAL .NET #4196. The backoff is the server's, not
// that of one token, and cached tokens are handed out.
func Test429StopsAllExchangesWithServer(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("other", "v1", nil)
		env.WantOutcome(tokensource.Exchanged)
		env.Server.Misbehave(oauthtest.HTML429("60"))
		env.WantKind(token.Request{Client: "other"}, fault.Throttled)
		asked := len(env.Server.Requests())
		for i := range 20 {
			failure := env.WantKind(token.Request{Client: "other", Ask: ask.Ask{Scope: []string{fmt.Sprint(i)}}}, fault.Throttled)
			if failure.RetryAfter < 50*time.Second || failure.RetryAfter > time.Minute {
				t.Errorf("Retry-After is %v", failure.RetryAfter)
			}
			env.WantOutcome(tokensource.Hit)
		}
		env.Pass(59 * time.Second)
		env.WantKind(token.Request{Client: "other", Ask: ask.Ask{Scope: []string{"x"}}}, fault.Throttled)
		if n := len(env.Server.Requests()); n != asked {
			t.Errorf("asked %d times although it wanted peace", n-asked)
		}
		env.Server.Behave()
		env.Pass(2 * time.Second)
		env.MustVend(token.Request{Client: "other", Ask: ask.Ask{Scope: []string{"y"}}})
		env.MustVend(token.Request{Client: "other", Ask: ask.Ask{Scope: []string{"z"}}})
	})
}

func TestOneProbeAfterThrottling(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Server.Misbehave(oauthtest.HTML429("300"))
		env.WantKind(token.Request{Ask: ask.Ask{Scope: []string{"a"}}}, fault.Throttled)
		env.Pass(5*time.Minute + time.Second)
		asked := len(env.Server.Requests())
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() { _, _ = env.Vend(token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint("s", i)}}}) })
		}
		all.Wait()
		if n := len(env.Server.Requests()) - asked; n != 1 {
			t.Errorf("%d probes, want 1", n)
		}
	})
}

// TestExchangeRateOfOneEnvironment: It is ten at once, and ten a second.
func TestExchangeRateOfOneEnvironment(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		for i := range 60 {
			env.Put(fmt.Sprint("c", i), "v1", nil)
		}
		start := time.Now()
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() { _, _ = env.Vend(token.Request{Client: fmt.Sprint("c", i)}) })
		}
		all.Wait()
		most := 11 + int(time.Since(start)/(time.Second/10))
		if n := env.Server.Exchanges(); n > most || n < 20 {
			t.Errorf("%d exchanges in %v, want at most %d", n, time.Since(start), most)
		}
		if env.Counted(tokensource.CountThrottled) != 60-env.Server.Exchanges() {
			t.Errorf("%d were withheld of 60, and %d made", env.Counted(tokensource.CountThrottled), env.Server.Exchanges())
		}
	})
}

// TestRejectedTokenOfARevokedCredential: The token and the credential were revoked together, and a
// new version of the secret has been written. A caller that rejects the token, or wants one that
// lives longer, gets one with the new version.
func TestRejectedTokenOfARevokedCredential(t *testing.T) {
	for name, change := range map[string]func(r *token.Request, fingerprint string){
		"rejected": func(r *token.Request, fingerprint string) { r.Rejected = fingerprint },
		"min_ttl":  func(r *token.Request, _ string) { r.MinTTL = 50 * time.Minute },
	} {
		for _, scope := range []string{"", "read"} {
			tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
				r := token.Request{Ask: ask.Ask{Scope: strings.Fields(scope)}}
				first := env.MustVend(r).Token.Fingerprint()
				env.Pass(20 * time.Minute)
				env.MustVend(r)
				if err := env.Server.SetSecrets("id", "new"); err != nil {
					t.Fatal(err)
				}
				env.Put("billing", "v2", map[string]any{"client_secret": "new"})
				change(&r, first)
				if second := env.MustVend(r).Token.Fingerprint(); second == first {
					t.Errorf("%s, scope %q: got the first token", name, scope)
				}
				env.WantCounts(2, 1)
			})
		}
	}
}

// TestRejectedReplacesTheToken: One report brings one exchange, and so do a hundred. A
// fingerprint of another token brings none. There is one forced exchange in 30 seconds.
func TestRejectedReplacesTheToken(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		first := env.MustVend(token.Request{}).Token.Fingerprint()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { _, _ = env.Vend(token.Request{Rejected: first}) })
		}
		all.Wait()
		env.WantCounts(2, 0)
		second := env.MustVend(token.Request{Rejected: strings.Repeat("0", 64)}).Token.Fingerprint()
		env.MustVend(token.Request{Rejected: second})
		env.WantCounts(2, 0)
		env.Pass(30 * time.Second)
		env.MustVend(token.Request{Rejected: second})
		env.WantCounts(3, 0)
		// While no other can be had, the one caller gets an error, and the others the
		// token.
		env.Server.Misbehave(oauthtest.Answer(503, "", ""))
		env.Pass(time.Minute)
		third := env.MustVend(token.Request{}).Token.Fingerprint()
		env.WantKind(token.Request{Rejected: third}, fault.Unavailable)
		env.MustVend(token.Request{})
		env.WantCounts(3, 0)
	})
}

// TestDocumentIsUsedForADay: Secrets Manager is down.
func TestDocumentIsUsedForADay(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.MustVend(token.Request{})
		env.FailReads(secret.ErrUnavailable)
		start := env.Now()
		for env.Now().Sub(start) < 23*time.Hour+50*time.Minute {
			env.MustVend(token.Request{})
			env.Pass(time.Minute)
		}
		if n := env.Reads(); n < 24*60/6 || n > 24*60/4 {
			t.Errorf("%d reads in a day, want one in four to six minutes", n)
		}
		env.Pass(15 * time.Minute)
		env.WantKind(token.Request{}, fault.Unavailable)
		env.FailReads(nil)
		env.Pass(5 * time.Minute)
		env.MustVend(token.Request{})
	})
}

func TestSecretDenied(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.MustVend(token.Request{})
		env.FailReads(secret.ErrDenied)
		env.Pass(5 * time.Minute)
		env.MustVend(token.Request{}) // this one reads
		env.Pass(14*time.Minute + 59*time.Second)
		env.MustVend(token.Request{})
		env.Pass(time.Second)
		reads := env.Reads()
		for range 10 {
			env.WantKind(token.Request{}, fault.Misconfigured)
		}
		if n := env.Reads() - reads; n > 1 {
			t.Errorf("%d reads of what is denied", n)
		}
		env.FailReads(nil)
		env.Pass(time.Minute)
		env.MustVend(token.Request{})
	})
}

// TestDeletedSecretEndsItsTokens: From the next read on there is no token.
func TestDeletedSecretEndsItsTokens(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.MustVend(token.Request{})
		env.FailReads(secret.ErrNotFound)
		env.Pass(5 * time.Minute)
		env.WantKind(token.Request{}, fault.Denied)
		env.FailReads(nil)
		env.Pass(time.Minute)
		env.WantOutcome(tokensource.Exchanged)
	})
}

// TestUnknownClientIsLookedForRarely: It works as soon as it is there.
func TestUnknownClientIsLookedForRarely(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		for range 100 {
			env.WantKind(token.Request{Client: "new"}, fault.Denied)
		}
		if n := env.Reads(); n != 3 {
			t.Errorf("%d reads for 100 calls, want 3", n)
		}
		env.WantKind(token.Request{Client: "newer"}, fault.Denied)
		env.Put("newer", "v1", nil)
		env.MustVend(token.Request{Client: "newer"})
		env.Put("new", "v1", nil)
		env.Pass(10 * time.Second)
		env.MustVend(token.Request{Client: "new"})
	})
}

// TestBrokenVersionKeepsTheOldOne: There is no failed logon.
func TestBrokenVersionKeepsTheOldOne(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.MustVend(token.Request{})
		env.Put("billing", "v2", map[string]any{"client_secret": "", "surprise": 1})
		for range 24 {
			env.MustVend(token.Request{})
			env.Pass(time.Hour - time.Minute)
		}
		env.WantCounts(24, 0)
		if env.Counted(token.CountDocument) == 0 {
			t.Error("nobody was told")
		}
		env.Put("billing", "v3", nil)
		env.Pass(time.Minute)
		env.MustVend(token.Request{})
	})
}

func TestLockoutIsReported(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v1", map[string]any{"client_secret": "bad"})
		for range 3 {
			failure := env.WantKind(token.Request{}, fault.Misconfigured)
			if failure.Fuse.Sub(env.Now()).Round(time.Minute) != 10*time.Minute || !strings.Contains(failure.Detail, "fuse") {
				t.Errorf("fuse until %v, detail %q", failure.Fuse, failure.Detail)
			}
		}
		if env.Counted(tokensource.CountFailedLogon) != 1 {
			t.Errorf("%d failed logons were counted", env.Counted(tokensource.CountFailedLogon))
		}
	})
}

// TestLockoutGrows: A caller asks every five minutes with one wrong credential. Five
// failed logons take more than nine hours. A token resets the count.
func TestLockoutGrows(t *testing.T) {
	for name, environments := range map[string]int{"alone": 0, "a fleet": 3} {
		t.Run(name, func(t *testing.T) {
			tokentest.RunFleet(t, environments, func(t *testing.T, env *tokentest.Fleet) {
				if environments == 0 {
					env.Vendors = append(env.Vendors, token.New(env.Config()))
				}
				env.Put("billing", "v1", map[string]any{"client_secret": "bad"})
				var failed []time.Duration
				day := func(length time.Duration) {
					begin := env.Now()
					failed = nil
					for i := 0; env.Now().Sub(begin) < length; i++ {
						before := env.Server.FailedLogons("id")
						if _, err := env.Ask(env.Vendors[i%len(env.Vendors)], token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint("s", i%3)}}}); fault.From(err).Kind != fault.Misconfigured {
							t.Fatalf("error %v", err)
						}
						if env.Server.FailedLogons("id") > before {
							failed = append(failed, env.Now().Sub(begin).Round(time.Minute))
						}
						env.Pass(5*time.Minute + time.Second)
					}
				}
				day(12 * time.Hour)
				if len(failed) != 5 || failed[1] < 10*time.Minute || failed[2] < 70*time.Minute || failed[3] < 310*time.Minute {
					t.Errorf("logons failed at %v", failed)
				}
				// Moments in which the server is down say nothing about the credential.
				env.Pass(4 * time.Hour)
				env.Server.Misbehave(oauthtest.Answer(503, "", ""))
				_, _ = env.Ask(env.Vendors[0], token.Request{})
				env.Server.Behave()
				env.Pass(5 * time.Minute)
				if environments > 0 {
					env.Vendors = []*token.Vendor{env.Environment(nil)} // which knows only what the others left
				}
				if day(3 * time.Hour); len(failed) != 1 {
					t.Errorf("after an outage logons failed at %v", failed)
				}
				env.Pass(4 * time.Hour)
				env.Server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"bad"}})
				if _, err := env.Ask(env.Vendors[0], token.Request{}); err != nil {
					t.Errorf("the server takes it now: %v", err)
				}
				env.Pass(2 * time.Hour)
				env.Server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
				if day(30 * time.Minute); len(failed) != 2 {
					t.Errorf("as if it had never been good: failed at %v", failed)
				}
			})
		})
	}
}

// TestLogonElsewhereResetsTheCount: Another environment has obtained a token since.
func TestLogonElsewhereResetsTheCount(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", map[string]any{"client_secret": "bad"})
		for range 2 {
			_, _ = env.Ask(env.Vendors[0], token.Request{})
			env.Pass(61 * time.Minute)
		}
		env.WantCounts(0, 2)
		env.Server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"bad"}})
		for i := range 8 {
			if _, err := env.Ask(env.Vendors[1-i%2], token.Request{}); err != nil {
				t.Fatal(err)
			}
			env.Pass(31 * time.Minute)
		}
		env.Pass(time.Hour)
		env.Server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
		_, err := env.Ask(env.Vendors[0], token.Request{})
		if rest := fault.From(err).Fuse.Sub(env.Now()); rest <= 0 || rest > 11*time.Minute {
			t.Errorf("refused for the first time, and not sent again for %v", rest)
		}
	})
}

// TestLockoutOfSkewedClocks: The clocks differ by five minutes. There is one failed
// logon each ten minutes or more.
func TestLockoutOfSkewedClocks(t *testing.T) {
	for _, skews := range [][]time.Duration{{2 * time.Minute, 0, -2 * time.Minute}, {5 * time.Minute, 0}} {
		tokentest.RunFleet(t, 0, func(t *testing.T, env *tokentest.Fleet) {
			for _, by := range skews {
				env.Vendors = append(env.Vendors, env.Skewed(by))
			}
			env.Put("billing", "v1", map[string]any{"client_secret": "bad"})
			begin := env.Now()
			for i := 0; env.Now().Sub(begin) < time.Hour; i++ {
				_, _ = env.Ask(env.Vendors[i%len(env.Vendors)], token.Request{})
				env.Pass(59 * time.Second)
			}
			env.WantCounts(0, 2)
		})
	}
}

// TestCorrectedSecretIsUsedAtOnce: Many failing calls do not read the secret each time.
func TestCorrectedSecretIsUsedAtOnce(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v1", map[string]any{"client_secret": "bad"})
		for range 200 {
			env.WantKind(token.Request{}, fault.Misconfigured)
		}
		if n := env.Reads(); n > 12 {
			t.Errorf("%d reads for 200 failing calls", n)
		}
		env.Put("billing", "v2", nil)
		env.Pass(time.Second)
		env.MustVend(token.Request{})
		env.WantCounts(1, 1)
	})
}

// TestRefreshAfterDiffersByCaller: It is between the refresh of the token and its end.
func TestRefreshAfterDiffersByCaller(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		seen, start := make(map[int64]bool), env.Now()
		for i := range 1000 {
			grant := env.MustVend(token.Request{Caller: fmt.Sprint("caller-", i)})
			var answer struct {
				ExpiresIn    int64 `json:"expires_in"`
				RefreshAfter int64 `json:"refresh_after"`
			}
			if err := json.Unmarshal(grant.AppendJSON(nil, env.Now()), &answer); err != nil {
				t.Fatal(err)
			}
			if answer.ExpiresIn < 3590 || answer.RefreshAfter < 48*60-10 || answer.RefreshAfter > 59*60 {
				t.Fatalf("%+v", answer)
			}
			seen[answer.RefreshAfter] = true
			if again := env.MustVend(token.Request{Caller: fmt.Sprint("caller-", i)}); again.RefreshAfter(start) != grant.RefreshAfter(start) {
				t.Fatal("a caller's moment moves")
			}
		}
		if len(seen) < 300 {
			t.Errorf("1000 callers come back at %d different seconds", len(seen))
		}
		env.Pass(55 * time.Minute)
		env.Server.Misbehave(oauthtest.Answer(503, "", ""))
		if after := env.MustVend(token.Request{Caller: "x"}).RefreshAfter(env.Now()); after < 0 || after > 5*time.Minute {
			t.Errorf("%v for a stale token", after)
		}
	})
}

// TestNoExpiredTokenInRandomHistories: Lives, pauses, outages and rotations are random.
func TestNoExpiredTokenInRandomHistories(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	histories := 15
	if testing.Short() {
		histories = 3
	}
	for range histories {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			for version := 0; version < 60; {
				switch random.IntN(5) {
				case 0:
					env.Server.Misbehave(oauthtest.Answer(503, "", ""))
				case 1, 2:
					env.Server.Misbehave(oauthtest.Members(map[string]any{"expires_in": 1 + random.IntN(200)}))
				case 3:
					env.FailReads(secret.ErrUnavailable)
				case 4:
					env.FailReads(nil)
					env.Put("billing", fmt.Sprint("v", version), nil)
				}
				version++
				for range 10 {
					grant, err := env.Vend(token.Request{MinTTL: time.Duration(random.IntN(100)) * time.Second})
					if err == nil && !env.Now().Before(grant.Token.Expiry()) {
						t.Fatalf("seed %d: a token left %v past its end", seed, env.Now().Sub(grant.Token.Expiry()))
					}
					env.Pass(time.Duration(random.IntN(60)) * time.Second)
				}
			}
		})
	}
}

func TestRecordRestoresToken(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		grant := env.MustVend(token.Request{})
		again, err := oauth.ReadRecord(grant.Token.Record())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(again.AppendJSON(nil, env.Now())), string(grant.Token.AppendJSON(nil, env.Now())); got != want || again.Issued().Sub(grant.Token.Issued()) != 0 {
			t.Error("the record differs from the token")
		}
		for _, bad := range []string{"", "{}", "[]", `{"access":"a"}`, `{"access":"a","members":"{"}`} {
			if _, err := oauth.ReadRecord([]byte(bad)); err == nil || errors.Is(err, oauth.ErrTemporary) {
				t.Errorf("%q was read", bad)
			}
		}
	})
}
