package token

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

// Kind is the coarse reason of an [Error]. The zero value is Internal, so that
// what nobody thought of tells the caller nothing.
type Kind int

// The kinds; the table in [Kind.Status] and [Kind.Code] gives each its answer.
const (
	Internal Kind = iota
	Malformed
	UnsupportedGrant
	InvalidScope
	InvalidTarget
	Denied
	TooLarge
	WrongMedia
	WrongMethod
	Misconfigured
	Throttled
	Unavailable
	Timeout
)

// answers is the one table from kind to HTTP status and error code (RFC 6749
// section 5.2; invalid_target: RFC 8707 section 2; access_denied: RFC 8628
// section 3.5; server_error and temporarily_unavailable are borrowed from RFC
// 6749 section 4.1.2.1).
var answers = [...]struct {
	status int
	code   string
}{
	Internal:         {500, "server_error"},
	Malformed:        {400, "invalid_request"},
	UnsupportedGrant: {400, "unsupported_grant_type"},
	InvalidScope:     {400, "invalid_scope"},
	InvalidTarget:    {400, "invalid_target"},
	Denied:           {403, "access_denied"},
	TooLarge:         {413, "invalid_request"},
	WrongMedia:       {415, "invalid_request"},
	WrongMethod:      {405, "invalid_request"},
	Misconfigured:    {502, "server_error"},
	Throttled:        {429, "temporarily_unavailable"},
	Unavailable:      {503, "temporarily_unavailable"},
	Timeout:          {504, "temporarily_unavailable"},
}

// Status returns the HTTP status of the kind.
func (k Kind) Status() int { return answers[k].status }

// Code returns the value of the error member.
func (k Kind) Code() string { return answers[k].code }

// Upstream is what the authorization server answered.
type Upstream struct {
	// Status is its HTTP status.
	Status int
	// Code is its error member; may be empty.
	Code string
}

// Error is the one error type of this package. Description is for the caller
// and Detail for the operator's log; neither holds a value of the input, a
// secret, a token or an ARN.
type Error struct {
	Kind        Kind
	Description string
	Detail      string
	// Upstream is nil unless the authorization server answered.
	Upstream *Upstream
	// RetryAfter is how long the caller should wait; 0: no advice.
	RetryAfter time.Duration
	// CorrelationID is the authorization server's name for the request.
	CorrelationID string
	// Fuse is until when the credential is not sent again, because the
	// authorization server refused it; zero: this is not about that.
	Fuse time.Time
	// Passing says that it is about a state that will pass, which Denied alone does not
	// say: the client is frozen, or the policy missing or broken.
	Passing bool
	// Forged says that somebody sent an event that only somebody else may send, such as
	// API Gateway or a queue.
	Forged bool
	// recorded says that the audit log has a line about it.
	recorded bool
	// reread says that the client's document is at fault, so that a newer
	// version of it may do better.
	reread bool
	// refusals is how often in a row the credential was refused; 0: that is not known.
	refusals int
	// rest is how long the same is not tried again, where that was settled
	// already; 0: it wasn't.
	rest time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Kind.Code() + ": " + e.Detail
	}
	return e.Kind.Code() + ": " + e.Description
}

// errorDocument is the body of RFC 6749 section 5.2 with our two members.
type errorDocument struct {
	Error       string            `json:"error"`
	Description string            `json:"error_description"`
	RequestID   string            `json:"request_id"`
	Upstream    *upstreamDocument `json:"upstream,omitempty"`
}

type upstreamDocument struct {
	Status int    `json:"status"`
	Error  string `json:"error,omitempty"`
}

// AppendJSON appends the error as a caller reads it (RFC 6749 section 5.2).
func (e *Error) AppendJSON(dst []byte, requestID string) []byte {
	document := errorDocument{Error: e.Kind.Code(), Description: oauth.Printable(e.Description), RequestID: requestID}
	if e.Upstream != nil {
		document.Upstream = &upstreamDocument{Status: e.Upstream.Status, Error: e.Upstream.Code}
	}
	body, err := json.Marshal(document)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return append(dst, body...)
}

