package fleet_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
)

// leave takes the row of an id and leaves it as result says.
func leave(t *testing.T, f *fleet.Fleet, id string, result fleet.Result) {
	t.Helper()
	lease, _ := takeRow(t, session(t, f), fleet.LogonRow, id)
	if !lease.Valid() {
		t.Fatal("the row is not free")
	}
	lease.Finish(t.Context(), result)
}

// known returns what another environment finds.
func known(t *testing.T, f *fleet.Fleet, id string) (note, value string) {
	t.Helper()
	lease, row := takeRow(t, session(t, f), fleet.LogonRow, id)
	if lease != nil || row == nil || row.Leased {
		return "", ""
	}
	return string(row.Note), string(row.Value)
}

// TestKnowledgeOutlivesMidnight: Environments that were there and new ones know what was
// written the day before. The day after that, the row can be used again.
func TestKnowledgeOutlivesMidnight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		old, idle := env.fleet(nil), env.fleet(nil)
		session(t, idle)
		for day := range 3 {
			time.Sleep(23*time.Hour + 55*time.Minute)
			id := "row " + string(rune('a'+day))
			leave(t, old, id, fleet.Result{Until: time.Now().Add(10 * time.Minute), Failures: 1, Note: []byte("why"), Value: []byte("v")})
			time.Sleep(5*time.Minute + time.Second)
			for name, f := range map[string]*fleet.Fleet{"old": old, "new": env.fleet(nil), "idle": idle} {
				if note, value := known(t, f, id); note != "why" || value != "v" {
					t.Errorf("day %d, %s: found %q, %q", day, name, note, value)
				}
			}
		}
		// Sealed on the first day, of which only the name is known by now.
		if lease, row := takeRow(t, session(t, old), fleet.LogonRow, "row a"); lease == nil || row.Value != nil {
			t.Errorf("an old row is in the way: %+v", row)
		}
		if env.counted(fleet.CountFailed) > 0 {
			t.Error("the table failed")
		}
	})
}

// TestSkewedClocksReadEachOthersRows: Around midnight, environments whose clocks differ
// are in different epochs.
func TestSkewedClocksReadEachOthersRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		at := func(by time.Duration) *fleet.Fleet {
			return env.fleet(func() time.Time { return time.Now().Add(by) })
		}
		fleets := []*fleet.Fleet{at(2 * time.Minute), at(0), at(-2 * time.Minute)}
		for _, f := range fleets {
			session(t, f)
		}
		time.Sleep(23*time.Hour + 54*time.Minute)
		for minute := range 12 {
			for i, f := range fleets {
				id := string(rune('a'+minute)) + string(rune('0'+i))
				leave(t, f, id, fleet.Result{Until: time.Now().Add(5 * time.Minute), Failures: 1, Note: []byte("why")})
				for j, other := range append(fleets, at(0)) {
					if note, _ := known(t, other, id); note != "why" {
						t.Errorf("minute %d: environment %d does not know what %d left", minute, j, i)
					}
				}
			}
			time.Sleep(time.Minute)
		}
		if n := env.counted(fleet.CountRefused); n > 0 {
			t.Errorf("%d rows were taken for somebody else's", n)
		}
	})
}

// TestEpochWithoutPredecessor: A day may begin after one without any call, or without
// the key of the day before.
func TestEpochWithoutPredecessor(t *testing.T) {
	for name, happens := range map[string]func(*environments){
		"a day off": func(*environments) { time.Sleep(24 * time.Hour) },
		"the row of a version that knows no past": func(env *environments) {
			for _, item := range env.table.Items() {
				if strings.HasPrefix(item.Name, "epoch") {
					item.State = nil
					env.table.Put(item)
				}
			}
		},
		"the key of the day before is lost": func(env *environments) {
			for _, item := range env.table.Items() {
				if strings.HasPrefix(item.Name, "epoch") {
					item.Value = []byte("rubbish")
					env.table.Put(item)
				}
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			env := &environments{}
			session(t, env.fleet(nil))
			time.Sleep(23 * time.Hour)
			happens(env)
			time.Sleep(2 * time.Hour)
			leave(t, env.fleet(nil), "a", fleet.Result{Until: time.Now().Add(10 * time.Minute), Failures: 1, Note: []byte("why")})
			if note, _ := known(t, env.fleet(nil), "a"); note != "why" {
				t.Errorf("%s: environments know nothing of each other", name)
			}
		})
	}
}

