package token_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/audit"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
	"tokenvendor/shared/tokensource"
)

// shadowed registers a second way for the client to authenticate, and returns the
// document's members that try it with secret; "good" is right.
func shadowed(server *oauthtest.Server, secret string, share float64) map[string]any {
	server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post", "client_secret_basic"}, Secrets: []string{"good"}})
	return map[string]any{"shadow": map[string]any{"client_secret": secret, "token_endpoint_auth_method": "client_secret_basic", "share": share}}
}

// putShadow stores a document with a shadow.
func putShadow(env *tokentest.Env, secret string) {
	env.Put("billing", "v1", shadowed(env.Server, secret, 1))
}

// onShadow makes only the shadow's requests meet f.
func onShadow(f oauthtest.Fault) oauthtest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		if _, _, basic := r.BasicAuth(); basic {
			f(w, r, next, done)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// TestShadowIsTriedOnRefresh: A shadow that fails does so once per version, and the
// first credential goes on.
func TestShadowIsTriedOnRefresh(t *testing.T) {
	for _, test := range []shadowTest{
		{"good", "good", 1, 3, 0, 0},
		{"refused", "wrong", 1, 0, 1, 1},
		{"never", "good", 0.000001, 0, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
				env.Put("billing", "v1", shadowed(env.Server, test.secret, test.share))
				env.WantOutcome(tokensource.Exchanged)
				if n := len(env.Server.Requests()); n != 1 {
					t.Errorf("%d requests for the first token", n)
				}
				for i := range 3 {
					// Within ten minutes of each other, so that a fuse stays blown.
					env.Server.Misbehave(oauthtest.Members(map[string]any{"expires_in": 300}))
					env.Pass(59 * time.Minute)
					if i > 0 {
						env.Pass(-59*time.Minute + 260*time.Second)
					}
					env.WantOutcome(tokensource.Refreshed)
				}
				test.check(t, env)
			})
		})
	}
}

// shadowTest is a case of TestShadowIsTriedOnRefresh.
type shadowTest struct {
	name, secret      string
	share             float64
	good, bad, failed int // attempts that succeed, that fail, and failed logons
}

// check compares the counts and the audit lines with what the case wants.
func (test *shadowTest) check(t *testing.T, env *tokentest.Env) {
	t.Helper()
	if good, bad := env.Counted(tokensource.CountShadowGood), env.Counted(tokensource.CountShadowBad); good != test.good || bad != test.bad {
		t.Errorf("got %d successes and %d failures, want %d and %d", good, bad, test.good, test.bad)
	}
	if got := env.Server.FailedLogons("id"); got != test.failed {
		t.Errorf("got %d failed logons, want %d", got, test.failed)
	}
	lines := slices.DeleteFunc(env.Events(), func(e audit.Event) bool { return e.Type != audit.Shadow })
	for _, e := range lines {
		if e.Method != "client_secret_basic" || e.Client != "billing" || e.Allowed || e.TokenSHA256 != "" || (e.Outcome == "succeeded") != (test.good > 0) {
			t.Errorf("got audit line %+v, want one about the shadow of billing without a token", e)
		}
	}
	if len(lines) != test.good+test.bad {
		t.Errorf("got %d audit lines about the shadow, want %d", len(lines), test.good+test.bad)
	}
}

// TestHangingShadowDelaysNoCaller: A refresh waits no longer than it has time for.
func TestHangingShadowDelaysNoCaller(t *testing.T) {
	for name, r := range map[string]token.Request{"ended": {}, "rejected": {}, "min_ttl": {MinTTL: 50 * time.Minute}, "refresh": {}} {
		t.Run(name, func(t *testing.T) {
			tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
				putShadow(env, "good")
				first := env.MustVend(token.Request{})
				env.Server.Misbehave(onShadow(oauthtest.Hang))
				switch name {
				case "ended":
					env.Pass(2 * time.Hour)
				case "rejected":
					r.Rejected = first.Token.Fingerprint()
				case "min_ttl":
					env.Pass(30 * time.Minute)
				case "refresh":
					env.Pass(55 * time.Minute)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
				defer cancel()
				r.Client = "billing"
				if failed := together(64, 30*time.Second, func(int) {
					if _, err := env.Vendor.Vend(ctx, tokentest.Read(r)); err != nil {
						t.Errorf("with %d exchanges made: %v", env.Server.Exchanges(), err)
					}
				}); failed != 0 {
					t.Errorf("%d had no answer", failed)
				}
			})
		})
	}
}

