package tokensource

import (
	"context"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/oauth"
)

// learn decides what other environments' results leave to do. The lease of the logon is held,
// so that nothing new is found out meanwhile.
func (a *attempt) learn(ctx context.Context) (result, bool) {
	x, l := a.x, a.load
	candidate := l.foreign(a.client)
	state := a.readState(ctx, candidate)
	proven := state.proven(a.client)
	if a.refuted = !proven && a.logon.slot > 0; a.refuted {
		return result{end: a.logon.release}, true // another environment may send the credential in the first slot
	}
	if candidate && proven && !l.wanes(x.now()) {
		return result{keep: l.cachedUntil(l.cached.Expiry()), end: a.logon.release}, true
	}
	if spent := state.Failures.withheld(l, x.now()); spent > 0 {
		return result{err: x.refuseParameters(spent, l), end: a.logon.release}, true
	}
	suspect := state.Suspects.of(a.client.Version)
	switch {
	case proven || suspect == nil:
		return result{}, false
	case candidate && !l.wanes(x.now()):
		// It was refused once, and the token need not be replaced.
		return result{keep: l.cachedUntil(l.cached.Expiry()), end: a.logon.release}, true
	case len(state.Logons) >= maxFailedLogons, suspect.bars(l.Caller, a.client != l.Client, x.now()):
		return x.suspected(a.logon, suspect), true
	case l.chosen && !suspect.Examined:
		return a.prove(ctx, state, suspect)
	}
	return result{}, false
}

// readState returns what is known of the client. It reads the table if something in there may
// decide: another environment may have found out that the credential works, or that it does not.
func (a *attempt) readState(ctx context.Context, candidate bool) *clientState {
	state := a.state()
	_, refused := a.x.lockout.refusal(a.client.Name, a.client.Version)
	if a.logon.failedBefore() || !state.proven(a.client) && (candidate || refused) || (a.load.untried || a.load.doubted) && len(state.Failures) > 0 {
		*state = a.x.states.read(ctx, a.session, a.client.Name)
	}
	return state
}

// suspected refuses the caller whose parameters, or the credential, were refused before.
func (x *exchanger) suspected(g *logon, s *suspect) result {
	x.count(CountFuse)
	e, _ := readNote(s.Note)
	return result{err: refusal{fault: e, until: time.UnixMilli(s.Until), times: 1}.error(), end: g.release}
}

// prove finds out whether the credential works before further parameters that a caller chose
// are sent with it. Where the server accepts no request without some of them, only an ask that
// obtained a token before can tell, or the parameters of another caller, which are sent once.
func (a *attempt) prove(ctx context.Context, state *clientState, s *suspect) (result, bool) {
	x := a.x
	if a.load.Client.SingleToken {
		return x.suspected(a.logon, s), true // the token of a proof would end the one that callers hold
	}
	by, failed := a.examine(ctx, state)
	switch {
	case failed == nil:
		x.states.update(ctx, a.session, a.client.Name, func(s *clientState) { s.prove(x.now(), a.client, by) })
		retry, err := x.limiter.admit(ctx, a.session, a.permit(a.load.usable))
		return result{retry: retry, err: err, end: a.logon.release}, retry > 0 || err != nil
	case !failed.FailedLogon():
		return result{err: exchangeFault(failed), end: a.logon.release}, true
	}
	examined := *s
	examined.Examined = true
	a.failedLogon(ctx, func(c *clientState) { c.Suspects = c.Suspects.add(examined) })
	r := a.refusal(failed)
	if a.client == a.load.Client && s.Caller != a.load.Caller && a.permitted(ctx) {
		r.until = x.now()
		a.logon.remember(r) // it counts, but locks nothing out yet
		return result{}, false
	}
	return lockedOut(a.logon, r), true
}

// suspect keeps the credential from being sent again for the same caller for a while, and
// from being sent with parameters that other callers chose before it is proven.
func (a *attempt) suspect(ctx context.Context, failed *oauth.Error) result {
	r := a.refusal(failed)
	s := suspect{Version: a.client.Version, Caller: a.load.Caller, Until: r.until.UnixMilli(), Note: noteOf(r.error())}
	a.failedLogon(ctx, func(c *clientState) {
		if c.proven(a.client) {
			c.Failures = c.Failures.add(a.x.now(), a.load.Caller, a.load.id())
		} else {
			c.Suspects = c.Suspects.add(s)
		}
	})
	return result{err: r.error(), end: func(ctx context.Context) { a.logon.count(ctx, r) }}
}

// failedLogon counts a failed logon, here and in what is known of the client, which it returns.
func (a *attempt) failedLogon(ctx context.Context, change func(*clientState)) clientState {
	a.x.count(CountFailedLogon)
	return a.x.states.update(ctx, a.session, a.client.Name, func(s *clientState) {
		s.failLogon(a.x.now())
		change(s)
	})
}

// verify finds out whether a failed logon is the fault of the credential or of parameters
// that a caller chose, by an exchange with parameters that the caller did not choose.
func (a *attempt) verify(ctx context.Context, failed *oauth.Error) result {
	x, l := a.x, a.load
	state := a.failedLogon(ctx, func(s *clientState) {
		if s.refersTo(&l.Ask) {
			s.dropReference(x.now())
		}
	})
	second := state.failedAtOnce(x.now())
	if second {
		state = x.states.awaitRefusal(ctx, a.session, a.client)
	}
	switch {
	case !state.proven(a.client):
		return lockedOut(a.logon, a.refusal(failed)) // the exchange in the other slot has found that out
	case x.newer(ctx, l.Client):
		// Nothing needs to be found out about a credential that has been replaced. The other
		// environments learn that by the lockout.
		return lockedOut(a.logon, a.refusal(failed))
	}
	// An exchange to find out would end the token that callers hold, if there is a single one.
	sure := false
	if !second && !l.Client.SingleToken && a.permitted(ctx) {
		_, refused := a.examine(ctx, &state)
		if refused != nil && refused.FailedLogon() {
			return a.refused(ctx, refused)
		}
		sure = refused == nil
	}
	x.count(CountParameters)
	x.states.update(ctx, a.session, a.client.Name, func(s *clientState) { s.Failures = s.Failures.add(x.now(), l.Caller, l.id()) })
	return result{err: &failure{fault: parametersFault(failed, sure), backoff: l.parametersBackoff(a.lease), version: l.Client.Version}, end: a.logon.release}
}

// examine makes an exchange with parameters that the caller did not choose, to find out whether the
// credential or the caller's parameters are at fault. The last word is that of the reference, if it
// obtained a token lately, or else of the document's own parameters. It returns the ask that had it,
// and the error; nil: the server accepts the credential.
func (a *attempt) examine(ctx context.Context, state *clientState) (*ask.Ask, *oauth.Error) {
	x, defaults := a.x, &a.load.Client.Defaults
	if state.Reference == nil || state.refersTo(&a.load.Ask) || state.refersTo(defaults) {
		_, failed := a.call(ctx, defaults)
		return defaults, failed
	}
	_, failed := a.call(ctx, state.Reference)
	lately := x.now().Sub(time.UnixMilli(state.ReferenceAt)) < referenceLife
	if failed == nil || !failed.FailedLogon() || lately || !a.permitted(ctx) {
		return state.Reference, failed
	}
	a.failedLogon(ctx, func(s *clientState) { s.dropReference(x.now()) })
	_, failed = a.call(ctx, defaults)
	return defaults, failed
}
