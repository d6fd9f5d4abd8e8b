package tokensource

import (
	"context"
	"errors"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

const (
	// shadowTime is how long the request that replaced a token waits for the shadow at
	// most, and shadowMargin what it must have left for its answer.
	shadowTime   = 3 * time.Second
	shadowMargin = time.Second
	// shadowLockout is how long a version's shadow that was refused is not tried again:
	// nothing is lost by that, and the authorization server counts failed logons.
	shadowLockout = 23 * time.Hour
	// shadowBackoff is that of a shadow that was throttled or not reached.
	shadowBackoff = 5 * time.Minute
	// shadowSuffix marks a shadow in the lockout. A shadow has a lockout of its own: it can
	// neither keep the credential that works from being sent, nor make a caller wait.
	shadowSuffix = "\x00shadow"
)

// ShadowResult is the result of a client's second credential, see [Config].
type ShadowResult struct {
	Client        *registry.Client
	CorrelationID string
	// Err is nil if the credential obtained a token.
	Err *fault.Error
}

// shadow tries the second credential of clients that have one.
type shadow struct {
	runtime
	fleet    *fleet.Fleet
	exchange *exchanger
	report   func(ShadowResult)
}

// try tries the client's second credential after the first one has replaced a token, when
// that is there for all callers and all leases have ended. The shadow's token is thrown
// away. Only the request that replaced the token waits.
func (s *shadow) try(ctx context.Context, r *Request) {
	second := r.Client.Shadow
	if second == nil || s.rand() >= second.Share {
		return
	}
	if second.Problem != "" {
		s.note(r, &oauth.Error{Reason: oauth.NoProof, Detail: second.Problem})
		return
	}
	limit := shadowTime
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)-shadowMargin)
	}
	if limit < shadowMargin {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	g := s.begin(ctx, r.Client)
	if g == nil {
		return
	}
	defer g.free()
	failed := s.call(ctx, r)
	g.lease.Finish(context.WithoutCancel(ctx), s.finish(g, failed))
	s.note(r, failed)
}

// begin returns the permission to try the shadow; nil: it is not to be tried now. If there
// is a table, no environment goes without its lease: a table that is down is no reason for
// one failed logon per environment.
func (s *shadow) begin(ctx context.Context, c *registry.Client) *logon {
	if s.exchange.lockout.locked(c.Name+shadowSuffix, c.Shadow.Version) != nil {
		return nil
	}
	g := s.exchange.lockout.begin(ctx, c.Name+shadowSuffix, c.Shadow.Version, firstSlot, time.Time{}, nil)
	if g == nil {
		return nil
	}
	if s.fleet == nil {
		return g
	}
	a := s.fleet.Session(ctx).Acquire(ctx, fleet.LogonRow, c.Name+"\x00"+c.Shadow.Version+shadowSuffix, fleet.Want{Cached: true})
	if g.lease = a.Lease; a.State == fleet.Acquired {
		return g
	}
	if len(a.Row.Note) > 0 {
		e, _ := readNote(a.Row.Note)
		g.remember(refusal{fault: e, until: a.Row.Until, times: 1})
	}
	g.release(ctx)
	return nil
}

// call makes one attempt. A panic in it must not cost the token that is there.
func (s *shadow) call(ctx context.Context, r *Request) (failed *oauth.Error) {
	defer func() {
		if recover() != nil {
			failed = &oauth.Error{Reason: oauth.NoProof, Detail: "internal error"}
		}
	}()
	_, failed = exchangeWith(ctx, s.exchange.oauth, r.Client.Shadow.OAuth, oauth.Request{Ask: r.Ask, CorrelationID: r.CorrelationID, MaxAttempts: 1})
	return failed
}

// finish remembers a failure, and returns how the shadow's row is left. A throttling server
// counts against the shadow only: the credential that works finds out by itself. The row
// counts no failures, because a lockout of more than four hours is believed only without.
func (s *shadow) finish(g *logon, failed *oauth.Error) fleet.Result {
	if failed == nil {
		return fleet.Result{Until: s.now()}
	}
	r := refusal{fault: exchangeFault(failed), until: s.now().Add(shadowBackoff), times: 1}
	var text []byte
	if failed.FailedLogon() {
		s.count(CountFailedLogon)
		r.until = s.now().Add(shadowLockout)
		text = noteOf(r.error())
	}
	g.remember(r)
	return fleet.Result{Until: r.until, Note: text}
}

// note counts the result and reports it.
func (s *shadow) note(r *Request, failed *oauth.Error) {
	result, name := ShadowResult{Client: r.Client, CorrelationID: r.CorrelationID}, CountShadowGood
	if failed != nil {
		result.Err, name = exchangeFault(failed), CountShadowBad
	}
	s.count(name)
	s.report(result)
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
