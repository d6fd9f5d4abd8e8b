package fleet_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
)

// environments is what several fleets stand on.
type environments struct {
	table fleettest.Table
	keys  fleettest.Keys

	mu     sync.Mutex
	counts map[string]int // guarded by mu
}

func (env *environments) fleet(now func() time.Time) *fleet.Fleet {
	return fleet.New(fleet.Config{Table: &env.table, Keys: &env.keys, Count: env.count, Now: now})
}

func (env *environments) count(name string) {
	env.mu.Lock()
	defer env.mu.Unlock()
	if env.counts == nil {
		env.counts = make(map[string]int)
	}
	env.counts[name]++
}

func (env *environments) counted(name string) int {
	env.mu.Lock()
	defer env.mu.Unlock()
	return env.counts[name]
}

// readNote returns the note of a client's row; ok is false if the table could not be used.
func readNote(t *testing.T, f *fleet.Fleet, client string) (note []byte, ok bool) {
	t.Helper()
	_, ok = session(t, f).Change(t.Context(), 0, fleet.ClientRow, client, nil, func(present []byte) []byte {
		note = present
		return present
	})
	return note, ok
}

func session(t *testing.T, f *fleet.Fleet) *fleet.Session {
	t.Helper()
	v := f.Session(t.Context())
	if v == nil {
		t.Fatal("the table cannot be used")
	}
	return v
}

// row is what an environment finds.
type row struct {
	fleet.Row
	Value []byte
}

// take takes the lease of row "a".
func take(t *testing.T, f *fleet.Fleet) (*fleet.Lease, *row) {
	t.Helper()
	return takeRow(t, session(t, f), fleet.TokenRow, "a")
}

// takeRow takes the lease of a row without waiting; row is nil if the table does not answer.
func takeRow(t *testing.T, s *fleet.Session, kind fleet.Kind, id string) (*fleet.Lease, *row) {
	t.Helper()
	a := s.Acquire(t.Context(), kind, id, fleet.Want{Cached: true})
	if a.State == fleet.Alone {
		return a.Lease, nil
	}
	return a.Lease, &row{Row: a.Row, Value: a.Value(t.Context())}
}

// TestOneOfManyGetsTheLease: The others read the result.
func TestOneOfManyGetsTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		var taken atomic.Int64
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() {
				f := env.fleet(nil)
				f.Open(t.Context())
				lease, row := take(t, f)
				if lease != nil {
					taken.Add(1)
					time.Sleep(time.Second)
					lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Minute), Value: []byte("v")})
					return
				}
				for row.Leased {
					time.Sleep(100 * time.Millisecond)
					_, row = take(t, f)
				}
				if string(row.Value) != "v" || row.Until.Before(time.Now()) {
					t.Errorf("the row says %+v", row)
				}
			})
		}
		all.Wait()
		if taken.Load() != 1 {
			t.Errorf("%d got the lease", taken.Load())
		}
		if n := env.keys.Calls(); n != 32 {
			t.Errorf("%d KMS calls, want one per environment", n)
		}
		if env.counted(fleet.CountRefused)+env.counted(fleet.CountFailed) != 0 {
			t.Errorf("counted %v", env.counts)
		}
	})
}

func TestLeaseEndsAfterItsHolderDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		dead, other := env.fleet(nil), env.fleet(nil)
		if lease, _ := take(t, dead); lease == nil {
			t.Fatal("no lease")
		}
		start := time.Now()
		for {
			if lease, _ := take(t, other); lease != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if waited := time.Since(start); waited > 8100*time.Millisecond || waited < 7*time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

// TestEndedLeaseWritesNothing: Its holder was frozen. Another environment has taken
// over, or is done, or none came.
func TestEndedLeaseWritesNothing(t *testing.T) {
	for _, takeover := range []string{"nobody", "working", "done"} {
		synctest.Test(t, func(t *testing.T) {
			env := &environments{}
			frozen, other := env.fleet(nil), env.fleet(nil)
			old, _ := take(t, frozen)
			time.Sleep(time.Minute)
			if takeover != "nobody" {
				lease, _ := take(t, other)
				if takeover == "done" {
					lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Hour), Value: []byte("new")})
				}
			}
			if old.Renew(t.Context()) {
				t.Error("a lease that is over was renewed")
			}
			old.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Hour), Value: []byte("old")})
			_, row := take(t, other)
			if string(row.Value) == "old" {
				t.Errorf("%s: who was frozen wrote", takeover)
			}
		})
	}
}

