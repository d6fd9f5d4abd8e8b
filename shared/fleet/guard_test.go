package fleet_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
)

// wipe deletes the rows that hold no key.
func (env *environments) wipe() {
	for _, item := range env.table.Items() {
		if !strings.HasPrefix(item.Name, "epoch") {
			env.table.Delete(item.Name)
		}
	}
}

// lockOut leaves a lockout of a credential in the table.
func lockOut(t *testing.T, f *fleet.Fleet, failures int, d time.Duration) {
	t.Helper()
	lease, _ := takeRow(t, session(t, f), fleet.LogonRow, "a")
	until := time.Now().Add(d)
	if !lease.Finish(t.Context(), fleet.Result{Until: until, Failures: failures, Note: []byte("why"), Keep: until.Add(24 * time.Hour)}) {
		t.Fatal("the lockout was not written")
	}
}

func acquire(t *testing.T, f *fleet.Fleet) fleet.Acquisition {
	t.Helper()
	return session(t, f).Acquire(t.Context(), fleet.LogonRow, "a", fleet.Want{Cached: true})
}

// TestLostLockoutIsWrittenBack: by the environment that made it, or one that saw it.
func TestLostLockoutIsWrittenBack(t *testing.T) {
	for name, notice := range map[string]func(*testing.T, *fleet.Fleet){
		"Acquire": func(t *testing.T, f *fleet.Fleet) {
			if a := acquire(t, f); a.State != fleet.Failed || a.Row.Failures != 2 || string(a.Row.Note) != "why" {
				t.Errorf("got %+v", a)
			}
		},
		"Guard": func(t *testing.T, f *fleet.Fleet) { session(t, f).Guard(t.Context(), fleet.LogonRow, "a") },
	} {
		for _, saw := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				env := &environments{}
				one, two, three := env.fleet(nil), env.fleet(nil), env.fleet(nil)
				lockOut(t, one, 2, time.Hour)
				knows := one
				if saw {
					acquire(t, two)
					knows = two
				}
				env.wipe()
				notice(t, knows)
				if env.counted(fleet.CountLost) != 1 {
					t.Errorf("%s: counted %v", name, env.counts)
				}
				if a := acquire(t, three); a.State != fleet.Failed || a.Row.Failures != 2 || time.Until(a.Row.Until) < 59*time.Minute {
					t.Errorf("%s: the fleet forgot the lockout: %+v", name, a)
				}
				time.Sleep(time.Hour)
				env.wipe()
				if a := acquire(t, knows); a.State != fleet.Acquired || a.Lease.Failures != 2 {
					t.Errorf("%s: after the lockout: %+v", name, a)
				}
			})
		}
	}
}

// TestLostKeyIsWrittenBack: an environment that starts afterwards has the same key.
func TestLostKeyIsWrittenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		env := &environments{}
		made, read := env.fleet(nil), env.fleet(nil)
		session(t, made)
		session(t, read)
		for _, f := range []*fleet.Fleet{made, read} {
			lease, _ := takeRow(t, session(t, f), fleet.TokenRow, "a")
			lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Minute), Value: []byte("v")})
			for _, item := range env.table.Items() {
				if strings.HasPrefix(item.Name, "epoch") {
					env.table.Delete(item.Name)
				}
			}
			time.Sleep(5 * time.Minute)
			session(t, f)
			a := session(t, env.fleet(nil)).Acquire(t.Context(), fleet.TokenRow, "a", fleet.Want{Cached: true})
			if string(a.Value(t.Context())) != "v" {
				t.Error("a new environment has another key")
			}
			a.Lease.Release(t.Context())
		}
		if env.counted(fleet.CountLost) != 2 {
			t.Errorf("counted %v", env.counts)
		}
	})
}

// TestGuardOfSuccess: what other environments found out since is left alone.
func TestGuardOfSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		one, two := env.fleet(nil), env.fleet(nil)
		session(t, one).Guard(t.Context(), fleet.LogonRow, "a")
		lockOut(t, one, 1, 10*time.Minute)
		time.Sleep(10 * time.Minute)
		a := acquire(t, two)
		a.Lease.Finish(t.Context(), fleet.Result{Until: time.Now()})
		session(t, one).Guard(t.Context(), fleet.LogonRow, "a")
		if a := acquire(t, one); a.State != fleet.Acquired || a.Lease.Failures != 0 || env.counted(fleet.CountLost) != 0 {
			t.Errorf("got %+v, counted %v", a, env.counts)
		}
	})
}

