package token_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
	"tokenvendor/shared/tokensource"
)

// TestOneExchangeForTheFleet: There is one at the start and one at each refresh.
func TestOneExchangeForTheFleet(t *testing.T) {
	tokentest.RunFleet(t, 16, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		env.WantCounts(1, 0)
		for life := range 3 {
			env.Pass(53 * time.Minute) // all want to refresh
			if _, failures := env.All(3, token.Request{}); len(failures) != 0 {
				t.Error(failures)
			}
			env.Pass(3 * time.Second) // those who kept the old one look again
			_, _ = env.All(3, token.Request{})
			env.WantTokens(1)
			env.WantCounts(life+2, 0)
		}
		if n := env.Counted(fleet.CountRefused) + env.Counted(fleet.CountFailed); n != 0 {
			t.Errorf("%d times the table was no good", n)
		}
		if n := env.Keys.Calls(); n != 16 {
			t.Errorf("%d KMS calls, want 16", n)
		}
	})
}

func TestNewEnvironmentFindsTheToken(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		for range 5 {
			grant, err := env.Ask(env.Environment(nil), token.Request{})
			if err != nil || grant.Outcome != tokensource.Shared {
				t.Errorf("%v, %v", grant.Outcome, err)
			}
		}
		env.WantCounts(1, 0)
	})
}

// TestOneFailedLogonForTheFleet: The scope makes no difference. A new version may be
// tried.
func TestOneFailedLogonForTheFleet(t *testing.T) {
	tokentest.RunFleet(t, 16, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", map[string]any{"client_secret": "bad"})
		var wait sync.WaitGroup
		for i, v := range env.Vendors {
			for j := range 5 {
				wait.Go(func() {
					_, err := env.Ask(v, token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint("s", (i+j)%5)}}})
					if e := fault.From(err); e.Kind != fault.Misconfigured || e.Fuse.IsZero() || e.Upstream == nil || e.Upstream.Code != "invalid_client" {
						t.Errorf("error %v", err)
					}
				})
			}
		}
		wait.Wait()
		env.WantCounts(0, 1)
		if _, err := env.Ask(env.Environment(nil), token.Request{}); fault.From(err).Fuse.IsZero() {
			t.Errorf("a new environment: %v", err)
		}
		env.WantCounts(0, 1)
		env.Put("billing", "v2", nil)
		env.Pass(time.Second)
		env.WantTokens(1)
		env.WantCounts(1, 1)
		env.Put("billing", "v1", map[string]any{"client_secret": "bad"})
		env.Pass(11 * time.Minute)
		_, _ = env.All(1, token.Request{Ask: ask.Ask{Scope: []string{"again"}}})
		env.WantCounts(2, 2) // it opened by itself, for one; the second version stands in
	})
}

func TestFleetSharesBackoff(t *testing.T) {
	tokentest.RunFleet(t, 8, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		env.Server.Misbehave(oauthtest.Answer(503, "", ""))
		env.Pass(52 * time.Minute)
		start, before := env.Now(), len(env.Server.Requests())
		for env.Now().Sub(start) < 6*time.Minute {
			if _, failures := env.All(1, token.Request{}); len(failures) != 0 {
				t.Fatalf("after %v: %v", env.Now().Sub(start), failures)
			}
			env.Pass(5 * time.Second)
		}
		// At 0, 30, 90 and 210 seconds, or up to a quarter later.
		if n := len(env.Server.Requests()) - before; n < 3 || n > 4 {
			t.Errorf("asked %d times in six minutes", n)
		}
		env.Pass(5 * time.Minute)
		if prints, _ := env.All(1, token.Request{}); len(prints) != 0 {
			t.Error("an expired token left")
		}
	})
}

