// Package token decides which caller gets which access token, and records every decision:
// [Vendor.Vend] reads a request, asks the policy, gets the token from package tokensource,
// and writes the audit line before the token leaves.
//
// It refuses what the client's document does not allow. It knows nothing of HTTP events or
// AWS.
package token

import (
	"context"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/tokensource"
)

// Vendor vends tokens. It is safe for concurrent use.
type Vendor struct {
	clients  *clients
	policies *policies // nil: mode iam
	source   *tokensource.Source
	claims   claims
	recorder recorder
}

// New returns a Vendor with empty caches.
func New(cfg Config) *Vendor {
	cfg = cfg.withDefaults()
	v := &Vendor{
		claims:   claims{fleet: cfg.Fleet, now: cfg.Now},
		recorder: recorder{cfg},
		policies: newPolicies(cfg),
	}
	v.source = tokensource.New(tokensource.Config{
		Exchanger: cfg.Exchanger, Fleet: cfg.Fleet, Environments: cfg.Environments, Rates: cfg.Rates, NoteUse: cfg.NoteUse, Shadow: v.recorder.shadow, Count: cfg.Count, Log: cfg.Log, Go: cfg.Go, Now: cfg.Now, Clock: cfg.clock, Rand: cfg.Rand,
		Previous: func(ctx context.Context, c *registry.Client) (*registry.Client, error) {
			return v.clients.previous(ctx, c)
		},
		Newer: func(ctx context.Context, c *registry.Client) bool { return v.clients.newer(ctx, c, true, false) != nil },
	})
	v.clients = newClients(cfg, v.source.Forget)
	return v
}

// Vend reads a request, decides it, records the decision, and answers. It returns by the
// deadline of ctx. read fills in the request, and may return an error at any point: as much
// as it has filled in by then is recorded. The error is a [*fault.Error]; a grant that could
// not be recorded is an error too.
func (v *Vendor) Vend(ctx context.Context, read func(*Request) error) (Grant, error) {
	return v.decide(ctx, &decision{}, read, (*Vendor).answer)
}

// Announce reads an order, as [Vendor.Vend] reads a request, and fetches its token into what
// the environments share. No caller gets it now, so that of the policy only freeze counts,
// and what it lets the source ask for beyond the client's document.
// The error is a [*fault.Error].
func (v *Vendor) Announce(ctx context.Context, read func(*Order) error) (Announcement, error) {
	var o Order
	var a Announcement
	_, err := v.decide(ctx, &decision{prefetch: true}, func(r *Request) error {
		o.Request = r
		err := read(&o)
		r.Order = true
		return err
	}, func(v *Vendor, ctx context.Context, d *decision) (grant Grant, err error) {
		if d.DryRun || d.Claim != "" || d.Rejected != "" {
			return grant, fault.Invalid("a token that is fetched ahead has neither claim nor rejected nor dry_run")
		}
		if a, err = v.claims.announce(ctx, &o); err != nil {
			return grant, err
		}
		if grant, err = v.vend(ctx, d); err != nil {
			return grant, err
		}
		if a.GoodUntil, err = v.claims.goodUntil(&grant, d.MinTTL); err == nil {
			d.claimID = o.ID
		}
		return grant, err
	})
	if err != nil {
		return Announcement{}, err
	}
	return a, nil
}

// Prefetch fetches the token of a client as its document describes it, so that the first
// request finds it. No caller gets it; that of a frozen client is not fetched. The error is a
// [*fault.Error].
func (v *Vendor) Prefetch(ctx context.Context, client string) error {
	_, err := v.decide(ctx, &decision{prefetch: true}, func(r *Request) error {
		r.Client, r.Origin.Source = client, audit.Prefetch
		return nil
	}, (*Vendor).vend)
	return err
}

