package token

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
)

const (
	// claimPurpose keeps claims apart from other texts that the fleet may sign.
	claimPurpose = "claim"
	// ClaimLife is how long after the order a claim can be redeemed; at least half of it
	// after the announcement.
	ClaimLife = 12 * time.Hour
	// oldestOrder is longer than any source keeps an order; the time of an older one is
	// not known.
	oldestOrder = 30 * 24 * time.Hour
)

// Order asks to fetch a token ahead, for a caller that will ask for it by the claim.
type Order struct {
	*Request
	// ID names the announcement. The same order may come twice; its claim is then the same.
	ID string
	// For is the normalised principal that alone may redeem the claim; empty: any caller
	// that may have the token.
	For string
	// Time is when it was ordered, from which the claim's life counts; zero: that is not
	// known.
	Time time.Time
}

// Ordered is the order in an announcement and in a claim.
type Ordered struct {
	// ID names the order.
	ID     string `json:"id"`
	Client string `json:"client"`
	ask.Ask
	// MinTTL is in seconds.
	MinTTL int64 `json:"min_ttl,omitempty"`
	// Caller alone may redeem the claim; empty: any caller that may have the token.
	Caller string `json:"caller,omitempty"`
}

// claim is the content of a claim. It holds no token and no permission: a caller that
// redeems it is judged like any other.
type claim struct {
	Ordered
	// Expires is in Unix seconds.
	Expires int64 `json:"expires"`
}

// Announcement says that a token can be fetched. It is no secret.
type Announcement struct {
	Ordered
	// GoodUntil is until when, in Unix seconds, the token that was fetched has min_ttl left;
	// 0: its end is not known, or the table could not be used, so that other environments
	// do not have it. Later there will be another one.
	GoodUntil int64 `json:"good_until,omitempty"`
	// Claim is what the job sends to have the token, until ClaimExpires in Unix seconds.
	Claim        string `json:"claim"`
	ClaimExpires int64  `json:"claim_expires_at"`
}

// claims makes and redeems claims.
type claims struct {
	fleet *fleet.Fleet
	now   func() time.Time
}

// announce returns the announcement of an order without its GoodUntil.
func (c *claims) announce(ctx context.Context, o *Order) (Announcement, error) {
	content := claim{Expires: claimEnd(o.Time, c.now()).Unix(), Ordered: Ordered{
		ID: o.ID, Client: o.Client, Ask: o.Ask, MinTTL: int64(o.MinTTL / time.Second), Caller: o.For,
	}}
	text, err := c.sign(ctx, content, o.Time)
	return Announcement{Ordered: content.Ordered, Claim: text, ClaimExpires: content.Expires}, err
}

// goodUntil returns when the token has min_ttl left, in Unix seconds; 0: see [Announcement].
func (c *claims) goodUntil(g *Grant, minTTL time.Duration) (int64, error) {
	if g.Token.Single() {
		minTTL = 0 // no other token comes before its end
	}
	good := g.Token.End()
	if good.IsZero() {
		return 0, nil
	}
	if last := g.Token.Expiry().Add(-minTTL); last.Before(good) {
		good = last
	}
	switch {
	case good.After(c.now()):
	case minTTL < g.Token.Life():
		return 0, &fault.Error{Kind: fault.Unavailable, Description: "the token was fetched a moment ago, and no longer has min_ttl left", RetryAfter: 30 * time.Second}
	default:
		return 0, fault.Invalid("min_ttl is longer than the authorization server's tokens live")
	}
	if !g.Token.Published() {
		return 0, nil
	}
	return good.Unix(), nil
}

// claimEnd returns when the claim for an order ends. It is the same for an order that comes
// again soon, so that its claim is too, and at least half a ClaimLife away: an order that
// has waited for long gets further halves. An order without a time, or with one in the
// future, counts from the last noon or midnight (UTC).
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

// sign returns the claim as a text that redeem accepts until it expires. The text for an
// order that came a moment ago is that of its day, so that it is the same after midnight.
func (c *claims) sign(ctx context.Context, content claim, ordered time.Time) (string, error) {
	payload, err := json.Marshal(content)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	if c.now().Sub(ordered) > ClaimLife/2 {
		ordered = c.now()
	}
	text, err := c.fleet.Sign(ctx, claimPurpose, payload, ordered)
	switch {
	case err != nil:
		return "", &fault.Error{Kind: fault.Unavailable, Description: "the table that the environments share cannot be used now", RetryAfter: time.Second}
	case len(text) > maxValue:
		return "", fault.New(fault.TooLarge, "the request is too large for a claim")
	}
	return text, nil
}

// redeem replaces the ask of a request by that of its claim. The policy then judges the
// caller like any other; a claim permits nothing.
func (c *claims) redeem(ctx context.Context, d *decision) error {
	payload, err := c.fleet.Verify(ctx, claimPurpose, d.Claim)
	switch {
	case errors.Is(err, fleet.ErrNoTable):
		return &fault.Error{Kind: fault.Unavailable, Description: "claims cannot be redeemed now", Detail: err.Error(), RetryAfter: time.Second}
	case err != nil:
		return fault.Refusal(fault.Denied, "the claim is "+err.Error())
	}
	var content claim
	if err := json.Unmarshal(payload, &content); err != nil {
		return fault.Refusal(fault.Denied, "the claim is of another version")
	}
	d.claimID = content.ID
	switch {
	case c.now().Unix() >= content.Expires:
		return fault.Refusal(fault.Denied, "the claim has expired")
	case content.Client != d.Client:
		return fault.Refusal(fault.Denied, "the claim is for another client")
	case content.Caller != "" && content.Caller != d.Caller:
		return fault.Refusal(fault.Denied, "the claim is for another caller")
	}
	d.Ask = content.Ask
	d.MinTTL = max(d.MinTTL, time.Duration(content.MinTTL)*time.Second)
	return nil
}
