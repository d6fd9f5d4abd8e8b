package main

import (
	"slices"
	"strings"
	"testing"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
)

const aliasTarget = "token-vendor/tokens/mine"

// aliasPayloads returns payloads of every kind.
func aliasPayloads() []aliasPayload {
	announced := func(r *harness, _ string) bool { return len(r.bus.events) == 1 }
	answered := func(_ *harness, answer string) bool { return strings.Contains(answer, `"claim":`) }
	return []aliasPayload{
		{audit.SQS, queueEventOf(message("cnry-message", `{"client":"billing"}`, 1)), announced},
		{audit.SQS, queueEventOf(message("cnry-message", "rubbish", 1)), func(r *harness, _ string) bool { return len(r.dead.letters) == 1 }},
		{audit.Bus, busEvent("cnry-event", "TokenRequested", `{"client":"billing"}`), announced},
		{audit.Schedule, `{"schedule":[{"client":"billing","deliver_to":"` + aliasTarget + `"}]}`, func(r *harness, _ string) bool { return r.targets.secrets[aliasTarget].writes == 1 }},
		{audit.Schedule, `{"id":"cnry-run","schedule":[{"client":"billing"}]}`, announced},
		// A payload that looks like a direct invoke, too, is an event of a source.
		{audit.Bus, `{"client":"billing",` + busEvent("cnry-event", "TokenRequested", `{"client":"billing"}`)[1:], announced},
		{audit.SQS, `{"schedule":[{"client":"billing","deliver_to":"` + aliasTarget + `"}],` + queueEventOf(message("cnry-message", `{"client":"billing"}`, 1))[1:], announced},
		{audit.Schedule, `{"id":"cnry-run","radar":true}`, func(_ *harness, answer string) bool { return answer == `{"results":[]}` }},
		{audit.Direct, `{"radar":["billing"]}`, func(_ *harness, answer string) bool { return strings.Contains(answer, `"client":"billing"`) }},
		{audit.Direct, `{"client":"billing"}`, answered},
		{audit.Direct, `{"requests":[{"client":"billing"}]}`, answered},
	}
}

type aliasPayload struct {
	source  audit.Source
	payload string
	// done reports whether the payload had its effect.
	done func(r *harness, answer string) bool
}

// closedGate returns the gate as the template configures it.
func closedGate() gate {
	return gate{sources: map[audit.Source]string{audit.SQS: "queue", audit.Bus: "bus", audit.Schedule: "schedule"}}
}

// With an alias for each source, its events are accepted through that alias only, and direct
// invokes through every other. A forged event has no effect, and its audit line repeats
// nothing of it.
func TestSourcesAreAcceptedThroughTheirAliasOnly(t *testing.T) {
	local := closedGate()
	local.samLocal = true
	for _, g := range []gate{{}, closedGate(), local} {
		for _, alias := range []string{"", "jobs", "queue", "bus", "schedule", "other", "Queue"} {
			for _, p := range aliasPayloads() {
				run(t, func(t *testing.T, r *harness) {
					r.target("mine")
					r.h.gate = g
					answer, kind, _ := r.invokeAlias(r.h, alias, p.payload)
					own := g.sources[p.source]
					if !g.closed() || alias == own || own == "" && !slices.Contains([]string{"queue", "bus", "schedule"}, alias) {
						if kind != "" || !p.done(r, answer) || r.Counted(token.CountForged) != 0 {
							t.Errorf("%+v, alias %q, %s: got error %q, want it done", g, alias, p.payload, kind)
						}
						return
					}
					if kind != "access_denied" || answer != "" || r.Counted(token.CountForged) != 1 {
						t.Errorf("%+v, alias %q, %s: got answer %q, error %q, want access_denied", g, alias, p.payload, answer, kind)
					}
					r.wantForged(p.source, alias)
				})
			}
		}
	}
}

