package token

import (
	"context"
	"crypto/x509"
	"errors"
	"maps"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/tokensource"
)

// Examination is what [Vendor.Examine] found.
type Examination struct {
	// Used is the last day on which a caller got a token; zero: none is known.
	Used time.Time
	// Client is the client as its current document describes it; nil: the document cannot be
	// used.
	Client *registry.Client
	// Certificate is the client's certificate, also if the document cannot be used because it
	// has expired; nil: there is none. Version is that of the secret; empty: it could not be
	// read.
	Certificate *x509.Certificate
	Version     string
	// Previous is the client with the credential of the version before; nil: there is none
	// that can stand in, or that is not known.
	Previous *registry.Client
	// Credential is what is known of the client's credential, and PreviousRefused whether the
	// authorization server refused that of Previous last. PreviousUnknown means that the
	// version before could not be read now.
	tokensource.Credential
	PreviousRefused, PreviousUnknown bool
	// Open means that the policy allows a caller that does not exist to have the client.
	Open bool
	// Probed means that a token was asked for. Grant has it, unless Err is set.
	Probed bool
	Grant  Grant
	// Err is why the client gets no token; nil: it does, or that is not known.
	Err *fault.Error
}

// Probe says how [Vendor.Examine] asks for a token.
type Probe struct {
	// RequestID and Caller are those of the audit line. Caller is empty for a schedule.
	RequestID, Caller string
	// May decides whether the credential of a version is tried; refused says that the
	// authorization server refused it last. One that is locked out is not sent even so.
	May func(version string, refused bool) bool
}

// stranger is a caller that does not exist: no account has that id.
const stranger = "aws:000000000000:role/token-vendor-probe"

// Examine reads a client's document now, and finds out whether its credential works: it asks
// for a token that has half of its life left, as a caller may, so that the probe costs an
// exchange only where no caller has made one lately. ok is false if the shared table could not
// be used; then nothing is tried.
func (v *Vendor) Examine(ctx context.Context, name string, p Probe) (x Examination, ok bool) {
	if x.Used, ok = v.source.Used(ctx, name); !ok {
		return x, false
	}
	client, err := v.examineDocument(ctx, name, &x)
	if err != nil {
		x.Err = fault.From(err)
		return x, true
	}
	if x.Credential, ok = v.source.Inspect(ctx, client); !ok {
		return x, false
	}
	v.examinePrevious(ctx, &x)
	x.Open = v.admitsStranger(ctx, client)
	want, safe := probeAsk(client, x.Reference)
	switch {
	case safe && p.May(client.Version, x.Refusal != nil):
		v.probe(ctx, &x, want, p)
	case x.Refusal != nil:
		x.Err = fault.From(x.Refusal)
	}
	return x, true
}

// examineDocument reads the current document, and returns the client that makes exchanges.
func (v *Vendor) examineDocument(ctx context.Context, name string, x *Examination) (*registry.Client, error) {
	current, err := v.clients.cfg.Clients.Inspect(ctx, name)
	if err != nil {
		var document *registry.DocumentError
		if errors.As(err, &document) {
			x.Certificate, x.Version = document.Certificate, document.Version
		}
		return nil, documentFault(err)
	}
	x.describe(current)
	client, err := v.clients.get(ctx, name)
	if err != nil {
		return nil, err
	}
	if client.Version != current.Version {
		if newer := v.clients.newer(ctx, client, true, true); newer != nil {
			client = newer
		}
	}
	x.describe(client)
	return client, nil
}

func (x *Examination) describe(c *registry.Client) {
	x.Client, x.Certificate, x.Version = c, c.Certificate, c.Version
}

func (v *Vendor) examinePrevious(ctx context.Context, x *Examination) {
	previous, err := v.clients.previous(ctx, x.Client)
	if err != nil {
		x.PreviousUnknown = !errors.Is(err, registry.ErrNoPrevious)
		return
	}
	x.Previous = previous
	known, ok := v.source.Inspect(ctx, previous)
	x.PreviousRefused, x.PreviousUnknown = known.Refusal != nil, !ok
}

// probeAsk returns what a probe asks for: what has obtained a token before, if callers choose
// parameters without which the authorization server could take the request for a failed logon,
// or if another token would end theirs. It returns false if that is not known.
func probeAsk(c *registry.Client, reference *ask.Ask) (ask.Ask, bool) {
	harmless := map[string]bool{"scope": true, "resource": true, "audience": true, "token_format": true}
	needed := c.SingleToken && len(c.Allow) > 0
	for name := range c.Allow {
		needed = needed || !harmless[name]
	}
	if !needed {
		return ask.Ask{}, true
	}
	if reference == nil {
		return ask.Ask{}, false
	}
	want := *reference
	want.Parameters = maps.Clone(reference.Parameters)
	// Those of the document are added again.
	maps.DeleteFunc(want.Parameters, func(name, _ string) bool { return !c.Allow[name] })
	return want, true
}

// probe asks for a token, and adds the result to x.
func (v *Vendor) probe(ctx context.Context, x *Examination, want ask.Ask, p Probe) {
	x.Probed = true
	grant, err := v.probeHalf(ctx, x.Client.Name, want, p)
	x.Grant = grant
	if err != nil {
		x.Err = fault.From(err)
	}
	switch {
	case err == nil && grant.Token.ObtainedBy(x.Client):
		x.Proven, x.Refusal = true, nil
	case err == nil || !x.Err.Fuse.IsZero():
		known, _ := v.source.Inspect(ctx, x.Client)
		x.Proven, x.Refusal = known.Proven, known.Refusal
	}
}

// admitsStranger reports whether the policy allows any caller to have the client. No caller
// asks, so that there is no decision to record.
func (v *Vendor) admitsStranger(ctx context.Context, c *registry.Client) bool {
	if v.policies == nil {
		return false
	}
	r, err := v.policies.current(ctx)
	if err != nil {
		return false // PolicyFailed counts it
	}
	for _, q := range []policy.Query{
		{Caller: stranger, Client: c.Name},
		// What the caller would get.
		{Caller: stranger, Client: c.Name, Scope: c.Defaults.Scope, Resource: c.Defaults.Targets()},
	} {
		if verdict := r.policy.Decide(q); !verdict.Allowed || verdict.WouldDeny {
			return false
		}
	}
	return true
}
