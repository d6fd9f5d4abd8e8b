package token

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/tokensource"
)

// decision is a request on its way to its audit line.
type decision struct {
	Request
	begun time.Time
	// event is the audit line; see [recorder.record].
	event audit.Event
	// claimID names the claim that is made or redeemed.
	claimID string
	// mode is the policy's: iam, document or audit. verdict is its last answer.
	mode    string
	verdict policy.Decision
	// policy is nil where IAM has decided; reading is when it was read.
	policy  *policy.Policy
	reading *reading
	// permitted means that the policy allows what the caller asked for.
	permitted bool
	// prefetch means that no caller gets the token.
	prefetch bool
	// client is nil until its document was read. resolved is then what its authorization
	// server is asked for.
	client   *registry.Client
	resolved ask.Ask
	// excess is what the server granted beyond the policy.
	excess []string
}

// authorize asks the policy about the request as the caller made it.
func (d *decision) authorize(ctx context.Context, p *policies) (err error) {
	if p == nil {
		return nil
	}
	d.mode = "document"
	if d.reading, err = p.current(ctx); err != nil {
		return err
	}
	d.policy = d.reading.policy
	if d.policy.Effect() == policy.Audit {
		d.mode = "audit"
	}
	return d.allow(&d.Ask, d.Scope)
}

// resolve settles what to ask the authorization server for, if the client's document and
// the policy allow it.
func (d *decision) resolve(client *registry.Client) (err error) {
	d.client = client
	if d.resolved, err = d.ask(client); err != nil {
		return err
	}
	return d.allow(&d.resolved, d.resolved.Scope)
}

// source returns the request for the token.
func (d *decision) source(client *registry.Client) tokensource.Request {
	return tokensource.Request{
		Client: client, Ask: d.resolved, MinTTL: d.MinTTL, Rejected: d.Rejected, Caller: d.Caller, Patient: d.prefetch || d.Order, Unused: d.prefetch && !d.Order, CorrelationID: d.RequestID,
	}
}

// authorizeGrant asks the policy about what the authorization server granted, also if the
// token was in memory: it may be too much for this caller and not for the one before. If so
// much time has passed that the policy may be another, everything is asked again.
func (d *decision) authorizeGrant(ctx context.Context, p *policies, g *Grant) error {
	if d.policy != nil && !p.fresh(d.reading) {
		if err := d.authorize(ctx, p); err != nil {
			return err
		}
		if err := d.allow(&d.resolved, d.resolved.Scope); err != nil {
			return err
		}
	}
	granted := g.Token.Scope()
	if d.policy != nil && granted != "" && !isList(granted, d.resolved.Scope) {
		scope := strings.Fields(granted)
		if err := d.allow(&d.resolved, append(slices.Clone(d.resolved.Scope), scope...)); err != nil {
			d.excess = scope
			return err
		}
	}
	g.CertificateBound = g.Token.CertificateBound() && d.client.CertificateBound != registry.BoundAllow
	if g.CertificateBound && d.client.CertificateBound == registry.BoundRefuse {
		return fault.New(fault.Misconfigured, "the token is bound to the vendor's certificate, and the client's document refuses that")
	}
	return nil
}

// isList reports whether text is list with spaces between its items.
func isList(text string, list []string) bool {
	for i, item := range list {
		rest, ok := strings.CutPrefix(text, item)
		if ok && i < len(list)-1 {
			rest, ok = strings.CutPrefix(rest, " ")
		}
		if !ok {
			return false
		}
		text = rest
	}
	return text == ""
}

// frozen is what the policy names as failed for a client that is frozen.
const frozen = "freeze"

// allow asks the policy about a token for the targets of a and for scope.
func (d *decision) allow(a *ask.Ask, scope []string) error {
	if d.policy == nil {
		return nil
	}
	verdict := d.policy.Decide(policy.Query{
		Caller: d.Caller, CallerID: d.Origin.CallerID, Client: d.Client, Scope: scope, Resource: a.Targets(),
	})
	if d.prefetch && verdict.Failed != frozen {
		return nil // the policy decides again when a caller asks
	}
	d.verdict = verdict
	if verdict.Allowed {
		return nil
	}
	failed, kind := verdict.Failed, fault.Denied
	switch failed {
	case "":
		failed = "no rule"
	case frozen:
		kind = fault.Suspended
	}
	return fault.Refusal(kind, "the policy does not allow it: "+failed)
}

// explain turns the result of a dry run into its answer. A temporary error stays an error:
// it explains nothing.
func (d *decision) explain(err error) (Grant, error) {
	p := d.verdict
	x := &Explanation{DryRun: true, Allowed: err == nil, Mode: d.mode, Rule: p.Rule, WouldDeny: p.WouldDeny, Nearest: p.Nearest, Failed: p.Failed}
	var failure *fault.Error
	switch {
	case err == nil:
	case !errors.As(err, &failure), failure.Kind.Temporary(), failure.Kind == fault.Internal:
		return Grant{}, err
	default:
		x.Error, x.Description = failure.Kind.Code(), oauth.Printable(failure.Description)
		if failure.Kind.Status() == 403 && d.permitted {
			// Only the audit line says whether there is no such client, or one whose
			// document asks for too much.
			x.Rule, x.WouldDeny, x.Nearest, x.Failed = "", false, "", ""
		}
	}
	return Grant{Outcome: Explained, Explanation: x}, nil
}
