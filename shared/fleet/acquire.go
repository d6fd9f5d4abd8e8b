package fleet

import (
	"context"
	"crypto/rand"
	"time"
)

const (
	// firstPoll is the first pause between two looks at a row that another environment
	// works on, doubling to longPoll; each is jittered down to half. With the first read that
	// is three reads in the first second, which DynamoDB bears from as many environments as
	// Lambda starts at once, 1000.
	firstPoll = 250 * time.Millisecond
	longPoll  = time.Second
	// notePoll is firstPoll for a caller that has [Want].Current, whose work is one short call.
	notePoll = 25 * time.Millisecond
	// confirmTime is what a lease must have left for Confirm to do without a call.
	confirmTime = 5 * time.Second
	// tableErrors is how often the table may fail while an environment waits for
	// another one, before it works alone.
	tableErrors = 2
)

// State is what [Session.Acquire] found.
type State int

// The states.
const (
	// Alone: the table cannot be used, or the wait was over without a result. The caller
	// does the work as if there were no table, and finishes the Lease, which may have been
	// given all the same, or be nil.
	Alone State = iota
	// Acquired: the caller has the Lease and does the work for all environments.
	Acquired
	// Done: the row has a result that Want accepts.
	Done
	// Failed: the work failed, and is not to be tried again before Row.Until.
	Failed
	// Busy: another environment works on the row, and Want.Cached says not to wait, or
	// Want.Patience is over.
	Busy
)

// Want says which result a caller takes instead of the lease. The zero value takes any.
type Want struct {
	// Accept reports whether a value will do, be it of a finished row or of a leased one
	// whose work is under way; nil: any finished row will.
	Accept func(value []byte) bool
	// Current replaces Accept where the note of a finished row tells whether its result will do,
	// so that a caller need not read a value that it has; nil: Accept decides. Such a row is read
	// before its lease is asked for: most callers find what they want, and a write costs as much
	// as some reads.
	Current func(note []byte) bool
	// Cached means that the caller has something to go on with, so that it does not wait.
	Cached bool
	// Reserve is how much time the caller needs after the wait. If ctx has less left, the
	// caller works alone.
	Reserve time.Duration
	// Waiting is called before each pause; nil: nothing is.
	Waiting func()
	// Patience is how long the caller waits at most; it then gets [Busy]. Zero: until the end
	// of ctx.
	Patience time.Duration
	// RetryPatience replaces Patience for work that failed before, if it is not zero.
	RetryPatience time.Duration
	// Retry reports whether a failure with this note is of no concern to the caller; nil: it
	// is.
	Retry func(note []byte) bool
}

// Acquisition is the answer of [Session.Acquire].
type Acquisition struct {
	State State
	// Lease is set if State is Acquired, and may be if it is Alone.
	Lease *Lease
	// Row is the row as it was read; the zero value if State is Alone.
	Row Row

	s *Session
}

// Value returns the result of the last work on the row that had one; nil: there is none, or
// the table did not answer.
func (a *Acquisition) Value(ctx context.Context) []byte {
	if a.s == nil {
		return nil
	}
	return a.s.value(ctx, &a.Row)
}

// Acquire takes the lease of the row of that kind for id, or returns what another
// environment did about it. It waits while another environment works on the row, as want
// says. A row that was not made by this deployment counts as free.
func (s *Session) Acquire(ctx context.Context, kind Kind, id string, want Want) Acquisition {
	if s == nil {
		return Acquisition{}
	}
	a := acquirer{s: s, kind: kind, id: id, name: s.name(kind, id), want: want, poll: firstPoll, begun: s.f.now()}
	begin := a.take
	if want.Current != nil {
		a.poll = notePoll
	}
	if kind == TokenRow || want.Current != nil {
		// Of many environments one gets the lease. A write that fails costs five times as much as
		// a read, and an item bears a third as many.
		begin = a.read
	}
	lease, row := begin(ctx)
	for {
		if answer, ok := a.decide(ctx, lease, row); ok {
			return answer
		}
		if !a.pause(ctx) {
			return Acquisition{}
		}
		lease, row = a.read(ctx)
	}
}

