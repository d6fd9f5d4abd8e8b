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

// ground is what several fleets stand on.
type ground struct {
	table fleettest.Table
	keys  fleettest.Keys

	mu     sync.Mutex
	counts map[string]int // guarded by mu
}

func (g *ground) fleet(now func() time.Time) *fleet.Fleet {
	return fleet.New(fleet.Config{Table: &g.table, Keys: &g.keys, Count: g.count, Now: now})
}

func (g *ground) count(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.counts == nil {
		g.counts = make(map[string]int)
	}
	g.counts[name]++
}

func (g *ground) counted(name string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.counts[name]
}

func visit(t *testing.T, f *fleet.Fleet) *fleet.Visit {
	t.Helper()
	v := f.Visit(t.Context())
	if v == nil {
		t.Fatal("the table can't be visited")
	}
	return v
}

// take takes the lease of row "a".
func take(t *testing.T, f *fleet.Fleet) (*fleet.Lease, *fleet.Row) {
	t.Helper()
	return visit(t, f).Take(t.Context(), fleet.TokenRow, "a")
}

// TestLease: of many one gets it; the others learn what it left.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &ground{}
		var taken atomic.Int64
		var all sync.WaitGroup
		for range 32 {
			all.Go(func() {
				f := g.fleet(nil)
				f.Open(t.Context())
				lease, row := take(t, f)
				if lease != nil {
					taken.Add(1)
					time.Sleep(time.Second)
					lease.Finish(t.Context(), fleet.Rest{Until: time.Now().Add(time.Minute), Value: []byte("v")})
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
		if n := g.keys.Calls(); n != 32 {
			t.Errorf("%d KMS calls, want one per environment", n)
		}
		if g.counted(fleet.CountRefused)+g.counted(fleet.CountFailed) != 0 {
			t.Errorf("counted %v", g.counts)
		}
	})
}

// TestHolderDies: after eight seconds another takes over.
func TestHolderDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &ground{}
		dead, other := g.fleet(nil), g.fleet(nil)
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

// TestFrozenHolderWritesNothing: neither when somebody took over, nor when nobody
// did, nor when somebody was ready before.
func TestFrozenHolderWritesNothing(t *testing.T) {
	for _, takeover := range []string{"nobody", "working", "done"} {
		synctest.Test(t, func(t *testing.T) {
			g := &ground{}
			frozen, other := g.fleet(nil), g.fleet(nil)
			old, _ := take(t, frozen)
			time.Sleep(time.Minute)
			if takeover != "nobody" {
				lease, _ := take(t, other)
				if takeover == "done" {
					lease.Finish(t.Context(), fleet.Rest{Until: time.Now().Add(time.Hour), Value: []byte("new")})
				}
			}
			if old.Renew(t.Context()) {
				t.Error("a lease that is over was renewed")
			}
			old.Finish(t.Context(), fleet.Rest{Until: time.Now().Add(time.Hour), Value: []byte("old")})
			_, row := take(t, other)
			if string(row.Value) == "old" {
				t.Errorf("%s: who was frozen wrote", takeover)
			}
		})
	}
}

// TestFailuresAreShared with what is said about them.
func TestFailuresAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &ground{}
		one, two := g.fleet(nil), g.fleet(nil)
		for want := range 3 {
			lease, _ := take(t, one)
			if lease == nil || lease.Failures != want {
				t.Fatalf("lease %+v, want %d failures", lease, want)
			}
			lease.Finish(t.Context(), fleet.Rest{Until: time.Now().Add(time.Minute), Failures: want + 1, Note: []byte("why")})
			lease, row := take(t, two)
			if lease != nil || row.Leased || row.Failures != want+1 || string(row.Note) != "why" {
				t.Errorf("the row says %+v", row)
			}
			time.Sleep(time.Minute)
		}
	})
}

// TestTableTrouble costs little time, and after two failures none.
func TestTableTrouble(t *testing.T) {
	for name, fault := range map[string]fleettest.Fault{"down": fleettest.Down, "hang": fleettest.Hang} {
		synctest.Test(t, func(t *testing.T) {
			g := &ground{}
			f := g.fleet(nil)
			f.Open(t.Context())
			g.table.Misbehave(fault)
			for i := range 5 {
				start := time.Now()
				v := f.Visit(t.Context())
				lease, row := v.Take(t.Context(), fleet.TokenRow, "a")
				if lease.Held() || row != nil {
					t.Errorf("%s: got something", name)
				}
				v.Take(t.Context(), fleet.LogonRow, "a")
				lease.Finish(t.Context(), fleet.Rest{})
				if waited := time.Since(start); waited > 150*time.Millisecond || i >= 2 && (waited != 0 || v != nil) {
					t.Errorf("%s: call %d cost %v", name, i, waited)
				}
			}
			g.table.Misbehave(nil)
			time.Sleep(30 * time.Second)
			if lease, _ := take(t, f); lease == nil {
				t.Errorf("%s: not tried again", name)
			}
		})
	}
}

