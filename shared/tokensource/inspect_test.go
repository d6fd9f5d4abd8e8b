package tokensource_test

import (
	"context"
	"testing"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// The day of the last use outlives midnight, and costs the table one write for each client and
// day, whatever the callers do. A start and a probe are no use.
func TestDayOfUseIsNotedOnceADay(t *testing.T) {
	tokentest.RunFleet(t, 0, func(t *testing.T, f *tokentest.Fleet) {
		noting := func(cfg *token.Config) { cfg.NoteUse = true }
		environments := []*token.Vendor{f.Environment(noting), f.Environment(noting)}
		used := func() time.Time {
			x, ok := environments[1].Examine(t.Context(), "billing", token.Probe{May: func(string, bool) bool { return true }})
			if !ok || x.Err != nil || !x.Probed || !x.Proven {
				t.Fatalf("got %+v, error %v", x, x.Err)
			}
			return x.Used
		}
		if err := environments[0].Prefetch(t.Context(), "billing"); err != nil || !used().IsZero() {
			t.Fatalf("used %v without a caller, error %v", used(), err)
		}
		day := f.Now().UTC().Truncate(24 * time.Hour)
		time.Sleep(day.Add(23*time.Hour + 50*time.Minute).Sub(f.Now()))
		for _, v := range environments {
			if _, err := f.Ask(v, token.Request{}); err != nil {
				t.Fatal(err)
			}
		}
		calls := f.Table.Calls()
		for range 100 {
			if _, err := f.Ask(environments[0], token.Request{}); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.Table.Calls() - calls; got != 0 {
			t.Errorf("hits called the table %d times, want 0", got)
		}
		time.Sleep(time.Hour)
		if got := used(); !got.Equal(day) {
			t.Errorf("got %v after midnight, want %v", got, day)
		}
	})
}

// What another environment knows of a refusal is found, also after the lockout is over, and a
// credential that works again is not refused.
func TestInspectFindsRefusalOfTheFleet(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, f *tokentest.Fleet) {
		never := func(string, bool) bool { return false }
		f.Put("billing", "v1", map[string]any{"client_secret": "wrong", "client_id": "id"})
		if _, err := f.Ask(f.Vendors[0], token.Request{}); err == nil {
			t.Fatal("got a token")
		}
		for range 2 {
			x, ok := f.Vendors[1].Examine(t.Context(), "billing", token.Probe{May: never})
			if !ok || x.Refusal == nil || x.Err == nil || x.Proven || x.Probed {
				t.Errorf("got %+v, want a refusal", x)
			}
			time.Sleep(20 * time.Minute)
		}
		if err := f.Server.SetSecrets("id", "wrong"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, err := f.Ask(f.Vendors[0], token.Request{}); err != nil {
			t.Fatal(err)
		}
		if x, ok := f.Vendors[1].Examine(t.Context(), "billing", token.Probe{May: never}); !ok || x.Refusal != nil || !x.Proven {
			t.Errorf("got %+v, want a credential that works", x)
		}
		f.Table.Misbehave(func(context.Context) error { return fleet.ErrNoTable })
		if _, ok := f.Vendors[1].Examine(t.Context(), "billing", token.Probe{May: never}); ok {
			t.Error("examined without the table")
		}
	})
}
