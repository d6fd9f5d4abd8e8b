package fleet_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
)

// leave takes the row of an id and leaves it as rest says.
func leave(t *testing.T, f *fleet.Fleet, id string, rest fleet.Result) {
	t.Helper()
	lease, _ := takeRow(t, session(t, f), fleet.LogonRow, id)
	if !lease.Held() {
		t.Fatal("the row is not free")
	}
	lease.Finish(t.Context(), rest)
}

// rests says what another environment finds.
func known(t *testing.T, f *fleet.Fleet, id string) (note, value string) {
	t.Helper()
	lease, row := takeRow(t, session(t, f), fleet.LogonRow, id)
	if lease != nil || row == nil || row.Leased {
		return "", ""
	}
	return string(row.Note), string(row.Value)
}

// TestMidnight: what was known the day before is known, by the environments that were
// there and by those that came since; and the day after that a row can still be worked on.
func TestMidnight(t *testing.T) {
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

// TestMidnightComesEarlier for some: environments whose clocks differ read each other's
// rows all the time.
func TestMidnightComesEarlier(t *testing.T) {
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

// TestEpochWithoutAPast: a day that begins after one on which nothing was done, or whose
// row says nothing of what was before.
func TestEpochWithoutAPast(t *testing.T) {
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

// TestSignedTheDayBefore: what was signed for yesterday is the same today, and good;
// what was signed two days ago is not.
func TestSignedTheDayBefore(t *testing.T) {
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

// TestTomorrowCannotBeSpoiled: somebody who asks about tomorrow's signatures before there
// are any takes the table from nobody.
func TestTomorrowCannotBeSpoiled(t *testing.T) {
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

// TestMakerDies while it makes the epoch's key: the others have it when its lease is over.
func TestMakerDies(t *testing.T) {
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

// TestPeekedTooEarly: an environment whose clock is a second behind, and which has just
// found that tomorrow has not begun, still reads what is written when it begins.
func TestPeekedTooEarly(t *testing.T) {
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
		if second, _ := take(t, behind); !first.Held() || second.Held() {
			t.Error("two hold one lease, or nobody does")
		}
	})
}

// TestTableHangsBeforeMidnight: that costs no more than at other times.
func TestTableHangsBeforeMidnight(t *testing.T) {
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

// TestOldRowsAreNoForgeries: DynamoDB deletes late.
func TestOldRowsAreNoForgeries(t *testing.T) {
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

// TestFailuresSurviveTheHolder who has renewed his lease, and dies.
func TestFailuresSurviveTheHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		f := env.fleet(nil)
		leave(t, f, "x", fleet.Result{Until: time.Now().Add(time.Hour), Failures: 3, Keep: time.Now().Add(24 * time.Hour)})
		time.Sleep(time.Hour + time.Second)
		for range 2 {
			lease, _ := takeRow(t, session(t, f), fleet.LogonRow, "x")
			if !lease.Held() || lease.Failures != 3 || !lease.Renew(t.Context()) {
				t.Errorf("%+v", lease)
			}
			time.Sleep(9 * time.Second)
		}
	})
}

// TestLongRestsNeedFailures: how far ahead a rest is believed depends on how often the
// work has failed.
func TestLongRestsNeedFailures(t *testing.T) {
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

// TestMidnightPassesMeanwhile: the epoch that was asked for is made, and waits for nothing
// that waits for it.
func TestMidnightPassesMeanwhile(t *testing.T) {
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

// TestOneErrorForgetsNoDay: who can't know what was before leaves it to others to begin a
// day, for a while.
func TestOneErrorForgetsNoDay(t *testing.T) {
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
