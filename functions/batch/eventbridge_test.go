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
	"tokenvendor/shared/token"
)

// busEvent is an event as EventBridge delivers it.
func busEvent(id, detailType, detail string) string {
	return `{"version":"0","id":"` + id + `","detail-type":"` + detailType + `","source":"team.jobs","account":"111122223333","time":"2026-11-23T10:00:00Z","region":"eu-central-1","resources":[],"detail":` + detail + `}`
}

// TestEvents: one request or several, done once however often the event is delivered.
func TestEvents(t *testing.T) {
	r := newHarness(t)
	one, two := busEvent("e-1", "TokenRequested", `{"client":"billing","scope":"read"}`), busEvent("e-2", "TokenRequested", `{"requests":[{"client":"billing"},{"client":"orders"},{"client":"billing"}]}`)
	for range 2 {
		for _, event := range []string{one, two} {
			if answer, kind, text := r.invoke(r.h, event); kind != "" || answer != "" {
				t.Errorf("answered %s %s %s", answer, kind, text)
			}
		}
		r.h = r.environment()
	}
	var ids []string
	for _, e := range r.events {
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	if want := []string{"e-1", "e-2", "e-2#1", "e-2#2"}; !slices.Equal(ids, want) || r.server.Exchanges() != 3 {
		t.Errorf("announced %v, want %v; %d exchanges", ids, want, r.server.Exchanges())
	}
	r.wantQuiet()
}

// TestBadEventsFailWithAReason fail with a reason, and so come to the dead-letter queue.
func TestBadEventsFailWithAReason(t *testing.T) {
	r := newHarness(t)
	for name, test := range map[string]struct{ event, kind, says string }{
		"no detail":       {`{"id":"e","detail-type":"TokenRequested","source":"x"}`, "invalid_request", "detail"},
		"detail a string": {busEvent("e", "TokenRequested", `"cnry"`), "invalid_request", "detail"},
		"detail a list":   {busEvent("e", "TokenRequested", `[]`), "invalid_request", "detail"},
		"detail null":     {busEvent("e", "TokenRequested", `null`), "invalid_request", "detail"},
		"detail-type":     {busEvent("e", "cnry", `{"client":"billing"}`), "invalid_request", "detail-type"},
		"our own":         {busEvent("e", "TokenReady", `{"client":"billing"}`), "invalid_request", "detail-type"},
		"no id":           {busEvent("", "TokenRequested", `{"client":"billing"}`), "invalid_request", "id"},
		"bad id":          {busEvent("a b", "TokenRequested", `{"client":"billing"}`), "invalid_request", "id"},
		"no client":       {busEvent("e", "TokenRequested", `{}`), "invalid_request", "client"},
		"delivery":        {busEvent("e", "TokenRequested", `{"client":"billing","deliver_to":"token-vendor/tokens/x"}`), "invalid_request", "deliver_to"},
		"unknown client":  {busEvent("e", "TokenRequested", `{"client":"none"}`), "access_denied", ""},
		"no requests":     {busEvent("e", "TokenRequested", `{"requests":[]}`), "invalid_request", "requests"},
		"one of two":      {busEvent("f", "TokenRequested", `{"requests":[{"client":"billing"},{"client":"none"}]}`), "access_denied", "1 of 2 requests failed; requests[1]"},
	} {
		if answer, kind, text := r.invoke(r.h, test.event); answer != "" || kind != test.kind || !strings.Contains(text, test.says) || strings.Contains(text, "cnry") {
			t.Errorf("%s: answered %s %s %s", name, answer, kind, text)
		}
	}
	if len(r.events) != 1 {
		t.Errorf("%d announced, want the one that is good", len(r.events))
	}
	// Of two reasons the one counts for which a repetition is of use.
	r.server.Misbehave(oauthtest.RefuseWith(503, "temporarily_unavailable", ""))
	if _, kind, _ := r.invoke(r.h, busEvent("g", "TokenRequested", `{"requests":[{"client":"none"},{"client":"orders"}]}`)); kind != "temporarily_unavailable" {
		t.Errorf("failed with %s", kind)
	}
	r.wantQuiet()
}

// results invokes with a schedule.
func (r *harness) results(h *handler, entries string) []map[string]any {
	r.t.Helper()
	answer, kind, text := r.invoke(h, `{"schedule":[`+entries+`]}`)
	var out struct{ Results []map[string]any }
	if err := json.Unmarshal([]byte(answer), &out); err != nil || kind != "" {
		r.t.Fatalf("answered %s %s %s", answer, kind, text)
	}
	return out.Results
}

// TestScheduleDoesEachEntryOnce: a bad entry does not spoil the others, and a run has one
// effect.
func TestScheduleDoesEachEntryOnce(t *testing.T) {
	r := newHarness(t)
	for range 2 {
		results := r.results(r.h, `{"client":"billing","min_ttl":60},{"client":"none"},{"client":"orders","caller":"direct:nightly"},{"client":"stock","deliver_to":"token-vendor/clients/x"}`)
		if len(results) != 4 || results[0]["client"] != "billing" || results[1]["error"] != "access_denied" || results[2]["caller"] != "direct:nightly" || results[3]["error"] != "invalid_request" {
			t.Errorf("results %v", results)
		}
	}
	if len(r.events) != 2 {
		t.Errorf("%d announced, want 2", len(r.events))
	}
	for _, run := range []struct {
		payload   string
		announced int
	}{
		{`{"schedule":[{"client":"billing"},{"client":"orders"}],"id":"run"}`, 4},
		// The second entry of the run before has another name than this run.
		{`{"schedule":[{"client":"billing"}],"id":"run-1"}`, 5},
		{`{"schedule":[{"client":"billing"}],"id":"run-2"}`, 6},
	} {
		if _, kind, _ := r.invoke(r.h, run.payload); kind != "" || len(r.events) != run.announced {
			t.Errorf("%s: got error %q, %d announced, want %d", run.payload, kind, len(r.events), run.announced)
		}
	}
	for _, bad := range []string{`{"schedule":[]}`, `{"schedule":{}}`, `{"schedule":null}`, `{"schedule":[{"client":"billing"}],"id":1}`, `{"schedule":[{"client":"billing"}],"id":"a b"}`, `{"schedule":[{"client":"billing"}],"x":1}`,
		`{"schedule":[` + strings.TrimSuffix(strings.Repeat(`{"client":"billing"},`, 101), ",") + `]}`} {
		if _, kind, _ := r.invoke(r.h, bad); kind != "invalid_request" {
			t.Errorf("%.60s: %s", bad, kind)
		}
	}
	r.wantQuiet()
}

// TestDirect: a state machine gets claims, in order, and the error's type to match.
func TestDirect(t *testing.T) {
	r := newHarness(t)
	answer, kind, _ := r.invoke(r.h, `{"client":"billing","min_ttl":900}`)
	var one token.Announcement
	if err := json.Unmarshal([]byte(answer), &one); err != nil || kind != "" || one.Claim == "" || one.Client != "billing" {
		t.Errorf("answered %s %s", answer, kind)
	}
	if _, kind, text := r.invoke(r.h, `{"client":"none"}`); kind != "access_denied" || text == "" {
		t.Errorf("%s %s", kind, text)
	}
	answer, _, _ = r.invoke(r.h, `{"requests":[{"client":"orders"},{"client":"none"},{"client":"billing"},{"client":"billing","claim":"x"}]}`)
	var many struct{ Responses []map[string]any }
	if err := json.Unmarshal([]byte(answer), &many); err != nil || len(many.Responses) != 4 || many.Responses[0]["client"] != "orders" ||
		many.Responses[1]["error"] != "access_denied" || many.Responses[2]["claim"] == nil || many.Responses[3]["error"] != "invalid_request" {
		t.Errorf("answered %s", answer)
	}
	if len(r.events) != 0 {
		t.Errorf("%d put on the bus", len(r.events))
	}
	r.wantQuiet(answer)
}

// TestDeliver: the secret holds a token with enough life, and is written as seldom as
// that allows.
func TestDeliver(t *testing.T) {
	const target, entry = "token-vendor/tokens/billing", `{"client":"billing","scope":"read","deliver_to":"token-vendor/tokens/billing"}`
	r := newHarness(t)
	secret := &targetSecret{}
	r.secrets[target] = secret
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
			t.Fatalf("the secret holds %s; results %v", secret.text, result)
		}
		// Somebody may read it right before the next run.
		r.pass(5 * time.Minute)
		if left := time.Unix(text.ExpiresAt, 0).Sub(r.now()); left < 15*time.Minute-time.Second {
			t.Fatalf("after %d minutes %v are left", 5*minute, left)
		}
	}
	// A token of an hour is replaced when 21 minutes are left or less: every 40 minutes.
	if secret.writes < 24 || secret.writes > 36 {
		t.Errorf("%d writes in 24 hours", secret.writes)
	}
	if n, failed := r.counted(countDelivered), r.counted(countDeliveriesFailed); n != secret.writes || failed != 0 {
		t.Errorf("%d delivered and %d failed were counted", n, failed)
	}
	secret.text = nil
	r.wantQuiet()
}

