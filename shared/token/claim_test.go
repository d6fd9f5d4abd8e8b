package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/ask/asktest"
	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// allowed returns the member of a document that lets callers and orders choose parameters.
func allowed(parameters ...string) map[string]any {
	return map[string]any{"allow_parameters": parameters}
}

// TestClaimBringsTheFetchedToken: Another environment hands it out without an exchange,
// with the life that was ordered.
func TestClaimBringsTheFetchedToken(t *testing.T) {
	tokentest.RunFleet(t, 3, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", allowed("scope"))
		announced := env.Announce(0, token.Request{MinTTL: 20 * time.Minute, Ask: ask.Ask{Scope: []string{"read"}}}, token.Order{ID: "message-1"})
		promised := time.Unix(announced.GoodUntil, 0).Sub(env.Now())
		if announced.ID != "message-1" || announced.Client != "billing" || announced.MinTTL != 1200 || len(announced.Scope) != 1 || promised.Round(time.Minute) != 40*time.Minute {
			t.Errorf("announced %+v, good for %v", announced, promised)
		}
		for i := range 3 {
			grant, err := env.Redeem(i, announced.Claim, teamA)
			if err != nil || grant.Token.Expiry().Sub(env.Now()) < 20*time.Minute {
				t.Fatalf("environment %d: %v", i, err)
			}
		}
		env.WantCounts(1, 0)
		env.Pass(promised - 5*time.Second)
		if grant, err := env.Redeem(1, announced.Claim, teamB); err != nil || grant.Token.Expiry().Sub(env.Now()) < 20*time.Minute {
			t.Errorf("at the end of the promise: %v", err)
		}
		env.WantCounts(1, 0)
	})
}

// TestRedeemAsksForWhatWasOrdered: a claim keeps each member of the ask. One environment
// announces, another redeems, and a third is asked directly: that is one exchange.
func TestRedeemAsksForWhatWasOrdered(t *testing.T) {
	tokentest.RunFleet(t, 3, func(t *testing.T, env *tokentest.Fleet) {
		full := asktest.Full(t)
		env.Put("billing", "v1", allowed(append(slices.Collect(maps.Keys(full.Parameters)), "scope", "resource", "audience", "token_format", "app_tid")...))
		asks := asktest.Each(t)
		asks["all"] = full
		exchanges := 0
		for name, a := range asks {
			announced := env.Announce(0, token.Request{Ask: a}, token.Order{ID: "m-" + name, Time: env.Now()})
			if !reflect.DeepEqual(announced.Ask, a) {
				t.Errorf("without %s: announced %+v, want %+v", name, announced.Ask, a)
			}
			redeemed, err := env.Redeem(1, announced.Claim, "")
			if err != nil {
				t.Fatalf("without %s: %v", name, err)
			}
			direct, err := env.Ask(env.Vendors[2], token.Request{Ask: a})
			if err != nil || direct.Token.Fingerprint() != redeemed.Token.Fingerprint() {
				t.Errorf("without %s: the claim brings another token than the ask; error %v", name, err)
			}
			exchanges++
			env.WantCounts(exchanges, 0)
			checkForm(t, env.Server.Requests()[exchanges-1].Form, a)
			env.Pass(time.Minute) // the budget of exchanges with one server
		}
	})
}

// checkForm compares what the authorization server was asked for.
func checkForm(t *testing.T, form url.Values, a ask.Ask) {
	t.Helper()
	want := url.Values{"scope": {strings.Join(a.Scope, " ")}, "audience": {a.Audience}, "token_format": {a.TokenFormat}, "app_tid": {a.AppTID}}
	for name, value := range a.Parameters {
		want.Set(name, value)
	}
	for name := range want {
		if got := form.Get(name); got != want.Get(name) {
			t.Errorf("the server was asked for %s %q, want %q", name, got, want.Get(name))
		}
	}
	if got := form["resource"]; !slices.Equal(got, a.Resource) {
		t.Errorf("the server was asked for resource %q, want %q", got, a.Resource)
	}
}

