package tokensource

import (
	"context"
	"time"

	"tokenvendor/shared/oauth"
)

// learn decides what other environments' results leave to do. The lease of the logon is held,
// so that nothing new is found out meanwhile.
func (a *attempt) learn(ctx context.Context) (result, bool) {
	x, l := a.x, a.load
	candidate := l.foreign(a.client)
	state := a.readState(ctx, candidate)
	proven := state.proven(a.client)
	if candidate && proven && !l.wanes(x.now()) {
		return result{keep: l.cachedUntil(l.cached.Expiry()), end: a.logon.release}, true
	}
	if spent := state.spent(x.now(), l.Caller); l.untried && spent > 0 {
		return result{err: x.refuseAsk(spent, parametersSpent), end: a.logon.release}, true
	}
	suspect := state.suspected(a.client.Version)
	switch {
	case proven || suspect == nil:
		return result{}, false
	case candidate && !l.wanes(x.now()):
		// It was refused once, and the token need not be replaced.
		return result{keep: l.cachedUntil(l.cached.Expiry()), end: a.logon.release}, true
	case len(state.Logons) >= maxFailedLogons, suspect.Caller == l.Caller && x.now().Before(time.UnixMilli(suspect.Until)):
		return a.suspected(suspect), true
	case l.chosen && l.Client.SingleToken:
		return a.suspected(suspect), true // the token of a proof would end the one that callers hold
	case l.chosen:
		return a.prove(ctx)
	}
	return result{}, false
}

// readState returns what is known of the client. It reads the table if something in there may
// decide.
func (a *attempt) readState(ctx context.Context, candidate bool) *clientState {
	state := a.state()
	failed := a.logon.lease.Valid() && a.logon.lease.Failures > 0
	if !state.proven(a.client) && (candidate || failed) || a.load.untried && len(state.Failures) > 0 {
		*state = a.x.states.read(ctx, a.session, a.client.Name)
	}
	return state
}

// suspected refuses the caller whose parameters, or the credential, were refused before.
func (a *attempt) suspected(s *suspect) result {
	a.x.count(CountFuse)
	e, _ := readNote(s.Note)
	return result{err: refusal{fault: e, until: time.UnixMilli(s.Until), times: 1}.error(), end: a.logon.release}
}

// prove finds out whether the credential works before further parameters that a caller chose
// are sent with it.
func (a *attempt) prove(ctx context.Context) (result, bool) {
	x, defaults := a.x, &a.load.Client.Defaults
	_, failed := a.call(ctx, defaults)
	switch {
	case failed == nil:
		x.states.update(ctx, a.session, a.client.Name, func(s *clientState) { s.prove(x.now(), a.client, defaults) })
		retry, err := x.limiter.admit(ctx, a.session, a.permit(a.load.usable))
		return result{retry: retry, err: err, end: a.logon.release}, retry > 0 || err != nil
	case failed.FailedLogon():
		return a.refused(ctx, failed), true
	}
	return result{err: exchangeFault(failed), end: a.logon.release}, true
}

// suspect keeps the credential from being sent again for the same caller for a while, and
// from being sent with parameters that other callers chose before it is proven.
func (a *attempt) suspect(ctx context.Context, failed *oauth.Error) result {
	r := a.logon.refused(exchangeFault(failed), a.firstLockout())
	s := suspect{Version: a.client.Version, Caller: a.load.Caller, Until: r.until.UnixMilli(), Note: noteOf(r.error())}
	a.failedLogon(ctx, func(c *clientState) {
		if c.proven(a.client) {
			c.fail(a.x.now(), a.load.Caller)
		} else {
			c.Suspect = &s
		}
	})
	return result{err: r.error(), end: func(ctx context.Context) { a.logon.count(ctx, r) }}
}

// failedLogon counts a failed logon, here and in what is known of the client.
func (a *attempt) failedLogon(ctx context.Context, change func(*clientState)) {
	a.x.count(CountFailedLogon)
	a.x.states.update(ctx, a.session, a.client.Name, func(s *clientState) {
		s.failLogon(a.x.now())
		change(s)
	})
}

// verify finds out whether a failed logon is the fault of the credential or of parameters
// that a caller chose, by an exchange with parameters that the caller did not choose.
func (a *attempt) verify(ctx context.Context, failed *oauth.Error) result {
	x, l := a.x, a.load
	a.failedLogon(ctx, func(*clientState) {})
	if x.newer(ctx, l.Client) {
		// Nothing needs to be found out about a credential that has been replaced. The other
		// environments learn that by the lockout.
		r := a.logon.refused(exchangeFault(failed), lockoutTime(1))
		return result{err: r.error(), end: func(ctx context.Context) { a.logon.lock(ctx, r) }}
	}
	reference := a.state().Reference
	if reference == nil || reference.Key() == l.Ask.Key() {
		reference = &l.Client.Defaults
	}
	// An exchange to find out would end the token that callers hold, if there is a single one.
	sure := false
	if !l.Client.SingleToken && a.permitted(ctx) {
		_, second := a.call(ctx, reference)
		if second != nil && second.FailedLogon() {
			return a.refused(ctx, second)
		}
		sure = second == nil
	}
	x.count(CountParameters)
	x.states.update(ctx, a.session, a.client.Name, func(s *clientState) { s.fail(x.now(), l.Caller) })
	return result{err: parametersFault(failed, sure), end: a.logon.release}
}
