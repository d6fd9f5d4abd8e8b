// Package token is the core: [Vendor.Vend] answers a request for an access
// token of a named client, out of memory, or with what another environment of the
// fleet fetched, or by an exchange at the client's authorization server.
//
// It refuses what the client's document doesn't allow, never sends a credential
// again that was refused, and never gives out a token past its life. It knows
// nothing of HTTP events or AWS; it imports registry, oauth, cache and fleet.
package token

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/cache"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/registry"
)

// Clients loads clients by name; the registry does, see [registry.Registry.Load] and
// [registry.Registry.Inspect].
type Clients interface {
	Load(ctx context.Context, name string, have registry.Have) (*registry.Client, error)
	Inspect(ctx context.Context, name string) (*registry.Client, error)
}

// Config configures a [Vendor].
type Config struct {
	// Clients is required.
	Clients Clients
	// Exchanger is required.
	Exchanger *oauth.Exchanger
	// Fleet is what this environment shares with the others; nil: nothing.
	Fleet *fleet.Fleet
	// Policy reads the policy; nil: IAM has decided already (mode iam). once says
	// that the policy in memory still serves. Its errors are those of
	// [secret.Reader], or a [*policy.DocumentError].
	Policy func(ctx context.Context, once bool) (*policy.Policy, error)
	// Audit records every decision before a token leaves; nil: nobody does. It may
	// be called by several goroutines at once.
	Audit func(*audit.Event) error
	// Count is told of what operators should see, by the names of the Count
	// constants; nil: nobody is.
	Count func(name string)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Rand returns a number in [0, 1) for jitter; nil means math/rand/v2.
	Rand func() float64
}

// What is counted.
const (
	// CountExchange: an exchange was begun.
	CountExchange = "Exchanges"
	// CountFailedLogon: an authorization server refused a client's credential.
	CountFailedLogon = "FailedLogons"
	// CountFuse: a credential was not sent because it was refused before.
	CountFuse = "FuseBlown"
	// CountThrottled: an exchange was not made to spare the authorization server.
	CountThrottled = "ExchangesWithheld"
	// CountDocument: a document that worked is now broken, gone or forbidden.
	CountDocument = "DocumentsFailed"
	// CountPolicy: the policy is broken, gone or forbidden.
	CountPolicy = "PolicyFailed"
	// CountDenied: a request was refused by the policy or for the caller's identity.
	CountDenied = "Denied"
	// CountForged: an event was forged.
	CountForged = "ForgedEvents"
	// CountAudit: a decision could not be recorded, so that it had no effect.
	CountAudit = "AuditFailures"
	// CountShadowGood and CountShadowBad: a shadow credential was tried.
	CountShadowGood = "ShadowSucceeded"
	CountShadowBad  = "ShadowFailed"
)

// Vendor vends tokens. It is safe for concurrent use.
type Vendor struct {
	source    Clients
	exchanger *oauth.Exchanger
	fleet     *fleet.Fleet
	audit     func(*audit.Event) error
	count     func(string)
	now       func() time.Time
	rand      func() float64
	clients   *cache.Cache[string, *registry.Client]
	tokens    *cache.Cache[key, *held]
	policies  *policies // nil: mode iam
	logons    logons
	issuers   issuers
}

// New returns a Vendor with empty caches.
func New(cfg Config) *Vendor {
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	v := &Vendor{
		source:    cfg.Clients,
		exchanger: cfg.Exchanger,
		fleet:     cfg.Fleet,
		audit:     cfg.Audit,
		count:     cfg.Count,
		// The monotonic clock stops while a function is frozen.
		now:  func() time.Time { return now().Round(0) },
		rand: cfg.Rand,
	}
	if v.count == nil {
		v.count = func(string) {}
	}
	if v.rand == nil {
		v.rand = rand.Float64
	}
	if v.audit == nil {
		v.audit = func(*audit.Event) error { return nil }
	}
	v.policies = newPolicies(cfg, v)
	v.clients = cache.New[string](cache.Config[*registry.Client]{MaxEntries: maxClients, Now: now, OnError: v.afterClientError})
	v.tokens = cache.New[key](cache.Config[*held]{
		Size: (*held).size, MaxSize: maxTokenBytes, MaxEntries: maxTokens,
		Group: func(t *held) string { return t.client }, MaxGroup: maxClientTokens,
		Now: now, OnError: v.afterTokenError,
	})
	return v
}

