package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"time"
)

const (
	// leaseTime fits one attempt of an exchange (5 s) and a second, with slack.
	leaseTime = 8 * time.Second
	// maxLease is how far ahead the end of a lease is believed: the clocks of two
	// environments may differ, and the lease of one whose clock is ahead must not
	// hold everybody else up.
	maxLease = 10 * time.Second
	// maxRest is how far ahead the end of a rest is believed; no token lives
	// longer. maxPause is that of a rest after a failure, maxLongPause after several.
	maxRest      = 24 * time.Hour
	maxPause     = 10*time.Minute + clockSlack + time.Minute
	maxLongPause = 4*time.Hour + clockSlack + time.Minute
	// keptAfter is how long a row is kept after its end, for clocks that differ.
	keptAfter = time.Hour
)

// Kind keeps rows of different things apart.
type Kind byte

// The kinds.
const (
	// TokenRow: one token; its work is the exchange.
	TokenRow Kind = iota + 1
	// LogonRow: one version of one client's credential. Whoever holds its lease
	// may log on with it; while it rests after a failure, nobody may.
	LogonRow
	// ServerRow: one authorization server.
	ServerRow
	// JobRow: one thing that is to be done once for all, however often it is asked for.
	JobRow
)

// Rest is how a row is left when the work on it is done.
type Rest struct {
	// Until is when the row is free again.
	Until time.Time
	// Failures is how often in a row the work failed; 0: it succeeded.
	Failures int
	// Note says what failed, in the words of whoever uses the kind.
	Note []byte
	// Value is the result; nil: the row's is kept.
	Value []byte
	// Keep is how long the value is of use; zero: Until.
	Keep time.Time
}

// Row is what a row says.
type Row struct {
	// Leased: another environment works on it.
	Leased bool
	// Until is when its lease or its rest ends.
	Until time.Time
	// Failures and Note are those of [Rest].
	Failures int
	Note     []byte
	// Value is the result of the last work that had one; nil: there is none.
	Value []byte

	item *Item
	// foreign: this deployment did not write it. refused: nor is it so old that we can't
	// know; or its value is not ours.
	foreign, refused bool
}

// state is what a row's State holds, sealed. Until and Owner stand beside it in
// the open, because DynamoDB must compare them.
type state struct {
	Until    int64  `json:"until"`
	Owner    string `json:"owner,omitempty"`
	Failures int    `json:"failures,omitempty"`
	Note     []byte `json:"note,omitempty"`
	// Digest is the SHA-256 of the row's Value as it lies there, so that an older
	// one can't be put in its place; nil while the row is leased, because whoever
	// takes the lease doesn't know the value yet.
	Digest []byte `json:"digest,omitempty"`
}

// Lease is the right to work on a row, until End. A nil *Lease is one without a
// table: there is nothing to keep.
type Lease struct {
	v     *Visit
	name  string
	owner string
	// End is when another environment may take over.
	End time.Time
	// Failures is how often in a row the work failed before.
	Failures int
	// doubtful: the table didn't say whether it gave the lease, or prolonged it.
	doubtful bool
}

// Take takes the lease of the row of that kind for id, if it is free. Else lease
// is nil and row says why. A row that was not made by this deployment counts as
// free. When the table does not answer, row is nil, and lease is one that may have
// been given: whoever has it works as if there were no table, and finishes it, so
// that the others need not wait for its end.
func (v *Visit) Take(ctx context.Context, kind Kind, id string) (lease *Lease, row *Row) {
	if v == nil {
		return nil, nil
	}
	name := v.seal.Load().name(kind, id)
	now := v.f.wall()
	lease, old, answered := v.lease(ctx, name, Condition{FreeAt: now.UnixMilli()})
	if !answered {
		return lease, nil
	}
	row, sound := v.read(name, old, now)
	if lease == nil && row.foreign && v.follow(ctx) {
		return v.Take(ctx, kind, id)
	}
	v.report(row)
	if lease == nil && !sound {
		// Whoever spoils rows faster than they are repaired costs us the table, no
		// more.
		if lease, row, sound = v.seize(ctx, row); !sound {
			return lease, nil
		}
	}
	if lease != nil {
		lease.Failures = row.Failures
	}
	return lease, row
}

// Seize takes the lease of a row that is not free, if nothing about it changed
// since it was read: for one whose value is of no use to the caller. It returns
// what [Visit.Take] does.
func (v *Visit) Seize(ctx context.Context, row *Row) (*Lease, *Row) {
	lease, there, sound := v.seize(ctx, row)
	if !sound {
		return lease, nil
	}
	return lease, there
}

// seize also says whether the row, if it could not be taken, is one of ours.
func (v *Visit) seize(ctx context.Context, row *Row) (lease *Lease, there *Row, sound bool) {
	condition := Condition{Like: row.item}
	if row.foreign {
		condition = Condition{Any: true} // it may not even have attributes of our types
	}
	lease, old, answered := v.lease(ctx, row.item.Name, condition)
	if !answered {
		return lease, nil, false
	}
	if lease != nil {
		lease.Failures = row.Failures
		return lease, row, true
	}
	there, sound = v.read(row.item.Name, old, v.f.wall())
	v.report(there)
	return nil, there, sound
}

// report counts a row that is refused.
func (v *Visit) report(row *Row) {
	if row.refused {
		v.f.count(CountRefused)
	}
}

