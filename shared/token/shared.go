package token

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
)

const (
	// waitMargin is what a load must have left to go on by itself, after waiting
	// for another environment's exchange; and a lease, for an exchange to begin.
	waitMargin = 5500 * time.Millisecond
	// renewAfter is how often a lease is looked at while its holder waits.
	renewAfter = 2 * time.Second
	// leaseMargin is what is left of a lease to write the result.
	leaseMargin = 300 * time.Millisecond
	// elsewhereRest is how soon an environment looks again for the token that
	// another is fetching, while it has the old one.
	elsewhereRest = 2 * time.Second
	// patience is how often the table may fail somebody who waits for another
	// environment's exchange, before he makes his own.
	patience = 2
)

// sharedToken is the value of a token's row.
type sharedToken struct {
	Client  string    `json:"client"`
	Version string    `json:"version"`
	Token   []byte    `json:"token"`
	Forced  time.Time `json:"forced,omitzero"`
}

// note is what a row says of a failure.
type note struct {
	Kind        Kind      `json:"kind"`
	Fuse        bool      `json:"fuse,omitempty"`
	Description string    `json:"description"`
	Detail      string    `json:"detail,omitempty"`
	Upstream    *Upstream `json:"upstream,omitempty"`
}

// lease takes the lease of w's token; or it finds what another environment did
// about it (done, or err). All are nil when there is no table to ask.
func (v *Vendor) lease(ctx context.Context, visit *fleet.Visit, w *wish) (_ *fleet.Lease, done *cache.Entry[*held], err error) {
	waiting, failures := false, 0
	for {
		lease, row := visit.Take(ctx, fleet.TokenRow, string(w.key[:]))
		var there *held
		if row != nil {
			there = v.readShared(row.Value, w)
		}
		if lease == nil && row != nil && !row.Leased && row.Failures == 0 && !w.accepts(v, there) {
			lease, row = visit.Seize(ctx, row)
		}
		switch {
		case lease.Held() && !w.fallback && w.accepts(v, there):
			// Cold, but the row has a token that is only due to be replaced: who
			// comes next does that, and nobody waits.
			lease.Finish(ctx, fleet.Rest{Until: v.now()})
			w.old = there
			e := v.later(w, 0)
			return nil, &e, nil
		case lease.Held():
			return lease, nil, nil
		case row == nil && (!waiting || failures == patience):
			return lease, nil, nil
		case row == nil:
			failures++
			lease.Finish(ctx, fleet.Rest{Until: v.now()})
		case w.accepts(v, there) && (!w.fallback || there.Issued().After(w.old.Issued())):
			e := v.entry(there)
			if now := v.now(); !e.Refresh.IsZero() && !now.Before(e.Refresh) {
				e.Refresh = now.Add(v.upTo(elsewhereRest, 0.5))
			}
			return nil, &e, nil
		case w.fallback:
			return nil, v.unchanged(w, row), nil
		case !row.Leased && row.Failures > 0:
			return nil, nil, v.failedElsewhere(row)
		}
		waiting = true
		if left, ok := ctx.Deadline(); ok && time.Until(left) < waitMargin || !visit.Wait(ctx) {
			return nil, nil, nil
		}
	}
}

// unchanged keeps the token in memory until it is time to look at the row again.
func (v *Vendor) unchanged(w *wish, row *fleet.Row) *cache.Entry[*held] {
	e := v.later(w, elsewhereRest)
	if !row.Leased && row.Until.After(e.Refresh) {
		e.Refresh = row.Until
	}
	return &e
}

// readShared reads a row's token; nil: there is none for w. The row was sealed for
// this key, so what differs is a mistake of ours.
func (v *Vendor) readShared(value []byte, w *wish) *held {
	var s sharedToken
	if len(value) == 0 || json.Unmarshal(value, &s) != nil || s.Client != w.client.Name || s.Version != w.client.Version {
		return nil
	}
	t, err := oauth.ReadRecord(s.Token)
	if err != nil {
		return nil
	}
	there := &held{Token: t, client: s.Client, version: s.Version, fingerprint: Fingerprint(t), forced: s.Forced, shared: true}
	there.inTable.Store(true)
	return there
}

