package tokensource

import (
	"context"
	"encoding/json"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
)

// rows keeps tokens in the table of the fleet.
type rows struct {
	runtime
	fleet *fleet.Fleet
}

// tokenValue is the value of a token's row.
type tokenValue struct {
	Client  string    `json:"client"`
	Version string    `json:"version"`
	Token   []byte    `json:"token"`
	Forced  time.Time `json:"forced,omitzero"`
}

// entry returns t for the cache.
func (r *rows) entry(t *Token) cache.Entry[*Token] {
	e := cache.Entry[*Token]{Value: t, Expire: t.End()}
	if life := t.Life(); life > shortLife {
		jitter := refreshJitter * (2*r.rand() - 1)
		e.Refresh = t.RefreshPoint().Add(time.Duration(float64(life) * jitter))
	}
	return e
}

// later keeps a token and schedules the next refresh after d.
func (r *rows) later(t *Token, d time.Duration) cache.Entry[*Token] {
	return cache.Entry[*Token]{Value: t, Refresh: r.now().Add(r.jitter(d, 0.5)), Expire: t.End()}
}

// acquire takes the lease of the token's row; or it returns what another environment did
// about the token: an entry or an error. All are nil if the table cannot be used.
func (r *rows) acquire(ctx context.Context, session *fleet.Session, l *load) (*fleet.Lease, *cache.Entry[*Token], error) {
	var found *Token
	accept := func(value []byte) bool {
		t := readToken(value, l.Client.Name, l.Client.Version)
		ok := l.accepts(t, r.now())
		if ok {
			found = t
		}
		return ok
	}
	a := session.Acquire(ctx, fleet.TokenRow, string(l.key[:]), fleet.Want{Cached: l.usable, Reserve: exchangeReserve, Accept: accept})
	switch {
	case a.State == fleet.Acquired && !l.usable && accept(a.Value(ctx)):
		// The token is only due to be replaced. The next caller does that, and this one
		// does not wait.
		a.Lease.Release(ctx)
		e := r.later(found, 0)
		return nil, &e, nil
	case a.State == fleet.Acquired, a.State == fleet.Alone:
		return a.Lease, nil, nil
	case a.State == fleet.Done && (!l.usable || found.Issued().After(l.cached.Issued())):
		e := r.entry(found)
		if now := r.now(); !e.Refresh.IsZero() && !now.Before(e.Refresh) {
			e.Refresh = now.Add(r.jitter(refreshPoll, 0.5))
		}
		return nil, &e, nil
	case l.usable:
		e := r.later(l.cached, refreshPoll)
		if !a.Row.Leased && a.Row.Until.After(e.Refresh) {
			e.Refresh = a.Row.Until
		}
		return nil, &e, nil
	}
	return nil, nil, r.failedElsewhere(a.Row)
}

// failedElsewhere returns the error of an exchange that another environment made.
func (r *rows) failedElsewhere(row fleet.Row) error {
	e, fuse := readNote(row.Note)
	if fuse {
		return refusal{fault: e, until: row.Until, times: row.Failures}.error()
	}
	f := &failure{fault: e, backoff: max(row.Until.Sub(r.now()), minRetryAfter)}
	if e.Kind.Temporary() {
		e.RetryAfter = f.backoff
	}
	return f
}

// finish ends the lease of the token's row with the result of an exchange, and returns it
// for the cache.
func (r *rows) finish(ctx context.Context, lease *fleet.Lease, l *load, got result) (cache.Entry[*Token], error) {
	var e cache.Entry[*Token]
	switch {
	case got.err != nil:
		return e, r.fail(ctx, lease, l, failureOf(got.err))
	case got.retry > 0:
		e = r.later(l.cached, got.retry)
	default:
		t := &Token{Token: got.token, client: l.Client.Name, version: l.Client.Version, fingerprint: Fingerprint(got.token)}
		if l.Rejected != "" {
			t.forced = r.now()
		}
		e = r.entry(t)
	}
	r.put(ctx, lease, e)
	return e, nil
}

// put ends the lease with a token, if that may be kept.
func (r *rows) put(ctx context.Context, lease *fleet.Lease, e cache.Entry[*Token]) {
	if e.Expire.IsZero() {
		lease.Release(ctx)
		return
	}
	t := e.Value
	value := encode(tokenValue{Client: t.client, Version: t.version, Token: t.Record(), Forced: t.forced})
	until := e.Refresh
	if until.IsZero() {
		until = e.Expire
	}
	if lease.Finish(ctx, fleet.Result{Until: until, Keep: e.Expire, Value: value}) {
		t.published.Store(true)
	}
}

// fail ends the lease with a failure for all environments that want this token, unless it
// is about this environment or this caller alone.
func (r *rows) fail(ctx context.Context, lease *fleet.Lease, l *load, f *failure) error {
	kind := f.fault.Kind
	switch {
	case !lease.Valid():
		lease.Release(ctx)
	case f.refusal != nil:
		lease.Finish(ctx, fleet.Result{Until: f.refusal.until, Failures: max(f.refusal.times, 1), Note: noteOf(f)})
	case kind.Temporary() || kind == fault.Misconfigured:
		if f.backoff == 0 {
			f.backoff = r.backoff(f.fault, lease.Failures+1, l.usable)
		}
		lease.Finish(ctx, fleet.Result{Until: r.now().Add(f.backoff), Failures: lease.Failures + 1, Note: noteOf(f)})
	default:
		lease.Finish(ctx, fleet.Result{Until: r.now()})
	}
	return f
}

// publish puts a token where the other environments can have it, if it is not there: the
// table may have failed when it was fetched.
func (r *rows) publish(ctx context.Context, k key, t *Token) {
	if t.Published() {
		return
	}
	accept := func(value []byte) bool {
		// A token that lives as long serves as well, and may have been promised.
		other := readToken(value, t.client, t.version)
		return other != nil && !other.Expiry().Before(t.Expiry())
	}
	a := r.fleet.Session(ctx).Acquire(ctx, fleet.TokenRow, string(k[:]), fleet.Want{Cached: true, Accept: accept})
	switch {
	case a.State == fleet.Done:
		t.published.Store(true)
	case a.State == fleet.Acquired && accept(a.Value(ctx)):
		a.Lease.Release(ctx)
		t.published.Store(true)
	case a.State == fleet.Acquired, a.State == fleet.Alone:
		r.put(ctx, a.Lease, r.entry(t))
	}
}

// readToken reads the value of a token's row; nil: there is no token of that client and
// version. The row was sealed for the token's key, so a difference is a bug of ours.
func readToken(value []byte, client, version string) *Token {
	var v tokenValue
	if len(value) == 0 || json.Unmarshal(value, &v) != nil || v.Client != client || v.Version != version {
		return nil
	}
	t, err := oauth.ReadRecord(v.Token)
	if err != nil {
		return nil
	}
	found := &Token{Token: t, client: v.Client, version: v.Version, fingerprint: Fingerprint(t), forced: v.Forced, shared: true}
	found.published.Store(true)
	return found
}

// afterError returns the backoff of a key.
func (r *rows) afterError(err error, failures int, cached bool) cache.Reaction {
	f := failureOf(err)
	if f.backoff == 0 {
		f.backoff = r.backoff(f.fault, failures, cached)
	}
	return cache.Reaction{Backoff: f.backoff}
}
