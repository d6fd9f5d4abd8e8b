package fleet

import (
	"context"
	"time"
)

const (
	// leaseTime fits one attempt of an exchange (5 s) and a second, with slack.
	leaseTime = 8 * time.Second
	// failureMemory is how long a released row keeps its count of failures.
	failureMemory = 24 * time.Hour
)

// Lease is the right to work on a row, until End. A nil *Lease is one without a table:
// there is nothing to keep.
type Lease struct {
	s     *Session
	kind  Kind
	id    string
	name  string
	owner string
	// End is when another environment may take over.
	End time.Time
	// Failures is how often in a row the work failed before.
	Failures int
	// doubtful means that the table did not say whether it gave the lease, or renewed it.
	doubtful bool
	// lost means that another environment has taken over.
	lost bool
	// kept is until when the table keeps the row, and generation that of its last state.
	kept       time.Time
	generation int64
}

// Result is how a row is left when the work on it is done.
type Result struct {
	// Until is when the row is free again.
	Until time.Time
	// Failures is how often in a row the work failed; 0: it succeeded.
	Failures int
	// Note says what failed, in an encoding of the kind's user.
	Note []byte
	// Value is the result; nil: the row's is kept.
	Value []byte
	// Keep is how long the row is of use; zero: Until.
	Keep time.Time
}

// Valid reports whether the lease is known to be held.
func (l *Lease) Valid() bool { return l != nil && !l.doubtful }

// Renew prolongs the lease. It returns false if the lease is lost, or may be. An
// environment that takes over afterwards knows of the failures before, which taking the
// lease had removed from the row.
func (l *Lease) Renew(ctx context.Context) bool {
	if l == nil {
		return true
	}
	end := l.s.f.now().Add(leaseTime)
	ok := l.write(ctx, state{Until: end.UnixMilli(), Owner: l.owner, Failures: l.Failures, Generation: l.next()}, nil, end)
	if ok {
		l.End = end
	}
	l.doubtful = !ok
	return ok
}

// Finish ends the lease and leaves the row as r says. It returns false if that is not
// certain. It writes nothing when the lease is over: another environment may hold it, and
// this one may have been frozen for hours. A value that is too large for an item is not kept,
// so that each environment does the work for itself.
func (l *Lease) Finish(ctx context.Context, r Result) bool {
	if l == nil {
		return false
	}
	keep := later(r.Until, r.Keep)
	st := state{Until: r.Until.UnixMilli(), Failures: r.Failures, Note: r.Note, Generation: l.next()}
	switch {
	case r.Value == nil:
		return l.write(ctx, st, nil, keep)
	case l.Valid() && !l.s.f.now().Before(l.End):
		return false // the row of the value has no lease of its own, and that of a secret may be newer
	}
	value, pointer, fits := l.s.sealedValue(l.kind, l.name, l.owner, st.Generation, r.Value, keep)
	if !fits {
		l.Release(ctx)
		return false
	}
	// Without an answer the value may be there all the same. If it is not, the row counts
	// as one without a value.
	_, stored, _, _ := l.s.update(ctx, finishing, value, always())
	return l.write(ctx, st, pointer, keep) && stored
}

// Release ends the lease without a result: any environment may take it at once, also one
// whose clock is behind. The count of failures and the value stay.
func (l *Lease) Release(ctx context.Context) {
	if l == nil {
		return
	}
	keep := l.s.f.now()
	if l.Failures > 0 {
		keep = keep.Add(failureMemory)
	}
	l.write(ctx, state{Until: 1, Failures: l.Failures, Generation: l.next()}, nil, later(keep, l.kept))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// write writes the row only if the lease still holds.
func (l *Lease) write(ctx context.Context, st state, pointer []byte, keep time.Time) bool {
	l.generation = st.Generation
	item := l.s.sealed(l.kind, l.name, st, pointer, keep)
	_, ok, _, _ := l.s.update(ctx, finishing, item, owned(l.owner, l.s.f.now()))
	if ok {
		l.s.open(l.kind, l.name, &item)
	}
	return ok
}

// next returns the generation of the next write of the row.
func (l *Lease) next() int64 { return l.s.next(l.name, l.generation) }

// after notes what was known of the row before the lease.
func (l *Lease) after(row *Row) *Lease {
	if l != nil {
		l.Failures = row.Failures
		l.kept, l.generation = row.kept(), row.generation
	}
	return l
}
