package token

import (
	"context"
	"errors"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
)

// shadowTime is how long a refresh waits for the shadow credential at most; only the
// request that refreshes does.
const shadowTime = 3 * time.Second

// asShadow marks what is known of a version's shadow credential: it has a fuse of its
// own, so that it can never keep the credential that works from being sent. Both
// together make no more failed logons per version than the fuse allows.
const asShadow = "\x00shadow"

// tryShadow tries the client's second credential, beside a share of the exchanges
// that replace a token with the first. What it brings is thrown away; whether it
// brought a token is counted and recorded. The caller has the client's turn.
func (v *Vendor) tryShadow(ctx context.Context, visit *fleet.Visit, lease *fleet.Lease, logon *logon, w *wish) {
	shadow := w.client.Shadow
	if shadow == nil || w.old == nil || v.rand() >= shadow.Share {
		return
	}
	id := w.client.Version + asShadow
	if logon.refused(id, v.now()) != nil {
		return
	}
	patient := *w
	patient.fallback = true // nobody waits for a place at the server for this
	if again, err := v.enterIssuer(ctx, visit, &patient); again > 0 || err != nil {
		return
	}
	turn, row := visit.Take(ctx, fleet.LogonRow, w.client.Name+"\x00"+id)
	switch {
	case row != nil && !row.Leased && row.Failures > 0:
		logon.refuse(id, v.failedElsewhere(row), row.Until, v.now())
		return
	case row != nil && !turn.Held():
		return // another environment is trying it
	}
	v.keep(ctx, lease)
	failure := v.callShadow(ctx, lease, w)
	v.leaveIssuer(ctx, visit, w.client.IssuerHost, failure)
	rest := fleet.Rest{Until: v.now()}
	if failure != nil && failure.FailedLogon() {
		refusal := exchangeFailure(failure)
		v.count(CountFailedLogon)
		rest = fleet.Rest{Until: v.now().Add(rejectionMemory), Failures: 1, Note: noteOf(refusal)}
		logon.refuse(id, refusal, rest.Until, v.now())
	}
	turn.Finish(ctx, rest)
	v.recordShadow(w, failure)
}

func (v *Vendor) callShadow(ctx context.Context, lease *fleet.Lease, w *wish) *oauth.Error {
	limit := shadowTime
	if lease.Held() {
		limit = min(limit, lease.End.Sub(v.now())-leaseMargin)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	want := w.want
	want.MaxAttempts = 1
	_, err := v.exchanger.Exchange(ctx, w.client.Shadow.OAuth, want)
	var failure *oauth.Error
	if err != nil && !errors.As(err, &failure) {
		failure = &oauth.Error{Reason: oauth.NoProof}
	}
	return failure
}

// recordShadow counts how it went, and writes a line about it.
func (v *Vendor) recordShadow(w *wish, failure *oauth.Error) {
	e := audit.Event{
		Type: audit.Shadow, Time: v.now(), RequestID: w.want.CorrelationID, Client: w.client.Name, Outcome: "succeeded",
		IssuerHost: w.client.IssuerHost, Method: string(w.client.Shadow.Method), SecretVersion: w.client.Version,
	}
	name := CountShadowGood
	if failure != nil {
		refusal := exchangeFailure(failure)
		name, e.Outcome, e.Error, e.Detail, e.CorrelationID = CountShadowBad, "failed", refusal.Kind.Code(), refusal.Detail, refusal.CorrelationID
		if u := refusal.Upstream; u != nil {
			e.UpstreamStatus, e.UpstreamError = u.Status, u.Code
		}
	}
	v.count(name)
	if v.audit(&e) != nil {
		v.count(CountAudit)
	}
}