// wantForged fails the test unless the event left one audit line and nothing else.
func (r *harness) wantForged(source audit.Source, alias string) {
	r.Helper()
	if n := len(r.Server.Requests()) + len(r.bus.events) + len(r.dead.letters) + r.targets.secrets[aliasTarget].writes + len(r.Table.Items()); n > 0 {
		r.Errorf("%s through %q: got %d effects, want none", source, alias, n)
	}
	events := r.Events()
	if len(events) != 1 {
		r.Fatalf("got audit lines %+v, want one", events)
	}
	e := events[0]
	if e.Type != audit.Forged || e.Allowed || e.Error != "access_denied" || e.Client != "" || e.Caller != invocation.DirectCaller(alias) ||
		e.Origin != (audit.Origin{Source: source, Alias: alias, Forged: true}) {
		r.Errorf("got audit line %+v, want that of a forged event", e)
	}
	r.wantQuiet()
}

// A forged message must not keep the real one with the same id from being done.
func TestForgedMessageDoesNotTakeAnID(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.h.gate = closedGate()
		if _, kind, _ := r.invokeAlias(r.h, "jobs", queueEventOf(message("m-1", `{"client":"stock"}`, 1))); kind != "access_denied" {
			t.Errorf("got error %q, want access_denied", kind)
		}
		if _, kind, _ := r.invokeAlias(r.h, "queue", queueEventOf(message("m-1", `{"client":"billing"}`, 1))); kind != "" || len(r.bus.events) != 1 || r.bus.events[0].Client != "billing" {
			t.Errorf("got error %q, announcements %+v, want one for billing", kind, r.bus.events)
		}
	})
}

// A payload without the shape of an event is forged as well where only a source may send.
func TestUnknownEventThroughTheAliasOfASource(t *testing.T) {
	for _, payload := range []string{`{"x":1}`, `rubbish`, ``, `[]`} {
		run(t, func(t *testing.T, r *harness) {
			r.target("mine")
			r.h.gate = closedGate()
			if _, kind, _ := r.invokeAlias(r.h, "jobs", payload); kind != "invalid_request" || r.Counted(token.CountForged) != 0 {
				t.Errorf("%q through jobs: got error %q, want invalid_request", payload, kind)
			}
			if _, kind, _ := r.invokeAlias(r.h, "schedule", payload); kind != "access_denied" || r.Counted(token.CountForged) != 1 {
				t.Errorf("%q through schedule: got error %q, want access_denied", payload, kind)
			}
		})
	}
}

// The policy and the audit line name the source of an order, if only that can have sent it.
func TestOrdersNameTheirSource(t *testing.T) {
	for _, test := range []struct{ alias, payload, closed, open string }{
		{"queue", queueEventOf(message("m", `{"client":"billing"}`, 1)), "source:queue/cnry-queue", "sqs"},
		{"queue", `{"Records":[{"messageId":"m","eventSource":"aws:sqs","eventSourceARN":"x","body":"{\"client\":\"billing\"}"}]}`, "source:queue/", "sqs"},
		{"bus", busEvent("e", "TokenRequested", `{"client":"billing"}`), "source:bus", "event"},
		{"schedule", `{"schedule":[{"client":"billing"}]}`, "source:schedule", "schedule"},
		{"jobs", `{"client":"billing"}`, "direct:jobs", "direct:jobs"},
	} {
		for want, g := range map[string]gate{test.closed: closedGate(), test.open: {}} {
			run(t, func(t *testing.T, r *harness) {
				r.h.gate = g
				if _, kind, text := r.invokeAlias(r.h, test.alias, test.payload); kind != "" {
					t.Fatalf("%s: got error %s %s, want none", test.payload, kind, text)
				}
				if events := r.Events(); len(events) != 1 || events[0].Caller != want || !events[0].Allowed {
					t.Errorf("%s: got audit lines %+v, want one with the caller %s", test.payload, events, want)
				}
			})
		}
	}
}