// TestFleetSharesThrottling: A 429 to one environment stops all of them, for other
// tokens too.
func TestFleetSharesThrottling(t *testing.T) {
	tokentest.RunFleet(t, 8, func(t *testing.T, env *tokentest.Fleet) {
		env.Server.Misbehave(oauthtest.HTML429("120"))
		_, _ = env.Ask(env.Vendors[0], token.Request{Ask: ask.Ask{Scope: []string{"first"}}})
		before := len(env.Server.Requests())
		for i, v := range env.Vendors {
			_, err := env.Ask(v, token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint(i)}}})
			if e := fault.From(err); e.Kind != fault.Throttled || e.RetryAfter < 100*time.Second {
				t.Errorf("%v, retry after %v", err, e.RetryAfter)
			}
		}
		if n := len(env.Server.Requests()) - before; n != 0 {
			t.Errorf("asked %d times", n)
		}
		env.Server.Behave()
		env.Pass(121 * time.Second)
		_, _ = env.Ask(env.Vendors[1], token.Request{Ask: ask.Ask{Scope: []string{"probe"}}})
		for i, v := range env.Vendors {
			if _, err := env.Ask(v, token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint("after", i)}}}); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestTokensWithoutTable: Duende.AccessTokenManagement #684. How soon they come is
// tested in package fleet.
func TestTokensWithoutTable(t *testing.T) {
	for name, break_ := range map[string]func(*tokentest.Fleet){
		"table down":  func(env *tokentest.Fleet) { env.Table.Misbehave(fleettest.Down) },
		"table hangs": func(env *tokentest.Fleet) { env.Table.Misbehave(fleettest.Hang) },
		"key down":    func(env *tokentest.Fleet) { env.Keys.Misbehave(fleettest.Down); env.Pass(24 * time.Hour) },
		"key hangs":   func(env *tokentest.Fleet) { env.Keys.Misbehave(fleettest.Hang); env.Pass(24 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
				break_(env)
				for i := range 4 {
					if _, err := env.Ask(env.Vendors[0], token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint(i)}}}); err != nil {
						t.Fatal(err)
					}
					env.Pass(8 * time.Second) // it is one of 50 environments, for all it knows
				}
				env.WantCounts(4, 0)
			})
		})
	}
}

// TestForeignTokenIsNotHandedOut: An attacker who can write the table swaps rows and
// values.
func TestForeignTokenIsNotHandedOut(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("other", "v1", nil)
		for _, client := range []string{"billing", "other"} {
			if _, err := env.Ask(env.Vendors[0], token.Request{Client: client}); err != nil {
				t.Fatal(err)
			}
		}
		swapRows(env)
		billing, err := env.Ask(env.Environment(nil), token.Request{})
		if err != nil {
			t.Fatal(err)
		}
		other, err := env.Ask(env.Environment(nil), token.Request{Client: "other"})
		if err != nil || billing.Token.Fingerprint() == other.Token.Fingerprint() {
			t.Errorf("got another client's token or error %v, want an own token", err)
		}
		if env.Counted(fleet.CountRefused) == 0 {
			t.Errorf("got %s 0 times, want at least once", fleet.CountRefused)
		}
		env.WantCounts(4, 0)
		for _, item := range env.Table.Items() {
			for _, secret := range []string{billing.Token.AccessToken().Expose(), "billing", "good"} {
				if bytes.Contains(append(item.State, item.Value...), []byte(secret)) || strings.Contains(item.Name, secret) {
					t.Errorf("the row %s shows a token, a client or a secret", item.Name)
				}
			}
		}
	})
}

// swapRows copies each row of the table over each other row of its sort, as an attacker
// does who can write the table. The rows of epochs stay.
func swapRows(env *tokentest.Fleet) {
	items := slices.DeleteFunc(env.Table.Items(), func(item fleet.Item) bool {
		return item.Value == nil || strings.HasPrefix(item.Name, "epoch")
	})
	for _, item := range items {
		for _, from := range items {
			if (from.State == nil) == (item.State == nil) && from.Name != item.Name {
				from.Name = item.Name
				env.Table.Put(from)
			}
		}
	}
}

