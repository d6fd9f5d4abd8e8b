package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/ask/asktest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

// The secret always holds a token with at least 15 minutes left, and is written as seldom as
// that allows.
func TestSecretAlwaysHoldsAUsableToken(t *testing.T) {
	const entry = `{"client":"billing","scope":"read","deliver_to":"token-vendor/tokens/billing"}`
	run(t, func(t *testing.T, r *harness) {
		secret := r.target("billing")
		for minute := range 24 * 60 / 5 {
			if minute%3 == 0 {
				r.h = r.environment()
			}
			result := r.results(r.h, entry+","+entry) // twice, as schedules do
			var text struct {
				AccessToken, TokenType string
				ExpiresAt              int64 `json:"expires_at"`
				Client                 string
			}
			if err := json.Unmarshal(secret.text, &text); err != nil || text.Client != "billing" || !strings.Contains(string(secret.text), `"access_token":"eyJhbGci`) {
				t.Fatalf("the secret holds %s after results %v", secret.text, result)
			}
			// It may be read right before the next run.
			r.Pass(5 * time.Minute)
			if left := time.Unix(text.ExpiresAt, 0).Sub(r.Now()); left < 15*time.Minute-time.Second {
				t.Fatalf("after %d minutes the token lives for %v, want 15 minutes", 5*minute, left)
			}
		}
		// A token of an hour is replaced when 21 minutes are left or less: every 40 minutes.
		if secret.writes < 24 || secret.writes > 36 {
			t.Errorf("got %d writes in 24 hours, want 24 to 36", secret.writes)
		}
		if n, failed := r.Counted(countDelivered), r.Counted(countDeliveriesFailed); n != secret.writes || failed != 0 {
			t.Errorf("got %d deliveries and %d failures counted, want %d and none", n, failed, secret.writes)
		}
		secret.text = nil
		r.wantQuiet()
	})
}

// The limit holds whatever is asked for and however often.
func TestSecretIsWrittenEveryTenMinutesAtMost(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		secret := r.target("x")
		var times []time.Time
		for i := range 120 {
			before := secret.writes
			// Each run asks for another scope, and for more life than tokens have.
			r.results(r.h, fmt.Sprintf(`{"client":"billing","scope":"s%d","min_ttl":3500,"deliver_to":"token-vendor/tokens/x"}`, i%7))
			if secret.writes > before {
				times = append(times, r.Now())
			}
			if i%5 == 0 {
				r.h = r.environment()
			}
			r.Pass(time.Minute)
		}
		for i := 1; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d < writePause-time.Second {
				t.Errorf("got two writes within %v, want %v between them", d, writePause)
			}
		}
		if len(times) < 10 {
			t.Errorf("got %d writes in two hours, want at least 10", len(times))
		}
	})
}

// A failed delivery is counted, and is an error of its entry.
func TestFailedDeliveryKeepsTheOldVersion(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		if result := r.results(r.h, deliverX)[0]; result["error"] != "server_error" || !strings.Contains(fmt.Sprint(result["error_description"]), "no secret") || r.Counted(countDeliveriesFailed) != 1 {
			t.Errorf("got %v, want an error that says that there is no secret", result)
		}
		target := r.target("x")
		r.results(r.h, deliverX)
		old := string(target.text)
		r.Pass(50 * time.Minute)
		r.Server.Misbehave(oauthtest.RefuseWith(503, "temporarily_unavailable", ""))
		if result := r.results(r.h, deliverX)[0]; string(target.text) != old || target.writes != 1 {
			t.Errorf("the secret was written although the server is unavailable: %v", result)
		}
		r.Server.Behave()
		r.Pass(6 * time.Minute)
		target.err = fmt.Errorf("cnry arn: %w", secret.ErrUnavailable)
		if result := r.results(r.h, deliverX)[0]; result["error"] == nil || strings.Contains(fmt.Sprint(result), "cnry") {
			t.Errorf("got %v, want an error without the text of Secrets Manager", result)
		}
		target.err = nil
		if result := r.results(r.h, deliverX)[0]; result["written"] != true || target.writes != 2 {
			t.Errorf("got %v after %d writes, want the second write once Secrets Manager answers", result, target.writes)
		}
		r.Server.Misbehave(oauthtest.Members(map[string]any{"expires_in": 600}))
		r.target("short")
		if result := r.results(r.h, `{"client":"orders","deliver_to":"token-vendor/tokens/short"}`)[0]; result["error"] != "invalid_request" || !strings.Contains(fmt.Sprint(result["error_description"]), "15 minutes") {
			t.Errorf("got %v for tokens of 10 minutes, want invalid_request", result)
		}
		r.Server.Misbehave(oauthtest.Members(map[string]any{"access_token": "opaque", "expires_in": nil}))
		if result := r.results(r.h, `{"client":"stock","deliver_to":"token-vendor/tokens/short"}`)[0]; result["error"] != "invalid_request" {
			t.Errorf("got %v for tokens of unknown life, want invalid_request", result)
		}
	})
}