func TestLateClaimBringsEnoughLife(t *testing.T) {
	for _, least := range []time.Duration{0, 5 * time.Minute, 9 * time.Minute, 30 * time.Minute, 55 * time.Minute} {
		tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
			announced := env.Announce(0, token.Request{MinTTL: least}, token.Order{ID: "m"})
			env.Pass(50 * time.Minute)
			grant, err := env.Redeem(1, announced.Claim, "")
			if err != nil {
				t.Fatal(err)
			}
			if left := grant.Token.Expiry().Sub(env.Now()); left < least {
				t.Errorf("min_ttl %v: %v left", least, left)
			}
			if n := env.Server.Exchanges(); n > 2 {
				t.Errorf("%d exchanges", n)
			}
		})
	}
}

// TestBadClaimsAreDenied: A forged or foreign claim gets the answer of any denied
// request.
func TestBadClaimsAreDenied(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("payroll", "v1", nil)
		free := env.Announce(0, token.Request{}, token.Order{ID: "free", Time: env.Now()}).Claim
		bound := env.Announce(0, token.Request{}, token.Order{ID: "bound", For: teamA}).Claim
		denied := func(name string, r token.Request) {
			t.Helper()
			_, err := env.Ask(env.Vendors[1], r)
			if e := fault.From(err); e.Kind != fault.Denied || e.Description != fault.Refusal(fault.Denied, "").Description {
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
			"yesterday": env.Now().Add(-24*time.Hour).UTC().Format(time.DateOnly) + "." + parts[1] + "." + parts[2],
			"two":       free + "." + free, "long": strings.Repeat("A", 4000), "mixed": parts[0] + "." + strings.Split(bound, ".")[1] + "." + parts[2],
			"line breaks": parts[0] + "." + parts[1][:4] + "\n" + parts[1][4:] + "." + parts[2],
		} {
			denied(name, token.Request{Claim: forged})
		}
		denied("another client", token.Request{Client: "payroll", Claim: free})
		denied("another caller", token.Request{Claim: bound, Caller: teamB})
		denied("nobody", token.Request{Claim: bound})
		for _, r := range []token.Request{{Claim: free, Caller: teamB}, {Claim: bound, Caller: teamA}} {
			if _, err := env.Ask(env.Vendors[1], r); err != nil {
				t.Errorf("a good claim: %v", err)
			}
		}
		other := tokentest.NewFleet(t, 1)
		if _, err := other.Redeem(0, free, ""); fault.From(err).Kind != fault.Denied {
			t.Errorf("of another deployment: %v", err)
		}
		env.Pass(token.ClaimLife - time.Minute)
		if _, err := env.Redeem(1, free, ""); err != nil {
			t.Errorf("shortly before its end, on the next day: %v", err)
		}
		env.Pass(time.Minute)
		denied("expired", token.Request{Claim: free})
	})
}

// TestPolicyDecidesClaims: A claim permits nothing: the policy judges the caller that
// redeems it. A frozen client is not fetched ahead.
func TestPolicyDecidesClaims(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		var lines []audit.Event
		text := onlyA
		v := env.Environment(func(cfg *token.Config) {
			cfg.Policy = func(context.Context, bool) (secret.Secret, error) { return tokentest.PolicySecret(text), nil }
			cfg.Audit = func(e *audit.Event) error { lines = append(lines, *e); return nil }
		})
		env.Vendors = append(env.Vendors, v)
		env.Put("billing", "v1", allowed("scope"))
		read := env.Announce(1, token.Request{Origin: audit.Origin{Source: audit.SQS, MessageID: "m-1"}, Ask: ask.Ask{Scope: []string{"read"}}}, token.Order{ID: "m-1"})
		if e := lines[0]; !e.Allowed || e.ClaimID != "m-1" || e.Origin.MessageID != "m-1" || e.TokenSHA256 == "" {
			t.Errorf("the line is %+v", e)
		}
		write := env.Announce(1, token.Request{Ask: ask.Ask{Scope: []string{"write"}}}, token.Order{ID: "m-2"})
		for _, test := range []struct {
			claim, caller string
			ok            bool
		}{{read.Claim, teamA, true}, {read.Claim, teamB, false}, {write.Claim, teamA, false}} {
			_, err := env.Redeem(1, test.claim, test.caller)
			if (err == nil) != test.ok {
				t.Errorf("%s: %v", test.caller, err)
			}
			if e := lines[len(lines)-1]; e.ClaimID == "" || e.Allowed != test.ok {
				t.Errorf("the line is %+v", e)
			}
		}
		text = frozen
		env.Pass(2 * time.Minute)
		if _, err := v.Announce(t.Context(), tokentest.ReadOrder(token.Request{Client: "billing"}, token.Order{ID: "m-3"})); fault.From(err).Kind != fault.Suspended {
			t.Errorf("a frozen client was fetched ahead: %v", err)
		}
	})
}