// share puts a token where the others can have it, if it is not there: the table may have
// failed when it was fetched.
func (v *Vendor) share(ctx context.Context, k key, w *wish, t *held) {
	if t.inTable.Load() {
		return
	}
	lease, row := v.fleet.Visit(ctx).Take(ctx, fleet.TokenRow, string(k[:]))
	if row != nil {
		// One that lives as long serves all the same, and may have been promised.
		there := v.readShared(row.Value, w)
		if there != nil && !there.Expiry().Before(t.Expiry()) {
			t.inTable.Store(true)
			lease.Finish(ctx, fleet.Rest{Until: v.now()})
			return
		}
	}
	if lease != nil {
		t.inTable.Store(lease.Finish(ctx, v.tokenRest(v.entry(t))))
	}
}

// failedElsewhere is the error of an exchange that another environment made.
func (v *Vendor) failedElsewhere(row *fleet.Row) *Error {
	var n note
	if json.Unmarshal(row.Note, &n) != nil || int(n.Kind) <= 0 || int(n.Kind) >= len(answers) {
		n = note{Kind: Unavailable, Description: "the authorization server failed a moment ago"}
	}
	e := &Error{Kind: n.Kind, Description: n.Description, Upstream: n.Upstream, Detail: "as another environment found: " + n.Detail}
	if e.reread = n.Kind == Misconfigured; n.Fuse {
		return blown(e, row.Until)
	}
	e.rest = max(row.Until.Sub(v.now()), time.Second)
	if e.temporary() {
		e.RetryAfter = e.rest
	}
	return e
}

func noteOf(e *Error) []byte {
	b, err := json.Marshal(note{Kind: e.Kind, Fuse: !e.Fuse.IsZero(), Description: e.Description, Detail: e.Detail, Upstream: e.Upstream})
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return b
}

// settle ends the leases of an exchange that brought e, or err.
func (v *Vendor) settle(ctx context.Context, lease, turn *fleet.Lease, turnRest fleet.Rest, w *wish, e cache.Entry[*held], err error) {
	var rest fleet.Rest
	if err != nil {
		rest = v.failureRest(lease, w, AsError(err))
	} else {
		rest = v.tokenRest(e)
	}
	var all sync.WaitGroup
	all.Go(func() { turn.Finish(ctx, turnRest) })
	if lease.Finish(ctx, rest) && rest.Value != nil {
		e.Value.inTable.Store(true)
	}
	all.Wait()
}

// failureRest leaves a failure for everybody who wants this token, unless it is ours
// alone or the caller's.
func (v *Vendor) failureRest(lease *fleet.Lease, w *wish, e *Error) fleet.Rest {
	rest := fleet.Rest{Until: v.now()}
	switch {
	case !lease.Held():
	case !e.Fuse.IsZero():
		rest.Failures, rest.Note, rest.Until = max(e.refusals, 1), noteOf(e), e.Fuse
	case e.temporary() || e.Kind == Misconfigured:
		if e.rest == 0 {
			e.rest = v.restFor(e, lease.Failures+1, w.fallback)
		}
		rest.Failures, rest.Note, rest.Until = lease.Failures+1, noteOf(e), rest.Until.Add(e.rest)
	}
	return rest
}

// tokenRest leaves a token for all, if it may be kept.
func (v *Vendor) tokenRest(e cache.Entry[*held]) fleet.Rest {
	if e.Expire.IsZero() {
		return fleet.Rest{Until: v.now()}
	}
	t := e.Value
	value, err := json.Marshal(sharedToken{Client: t.client, Version: t.version, Token: t.Record(), Forced: t.forced})
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	rest := fleet.Rest{Until: e.Refresh, Keep: e.Expire, Value: value}
	if rest.Until.IsZero() {
		rest.Until = e.Expire
	}
	return rest
}