// A value of another writer is replaced, but not before the pause after its write. The lease
// that a delivery leaves ends earlier in the second case.
func TestValueOfAnotherWriterIsReplacedAfterThePause(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		target := r.target("x")
		r.results(r.h, deliverX)
		for i, pause := range []time.Duration{0, 20 * time.Minute} {
			r.Pass(pause)
			writes := target.writes
			target.text, target.written = []byte("cnry-rubbish"), r.Now()
			r.Pass(9 * time.Minute)
			r.h = r.environment()
			if r.results(r.h, deliverX); target.writes != writes {
				t.Errorf("value %d: got a write nine minutes after the last one", i)
			}
			r.Pass(2 * time.Minute)
			if r.results(r.h, deliverX); target.writes != writes+1 {
				t.Errorf("value %d: got %d writes, want the value replaced", i, target.writes-writes)
			}
		}
	})
}

func TestOnlySecretsForTokensAreWritten(t *testing.T) {
	for name, want := range map[string]bool{
		"token-vendor/tokens/billing": true, "token-vendor/tokens/team/billing_1.x@y": true,
		"token-vendor/tokens/": false, "token-vendor/tokens": false, "": false, "billing": false, "token-vendor/clients/x": false, "token-vendor/policy": false,
		"token-vendor/tokens/../clients/x": false, "token-vendor/tokens/..": false, "token-vendor/tokens/a//b": false, "token-vendor/tokens/a/": false,
		"/token-vendor/tokens/x": false, "token-vendor/tokens/x y": false, "token-vendor/tokens/*": false, "token-vendor/tokens/x\x00": false, "TOKEN-VENDOR/tokens/x": false,
		"arn:aws:secretsmanager:eu-central-1:111122223333:secret:token-vendor/tokens/x": false, "token-vendor/tokens/" + strings.Repeat("x", 200): false,
	} {
		if got := validTarget(targetPrefix, name); got != want {
			t.Errorf("validTarget(%.60q) = %t, want %t", name, got, want)
		}
		err := parseEntry(encode(map[string]string{"client": "billing", "deliver_to": name}))
		if (err == nil) != want || err != nil && name != "" && strings.Contains(err.Error(), name) && name != "token-vendor/tokens/" && name != "token-vendor/tokens" && name != "billing" {
			t.Errorf("deliver_to %.60q: got %v, want an error: %t", name, err, !want)
		}
	}
	for name, want := range map[string]bool{"stack-2/tokens/x": true, "token-vendor/tokens/x": false} {
		if got := validTarget("stack-2/tokens/", name); got != want {
			t.Errorf("another deployment: validTarget(%q) = %t, want %t", name, got, want)
		}
	}
	for _, bad := range []string{`{"client":"billing","deliver_to":1}`, `{"client":"billing","deliver_to":null}`, `{"client":"billing","deliver_to":["token-vendor/tokens/x"]}`,
		`{"client":"billing","deliver_to":"token-vendor/tokens/x","caller":"direct:a"}`, `{"client":"billing","deliver_to":"token-vendor/tokens/x","claim":"a"}`,
		`{"deliver_to":"token-vendor/tokens/x"}`, `{"client":"billing","deliver_to":"token-vendor/tokens/x","deliver_to":"token-vendor/tokens/y"}`} {
		if err := parseEntry([]byte(bad)); err == nil {
			t.Errorf("%s: got no error", bad)
		}
	}
}

// Every member of the template's schedule is a string, also a number.
func TestMinTTLOfAnEntryMayBeAString(t *testing.T) {
	for text, want := range map[string]bool{`1200`: true, `"1200"`: true, `"0"`: true, `""`: false, `"-1"`: false, `"1e3"`: false, `"cnry"`: false, `"86401"`: false, `"007"`: false, `null`: false} {
		e := entry{Order: token.Order{Request: &token.Request{}}}
		err := e.parse([]byte(`{"client":"billing","deliver_to":"token-vendor/tokens/x","min_ttl":`+text+`}`), targetPrefix)
		if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "min_ttl") {
			t.Errorf("min_ttl %s: got %v, want an error that names min_ttl: %t", text, err, !want)
		}
		if err == nil && text != `"0"` && e.MinTTL != 20*time.Minute {
			t.Errorf("min_ttl %s: got %v, want 20 minutes", text, e.MinTTL)
		}
	}
}

// entryFor returns the entry of a schedule that delivers a token of billing.
func entryFor(a ask.Ask) string {
	members := map[string]any{"client": "billing", "deliver_to": "token-vendor/tokens/x"}
	for name, value := range a.Parameters {
		members[name] = value
	}
	a.Parameters = nil
	// The members of a that are left have the names of an entry.
	if err := json.Unmarshal(encode(a), &members); err != nil {
		panic(err)
	}
	if len(a.Scope) > 0 {
		members["scope"] = strings.Join(a.Scope, " ")
	}
	return string(encode(members))
}

