package tokensource

import (
	"context"
	"errors"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// leaseMargin is what is left of a lease to write the result.
const leaseMargin = 300 * time.Millisecond

// exchanger makes exchanges, within the limits of the lockout and of the limiter.
type exchanger struct {
	runtime
	oauth   *oauth.Exchanger
	lockout *lockout
	limiter *limiter
}

func newExchanger(rt runtime, cfg Config) *exchanger {
	return &exchanger{
		runtime: rt, oauth: cfg.Exchanger, lockout: &lockout{runtime: rt},
		limiter: &limiter{runtime: rt, fleet: cfg.Fleet, environments: cfg.Environments},
	}
}

// lockedOut returns the error of a credential that must not be sent now, as far as this
// environment knows; nil: it may be sent, or is being sent.
func (x *exchanger) lockedOut(ctx context.Context, c *registry.Client) error {
	g := x.lockout.begin(ctx, c.Name, c.Version, nil)
	if g == nil {
		return nil
	}
	defer g.free()
	if failure := g.lockedOut(); failure != nil {
		return failure
	}
	return nil
}

// result is that of an exchange. One of token, retry and err is set.
type result struct {
	token *oauth.Token
	// retry is when to look again, because another caller's exchange is under way.
	retry time.Duration
	err   error
	// end ends the logon; nil: there was none.
	end func(context.Context)
}

// exchange makes one exchange, unless the client's credential is known to be refused, here
// or in the fleet, or the limiter withholds it. If a usable token is cached, exchange does
// not wait for other callers. lease is the token's.
func (x *exchanger) exchange(ctx context.Context, session *fleet.Session, lease *fleet.Lease, l *load) result {
	renew := func() { x.renew(ctx, lease) }
	waiting := renew
	if l.usable {
		waiting = nil
	}
	g := x.lockout.begin(ctx, l.Client.Name, l.Client.Version, waiting)
	switch {
	case g == nil && l.usable:
		return result{retry: refreshPoll}
	case g == nil:
		return result{err: ctx.Err()}
	}
	ok := false
	defer func() {
		if !ok { // a panic must not leave the credential blocked
			g.release(ctx)
		}
	}()
	r := x.logOn(ctx, session, lease, l, g, renew)
	ok = true
	return r
}

// logOn is exchange with the permission of this environment.
func (x *exchanger) logOn(ctx context.Context, session *fleet.Session, lease *fleet.Lease, l *load, g *logon, renew func()) result {
	if locked := g.lockedOut(); locked != nil {
		x.count(CountFuse)
		return result{err: locked, end: g.release}
	}
	if retry, err := x.limiter.admit(ctx, session, permitFor{host: l.Client.IssuerHost, client: l.Client.Name, cached: l.usable, patience: maxWait}); retry > 0 || err != nil {
		return result{retry: retry, err: err, end: g.release}
	}
	busy, err := g.lead(ctx, session, l.Client.Name+"\x00"+l.Client.Version, l.usable, renew)
	switch {
	case err != nil:
		x.count(CountFuse)
		return result{err: err, end: g.release}
	case busy:
		return result{retry: refreshPoll, end: g.release}
	}
	renew()
	token, failed := x.call(ctx, lease, g.lease, l)
	x.limiter.report(ctx, session, l.Client.IssuerHost, l.Client.Name, failed)
	switch {
	case failed == nil:
		return result{token: token, end: g.proven}
	case failed.FailedLogon():
		r := g.refused(exchangeFault(failed))
		return result{err: r.error(), end: func(ctx context.Context) { g.lock(ctx, r) }}
	}
	return result{err: exchangeFault(failed), end: g.release}
}

// renew prolongs a lease that is close to its end. A lost lease is not an error: the
// conditional write discards the result, which costs an exchange at most.
func (x *exchanger) renew(ctx context.Context, lease *fleet.Lease) {
	if lease.Valid() && lease.End.Sub(x.now()) < exchangeReserve {
		lease.Renew(ctx)
	}
}

// call makes the exchange within the leases. If a token is cached, or the last exchange
// failed, there is one attempt only.
func (x *exchanger) call(ctx context.Context, lease, logon *fleet.Lease, l *load) (*oauth.Token, *oauth.Error) {
	for _, each := range [...]*fleet.Lease{lease, logon} {
		if each.Valid() {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, each.End.Sub(x.now())-leaseMargin)
			defer cancel()
		}
	}
	r := oauth.Request{Ask: l.Ask, CorrelationID: l.CorrelationID}
	if l.usable || l.failed || lease.Valid() && lease.Failures > 0 {
		r.MaxAttempts = 1
	}
	x.count(CountExchange)
	return exchangeWith(ctx, x.oauth, l.Client.OAuth, r)
}

// exchangeWith returns every error as an [oauth.Error].
func exchangeWith(ctx context.Context, x *oauth.Exchanger, c *oauth.Client, r oauth.Request) (*oauth.Token, *oauth.Error) {
	token, err := x.Exchange(ctx, c, r)
	var failed *oauth.Error
	if err != nil && !errors.As(err, &failed) {
		failed = &oauth.Error{Reason: oauth.NoProof}
	}
	return token, failed
}
