package token

import (
	"context"
	"crypto/x509"
	"errors"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/tokensource"
)

// Examination is what [Vendor.Examine] found.
type Examination struct {
	// Client is the client as its current document describes it; nil: the document cannot be
	// used.
	Client *registry.Client
	// Certificate is the client's certificate, also if the document cannot be used because it
	// has expired; nil: there is none. Version is that of the secret; empty: it could not be
	// read.
	Certificate *x509.Certificate
	Version     string
	// Previous is the client with the credential of the version before; nil: there is none
	// that can stand in.
	Previous *registry.Client
	// Credential is what is known of the client's credential, and PreviousRefused whether the
	// authorization server refused that of Previous last.
	tokensource.Credential
	PreviousRefused bool
	// Open means that the policy allows a caller that does not exist to have the client.
	Open bool
	// Probed means that a token was asked for. Grant has it, unless Err is set.
	Probed bool
	Grant  Grant
	// Err is why the client gets no token; nil: it does, or that is not known.
	Err *fault.Error
}

// stranger is a caller that does not exist: no account has that id.
const stranger = "aws:000000000000:role/token-vendor-probe"

// Examine reads a client's document now, and finds out whether its credential works: it asks
// for a token that has half of its life left, as a caller may, so that the probe costs an
// exchange only where no caller has made one lately. probe decides whether the credential of a
// version is tried, and gets whether the authorization server refused it last; a credential that
// is locked out is not sent even so. ok is false if the shared table could not be used; then
// nothing is tried. requestID names the probe in the log.
func (v *Vendor) Examine(ctx context.Context, name, requestID string, probe func(version string, refused bool) bool) (x Examination, ok bool) {
	current, err := v.clients.cfg.Clients.Inspect(ctx, name)
	if err != nil {
		x.Err = documentFault(err)
		var document *registry.DocumentError
		if errors.As(err, &document) {
			x.Certificate, x.Version = document.Certificate, document.Version
		}
		return x, true
	}
	x.Client, x.Certificate, x.Version = current, current.Certificate, current.Version
	client, err := v.clients.get(ctx, name)
	if err == nil && client.Version != current.Version {
		if newer := v.clients.newer(ctx, client, true, true); newer != nil {
			client = newer
		}
	}
	if err != nil {
		x.Err = fault.From(err)
		return x, true
	}
	x.Client, x.Certificate, x.Version = client, client.Certificate, client.Version
	if x.Credential, ok = v.source.Inspect(ctx, client); !ok {
		return x, false
	}
	v.examinePrevious(ctx, &x)
	x.Open = v.admitsStranger(ctx, name)
	switch {
	case probe(client.Version, x.Refusal != nil):
		v.probe(ctx, &x, requestID)
	case x.Refusal != nil:
		x.Err = fault.From(x.Refusal)
	}
	return x, true
}

func (v *Vendor) examinePrevious(ctx context.Context, x *Examination) {
	previous, err := v.clients.previous(ctx, x.Client)
	if err != nil {
		return
	}
	x.Previous = previous
	known, _ := v.source.Inspect(ctx, previous)
	x.PreviousRefused = known.Refusal != nil
}

// probe asks for a token, and adds the result to x.
func (v *Vendor) probe(ctx context.Context, x *Examination, requestID string) {
	x.Probed = true
	grant, err := v.probeHalf(ctx, x.Client.Name, requestID)
	x.Grant = grant
	if err != nil {
		x.Err = fault.From(err)
	}
	switch {
	case err != nil && !x.Err.Fuse.IsZero(), grant.OldCredential:
		known, _ := v.source.Inspect(ctx, x.Client)
		x.Proven, x.Refusal = known.Proven, known.Refusal
	case err == nil:
		x.Proven, x.Refusal = true, nil
	}
}

// admitsStranger reports whether the policy allows any caller to have the client. No caller
// asks, so that there is no decision to record.
func (v *Vendor) admitsStranger(ctx context.Context, name string) bool {
	if v.policies == nil {
		return false
	}
	r, err := v.policies.current(ctx)
	if err != nil {
		return false // PolicyFailed counts it
	}
	verdict := r.policy.Decide(policy.Query{Caller: stranger, Client: name})
	return verdict.Allowed && !verdict.WouldDeny
}
