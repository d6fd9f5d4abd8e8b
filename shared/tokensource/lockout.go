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
	renewInterval = time.Second
	// newLockout is the first lockout of a credential that never obtained a token, is younger
	// than newVersion, and that no other one can stand in for: a person may have written it
	// a moment before the authorization server knows it.
	newLockout = 2 * time.Minute
	newVersion = time.Minute
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
// was refused is not sent again for a while. To make that exact, at most two exchanges use
// one credential at the same time, and one while it is not proven: as many could fail at
// once. If there is a table, all environments follow the rule together. A lockout is safe
// for concurrent use.
type lockout struct {
	runtime

	clients perClient[credentials]
}

func newLockouts(rt runtime) *lockout {
	l := &lockout{runtime: rt}
	l.clients.guards = func(c *credentials) bool { return c.guards(l.now()) }
	return l
}

// logonSlots is how many exchanges may use a proven credential at the same time.
const logonSlots = 2

// slotChoice says which of them an exchange may use. An exchange that must be alone uses the first.
type slotChoice int

const (
	firstSlot slotChoice = iota
	secondSlot
	anySlot
)

// credentials are those of one client.
type credentials struct {
	// slots hold one element each while an exchange is under way in them.
	slots [logonSlots]chan struct{}

	mu sync.Mutex
	// refusals are by version: an old version may become current again by a label that is
	// moved back. Guarded by mu.
	refusals map[string]refusal
}

func (l *lockout) client(name string) *credentials {
	return l.clients.of(name, func() *credentials {
		c := &credentials{refusals: make(map[string]refusal)}
		for i := range c.slots {
			c.slots[i] = make(chan struct{}, 1)
		}
		return c
	})
}

// guards reports whether an exchange is under way, or a credential was refused that may not be
// sent again or whose refusals are counted.
func (c *credentials) guards(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, slot := range c.slots {
		if len(slot) > 0 {
			return true
		}
	}
	for _, r := range c.refusals {
		if now.Before(r.until.Add(refusalMemory)) {
			return true
		}
	}
	return false
}

// locked returns the lockout of a version that must not be sent now, as far as this
// environment knows; nil: it may be sent.
func (l *lockout) locked(client, version string) *refusal {
	if r, ok := l.refusal(client, version); ok && l.now().Before(r.until) {
		return &r
	}
	return nil
}

// refusal returns the last failed logon of a version that this environment knows of.
func (l *lockout) refusal(client, version string) (refusal, bool) {
	c := l.client(client)
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.refusals[version]
	return r, ok
}

// logon is the permission to send one version of a client's credential once. It ends with
// proven, lock or release.
type logon struct {
	l               *lockout
	c               *credentials
	client, version string
	slot            int
	session         *fleet.Session // of lease
	lease           *fleet.Lease
}