// TestLateAnswer: who got no answer in time may have got the lease. It leaves its
// result all the same, so that nobody waits for the lease to end.
func TestLateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &ground{}
		f := g.fleet(nil)
		f.Open(t.Context())
		g.table.MisbehaveAfter(fleettest.Hang)
		lease, row := take(t, f)
		if lease.Held() || row != nil {
			t.Fatal("there was an answer")
		}
		lease.Finish(t.Context(), fleet.Rest{Until: time.Now().Add(time.Minute), Value: []byte("v")})
		g.table.MisbehaveAfter(nil)
		if _, row := take(t, g.fleet(nil)); row == nil || row.Leased || string(row.Value) != "v" {
			t.Errorf("the row says %+v", row)
		}
	})
}

// TestKeyTrouble: without the key there is no table, and little time is lost.
func TestKeyTrouble(t *testing.T) {
	for name, fault := range map[string]fleettest.Fault{"down": fleettest.Down, "hang": fleettest.Hang} {
		synctest.Test(t, func(t *testing.T) {
			g := &ground{}
			g.keys.Misbehave(fault)
			f := g.fleet(nil)
			start := time.Now()
			f.Open(t.Context())
			if waited := time.Since(start); waited > time.Second {
				t.Errorf("%s: the start was held up for %v", name, waited)
			}
			start = time.Now()
			if f.Visit(t.Context()) != nil || time.Since(start) > 150*time.Millisecond {
				t.Errorf("%s: a visit, after %v", name, time.Since(start))
			}
			g.keys.Misbehave(nil)
			time.Sleep(31 * time.Second)
			visit(t, f)
		})
	}
}

// TestEpochs: a new day has a new key, for one KMS call per environment.
func TestEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &ground{}
		fleets := []*fleet.Fleet{g.fleet(nil), g.fleet(nil), g.fleet(nil)}
		for day := range 3 {
			for range 5 {
				for _, f := range fleets {
					visit(t, f).Take(t.Context(), fleet.TokenRow, "a")
				}
			}
			if n := g.keys.Calls(); n != 3*(day+1) {
				t.Errorf("day %d: %d KMS calls in all", day, n)
			}
			time.Sleep(24 * time.Hour)
		}
	})
}

// poison changes what lies in the table, but the key.
func (g *ground) poison(t *testing.T, change func(*fleet.Item)) {
	t.Helper()
	for _, item := range g.table.Items() {
		if !strings.HasPrefix(item.Name, "epoch") {
			change(&item)
			g.table.Put(item)
		}
	}
}

// TestPoison: what somebody else wrote is refused, counted, and overwritten by the
// next who works on it; never believed.
func TestPoison(t *testing.T) {
	flip := func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b }
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
			g := &ground{}
			f := g.fleet(nil)
			lease, _ := take(t, f)
			lease.Finish(t.Context(), fleet.Rest{Until: time.Now().Add(time.Minute), Value: []byte("good")})
			g.poison(t, change)
			lease, row := take(t, f)
			if lease == nil {
				t.Fatalf("%s: no lease", name)
			}
			if row.Value != nil && string(row.Value) != "good" {
				t.Errorf("%s: the value was believed", name)
			}
			if g.counted(fleet.CountRefused) == 0 {
				t.Errorf("%s: not counted", name)
			}
			lease.Finish(t.Context(), fleet.Rest{Until: time.Now().Add(time.Minute), Value: []byte("new")})
			if _, row := take(t, f); string(row.Value) != "new" {
				t.Errorf("%s: not overwritten", name)
			}
		})
	}
}

