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
	// ClaimLife is how long after what it was made for a claim can be redeemed.
	ClaimLife = 12 * time.Hour
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
	// Time is when it was ordered, from which the claim's life counts; zero: now.
	Time time.Time
}

// Announcement says that a token is there to be fetched. It is no secret.
type Announcement struct {
	Ordered
	// GoodUntil is until when, in Unix seconds, the token that is there has min_ttl
	// left; 0: it has no end that is known. Later there will be another one.
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
	// What has waited for long, or comes from a clock that is ahead, counts from now.
	if age := v.now().Sub(o.Time); age < 0 || age > ClaimLife/2 {
		o.Time = v.now()
	}
	c := claim{Expires: o.Time.Add(ClaimLife).Unix(), Ordered: Ordered{
		ID: o.ID, Client: r.Client, Scope: r.Scope, Resource: r.Resource, Audience: r.Audience, TokenFormat: r.TokenFormat, AppTID: r.AppTID,
		Parameters: r.Parameters, MinTTL: int64(r.MinTTL / time.Second), Caller: o.Caller,
	}}
	text, err := v.sign(ctx, c)
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
		if !good.After(v.now()) {
			return a, malformed("min_ttl is longer than the authorization server's tokens live")
		}
		a.GoodUntil = good.Unix()
	}
	return a, nil
}

// sign returns the claim as a text that redeem believes.
func (v *Vendor) sign(ctx context.Context, c claim) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	text, err := v.fleet.Sign(ctx, claimPurpose, payload)
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