// Outcome says where a token came from.
type Outcome string

// The outcomes.
const (
	Hit       Outcome = "hit"       // it was in memory
	Refreshed Outcome = "refreshed" // this request replaced one before its end
	Exchanged Outcome = "exchanged" // this request made the exchange
	Joined    Outcome = "joined"    // another request's exchange was under way
	Shared    Outcome = "shared"    // another environment had it
	Stale     Outcome = "stale"     // it should have been replaced, but that failed
	Explained Outcome = "explained" // no token was asked for
)

// outcomeOf is the outcome of a token that the cache gave out.
func outcomeOf(o cache.Outcome, t *held) Outcome {
	switch {
	case o == cache.Hit:
		return Hit
	case o == cache.Stale:
		return Stale
	case t.shared:
		return Shared
	case o == cache.Joined:
		return Joined
	case o == cache.Refreshed:
		return Refreshed
	}
	return Exchanged
}

// Vend decides r, records that, and answers. It returns by the deadline of ctx. The
// error is an [*Error]. A grant that could not be recorded is an error too.
func (v *Vendor) Vend(ctx context.Context, r Request) (Grant, error) {
	d := v.open(r)
	grant, err := v.answer(ctx, d)
	if r.DryRun {
		grant, err = d.explain(err)
	}
	return v.record(d, grant, err)
}

// answer asks the policy before anything else is looked at: who is denied must not
// learn which clients there are.
//
// When the client's document turns out to be at fault, it is read again once,
// and the request is tried again only if a newer version is there: a failed
// logon counts at the authorization server.
func (v *Vendor) answer(ctx context.Context, d *decision) (Grant, error) {
	r := &d.request
	if r.Claim != "" {
		if err := v.redeem(ctx, d); err != nil {
			return Grant{}, err
		}
	}
	if err := v.permit(ctx, d); err != nil {
		return Grant{}, err
	}
	d.permitted = true
	if r.DryRun {
		return Grant{}, v.rehearse(ctx, d)
	}
	client, err := v.client(ctx, r.Client, nil, false)
	if err != nil {
		return Grant{}, err
	}
	grant, err := v.vend(ctx, client, d)
	var failure *Error
	if !errors.As(err, &failure) || !failure.reread {
		return grant, err
	}
	if client = v.newer(ctx, client, !failure.Fuse.IsZero()); client == nil {
		return Grant{}, failure
	}
	return v.vend(ctx, client, d)
}

func (v *Vendor) vend(ctx context.Context, client *registry.Client, d *decision) (Grant, error) {
	r := &d.request
	want, err := d.wanted(client)
	if err != nil {
		return Grant{}, err
	}
	want.CorrelationID = r.RequestID
	key, good := keyOf(client, want), v.acceptable(*r)
	var fetched atomic.Bool
	token, outcome, err := v.tokens.Get(ctx, key, good, func(ctx context.Context, last cache.Last[*held]) (cache.Entry[*held], error) {
		entry, err := v.load(ctx, &wish{
			client: client, want: want, key: key, good: good, forced: r.Rejected != "",
			old: last.Value, fallback: last.Serves, failed: last.Failures > 0,
		})
		fetched.Store(err == nil && entry.Value != last.Value && !entry.Value.shared)
		return entry, err
	})
	if err != nil {
		return Grant{}, v.atRest(AsError(err), err)
	}
	if outcome == cache.Refreshed && fetched.Load() {
		v.tryShadow(ctx, client, want)
	}
	if d.prefetch {
		v.share(ctx, key, &wish{client: client}, token)
	}
	if err := v.stillAllowed(ctx, d, want); err != nil {
		return Grant{}, err
	}
	if err := d.allowGranted(token, want); err != nil {
		return Grant{}, err
	}
	bound := token.CertificateBound() && client.CertificateBound != registry.BoundAllow
	if bound && client.CertificateBound == registry.BoundRefuse {
		return Grant{}, &Error{Kind: Misconfigured, Description: "the token is bound to the vendor's certificate, and the client's document refuses that"}
	}
	return Grant{Token: token.Token, Outcome: outcomeOf(outcome, token), CertificateBound: bound, held: token, caller: r.Caller}, nil
}

