package token_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/token"
)

// armada is many environments with one table.
type armada struct {
	*bench
	table   fleettest.Table
	keys    fleettest.Keys
	vendors []*token.Vendor
}

func newArmada(t *testing.T, n int) *armada {
	a := &armada{bench: newBench(t)}
	// At midnight the table's key changes, which costs calls that tests count.
	a.pass(25*time.Hour - time.Duration(a.now().UnixNano())%(24*time.Hour))
	for range n {
		a.vendors = append(a.vendors, a.environment())
	}
	return a
}

// environment starts one more.
func (a *armada) environment() *token.Vendor { return a.environmentWith(func(*token.Config) {}) }

func (a *armada) environmentWith(change func(*token.Config)) *token.Vendor {
	f := fleet.New(fleet.Config{Table: &a.table, Keys: &a.keys, Count: a.count, Now: a.now})
	f.Open(a.t.Context())
	cfg := token.Config{
		Clients:   registry.New(registry.Config{Secrets: a.bench, Addresses: oauth.AddressPolicy{Private: true}}),
		Exchanger: oauth.NewExchanger(oauth.ExchangerConfig{Now: a.now}),
		Fleet:     f, Count: a.count, Now: a.now,
	}
	change(&cfg)
	return token.New(cfg)
}

func (a *armada) ask(v *token.Vendor, r token.Request) (token.Grant, error) {
	ctx, cancel := context.WithTimeout(a.t.Context(), 20*time.Second)
	defer cancel()
	if r.Client == "" {
		r.Client = "billing"
	}
	return v.Vend(ctx, r)
}

// all asks all at once, each as often as times, and returns the fingerprints of
// the tokens and the errors.
func (a *armada) all(times int, r token.Request) (prints map[string]int, failures []error) {
	var mu sync.Mutex
	var wait sync.WaitGroup
	prints = make(map[string]int)
	for _, v := range a.vendors {
		for range times {
			wait.Go(func() {
				grant, err := a.ask(v, r)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failures = append(failures, err)
					return
				}
				prints[token.Fingerprint(grant.Token)]++
			})
		}
	}
	wait.Wait()
	return prints, failures
}

func (a *armada) wantAll(tokens int) {
	a.t.Helper()
	if prints, failures := a.all(3, token.Request{}); len(prints) != tokens || len(failures) != 0 {
		a.t.Errorf("%d different tokens, errors %v; want %d tokens", len(prints), failures, tokens)
	}
}

// TestOneExchangeForTheFleet, at the start and at each refresh.
func TestOneExchangeForTheFleet(t *testing.T) {
	a := newArmada(t, 16)
	a.wantAll(1)
	a.wantCounts(1, 0)
	for life := range 3 {
		a.pass(53 * time.Minute) // all want to refresh
		if _, failures := a.all(3, token.Request{}); len(failures) != 0 {
			t.Error(failures)
		}
		a.pass(3 * time.Second) // those who kept the old one look again
		_, _ = a.all(3, token.Request{})
		a.wantAll(1)
		a.wantCounts(life+2, 0)
	}
	if n := a.counted(fleet.CountRefused) + a.counted(fleet.CountFailed); n != 0 {
		t.Errorf("%d times the table was no good", n)
	}
	if n := a.keys.Calls(); n != 16 {
		t.Errorf("%d KMS calls, want 16", n)
	}
}

// TestColdEnvironmentFindsTheToken, also when it wasn't there at the exchange.
func TestColdEnvironmentFindsTheToken(t *testing.T) {
	a := newArmada(t, 1)
	a.wantAll(1)
	for range 5 {
		grant, err := a.ask(a.environment(), token.Request{})
		if err != nil || grant.Outcome != token.Shared {
			t.Errorf("%v, %v", grant.Outcome, err)
		}
	}
	a.wantCounts(1, 0)
}

