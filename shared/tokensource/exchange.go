package tokensource

import (
	"context"
	"sync"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
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
	states  *clientStates
	lockout *lockout
	limiter *limiter
	// newer reports whether there is a newer version of a client's document.
	newer func(context.Context, *registry.Client) bool
}

func newExchanger(rt runtime, cfg Config) *exchanger {
	return &exchanger{
		runtime: rt, oauth: cfg.Exchanger, newer: cfg.Newer, states: newClientStates(rt), lockout: newLockouts(rt),
		limiter: &limiter{runtime: rt, fleet: cfg.Fleet, environments: cfg.Environments, rates: cfg.Rates},
	}
}

// result is that of an exchange. One of token, retry, keep and err is set.
type result struct {
	token *oauth.Token
	by    *registry.Client // that obtained token
	// retry is when to look again, because another caller's exchange is under way.
	retry time.Duration
	// keep is until when the cached token is kept, because no exchange is needed now.
	keep time.Time
	err  error
	// end ends the logon; nil: there was none.
	end func(context.Context)
}

// attempt is the exchange of one credential of a client for a load.
type attempt struct {
	x       *exchanger
	session *fleet.Session
	lease   *fleet.Lease // of the token
	load    *load
	// client is the load's, or has the client's previous credential.
	client *registry.Client
	// firstLockout returns how long the credential is locked out if it is refused for the
	// first time.
	firstLockout func() time.Duration
	// until is when the wait for permission ends.
	until time.Time
	logon *logon
	// refuted means that the second slot was taken for a credential that is not proven any more.
	refuted bool
}

// exchange makes one exchange with the credential of client, unless that is known to be
// refused, here or in the fleet, or the limiter withholds it. If a usable token is cached,
// exchange does not wait for other callers. lease is the token's.
func (x *exchanger) exchange(ctx context.Context, session *fleet.Session, lease *fleet.Lease, l *load, client *registry.Client, firstLockout func() time.Duration) result {
	a := &attempt{x: x, session: session, lease: lease, load: l, client: client, firstLockout: firstLockout, until: l.begun.Add(l.patience())}
	r := a.begin(ctx)
	if a.refuted {
		r.end(ctx)
		r = a.begin(ctx) // in the first slot
	}
	return r
}

// begin is exchange with a permission of this environment that is waited for.
func (a *attempt) begin(ctx context.Context) (r result) {
	x, l := a.x, a.load
	waiting := func() { a.renew(ctx) }
	if l.usable {
		waiting = nil
	}
	a.logon = x.lockout.begin(ctx, a.client.Name, a.client.Version, l.slots(a.state().proven(a.client)), a.until, waiting)
	switch {
	case a.logon == nil && l.usable:
		return result{retry: refreshPoll}
	case a.logon == nil:
		return result{err: x.noPermit(ctx)}
	}
	ok := false
	defer func() {
		if !ok { // a panic must not leave the credential blocked
			a.logon.release(ctx)
		}
	}()
	r = a.logOn(ctx)
	ok = true
	return r
}

// noPermit returns the error of a request that waited in vain for the permission to make an
// exchange.
func (x *exchanger) noPermit(ctx context.Context) error {
	if ctx.Err() != nil {
		return fault.TimedOut()
	}
	x.count(CountThrottled)
	why := "other exchanges of the client are under way"
	return &failure{fault: &fault.Error{Kind: fault.Throttled, Description: why, RetryAfter: minRetryAfter}, backoff: minRetryAfter, alone: true}
}

// admitAsk returns the error of an ask that never obtained a token, or none the last time, or whose
// token is replaced before it is due, if there were too many of these; nil: it may be tried.
func (x *exchanger) admitAsk(ctx context.Context, session *fleet.Session, l *load) error {
	ctx, cancel := context.WithTimeout(ctx, permitTime)
	defer cancel()
	var spent, wait time.Duration
	x.states.update(ctx, session, l.Client.Name, func(s *clientState) {
		if spent, wait = s.Failures.withheld(l, x.now()), 0; spent == 0 && (l.untried || l.forced) {
			wait = s.admit(x.now(), l.Caller, l.untried)
		}
	})
	switch {
	case spent > 0:
		return x.refuseParameters(spent, l)
	case wait > 0 && l.forced:
		f := x.refuseAsk(wait, minRetryAfter, "this caller had too many tokens of this client replaced, by rejected or min_ttl, or asked for too many new combinations of parameters")
		f.caller = l.Caller
		return f
	case wait > 0:
		return x.refuseAsk(wait, minRetryAfter, "there are too many new combinations of parameters for this client; those that obtained a token before are not affected")
	}
	return nil
}