// acquirer is one call of Acquire.
type acquirer struct {
	s        *Session
	kind     Kind
	id, name string
	want     Want
	poll     time.Duration
	waited   bool
	begun    time.Time
	errors   int // of the table since the wait began
	// unusable is the pointer to a value that the caller did not take; it gets no better,
	// and a value takes more capacity to read than a row.
	unusable string
}

// decide returns the answer to what was read; false: the caller has to wait. row is nil
// if the table did not answer.
func (a *acquirer) decide(ctx context.Context, lease *Lease, row *Row) (Acquisition, bool) {
	if row == nil {
		if a.errors++; !a.waited || a.errors > tableErrors {
			return Acquisition{Lease: lease}, true
		}
		lease.Release(ctx)
		return Acquisition{}, false
	}
	switch {
	case lease != nil:
		return a.acquired(ctx, lease, row), true
	case a.accepts(ctx, row):
		return Acquisition{State: Done, Row: *row, s: a.s}, true
	case a.failed(row):
		return Acquisition{State: Failed, Row: *row, s: a.s}, true
	case row.Leased && a.impatient(row):
		return Acquisition{State: Busy, Row: *row, s: a.s}, true
	case row.Leased:
		return Acquisition{}, false
	}
	// The row is finished, but with a result that is of no use here.
	if lease, row = a.seize(ctx, row); lease != nil && row != nil {
		return a.acquired(ctx, lease, row), true
	}
	return a.decide(ctx, lease, row)
}

// acquired returns the answer with a lease. If the table lost the row before the end of what
// it guarded, acquired writes it back instead.
func (a *acquirer) acquired(ctx context.Context, lease *Lease, row *Row) Acquisition {
	answer := Acquisition{State: Acquired, Lease: lease, Row: *row, s: a.s}
	if !row.lost {
		return answer
	}
	was, active := a.s.guarded(a.name)
	if lease.Failures = max(lease.Failures, was.Failures); active {
		lease.Finish(ctx, Result{Until: was.Until, Failures: was.Failures, Note: was.Note, Keep: was.kept()})
		answer = Acquisition{State: Failed, Row: *was, s: a.s}
	}
	return answer
}

// Guard writes a row back that kept work from being tried, as this environment saw, if the
// table has lost it before its end. It costs one call of the table.
func (s *Session) Guard(ctx context.Context, kind Kind, id string) {
	if s == nil {
		return
	}
	if _, active := s.guarded(s.name(kind, id)); !active {
		return
	}
	if a := s.Acquire(ctx, kind, id, Want{Cached: true}); a.State == Acquired {
		a.Lease.Release(ctx)
	}
}

// failed reports whether the work on a row failed, in a way that concerns the caller.
func (a *acquirer) failed(row *Row) bool {
	return !row.Leased && row.Failures > 0 && (a.want.Retry == nil || !a.want.Retry(row.Note))
}

// impatient reports whether the caller does not wait (any longer) for the work on a row.
func (a *acquirer) impatient(row *Row) bool {
	patience := a.want.Patience
	if row.Failures > 0 && a.want.RetryPatience > 0 {
		patience = a.want.RetryPatience
	}
	return a.want.Cached || patience > 0 && a.s.f.now().Sub(a.begun) >= patience
}

// accepts reports whether the caller takes the row's result.
func (a *acquirer) accepts(ctx context.Context, row *Row) bool {
	succeeded := !row.Leased && row.Failures == 0
	switch {
	case a.want.Current != nil:
		return succeeded && a.want.Current(row.Note)
	case a.want.Accept == nil:
		return succeeded
	}
	if row.pointer == "" || row.pointer == a.unusable {
		return false
	}
	value := a.s.value(ctx, row)
	if value == nil {
		return false
	}
	if a.want.Accept(value) {
		return true
	}
	a.unusable = row.pointer
	return false
}

// value reads the value of a row; nil: there is none that can be read.
func (s *Session) value(ctx context.Context, row *Row) []byte {
	if row.pointer == "" {
		return nil
	}
	if item, _ := s.get(ctx, loading, row.pointer); item != nil {
		return openValue(s.seal.Load(), item, s.f.count)
	}
	return nil
}

