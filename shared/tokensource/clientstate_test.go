package tokensource

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/registry"
)

func TestClientStateForgetsFailuresAfterAnHour(t *testing.T) {
	now := time.Unix(1e9, 0)
	var s clientState
	s.Failures = s.Failures.add(now, "a", "ask a")
	if s.Failures.spent(now, "a") != time.Hour || s.Failures.spent(now, "b") != 0 {
		t.Errorf("after one failure: got %v and %v", s.Failures.spent(now, "a"), s.Failures.spent(now, "b"))
	}
	s.Failures = s.Failures.add(now.Add(time.Minute), "c", "ask c")
	if got := s.Failures.spent(now.Add(2*time.Minute), "b"); got != 58*time.Minute {
		t.Errorf("after two failures: got %v, want 58m", got)
	}
	s.merge(&clientState{}, now.Add(time.Hour))
	if s.Failures.spent(now.Add(time.Hour), "a") != 0 || !s.Failures.include("ask a") {
		t.Errorf("after an hour: %v", s.Failures)
	}
	s.Failures = s.Failures.add(now.Add(2*time.Hour), "a", "ask a")
	s.merge(&clientState{}, now.Add(2*time.Hour))
	if len(s.Failures) != 2 || !s.Failures[1].Again {
		t.Errorf("after two hours: %v", s.Failures)
	}
	if s.merge(&clientState{}, now.Add(26*time.Hour)); len(s.Failures) != 0 {
		t.Errorf("after a day: %v", s.Failures)
	}
}

// TestMergeLosesNothing: A row that was deleted, or is older, must not make the fleet forget.
func TestMergeLosesNothing(t *testing.T) {
	now := time.Unix(1e9, 0)
	known := clientState{Suspects: suspects{{Version: "v2", Caller: "a"}}}
	known.prove(now, &registry.Client{Credential: "c1"}, &ask.Ask{Scope: []string{"read"}})
	known.Failures = known.Failures.add(now, "a", "ask")
	if wait := known.admit(now, "a", true); wait != 0 {
		t.Fatalf("wait %v", wait)
	}
	var row clientState
	row.merge(&known, now)
	row.merge(&known, now)
	got, _ := json.Marshal(row)
	want, _ := json.Marshal(known)
	if string(got) != string(want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestClientStateIsBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	var s clientState
	for i := range 1000 {
		now = now.Add(7 * time.Second)
		s.prove(now, &registry.Client{Credential: fmt.Sprint(i)}, &ask.Ask{})
		s.admit(now, fmt.Sprint(i), true)
		s.Failures = s.Failures.add(now, fmt.Sprint(i), fmt.Sprint(i))
		var next clientState
		next.merge(&s, now)
		s = next
	}
	text, err := json.Marshal(s)
	if err != nil || len(text) > 40_000 || len(s.Proofs) != maxProven || len(s.Callers) > maxCallers {
		t.Errorf("%d bytes, %d proven, %d callers, error %v", len(text), len(s.Proofs), len(s.Callers), err)
	}
	if !s.proven(&registry.Client{Credential: "999"}) {
		t.Error("the newest credential is forgotten")
	}
}

// slowTable calls hook before the next write.
type slowTable struct {
	fleet.Table
	hook func()
}

func (t *slowTable) Update(ctx context.Context, item fleet.Item, c fleet.Condition) (*fleet.Item, bool, error) {
	if hook := t.hook; hook != nil {
		t.hook = nil
		hook()
	}
	return t.Table.Update(ctx, item, c)
}

// TestChangeWithoutTableIsKept: Another request's change is written to the table meanwhile.
func TestChangeWithoutTableIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &registry.Client{Credential: "c1"}
		table := &slowTable{Table: &fleettest.Table{}}
		shared := fleet.New(fleet.Config{Table: table, Keys: &fleettest.Keys{}})
		shared.Open(t.Context())
		states := newClientStates(runtime{now: time.Now, rand: func() float64 { return 0 }})
		session := shared.Session(t.Context())
		table.hook = func() {
			states.update(t.Context(), nil, "c", func(s *clientState) {
				s.Failures = s.Failures.add(time.Now(), "a", "ask")
				s.failLogon(time.Now())
				s.prove(time.Now(), client, &ask.Ask{})
			})
		}
		states.update(t.Context(), session, "c", func(s *clientState) { s.admit(time.Now(), "other", true) })
		for name, s := range map[string]clientState{"here": states.get("c"), "with the table": states.read(t.Context(), session, "c")} {
			if len(s.Failures) != 1 || len(s.Logons) != 1 || !s.proven(client) || s.Asks == 0 {
				t.Errorf("%s: got %+v", name, s)
			}
		}
	})
}