// TestReplayedRowIsRefused: An attacker who can write the table puts an older state of a row
// back. An environment that saw the newer one does not believe it.
func TestReplayedRowIsRefused(t *testing.T) {
	put := func(env *environments, items []fleet.Item) {
		for _, item := range items {
			if !strings.HasPrefix(item.Name, "epoch") {
				env.table.Put(item)
			}
		}
	}
	finish := func(t *testing.T, f *fleet.Fleet, value string) {
		t.Helper()
		a := session(t, f).Acquire(t.Context(), fleet.TokenRow, "a", fleet.Want{Cached: true, Accept: func([]byte) bool { return false }})
		if !a.Lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Hour), Value: []byte(value)}) {
			t.Fatal("not finished")
		}
	}
	for name, then := range map[string]time.Duration{"before its end": 0, "after its end": 2 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			env := &environments{}
			// A clock that is behind must not make a new state look old.
			one, two := env.fleet(nil), env.fleet(func() time.Time { return time.Now().Add(-4 * time.Minute) })
			finish(t, one, "refused")
			old := env.table.Items()
			finish(t, two, "new")
			if _, row := take(t, one); string(row.Value) != "new" {
				t.Fatalf("%s: got %+v", name, row)
			}
			if env.counted(fleet.CountLost) != 0 {
				t.Fatalf("%s: counted %v", name, env.counts)
			}
			put(env, old)
			time.Sleep(then)
			for range 2 {
				a := session(t, one).Acquire(t.Context(), fleet.TokenRow, "a", fleet.Want{Cached: true})
				if value := a.Value(t.Context()); string(value) == "refused" {
					t.Errorf("%s: the old value is believed", name)
				}
				a.Lease.Release(t.Context())
			}
			if env.counted(fleet.CountLost) == 0 {
				t.Errorf("%s: not counted", name)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		one := env.fleet(nil)
		a := acquire(t, one)
		a.Lease.Release(t.Context())
		old := env.table.Items()
		lockOut(t, one, 1, 10*time.Minute)
		put(env, old)
		if a := acquire(t, one); a.State != fleet.Failed {
			t.Errorf("the row before the lockout is believed: %+v", a)
		}
		if a := acquire(t, env.fleet(nil)); a.State != fleet.Failed {
			t.Errorf("the lockout was not written back: %+v", a)
		}
	})
}

// TestNoteOfWipedTableIsWrittenBack: an environment that saw the note writes it.
func TestNoteOfWipedTableIsWrittenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		one, two := env.fleet(nil), env.fleet(nil)
		add := func(f *fleet.Fleet, text string) {
			session(t, f).Change(t.Context(), time.Second, fleet.ClientRow, "c", nil, func(note []byte) []byte { return append(note, text...) })
		}
		add(one, "1")
		old := env.table.Items()
		add(two, "2")
		add(one, "3")
		env.wipe()
		if note, ok := readNote(t, two, "c"); !ok || string(note) != "12" {
			t.Errorf("got %q, %v, want what this environment saw last", note, ok)
		}
		if note, _ := readNote(t, one, "c"); string(note) != "12" {
			t.Errorf("got %q", note) // written after what it saw
		}
		env.wipe()
		for _, item := range old {
			env.table.Put(item)
		}
		if note, _ := readNote(t, one, "c"); string(note) != "12" {
			t.Errorf("got %q, an older note", note)
		}
		if env.counted(fleet.CountLost) != 2 {
			t.Errorf("counted %v", env.counts)
		}
		time.Sleep(25 * time.Hour)
		env.wipe()
		if note, _ := readNote(t, one, "c"); note != nil || env.counted(fleet.CountLost) != 2 {
			t.Errorf("got %q of a row that has expired", note)
		}
	})
}

