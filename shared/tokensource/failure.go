package tokensource

import (
	"cmp"
	"encoding/json"
	"errors"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

// minRetryAfter is the shortest advice to a caller.
const minRetryAfter = time.Second

// failure is an error of this package with what the cache and the table keep of it. Its
// users see the [fault.Error].
type failure struct {
	fault *fault.Error
	// backoff is how long the same is not tried again, if that is known; 0: it is not.
	backoff time.Duration
	// refusal is the lockout that the failure is about; nil: none.
	refusal *refusal
	// client and version are whose request failed; version is empty if another version of
	// the client's secret would have failed as well.
	client, version string
	// alone means that the failure is about this request, and not about the token.
	alone bool
	// caller is the principal whose share is used up; empty: the failure is not about a share.
	caller string
}

func (f *failure) Error() string { return f.fault.Error() }
func (f *failure) Unwrap() error { return f.fault }

// refusal is a failed logon.
type refusal struct {
	fault *fault.Error // before the lockout is mentioned
	until time.Time
	times int // in a row
}

// error returns the error of a logon that is not made. The end of the lockout precedes the
// reason, because a description is cut.
func (r refusal) error() *failure {
	e := *r.fault
	e.Fuse = r.until
	prefix := "the fuse is blown until " + r.until.UTC().Format(time.RFC3339) + " (a new version of the secret is sent at once): "
	e.Description, e.Detail = oauth.Printable(prefix+e.Description), prefix+cmp.Or(e.Detail, e.Description)
	return &failure{fault: &e, refusal: &r}
}

// note is how a row of the table keeps a failure.
type note struct {
	Kind fault.Kind `json:"kind"`
	// Fuse: the credential is locked out. Description is then that of the refusal.
	Fuse bool `json:"fuse,omitempty"`
	// Version is the version of the secret that the failure is about; empty: any.
	Version     string          `json:"version,omitempty"`
	Description string          `json:"description"`
	Detail      string          `json:"detail"`
	Upstream    *fault.Upstream `json:"upstream,omitempty"`
}

func noteOf(f *failure) []byte {
	e := f.fault
	if f.refusal != nil {
		e = f.refusal.fault
	}
	return encode(note{e.Kind, f.refusal != nil, f.version, e.Description, e.Detail, e.Upstream})
}

// otherVersion reports whether a failure is about another version of the client's secret;
// version is that of the failure.
func otherVersion(version string, client *registry.Client) bool {
	return version != "" && version != client.Version
}

// noteVersion returns the version that a failure is about which another environment noted.
func noteVersion(text []byte) string {
	var n note
	_ = json.Unmarshal(text, &n)
	return n.Version
}

// readNote returns the failure that another environment noted. fuse says that it is a
// lockout.
func readNote(text []byte) (e *fault.Error, fuse bool) {
	var n note
	if json.Unmarshal(text, &n) != nil || !n.Kind.Valid() {
		n = note{Kind: fault.Unavailable, Description: "the authorization server failed a moment ago"}
	}
	return &fault.Error{Kind: n.Kind, Description: n.Description, Upstream: n.Upstream, Detail: n.Detail}, n.Fuse
}

// failureOf returns an error of this package, or of a context, as a [failure] that the
// caller may change.
func failureOf(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		own := *f
		return &own
	}
	return &failure{fault: fault.From(err)}
}

// FailedLogonAdvice follows the error of a failed logon, for the operator: the server does not say which
// of these is wrong.
//
// Source: help.sap.com, SAP Cloud Identity Services, "Unlock Client ID"
const FailedLogonAdvice = "; compare client_id, client_secret, token_endpoint_auth_method and, with a certificate, its SHA-256 fingerprint with those at the server; " +
	"after five failed logons SAP's servers answer so for an hour"

// exchangeFault returns the error of an exchange as callers get it. The server's 401 is the
// vendor's fault, never the caller's: IAM has verified the caller's identity.
func exchangeFault(failure *oauth.Error) *fault.Error {
	e := &fault.Error{
		Kind:          exchangeKind(failure),
		Description:   oauth.Printable(failure.Error()),
		Detail:        failure.Error(),
		RetryAfter:    failure.RetryAfter,
		CorrelationID: failure.CorrelationID,
	}
	if failure.Description != "" {
		// Only for the caller: a log does not repeat the words of a foreign server.
		e.Description = oauth.Printable(e.Description + ": " + failure.Description)
	}
	if failure.FailedLogon() {
		e.Detail += FailedLogonAdvice
	}
	if failure.Status != 0 {
		e.Upstream = &fault.Upstream{Status: failure.Status, Code: failure.Code}
	}
	if e.RetryAfter == 0 && e.Kind.Temporary() {
		e.RetryAfter = minRetryAfter
	}
	return e
}

// parametersFault is the error of an exchange with parameters of a caller that failed as if
// the credential were wrong. sure means that the server accepted the credential with others.
func parametersFault(failed *oauth.Error, sure bool) *fault.Error {
	e := exchangeFault(failed)
	e.Detail = "with the caller's parameters " + failed.Error()
	e.Description = "the authorization server refuses the client with the parameters of this request"
	e.Kind, e.RetryAfter = fault.Unavailable, minRetryAfter
	if sure {
		e.Kind, e.RetryAfter = fault.Malformed, 0
		e.Description += ", and accepts it without them: check app_tid, resource, audience, scope and the other parameters"
	}
	return e
}

func exchangeKind(failure *oauth.Error) fault.Kind {
	switch {
	case failure.FailedLogon():
		return fault.Misconfigured
	case failure.Reason == oauth.TimedOut:
		return fault.Timeout
	case failure.Status == 429:
		return fault.Throttled
	case failure.Temporary():
		return fault.Unavailable
	case failure.Reason == oauth.Refused && failure.Code == "invalid_scope":
		return fault.InvalidScope
	case failure.Reason == oauth.Refused && failure.Code == "invalid_target":
		return fault.InvalidTarget
	}
	return fault.Misconfigured
}