// TestFuseOfTheFleet: one failed logon, whatever the scopes; a new version opens
// it.
func TestFuseOfTheFleet(t *testing.T) {
	a := newArmada(t, 16)
	a.put("billing", "v1", map[string]any{"client_secret": "bad"})
	var wait sync.WaitGroup
	for i, v := range a.vendors {
		for j := range 5 {
			wait.Go(func() {
				_, err := a.ask(v, token.Request{Scope: []string{fmt.Sprint("s", (i+j)%5)}})
				if e := token.AsError(err); e.Kind != token.Misconfigured || e.Fuse.IsZero() || e.Upstream == nil || e.Upstream.Code != "invalid_client" {
					t.Errorf("error %v", err)
				}
			})
		}
	}
	wait.Wait()
	a.wantCounts(0, 1)
	if _, err := a.ask(a.environment(), token.Request{}); token.AsError(err).Fuse.IsZero() {
		t.Errorf("a new environment: %v", err)
	}
	a.wantCounts(0, 1)
	a.put("billing", "v2", nil)
	a.pass(time.Second)
	a.wantAll(1)
	a.wantCounts(1, 1)
	a.put("billing", "v1", map[string]any{"client_secret": "bad"})
	a.pass(11 * time.Minute)
	_, _ = a.all(1, token.Request{Scope: []string{"again"}})
	a.wantCounts(1, 2) // it opened by itself, for one
}

// TestFleetLeavesADeadIssuerAlone: what one environment found counts for all.
func TestFleetLeavesADeadIssuerAlone(t *testing.T) {
	a := newArmada(t, 8)
	a.wantAll(1)
	a.server.Misbehave(oauthtest.Answer(503, "", ""))
	a.pass(52 * time.Minute)
	start, before := a.now(), len(a.server.Requests())
	for a.now().Sub(start) < 6*time.Minute {
		if _, failures := a.all(1, token.Request{}); len(failures) != 0 {
			t.Fatalf("after %v: %v", a.now().Sub(start), failures)
		}
		a.pass(5 * time.Second)
	}
	// At 0, 30, 90 and 210 seconds, or up to a quarter later.
	if n := len(a.server.Requests()) - before; n < 3 || n > 4 {
		t.Errorf("asked %d times in six minutes", n)
	}
	a.pass(5 * time.Minute)
	if prints, _ := a.all(1, token.Request{}); len(prints) != 0 {
		t.Error("an expired token left")
	}
}

// TestThrottledFleet: the server that said 429 to one is left alone by all, and
// for other tokens too.
func TestThrottledFleet(t *testing.T) {
	a := newArmada(t, 8)
	a.server.Misbehave(oauthtest.HTML429("120"))
	_, _ = a.ask(a.vendors[0], token.Request{Scope: []string{"first"}})
	before := len(a.server.Requests())
	for i, v := range a.vendors {
		_, err := a.ask(v, token.Request{Scope: []string{fmt.Sprint(i)}})
		if e := token.AsError(err); e.Kind != token.Throttled || e.RetryAfter < 100*time.Second {
			t.Errorf("%v, retry after %v", err, e.RetryAfter)
		}
	}
	if n := len(a.server.Requests()) - before; n != 0 {
		t.Errorf("asked %d times", n)
	}
	a.server.Behave()
	a.pass(121 * time.Second)
	_, _ = a.ask(a.vendors[1], token.Request{Scope: []string{"probe"}})
	for i, v := range a.vendors {
		if _, err := a.ask(v, token.Request{Scope: []string{fmt.Sprint("after", i)}}); err != nil {
			t.Error(err)
		}
	}
}

// TestTableDown: right answers (Duende #684); how soon, the tests of fleet say.
func TestTableDown(t *testing.T) {
	for name, break_ := range map[string]func(*armada){
		"table down":  func(a *armada) { a.table.Misbehave(fleettest.Down) },
		"table hangs": func(a *armada) { a.table.Misbehave(fleettest.Hang) },
		"key down":    func(a *armada) { a.keys.Misbehave(fleettest.Down); a.pass(24 * time.Hour) },
		"key hangs":   func(a *armada) { a.keys.Misbehave(fleettest.Hang); a.pass(24 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newArmada(t, 1)
			break_(a)
			for i := range 4 {
				if _, err := a.ask(a.vendors[0], token.Request{Scope: []string{fmt.Sprint(i)}}); err != nil {
					t.Fatal(err)
				}
			}
			a.wantCounts(4, 0)
		})
	}
}

