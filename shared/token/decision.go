package token

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/registry"
)

// decision is one request on its way, with the line that will be written about it.
type decision struct {
	request Request
	event   audit.Event
	// policy is nil where IAM has decided; reading is when it was read.
	policy  *policy.Policy
	reading *reading
	// permitted: the policy allows what the caller asked for.
	permitted bool
	// prefetch: nobody gets the token.
	prefetch bool
	// client is nil until its document was read.
	client *registry.Client
}

func (v *Vendor) open(r Request) *decision {
	return &decision{request: r, event: audit.Event{
		Type: audit.Decision, Time: v.now(), RequestID: r.RequestID, Origin: r.Origin, Caller: r.Caller, Client: r.Client, DryRun: r.DryRun,
		Scope: r.Scope, Resource: r.Resource, Audience: r.Audience, TokenFormat: r.TokenFormat, Mode: "iam",
	}}
}

// permit asks the policy about the request as the caller made it.
func (v *Vendor) permit(ctx context.Context, d *decision) (err error) {
	if v.policies == nil {
		return nil
	}
	d.event.Mode = "document"
	if d.reading, err = v.policies.current(ctx); err != nil {
		return err
	}
	d.policy = d.reading.policy
	if d.policy.Effect() == policy.Audit {
		d.event.Mode = "audit"
	}
	return d.allow(d.request.Scope, d.request.targets(d.request.Resource))
}

// stillAllowed asks again if so much time has passed that the policy may be another.
func (v *Vendor) stillAllowed(ctx context.Context, d *decision, want oauth.Request) error {
	if v.policies == nil || v.policies.fresh(d.reading) {
		return nil
	}
	if err := v.permit(ctx, d); err != nil {
		return err
	}
	return d.allowWanted(want)
}

// targets are the resources together with the audience, which means the same to
// servers that know no resource indicators.
func (r *Request) targets(resource []string) []string {
	return withTarget(resource, r.Audience)
}

func withTarget(resource []string, audience string) []string {
	if audience == "" {
		return resource
	}
	return append(slices.Clone(resource), audience)
}

// frozen is what the policy says has failed of a client that nobody gets.
const frozen = "freeze"

// allow asks the policy about a token for scope and resource. It is asked again as
// more is known: what the client's document adds, and what the server granted.
func (d *decision) allow(scope, resource []string) error {
	if d.policy == nil {
		return nil
	}
	answer := d.policy.Decide(policy.Query{
		Caller: d.request.Caller, CallerID: d.request.Origin.CallerID, Client: d.request.Client, Scope: scope, Resource: resource,
	})
	if d.prefetch && answer.Failed != frozen {
		return nil // the policy decides again when somebody asks
	}
	e := &d.event
	e.Rule, e.WouldDeny, e.Nearest, e.Failed = answer.Rule, answer.WouldDeny, answer.Nearest, answer.Failed
	if answer.Allowed {
		return nil
	}
	refusal := Refusal("the policy does not allow it: " + cmp.Or(answer.Failed, "no rule"))
	refusal.Passing = answer.Failed == frozen
	return refusal
}

// wanted returns what to ask the authorization server for, if the client's document
// and the policy allow it.
func (d *decision) wanted(client *registry.Client) (oauth.Request, error) {
	d.client = client
	want, err := d.request.resolve(client)
	if err != nil {
		return oauth.Request{}, err
	}
	return want, d.allowWanted(want)
}

// rehearse finds out whether there would be a token, as far as that can be known
// without a word to the authorization server.
func (v *Vendor) rehearse(ctx context.Context, d *decision) error {
	client, ok := v.clients.Peek(d.request.Client)
	if !ok {
		var err error
		if client, err = v.source.Inspect(ctx, d.request.Client); err != nil {
			return documentFailure(err)
		}
	}
	if _, err := d.wanted(client); err != nil {
		return err
	}
	return v.logons.known(client, v.now())
}

// allowWanted asks about what will be asked for at the authorization server.
func (d *decision) allowWanted(want oauth.Request) error {
	if d.policy == nil {
		return nil
	}
	return d.allow(want.Scope, withTarget(want.Resource, want.Audience))
}

// allowGranted asks about what the authorization server granted, also when the token
// was in memory: it may be too much for this caller and not for the one before.
func (d *decision) allowGranted(t *held, want oauth.Request) error {
	if d.policy == nil || t.Scope() == "" || t.Scope() == strings.Join(want.Scope, " ") {
		return nil
	}
	err := d.allow(append(slices.Clone(want.Scope), strings.Fields(t.Scope())...), withTarget(want.Resource, want.Audience))
	if err != nil {
		d.event.GrantedScope = strings.Fields(t.Scope())
	}
	return err
}

