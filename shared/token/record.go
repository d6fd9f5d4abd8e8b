package token

import (
	"cmp"
	"strings"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/tokensource"
)

// recorder writes audit lines.
type recorder struct{ cfg Config }

// record writes the line of a decision. Without it no token leaves.
func (r *recorder) record(d *decision, grant Grant, err error) (Grant, error) {
	e := r.event(d)
	if err != nil {
		failure := fault.From(err)
		r.failed(e, failure, d.Origin.Forged)
		_ = r.put(e)
		return Grant{}, failure
	}
	e.Outcome, e.CertificateBound = string(grant.Outcome), grant.CertificateBound
	if x := grant.Explanation; x != nil {
		e.Allowed, e.Error = x.Allowed, x.Error
	} else {
		granted(e, &grant)
	}
	if r.put(e) != nil {
		return Grant{}, &fault.Error{Kind: fault.Internal, Description: "internal error", Detail: "the decision could not be recorded"}
	}
	return grant, nil
}

// put writes a line, and counts the failure to do so.
func (r *recorder) put(e *audit.Event) error {
	err := r.cfg.Audit(e)
	if err != nil {
		r.cfg.Count(CountAudit)
	}
	return err
}

// event returns what every line about d says.
func (r *recorder) event(d *decision) *audit.Event {
	e := &d.event
	*e = audit.Event{
		Type: audit.Decision, Time: d.begun, Duration: r.cfg.Now().Sub(d.begun),
		Origin: d.Origin, Caller: d.Caller, RequestID: d.RequestID, Client: d.Client, ClaimID: d.claimID, DryRun: d.DryRun, Ahead: d.prefetch, Ask: d.Ask,
		Mode: d.mode, Rule: d.verdict.Rule, WouldDeny: d.verdict.WouldDeny, Nearest: d.verdict.Nearest, Failed: d.verdict.Failed,
		GrantedScope: d.excess,
	}
	if d.client != nil {
		describe(e, d.client)
	}
	return e
}

func describe(e *audit.Event, c *registry.Client) {
	e.IssuerHost, e.Method, e.SecretVersion, e.CertificateNotAfter = c.IssuerHost, string(c.Method), c.Version, c.CertificateNotAfter
}

// granted adds the token.
func granted(e *audit.Event, g *Grant) {
	t := g.Token
	e.Allowed = true
	if v := t.Version(); v != e.SecretVersion {
		e.SecretVersion, e.DocumentVersion = v, e.SecretVersion
	}
	e.TokenSHA256, e.ExpiresAt, e.CorrelationID = t.Fingerprint(), t.Expiry(), t.CorrelationID()
	if t.Scope() != "" {
		e.GrantedScope = strings.Fields(t.Scope())
	}
	if !t.End().IsZero() {
		e.RefreshAfter = g.RefreshAfter(e.Time)
	}
}

// failed adds an error. The ask of a refused caller is foreign text without a meaning, so it
// is left out.
func (r *recorder) failed(e *audit.Event, failure *fault.Error, forged bool) {
	e.Ask = ask.Ask{}
	e.Outcome = "failed"
	if failure.Kind.Status() == 403 {
		e.Outcome = "denied"
		r.cfg.Count(CountDenied)
	}
	if forged {
		e.Type = audit.Forged
		r.cfg.Count(CountForged)
	}
	e.Status, e.FuseUntil = failure.Kind.Status(), failure.Fuse
	answered(e, failure)
}

// answered adds the error's code, and what the authorization server answered.
func answered(e *audit.Event, failure *fault.Error) {
	e.Error, e.Detail, e.CorrelationID = failure.Kind.Code(), cmp.Or(failure.Detail, failure.Description), failure.CorrelationID
	if u := failure.Upstream; u != nil {
		e.UpstreamStatus, e.UpstreamError = u.Status, u.Code
	}
}

// shadow writes the line of a second credential.
func (r *recorder) shadow(s tokensource.ShadowResult) {
	second := s.Client.Shadow
	e := &audit.Event{
		Type: audit.Shadow, Time: r.cfg.Now(), RequestID: s.CorrelationID, Client: s.Client.Name, Outcome: "succeeded",
		IssuerHost: second.IssuerHost, Method: string(second.Method), SecretVersion: second.Version,
	}
	if s.Err != nil {
		e.Outcome = "failed"
		answered(e, s.Err)
	}
	_ = r.put(e)
}