// TestSignaturesAreGoodForTwoDays: A text signed for yesterday is the same today.
func TestSignaturesAreGoodForTwoDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		f := env.fleet(nil)
		sign := func(f *fleet.Fleet, at time.Time) string {
			text, err := f.Sign(t.Context(), "test", []byte("payload"), at)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		time.Sleep(23*time.Hour + 50*time.Minute)
		before := time.Now()
		first := sign(f, before)
		time.Sleep(20 * time.Minute)
		for _, f := range []*fleet.Fleet{f, env.fleet(nil)} {
			if sign(f, before) != first || sign(f, time.Now()) == first {
				t.Error("signed for another day")
			}
			if payload, err := f.Verify(t.Context(), "test", first); err != nil || string(payload) != "payload" {
				t.Errorf("yesterday's: %v", err)
			}
		}
		time.Sleep(24 * time.Hour)
		if _, err := env.fleet(nil).Verify(t.Context(), "test", first); err == nil {
			t.Error("good for ever")
		}
	})
}

// TestVerifyDoesNotBeginTomorrow: A forged signature of tomorrow must not disturb the
// epoch that begins then.
func TestVerifyDoesNotBeginTomorrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		f := env.fleet(nil)
		session(t, f)
		time.Sleep(23*time.Hour + 59*time.Minute + 59*time.Second)
		if _, err := f.Verify(t.Context(), "test", "2000-01-02.e30.e30"); err == nil {
			t.Error("signed by nobody")
		}
		time.Sleep(time.Second)
		session(t, f)
	})
}

// TestKeyIsMadeAfterItsMakerDies: The lease of the environment that makes the key ends.
func TestKeyIsMadeAfterItsMakerDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		env.keys.Misbehave(fleettest.Hang)
		env.fleet(nil).Open(t.Context())
		env.keys.Misbehave(nil)
		f := env.fleet(nil)
		begin := time.Now()
		for f.Session(t.Context()) == nil {
			if time.Sleep(100 * time.Millisecond); time.Since(begin) > 5*time.Second {
				t.Fatal("the others are alone for longer than that")
			}
		}
	})
}

// TestSessionFollowsNewEpoch: The clock of one environment is a second behind, and it
// has just found that tomorrow has not begun.
func TestSessionFollowsNewEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		ahead, behind := env.fleet(nil), env.fleet(func() time.Time { return time.Now().Add(-time.Second) })
		session(t, ahead)
		session(t, behind)
		time.Sleep(24*time.Hour - 200*time.Millisecond)
		session(t, behind)
		time.Sleep(300 * time.Millisecond)
		leave(t, ahead, "x", fleet.Result{Until: time.Now().Add(time.Hour), Failures: 2, Note: []byte("why")})
		if note, _ := known(t, behind, "x"); note != "why" || env.counted(fleet.CountRefused) > 0 {
			t.Errorf("found %q", note)
		}
		first, _ := take(t, ahead)
		if second, _ := take(t, behind); !first.Valid() || second.Valid() {
			t.Error("two hold one lease, or nobody does")
		}
	})
}

func TestHangingTableCostsNoMoreBeforeMidnight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		f := env.fleet(nil)
		session(t, f)
		time.Sleep(24*time.Hour - 3*time.Minute)
		env.table.Misbehave(fleettest.Hang)
		begin := time.Now()
		lease, _ := takeRow(t, f.Session(t.Context()), fleet.TokenRow, "a")
		lease.Finish(t.Context(), fleet.Result{Until: time.Now()})
		if took := time.Since(begin); took > 150*time.Millisecond {
			t.Errorf("the table costs %v", took)
		}
		time.Sleep(2 * time.Second)
	})
}

// TestOldRowsAreNotRefused: DynamoDB deletes late.
func TestOldRowsAreNotRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		f := env.fleet(nil)
		for range 2 {
			leave(t, f, "x", fleet.Result{Until: time.Now().Add(10 * time.Minute), Value: []byte("v")})
			for range 3 {
				time.Sleep(24 * time.Hour)
				session(t, f)
			}
		}
		if n := env.counted(fleet.CountRefused); n != 0 {
			t.Errorf("%d rows were taken for somebody else's", n)
		}
	})
}

// TestRenewedLeaseKeepsFailures: An environment renews its lease and dies.
func TestRenewedLeaseKeepsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		f := env.fleet(nil)
		leave(t, f, "x", fleet.Result{Until: time.Now().Add(time.Hour), Failures: 3, Keep: time.Now().Add(24 * time.Hour)})
		time.Sleep(time.Hour + time.Second)
		for range 2 {
			lease, _ := takeRow(t, session(t, f), fleet.LogonRow, "x")
			if !lease.Valid() || lease.Failures != 3 || !lease.Renew(t.Context()) {
				t.Errorf("%+v", lease)
			}
			time.Sleep(9 * time.Second)
		}
	})
}