// TestSameOrderMakesSameClaim: An order may be delivered twice, to different
// environments.
func TestSameOrderMakesSameClaim(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", allowed("scope", "app_tid"))
		order := token.Order{ID: "m", Time: env.Now().Add(-time.Hour)}
		r := token.Request{MinTTL: time.Minute, Ask: ask.Ask{Scope: []string{"b", "a"}, AppTID: "t"}}
		first := env.Announce(0, r, order)
		env.Pass(time.Minute)
		if second := env.Announce(1, r, order); second.Claim != first.Claim || first.ClaimExpires != order.Time.Add(token.ClaimLife).Unix() {
			t.Errorf("%+v\n%+v", first, second)
		}
		// What has waited too long for that still gets a claim that can be used.
		old := env.Announce(0, r, token.Order{ID: "m", Time: env.Now().Add(-100 * time.Hour)})
		if _, err := env.Redeem(1, old.Claim, ""); err != nil {
			t.Error(err)
		}
		text, err := json.Marshal(first)
		if err != nil || strings.Contains(string(text), "access_token") {
			t.Errorf("%s, %v", text, err)
		}
	})
}

// TestBadOrdersAreRefused: The error names the field.
func TestBadOrdersAreRefused(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		for name, test := range map[string]struct {
			r    token.Request
			kind fault.Kind
			says string
		}{
			"longer than tokens live": {token.Request{MinTTL: 2 * time.Hour}, fault.Malformed, "min_ttl"},
			"dry run":                 {token.Request{DryRun: true}, fault.Malformed, "dry_run"},
			"claim":                   {token.Request{Claim: "x"}, fault.Malformed, "claim"},
			"rejected":                {token.Request{Rejected: strings.Repeat("a", 64)}, fault.Malformed, "rejected"},
			"unknown client":          {token.Request{Client: "none"}, fault.Denied, ""},
			"large":                   {token.Request{Ask: ask.Ask{Parameters: map[string]string{"x": strings.Repeat("y", 4000)}}}, fault.TooLarge, "claim"},
		} {
			if test.r.Client == "" {
				test.r.Client = "billing"
			}
			_, err := env.TryAnnounce(0, test.r, token.Order{ID: "m"})
			if e := fault.From(err); e.Kind != test.kind || !strings.Contains(e.Description, test.says) {
				t.Errorf("%s: %v", name, err)
			}
		}
		env.Table.Misbehave(func(context.Context) error { return errors.New("down") })
		cold := env.Environment(nil)
		if _, err := cold.Announce(t.Context(), tokentest.ReadOrder(token.Request{Client: "billing"}, token.Order{ID: "m"})); fault.From(err).Kind != fault.Unavailable {
			t.Errorf("without a table: %v", err)
		}
		if _, err := cold.Vend(t.Context(), tokentest.Read(token.Request{Client: "billing", Claim: env.Now().UTC().Format(time.DateOnly) + ".e30.e30"})); fault.From(err).Kind != fault.Unavailable {
			t.Errorf("without a table: %v", err)
		}
		alone := tokentest.New(t)
		if _, err := alone.Vend(token.Request{Claim: "x.y.z"}); fault.From(err).Kind != fault.Denied {
			t.Errorf("where there are no claims: %v", err)
		}
	})
}