// record writes the line. Without it no token leaves.
func (v *Vendor) record(d *decision, grant Grant, err error) (Grant, error) {
	e := &d.event
	e.Duration = v.now().Sub(e.Time)
	if c := d.client; c != nil {
		e.IssuerHost, e.Method, e.SecretVersion, e.CertificateNotAfter = c.IssuerHost, string(c.Method), c.Version, c.CertificateNotAfter
	}
	if err != nil {
		return Grant{}, v.recordFailure(e, AsError(err))
	}
	e.Outcome, e.CertificateBound = string(grant.Outcome), grant.CertificateBound
	if t := grant.held; t != nil {
		e.Allowed = true
		e.TokenSHA256, e.ExpiresAt, e.CorrelationID = t.fingerprint, t.Expiry(), t.CorrelationID()
		if t.Scope() != "" {
			e.GrantedScope = strings.Fields(t.Scope())
		}
		if !t.end().IsZero() {
			e.RefreshAfter = grant.RefreshAfter(e.Time)
		}
	} else if x := grant.Explanation; x != nil {
		e.Allowed, e.Error = x.Allowed, x.Error
	}
	if v.audit(e) != nil {
		v.count(CountAudit)
		return Grant{}, &Error{Kind: Internal, Description: "internal error", Detail: "the decision could not be recorded", recorded: true}
	}
	return grant, nil
}

// recordFailure writes the line of an error, and returns it marked.
func (v *Vendor) recordFailure(e *audit.Event, failure *Error) *Error {
	e.Allowed, e.Outcome = false, "failed"
	// What was refused is a stranger's text that means nothing here.
	e.Scope, e.Resource, e.Audience = nil, nil, ""
	if failure.Kind == Denied {
		e.Outcome = "denied"
		v.count(CountDenied)
	}
	if failure.Forged {
		e.Type = audit.Forged
		v.count(CountForged)
	}
	e.Status, e.Error, e.Detail = failure.Kind.Status(), failure.Kind.Code(), cmp.Or(failure.Detail, failure.Description)
	e.CorrelationID, e.FuseUntil = failure.CorrelationID, failure.Fuse
	if u := failure.Upstream; u != nil {
		e.UpstreamStatus, e.UpstreamError = u.Status, u.Code
	}
	if v.audit(e) != nil {
		v.count(CountAudit)
	}
	// A copy: the failure may be remembered for other callers.
	marked := *failure
	marked.recorded = true
	return &marked
}

// Refuse records that r was refused before it came to [Vendor.Vend], and returns err
// as an [*Error]. What Vend returned is recorded already.
func (v *Vendor) Refuse(r Request, err error) *Error {
	failure := AsError(err)
	if failure.recorded {
		return failure
	}
	return v.recordFailure(&v.open(r).event, failure)
}

// Prefetch fetches the token of a client as its document describes it, so that the
// first request finds it. Nobody gets it; a frozen client's is not fetched. The error
// is an [*Error].
func (v *Vendor) Prefetch(ctx context.Context, client string) error {
	d := v.open(Request{Client: client, Origin: audit.Origin{Source: audit.Prefetch}})
	d.prefetch = true
	grant, err := v.answer(ctx, d)
	_, err = v.record(d, grant, err)
	return err
}

// Explanation says whether there would be a token.
type Explanation struct {
	// Allowed: there would be, unless the authorization server refuses.
	Allowed bool
	// Mode is the policy's: iam, document, or audit. The others are those of
	// [policy.Decision].
	Mode, Rule      string
	WouldDeny       bool
	Nearest, Failed string
	// Error and Description are what the caller would get instead; empty: nothing.
	Error, Description string
}

// explain turns what came of a dry run into its answer. An error that may pass by
// itself stays one: it explains nothing.
func (d *decision) explain(err error) (Grant, error) {
	e := &d.event
	x := &Explanation{Allowed: err == nil, Mode: e.Mode, Rule: e.Rule, WouldDeny: e.WouldDeny, Nearest: e.Nearest, Failed: e.Failed}
	var failure *Error
	if errors.As(err, &failure) {
		if failure.temporary() || failure.Kind == Internal {
			return Grant{}, err
		}
		x.Error, x.Description = failure.Kind.Code(), failure.Description
		if failure.Kind == Denied && d.permitted {
			// Whether there is no such client, or one whose document asks for too
			// much, is the audit line's to tell.
			x.Rule, x.WouldDeny, x.Nearest, x.Failed = "", false, "", ""
		}
	} else if err != nil {
		return Grant{}, err
	}
	return Grant{Outcome: Explained, Explanation: x}, nil
}