// TestLongBackoffNeedsFailures: How far ahead the end of a row is believed depends on
// how often the work has failed.
func TestLongBackoffNeedsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		f := env.fleet(nil)
		for _, tt := range []struct {
			failures int
			rest     time.Duration
			believed bool
		}{{1, 15 * time.Minute, true}, {1, 17 * time.Minute, false}, {2, 4 * time.Hour, true}, {2, 5 * time.Hour, false}, {0, 23 * time.Hour, true}, {0, 25 * time.Hour, false}} {
			id := tt.rest.String()
			leave(t, f, id, fleet.Result{Until: time.Now().Add(tt.rest), Failures: tt.failures})
			if lease, _ := takeRow(t, session(t, f), fleet.LogonRow, id); (lease == nil) != tt.believed {
				t.Errorf("%d failures, %v: believed is %t", tt.failures, tt.rest, lease == nil)
			}
		}
	})
}

// TestMidnightDuringOpen: The epoch that was asked for is made.
func TestMidnightDuringOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		f := env.fleet(nil)
		time.Sleep(24*time.Hour - time.Millisecond)
		env.table.Misbehave(func(context.Context) error { time.Sleep(2 * time.Millisecond); return nil })
		begin := time.Now()
		f.Open(t.Context())
		if took := time.Since(begin); took > 500*time.Millisecond || env.counted(fleet.CountFailed) > 0 {
			t.Errorf("took %v", took)
		}
		time.Sleep(5 * time.Second)
	})
}

// forgetful is a KMS that fails to decrypt once.
type forgetful struct {
	fleet.Keys
	failed bool
}

func (k *forgetful) Decrypt(ctx context.Context, epoch string, encrypted []byte) ([]byte, error) {
	if !k.failed {
		k.failed = true
		return nil, errors.New("throttled")
	}
	return k.Keys.Decrypt(ctx, epoch, encrypted)
}

// TestFailedDecryptDoesNotForgetYesterday: An environment that cannot read the day
// before leaves the new day to others, for some minutes.
func TestFailedDecryptDoesNotForgetYesterday(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		old := env.fleet(nil)
		session(t, old)
		time.Sleep(23*time.Hour + 59*time.Minute)
		leave(t, old, "x", fleet.Result{Until: time.Now().Add(time.Hour), Failures: 2, Note: []byte("why")})
		time.Sleep(time.Minute + time.Second)
		fleet.New(fleet.Config{Table: &env.table, Keys: &forgetful{Keys: &env.keys}, Count: env.count}).Open(t.Context())
		time.Sleep(time.Minute)
		if note, _ := known(t, old, "x"); note != "why" {
			t.Error("everybody forgot, for one failed call of KMS")
		}
		// Later the day must begin, come what may.
		time.Sleep(24 * time.Hour)
		f := fleet.New(fleet.Config{Table: &env.table, Keys: &forgetful{Keys: &env.keys}, Count: env.count})
		time.Sleep(5 * time.Minute)
		session(t, f)
	})
}

// TestHistoryOutlivesDays: A history is kept as long as an environment uses the table each day, and
// lost when none did for two days.
func TestHistoryOutlivesDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		read := func() string {
			row, ok := session(t, env.fleet(nil)).Read(t.Context(), fleet.HistoryRow, "billing")
			if !ok {
				t.Fatal("not read")
			}
			return string(row.Note)
		}
		if read() != "" {
			t.Error("found a history that nobody wrote")
		}
		if _, ok := session(t, env.fleet(nil)).Change(t.Context(), time.Second, fleet.HistoryRow, "billing", nil, func([]byte) []byte { return []byte("seen") }); !ok {
			t.Fatal("not changed")
		}
		var kept []time.Duration
		for _, item := range env.table.Items() {
			if item.Until == 1 {
				kept = append(kept, time.Until(time.Unix(item.ExpiresAt, 0)))
			}
		}
		if slices.Max(kept) < 100*24*time.Hour {
			t.Errorf("rows are kept for %v, want one for 100 days", kept)
		}
		for day := range 5 {
			time.Sleep(23 * time.Hour)
			if got := read(); got != "seen" {
				t.Errorf("day %d: got %q, want the history", day, got)
			}
		}
		time.Sleep(72 * time.Hour)
		if got := read(); got != "" {
			t.Errorf("got %q after three days without an environment, want nothing", got)
		}
		if _, ok := (*fleet.Session)(nil).Read(t.Context(), fleet.HistoryRow, "billing"); ok {
			t.Error("read a row without a table")
		}
	})
}
