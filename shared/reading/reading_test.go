package reading_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/reading"
	"tokenvendor/shared/secret"
)

// env is a table, and a Secrets Manager that takes 15 ms for a secret.
type env struct {
	*testing.T
	table fleettest.Table
	keys  fleettest.Keys

	mu     sync.Mutex
	text   []byte         // guarded by mu
	err    error          // guarded by mu
	reads  int            // guarded by mu
	hang   bool           // the next read does not return; guarded by mu
	counts map[string]int // guarded by mu
}

// run runs a test in a bubble, an hour after midnight.
func run(t *testing.T, test func(t *testing.T, e *env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		test(t, &env{T: t, text: []byte("one"), counts: make(map[string]int)})
	})
}

// ReadSecret implements [secret.Reader].
func (e *env) ReadSecret(ctx context.Context, _ string, _ secret.Want) (secret.Secret, error) {
	e.mu.Lock()
	e.reads++
	text, err, hang := e.text, e.err, e.hang
	e.hang = false
	e.mu.Unlock()
	if time.Sleep(15 * time.Millisecond); hang {
		<-ctx.Done()
		return secret.Secret{}, ctx.Err()
	}
	if err != nil {
		return secret.Secret{}, err
	}
	return secret.Secret{Text: text, Version: fmt.Sprintf("version %x", sha256.Sum256(text)), Created: time.Unix(1, 0)}, nil
}

// put stores another text, or the error of reading it.
func (e *env) put(text string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.text, e.err = []byte(text), err
}

func (e *env) count(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts[name]++
}

func (e *env) counted(name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts[name]
}

func (e *env) wantReads(want int) {
	e.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.reads != want {
		e.Errorf("got %d reads of the secret, want %d", e.reads, want)
	}
}

// environment starts an environment whose clock is ahead.
func (e *env) environment(ahead time.Duration) *reading.Reader {
	now := func() time.Time { return time.Now().Add(ahead) }
	f := fleet.New(fleet.Config{Table: &e.table, Keys: &e.keys, Count: e.count, Now: now})
	f.Open(e.Context())
	return reading.New(reading.Config{Secrets: e, Fleet: f, Count: e.count, Now: now})
}

// recent takes any reading that an environment may use.
var recent = secret.Want{MaxAge: 5 * time.Minute}

// read reads the secret, which must be found with that text.
func (e *env) read(r *reading.Reader, want secret.Want, text string) secret.Secret {
	e.Helper()
	s, err := r.ReadSecret(e.Context(), "billing", want)
	if err != nil || string(s.Text) != text {
		e.Errorf("got %q and error %v, want %q", s.Text, err, text)
	}
	return s
}

// all reads the secret in n environments at once, and returns how long that took.
func (e *env) all(n int, want secret.Want) time.Duration {
	readers := make([]*reading.Reader, n)
	for i := range readers {
		readers[i] = e.environment(0)
	}
	start := time.Now()
	var all sync.WaitGroup
	for _, r := range readers {
		all.Go(func() { _, _ = r.ReadSecret(e.Context(), "billing", want) })
	}
	all.Wait()
	return time.Since(start)
}

// An environment that waits does so little longer than the read takes.
func TestOneReadsForAll(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		if took := e.all(20, recent); took > 80*time.Millisecond {
			t.Errorf("took %v, want little more than the 15 ms of a read", took)
		}
		e.wantReads(1)
		if n := e.counted(fleet.CountRefused) + e.counted(fleet.CountFailed) + e.counted(fleet.CountLost); n != 0 {
			t.Errorf("counted %v", e.counts)
		}
	})
}

// The table is called once by an environment that knows the text, twice by another, and is not
// written by either.
func TestReceiverReadsRowAndValueOnly(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		first := e.read(e.environment(0), recent, "one")
		r := e.environment(0)
		for _, test := range []struct {
			name  string
			known secret.Identity
			text  string
			calls int
		}{
			{"nothing", secret.Identity{}, "one", 2},
			{"the same", first.Identity(), "", 1},
			{"another version", secret.Identity{Version: "old", Digest: first.Identity().Digest}, "one", 2},
			{"another text", secret.Identity{Version: first.Version}, "one", 2},
		} {
			calls, updates := e.table.Calls(), e.table.Updates()
			got := e.read(r, secret.Want{MaxAge: recent.MaxAge, Known: test.known}, test.text)
			if calls, updates := e.table.Calls()-calls, e.table.Updates()-updates; calls != test.calls || updates != 0 {
				t.Errorf("who knows %s: got %d calls with %d writes, want %d and none", test.name, calls, updates, test.calls)
			}
			if got.Version != first.Version || !got.Created.Equal(first.Created) || !got.Read.Equal(first.Read) || !got.Shared || first.Shared {
				t.Errorf("who knows %s: got version %s of %v, read at %v, want what %+v says", test.name, got.Version, got.Created, got.Read, first)
			}
		}
		e.wantReads(1)
	})
}

