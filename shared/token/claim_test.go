package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/token"
)

// announce fetches ahead with the i-th environment.
func (a *armada) announce(i int, r token.Request, o token.Order) token.Announcement {
	a.t.Helper()
	if r.Client == "" {
		r.Client = "billing"
	}
	announced, err := a.vendors[i].Announce(a.t.Context(), r, o)
	if err != nil {
		a.t.Fatal(err)
	}
	return announced
}

// redeem asks the i-th environment for what was announced.
func (a *armada) redeem(i int, claim, caller string) (token.Grant, error) {
	return a.ask(a.vendors[i], token.Request{Claim: claim, Caller: caller})
}

// TestClaim: what one environment has fetched ahead, another hands out without an
// exchange, with the life that was ordered.
func TestClaim(t *testing.T) {
	a := newArmada(t, 3)
	announced := a.announce(0, token.Request{Scope: []string{"read"}, MinTTL: 20 * time.Minute}, token.Order{ID: "message-1"})
	promised := time.Unix(announced.GoodUntil, 0).Sub(a.now())
	if announced.ID != "message-1" || announced.Client != "billing" || announced.MinTTL != 1200 || len(announced.Scope) != 1 || promised.Round(time.Minute) != 40*time.Minute {
		t.Errorf("announced %+v, good for %v", announced, promised)
	}
	for i := range 3 {
		grant, err := a.redeem(i, announced.Claim, teamA)
		if err != nil || grant.Token.Expiry().Sub(a.now()) < 20*time.Minute {
			t.Fatalf("environment %d: %v", i, err)
		}
	}
	a.wantCounts(1, 0)
	a.pass(promised - 5*time.Second)
	if grant, err := a.redeem(1, announced.Claim, teamB); err != nil || grant.Token.Expiry().Sub(a.now()) < 20*time.Minute {
		t.Errorf("at the end of the promise: %v", err)
	}
	a.wantCounts(1, 0)
}

// TestClaimAfterFiftyMinutes: a job that starts late gets a token with enough life, too.
func TestClaimAfterFiftyMinutes(t *testing.T) {
	for _, least := range []time.Duration{0, 5 * time.Minute, 9 * time.Minute, 30 * time.Minute, 55 * time.Minute} {
		a := newArmada(t, 2)
		announced := a.announce(0, token.Request{MinTTL: least}, token.Order{ID: "m"})
		a.pass(50 * time.Minute)
		grant, err := a.redeem(1, announced.Claim, "")
		if err != nil {
			t.Fatal(err)
		}
		if left := grant.Token.Expiry().Sub(a.now()); left < least {
			t.Errorf("min_ttl %v: %v left", least, left)
		}
		if n := a.server.Exchanges(); n > 2 {
			t.Errorf("%d exchanges", n)
		}
	}
}

// TestB096Claims: who cannot have made a claim, or may not redeem it, is told no more
// than anybody who is denied.
func TestB096Claims(t *testing.T) {
	a := newArmada(t, 2)
	a.put("payroll", "v1", nil)
	free := a.announce(0, token.Request{}, token.Order{ID: "free", Time: a.now()}).Claim
	bound := a.announce(0, token.Request{}, token.Order{ID: "bound", Caller: teamA}).Claim
	denied := func(name string, r token.Request) {
		t.Helper()
		_, err := a.ask(a.vendors[1], r)
		if e := token.AsError(err); e.Kind != token.Denied || e.Description != token.Refusal("").Description {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range len(free) {
		for _, c := range []byte{free[i] ^ 1, 'A', '.', '%'} {
			if c != free[i] {
				denied("changed at "+free[:i], token.Request{Claim: free[:i] + string(c) + free[i+1:]})
			}
		}
	}
	parts := strings.Split(free, ".")
	for name, forged := range map[string]string{
		"no mac": parts[0] + "." + parts[1] + ".", "no epoch": "." + parts[1] + "." + parts[2], "other epoch": "2001-01-01." + parts[1] + "." + parts[2],
		"yesterday": a.now().Add(-24*time.Hour).UTC().Format(time.DateOnly) + "." + parts[1] + "." + parts[2],
		"two":       free + "." + free, "long": strings.Repeat("A", 4000), "mixed": parts[0] + "." + strings.Split(bound, ".")[1] + "." + parts[2],
		"line breaks": parts[0] + "." + parts[1][:4] + "\n" + parts[1][4:] + "." + parts[2],
	} {
		denied(name, token.Request{Claim: forged})
	}
	denied("another client", token.Request{Client: "payroll", Claim: free})
	denied("another caller", token.Request{Claim: bound, Caller: teamB})
	denied("nobody", token.Request{Claim: bound})
	for _, r := range []token.Request{{Claim: free, Caller: teamB}, {Claim: bound, Caller: teamA}} {
		if _, err := a.ask(a.vendors[1], r); err != nil {
			t.Errorf("a good claim: %v", err)
		}
	}
	other := newArmada(t, 1)
	if _, err := other.redeem(0, free, ""); token.AsError(err).Kind != token.Denied {
		t.Errorf("of another deployment: %v", err)
	}
	a.pass(token.ClaimLife - time.Minute)
	if _, err := a.redeem(1, free, ""); err != nil {
		t.Errorf("shortly before its end, on the next day: %v", err)
	}
	a.pass(time.Minute)
	denied("expired", token.Request{Claim: free})
}

// TestClaimIsJudged: a claim opens nothing. Whoever redeems it needs the policy's leave
// for what it stands for; and a frozen client is not fetched ahead.
func TestClaimIsJudged(t *testing.T) {
	a := newArmada(t, 1)
	var lines []audit.Event
	text := onlyA
	v := a.environmentWith(func(cfg *token.Config) {
		cfg.Policy = func(context.Context, bool) (*policy.Policy, error) { return policy.Parse([]byte(text)) }
		cfg.Audit = func(e *audit.Event) error { lines = append(lines, *e); return nil }
	})
	a.vendors = append(a.vendors, v)
	read := a.announce(1, token.Request{Scope: []string{"read"}, Origin: audit.Origin{Source: audit.SQS, MessageID: "m-1"}}, token.Order{ID: "m-1"})
	if e := lines[0]; !e.Allowed || e.ClaimID != "m-1" || e.Origin.MessageID != "m-1" || e.TokenSHA256 == "" {
		t.Errorf("the line is %+v", e)
	}
	write := a.announce(1, token.Request{Scope: []string{"write"}}, token.Order{ID: "m-2"})
	for _, test := range []struct {
		claim, caller string
		ok            bool
	}{{read.Claim, teamA, true}, {read.Claim, teamB, false}, {write.Claim, teamA, false}} {
		_, err := a.redeem(1, test.claim, test.caller)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.caller, err)
		}
		if e := lines[len(lines)-1]; e.ClaimID == "" || e.Allowed != test.ok {
			t.Errorf("the line is %+v", e)
		}
	}
	text = frozen
	a.pass(2 * time.Minute)
	if _, err := v.Announce(t.Context(), token.Request{Client: "billing"}, token.Order{ID: "m-3"}); token.AsError(err).Kind != token.Denied {
		t.Errorf("a frozen client was fetched ahead: %v", err)
	}
}