// TestKilledEnvironmentCostsNoCall: An environment is killed during its exchange, which it
// began a second after it took the lease of the token.
func TestKilledEnvironmentCostsNoCall(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		env.Server.Misbehave(oauthtest.Late(1500 * time.Millisecond))
		var all sync.WaitGroup
		for _, scope := range []string{"first", "second"} {
			all.Go(func() {
				if _, err := env.Ask(env.Vendors[0], token.Request{Ask: ask.Ask{Scope: []string{scope}}}); err != nil {
					t.Errorf("the environment before its end: %v", err)
				}
			})
			synctest.Wait() // the first one has the credential
		}
		time.Sleep(2 * time.Second)
		env.Table.Misbehave(fleettest.Down) // so the environment ends none of its leases
		all.Wait()
		env.Table.Misbehave(nil)
		if _, err := env.Ask(env.Vendors[1], token.Request{Ask: ask.Ask{Scope: []string{"second"}}}); err != nil {
			t.Errorf("the other environment: %v", err)
		}
		env.WantCounts(3, 0)
	})
}

// TestRejectedTokenIsReplacedOnce: All environments report the same token.
func TestRejectedTokenIsReplacedOnce(t *testing.T) {
	tokentest.RunFleet(t, 8, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		grant, err := env.Ask(env.Vendors[0], token.Request{})
		if err != nil {
			t.Fatal(err)
		}
		prints, failures := env.All(5, token.Request{Rejected: grant.Token.Fingerprint()})
		if len(prints) != 1 || len(failures) != 0 || prints[grant.Token.Fingerprint()] != 0 {
			t.Errorf("%d tokens, %v", len(prints), failures)
		}
		env.WantCounts(2, 0)
	})
}

func TestDeletedRowCostsOneExchange(t *testing.T) {
	tokentest.RunFleet(t, 4, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		for i := range 10 {
			for _, item := range env.Table.Items() {
				if !strings.HasPrefix(item.Name, "epoch") {
					env.Table.Delete(item.Name)
				}
			}
			if _, err := env.Ask(env.Environment(nil), token.Request{}); err != nil {
				t.Fatal(err)
			}
			env.WantCounts(i+2, 0)
		}
	})
}

// TestRotationUnderLoadOfTheFleet: The old secret ends when the new one becomes current.
// No call fails, and there is one failed logon.
func TestRotationUnderLoadOfTheFleet(t *testing.T) {
	tokentest.RunFleet(t, 8, func(t *testing.T, env *tokentest.Fleet) {
		env.WantTokens(1)
		for i := range 5 {
			secret := fmt.Sprint("secret", i)
			if err := env.Server.SetSecrets("id", secret); err != nil {
				t.Fatal(err)
			}
			env.Put("billing", fmt.Sprint("v", i+2), map[string]any{"client_secret": secret})
			if _, failures := env.All(2, token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint(i)}}}); len(failures) != 0 {
				t.Errorf("rotation %d: %v", i, failures)
			}
			if f := env.Server.FailedLogons("id"); f > i+1 {
				t.Errorf("rotation %d: %d failed logons in all", i, f)
			}
		}
	})
}

// TestRefusedShadowIsTriedOnceByTheFleet: It costs no caller a token.
func TestRefusedShadowIsTriedOnceByTheFleet(t *testing.T) {
	tokentest.RunFleet(t, 8, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", map[string]any{"shadow": map[string]any{"client_secret": "bad"}})
		ask := func() {
			var wait sync.WaitGroup
			for i, v := range env.Vendors {
				for j := range 4 {
					wait.Go(func() {
						if _, err := env.Ask(v, token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint("s", (i+j)%4)}}}); err != nil {
							t.Errorf("no token: %v", err)
						}
					})
				}
			}
			wait.Wait()
		}
		ask()
		env.WantCounts(4, 0)
		for range 4 {
			env.Pass(53 * time.Minute)
			ask()
			env.Pass(5 * time.Second)
			ask() // whoever found that another environment had the lease
		}
		if tried, failed := env.Counted(tokensource.CountShadowBad), env.Server.FailedLogons("id"); tried != failed || failed < 1 || failed > 4 {
			t.Errorf("the shadow was tried %d times, with %d failed logons in 212 minutes, want one for each ten minutes in which a token was replaced", tried, failed)
		}
	})
}
