package tokensource

import (
	"fmt"
	"testing"
	"time"

	"tokenvendor/shared/fault"
)

// TestRefusedCredentialIsNotForgotten: however many clients there are, a credential that was
// refused is not sent again before its time, and memory is bounded.
func TestRefusedCredentialIsNotForgotten(t *testing.T) {
	now := time.Now()
	rt := runtime{now: func() time.Time { return now }, rand: func() float64 { return 0 }}
	l, states := newLockouts(rt), newClientStates(rt)
	busy := l.begin(t.Context(), "busy", "v1", firstSlot, now, nil)
	refused := l.begin(t.Context(), "refused", "v1", firstSlot, now, nil)
	refused.remember(refusal{fault: &fault.Error{Kind: fault.Misconfigured}, until: now.Add(time.Hour), times: 1})
	refused.free()
	states.update(t.Context(), nil, "suspected", func(s *clientState) { s.Suspects = suspects{{Version: "v1"}} })
	for i := range 3 * maxClients {
		name := fmt.Sprint("client-", i)
		l.client(name)
		states.client(name)
	}
	if l.locked("refused", "v1") == nil {
		t.Error("the refusal of a credential was forgotten")
	}
	if l.client("busy") != busy.c {
		t.Error("an exchange under way was forgotten")
	}
	if known := states.get("suspected"); known.Suspects.of("v1") == nil {
		t.Error("a suspect was forgotten")
	}
	if a, b := len(l.clients.values), len(states.clients.values); a > maxClients+8 || b > maxClients+8 {
		t.Errorf("got %d and %d clients in memory, want at most %d", a, b, maxClients)
	}
	now = now.Add(time.Hour + refusalMemory)
	if l.client("refused").guards(now) {
		t.Error("a refusal that is long over is not forgotten")
	}
}

// TestServersAreForgottenOneByOne: a new server does not end the silences of all others.
func TestServersAreForgottenOneByOne(t *testing.T) {
	now := time.Now()
	l := &limiter{runtime: runtime{now: func() time.Time { return now }, rand: func() float64 { return 0 }}}
	silent := l.host("silent.example.com")
	silent.own.throttle(now, time.Minute)
	for i := range 3 * maxServers {
		l.host(fmt.Sprint("as", i, ".example.com"))
	}
	if l.host("silent.example.com") != silent {
		t.Error("a server that asked not to be called was forgotten")
	}
	if n := len(l.hosts); n < maxServers || n > maxServers+8 {
		t.Errorf("got %d servers in memory, want %d", n, maxServers)
	}
}