// TestFailuresAreShared: The next environment reads the note of the last failure.
func TestFailuresAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		one, two := env.fleet(nil), env.fleet(nil)
		for want := range 3 {
			lease, _ := take(t, one)
			if lease == nil || lease.Failures != want {
				t.Fatalf("lease %+v, want %d failures", lease, want)
			}
			lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Minute), Failures: want + 1, Note: []byte("why")})
			lease, row := take(t, two)
			if lease != nil || row.Leased || row.Failures != want+1 || string(row.Note) != "why" {
				t.Errorf("the row says %+v", row)
			}
			time.Sleep(time.Minute)
		}
	})
}

// TestFailingTableCostsLittleTime: After two failures it costs none.
func TestFailingTableCostsLittleTime(t *testing.T) {
	for name, fault := range map[string]fleettest.Fault{"down": fleettest.Down, "hang": fleettest.Hang} {
		synctest.Test(t, func(t *testing.T) {
			env := &environments{}
			f := env.fleet(nil)
			f.Open(t.Context())
			env.table.Misbehave(fault)
			for i := range 5 {
				start := time.Now()
				v := f.Session(t.Context())
				lease, row := takeRow(t, v, fleet.TokenRow, "a")
				if lease.Valid() || row != nil {
					t.Errorf("%s: got something", name)
				}
				takeRow(t, v, fleet.LogonRow, "a")
				lease.Finish(t.Context(), fleet.Result{})
				if waited := time.Since(start); waited > 150*time.Millisecond || i >= 2 && (waited != 0 || v != nil) {
					t.Errorf("%s: call %d cost %v", name, i, waited)
				}
			}
			env.table.Misbehave(nil)
			time.Sleep(30 * time.Second)
			if lease, _ := take(t, f); lease == nil {
				t.Errorf("%s: not tried again", name)
			}
		})
	}
}

// TestUnansweredLeaseIsFinished: A lease whose answer was lost may have been given. The
// result is left all the same, so that no environment waits for its end.
func TestUnansweredLeaseIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		f := env.fleet(nil)
		f.Open(t.Context())
		env.table.MisbehaveAfter(fleettest.Hang)
		lease, row := take(t, f)
		if lease.Valid() || row != nil {
			t.Fatal("there was an answer")
		}
		lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Minute), Value: []byte("v")})
		env.table.MisbehaveAfter(nil)
		if _, row := take(t, env.fleet(nil)); row == nil || row.Leased || string(row.Value) != "v" {
			t.Errorf("the row says %+v", row)
		}
	})
}

func TestFailingKeyCostsLittleTime(t *testing.T) {
	for name, fault := range map[string]fleettest.Fault{"down": fleettest.Down, "hang": fleettest.Hang} {
		synctest.Test(t, func(t *testing.T) {
			env := &environments{}
			env.keys.Misbehave(fault)
			f := env.fleet(nil)
			start := time.Now()
			f.Open(t.Context())
			if waited := time.Since(start); waited > time.Second {
				t.Errorf("%s: the start was held up for %v", name, waited)
			}
			start = time.Now()
			if f.Session(t.Context()) != nil || time.Since(start) > 150*time.Millisecond {
				t.Errorf("%s: a visit, after %v", name, time.Since(start))
			}
			env.keys.Misbehave(nil)
			time.Sleep(31 * time.Second)
			session(t, f)
		})
	}
}

func TestOneKMSCallPerDayAndEnvironment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		fleets := []*fleet.Fleet{env.fleet(nil), env.fleet(nil), env.fleet(nil)}
		for day := range 3 {
			for range 5 {
				for _, f := range fleets {
					takeRow(t, session(t, f), fleet.TokenRow, "a")
				}
			}
			if n := env.keys.Calls(); n != 3*(day+1) {
				t.Errorf("day %d: %d KMS calls in all", day, n)
			}
			time.Sleep(24 * time.Hour)
		}
	})
}

// poison changes what lies in the table, but the key.
func (env *environments) poison(t *testing.T, change func(*fleet.Item)) {
	t.Helper()
	for _, item := range env.table.Items() {
		if !strings.HasPrefix(item.Name, "epoch") && item.State != nil {
			change(&item)
			env.table.Put(item)
		}
	}
}