// The age of a reading counts from when it began, for whoever learns of it when.
func TestAgeCountsFromReading(t *testing.T) {
	for _, maxAge := range []time.Duration{time.Minute, 4*time.Minute + 12*time.Second, 5 * time.Minute, time.Hour} {
		run(t, func(t *testing.T, e *env) {
			want := secret.Want{MaxAge: maxAge}
			first := e.read(e.environment(0), want, "one")
			end := first.Read.Add(min(maxAge, 5*time.Minute))
			time.Sleep(time.Until(end) - time.Millisecond)
			if got := e.read(e.environment(0), want, "one"); !got.Read.Equal(first.Read) {
				t.Errorf("got a reading of %v, want that of %v", got.Read, first.Read)
			}
			e.wantReads(1)
			time.Sleep(time.Millisecond)
			e.read(e.environment(0), want, "one")
			e.wantReads(2)
		})
	}
}

// A reading that is asked for now is shared, so that the others learn of a change.
func TestReadingMadeNowIsShared(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		one, two := e.environment(0), e.environment(0)
		known := e.read(one, recent, "one").Identity()
		e.put("two", nil)
		e.read(two, secret.Want{MaxAge: recent.MaxAge, Known: known}, "") // it cannot know
		e.read(two, secret.Want{}, "two")
		e.read(one, secret.Want{MaxAge: recent.MaxAge, Known: known}, "two")
		e.wantReads(2)
	})
}

// A failure is found out by each environment, and ends what the table has of the secret if nobody
// may read it any more. None waits for another one's failure.
func TestFailedReadingIsNotShared(t *testing.T) {
	for _, failure := range []error{secret.ErrNotFound, secret.ErrDenied, secret.ErrUnavailable} {
		run(t, func(t *testing.T, e *env) {
			e.read(e.environment(0), recent, "one")
			time.Sleep(5 * time.Minute)
			e.put("one", failure)
			if took := e.all(10, recent); took > 100*time.Millisecond {
				t.Errorf("%v: took %v, want little more than the 15 ms of two reads", failure, took)
			}
			e.wantReads(11)
			time.Sleep(time.Second)
			if s, err := e.environment(0).ReadSecret(t.Context(), "billing", recent); err != failure || s.Text != nil {
				t.Errorf("got %q and error %v, want %v", s.Text, err, failure)
			}
			e.put("two", nil)
			time.Sleep(time.Second)
			e.read(e.environment(0), recent, "two")
			e.read(e.environment(0), recent, "two")
			e.wantReads(13)
		})
	}
}

// A secret that was deleted or may not be read any more is overwritten in the table. After any
// other failure, a reading that is not too old stays there.
func TestFailureOfReadingMadeNow(t *testing.T) {
	for _, test := range []struct {
		failure error
		kept    bool
	}{{secret.ErrNotFound, false}, {secret.ErrDenied, false}, {secret.ErrUnavailable, true}} {
		run(t, func(t *testing.T, e *env) {
			e.put(strings.Repeat("x", 4000), nil)
			r := e.environment(0)
			e.read(r, recent, string(e.text))
			e.put(string(e.text), test.failure)
			if _, err := r.ReadSecret(t.Context(), "billing", secret.Want{}); err != test.failure {
				t.Errorf("got error %v, want %v", err, test.failure)
			}
			_, err := e.environment(0).ReadSecret(t.Context(), "billing", recent)
			if kept := err == nil; kept != test.kept {
				t.Errorf("%v: got a reading %t, want %t", test.failure, kept, test.kept)
			}
			for _, item := range e.table.Items() {
				if large := len(item.Value) > 4000; large && !test.kept {
					t.Errorf("%v: the table still has the text", test.failure)
				}
			}
		})
	}
}