// TestLockoutOfClockAheadIsBelieved: to forget it would cost a failed logon each time. Other
// failures of that clock are not.
func TestLockoutOfClockAheadIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		ahead := func() time.Time { return time.Now().Add(time.Hour) }
		for _, kind := range []fleet.Kind{fleet.LogonRow, fleet.TokenRow} {
			lease, _ := takeRow(t, session(t, env.fleet(ahead)), kind, "a")
			lease.Finish(t.Context(), fleet.Result{Until: ahead().Add(10 * time.Minute), Failures: 1})
			a := session(t, env.fleet(nil)).Acquire(t.Context(), kind, "a", fleet.Want{Cached: true})
			switch {
			case kind == fleet.TokenRow && a.State != fleet.Acquired:
				t.Errorf("a failure of a wrong clock stops all: %+v", a)
			case kind == fleet.LogonRow && (a.State != fleet.Failed || time.Until(a.Row.Until) > 10*time.Minute):
				t.Errorf("a lockout of a wrong clock: %+v", a)
			case kind == fleet.LogonRow && time.Until(a.Row.Written).Round(time.Minute) != time.Hour:
				t.Errorf("written %v", a.Row.Written)
			}
		}
	})
}

// TestImpossibleLockoutIsNotBelieved: no clock is ahead by days, and no lockout lasts a day.
func TestImpossibleLockoutIsNotBelieved(t *testing.T) {
	for ahead, lasts := range map[time.Duration]time.Duration{7 * 24 * time.Hour: time.Minute, 0: 23 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			env := &environments{}
			clock := func() time.Time { return time.Now().Add(ahead) }
			// They are of one epoch.
			f := env.fleet(nil)
			session(t, f)
			lease, _ := takeRow(t, session(t, env.fleet(nil)), fleet.LogonRow, "a")
			lease.Finish(t.Context(), fleet.Result{Until: clock().Add(lasts), Failures: 1})
			if a := acquire(t, f); a.State != fleet.Acquired {
				t.Errorf("ahead by %v, lasts %v: got %+v", ahead, lasts, a)
			}
		})
	}
}

// TestLargeValues: a token of 64 KiB makes a value of some 180 KB. One that is too large for an
// item is not written, and its row is free.
func TestLargeValues(t *testing.T) {
	for size, shared := range map[int]bool{180 << 10: true, 380 << 10: true, 390 << 10: false} {
		synctest.Test(t, func(t *testing.T) {
			env := &environments{}
			value := bytes.Repeat([]byte("v"), size)
			lease, _ := take(t, env.fleet(nil))
			if ok := lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Hour), Value: value}); ok != shared {
				t.Errorf("%d bytes: shared is %v", size, ok)
			}
			lease, row := take(t, env.fleet(nil))
			if bytes.Equal(row.Value, value) != shared || (lease != nil) == shared || env.counted(fleet.CountRefused) != 0 {
				t.Errorf("%d bytes: got %d bytes, lease %v, counted %v", size, len(row.Value), lease, env.counts)
			}
			for _, item := range env.table.Items() {
				if n := len(item.Value); n > 400_000 {
					t.Errorf("a value of %d bytes was written", n)
				}
			}
		})
	}
}

// TestUnchangedNoteIsNotWritten: also if what was known of the row is old.
func TestUnchangedNoteIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		one, two := env.fleet(nil), env.fleet(nil)
		set := func(f *fleet.Fleet, last *fleet.Last, text string) *fleet.Last {
			last, ok := session(t, f).Change(t.Context(), time.Second, fleet.ClientRow, "c", last, func([]byte) []byte { return []byte(text) })
			if !ok {
				t.Fatal("not changed")
			}
			return last
		}
		last := set(one, nil, "a")
		set(two, nil, "b")
		before := env.table.Updates()
		var seen []string
		if _, ok := session(t, one).Change(t.Context(), time.Second, fleet.ClientRow, "c", last, func(note []byte) []byte {
			seen = append(seen, string(note))
			return note
		}); !ok || seen[len(seen)-1] != "b" {
			t.Errorf("saw %q", seen)
		}
		if note, ok := readNote(t, one, "none"); note != nil || !ok {
			t.Errorf("got %q", note)
		}
		if n := env.table.Updates() - before; n != 0 {
			t.Errorf("%d writes of what did not change", n)
		}
		env.table.Misbehave(fleettest.Down)
		if last, ok := one.Session(t.Context()).Change(t.Context(), time.Second, fleet.ClientRow, "c", nil, nil); last != nil || ok {
			t.Error("the table is down")
		}
	})
}