// lease is one conditional write.
func (v *Visit) lease(ctx context.Context, name string, condition Condition) (lease *Lease, old *Item, answered bool) {
	lease = &Lease{v: v, name: name, owner: rand.Text(), End: v.f.wall().Add(leaseTime)}
	ok := false
	answered, sent := v.call(ctx, false, func(ctx context.Context) (err error) {
		old, ok, err = v.f.table.Update(ctx, v.item(name, state{Until: lease.End.UnixMilli(), Owner: lease.owner}, lease.End), condition)
		return err
	})
	lease.doubtful = !answered
	if answered && !ok || !sent {
		lease = nil
	}
	return lease, old, answered
}

// item seals s.
func (v *Visit) item(name string, s state, keep time.Time) Item {
	plain, err := json.Marshal(s)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return Item{
		Name: name, Until: s.Until, Owner: s.Owner,
		State:     v.seal.Load().close(name, placeState, plain),
		ExpiresAt: keep.Add(keptAfter).Unix(),
	}
}

// read opens what the table has (nil: nothing). It is sound if it was made by this
// deployment for this row and says something that can be.
func (v *Visit) read(name string, item *Item, now time.Time) (row *Row, sound bool) {
	if item == nil || item.Name == "" {
		return &Row{item: &Item{}}, true
	}
	row = &Row{item: item}
	var s state
	plain, ok := v.seal.Load().open(name, placeState, item.State)
	sound = ok && json.Unmarshal(plain, &s) == nil && s.Until == item.Until && s.Owner == item.Owner
	if row.foreign = !sound; sound {
		row.Leased, row.Until, row.Failures, row.Note = s.Owner != "", time.UnixMilli(s.Until), s.Failures, s.Note
	}
	if len(item.Value) > 0 {
		row.Value, ok = v.seal.Load().open(name, placeValue, item.Value)
		if sum := sha256.Sum256(item.Value); ok && s.Digest != nil && !bytes.Equal(s.Digest, sum[:]) {
			row.Value, ok = nil, false
		}
		// Whoever works on the row will replace it.
		sound = sound && (ok || row.Leased)
	} else {
		ok = true
	}
	row.refused = (!sound || !ok) && item.Until >= v.seal.Load().oldest()
	// What is too far ahead isn't rubbish, but from a clock that is.
	longest := maxRest
	switch {
	case row.Leased:
		longest = maxLease
	case row.Failures == 1:
		longest = maxPause
	case row.Failures > 1:
		longest = maxLongPause
	}
	return row, sound && row.Until.Sub(now) <= longest
}

// Renew prolongs the lease; false: it is lost, or may be. From then on whoever takes the
// lease over knows of the failures before, which taking it wiped out.
func (l *Lease) Renew(ctx context.Context) bool {
	if l == nil {
		return true
	}
	end := l.v.f.wall().Add(leaseTime)
	ok := l.write(ctx, l.v.item(l.name, state{Until: end.UnixMilli(), Owner: l.owner, Failures: l.Failures}, end))
	if ok {
		l.End = end
	}
	l.doubtful = !ok
	return ok
}

// Finish ends the lease and leaves the row as rest says; false: perhaps not. It writes
// nothing when the lease is over: another environment may hold it, and this one may have
// been frozen for hours.
func (l *Lease) Finish(ctx context.Context, rest Rest) (ok bool) {
	if l == nil {
		return false
	}
	keep := rest.Until
	if rest.Keep.After(keep) {
		keep = rest.Keep
	}
	s := state{Until: rest.Until.UnixMilli(), Failures: rest.Failures, Note: rest.Note}
	var value []byte
	if rest.Value != nil {
		value = l.v.seal.Load().close(l.name, placeValue, rest.Value)
		sum := sha256.Sum256(value)
		s.Digest = sum[:]
	}
	item := l.v.item(l.name, s, keep)
	item.Value = value
	return l.write(ctx, item)
}

// write writes only if the lease still holds.
func (l *Lease) write(ctx context.Context, item Item) (ok bool) {
	mine := Condition{OwnedBy: l.owner, OwnedAt: l.v.f.wall().UnixMilli()}
	l.v.call(ctx, true, func(ctx context.Context) (err error) {
		_, ok, err = l.v.f.table.Update(ctx, item, mine)
		return err
	})
	return ok
}

// Held reports whether the lease is known to be ours.
func (l *Lease) Held() bool { return l != nil && !l.doubtful }

// Last is a row as [Visit.Change] left it.
type Last struct{ item *Item }

// Change replaces the note of a row that needs no lease, as change makes it of the
// present one (nil: none). last, as it was returned before, saves a call if nobody
// else changed the row since; nil is fine. False: the table could not be used, or has
// more important things to do.
func (v *Visit) Change(ctx context.Context, kind Kind, id string, last *Last, change func(note []byte) []byte) (*Last, bool) {
	if v == nil {
		return nil, false
	}
	name := v.seal.Load().name(kind, id)
	there := &Item{}
	if last != nil && last.item.Name == name {
		there = last.item
	}
	for v.spare() {
		row, _ := v.read(name, there, v.f.wall())
		v.report(row)
		condition := Condition{Like: there}
		if row.foreign {
			condition = Condition{Any: true}
		}
		item := v.item(name, state{Until: 1, Note: change(row.Note)}, v.f.wall())
		var old *Item
		ok := false
		answered, _ := v.call(ctx, false, func(ctx context.Context) (err error) {
			old, ok, err = v.f.table.Update(ctx, item, condition)
			return err
		})
		if !answered {
			return nil, false
		}
		if ok {
			return &Last{&item}, true
		}
		if there = old; there == nil {
			there = &Item{}
		}
	}
	return nil, false
}