// The environment that reads for all is killed. Others wait a little for it, and once its lease
// has ended one reads for all again.
func TestKilledReaderDelaysOthersLittle(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		e.hang = true
		dying, kill := context.WithCancel(t.Context())
		killed := e.environment(0)
		var gone sync.WaitGroup
		gone.Go(func() { _, _ = killed.ReadSecret(dying, "billing", recent) })
		time.Sleep(10 * time.Millisecond)
		if took := e.all(5, recent); took > 1100*time.Millisecond {
			t.Errorf("took %v, want a second", took)
		}
		e.wantReads(6)
		if took := e.all(1, secret.Want{}); took > 20*time.Millisecond {
			t.Errorf("a read that is to be made now took %v, want 15 ms", took)
		}
		e.wantReads(7)
		time.Sleep(8 * time.Second)
		e.all(5, recent)
		e.wantReads(8)
		kill()
		gone.Wait()
	})
}

func TestReadingWithoutTable(t *testing.T) {
	for name, fault := range map[string]fleettest.Fault{"down": fleettest.Down, "hangs": fleettest.Hang} {
		run(t, func(t *testing.T, e *env) {
			r := e.environment(0)
			e.read(r, recent, "one")
			e.table.Misbehave(fault)
			for range 4 {
				start := time.Now()
				if s := e.read(r, recent, "one"); s.Shared || !s.Read.Equal(start) && s.Read.Before(start) {
					t.Errorf("%s: got %+v, want an own reading", name, s)
				}
				if took := time.Since(start); took > 200*time.Millisecond {
					t.Errorf("%s: took %v", name, took)
				}
			}
			e.wantReads(5)
			e.table.Misbehave(nil)
			time.Sleep(30 * time.Second)
			e.read(r, recent, "one")
			e.read(e.environment(0), recent, "one")
			e.wantReads(5) // the first reading still is in the table
		})
	}
	run(t, func(t *testing.T, e *env) {
		r := reading.New(reading.Config{Secrets: e, Now: time.Now})
		e.read(r, recent, "one")
		e.read(r, recent, "one")
		e.wantReads(2)
	})
}

// damage changes the rows of the table that hold no key: that of the reading, or that of the text.
func (e *env) damage(ofText bool, change func(*fleet.Item)) {
	for _, item := range e.table.Items() {
		// The census is a row with a state too, and gets damaged with the reading.
		if !strings.HasPrefix(item.Name, "epoch") && (item.State == nil) == ofText {
			change(&item)
			e.table.Put(item)
		}
	}
}

func flip(b []byte) []byte {
	if b = bytes.Clone(b); len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	return b
}

// A row that this deployment did not write is counted, and replaced by the environment that finds it.
func TestDamagedReadingIsIgnored(t *testing.T) {
	for name, damage := range map[string]func(*env){
		"state":        func(e *env) { e.damage(false, func(i *fleet.Item) { i.State = flip(i.State) }) },
		"pointer":      func(e *env) { e.damage(false, func(i *fleet.Item) { i.Value = flip(i.Value) }) },
		"text":         func(e *env) { e.damage(true, func(i *fleet.Item) { i.Value = flip(i.Value) }) },
		"text is gone": func(e *env) { e.damage(true, func(i *fleet.Item) { i.Value = nil }) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, e *env) {
				e.read(e.environment(0), recent, "one")
				damage(e)
				e.read(e.environment(0), recent, "one")
				e.wantReads(2)
				if e.counted(fleet.CountRefused) == 0 {
					t.Error("not counted")
				}
				e.all(5, recent)
				e.wantReads(2)
			})
		})
	}
}

// An attacker who can write the table restores the text of an older version, or gives a secret the
// rows of another one.
func TestReplacedTextIsIgnored(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		e.read(e.environment(0), recent, "one")
		old := e.table.Items()
		e.put("two", nil)
		e.read(e.environment(0), secret.Want{}, "two")
		for _, item := range old {
			if item.State == nil {
				e.table.Put(item)
			}
		}
		e.read(e.environment(0), recent, "two")
		e.wantReads(3)
		if n := e.counted(fleet.CountRefused); n != 1 {
			t.Errorf("counted %d, want 1", n)
		}
		if s, err := e.environment(0).ReadSecret(t.Context(), "other", recent); err != nil || s.Shared {
			t.Errorf("got %+v, %v, want an own reading of another secret", s, err)
		}
	})
}

