package tokensource

import (
	"context"
	"maps"
	"sync"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
)

const (
	// refusalMemory is how long after a lockout it is remembered how often the credential
	// was refused.
	refusalMemory = 24 * time.Hour
	// renewInterval is how often a caller that waits for another one's exchange looks after
	// its leases.
	renewInterval = 2 * time.Second
)

// lockoutTime returns how long a version of a credential is not sent after it was refused so
// often in a row. A server may have erred once, and a job that comes by every few minutes
// must not make the five failed logons that lock a client at SAP Cloud Identity Services.
// SAP does not say how long it counts them.
func lockoutTime(refusals int) time.Duration {
	switch {
	case refusals <= 1:
		return 10 * time.Minute
	case refusals == 2:
		return time.Hour
	}
	return 4 * time.Hour
}

// lockout decides which credential may be sent. SAP Cloud Identity Services locks a client
// for an hour, for all callers, after five failed logons, so a version of a credential that
// was refused is not sent again for a while. To make that exact, exchanges of one client
// happen one after the other: two at once could both fail. If there is a table, all
// environments follow the rule together. A lockout is safe for concurrent use.
type lockout struct {
	runtime

	clients sync.Map // client name to *credentials
}

// credentials are those of one client.
type credentials struct {
	// exchange holds one element while an exchange is under way. It guards refusals.
	exchange chan struct{}
	// refusals are by version: an old version may become current again by a label that is
	// moved back.
	refusals map[string]refusal
}

// logon is the permission to send one version of a client's credential once. It ends with
// proven, refused or release.
type logon struct {
	l       *lockout
	c       *credentials
	version string
	lease   *fleet.Lease
}

// begin waits until no other exchange of the client is under way in this environment.
// waiting is called meanwhile, every two seconds; nil: begin does not wait. The logon is nil
// if another exchange is still under way.
func (l *lockout) begin(ctx context.Context, client, version string, waiting func()) *logon {
	c, _ := l.clients.LoadOrStore(client, &credentials{exchange: make(chan struct{}, 1), refusals: make(map[string]refusal)})
	g := &logon{l: l, c: c.(*credentials), version: version}
	select {
	case g.c.exchange <- struct{}{}:
		return g
	default:
	}
	if waiting == nil {
		return nil
	}
	ticker := time.NewTicker(renewInterval)
	defer ticker.Stop()
	for {
		select {
		case g.c.exchange <- struct{}{}:
			return g
		case <-ticker.C:
			waiting()
		case <-ctx.Done():
			return nil
		}
	}
}

// lockedOut returns the error of a version that must not be sent now, as far as this
// environment knows; nil: it may be sent.
func (g *logon) lockedOut() *failure {
	if r, ok := g.c.refusals[g.version]; ok && g.l.now().Before(r.until) {
		return r.error()
	}
	return nil
}

// lead waits for the permission of the fleet. row names the credential in the table.
// cached means that the caller has a token and does not wait; busy is then true if another
// environment's exchange is under way. The error says that the credential is locked out.
func (g *logon) lead(ctx context.Context, session *fleet.Session, row string, cached bool, waiting func()) (busy bool, err error) {
	a := session.Acquire(ctx, fleet.LogonRow, row, fleet.Want{Cached: cached, Waiting: waiting, Accept: func([]byte) bool { return false }})
	switch a.State {
	case fleet.Failed:
		e, _ := readNote(a.Row.Note)
		r := refusal{fault: e, until: a.Row.Until, times: a.Row.Failures}
		g.remember(r)
		return false, r.error()
	case fleet.Busy:
		return true, nil
	}
	if g.lease = a.Lease; g.lease.Valid() && g.lease.Failures > 0 {
		g.lease.Renew(ctx) // or the failures would be forgotten if this process died
	}
	return false, nil
}

// proven ends the logon: the credential obtained a token.
func (g *logon) proven(ctx context.Context) {
	delete(g.c.refusals, g.version)
	g.lease.Finish(ctx, fleet.Result{Until: g.l.now()})
	g.free()
}

// refused returns the lockout that follows from a failed logon.
func (g *logon) refused(e *fault.Error) refusal {
	g.l.count(CountFailedLogon)
	times := 1
	if r, ok := g.c.refusals[g.version]; ok && g.l.now().Before(r.until.Add(refusalMemory)) {
		times = 1 + r.times
	}
	if g.lease.Valid() {
		// Another environment may have logged on since.
		times = 1 + g.lease.Failures
	}
	r := refusal{fault: e, until: g.l.now().Add(lockoutTime(times)), times: times}
	g.remember(r)
	return r
}

// lock ends the logon with the lockout r.
func (g *logon) lock(ctx context.Context, r refusal) {
	g.lease.Finish(ctx, fleet.Result{Until: r.until, Failures: r.times, Note: noteOf(r.error()), Keep: r.until.Add(refusalMemory)})
	g.free()
}

// release ends the logon without a statement about the credential. The count of failures is
// kept, so that the next environment does not start from zero.
func (g *logon) release(ctx context.Context) {
	g.lease.Release(ctx)
	g.free()
}

// free lets the next exchange of the client begin.
func (g *logon) free() { <-g.c.exchange }

// remember keeps a lockout, and forgets those that are long over.
func (g *logon) remember(r refusal) {
	now := g.l.now()
	maps.DeleteFunc(g.c.refusals, func(_ string, r refusal) bool { return !now.Before(r.until.Add(refusalMemory)) })
	g.c.refusals[g.version] = r
}
