package main

import (
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

// With SOURCES_ALIAS, events of sources are accepted through that alias only, and direct
// invokes through every other. A forged event has no effect, and its audit line repeats
// nothing of it.
func TestSourcesAreAcceptedThroughTheirAliasOnly(t *testing.T) {
	for _, g := range []gate{{}, {alias: "sources"}, {alias: "sources", samLocal: true}} {
		for _, alias := range []string{"", "jobs", "sources", "other", "Sources"} {
			for _, p := range aliasPayloads() {
				run(t, func(t *testing.T, r *harness) {
					r.target("mine")
					r.h.gate = g
					answer, kind, _ := r.invokeAlias(r.h, alias, p.payload)
					if g.alias == "" || g.samLocal || (alias == "sources") == (p.source != audit.Direct) {
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
		r.h.gate = gate{alias: "sources"}
		if _, kind, _ := r.invokeAlias(r.h, "jobs", queueEventOf(message("m-1", `{"client":"stock"}`, 1))); kind != "access_denied" {
			t.Errorf("got error %q, want access_denied", kind)
		}
		if _, kind, _ := r.invokeAlias(r.h, "sources", queueEventOf(message("m-1", `{"client":"billing"}`, 1))); kind != "" || len(r.bus.events) != 1 || r.bus.events[0].Client != "billing" {
			t.Errorf("got error %q, announcements %+v, want one for billing", kind, r.bus.events)
		}
	})
}