// TestDeliverIsWrittenEveryTenMinutesAtMost, whatever is asked and however often.
func TestDeliverIsWrittenEveryTenMinutesAtMost(t *testing.T) {
	r := newHarness(t)
	secret := &targetSecret{}
	r.secrets["token-vendor/tokens/x"] = secret
	var times []time.Time
	for i := range 120 {
		before := secret.writes
		// Another request each time, and more life than tokens have.
		r.results(r.h, fmt.Sprintf(`{"client":"billing","scope":"s%d","min_ttl":3500,"deliver_to":"token-vendor/tokens/x"}`, i%7))
		if secret.writes > before {
			times = append(times, r.now())
		}
		if i%5 == 0 {
			r.h = r.environment()
		}
		r.pass(time.Minute)
	}
	for i := 1; i < len(times); i++ {
		if d := times[i].Sub(times[i-1]); d < writePause-time.Second {
			t.Errorf("two writes within %v", d)
		}
	}
	if len(times) < 10 {
		t.Errorf("%d writes in two hours", len(times))
	}
}

// TestFailedDeliveryKeepsTheOldVersion: the old version stays, and somebody hears of it.
func TestFailedDeliveryKeepsTheOldVersion(t *testing.T) {
	const entry = `{"client":"billing","deliver_to":"token-vendor/tokens/x"}`
	r := newHarness(t)
	if result := r.results(r.h, entry)[0]; result["error"] != "server_error" || !strings.Contains(fmt.Sprint(result["error_description"]), "no secret") || r.counted(countDeliveriesFailed) != 1 {
		t.Errorf("no such secret: %v", result)
	}
	secret := &targetSecret{}
	r.secrets["token-vendor/tokens/x"] = secret
	r.results(r.h, entry)
	old := string(secret.text)
	r.pass(50 * time.Minute)
	r.server.Misbehave(oauthtest.RefuseWith(503, "temporarily_unavailable", ""))
	if result := r.results(r.h, entry)[0]; string(secret.text) != old || secret.writes != 1 {
		t.Errorf("the secret was written: %v", result)
	}
	r.server.Behave()
	r.pass(6 * time.Minute)
	secret.err = fmt.Errorf("cnry arn: %w", errUnavailable())
	if result := r.results(r.h, entry)[0]; result["error"] == nil || strings.Contains(fmt.Sprint(result), "cnry") {
		t.Errorf("throttled: %v", result)
	}
	secret.err = nil
	if result := r.results(r.h, entry)[0]; result["written"] != true || secret.writes != 2 {
		t.Errorf("healed: %v", result)
	}
	// What somebody else wrote there is replaced, but not at once.
	secret.text, secret.written = []byte("cnry-rubbish"), r.now()
	r.pass(9 * time.Minute)
	r.h = r.environment()
	if r.results(r.h, entry); secret.writes != 2 {
		t.Error("written after nine minutes")
	}
	r.pass(2 * time.Minute)
	if r.results(r.h, entry); secret.writes != 3 {
		t.Error("rubbish stays")
	}
	r.server.Misbehave(oauthtest.Members(map[string]any{"expires_in": 600}))
	r.secrets["token-vendor/tokens/short"] = &targetSecret{}
	if result := r.results(r.h, `{"client":"orders","deliver_to":"token-vendor/tokens/short"}`)[0]; result["error"] != "invalid_request" || !strings.Contains(fmt.Sprint(result["error_description"]), "15 minutes") {
		t.Errorf("a short life: %v", result)
	}
	r.server.Misbehave(oauthtest.Members(map[string]any{"expires_in": nil}))
	if result := r.results(r.h, `{"client":"stock","deliver_to":"token-vendor/tokens/short"}`)[0]; result["error"] != "invalid_request" {
		t.Errorf("an unknown life: %v", result)
	}
}