func TestHangingShadowBlocksNoExchange(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		putShadow(env, "good")
		env.MustVend(token.Request{})
		env.Pass(55 * time.Minute)
		reached := make(chan struct{})
		env.Server.Misbehave(onShadow(func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
			close(reached)
			oauthtest.Hang(w, r, next, done)
		}))
		refreshed := make(chan struct{})
		go func() {
			defer close(refreshed)
			_, _ = env.Vend(token.Request{})
		}()
		<-reached
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := env.Vendor.Vend(ctx, tokentest.Read(token.Request{Client: "billing", Ask: ask.Ask{Scope: []string{"read"}}})); err != nil {
			t.Errorf("another scope of the client, with the credential that works: %v", err)
		}
		<-refreshed
	})
}

func TestThrottledShadowDoesNotThrottleTheClient(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		putShadow(env, "good")
		env.MustVend(token.Request{})
		env.Server.Misbehave(onShadow(oauthtest.HTML429("300")))
		env.Pass(55 * time.Minute)
		env.MustVend(token.Request{})
		env.MustVend(token.Request{Ask: ask.Ask{Scope: []string{"read"}}})
		if n := env.Counted(tokensource.CountShadowBad); n != 1 {
			t.Errorf("it failed %d times", n)
		}
	})
}

func TestRefusedShadowIsTriedOnceADay(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		putShadow(env, "wrong")
		env.MustVend(token.Request{})
		for range 20 {
			env.Pass(55 * time.Minute)
			env.MustVend(token.Request{})
		}
		if n := env.Server.FailedLogons("id"); n != 1 {
			t.Errorf("%d failed logons of one version of a shadow, want 1", n)
		}
		env.Put("billing", "v2", shadowed(env.Server, "good", 1))
		for range 2 {
			env.Pass(55 * time.Minute)
			env.MustVend(token.Request{})
		}
		if n := env.Counted(tokensource.CountShadowGood); n != 2 {
			t.Errorf("the next version's shadow succeeded %d times, want 2", n)
		}
	})
}

// TestFleetTriesRefusedShadowOnceADay: This holds when the table fails, too.
func TestFleetTriesRefusedShadowOnceADay(t *testing.T) {
	for name, fail := range map[string]bool{"table": false, "no table": true} {
		t.Run(name, func(t *testing.T) {
			tokentest.RunFleet(t, 4, func(t *testing.T, env *tokentest.Fleet) {
				env.Put("billing", "v1", shadowed(env.Server, "wrong", 1))
				for range 6 {
					_, _ = env.All(2, token.Request{})
					env.Pass(53 * time.Minute)
					if fail {
						env.Table.Misbehave(func(context.Context) error { return context.DeadlineExceeded })
					}
				}
				if n := env.Server.FailedLogons("id"); fail && n != 0 || !fail && n != 1 {
					t.Errorf("%d failed logons of one version of a shadow", n)
				}
			})
		})
	}
}

// TestShadowDoesNotUseUpTheSession: The table is slow, and the lease of the token must
// still be finished.
func TestShadowDoesNotUseUpTheSession(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", shadowed(env.Server, "good", 1))
		env.WantTokens(1)
		env.Pass(53 * time.Minute)
		env.Table.Misbehave(func(ctx context.Context) error {
			select {
			case <-time.After(110 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		first, err := env.Ask(env.Vendors[0], token.Request{})
		if err != nil {
			t.Fatal(err)
		}
		env.Table.Misbehave(nil)
		env.Pass(9 * time.Second)
		second, err := env.Ask(env.Vendors[1], token.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if first.Token.Fingerprint() != second.Token.Fingerprint() {
			t.Error("the lease was lost, and the token with it")
		}
	})
}

// TestShadowWithoutMetadata: It costs only the shadow.
func TestShadowWithoutMetadata(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		calls := 0
		env.Put("billing", "v1", map[string]any{"shadow": map[string]any{"issuer": "https://as.example.com", "client_secret": "next"}})
		env.Vendor = discovering(env, &calls)
		env.MustVend(token.Request{})
		env.Pass(55 * time.Minute)
		env.WantOutcome(tokensource.Refreshed)
		var lines []audit.Event
		for _, e := range env.Events() {
			if e.Type == audit.Shadow {
				lines = append(lines, e)
			}
		}
		if calls == 0 || len(lines) != 1 || lines[0].Outcome != "failed" || env.Counted(tokensource.CountShadowBad) != 1 {
			t.Errorf("asked %d times; the lines are %+v", calls, lines)
		}
	})
}
