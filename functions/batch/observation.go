package main

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/radar"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/token"
)

// maxProblem is more than the text of a failed logon has with its advice, in bytes.
const maxProblem = 512

// observation returns what an examination says of a client.
func (w *watch) observation(name string, at time.Time, x *token.Examination) radar.Observation {
	o := radar.Observation{At: at, Client: name, Version: x.Version, Used: x.Used}
	if c := x.Client; c != nil {
		o.IssuerHost, o.Method = c.IssuerHost, string(c.Method)
		// The version may be younger than the credential, so that it is not known when that began.
		o.Secret = radar.Term{ID: c.Expires.UTC().Format(time.RFC3339), To: c.Expires}
	}
	if leaf := x.Certificate; leaf != nil {
		sum := sha256.Sum256(leaf.Raw)
		o.Certificate = radar.Term{ID: hex.EncodeToString(sum[:]), From: leaf.NotBefore, To: leaf.NotAfter}
	}
	if t := x.Grant.Token; t != nil && t.ObtainedBy(x.Client) {
		o.Proven = t.Issued()
	}
	o.State = w.state(x)
	if x.Err != nil {
		problem := x.Err.Error() // without words of a foreign server
		o.Problem = strings.ToValidUTF8(problem[:min(len(problem), maxProblem)], "")
	}
	return o
}

// state returns the state of a client. That an exchange was withheld, or could not be made in time,
// says nothing about the client.
func (w *watch) state(x *token.Examination) radar.State {
	switch {
	case x.Refusal != nil:
		return refusedState(x)
	case x.Err == nil && (x.Proven || x.Grant.Token != nil && x.Grant.Token.ObtainedBy(x.Client)):
		return radar.Good
	case x.Err == nil, x.Err.Kind.Status() == 403, x.Err.Kind == fault.Throttled, !w.identity && strings.Contains(x.Err.Detail, registry.NoAudience):
		return radar.Unknown
	case x.Err.Kind.Temporary():
		return radar.Temporary
	}
	return radar.Failing
}

// refusedState returns the state of a client whose credential was refused last.
func refusedState(x *token.Examination) radar.State {
	switch {
	case x.Grant.Token != nil:
		return radar.StandIn
	case x.PreviousUnknown && !x.Probed:
		return radar.Unknown
	case x.Probed, x.Previous == nil, x.PreviousRefused:
		return radar.Refused
	}
	return radar.StandIn
}
