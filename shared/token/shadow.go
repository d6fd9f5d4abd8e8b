package token

import (
	"context"
	"errors"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

const (
	// shadowTime is how long the request that replaced a token waits for the shadow
	// at most, and shadowMargin what it must have left for its answer.
	shadowTime   = 3 * time.Second
	shadowMargin = time.Second
	// shadowMemory is how long a version's shadow that was refused is not tried
	// again: nothing is lost by that, and the authorization server counts.
	shadowMemory = 23 * time.Hour
	// shadowRest is how long a shadow rests that was throttled or not reached.
	shadowRest = 5 * time.Minute
)

// asShadow marks what is known of a client's shadow, which has turns and a fuse of its
// own: it can neither keep the credential that works from being sent, nor make anybody
// wait for it.
const asShadow = "\x00shadow"

// tryShadow tries the client's second credential after the first has replaced a token,
// when that is there for everybody and all turns and leases are given back; what the
// shadow brings is thrown away. Only the request that replaced the token waits.
func (v *Vendor) tryShadow(ctx context.Context, client *registry.Client, want oauth.Request) {
	shadow := client.Shadow
	if shadow == nil || v.rand() >= shadow.Share {
		return
	}
	if shadow.Problem != "" {
		v.recordShadow(client, want, &oauth.Error{Reason: oauth.NoProof, Detail: shadow.Problem})
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
	known, leave := v.logons.enter(ctx, client.Name+asShadow, 0)
	if leave == nil {
		return
	}
	defer leave()
	if known.refused(shadow.Version, v.now()) != nil {
		return
	}
	turn, ok := v.shadowTurn(ctx, client, known)
	if !ok {
		return
	}
	failure := v.callShadow(ctx, client, want)
	rest := fleet.Rest{Until: v.now()}
	if failure != nil {
		rest = v.restShadow(client, known, failure)
	}
	turn.Finish(context.WithoutCancel(ctx), rest)
	v.recordShadow(client, want, failure)
}

// shadowTurn takes the fleet's turn for the shadow. With a table nobody goes without
// it: a table that is down is no reason for one failed logon an environment.
func (v *Vendor) shadowTurn(ctx context.Context, client *registry.Client, known *logon) (turn *fleet.Lease, ok bool) {
	if v.fleet == nil {
		return nil, true
	}
	turn, row := v.fleet.Visit(ctx).Take(ctx, fleet.LogonRow, client.Name+"\x00"+client.Shadow.Version+asShadow)
	if row != nil && !row.Leased && len(row.Value) > 0 {
		known.refuse(client.Shadow.Version, v.failedElsewhere(row), row.Until, v.now(), 1)
	}
	if !turn.Held() {
		turn.Finish(ctx, fleet.Rest{Until: v.now()})
		return nil, false
	}
	return turn, true
}

// callShadow makes one attempt; a panic in it must not cost the token that is there.
func (v *Vendor) callShadow(ctx context.Context, client *registry.Client, want oauth.Request) (failure *oauth.Error) {
	defer func() {
		if recover() != nil {
			failure = &oauth.Error{Reason: oauth.NoProof, Detail: "internal error"}
		}
	}()
	want.MaxAttempts = 1
	_, err := v.exchanger.Exchange(ctx, client.Shadow.OAuth, want)
	if err != nil && !errors.As(err, &failure) {
		failure = &oauth.Error{Reason: oauth.NoProof}
	}
	return failure
}

// restShadow remembers a failure. That the server wants to be left alone is said of
// the shadow only: the credential that works finds out by itself.
func (v *Vendor) restShadow(client *registry.Client, known *logon, failure *oauth.Error) fleet.Rest {
	now, refusal := v.now(), exchangeFailure(failure)
	memory, note := shadowRest, []byte(nil)
	if failure.FailedLogon() {
		v.count(CountFailedLogon)
		memory, note = shadowMemory, noteOf(refusal)
	}
	until := now.Add(memory)
	known.refuse(client.Shadow.Version, refusal, until, now, 1)
	rest := fleet.Rest{Until: until}
	if note != nil {
		rest.Keep, rest.Value = until, note
	}
	return rest
}

// recordShadow counts how it went, and writes a line about it.
func (v *Vendor) recordShadow(client *registry.Client, want oauth.Request, failure *oauth.Error) {
	e := audit.Event{
		Type: audit.Shadow, Time: v.now(), RequestID: want.CorrelationID, Client: client.Name, Outcome: "succeeded",
		IssuerHost: client.Shadow.IssuerHost, Method: string(client.Shadow.Method), SecretVersion: client.Shadow.Version,
	}
	name := CountShadowGood
	if failure != nil {
		refusal := exchangeFailure(failure)
		name, e.Outcome, e.Error, e.Detail, e.CorrelationID = CountShadowBad, "failed", refusal.Kind.Code(), failure.Error(), refusal.CorrelationID
		if u := refusal.Upstream; u != nil {
			e.UpstreamStatus, e.UpstreamError = u.Status, u.Code
		}
	}
	v.count(name)
	if v.audit(&e) != nil {
		v.count(CountAudit)
	}
}