// AsError returns err as an [*Error]; one of another type becomes Internal with
// its text left out.
func AsError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return timeout()
	case errors.Is(err, cache.ErrBusy):
		return &Error{Kind: Unavailable, Description: "too many wait for the same already", RetryAfter: time.Second}
	case errors.Is(err, cache.ErrExpired):
		return &Error{Kind: Unavailable, Description: "the token ended before it came", RetryAfter: time.Second}
	}
	return &Error{Kind: Internal, Description: "internal error"}
}

// temporary reports whether time may heal e.
func (e *Error) temporary() bool {
	return e.Kind == Throttled || e.Kind == Unavailable || e.Kind == Timeout
}

// malformed returns an error of kind Malformed; description must be our words.
func malformed(description string) *Error { return &Error{Kind: Malformed, Description: description} }

func timeout() *Error {
	return &Error{Kind: Timeout, Description: "no answer in time", RetryAfter: time.Second}
}

// Refusal returns the one answer for "no such client", "not allowed" and "not
// proven", so that nobody can tell them apart; detail is for the log.
func Refusal(detail string) *Error {
	return &Error{Kind: Denied, Description: "not allowed, or no such client", Detail: detail}
}

// Forgery is [Refusal] of an event that somebody sent who is not what it seems to come
// from, such as API Gateway or a queue.
func Forgery(detail string) *Error {
	e := Refusal(detail)
	e.Forged = true
	return e
}

// documentFailure turns an error of the registry into ours.
func documentFailure(err error) *Error {
	var document *registry.DocumentError
	switch {
	case errors.As(err, &document):
		problems := strings.Join(document.Problems, "; ")
		return &Error{Kind: Misconfigured, Description: oauth.Printable("the client's document is not usable: " + problems), Detail: problems}
	case errors.Is(err, secret.ErrNotFound):
		return Refusal("no such client")
	case errors.Is(err, secret.ErrDenied):
		return &Error{Kind: Misconfigured, Description: "the client's document cannot be read", Detail: err.Error()}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		e := timeout()
		e.Detail = "reading the client's document took too long: " + err.Error()
		return e
	case errors.Is(err, secret.ErrUnavailable), errors.Is(err, oauth.ErrDiscovery):
		return &Error{Kind: Unavailable, Description: "the client's document cannot be read now", Detail: err.Error(), RetryAfter: time.Second}
	}
	return AsError(err)
}

// exchangeFailure turns an error of the exchange into ours. The server's 401 is
// our fault, never the caller's: the caller has proved itself by IAM.
func exchangeFailure(failure *oauth.Error) *Error {
	e := &Error{
		Kind:          exchangeKind(failure),
		Description:   oauth.Printable(failure.Error()),
		Detail:        failure.Error(),
		RetryAfter:    failure.RetryAfter,
		CorrelationID: failure.CorrelationID,
	}
	e.reread = e.Kind == Misconfigured
	if failure.Description != "" {
		// The caller's to read. In a log a stranger's sentence has no place.
		e.Description = oauth.Printable(e.Description + ": " + failure.Description)
	}
	if failure.Status != 0 {
		e.Upstream = &Upstream{Status: failure.Status, Code: failure.Code}
	}
	if e.RetryAfter == 0 && (e.Kind == Throttled || e.Kind == Unavailable || e.Kind == Timeout) {
		e.RetryAfter = time.Second
	}
	return e
}

func exchangeKind(failure *oauth.Error) Kind {
	switch {
	case failure.FailedLogon():
		return Misconfigured
	case failure.Reason == oauth.TimedOut:
		return Timeout
	case failure.Status == 429:
		return Throttled
	case failure.Temporary():
		return Unavailable
	case failure.Reason == oauth.Refused && failure.Code == "invalid_scope":
		return InvalidScope
	case failure.Reason == oauth.Refused && failure.Code == "invalid_target":
		return InvalidTarget
	}
	return Misconfigured
}
