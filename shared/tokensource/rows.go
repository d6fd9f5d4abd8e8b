package tokensource

import (
	"context"
	"encoding/json"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// maxClockAhead is how far ahead of this environment's clock a token of another one may have
// been issued. The end of a token that was issued further ahead is not known.
const maxClockAhead = 5 * time.Second

// rows keeps tokens in the table of the fleet.
type rows struct {
	runtime
	fleet *fleet.Fleet
}

// tokenValue is the value of a token's row.
type tokenValue struct {
	Client     string    `json:"client"`
	Version    string    `json:"version"`
	Credential string    `json:"credential"`
	Token      []byte    `json:"token"`
	Forced     time.Time `json:"forced,omitzero"`
}

// entry returns t for the cache.
func (r *rows) entry(t *Token) cache.Entry[*Token] {
	e := cache.Entry[*Token]{Value: t, Expire: t.End()}
	if life := t.Life(); life > shortLife && !t.single {
		jitter := refreshJitter * (2*r.rand() - 1)
		e.Refresh = t.RefreshPoint().Add(time.Duration(float64(life) * jitter))
	}
	return e
}

// later keeps a token and schedules the next refresh after d, unless it is kept to its end.
func (r *rows) later(t *Token, d time.Duration) cache.Entry[*Token] {
	if t.single {
		return r.entry(t)
	}
	return cache.Entry[*Token]{Value: t, Refresh: r.now().Add(r.jitter(d, 0.5)), Expire: t.End()}
}

// acquire takes the lease of the token's row; or it returns what another environment did
// about the token: an entry or an error. All are nil if the table cannot be used. tested
// means that it is known whether the authorization server accepts the client's credential;
// if not, a usable token of another one is no reason not to make an exchange.
func (r *rows) acquire(ctx context.Context, session *fleet.Session, l *load, tested bool) (*fleet.Lease, *cache.Entry[*Token], error) {
	var found *Token
	accept := func(value []byte) bool {
		t := r.read(value, l.Client)
		l.force(t, r.now())
		if !l.accepts(t, r.now()) || l.usable && !tested && !t.ObtainedBy(l.Client) {
			return false
		}
		found = t
		return true
	}
	a := session.Acquire(ctx, fleet.TokenRow, string(l.key[:]), fleet.Want{
		Cached: l.usable, RetryPatience: permitTime, Reserve: exchangeReserve, Accept: accept,
		Retry: func(note []byte) bool { return otherVersion(noteVersion(note), l.Client) },
	})
	switch {
	case a.State == fleet.Acquired && !l.usable && accept(a.Value(ctx)):
		// The token is only due to be replaced. The next caller does that, and this one
		// does not wait.
		a.Lease.Release(ctx)
		e := r.later(found, 0)
		return nil, &e, nil
	case a.State == fleet.Acquired, a.State == fleet.Alone:
		r.inherit(ctx, &a, l)
		return a.Lease, nil, nil
	}
	e, err := r.elsewhere(&a, l, found, tested)
	return nil, e, err
}

// elsewhere returns what another environment did about a token.
func (r *rows) elsewhere(a *fleet.Acquisition, l *load, found *Token, tested bool) (*cache.Entry[*Token], error) {
	switch {
	case a.State == fleet.Done && (!l.usable || found.Issued().After(l.cached.Issued())):
		e := r.entry(found)
		if now := r.now(); !e.Refresh.IsZero() && !now.Before(e.Refresh) {
			e.Refresh = now.Add(r.jitter(refreshPoll, 0.5))
		}
		if !tested && !found.ObtainedBy(l.Client) && !found.single {
			e.Refresh = r.now() // the next caller finds out whether the newer credential works
		}
		return &e, nil
	case l.usable:
		e := r.later(l.cached, refreshPoll)
		if !a.Row.Leased && a.Row.Until.After(e.Refresh) {
			e.Refresh = a.Row.Until
		}
		return &e, nil
	case a.State == fleet.Busy:
		return nil, underWay("another request is asking the authorization server again, which failed a moment ago")
	}
	f := r.failedElsewhere(a.Row)
	f.client, f.version = l.Client.Name, noteVersion(a.Row.Note)
	return nil, f
}

// inherit takes over what the row said of failures before the lease.
func (r *rows) inherit(ctx context.Context, a *fleet.Acquisition, l *load) {
	switch {
	case !a.Lease.Valid() || a.Lease.Failures == 0:
	case otherVersion(noteVersion(a.Row.Note), l.Client):
		a.Lease.Failures = 0
	default:
		a.Lease.Renew(ctx) // so that other environments do not wait long for what failed before
	}
}

// underWay returns the error of a request that does not wait for another one.
func underWay(why string) *failure {
	return &failure{fault: &fault.Error{Kind: fault.Unavailable, Description: why, RetryAfter: minRetryAfter}, backoff: minRetryAfter}
}

// failedElsewhere returns the error of an exchange that another environment made.
func (r *rows) failedElsewhere(row fleet.Row) *failure {
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
	case !got.keep.IsZero():
		e = cache.Entry[*Token]{Value: l.cached, Refresh: got.keep, Expire: l.cached.End()}
	case got.retry > 0:
		e = r.later(l.cached, got.retry)
	default:
		t := &Token{Token: got.token, client: l.Client.Name, version: got.by.Version, credential: got.by.Credential, fingerprint: Fingerprint(got.token), single: l.Client.SingleToken}
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
	switch {
	case lease == nil:
		return // without an encoding of the token, which nobody would get
	case e.Expire.IsZero():
		lease.Release(ctx)
		return
	}
	t := e.Value
	value := encode(tokenValue{Client: t.client, Version: t.version, Credential: t.credential, Token: t.Record(), Forced: t.forced})
	until := e.Refresh
	if until.IsZero() {
		until = e.Expire
	}
	if lease.Finish(ctx, fleet.Result{Until: until, Keep: e.Expire, Value: value}) {
		t.published.Store(true)
	}
}

// fail ends the lease with a failure for all environments that want this token, unless it
// is about this environment alone.
func (r *rows) fail(ctx context.Context, lease *fleet.Lease, l *load, f *failure) error {
	kind := f.fault.Kind
	if f.client = l.Client.Name; !kind.Temporary() {
		f.version = l.Client.Version
	}
	switch {
	case !lease.Valid() || f.alone || kind == fault.Internal:
		lease.Release(ctx)
	case f.refusal != nil:
		lease.Finish(ctx, fleet.Result{Until: f.refusal.until, Failures: max(f.refusal.times, 1), Note: noteOf(f)})
	default:
		if f.backoff == 0 {
			f.backoff = r.backoff(f.fault, lease.Failures+1, l.usable)
		}
		lease.Finish(ctx, fleet.Result{Until: r.now().Add(f.backoff), Failures: lease.Failures + 1, Note: noteOf(f)})
	}
	return f
}

// publish puts a token where the other environments can have it, if it is not there: the
// table may have failed when it was fetched.
func (r *rows) publish(ctx context.Context, k key, client *registry.Client, t *Token) {
	if t.Published() {
		return
	}
	accept := func(value []byte) bool {
		// A token that lives as long serves as well, and may have been promised.
		other := r.read(value, client)
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

// read reads the value of a token's row; nil: there is no token of that client whose end is
// known. The row was sealed for the token's key, so another client is a bug of ours.
func (r *rows) read(value []byte, client *registry.Client) *Token {
	var v tokenValue
	if len(value) == 0 || json.Unmarshal(value, &v) != nil || v.Client != client.Name {
		return nil
	}
	t, err := oauth.ReadRecord(v.Token)
	if err != nil || t.Issued().After(r.now().Add(maxClockAhead)) {
		return nil
	}
	found := &Token{Token: t, client: v.Client, version: v.Version, credential: v.Credential, fingerprint: Fingerprint(t), forced: v.Forced, single: client.SingleToken, shared: true}
	found.published.Store(true)
	return found
}

// afterError returns the backoff of a key.
func (r *rows) afterError(err error, failures int, cached bool) cache.Reaction {
	f := failureOf(err)
	if f.caller != "" {
		return cache.Reaction{} // another caller may try at once
	}
	if f.backoff == 0 {
		f.backoff = r.backoff(f.fault, failures, cached)
	}
	return cache.Reaction{Backoff: f.backoff}
}