// refuseParameters returns the error of parameters that are not tried because others, or the same,
// caused failed logons.
func (x *exchanger) refuseParameters(wait time.Duration, l *load) error {
	if l.untried {
		return x.refuseAsk(wait, minRetryAfter, "the authorization server refused parameters of this caller, or of two others, within the last hour; parameters that never obtained a token are not tried now")
	}
	return x.refuseAsk(wait, min(wait, permanentBackoff), "the authorization server refused the parameters of this request, and other ones within the last hour; they are not tried again now")
}

func (x *exchanger) refuseAsk(wait, backoff time.Duration, why string) *failure {
	x.count(CountAsks)
	return &failure{fault: &fault.Error{Kind: fault.Throttled, Description: why, RetryAfter: max(wait, minRetryAfter)}, backoff: max(backoff, minRetryAfter), alone: true}
}

// inTime reports whether there is time for an attempt at a server that needs more than most
// (attempt_timeout). An attempt that is cut off may bring a token that no caller gets.
func inTime(ctx context.Context, c *oauth.Client) bool {
	deadline, ok := ctx.Deadline()
	need := c.AttemptTimeout()
	return !ok || need <= exchangeReserve || time.Until(deadline) >= need
}

// logOn is exchange with the permission of this environment.
func (a *attempt) logOn(ctx context.Context) result {
	x, l, g := a.x, a.load, a.logon
	if locked := x.lockout.locked(g.client, g.version); locked != nil {
		x.count(CountFuse)
		// The table's writer may have deleted the row that keeps the other environments from
		// trying it.
		a.session.Guard(ctx, fleet.LogonRow, g.row())
		return result{err: locked.error(), end: g.release}
	}
	if retry, err := x.limiter.admit(ctx, a.session, a.permit(l.usable)); retry > 0 || err != nil {
		return result{retry: retry, err: err, end: g.release}
	}
	busy, err := g.lead(ctx, a.session, l.usable, a.until, func() { a.renew(ctx) })
	switch {
	case err != nil:
		x.count(CountFuse)
		x.states.read(ctx, a.session, g.client) // so that this environment believes no proof that was refuted
		return result{err: err, end: g.release}
	case busy && l.usable:
		return result{retry: refreshPoll, end: g.release}
	case busy:
		return result{err: x.noPermit(ctx), end: g.release}
	}
	if r, ok := a.learn(ctx); ok {
		return r
	}
	// A function that was frozen may have lost the lease, and the others may know more.
	if !inTime(ctx, a.client.OAuth) || !g.lease.Confirm(ctx) {
		return result{err: x.noPermit(ctx), end: g.release}
	}
	token, failed := a.call(ctx, &l.Ask)
	switch {
	case failed == nil:
		return result{token: token, by: a.client, end: a.proven(&l.Ask)}
	case !failed.FailedLogon():
		return result{err: exchangeFault(failed), end: g.release}
	case l.chosen:
		return a.findFault(ctx, failed)
	}
	return a.refused(ctx, failed)
}

// findFault decides what a failed logon with parameters that a caller chose says of the
// credential.
func (a *attempt) findFault(ctx context.Context, failed *oauth.Error) result {
	x, l := a.x, a.load
	state := a.state()
	if !state.proven(a.client) {
		// Another environment may have found out since that the credential works.
		*state = x.states.read(ctx, a.session, a.client.Name)
	}
	switch {
	case state.proven(a.client) && a.client == l.Client:
		return a.verify(ctx, failed)
	case l.untried && !state.Suspects.examined(a.client.Version):
		return a.suspect(ctx, failed)
	}
	return a.refused(ctx, failed)
}

func (a *attempt) state() *clientState {
	state := a.x.states.get(a.client.Name)
	return &state
}

// permit describes the permit of one exchange.
func (a *attempt) permit(cached bool) permitFor {
	return permitFor{host: a.client.IssuerHost, client: a.client.Name, rate: a.client.Rate, cached: cached, patience: max(0, a.until.Sub(a.x.now()))}
}