// TestForeignRowIsRefused: A row that another program wrote is counted and overwritten,
// and never believed.
func TestForeignRowIsRefused(t *testing.T) {
	flip := func(b []byte) []byte {
		if b = bytes.Clone(b); len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		return b
	}
	for name, change := range map[string]func(*fleet.Item){
		"bit of the value":   func(i *fleet.Item) { i.Value = flip(i.Value) },
		"bit of the state":   func(i *fleet.Item) { i.State = flip(i.State) },
		"no state":           func(i *fleet.Item) { i.State = nil },
		"plain text":         func(i *fleet.Item) { i.State, i.Value = []byte(`{"until":9}`), []byte("poison") },
		"empty value":        func(i *fleet.Item) { i.Value = []byte{0} },
		"state as value":     func(i *fleet.Item) { i.Value = i.State },
		"value as state":     func(i *fleet.Item) { i.State = i.Value },
		"399 KB":             func(i *fleet.Item) { i.Value = make([]byte, 399<<10) },
		"later end":          func(i *fleet.Item) { i.Until += int64(time.Hour / time.Millisecond) },
		"another owner":      func(i *fleet.Item) { i.Owner = "x" },
		"far future, no row": func(i *fleet.Item) { *i = fleet.Item{Name: i.Name, Until: 1 << 60} },
	} {
		synctest.Test(t, func(t *testing.T) {
			env := &environments{}
			f := env.fleet(nil)
			lease, _ := take(t, f)
			lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Minute), Value: []byte("good")})
			env.poison(t, change)
			lease, row := take(t, f)
			if lease == nil {
				t.Fatalf("%s: no lease", name)
			}
			if row.Value != nil && string(row.Value) != "good" {
				t.Errorf("%s: the value was believed", name)
			}
			if env.counted(fleet.CountRefused) == 0 {
				t.Errorf("%s: not counted", name)
			}
			lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Minute), Value: []byte("new")})
			if _, row := take(t, f); string(row.Value) != "new" {
				t.Errorf("%s: not overwritten", name)
			}
		})
	}
}

// TestForeignValueIsRefused: a changed, swapped or missing value counts as none, and the work
// is done again.
func TestForeignValueIsRefused(t *testing.T) {
	for name, change := range map[string]func(*environments, fleet.Item, fleet.Item){
		"changed": func(env *environments, value, _ fleet.Item) {
			value.Value = bytes.Clone(value.Value)
			value.Value[20] ^= 1
			env.table.Put(value)
		},
		"another's": func(env *environments, value, other fleet.Item) {
			value.Value = other.Value
			env.table.Put(value)
		},
		"the row's own pointer": func(env *environments, value, _ fleet.Item) {
			env.poison(t, func(i *fleet.Item) { value.Value = i.Value })
			env.table.Put(value)
		},
		"missing": func(env *environments, value, _ fleet.Item) { env.table.Delete(value.Name) },
	} {
		synctest.Test(t, func(t *testing.T) {
			env := &environments{}
			f := env.fleet(nil)
			var values []fleet.Item
			for _, id := range []string{"b", "a"} {
				lease, _ := takeRow(t, session(t, f), fleet.TokenRow, id)
				lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Minute), Value: []byte("good " + id)})
				for _, item := range env.table.Items() {
					if item.State == nil && item.Owner == "" && len(item.Value) > 0 && !strings.HasPrefix(item.Name, "epoch") && (len(values) == 0 || values[0].Name != item.Name) {
						values = append(values, item)
					}
				}
			}
			change(env, values[1], values[0])
			a := session(t, f).Acquire(t.Context(), fleet.TokenRow, "a", fleet.Want{Accept: func([]byte) bool { return true }})
			if a.State != fleet.Acquired || a.Value(t.Context()) != nil {
				t.Errorf("%s: state %d, value %q", name, a.State, a.Value(t.Context()))
			}
			if refused := env.counted(fleet.CountRefused) > 0; refused != (name != "missing") {
				t.Errorf("%s: counted is %v", name, refused)
			}
		})
	}
}

