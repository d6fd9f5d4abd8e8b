package token

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"tokenvendor/shared/fleet"
)

const (
	// claimPurpose keeps claims apart from whatever else the fleet may sign.
	claimPurpose = "claim"
	// ClaimLife is how long after the order a claim can be redeemed; at least half of it
	// after the announcement.
	ClaimLife = 12 * time.Hour
	// oldestOrder is longer than any source keeps an order; the time of an older one is
	// not known.
	oldestOrder = 30 * 24 * time.Hour
)

// Ordered is what was ordered, as in a request.
type Ordered struct {
	// ID names the order.
	ID          string            `json:"id"`
	Client      string            `json:"client"`
	Scope       []string          `json:"scope,omitempty"`
	Resource    []string          `json:"resource,omitempty"`
	Audience    string            `json:"audience,omitempty"`
	TokenFormat string            `json:"token_format,omitempty"`
	AppTID      string            `json:"app_tid,omitempty"`
	Parameters  map[string]string `json:"parameters,omitempty"`
	// MinTTL is in seconds.
	MinTTL int64 `json:"min_ttl,omitempty"`
	// Caller is who alone may redeem the claim; empty: whoever may have the token.
	Caller string `json:"caller,omitempty"`
}

// claim is what a claim says. It holds no token and no permission; whoever redeems it is
// judged like everybody who asks.
type claim struct {
	Ordered
	// Expires is in Unix seconds.
	Expires int64 `json:"expires"`
}

// Order says for what and for whom a token is fetched ahead.
type Order struct {
	// ID names what is announced; the same order may come twice, and its claim is then
	// the same.
	ID string
	// Caller is who alone may redeem the claim, normalised; empty: whoever may have the
	// token.
	Caller string
	// Time is when it was ordered, from which the claim's life counts; zero: that is not
	// known.
	Time time.Time
}

// Announcement says that a token is there to be fetched. It is no secret.
type Announcement struct {
	Ordered
	// GoodUntil is until when, in Unix seconds, the token that is there has min_ttl
	// left; 0: its end is not known, or the table could not be used, so that it is not
	// there for everybody. Later there will be another one.
	GoodUntil int64 `json:"good_until,omitempty"`
	// Claim is what the job sends to have the token, until ClaimExpires in Unix seconds.
	Claim        string `json:"claim"`
	ClaimExpires int64  `json:"claim_expires_at"`
}

// Announce fetches a token ahead into what the environments share, for somebody who
// will ask for it by the claim. Nobody gets it now, so that of the policy only freeze
// counts. The error is an [*Error].
func (v *Vendor) Announce(ctx context.Context, r Request, o Order) (Announcement, error) {
	d := v.open(r)
	d.prefetch = true
	announced, err := v.announce(ctx, d, o)
	if err == nil {
		d.event.ClaimID = o.ID
	}
	_, err = v.record(d, announced.grant, err)
	if err != nil {
		return Announcement{}, err
	}
	return announced.Announcement, nil
}

type announced struct {
	Announcement
	grant Grant
}

func (v *Vendor) announce(ctx context.Context, d *decision, o Order) (a announced, err error) {
	r := &d.request
	if r.DryRun || r.Claim != "" || r.Rejected != "" {
		return a, malformed("what is fetched ahead has neither claim nor rejected nor dry_run")
	}
	c := claim{Expires: claimEnd(o.Time, v.now()).Unix(), Ordered: Ordered{
		ID: o.ID, Client: r.Client, Scope: r.Scope, Resource: r.Resource, Audience: r.Audience, TokenFormat: r.TokenFormat, AppTID: r.AppTID,
		Parameters: r.Parameters, MinTTL: int64(r.MinTTL / time.Second), Caller: o.Caller,
	}}
	text, err := v.sign(ctx, c, o.Time)
	if err != nil {
		return a, err
	}
	if a.grant, err = v.answer(ctx, d); err != nil {
		return a, err
	}
	a.Announcement = Announcement{Ordered: c.Ordered, Claim: text, ClaimExpires: c.Expires}
	if end := a.grant.held.end(); !end.IsZero() {
		good := end
		if last := a.grant.held.Expiry().Add(-r.MinTTL); last.Before(good) {
			good = last
		}
		switch {
		case good.After(v.now()):
		case r.MinTTL < a.grant.held.life():
			return a, &Error{Kind: Unavailable, Description: "the token was fetched a moment ago, and no longer has min_ttl left", RetryAfter: forcedInterval}
		default:
			return a, malformed("min_ttl is longer than the authorization server's tokens live")
		}
		if a.grant.held.inTable.Load() {
			a.GoodUntil = good.Unix()
		}
	}
	return a, nil
}

// claimEnd is when the claim for an order ends. It is the same for the same order whenever
// that comes again soon, so that claims are, and at least half a ClaimLife away: what has
// waited for long gets further halves. An order without a time, or of a time that is yet
// to come, counts from the last noon or midnight (UTC).
func claimEnd(ordered, now time.Time) time.Time {
	const half = ClaimLife / 2
	if age := now.Sub(ordered); age < -half || age > oldestOrder {
		ordered = now.UTC().Truncate(ClaimLife)
	}
	end := ordered.Add(ClaimLife)
	if late := now.Add(half).Sub(end); late > 0 {
		end = end.Add((late + half - 1) / half * half)
	}
	return end
}

// sign returns the claim as a text that redeem believes until it expires. The text of an
// order that came a moment ago is that of its day, so that it is the same after midnight.
func (v *Vendor) sign(ctx context.Context, c claim, ordered time.Time) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	if v.now().Sub(ordered) > ClaimLife/2 {
		ordered = v.now()
	}
	text, err := v.fleet.Sign(ctx, claimPurpose, payload, ordered)
	switch {
	case err != nil:
		return "", &Error{Kind: Unavailable, Description: "the table that the environments share cannot be used now", RetryAfter: time.Second}
	case len(text) > maxValue:
		return "", &Error{Kind: TooLarge, Description: "the request is too large for a claim"}
	}
	return text, nil
}

// redeem makes of the request for a claim the one that the claim was made for. Who
// redeems it is then judged by the policy like everybody; a claim opens nothing.
func (v *Vendor) redeem(ctx context.Context, d *decision) error {
	r := &d.request
	payload, err := v.fleet.Verify(ctx, claimPurpose, r.Claim)
	switch {
	case errors.Is(err, fleet.ErrNoTable):
		return &Error{Kind: Unavailable, Description: "claims cannot be redeemed now", Detail: err.Error(), RetryAfter: time.Second}
	case err != nil:
		return Refusal("the claim is " + err.Error())
	}
	var c claim
	if err := json.Unmarshal(payload, &c); err != nil {
		return Refusal("the claim is of another version")
	}
	d.event.ClaimID = c.ID
	switch {
	case v.now().Unix() >= c.Expires:
		return Refusal("the claim has expired")
	case c.Client != r.Client:
		return Refusal("the claim is for another client")
	case c.Caller != "" && c.Caller != r.Caller:
		return Refusal("the claim is for another caller")
	}
	r.Scope, r.Resource, r.Audience, r.TokenFormat, r.AppTID, r.Parameters = c.Scope, c.Resource, c.Audience, c.TokenFormat, c.AppTID, c.Parameters
	r.MinTTL = max(r.MinTTL, time.Duration(c.MinTTL)*time.Second)
	e := &d.event
	e.Scope, e.Resource, e.Audience, e.TokenFormat = r.Scope, r.Resource, r.Audience, r.TokenFormat
	return nil
}