// permitted takes a permit for one more request, if there is one now.
func (a *attempt) permitted(ctx context.Context) bool {
	retry, err := a.x.limiter.admit(ctx, a.session, a.permit(true))
	return retry == 0 && err == nil
}

// proven returns what ends the logon of a credential that obtained a token by ask.
func (a *attempt) proven(ask *ask.Ask) func(context.Context) {
	return func(ctx context.Context) {
		defer a.logon.proven(ctx)
		state, session, now := a.state(), a.session, a.x.now()
		known := state.proven(a.client)
		if known && ask.Key() != a.client.Defaults.Key() {
			session = nil // the other environments learn of a newer reference when there is more to say
		}
		if !known || state.outdated(now, a.client, ask) {
			a.x.states.update(ctx, session, a.client.Name, func(s *clientState) { s.prove(now, a.client, ask) })
		}
	}
}

// refused locks the credential out.
func (a *attempt) refused(ctx context.Context, failed *oauth.Error) result {
	r := a.refusal(failed)
	a.failedLogon(ctx, func(s *clientState) { s.refuse(a.x.now(), a.client) })
	return lockedOut(a.logon, r)
}

// lockedOut returns the result that ends a logon with the lockout r.
func lockedOut(g *logon, r refusal) result {
	return result{err: r.error(), end: func(ctx context.Context) { g.lock(ctx, r) }}
}

// refusal returns the lockout of the credential that follows from a failed logon.
func (a *attempt) refusal(failed *oauth.Error) refusal {
	return a.logon.refused(exchangeFault(failed), a.firstLockout(), a.state().proven(a.client))
}

// renew prolongs leases that are close to their end. A lost lease is not an error: the
// conditional write discards the result, which costs an exchange at most.
func (a *attempt) renew(ctx context.Context) { a.renewIf(ctx, (*fleet.Lease).Valid) }

// renewIf renews the leases for which held is true, if they are close to their end.
func (a *attempt) renewIf(ctx context.Context, held func(*fleet.Lease) bool) {
	leases := []*fleet.Lease{a.lease}
	if a.logon != nil {
		leases = append(leases, a.logon.lease)
	}
	for _, lease := range leases {
		if lease != nil && held(lease) && lease.End.Sub(a.x.now()) < exchangeReserve {
			lease.Renew(ctx)
		}
	}
}

// renewRepeatedly keeps the leases for an attempt that may take longer than one lasts, until
// stop is called. A call of the table that failed is repeated as long as no other environment
// can have taken over.
func (a *attempt) renewRepeatedly(ctx context.Context) (stop func()) {
	ticker, stopped := time.NewTicker(renewInterval), make(chan struct{})
	held := func(lease *fleet.Lease) bool { return lease.Valid() || a.x.now().Before(lease.End) }
	var renewing sync.WaitGroup
	renewing.Go(func() {
		defer func() { _ = recover() }() // a panic here must not end the process
		for {
			select {
			case <-ticker.C:
				a.renewIf(ctx, held)
			case <-stopped:
				return
			}
		}
	})
	return func() {
		ticker.Stop()
		close(stopped)
		renewing.Wait()
	}
}

// call makes the exchange within the leases. If a token is cached, or the last exchange
// failed, there is one attempt only.
func (a *attempt) call(ctx context.Context, ask *ask.Ask) (*oauth.Token, *oauth.Error) {
	x, l := a.x, a.load
	a.renew(ctx)
	r := oauth.Request{Ask: *ask, CorrelationID: l.CorrelationID, Proven: a.state().proven(a.client), Permit: a.permitted}
	if l.usable || ask != &l.Ask || l.failedBefore(a.lease) {
		r.MaxAttempts = 1
	}
	exchanging := ctx
	if a.client.OAuth.AttemptTimeout() > exchangeReserve {
		defer a.renewRepeatedly(ctx)()
	} else {
		for _, each := range [...]*fleet.Lease{a.lease, a.logon.lease} {
			if each.Valid() {
				var cancel context.CancelFunc
				exchanging, cancel = context.WithTimeout(exchanging, each.End.Sub(x.now())-leaseMargin)
				defer cancel()
			}
		}
	}
	x.count(CountExchange)
	token, failed := exchangeWith(exchanging, x.oauth, a.client.OAuth, r)
	x.limiter.report(ctx, a.session, a.client.IssuerHost, a.client.Name, failed)
	return token, failed
}
