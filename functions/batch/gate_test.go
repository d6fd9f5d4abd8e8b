package main

import (
	"strings"
	"testing"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
)

const aliasTarget = "token-vendor/tokens/mine"

// aliasPayloads are every kind of payload, and whether it was done.
func aliasPayloads() []aliasPayload {
	announced := func(r *harness, _ string) bool { return len(r.events) == 1 }
	answered := func(_ *harness, answer string) bool { return strings.Contains(answer, `"claim":`) }
	return []aliasPayload{
		{audit.SQS, `{"Records": [` + message("cnry-message", `{"client":"billing"}`, 1) + `]}`, announced},
		{audit.SQS, `{"Records": [` + message("cnry-message", "rubbish", 1) + `]}`, func(r *harness, _ string) bool { return len(r.dead) == 1 }},
		{audit.Bus, busEvent("cnry-event", "TokenRequested", `{"client":"billing"}`), announced},
		{audit.Schedule, `{"schedule":[{"client":"billing","deliver_to":"` + aliasTarget + `"}]}`, func(r *harness, _ string) bool { return r.secrets[aliasTarget].writes == 1 }},
		{audit.Schedule, `{"id":"cnry-run","schedule":[{"client":"billing"}]}`, announced},
		// What looks like both is a source's.
		{audit.Bus, `{"client":"billing",` + busEvent("cnry-event", "TokenRequested", `{"client":"billing"}`)[1:], announced},
		{audit.Direct, `{"client":"billing"}`, answered},
		{audit.Direct, `{"requests":[{"client":"billing"}]}`, answered},
	}
}

type aliasPayload struct {
	source  audit.Source
	payload string
	done    func(r *harness, answer string) bool
}

// TestAliases sends every kind of payload through every alias. With SOURCES_ALIAS the
// sources are believed through theirs only, and requests through every other. What is not
// believed does nothing, and its line repeats nothing of it.
func TestAliases(t *testing.T) {
	for _, g := range []gate{{}, {alias: "sources"}, {alias: "sources", samLocal: true}} {
		for _, alias := range []string{"", "jobs", "sources", "other", "Sources"} {
			for _, p := range aliasPayloads() {
				r := newHarness(t)
				r.secrets[aliasTarget] = &targetSecret{}
				r.h.gate = g
				answer, kind, _ := r.invokeBy(r.h, alias, p.payload)
				if g.alias == "" || g.samLocal || (alias == "sources") == (p.source != audit.Direct) {
					if kind != "" || !p.done(r, answer) || r.counted(token.CountForged) != 0 {
						t.Errorf("%+v, alias %q, %s: not done, error %q", g, alias, p.payload, kind)
					}
					continue
				}
				if kind != "access_denied" || answer != "" || r.counted(token.CountForged) != 1 {
					t.Errorf("%+v, alias %q, %s: answered %q, error %q", g, alias, p.payload, answer, kind)
				}
				r.wantForged(p.source, alias)
			}
		}
	}
}

// wantForged: all that is left of the event is one line.
func (r *harness) wantForged(source audit.Source, alias string) {
	r.t.Helper()
	if n := len(r.server.Requests()) + len(r.events) + len(r.dead) + r.secrets[aliasTarget].writes + len(r.table.Items()); n > 0 {
		r.t.Errorf("%s through %q: %d things were done", source, alias, n)
	}
	if len(r.audit) != 1 {
		r.t.Fatalf("the lines are %+v", r.audit)
	}
	e := r.audit[0]
	if e.Type != audit.Forged || e.Allowed || e.Error != "access_denied" || e.Client != "" || e.Caller != invocation.DirectCaller(alias) ||
		e.Origin != (audit.Origin{Source: source, Alias: alias, Forged: true}) {
		r.t.Errorf("the line is %+v", e)
	}
	r.wantQuiet()
}

// TestForgedMessage: a real message whose id somebody has sent before is done all the same.
func TestForgedMessage(t *testing.T) {
	r := newHarness(t)
	r.h.gate = gate{alias: "sources"}
	if _, kind, _ := r.invokeBy(r.h, "jobs", `{"Records": [`+message("m-1", `{"client":"stock"}`, 1)+`]}`); kind != "access_denied" {
		t.Errorf("error %q", kind)
	}
	if _, kind, _ := r.invokeBy(r.h, "sources", `{"Records": [`+message("m-1", `{"client":"billing"}`, 1)+`]}`); kind != "" || len(r.events) != 1 || r.events[0].Client != "billing" {
		t.Errorf("error %q, announced %+v", kind, r.events)
	}
}