// A schedule that asks for something else replaces the token in the secret, and one that asks
// for the same does not.
func TestEachMemberOfAskReplacesDelivery(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		full := asktest.Full(t)
		r.client("billing", map[string]any{"allow_parameters": append(slices.Collect(maps.Keys(full.Parameters)), "scope", "resource", "audience", "token_format", "app_tid")})
		target := r.target("x")
		deliver := func(a ask.Ask, want int) {
			t.Helper()
			r.Pass(writePause + time.Second)
			if result := r.results(r.h, entryFor(a))[0]; result["error"] != nil {
				t.Fatalf("got %v, want a delivery", result)
			}
			if target.writes != want {
				t.Errorf("the secret was written %d times, want %d", target.writes, want)
			}
		}
		writes := 1
		deliver(full, writes)
		deliver(full, writes)
		for name, a := range asktest.Each(t) {
			t.Log("without", name)
			writes++
			deliver(a, writes)
			writes++
			deliver(full, writes)
		}
	})
}

// A delivery is an order: it asks for what the document states, unless a rule of the policy
// covers it. In the mode iam there is no rule.
func TestDeliveryCarriesWhatTheDocumentStates(t *testing.T) {
	const entry, rule = `{"client":"billing","scope":"read","deliver_to":"token-vendor/tokens/x"}`, `{"rules":[{"name":"d","callers":["deliver:x"],"clients":["billing"],"scopes":["read"]}]}`
	for _, test := range []struct {
		document map[string]any
		policy   string
		want     any
	}{
		{nil, "", "invalid_scope"},
		{map[string]any{"scope": "write"}, "", "invalid_scope"},
		{map[string]any{"scope": "read write"}, "", nil},
		{map[string]any{"allow_parameters": []string{"scope"}}, "", nil},
		{nil, rule, nil},
		{map[string]any{"scope": "write"}, rule, "invalid_scope"},
	} {
		run(t, func(t *testing.T, r *harness) {
			r.client("billing", test.document)
			target := r.target("x")
			r.policy = test.policy
			if result := r.results(r.environment(), entry)[0]; result["error"] != test.want || (target.writes == 1) != (test.want == nil) {
				t.Errorf("%v, policy %q: got %v, want error %v", test.document, test.policy, result, test.want)
			}
		})
	}
}

// parseEntry parses an entry of a schedule.
func parseEntry(raw []byte) error {
	e := entry{Order: token.Order{Request: &token.Request{}}}
	return e.parse(raw, targetPrefix)
}

// All readers of a secret get its token, so that the policy must allow the client to that
// secret. No caller gets a token that is only fetched ahead, so that only freeze forbids it.
func TestPolicyDecidesDeliveries(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.policy = `{"rules": [{"name": "d", "callers": ["deliver:bill*"], "clients": ["billing"], "scopes": ["read"]}], "freeze": ["stock"]}`
		r.h = r.environment()
		for _, name := range []string{"billing", "payroll", "team/billing"} {
			r.target(name)
		}
		for entry, want := range map[string]any{
			`{"client":"billing","scope":"read","deliver_to":"token-vendor/tokens/billing"}`:      nil,
			`{"client":"billing","scope":"read","deliver_to":"token-vendor/tokens/payroll"}`:      "access_denied",
			`{"client":"billing","scope":"read","deliver_to":"token-vendor/tokens/team/billing"}`: "access_denied",
			`{"client":"orders","deliver_to":"token-vendor/tokens/payroll"}`:                      "access_denied",
			`{"client":"billing","scope":"write","deliver_to":"token-vendor/tokens/payroll"}`:     "access_denied",
			`{"client":"orders"}`: nil,
			`{"client":"stock"}`:  "access_denied",
		} {
			if result := r.results(r.h, entry)[0]; result["error"] != want {
				t.Errorf("%s: got %v, want error %v", entry, result, want)
			}
		}
		if r.targets.secrets["token-vendor/tokens/payroll"].writes+r.targets.secrets["token-vendor/tokens/team/billing"].writes != 0 || r.targets.secrets["token-vendor/tokens/billing"].writes != 1 {
			t.Error("a secret holds a token that the policy does not allow to it")
		}
	})
}

// A single token is delivered once, and replaced after its end: a delivery asks for no life that
// no token has.
func TestSingleTokenIsDeliveredOnce(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.client("billing", map[string]any{"single_token": true})
		secret := r.target("x")
		next := r.Now()
		for range 20 { // 100 minutes
			if result := r.results(r.h, deliverX)[0]; result["error"] != nil {
				t.Errorf("got %v", result)
			}
			next = next.Add(5 * time.Minute)
			r.Pass(next.Sub(r.Now()))
		}
		if secret.writes != 2 || r.Counted(countDeliveriesFailed) != 0 {
			t.Errorf("got %d writes and %d failures, want 2 and none", secret.writes, r.Counted(countDeliveriesFailed))
		}
	})
}