// TestClaimsAreRepeatable: the same order makes the same claim, whichever environment it
// comes to, so that what is delivered twice has one effect.
func TestClaimsAreRepeatable(t *testing.T) {
	a := newArmada(t, 2)
	order := token.Order{ID: "m", Time: a.now().Add(-time.Hour)}
	r := token.Request{Scope: []string{"b", "a"}, AppTID: "t", MinTTL: time.Minute}
	first := a.announce(0, r, order)
	a.pass(time.Minute)
	if second := a.announce(1, r, order); second.Claim != first.Claim || first.ClaimExpires != order.Time.Add(token.ClaimLife).Unix() {
		t.Errorf("%+v\n%+v", first, second)
	}
	// What has waited too long for that still gets a claim that can be used.
	old := a.announce(0, r, token.Order{ID: "m", Time: a.now().Add(-100 * time.Hour)})
	if _, err := a.redeem(1, old.Claim, ""); err != nil {
		t.Error(err)
	}
	text, err := json.Marshal(first)
	if err != nil || strings.Contains(string(text), "access_token") {
		t.Errorf("%s, %v", text, err)
	}
}

// TestAnnouncementsThatCannotBe: what cannot be promised is refused, with the field.
func TestAnnouncementsThatCannotBe(t *testing.T) {
	a := newArmada(t, 1)
	for name, test := range map[string]struct {
		r    token.Request
		kind token.Kind
		says string
	}{
		"longer than tokens live": {token.Request{MinTTL: 2 * time.Hour}, token.Malformed, "min_ttl"},
		"dry run":                 {token.Request{DryRun: true}, token.Malformed, "dry_run"},
		"claim":                   {token.Request{Claim: "x"}, token.Malformed, "claim"},
		"rejected":                {token.Request{Rejected: strings.Repeat("a", 64)}, token.Malformed, "rejected"},
		"unknown client":          {token.Request{Client: "none"}, token.Denied, ""},
		"large":                   {token.Request{Parameters: map[string]string{"x": strings.Repeat("y", 4000)}}, token.TooLarge, "claim"},
	} {
		if test.r.Client == "" {
			test.r.Client = "billing"
		}
		_, err := a.vendors[0].Announce(t.Context(), test.r, token.Order{ID: "m"})
		if e := token.AsError(err); e.Kind != test.kind || !strings.Contains(e.Description, test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a.table.Misbehave(func(context.Context) error { return errors.New("down") })
	cold := a.environment()
	if _, err := cold.Announce(t.Context(), token.Request{Client: "billing"}, token.Order{ID: "m"}); token.AsError(err).Kind != token.Unavailable {
		t.Errorf("without a table: %v", err)
	}
	if _, err := cold.Vend(t.Context(), token.Request{Client: "billing", Claim: a.now().UTC().Format(time.DateOnly) + ".e30.e30"}); token.AsError(err).Kind != token.Unavailable {
		t.Errorf("without a table: %v", err)
	}
	alone := newBench(t)
	if _, err := alone.vend(token.Request{Claim: "x.y.z"}); token.AsError(err).Kind != token.Denied {
		t.Errorf("where there are no claims: %v", err)
	}
}

// TestClaimParameter: a claim stands for what was ordered.
func TestClaimParameter(t *testing.T) {
	for body, want := range map[string]string{
		`claim=a.b.c`: "a.b.c", `claim=a.b.c&min_ttl=60&dry_run=true`: "a.b.c", `claim=`: "", `claim=a.b.c&scope=read`: "error", `claim=a&resource=https://x`: "error",
		`claim=a&audience=x`: "error", `claim=a&app_tid=x`: "error", `claim=a&x=y`: "error", `claim=a&token_format=jwt`: "error", `claim=a&claim=a`: "error",
	} {
		r, err := token.ParseForm("billing", []byte(body))
		if (err != nil) != (want == "error") || err == nil && r.Claim != want {
			t.Errorf("%s: %q, %v", body, r.Claim, err)
		}
	}
	if r, err := token.ParseJSON("billing", []byte(`{"claim": "a.b.c", "min_ttl": 5}`)); err != nil || r.Claim != "a.b.c" || r.MinTTL != 5*time.Second {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestPromisesAreKept: until good_until the token is there for every environment, without
// the authorization server, also over midnight; and where the table could not be used
// nothing is promised until it can.
func TestPromisesAreKept(t *testing.T) {
	a := newArmada(t, 2)
	order := token.Order{ID: "m", Time: a.now()}
	a.table.Misbehave(fleettest.Down)
	if first := a.announce(0, token.Request{}, order); first.GoodUntil != 0 {
		t.Error("promised what only one environment has")
	}
	a.table.Misbehave(nil)
	a.pass(time.Minute)
	second := a.announce(0, token.Request{}, order)
	if second.GoodUntil == 0 {
		t.Fatal("nothing is promised")
	}
	a.server.Misbehave(oauthtest.Answer(503, "", ""))
	if _, err := a.redeem(1, second.Claim, ""); err != nil {
		t.Errorf("in another environment: %v", err)
	}
	a.wantCounts(1, 0)
	a.server.Behave()

	midnight := a.now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	a.pass(midnight.Add(-10 * time.Minute).Sub(a.now()))
	third := a.announce(0, token.Request{Scope: []string{"late"}, MinTTL: 10 * time.Minute}, token.Order{ID: "n", Time: a.now()})
	a.server.Misbehave(oauthtest.Answer(503, "", ""))
	a.pass(15 * time.Minute)
	a.vendors = append(a.vendors, a.environment())
	for i := range a.vendors {
		if _, err := a.redeem(i, third.Claim, ""); err != nil || third.GoodUntil <= a.now().Unix() {
			t.Errorf("after midnight, environment %d: %v", i, err)
		}
	}
}

// TestSharingTakesNothingAway: what an environment puts into the table that could not do so
// before is not put over a token that another has promised, and which lives longer.
func TestSharingTakesNothingAway(t *testing.T) {
	a := newArmada(t, 0)
	for _, jitter := range []float64{0.999, 0} {
		a.vendors = append(a.vendors, a.environmentWith(func(c *token.Config) { c.Rand = func() float64 { return jitter } }))
	}
	a.table.Misbehave(fleettest.Down)
	a.announce(0, token.Request{}, token.Order{ID: "m", Time: a.now()})
	a.table.Misbehave(nil)
	a.pass(2 * time.Minute)
	promised := a.announce(1, token.Request{}, token.Order{ID: "n", Time: a.now()})
	if promised.GoodUntil == 0 {
		t.Fatal("nothing is promised")
	}
	a.pass(45*time.Minute + 30*time.Second)
	if late := a.announce(0, token.Request{}, token.Order{ID: "o", Time: a.now()}); late.GoodUntil == 0 {
		t.Error("a better token is there, and nothing is promised")
	}
	a.server.Misbehave(oauthtest.Answer(503, "", ""))
	a.pass(time.Unix(promised.GoodUntil, 0).Add(-20 * time.Second).Sub(a.now()))
	a.vendors = append(a.vendors, a.environment())
	if _, err := a.redeem(2, promised.Claim, ""); err != nil {
		t.Errorf("20 seconds before the end of the promise: %v", err)
	}
}

// TestOldOrders: the claim for an order is good, whenever the order says that it was made.
func TestOldOrders(t *testing.T) {
	a := newArmada(t, 1)
	for _, when := range []time.Time{{}, time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), a.now().Add(-31 * 24 * time.Hour), a.now().Add(-13 * 24 * time.Hour), a.now().Add(48 * time.Hour), a.now().Add(time.Minute)} {
		announced := a.announce(0, token.Request{}, token.Order{ID: "m", Time: when})
		if left := time.Unix(announced.ClaimExpires, 0).Sub(a.now()); left < token.ClaimLife/2-time.Second || left > token.ClaimLife+token.ClaimLife/2 {
			t.Errorf("ordered %v: good for %v", when, left)
		}
		if _, err := a.redeem(0, announced.Claim, ""); err != nil {
			t.Errorf("ordered %v: %v", when, err)
		}
	}
}