// TestWaitersOnlyRead: while one environment works, the others make no write, and those that
// come in the meantime one each.
func TestWaitersOnlyRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		first := env.fleet(nil)
		lease, _ := take(t, first)
		var all sync.WaitGroup
		var done atomic.Int64
		want := fleet.Want{Accept: func(value []byte) bool { return string(value) == "v" }}
		for range 50 {
			f := env.fleet(nil)
			f.Open(t.Context())
			all.Go(func() {
				if a := session(t, f).Acquire(t.Context(), fleet.TokenRow, "a", want); a.State == fleet.Done {
					done.Add(1)
				}
			})
		}
		time.Sleep(10 * time.Millisecond) // each has asked for the lease once
		before := env.table.Updates()
		time.Sleep(3 * time.Second)
		if got := env.table.Updates() - before; got != 0 {
			t.Errorf("waiters made %d writes", got)
		}
		lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Minute), Value: []byte("v")})
		all.Wait()
		if done.Load() != 50 {
			t.Errorf("%d of 50 waiters have the result", done.Load())
		}
		if got := env.table.Updates() - before; got != 2 {
			t.Errorf("the result and its waiters made %d writes, want the 2 of the result", got)
		}
	})
}

// TestAcquireStates: each state by its name.
func TestAcquireStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		one, two := env.fleet(nil), env.fleet(nil)
		acquire := func(want fleet.Want) fleet.Acquisition {
			return session(t, two).Acquire(t.Context(), fleet.TokenRow, "a", want)
		}
		cached := fleet.Want{Cached: true}
		lease, _ := take(t, one)
		if a := acquire(cached); a.State != fleet.Busy || !a.Row.Leased {
			t.Errorf("a leased row: %+v", a)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if a := session(t, two).Acquire(ctx, fleet.TokenRow, "a", fleet.Want{}); a.State != fleet.Alone || a.Lease != nil {
			t.Errorf("after a wait in vain: %+v", a)
		}
		lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Minute), Failures: 1, Note: []byte("why")})
		if a := acquire(fleet.Want{}); a.State != fleet.Failed || string(a.Row.Note) != "why" {
			t.Errorf("a failed row: %+v", a)
		}
		time.Sleep(time.Minute)
		a := acquire(cached)
		if a.State != fleet.Acquired || a.Lease.Failures != 1 {
			t.Errorf("a free row: %+v", a)
		}
		a.Lease.Release(t.Context())
		if a = acquire(cached); a.State != fleet.Acquired || a.Lease.Failures != 1 {
			t.Errorf("a released row: %+v", a)
		}
		a.Lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Minute), Value: []byte("v")})
		if a := acquire(fleet.Want{}); a.State != fleet.Done || string(a.Value(t.Context())) != "v" {
			t.Errorf("a finished row: %+v", a)
		}
		if a := acquire(fleet.Want{Accept: func(value []byte) bool { return string(value) != "v" }}); a.State != fleet.Acquired {
			t.Errorf("a row with an unusable result: %+v", a)
		}
	})
}

// TestConfirm: a lease that another environment has taken over is lost; one that only ended
// is not.
func TestConfirm(t *testing.T) {
	for _, takeover := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			env := &environments{}
			one, two := env.fleet(nil), env.fleet(nil)
			lease, _ := take(t, one)
			if !lease.Confirm(t.Context()) {
				t.Error("a young lease is lost")
			}
			time.Sleep(time.Minute)
			if takeover {
				take(t, two)
			}
			for range 2 {
				if got := lease.Confirm(t.Context()); got == takeover {
					t.Errorf("taken over is %v: confirmed is %v", takeover, got)
				}
			}
		})
	}
	var none *fleet.Lease
	if !none.Confirm(t.Context()) {
		t.Error("without a table there is nothing to lose")
	}
}

// TestRowDoesNotOpenUnderAnotherName: An attacker who can write the table could
// otherwise lock out another client, or hand out its token.
func TestRowDoesNotOpenUnderAnotherName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		f := env.fleet(nil)
		for _, id := range []string{"a", "b"} {
			lease, _ := takeRow(t, session(t, f), fleet.LogonRow, id)
			rest := fleet.Result{Until: time.Now(), Value: []byte("of " + id)}
			if id == "a" {
				rest.Until, rest.Failures = time.Now().Add(10*time.Minute), 1
			}
			lease.Finish(t.Context(), rest)
		}
		var blown fleet.Item
		for _, item := range env.table.Items() {
			if item.Until > time.Now().UnixMilli() && !strings.HasPrefix(item.Name, "epoch") {
				blown = item
			}
		}
		env.poison(t, func(i *fleet.Item) { name := i.Name; *i = blown; i.Name = name })
		if lease, _ := takeRow(t, session(t, f), fleet.LogonRow, "b"); lease == nil {
			t.Error("the fuse of b was blown with that of a")
		}
		if lease, row := takeRow(t, session(t, f), fleet.LogonRow, "a"); lease != nil || row.Failures != 1 {
			t.Error("the fuse of a isn't blown any more")
		}
	})
}