// TestThrottledTableIsNotDead: the calls are made again, and the table is used afterwards.
func TestThrottledTableIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		f := env.fleet(nil)
		f.Open(t.Context())
		begun := time.Now()
		env.table.Misbehave(func(context.Context) error {
			if time.Since(begun) < 700*time.Millisecond {
				return errors.Join(fleet.ErrThrottled)
			}
			return nil
		})
		lease, row := take(t, f)
		if !lease.Valid() || row == nil || env.counted(fleet.CountFailed) != 0 {
			t.Errorf("lease %v, counted %v", lease, env.counts)
		}
		begun = time.Now().Add(time.Hour)
		for range 3 {
			if lease, _ := take(t, f); lease.Valid() {
				t.Error("a lease without capacity")
			}
		}
		begun = time.Time{}
		if f.Session(t.Context()) == nil {
			t.Error("the table counts as dead")
		}
	})
}

// TestSize: it is right within a fifth, also when environments leave.
func TestSize(t *testing.T) {
	for _, n := range []int{1, 2, 20, 100, 250, 1000} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Hour)
			env := &environments{}
			env.table.Limit()
			fleets := make([]*fleet.Fleet, n)
			open := func(fleets []*fleet.Fleet) {
				var all sync.WaitGroup
				for i := range fleets {
					all.Go(func() {
						if fleets[i] == nil {
							fleets[i] = env.fleet(nil)
							fleets[i].Open(t.Context())
						}
						fleets[i].Session(t.Context())
					})
				}
				all.Wait()
			}
			check := func(fleets []*fleet.Fleet, want int) {
				t.Helper()
				got, current := fleets[0].Size()
				if least, most := want*4/5, (want*6+4)/5; got < least || got > most || !current {
					t.Errorf("got %d, %v for %d environments", got, current, want)
				}
			}
			open(fleets)
			if _, current := fleets[0].Size(); current {
				t.Error("one reading is enough")
			}
			for range 12 {
				time.Sleep(time.Minute)
				open(fleets)
			}
			check(fleets, n)
			few := fleets[:(n+9)/10]
			for range 25 {
				time.Sleep(time.Minute)
				open(few)
			}
			check(few, len(few))
			time.Sleep(time.Hour)
			if _, current := fleets[0].Size(); current {
				t.Error("an old reading is current")
			}
		})
	}
}

// Environments that started together are not all counted in the first seconds. None may take a
// small number for the fleet's.
func TestYoungFleetDoesNotKnowItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		env := &environments{}
		fleets := make([]*fleet.Fleet, 20)
		for i := range fleets {
			fleets[i] = env.fleet(nil)
			fleets[i].Open(t.Context())
		}
		for second := range 60 {
			for i, f := range fleets {
				if n, current := f.Size(); current && n < len(fleets)*4/5 {
					t.Fatalf("environment %d takes %d for the number of %d environments after %d s", i, n, len(fleets), second)
				}
				session(t, f)
			}
			time.Sleep(time.Second)
		}
		if _, current := fleets[0].Size(); !current {
			t.Error("the number is not known after a minute")
		}
	})
}

// TestGrowingFleetIsReadOften: the first environment must not take itself for the only one.
func TestGrowingFleetIsReadOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		env := &environments{}
		first := env.fleet(nil)
		first.Open(t.Context())
		calls := env.table.Calls()
		started := []*fleet.Fleet{first}
		for i := range 60 {
			if i%2 == 0 {
				f := env.fleet(nil)
				f.Open(t.Context())
				started = append(started, f)
			}
			time.Sleep(5 * time.Second)
			session(t, first)
			session(t, started[max(0, len(started)-2)])
		}
		if n, _ := first.Size(); n < 26 || n > 34 {
			t.Errorf("got %d of 31 environments", n)
		}
		if n := env.table.Calls() - calls; n > 300 {
			t.Errorf("%d calls of the table", n)
		}
	})
}