func TestClaimExcludesAsk(t *testing.T) {
	for body, want := range map[string]string{
		`claim=a.b.c`: "a.b.c", `claim=a.b.c&min_ttl=60&dry_run=true`: "a.b.c", `claim=`: "", `claim=a.b.c&scope=read`: "error", `claim=a&resource=https://x`: "error",
		`claim=a&audience=x`: "error", `claim=a&app_tid=x`: "error", `claim=a&x=y`: "error", `claim=a&token_format=jwt`: "error", `claim=a&claim=a`: "error",
	} {
		r := token.Request{Client: "billing"}
		err := r.ParseForm([]byte(body))
		if (err != nil) != (want == "error") || err == nil && r.Claim != want {
			t.Errorf("%s: %q, %v", body, r.Claim, err)
		}
	}
	r := token.Request{Client: "billing"}
	if err := r.ParseJSON([]byte(`{"claim": "a.b.c", "min_ttl": 5}`)); err != nil || r.Claim != "a.b.c" || r.MinTTL != 5*time.Second {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestTokenIsThereUntilGoodUntil: Every environment has it without the authorization
// server, also after midnight. If the table cannot be used, there is no good_until.
func TestTokenIsThereUntilGoodUntil(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		env.Put("billing", "v1", allowed("scope"))
		order := token.Order{ID: "m", Time: env.Now()}
		env.Table.Misbehave(fleettest.Down)
		if first := env.Announce(0, token.Request{}, order); first.GoodUntil != 0 {
			t.Error("promised what only one environment has")
		}
		env.Table.Misbehave(nil)
		env.Pass(time.Minute)
		second := env.Announce(0, token.Request{}, order)
		if second.GoodUntil == 0 {
			t.Fatal("nothing is promised")
		}
		env.Server.Misbehave(oauthtest.Answer(503, "", ""))
		if _, err := env.Redeem(1, second.Claim, ""); err != nil {
			t.Errorf("in another environment: %v", err)
		}
		env.WantCounts(1, 0)
		env.Server.Behave()

		midnight := env.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
		env.Pass(midnight.Add(-10 * time.Minute).Sub(env.Now()))
		third := env.Announce(0, token.Request{MinTTL: 10 * time.Minute, Ask: ask.Ask{Scope: []string{"late"}}}, token.Order{ID: "n", Time: env.Now()})
		env.Server.Misbehave(oauthtest.Answer(503, "", ""))
		env.Pass(15 * time.Minute)
		env.Vendors = append(env.Vendors, env.Environment(nil))
		for i := range env.Vendors {
			if _, err := env.Redeem(i, third.Claim, ""); err != nil || third.GoodUntil <= env.Now().Unix() {
				t.Errorf("after midnight, environment %d: %v", i, err)
			}
		}
	})
}

// TestPublishKeepsLongerToken: An environment that could not write the table before does
// not replace a token that lives longer and was promised.
func TestPublishKeepsLongerToken(t *testing.T) {
	tokentest.RunFleet(t, 0, func(t *testing.T, env *tokentest.Fleet) {
		for _, jitter := range []float64{0.999, 0} {
			env.Vendors = append(env.Vendors, env.Environment(func(c *token.Config) { c.Rand = func() float64 { return jitter } }))
		}
		env.Table.Misbehave(fleettest.Down)
		env.Announce(0, token.Request{}, token.Order{ID: "m", Time: env.Now()})
		env.Table.Misbehave(nil)
		env.Pass(2 * time.Minute)
		promised := env.Announce(1, token.Request{}, token.Order{ID: "n", Time: env.Now()})
		if promised.GoodUntil == 0 {
			t.Fatal("nothing is promised")
		}
		env.Pass(45*time.Minute + 30*time.Second)
		if late := env.Announce(0, token.Request{}, token.Order{ID: "o", Time: env.Now()}); late.GoodUntil == 0 {
			t.Error("a better token is there, and nothing is promised")
		}
		env.Server.Misbehave(oauthtest.Answer(503, "", ""))
		env.Pass(time.Unix(promised.GoodUntil, 0).Add(-20 * time.Second).Sub(env.Now()))
		env.Vendors = append(env.Vendors, env.Environment(nil))
		if _, err := env.Redeem(2, promised.Claim, ""); err != nil {
			t.Errorf("20 seconds before the end of the promise: %v", err)
		}
	})
}