// TestPoisonedFleet: a token that somebody put into the table is never handed out.
func TestPoisonedFleet(t *testing.T) {
	a := newArmada(t, 1)
	a.put("other", "v1", nil)
	for _, client := range []string{"billing", "other"} {
		if _, err := a.ask(a.vendors[0], token.Request{Client: client}); err != nil {
			t.Fatal(err)
		}
	}
	items := a.table.Items()
	for _, item := range items {
		for _, from := range items {
			if from.Value != nil && item.Value != nil && from.Name != item.Name && !strings.HasPrefix(from.Name+item.Name, "epoch") && !strings.HasPrefix(item.Name, "epoch") {
				swapped := from
				swapped.Name = item.Name
				a.table.Put(swapped)
			}
		}
	}
	billing, err := a.ask(a.environment(), token.Request{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := a.ask(a.environment(), token.Request{Client: "other"})
	if err != nil || token.Fingerprint(billing.Token) == token.Fingerprint(other.Token) {
		t.Errorf("another client's token was handed out, or %v", err)
	}
	if a.counted(fleet.CountRefused) == 0 {
		t.Error("nobody was told")
	}
	a.wantCounts(4, 0)
	for _, item := range a.table.Items() {
		for _, secret := range []string{billing.Token.AccessToken().Expose(), "billing", "good"} {
			if bytes.Contains(append(item.State, item.Value...), []byte(secret)) || strings.Contains(item.Name, secret) {
				t.Error("the table shows what is in it")
			}
		}
	}
}

// TestRejectedByTheFleet: all environments report the same token; one exchange.
func TestRejectedByTheFleet(t *testing.T) {
	a := newArmada(t, 8)
	a.wantAll(1)
	grant, err := a.ask(a.vendors[0], token.Request{})
	if err != nil {
		t.Fatal(err)
	}
	prints, failures := a.all(5, token.Request{Rejected: token.Fingerprint(grant.Token)})
	if len(prints) != 1 || len(failures) != 0 || prints[token.Fingerprint(grant.Token)] != 0 {
		t.Errorf("%d tokens, %v", len(prints), failures)
	}
	a.wantCounts(2, 0)
}

// TestDeletedRows at random cost an exchange each at most.
func TestDeletedRows(t *testing.T) {
	a := newArmada(t, 4)
	a.wantAll(1)
	for i := range 10 {
		for _, item := range a.table.Items() {
			if !strings.HasPrefix(item.Name, "epoch") {
				a.table.Delete(item.Name)
			}
		}
		if _, err := a.ask(a.environment(), token.Request{}); err != nil {
			t.Fatal(err)
		}
		a.wantCounts(i+2, 0)
	}
}

// TestRotationOfTheFleet: the old secret dies as the new one becomes current, with
// everybody under load. Nobody fails, and one logon is lost.
func TestRotationOfTheFleet(t *testing.T) {
	a := newArmada(t, 8)
	a.wantAll(1)
	for i := range 5 {
		secret := fmt.Sprint("secret", i)
		if err := a.server.SetSecrets("id", secret); err != nil {
			t.Fatal(err)
		}
		a.put("billing", fmt.Sprint("v", i+2), map[string]any{"client_secret": secret})
		if _, failures := a.all(2, token.Request{Scope: []string{fmt.Sprint(i)}}); len(failures) != 0 {
			t.Errorf("rotation %d: %v", i, failures)
		}
		if f := a.server.FailedLogons("id"); f != i+1 {
			t.Errorf("rotation %d: %d failed logons in all", i, f)
		}
	}
}

// TestShadowOfTheFleet: a shadow credential that is refused is tried once by all
// environments together, whatever the scopes, and costs nobody a token.
func TestShadowOfTheFleet(t *testing.T) {
	a := newArmada(t, 8)
	a.put("billing", "v1", map[string]any{"shadow": map[string]any{"client_secret": "bad"}})
	ask := func() {
		var wait sync.WaitGroup
		for i, v := range a.vendors {
			for j := range 4 {
				wait.Go(func() {
					if _, err := a.ask(v, token.Request{Scope: []string{fmt.Sprint("s", (i+j)%4)}}); err != nil {
						t.Errorf("no token: %v", err)
					}
				})
			}
		}
		wait.Wait()
	}
	ask()
	a.wantCounts(4, 0)
	for range 4 {
		a.pass(53 * time.Minute)
		ask()
		a.pass(5 * time.Second)
		ask() // whoever found that another environment had the lease
	}
	if tried, failed := a.counted(token.CountShadowBad), a.server.FailedLogons("id"); tried != failed || failed < 1 || failed > 4 {
		t.Errorf("the shadow was tried %d times, with %d failed logons in 212 minutes, want one for each ten minutes in which a token was replaced", tried, failed)
	}
}
