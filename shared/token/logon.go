package token

import (
	"context"
	"maps"
	"sync"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// rejectionRest is how long a version of a credential is not tried again after it was
// refused so often in a row: a server may have erred once, and whoever comes by every few
// minutes, like a schedule, must not make the five failed logons that lock a client at SAP
// Cloud Identity Services. Nothing is said there of how long they are counted.
func rejectionRest(refusals int) time.Duration {
	switch {
	case refusals <= 1:
		return 10 * time.Minute
	case refusals == 2:
		return time.Hour
	}
	return 4 * time.Hour
}

// rejectionMemory is how long after that it is known how often it was refused.
const rejectionMemory = 24 * time.Hour

// logons keeps the lock rule, the fuse: SAP Cloud Identity Services locks a client
// for an hour, for everybody, after five failed logons, so a version of a credential
// that was refused once is not sent again. To make that exact, exchanges of one
// client happen one after the other: two at once could both fail. With a table all
// environments keep the rule together.
type logons struct {
	mu      sync.Mutex
	clients map[string]*logon // by client name; guarded by mu
}

type logon struct {
	// turn holds one element while an exchange is under way. It guards
	// refusals.
	turn chan struct{}
	// refusals are by version: one may become current again by a label that
	// is moved back.
	refusals map[string]refusal
	// rereads is guarded by the mu of logons.
	rereads pace
}

type refusal struct {
	failure *Error
	until   time.Time
	times   int // in a row
}

// of returns what is known of a client. mu must be held.
func (l *logons) of(client string) *logon {
	s := l.clients[client]
	if s == nil {
		if l.clients == nil {
			l.clients = make(map[string]*logon)
		}
		s = &logon{turn: make(chan struct{}, 1), refusals: make(map[string]refusal)}
		l.clients[client] = s
	}
	return s
}

// mayReread says whether the document of a client whose credential was refused may
// be read again now.
func (l *logons) mayReread(client string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.of(client).rereads.take(now, rereads, rereadsInterval, 0)
	return ok
}

// enter waits for the client's turn, for d at most. leave is nil if it did not come.
func (l *logons) enter(ctx context.Context, client string, d time.Duration) (s *logon, leave func()) {
	l.mu.Lock()
	s = l.of(client)
	l.mu.Unlock()
	leave = func() { <-s.turn }
	select {
	case s.turn <- struct{}{}:
		return s, leave
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case s.turn <- struct{}{}:
		return s, leave
	case <-timer.C:
	case <-ctx.Done():
	}
	return s, nil
}

// refused returns the failure of version while it is remembered, else nil.
func (s *logon) refused(version string, now time.Time) *Error {
	if r, ok := s.refusals[version]; ok && now.Before(r.until) {
		return blown(r.failure, r.until)
	}
	return nil
}

// times is how often in a row version was refused, as far as this environment knows: another
// may have logged on with it since.
func (s *logon) times(version string, now time.Time) int {
	if r, ok := s.refusals[version]; ok && now.Before(r.until.Add(rejectionMemory)) {
		return r.times
	}
	return 0
}

// known returns what is known against a client's credential without trying it.
func (l *logons) known(c *registry.Client, now time.Time) error {
	l.mu.Lock()
	s := l.of(c.Name)
	l.mu.Unlock()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		return nil // it is being tried
	}
	if failure := s.refused(c.Version, now); failure != nil {
		return failure
	}
	return nil
}

// refuse remembers that version was refused for the times'th time, and forgets what is
// long over.
func (s *logon) refuse(version string, failure *Error, until, now time.Time, times int) {
	maps.DeleteFunc(s.refusals, func(_ string, r refusal) bool { return !now.Before(r.until.Add(rejectionMemory)) })
	known := *failure
	known.refusals = times
	s.refusals[version] = refusal{failure: &known, until: until, times: times}
}

// blown makes failure say that the credential is not sent again.
func blown(failure *Error, until time.Time) *Error {
	e := *failure
	e.Fuse = until
	e.Description = oauth.Printable(failure.Description + "; the fuse is blown: this version of the credential is not sent again before " + until.UTC().Format(time.RFC3339))
	e.Detail = e.Description
	return &e
}

// localTurn waits for the client's turn in this environment, and keeps the lease
// meanwhile. Who has a token to fall back on doesn't wait; leave is nil then, or when
// ctx ended.
func (v *Vendor) localTurn(ctx context.Context, lease *fleet.Lease, w *wish) (s *logon, leave func()) {
	for {
		patience := renewAfter
		if w.fallback {
			patience = 0
		}
		s, leave = v.logons.enter(ctx, w.client.Name, patience)
		if leave != nil || w.fallback || ctx.Err() != nil {
			return s, leave
		}
		v.keep(ctx, lease)
	}
}

// keep prolongs a lease of which much is over. That it is lost is no reason to stop:
// the fence will refuse its result, which costs an exchange at most.
func (v *Vendor) keep(ctx context.Context, lease *fleet.Lease) {
	if lease.Held() && lease.End.Sub(v.now()) < waitMargin {
		lease.Renew(ctx)
	}
}

// fleetTurn waits for the client's turn among all environments, which may be a
// doubtful one or nil when the table can't be used; busy says that it did not wait,
// because there is a token to fall back on. The error says that another environment's
// logon failed.
func (v *Vendor) fleetTurn(ctx context.Context, visit *fleet.Visit, lease *fleet.Lease, w *wish, s *logon) (turn *fleet.Lease, busy bool, err error) {
	id := w.client.Name + "\x00" + w.client.Version
	for failures := 0; ; {
		turn, row := visit.Take(ctx, fleet.LogonRow, id)
		if !turn.Held() && row != nil && !row.Leased && row.Failures == 0 {
			// Free, but for a clock that is ahead of ours.
			turn, row = visit.Seize(ctx, row)
		}
		switch {
		case turn.Held(), row == nil && failures == 0, failures > patience:
			return turn, false, nil
		case row == nil:
			failures++
			turn.Finish(ctx, fleet.Rest{Until: v.now()})
		case !row.Leased && row.Failures > 0:
			failure := v.failedElsewhere(row)
			failure.rest, failure.reread, failure.refusals = 0, true, row.Failures
			s.refuse(w.client.Version, failure, row.Until, v.now(), row.Failures)
			return nil, false, blown(failure, row.Until)
		case w.fallback:
			return nil, true, nil
		default:
			failures = 1
		}
		v.keep(ctx, lease)
		if !visit.Wait(ctx) {
			return nil, false, nil
		}
	}
}