// TestClaimOfOldOrderCanBeRedeemed: The time of the order does not matter.
func TestClaimOfOldOrderCanBeRedeemed(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		for _, when := range []time.Time{{}, time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), env.Now().Add(-31 * 24 * time.Hour), env.Now().Add(-13 * 24 * time.Hour), env.Now().Add(48 * time.Hour), env.Now().Add(time.Minute)} {
			announced := env.Announce(0, token.Request{}, token.Order{ID: "m", Time: when})
			if left := time.Unix(announced.ClaimExpires, 0).Sub(env.Now()); left < token.ClaimLife/2-time.Second || left > token.ClaimLife+token.ClaimLife/2 {
				t.Errorf("ordered %v: good for %v", when, left)
			}
			if _, err := env.Redeem(0, announced.Claim, ""); err != nil {
				t.Errorf("ordered %v: %v", when, err)
			}
		}
	})
}

// TestOrderCarriesWhatTheDocumentStates: The sender of an order needs no leave for the client,
// so it chooses nothing that the document leaves open. The policy may let a source choose the
// targets, as it may a caller.
func TestOrderCarriesWhatTheDocumentStates(t *testing.T) {
	const rules = `{"effect": "%s", "rules": [
		{"name": "queue", "callers": ["source:queue/orders*"], "clients": ["billing"], "scopes": ["read"], "resources": ["urn:a"]},
		{"name": "job", "callers": ["aws:111122223333:role/job"], "clients": ["*"]}]}`
	order := func(a ask.Ask) func(*token.Order) error {
		return func(o *token.Order) error {
			o.Request.Client, o.Request.Ask, o.ID = "billing", a, "m"
			return nil
		}
	}
	read, targets := ask.Ask{Scope: []string{"read"}}, ask.Ask{Scope: []string{"read"}, Resource: []string{"urn:a"}}
	for _, test := range []struct {
		name, effect, source string
		ask                  ask.Ask
		names                string // the member in the error; empty: none
	}{
		{"nothing asked", "", "source:queue/orders", ask.Ask{}, ""},
		{"scope", "", "source:queue/orders", read, "scope"},
		{"resource", "", "source:bus", ask.Ask{Resource: []string{"urn:a"}}, "resource"},
		{"audience", "", "source:bus", ask.Ask{Audience: "a"}, "audience"},
		{"token_format", "", "direct:jobs", ask.Ask{TokenFormat: "jwt"}, "token_format"},
		{"app_tid", "", "direct:jobs", ask.Ask{AppTID: "t"}, "app_tid"},
		{"parameter", "", "source:bus", ask.Ask{Parameters: map[string]string{"extra": "1"}}, "extra"},
		{"permitted", "enforce", "source:queue/orders.fifo", targets, ""},
		{"permitted to another source", "enforce", "source:bus", read, "scope"},
		{"permitted to a queue below", "enforce", "source:queue/orders/x", read, "scope"},
		{"more than is permitted", "enforce", "source:queue/orders", ask.Ask{Scope: []string{"read", "write"}}, "scope"},
		{"another audience", "enforce", "source:queue/orders", ask.Ask{Audience: "urn:b"}, "audience"},
		{"token_format, which no rule covers", "enforce", "source:queue/orders", ask.Ask{TokenFormat: "jwt"}, "token_format"},
		{"audited only", "audit", "source:bus", read, "scope"},
	} {
		tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
			v := env.Environment(func(cfg *token.Config) {
				if test.effect != "" {
					cfg.Policy = func(context.Context, bool) (secret.Secret, error) {
						return tokentest.PolicySecret(fmt.Sprintf(rules, test.effect)), nil
					}
				}
			})
			_, err := v.Announce(t.Context(), func(o *token.Order) error {
				o.Caller = test.source
				return order(test.ask)(o)
			})
			switch {
			case test.names == "" && err != nil:
				t.Errorf("%s: got error %v, want none", test.name, err)
			case test.names != "" && (err == nil || !strings.Contains(err.Error(), test.names) || fault.From(err).Kind.Status() != 400):
				t.Errorf("%s: got error %v, want one that names %s", test.name, err, test.names)
			}
		})
	}
}
