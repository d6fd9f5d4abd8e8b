package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
)

// An event holds one request or several. Each is announced once, however often the event is
// delivered.
func TestEventIsDoneOnce(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		one, two := busEvent("e-1", "TokenRequested", `{"client":"billing","scope":"read"}`), busEvent("e-2", "TokenRequested", `{"requests":[{"client":"billing"},{"client":"orders"},{"client":"billing"}]}`)
		for range 2 {
			for _, event := range []string{one, two} {
				if answer, kind, text := r.invoke(r.h, event); kind != "" || answer != "" {
					t.Errorf("got answer %q, error %q (%s), want neither", answer, kind, text)
				}
			}
			r.h = r.environment()
		}
		var ids []string
		for _, e := range r.bus.events {
			ids = append(ids, e.ID)
		}
		slices.Sort(ids)
		if want := []string{"e-1", "e-2", "e-2#1", "e-2#2"}; !slices.Equal(ids, want) || r.Server.Exchanges() != 3 {
			t.Errorf("announced %v with %d exchanges, want %v with 3", ids, r.Server.Exchanges(), want)
		}
		r.wantQuiet()
	})
}

// A bad event fails the invocation, so that Lambda puts it into the dead-letter queue.
func TestBadEventsFailWithAReason(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		for name, test := range map[string]struct{ event, kind, says string }{
			"no detail":       {`{"id":"e","detail-type":"TokenRequested","source":"x"}`, "invalid_request", "detail"},
			"detail a string": {busEvent("e", "TokenRequested", `"cnry"`), "invalid_request", "detail"},
			"detail a list":   {busEvent("e", "TokenRequested", `[]`), "invalid_request", "detail"},
			"detail null":     {busEvent("e", "TokenRequested", `null`), "invalid_request", "detail"},
			"detail-type":     {busEvent("e", "cnry", `{"client":"billing"}`), "invalid_request", "detail-type"},
			"own event":       {busEvent("e", "TokenReady", `{"client":"billing"}`), "invalid_request", "detail-type"},
			"no id":           {busEvent("", "TokenRequested", `{"client":"billing"}`), "invalid_request", "id"},
			"bad id":          {busEvent("a b", "TokenRequested", `{"client":"billing"}`), "invalid_request", "id"},
			"no client":       {busEvent("e", "TokenRequested", `{}`), "invalid_request", "client"},
			"delivery":        {busEvent("e", "TokenRequested", `{"client":"billing","deliver_to":"token-vendor/tokens/x"}`), "invalid_request", "deliver_to"},
			"unknown client":  {busEvent("e", "TokenRequested", `{"client":"none"}`), "access_denied", ""},
			"no requests":     {busEvent("e", "TokenRequested", `{"requests":[]}`), "invalid_request", "requests"},
			"one of two":      {busEvent("f", "TokenRequested", `{"requests":[{"client":"billing"},{"client":"none"}]}`), "access_denied", "1 of 2 requests failed; requests[1]"},
		} {
			if answer, kind, text := r.invoke(r.h, test.event); answer != "" || kind != test.kind || !strings.Contains(text, test.says) || strings.Contains(text, "cnry") {
				t.Errorf("%s: got answer %q, error %q (%s), want %s with %q", name, answer, kind, text, test.kind, test.says)
			}
		}
		if len(r.bus.events) != 1 {
			t.Errorf("got %d announcements, want that of the good request", len(r.bus.events))
		}
		// If one failure is temporary, the event fails with it, because a retry can help.
		r.Server.Misbehave(oauthtest.RefuseWith(503, "temporarily_unavailable", ""))
		if _, kind, _ := r.invoke(r.h, busEvent("g", "TokenRequested", `{"requests":[{"client":"none"},{"client":"orders"}]}`)); kind != "temporarily_unavailable" {
			t.Errorf("got error %q, want temporarily_unavailable", kind)
		}
		r.wantQuiet()
	})
}

// A bad entry does not affect the others, and a run that comes twice has one effect.
func TestScheduleDoesEachEntryOnce(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		for range 2 {
			results := r.results(r.h, `{"client":"billing","min_ttl":60},{"client":"none"},{"client":"orders","caller":"direct:nightly"},{"client":"stock","deliver_to":"token-vendor/clients/x"}`)
			if len(results) != 4 || results[0]["client"] != "billing" || results[1]["error"] != "access_denied" || results[2]["caller"] != "direct:nightly" || results[3]["error"] != "invalid_request" {
				t.Errorf("got results %v, want the second and the fourth to fail", results)
			}
		}
		if len(r.bus.events) != 2 {
			t.Errorf("got %d announcements, want 2", len(r.bus.events))
		}
		for _, test := range []struct {
			payload   string
			announced int
		}{
			{`{"schedule":[{"client":"billing"},{"client":"orders"}],"id":"run"}`, 4},
			// This run is not taken for the second entry of the run before.
			{`{"schedule":[{"client":"billing"}],"id":"run-1"}`, 5},
			{`{"schedule":[{"client":"billing"}],"id":"run-2"}`, 6},
		} {
			if _, kind, _ := r.invoke(r.h, test.payload); kind != "" || len(r.bus.events) != test.announced {
				t.Errorf("%s: got error %q, %d announcements, want %d", test.payload, kind, len(r.bus.events), test.announced)
			}
		}
		for _, bad := range []string{`{"schedule":[]}`, `{"schedule":{}}`, `{"schedule":null}`, `{"schedule":[{"client":"billing"}],"id":1}`, `{"schedule":[{"client":"billing"}],"id":"a b"}`, `{"schedule":[{"client":"billing"}],"x":1}`,
			`{"schedule":[` + strings.TrimSuffix(strings.Repeat(`{"client":"billing"},`, 101), ",") + `]}`} {
			if _, kind, _ := r.invoke(r.h, bad); kind != "invalid_request" {
				t.Errorf("%.60s: got error %q, want invalid_request", bad, kind)
			}
		}
		r.wantQuiet()
	})
}

// A state machine gets the claims in order, and error types that it can match.
func TestDirectInvokeAnswersWithClaims(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		answer, kind, _ := r.invoke(r.h, `{"client":"billing","min_ttl":900}`)
		var one token.Announcement
		if err := json.Unmarshal([]byte(answer), &one); err != nil || kind != "" || one.Claim == "" || one.Client != "billing" {
			t.Errorf("got answer %s, error %q, want a claim for billing", answer, kind)
		}
		if _, kind, text := r.invoke(r.h, `{"client":"none"}`); kind != "access_denied" || text == "" {
			t.Errorf("got error %q (%s), want access_denied", kind, text)
		}
		answer, _, _ = r.invoke(r.h, `{"requests":[{"client":"orders"},{"client":"none"},{"client":"billing"},{"client":"billing","claim":"x"}]}`)
		var many struct{ Responses []map[string]any }
		if err := json.Unmarshal([]byte(answer), &many); err != nil || len(many.Responses) != 4 || many.Responses[0]["client"] != "orders" ||
			many.Responses[1]["error"] != "access_denied" || many.Responses[2]["claim"] == nil || many.Responses[3]["error"] != "invalid_request" {
			t.Errorf("got answer %s, want four responses, of which the second and the fourth failed", answer)
		}
		if len(r.bus.events) != 0 {
			t.Errorf("got %d events on the bus, want none", len(r.bus.events))
		}
		r.wantQuiet(answer)
	})
}
