package token_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
	"tokenvendor/shared/tokensource"
)

// TestSingleTokenIsKeptToItsEnd: A new token would end that of all other callers, so that
// neither time nor min_ttl nor a new version of the secret replaces it.
func TestSingleTokenIsKeptToItsEnd(t *testing.T) {
	tokentest.RunFleet(t, 4, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", map[string]any{"single_token": true})
		life := time.Hour
		begun := env.Now()
		var end time.Time
		for i, at := range []time.Duration{0, 30 * time.Minute, 49 * time.Minute, 58 * time.Minute, 59*time.Minute + 25*time.Second} {
			env.Pass(begun.Add(at).Sub(env.Now()))
			if i == 2 {
				env.Put("billing", "v2", map[string]any{"single_token": true})
			}
			for j, v := range env.Vendors {
				grant, err := env.Ask(v, token.Request{Caller: string(rune('a' + j)), MinTTL: time.Duration(j) * 20 * time.Minute})
				if err != nil {
					t.Fatalf("after %v: %v", at, err)
				}
				back := env.Now().Add(grant.RefreshAfter(env.Now()))
				if end.IsZero() {
					end = back
				}
				if d := back.Sub(end).Abs(); d > time.Second || begun.Add(life).Sub(back) > 31*time.Second {
					t.Errorf("after %v: a caller is told to come back %v from the others' moment, %v before the end", at, d, begun.Add(life).Sub(back))
				}
			}
			env.WantCounts(1, 0)
		}
		env.Pass(10 * time.Second)
		env.WantTokens(1)
		env.WantCounts(2, 0)
		grant, err := env.Ask(env.Vendors[0], token.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if prints, failures := env.All(2, token.Request{Rejected: grant.Token.Fingerprint()}); len(prints) != 1 || len(failures) != 0 || prints[grant.Token.Fingerprint()] != 0 {
			t.Errorf("a token that a resource server refused: got %d tokens, %v, want a new one", len(prints), failures)
		}
		env.WantCounts(3, 0)
	})
}

// TestParametersOfCallerEndNoSingleToken: An exchange to find out who is at fault would end the
// token that all callers hold.
func TestParametersOfCallerEndNoSingleToken(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v1", map[string]any{"single_token": true, "allow_parameters": []string{"tenant"}})
		env.MustVend(token.Request{})
		refuse, asked := oauthtest.RefuseWith(401, "invalid_client", ""), 0
		env.Server.Misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
			if asked++; asked == 1 {
				refuse(w, r, next, done)
				return
			}
			next.ServeHTTP(w, r)
		})
		r := token.Request{Caller: "greedy"}
		r.Parameters = map[string]string{"tenant": "other"}
		env.WantKind(r, fault.Unavailable)
		env.WantCounts(1, 0)
		env.WantOutcome(tokensource.Hit)
	})
}

// TestSlowServerKeepsItsLeases: An attempt takes longer than a lease lasts.
func TestSlowServerKeepsItsLeases(t *testing.T) {
	tokentest.RunFleet(t, 3, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", map[string]any{"attempt_timeout": 12})
		env.Server.Misbehave(oauthtest.Late(11 * time.Second))
		var all sync.WaitGroup
		for _, v := range env.Vendors {
			all.Go(func() {
				if _, err := env.Ask(v, token.Request{}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		env.WantCounts(1, 0)
		if n := env.Leased(); n != 0 {
			t.Errorf("%d leases are left", n)
		}
		env.Put("payroll", "v1", nil)
		if _, err := env.Ask(env.Vendors[0], token.Request{Client: "payroll"}); fault.From(err).Kind != fault.Timeout {
			t.Errorf("a client without attempt_timeout: got %v, want a timeout", err)
		}
	})
}
