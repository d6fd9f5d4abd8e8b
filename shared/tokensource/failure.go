package tokensource

import (
	"encoding/json"
	"errors"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
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
}

func (f *failure) Error() string { return f.fault.Error() }
func (f *failure) Unwrap() error { return f.fault }

// refusal is a failed logon.
type refusal struct {
	fault *fault.Error // before the lockout is mentioned
	until time.Time
	times int // in a row
}

// error returns the error of a logon that is not made.
func (r refusal) error() *failure {
	e := *r.fault
	e.Fuse = r.until
	e.Description = oauth.Printable(e.Description + "; the fuse is blown: this version of the credential is not sent again before " + r.until.UTC().Format(time.RFC3339))
	e.Detail = e.Description
	return &failure{fault: &e, refusal: &r}
}

// note is how a row of the table keeps a failure.
type note struct {
	Kind fault.Kind `json:"kind"`
	// Fuse: the credential is locked out. Description is then that of the refusal.
	Fuse        bool            `json:"fuse,omitempty"`
	Description string          `json:"description"`
	Detail      string          `json:"detail"`
	Upstream    *fault.Upstream `json:"upstream,omitempty"`
}

func noteOf(f *failure) []byte {
	e := f.fault
	if f.refusal != nil {
		e = f.refusal.fault
	}
	return encode(note{e.Kind, f.refusal != nil, e.Description, e.Detail, e.Upstream})
}

// readNote returns the failure that another environment noted. fuse says that it is a
// lockout.
func readNote(text []byte) (e *fault.Error, fuse bool) {
	var n note
	if json.Unmarshal(text, &n) != nil || !n.Kind.Valid() {
		n = note{Kind: fault.Unavailable, Description: "the authorization server failed a moment ago"}
	}
	return &fault.Error{Kind: n.Kind, Description: n.Description, Upstream: n.Upstream, Detail: "as another environment found: " + n.Detail}, n.Fuse
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
	if failure.Status != 0 {
		e.Upstream = &fault.Upstream{Status: failure.Status, Code: failure.Code}
	}
	if e.RetryAfter == 0 && e.Kind.Temporary() {
		e.RetryAfter = minRetryAfter
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

// encode returns the JSON of a value of this package.
func encode(value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return text
}