// A reading from the future is not used, because its age is not known.
func TestReadingOfSkewedClock(t *testing.T) {
	for _, test := range []struct {
		ahead, later time.Duration
		shared       bool
	}{
		{4 * time.Second, 0, true},
		{6 * time.Second, 0, false},
		{10 * time.Minute, 0, false},
		{10 * time.Minute, 4 * time.Minute, false},
		{-3 * time.Minute, time.Minute, true},
		{-3 * time.Minute, 2 * time.Minute, false},
	} {
		run(t, func(t *testing.T, e *env) {
			e.read(e.environment(test.ahead), recent, "one")
			time.Sleep(test.later)
			now := time.Now()
			if s := e.read(e.environment(0), recent, "one"); s.Shared != test.shared || s.Read.After(now) {
				t.Errorf("ahead by %v and %v later: got shared %t, read in %v, want shared %t, and not in the future", test.ahead, test.later, s.Shared, s.Read.Sub(now), test.shared)
			}
		})
	}
}

// A secret that is to be read now is read, also if the last reading is from a clock that is ahead.
func TestReadingMadeNowIgnoresReadingFromFuture(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		e.read(e.environment(time.Second), recent, "one")
		e.put("two", nil)
		e.read(e.environment(0), secret.Want{}, "two")
		e.wantReads(2)
	})
}

// The largest secret takes one row, which is kept for minutes, and no row shows anything of it.
func TestLargestSecretInTable(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		text := strings.Repeat("0123456789abcdef", 4<<10)
		e.put(text, nil)
		e.read(e.environment(0), recent, text)
		e.read(e.environment(0), recent, text)
		e.put(text[:len(text)-1]+"x", nil)
		e.read(e.environment(0), secret.Want{}, text[:len(text)-1]+"x")
		e.wantReads(2)
		large := 0
		for _, item := range e.table.Items() {
			if strings.HasPrefix(item.Name, "epoch") {
				continue
			}
			if len(item.Value) > len(text) {
				large++
				if left := time.Until(time.Unix(item.ExpiresAt, 0)); left > 10*time.Minute {
					t.Errorf("the text is kept for %v, want at most 10 minutes", left)
				}
			}
			if bytes.Contains(append(item.State, item.Value...), []byte(text[:16])) || strings.Contains(item.Name, "billing") {
				t.Errorf("the row %s shows the secret or its name", item.Name)
			}
		}
		if large != 1 {
			t.Errorf("the table has the text %d times, want once", large)
		}
	})
}

// A reading from before midnight, when the table's key changes, serves.
func TestReadingAtMidnight(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		time.Sleep(23*time.Hour - time.Minute)
		e.read(e.environment(0), recent, "one")
		time.Sleep(2 * time.Minute)
		e.read(e.environment(0), recent, "one")
		e.wantReads(1)
	})
}

// slowReads are reads whose answer takes longer than a lease.
type slowReads struct{ *env }

func (s slowReads) ReadSecret(ctx context.Context, name string, w secret.Want) (secret.Secret, error) {
	got, err := s.env.ReadSecret(ctx, name, w)
	time.Sleep(10 * time.Second)
	return got, err
}

// TestSlowReadReplacesNoNewerText: Another environment has taken over, and read a newer version.
func TestSlowReadReplacesNoNewerText(t *testing.T) {
	run(t, func(t *testing.T, e *env) {
		shared := fleet.New(fleet.Config{Table: &e.table, Keys: &e.keys, Count: e.count})
		shared.Open(e.Context())
		slow := reading.New(reading.Config{Secrets: slowReads{e}, Fleet: shared, Count: e.count, Now: time.Now})
		var all sync.WaitGroup
		all.Go(func() { _, _ = slow.ReadSecret(e.Context(), "billing", recent) })
		time.Sleep(time.Second)
		e.put("two", nil)
		time.Sleep(8 * time.Second)
		e.read(e.environment(0), recent, "two")
		all.Wait()
		e.read(e.environment(0), recent, "two")
		e.wantReads(2)
	})
}