// TestOnlySecretsForTokensAreWritten: only secrets that are for tokens are written.
func TestOnlySecretsForTokensAreWritten(t *testing.T) {
	for name, want := range map[string]bool{
		"token-vendor/tokens/billing": true, "token-vendor/tokens/team/billing_1.x@y": true,
		"token-vendor/tokens/": false, "token-vendor/tokens": false, "": false, "billing": false, "token-vendor/clients/x": false, "token-vendor/policy": false,
		"token-vendor/tokens/../clients/x": false, "token-vendor/tokens/..": false, "token-vendor/tokens/a//b": false, "token-vendor/tokens/a/": false,
		"/token-vendor/tokens/x": false, "token-vendor/tokens/x y": false, "token-vendor/tokens/*": false, "token-vendor/tokens/x\x00": false, "TOKEN-VENDOR/tokens/x": false,
		"arn:aws:secretsmanager:eu-central-1:111122223333:secret:token-vendor/tokens/x": false, "token-vendor/tokens/" + strings.Repeat("x", 200): false,
	} {
		if got := validTarget(name); got != want {
			t.Errorf("%.60q: %t", name, got)
		}
		err := parseEntry(encode(map[string]string{"client": "billing", "deliver_to": name}))
		if (err == nil) != want || err != nil && name != "" && strings.Contains(err.Error(), name) && name != "token-vendor/tokens/" && name != "token-vendor/tokens" && name != "billing" {
			t.Errorf("%.60q: %v", name, err)
		}
	}
	for _, bad := range []string{`{"client":"billing","deliver_to":1}`, `{"client":"billing","deliver_to":null}`, `{"client":"billing","deliver_to":["token-vendor/tokens/x"]}`,
		`{"client":"billing","deliver_to":"token-vendor/tokens/x","caller":"direct:a"}`, `{"client":"billing","deliver_to":"token-vendor/tokens/x","claim":"a"}`,
		`{"deliver_to":"token-vendor/tokens/x"}`, `{"client":"billing","deliver_to":"token-vendor/tokens/x","deliver_to":"token-vendor/tokens/y"}`} {
		if err := parseEntry([]byte(bad)); err == nil {
			t.Errorf("%s was taken", bad)
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
	var rest map[string]any
	if err := json.Unmarshal(encode(a), &rest); err != nil {
		panic(err)
	}
	maps.Copy(members, rest)
	if len(a.Scope) > 0 {
		members["scope"] = strings.Join(a.Scope, " ")
	}
	return string(encode(members))
}

// TestEachMemberOfAskReplacesDelivery: a schedule that asks for something else replaces the
// token that is there, and one that asks for the same does not.
func TestEachMemberOfAskReplacesDelivery(t *testing.T) {
	r := newHarness(t)
	full := asktest.Full(t)
	r.client("billing", map[string]any{"allow_parameters": slices.Collect(maps.Keys(full.Parameters))})
	target := &targetSecret{}
	r.secrets["token-vendor/tokens/x"] = target
	deliver := func(a ask.Ask, want int) {
		t.Helper()
		r.pass(writePause + time.Second)
		if result := r.results(r.h, entryFor(a))[0]; result["error"] != nil {
			t.Fatalf("got %v", result)
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
}

// parseEntry parses an entry of a schedule.
func parseEntry(raw []byte) error {
	e := entry{Order: token.Order{Request: &token.Request{}}}
	return e.parse(raw)
}

// TestPolicyDecidesDeliveries: whoever can read the secret gets the token, so the policy
// must allow that secret the client; what is only fetched ahead nobody gets, but no
// frozen client is.
func TestPolicyDecidesDeliveries(t *testing.T) {
	r := newHarness(t)
	r.policy = `{"rules": [{"name": "d", "callers": ["deliver:bill*"], "clients": ["billing"], "scopes": ["read"]}], "freeze": ["stock"]}`
	r.h = r.environment()
	for _, name := range []string{"billing", "payroll", "team/billing"} {
		r.secrets["token-vendor/tokens/"+name] = &targetSecret{}
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
			t.Errorf("%s: %v, want %v", entry, result, want)
		}
	}
	if r.secrets["token-vendor/tokens/payroll"].writes+r.secrets["token-vendor/tokens/team/billing"].writes != 0 || r.secrets["token-vendor/tokens/billing"].writes != 1 {
		t.Error("a secret got what it may not have")
	}
}