// TestLeaseOfTheFutureIsIgnored: The clocks differ by two minutes.
func TestLeaseOfTheFutureIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		ahead := env.fleet(func() time.Time { return time.Now().Add(2 * time.Minute) })
		if lease, _ := take(t, ahead); lease == nil {
			t.Fatal("no lease")
		}
		if lease, _ := take(t, env.fleet(nil)); lease == nil {
			t.Error("a lease of a clock that is ahead holds everybody up")
		}
		if env.counted(fleet.CountRefused) != 0 {
			t.Error("a clock that is ahead is no poison")
		}
	})
}

func TestDamagedEpochIsReplaced(t *testing.T) {
	for name, spoil := range map[string]func(*fleet.Item){
		"rubbish":        func(i *fleet.Item) { i.Value = []byte("rubbish") },
		"another's past": func(i *fleet.Item) { i.State = []byte("rubbish, but long enough to be one") },
		"lease for ever": func(i *fleet.Item) { i.Value, i.Until = nil, 1<<60 },
	} {
		synctest.Test(t, func(t *testing.T) {
			env := &environments{}
			session(t, env.fleet(nil))
			for _, item := range env.table.Items() {
				spoil(&item)
				env.table.Put(item)
			}
			if lease, _ := take(t, env.fleet(nil)); lease == nil {
				t.Errorf("%s: the table is lost", name)
			}
		})
	}
}

// TestTableShowsNothing: Neither names nor contents can be read in the table.
func TestTableShowsNothing(t *testing.T) {
	env := &environments{}
	f := env.fleet(nil)
	lease, _ := takeRow(t, session(t, f), fleet.TokenRow, "cnry-client cnry-scope")
	lease.Finish(t.Context(), fleet.Result{Until: time.Now().Add(time.Minute), Failures: 1, Note: []byte("cnry-note"), Value: []byte("cnry-token")})
	for _, item := range env.table.Items() {
		for _, text := range []string{item.Name, item.Owner, string(item.State), string(item.Value)} {
			if strings.Contains(text, "cnry") {
				t.Errorf("the table says %q", text)
			}
		}
	}
}

func TestConcurrentChangesAreNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := &environments{}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				f := env.fleet(nil)
				f.Open(t.Context())
				var last *fleet.Last
				for range 10 {
					var ok bool
					last, ok = session(t, f).Change(t.Context(), time.Second, fleet.ServerRow, "host", last, func(note []byte) []byte {
						return append(bytes.Clone(note), 'x')
					})
					if !ok {
						t.Error("the table can't be used")
					}
				}
			})
		}
		all.Wait()
		var n int
		session(t, env.fleet(nil)).Change(t.Context(), time.Second, fleet.ServerRow, "host", nil, func(note []byte) []byte {
			n = len(note)
			return note
		})
		if n != 80 {
			t.Errorf("%d changes are there, want 80", n)
		}
		env.poison(t, func(i *fleet.Item) { i.State = []byte("poison") })
		session(t, env.fleet(nil)).Change(t.Context(), time.Second, fleet.ServerRow, "host", nil, func(note []byte) []byte {
			if note != nil {
				t.Error("poison was believed")
			}
			return nil
		})
	})
}

func TestNilFleet(t *testing.T) {
	var f *fleet.Fleet
	f.Open(t.Context())
	v := f.Session(t.Context())
	lease, row := takeRow(t, v, fleet.TokenRow, "a")
	if v != nil || lease != nil || row != nil || !lease.Renew(t.Context()) {
		t.Error("there is something")
	}
	lease.Finish(context.Background(), fleet.Result{})
	if _, ok := v.Change(t.Context(), time.Second, fleet.ServerRow, "a", nil, nil); ok {
		t.Error("there is something")
	}
}