// pause waits before the next look. It returns false if the caller has to go on alone.
func (a *acquirer) pause(ctx context.Context) bool {
	a.waited = true
	if end, ok := ctx.Deadline(); ok && time.Until(end) < a.want.Reserve {
		return false
	}
	if a.want.Waiting != nil {
		a.want.Waiting()
	}
	d := a.s.jitter(a.poll)
	if a.want.Current != nil && a.want.Patience > 0 {
		d = min(d, max(a.want.Patience-a.s.f.now().Sub(a.begun), notePoll/2)) // its own work may take less than a poll
	}
	a.poll = min(2*a.poll, longPoll)
	return a.s.Wait(ctx, d)
}

// read reads the row without writing it, and takes the lease only if the row is free now:
// a conditional write costs the table more than a read, also if it fails.
func (a *acquirer) read(ctx context.Context) (*Lease, *Row) {
	item, answered := a.s.get(ctx, loading, a.name)
	if !answered {
		return nil, nil
	}
	now := a.s.f.now()
	row, sound := a.s.open(a.kind, a.name, item)
	if sound && item != nil && now.Before(row.Until) {
		return nil, row
	}
	return a.take(ctx)
}

// take takes the lease if the row is free. Else lease is nil and row says why. If the table
// does not answer, row is nil, and the lease may have been given all the same.
func (a *acquirer) take(ctx context.Context) (*Lease, *Row) {
	a.name = a.s.name(a.kind, a.id)
	lease, row, sound := a.write(ctx, free(a.s.f.now()))
	if row == nil {
		return lease, nil
	}
	if lease == nil && row.foreign && a.s.follow(ctx) {
		return a.take(ctx)
	}
	row.report(a.s.f.count)
	if lease == nil && !sound {
		return a.seize(ctx, row)
	}
	return lease.after(row), row
}

// seize takes the lease of a row that is not free, if nothing about it changed since it was
// read: of a row that is foreign, or whose result is of no use to the caller. It returns
// what take does. If rows are damaged faster than they are repaired, the answer is that the
// table did not answer, so that the caller goes on without it.
func (a *acquirer) seize(ctx context.Context, row *Row) (*Lease, *Row) {
	lease, latest, sound := a.write(ctx, row.like())
	if latest == nil || lease != nil {
		return lease.after(row), latest
	}
	if latest.report(a.s.f.count); !sound {
		return nil, nil
	}
	return nil, latest
}

// write asks for the lease, and returns the row as it was before; nil: the table did not
// answer.
func (a *acquirer) write(ctx context.Context, condition Condition) (lease *Lease, row *Row, sound bool) {
	now := a.s.f.now()
	lease = &Lease{s: a.s, kind: a.kind, id: a.id, name: a.name, owner: rand.Text(), End: now.Add(leaseTime)}
	leased := a.s.sealed(a.kind, a.name, state{Until: lease.End.UnixMilli(), Owner: lease.owner}, nil, lease.End)
	old, ok, answered, sent := a.s.update(ctx, loading, leased, condition)
	if lease.doubtful = !answered; answered && !ok || !sent {
		lease = nil
	}
	if answered {
		row, sound = a.s.open(a.kind, a.name, old)
	}
	return lease, row, sound
}

// Confirm is called before an effect that cannot be undone. It returns false if another
// environment has taken over the work. A lease that ended does not count as lost while no
// other environment has it.
func (l *Lease) Confirm(ctx context.Context) bool {
	switch {
	case l == nil || l.lost:
		return l == nil
	case l.doubtful, l.s.f.now().Before(l.End.Add(-confirmTime)), l.Renew(ctx):
		return true
	case l.Renew(ctx):
		return true // the answer to the first call was lost, and the row is leased to us
	}
	a := l.s.f.Session(ctx).Acquire(ctx, l.kind, l.id, Want{Cached: true})
	if l.lost = a.State != Acquired && a.State != Alone; l.lost {
		return false
	}
	if a.Lease != nil {
		*l = *a.Lease
	}
	return true
}