// probeHalf fetches the token of a client for a probe: one that has half of its life left.
func (v *Vendor) probeHalf(ctx context.Context, client string, want ask.Ask, p Probe) (Grant, error) {
	return v.decide(ctx, &decision{prefetch: true}, func(r *Request) error {
		r.Client, r.Ask, r.RequestID, r.Caller, r.Origin.Source = client, want, p.RequestID, p.Caller, audit.Radar
		return nil
	}, func(v *Vendor, ctx context.Context, d *decision) (Grant, error) {
		grant, err := v.vend(ctx, d)
		if err != nil {
			return grant, err
		}
		t := grant.Token
		if half := t.Life() / 2; half > 0 && !t.Single() && t.Expiry().Sub(v.recorder.cfg.Now()) < half {
			d.MinTTL = half
			return v.vend(ctx, d)
		}
		return grant, nil
	})
}

// decide is the only way to a token: what read and work do is recorded once, a panic
// included.
func (v *Vendor) decide(ctx context.Context, d *decision, read func(*Request) error, work func(*Vendor, context.Context, *decision) (Grant, error)) (Grant, error) {
	d.begun, d.mode = v.recorder.cfg.Now(), "iam"
	var grant Grant
	err := fault.Catch(v.recorder.cfg.Log, &d.RequestID, func() (err error) {
		if err = read(&d.Request); err == nil {
			grant, err = work(v, ctx, d)
		}
		return err
	})
	return v.recorder.record(d, grant, err)
}

func (v *Vendor) answer(ctx context.Context, d *decision) (Grant, error) {
	if d.DryRun {
		return d.explain(v.dryRun(ctx, d))
	}
	return v.vend(ctx, d)
}

// permit asks the policy before anything else is looked at: a caller that is denied must
// not learn which clients there are.
func (v *Vendor) permit(ctx context.Context, d *decision) error {
	if d.Claim != "" {
		if err := v.claims.redeem(ctx, d); err != nil {
			return err
		}
	}
	if err := d.authorize(ctx, v.policies); err != nil {
		return err
	}
	d.permitted = true
	return nil
}

// vend returns the token that a request asks for.
//
// If the client fails, or lives on an earlier credential, its document is read again, and the
// request is tried again only if there is a newer version: a failed logon counts at the
// authorization server.
func (v *Vendor) vend(ctx context.Context, d *decision) (Grant, error) {
	if err := v.permit(ctx, d); err != nil {
		return Grant{}, err
	}
	client, err := v.clients.get(ctx, d.Client)
	if err != nil {
		return Grant{}, err
	}
	grant, failure := v.fetch(ctx, d, client)
	if failure != nil && failure.Kind.Status() != 403 || grant.OldCredential {
		atFault := failure != nil && failure.Kind == fault.Misconfigured
		newer := v.clients.newer(ctx, client, atFault, atFault && failure.Fuse.IsZero())
		switch {
		case newer != nil:
			grant, failure = v.fetch(ctx, d, newer)
		case failure == nil && grant.Token.Ended(v.recorder.cfg.Now()): // while the document was read
			grant, failure = v.fetch(ctx, d, client)
		}
	}
	if failure != nil {
		return Grant{}, v.clients.explain(d.Client, failure)
	}
	err = d.authorizeGrant(ctx, v.policies, &grant)
	return grant, err
}

// fetch gets the token that the request and the client's document ask for together.
func (v *Vendor) fetch(ctx context.Context, d *decision, client *registry.Client) (Grant, *fault.Error) {
	if err := d.resolve(client); err != nil {
		return Grant{}, fault.From(err)
	}
	r := d.source(client)
	t, outcome, err := v.source.Get(ctx, r)
	if err != nil {
		return Grant{}, fault.From(err)
	}
	if d.prefetch {
		v.source.Publish(ctx, r, t)
	}
	return Grant{Token: t, Outcome: outcome, OldCredential: outcome == tokensource.Stale && !t.ObtainedBy(client), caller: d.Caller}, nil
}

// dryRun finds out whether there would be a token, as far as that can be known without
// calling the authorization server.
func (v *Vendor) dryRun(ctx context.Context, d *decision) error {
	if err := v.permit(ctx, d); err != nil {
		return err
	}
	client, err := v.clients.inspect(ctx, d.Client)
	if err != nil {
		return err
	}
	if err := d.resolve(client); err != nil {
		return err
	}
	return v.source.LockedOut(ctx, d.source(client))
}
