package token_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet/fleettest"
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

// TestProofEndsNoSingleToken: Two callers send parameters that the server answers like a wrong
// secret, after a rotation that no exchange has proven.
func TestProofEndsNoSingleToken(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		document := map[string]any{"single_token": true, "allow_parameters": []string{"tenant"}}
		env.Put("billing", "v1", document)
		env.MustVend(token.Request{})
		document["token_endpoint_auth_method"] = "client_secret_basic"
		env.Put("billing", "v2", document)
		env.Pass(6 * time.Minute)
		env.MustVend(token.Request{})
		time.Sleep(time.Second)
		tokens := 0
		env.Server.Misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
			if err := r.ParseForm(); err == nil && r.Form.Get("tenant") != "" {
				oauthtest.RefuseWith(401, "invalid_client", "")(w, r, next, done)
				return
			}
			tokens++
			next.ServeHTTP(w, r)
		})
		for _, caller := range []string{"x", "y"} {
			r := token.Request{Caller: caller}
			r.Parameters = map[string]string{"tenant": caller}
			if _, err := env.Vend(r); err == nil {
				t.Error("got a token for refused parameters")
			}
			time.Sleep(time.Second)
		}
		if tokens != 0 {
			t.Errorf("got %d tokens from the server, want none", tokens)
		}
		env.WantOutcome(tokensource.Hit)
	})
}

// TestSingleTokenIsAddedToADocument: The token that is cached then is kept too.
func TestSingleTokenIsAddedToADocument(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", nil)
		env.WantTokens(1)
		env.Put("billing", "v2", map[string]any{"single_token": true})
		for range 58 {
			env.Pass(time.Minute)
			if _, failures := env.All(1, token.Request{}); len(failures) > 0 {
				t.Fatal(failures)
			}
			time.Sleep(time.Second)
		}
		env.WantCounts(1, 0)
	})
}

// TestRotationOfSingleTokenIsNoWarning: The new credential is not tried before the token's end,
// which is no fault of it.
func TestRotationOfSingleTokenIsNoWarning(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		if err := env.Server.SetSecrets("id", "good", "good2"); err != nil {
			t.Fatal(err)
		}
		env.Put("billing", "v1", map[string]any{"single_token": true})
		env.MustVend(token.Request{})
		env.Put("billing", "v2", map[string]any{"single_token": true, "client_secret": "good2"})
		env.Pass(6 * time.Minute)
		env.MustVend(token.Request{})
		reads := env.Reads()
		for range 100 {
			env.Pass(10 * time.Second)
			if grant := env.MustVend(token.Request{}); grant.OldCredential || grant.Outcome != tokensource.Hit {
				t.Fatalf("got %s, old credential %t, want a hit", grant.Outcome, grant.OldCredential)
			}
			time.Sleep(time.Second)
		}
		if n := env.Reads() - reads; n > 10 {
			t.Errorf("the document was read %d times in 17 minutes", n)
		}
		env.WantCounts(1, 0)
	})
}

// TestFailedRenewalLosesNoLease: The table fails once during a long attempt.
func TestFailedRenewalLosesNoLease(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", map[string]any{"single_token": true, "attempt_timeout": 12})
		env.Server.Misbehave(oauthtest.Late(11 * time.Second))
		var all sync.WaitGroup
		for i, v := range env.Vendors {
			all.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				if _, err := env.Ask(v, token.Request{}); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(2900 * time.Millisecond)
		env.Table.Misbehave(fleettest.Down)
		time.Sleep(150 * time.Millisecond)
		env.Table.Misbehave(nil)
		all.Wait()
		env.WantCounts(1, 0)
	})
}

// TestOrderOfSingleToken: An order waits for no life that no token has.
func TestOrderOfSingleToken(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", map[string]any{"single_token": true})
		for range 8 {
			a, err := env.TryAnnounce(0, token.Request{MinTTL: 15 * time.Minute}, token.Order{ID: "o", Time: env.Now()})
			if err != nil || a.GoodUntil < env.Now().Unix() {
				t.Errorf("got %v, good until %d", err, a.GoodUntil)
			}
			env.Pass(9 * time.Minute)
		}
		env.WantCounts(2, 0)
	})
}

// TestPreviousVersionSpeaksForTheCurrentTenant: A header selects a tenant. The credential of the
// previous version must not bring a token for its own one.
func TestPreviousVersionSpeaksForTheCurrentTenant(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v1", map[string]any{"headers": map[string]any{"X-zid": "A"}})
		env.Put("billing", "v2", map[string]any{"headers": map[string]any{"X-zid": "B"}, "client_secret": "wrong"})
		var tenants []string
		env.Server.Misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
			tenants = append(tenants, r.Header.Get("X-zid"))
			next.ServeHTTP(w, r)
		})
		if grant := env.MustVend(token.Request{}); !grant.OldCredential || !slices.Equal(tenants, []string{"B", "B"}) {
			t.Errorf("got tokens for the tenants %v, old credential %t, want B twice", tenants, grant.OldCredential)
		}
	})
}

// TestSlowAttemptBeginsInTime: An order waits for a slow exchange. There is then no time for one
// of its own, which would be cut off after the server made a token.
func TestSlowAttemptBeginsInTime(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", map[string]any{"single_token": true, "attempt_timeout": 12, "allow_parameters": []string{"x"}})
		env.Server.Misbehave(oauthtest.Late(11900 * time.Millisecond))
		var all sync.WaitGroup
		all.Go(func() {
			r := token.Request{}
			r.Parameters = map[string]string{"x": "1"}
			if _, err := env.Ask(env.Vendors[0], r); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		begun := time.Now()
		_, err := env.TryAnnounce(0, token.Request{}, token.Order{ID: "o", Time: env.Now()})
		if kind := fault.From(err).Kind; kind != fault.Throttled || time.Since(begun) > 13*time.Second {
			t.Errorf("got %v after %v, want an error after the wait", err, time.Since(begun))
		}
		all.Wait()
		if n := len(env.Server.Requests()); n != 1 {
			t.Errorf("got %d requests of the server, want 1", n)
		}
	})
}