// begin waits until a slot of the client is free in this environment. It returns nil if none
// becomes free before until. waiting is called meanwhile, every second; nil: begin does not wait.
func (l *lockout) begin(ctx context.Context, client, version string, in slotChoice, until time.Time, waiting func()) *logon {
	g := &logon{l: l, c: l.client(client), client: client, version: version}
	first, second := g.c.slots[0], g.c.slots[1]
	switch in {
	case firstSlot:
		second = nil
	case secondSlot:
		first = nil
	}
	// The environments of a fleet use both slots.
	if g.try(int(l.rand()*logonSlots), in) || g.try(0, in) || g.try(1, in) {
		return g
	}
	if waiting == nil {
		return nil
	}
	ticker, timer := time.NewTicker(renewInterval), time.NewTimer(until.Sub(l.now()))
	defer ticker.Stop()
	defer timer.Stop()
	for {
		select {
		case first <- struct{}{}:
			g.slot = 0
			return g
		case second <- struct{}{}:
			g.slot = 1
			return g
		case <-ticker.C:
			waiting()
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// try takes a slot if it is free and one of in.
func (g *logon) try(slot int, in slotChoice) bool {
	if in != anySlot && int(in) != slot {
		return false
	}
	select {
	case g.c.slots[slot] <- struct{}{}:
		g.slot = slot
		return true
	default:
		return false
	}
}

// lead waits for the permission of the fleet until the time until. cached means that the
// caller has a token and does not wait. busy means that another environment's exchange is
// under way. The error says that the credential is locked out.
func (g *logon) lead(ctx context.Context, session *fleet.Session, cached bool, until time.Time, waiting func()) (busy bool, err error) {
	g.session = session
	a := session.Acquire(ctx, fleet.LogonRow, g.row(), fleet.Want{
		Cached: cached, Waiting: waiting, Patience: max(until.Sub(g.l.now()), time.Millisecond), Accept: func([]byte) bool { return false },
	})
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

// row names the credential and the slot in the table.
func (g *logon) row() string {
	row := g.client + "\x00" + g.version
	if g.slot > 0 {
		row += "\x00second"
	}
	return row
}

// proven ends the logon: the credential obtained a token.
func (g *logon) proven(ctx context.Context) {
	defer g.free()
	g.c.mu.Lock()
	delete(g.c.refusals, g.version)
	g.c.mu.Unlock()
	result := fleet.Result{Until: g.l.now()}
	g.lease.Finish(ctx, result)
	if g.failedBefore() {
		g.leaveOther(ctx, result)
	}
}

// failedBefore reports whether the table says that the last logon failed.
func (g *logon) failedBefore() bool { return g.lease.Valid() && g.lease.Failures > 0 }

// refused returns the lockout that follows from a failed logon. first is how long the first
// one lasts. proven means that the credential obtained a token after the failures that this
// environment knows of.
func (g *logon) refused(e *fault.Error, first time.Duration, proven bool) refusal {
	now, times := g.l.now(), 1
	if g.lease.Valid() {
		times += g.lease.Failures // another environment may have logged on since
	}
	r, ok := g.l.refusal(g.client, g.version)
	switch {
	case !ok || proven && g.lease.Valid():
	case now.Before(r.until):
		times = max(times, r.times) // both logons began before one of them failed
	case now.Before(r.until.Add(refusalMemory)):
		times = max(times, 1+r.times)
	}
	duration := lockoutTime(times)
	if times == 1 {
		duration = first
	}
	if duration > lockoutTime(1) {
		times = max(times, 2) // no environment believes so long a first lockout
	}
	r = refusal{fault: e, until: now.Add(duration), times: times}
	g.remember(r)
	return r
}

// lock ends the logon with the lockout r, which holds for both slots.
func (g *logon) lock(ctx context.Context, r refusal) {
	defer g.free()
	result := fleet.Result{Until: r.until, Failures: r.times, Note: noteOf(r.error()), Keep: r.until.Add(refusalMemory)}
	g.lease.Finish(ctx, result)
	g.leaveOther(ctx, result)
}

// leaveOther leaves the row of the other slot in the same state, but shortens no lockout. If an
// exchange is under way there, its own result says the same.
func (g *logon) leaveOther(ctx context.Context, result fleet.Result) {
	other := logon{client: g.client, version: g.version, slot: logonSlots - 1 - g.slot}
	a := g.session.Acquire(ctx, fleet.LogonRow, other.row(), fleet.Want{
		Cached: true, Accept: func([]byte) bool { return false }, Retry: func([]byte) bool { return true },
	})
	if a.State != fleet.Acquired {
		return
	}
	if result.Failures > 0 && a.Row.Failures > 0 && a.Row.Until.After(result.Until) {
		result = fleet.Result{Until: a.Row.Until, Failures: a.Row.Failures, Note: a.Row.Note, Keep: a.Row.Until.Add(refusalMemory)}
	}
	a.Lease.Finish(ctx, result)
}

// count ends the logon with a failed logon that is not known to be the credential's fault.
func (g *logon) count(ctx context.Context, r refusal) {
	defer g.free()
	r.until = g.l.now()
	g.remember(r)
	g.lease.Finish(ctx, fleet.Result{Until: r.until, Failures: r.times, Note: noteOf(r.error()), Keep: r.until.Add(refusalMemory)})
}

// release ends the logon without a statement about the credential. The count of failures is
// kept, so that the next environment does not start from zero.
func (g *logon) release(ctx context.Context) {
	defer g.free()
	g.lease.Release(ctx)
}

// free lets the next exchange in the slot begin.
func (g *logon) free() { <-g.c.slots[g.slot] }

// remember keeps a lockout, and forgets those that are long over.
func (g *logon) remember(r refusal) {
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	now := g.l.now()
	maps.DeleteFunc(g.c.refusals, func(_ string, r refusal) bool { return !now.Before(r.until.Add(refusalMemory)) })
	g.c.refusals[g.version] = r
}