// TestSwappedRows: a row copied over another doesn't open there, so nobody who can
// write the table can blow another client's fuse or hand out another's token.
func TestSwappedRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &ground{}
		f := g.fleet(nil)
		for _, id := range []string{"a", "b"} {
			lease, _ := visit(t, f).Take(t.Context(), fleet.LogonRow, id)
			rest := fleet.Rest{Until: time.Now(), Value: []byte("of " + id)}
			if id == "a" {
				rest.Until, rest.Failures = time.Now().Add(10*time.Minute), 1
			}
			lease.Finish(t.Context(), rest)
		}
		var blown fleet.Item
		for _, item := range g.table.Items() {
			if item.Until > time.Now().UnixMilli() && !strings.HasPrefix(item.Name, "epoch") {
				blown = item
			}
		}
		g.poison(t, func(i *fleet.Item) { name := i.Name; *i = blown; i.Name = name })
		if lease, _ := visit(t, f).Take(t.Context(), fleet.LogonRow, "b"); lease == nil {
			t.Error("the fuse of b was blown with that of a")
		}
		if lease, row := visit(t, f).Take(t.Context(), fleet.LogonRow, "a"); lease != nil || row.Failures != 1 {
			t.Error("the fuse of a isn't blown any more")
		}
	})
}

// TestClocksDiffer by two minutes: nobody is held up by a lease of the future.
func TestClocksDiffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &ground{}
		ahead := g.fleet(func() time.Time { return time.Now().Add(2 * time.Minute) })
		if lease, _ := take(t, ahead); lease == nil {
			t.Fatal("no lease")
		}
		if lease, _ := take(t, g.fleet(nil)); lease == nil {
			t.Error("a lease of a clock that is ahead holds everybody up")
		}
		if g.counted(fleet.CountRefused) != 0 {
			t.Error("a clock that is ahead is no poison")
		}
	})
}

// TestSpoiledEpoch: rubbish in the key's place is replaced.
func TestSpoiledEpoch(t *testing.T) {
	for name, spoil := range map[string]func(*fleet.Item){
		"rubbish":        func(i *fleet.Item) { i.Value = []byte("rubbish") },
		"another's past": func(i *fleet.Item) { i.State = []byte("rubbish, but long enough to be one") },
		"lease for ever": func(i *fleet.Item) { i.Value, i.Until = nil, 1<<60 },
	} {
		synctest.Test(t, func(t *testing.T) {
			g := &ground{}
			visit(t, g.fleet(nil))
			for _, item := range g.table.Items() {
				spoil(&item)
				g.table.Put(item)
			}
			if lease, _ := take(t, g.fleet(nil)); lease == nil {
				t.Errorf("%s: the table is lost", name)
			}
		})
	}
}

// TestReadersLearnNothing: neither names nor contents stand in the table.
func TestReadersLearnNothing(t *testing.T) {
	g := &ground{}
	f := g.fleet(nil)
	lease, _ := visit(t, f).Take(t.Context(), fleet.TokenRow, "cnry-client cnry-scope")
	lease.Finish(t.Context(), fleet.Rest{Until: time.Now().Add(time.Minute), Failures: 1, Note: []byte("cnry-note"), Value: []byte("cnry-token")})
	for _, item := range g.table.Items() {
		for _, text := range []string{item.Name, item.Owner, string(item.State), string(item.Value)} {
			if strings.Contains(text, "cnry") {
				t.Errorf("the table says %q", text)
			}
		}
	}
}

// TestChange: many change one row, and nothing is lost.
func TestChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &ground{}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				f := g.fleet(nil)
				f.Open(t.Context())
				var last *fleet.Last
				for range 10 {
					var ok bool
					last, ok = visit(t, f).Change(t.Context(), fleet.ServerRow, "host", last, func(note []byte) []byte {
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
		visit(t, g.fleet(nil)).Change(t.Context(), fleet.ServerRow, "host", nil, func(note []byte) []byte {
			n = len(note)
			return note
		})
		if n != 80 {
			t.Errorf("%d changes are there, want 80", n)
		}
		g.poison(t, func(i *fleet.Item) { i.State = []byte("poison") })
		visit(t, g.fleet(nil)).Change(t.Context(), fleet.ServerRow, "host", nil, func(note []byte) []byte {
			if note != nil {
				t.Error("poison was believed")
			}
			return nil
		})
	})
}

// TestWithoutTable: everything is free, nothing is kept, nobody panics.
func TestWithoutTable(t *testing.T) {
	var f *fleet.Fleet
	f.Open(t.Context())
	v := f.Visit(t.Context())
	lease, row := v.Take(t.Context(), fleet.TokenRow, "a")
	if v != nil || lease != nil || row != nil || !lease.Renew(t.Context()) {
		t.Error("there is something")
	}
	lease.Finish(context.Background(), fleet.Rest{})
	if _, ok := v.Change(t.Context(), fleet.ServerRow, "a", nil, nil); ok {
		t.Error("there is something")
	}
}