// exchange makes one exchange, unless the client's credential is known to be
// refused, here or in the fleet, or the authorization server wants to be left
// alone. Who has a token to fall back on waits for nobody. It ends the lease.
func (v *Vendor) exchange(ctx context.Context, visit *fleet.Visit, lease *fleet.Lease, w *wish) (e cache.Entry[*held], err error) {
	var turn *fleet.Lease
	turnRest := fleet.Rest{Until: v.now()}
	logon, leave := v.localTurn(ctx, lease, w)
	if leave != nil {
		defer leave()
	}
	defer func() { v.settle(ctx, lease, turn, turnRest, w, e, err) }()
	version := w.client.Version
	switch {
	case leave == nil && w.fallback:
		return v.later(w, elsewhereRest), nil
	case leave == nil:
		return e, timeout()
	}
	if failure := logon.refused(version, v.now()); failure != nil {
		v.count(CountFuse)
		return e, failure
	}
	switch again, err := v.enterIssuer(ctx, visit, w); {
	case err != nil:
		return e, err
	case again > 0:
		return v.later(w, again), nil
	}
	turn, busy, err := v.fleetTurn(ctx, visit, lease, w, logon)
	switch {
	case err != nil:
		v.count(CountFuse)
		return e, err
	case busy:
		return v.later(w, elsewhereRest), nil
	}
	turnRest = undecided(turn, v.now())
	v.keep(ctx, lease)
	if turn.Held() && turn.Failures > 0 {
		turn.Renew(ctx) // or they would be forgotten if this process died
	}
	token, failure := v.call(ctx, lease, turn, w)
	v.leaveIssuer(ctx, visit, w.client.IssuerHost, failure)
	if failure == nil {
		delete(logon.refusals, version)
		turnRest = fleet.Rest{Until: v.now()}
		return v.granted(token, w), nil
	}
	refusal := exchangeFailure(failure)
	if failure.FailedLogon() {
		v.count(CountFailedLogon)
		times := 1 + logon.times(version, v.now())
		if turn.Held() {
			times = 1 + turn.Failures
		}
		until := v.now().Add(rejectionRest(times))
		logon.refuse(version, refusal, until, v.now(), times)
		turnRest = fleet.Rest{Until: until, Failures: times, Note: noteOf(refusal), Keep: until.Add(rejectionMemory)}
		refusal = blown(refusal, until)
		refusal.refusals = times
	}
	return e, refusal
}

// undecided leaves a turn in which it did not show whether the credential is good: what
// was known against it stays known, and anybody may try.
func undecided(turn *fleet.Lease, now time.Time) fleet.Rest {
	if !turn.Held() || turn.Failures == 0 {
		return fleet.Rest{Until: now}
	}
	return fleet.Rest{Until: time.UnixMilli(1), Failures: turn.Failures, Keep: now.Add(rejectionMemory)}
}

// call is the exchange itself, within the leases. With a token to fall back on, or
// when it failed before, it is not tried again at once.
func (v *Vendor) call(ctx context.Context, lease, turn *fleet.Lease, w *wish) (*oauth.Token, *oauth.Error) {
	for _, l := range [...]*fleet.Lease{lease, turn} {
		if l.Held() {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, l.End.Sub(v.now())-leaseMargin)
			defer cancel()
		}
	}
	if w.fallback || w.failed || lease.Held() && lease.Failures > 0 {
		w.want.MaxAttempts = 1
	}
	v.count(CountExchange)
	token, err := v.exchanger.Exchange(ctx, w.client.OAuth, w.want)
	var failure *oauth.Error
	if err != nil && !errors.As(err, &failure) {
		failure = &oauth.Error{Reason: oauth.NoProof}
	}
	return token, failure
}
