// Package fault defines the error that a caller gets: the error document of RFC 6749
// section 5.2, and the one table from an error's kind to its HTTP status and error code.
package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/oauth"
)

// Kind is the coarse reason of an [Error]. The zero value is Internal, so that an error
// that nobody classified tells the caller nothing. Rows of the shared table hold kinds as
// numbers, so a new kind is added at the end.
type Kind int

// The kinds; [Kind.Status] and [Kind.Code] give each its answer.
const (
	Internal Kind = iota
	Malformed
	UnsupportedGrant
	InvalidScope
	InvalidTarget
	// Denied is one answer for three reasons, so that a caller cannot tell them apart: the
	// policy denies the request, the identity is not proven, or there is no such client.
	Denied
	TooLarge
	WrongMedia
	WrongMethod
	Misconfigured
	Throttled
	Unavailable
	Timeout
	// Suspended is Denied by a state that passes: the client is frozen, or the policy is
	// missing or broken. The answer is that of Denied.
	Suspended
)

// answers is the one table from kind to HTTP status and error code (RFC 6749 section 5.2;
// invalid_target: RFC 8707 section 2; access_denied: RFC 8628 section 3.5; server_error and
// temporarily_unavailable are borrowed from RFC 6749 section 4.1.2.1).
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
	Suspended:        {403, "access_denied"},
}

// Status returns the HTTP status of the kind.
func (k Kind) Status() int { return answers[k].status }

// Code returns the value of the error member.
func (k Kind) Code() string { return answers[k].code }

// Valid reports whether k is a kind other than Internal.
func (k Kind) Valid() bool { return k > Internal && int(k) < len(answers) }

// Temporary reports whether the same request may succeed later without a change.
func (k Kind) Temporary() bool { return k == Throttled || k == Unavailable || k == Timeout }

// Upstream is the authorization server's answer.
type Upstream struct {
	// Status is its HTTP status.
	Status int `json:"status"`
	// Code is its error member; may be empty.
	Code string `json:"error,omitempty"`
}

// Error is the error of a request. Description is for the caller and Detail for the
// operator's log; neither holds a value of the input, a secret, a token or an ARN. An Error
// may be shared by callers and must not be changed once it is returned.
type Error struct {
	Kind        Kind
	Description string
	// Detail is empty if Description says it all.
	Detail string
	// Upstream is nil unless the authorization server answered.
	Upstream *Upstream
	// RetryAfter is how long the caller should wait; 0: no advice.
	RetryAfter time.Duration
	// CorrelationID is the authorization server's name for the request.
	CorrelationID string
	// Fuse is until when the credential is not sent again, because the authorization
	// server refused it; zero: the error is not about that.
	Fuse time.Time
}

// Error implements error. The text is for logs.
func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Kind.Code() + ": " + e.Detail
	}
	return e.Kind.Code() + ": " + e.Description
}

// document is the body of RFC 6749 section 5.2 with two members of our own.
type document struct {
	Error       string    `json:"error"`
	Description string    `json:"error_description"`
	RequestID   string    `json:"request_id"`
	Upstream    *Upstream `json:"upstream,omitempty"`
}

// AppendJSON appends the error document for the caller (RFC 6749 section 5.2).
func (e *Error) AppendJSON(dst []byte, requestID string) []byte {
	body, err := json.Marshal(document{e.Kind.Code(), oauth.Printable(e.Description), requestID, e.Upstream})
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return append(dst, body...)
}

// From returns err as an [*Error]. The error of an ended context becomes Timeout, and those of
// the cache Unavailable; any other becomes Internal, and its text is left out.
func From(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return TimedOut()
	case errors.Is(err, cache.ErrBusy):
		return &Error{Kind: Unavailable, Description: "too many requests wait for the same already", RetryAfter: time.Second}
	case errors.Is(err, cache.ErrExpired):
		return &Error{Kind: Unavailable, Description: "the token expired before it came", RetryAfter: time.Second}
	}
	return &Error{Kind: Internal, Description: "internal error"}
}

// Catch calls do and returns its error. A panic becomes an error of kind Internal: the Lambda
// runtime would send its text and stack to the caller and end the process, other events
// with it. The log gets the panic's type and place only, because its value may be a secret;
// requestID is read then.
func Catch(log *slog.Logger, requestID *string, do func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			log.Error("panic", "requestId", *requestID, "type", fmt.Sprintf("%T", cause), "at", panicSite())
			err = &Error{Kind: Internal, Description: "internal error"}
		}
	}()
	return do()
}

// panicSite names the function and line that panicked.
func panicSite() string {
	var callers [16]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers[:])])
	for panicked := false; ; {
		frame, more := frames.Next()
		if panicked && !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", frame.Function, frame.Line)
		}
		panicked = panicked || frame.Function == "runtime.gopanic"
		if !more {
			return ""
		}
	}
}

// New returns an error of the kind; description must not hold a value of the input.
func New(kind Kind, description string) *Error { return &Error{Kind: kind, Description: description} }

// Invalid returns an error of kind Malformed.
func Invalid(description string) *Error { return New(Malformed, description) }

// TimedOut returns the error of a request whose time is over.
func TimedOut() *Error {
	return &Error{Kind: Timeout, Description: "no answer in time", RetryAfter: time.Second}
}

// Refusal returns the answer of kind Denied, or of Suspended, which is the same for all its
// reasons. detail is for the log.
func Refusal(kind Kind, detail string) *Error {
	return &Error{Kind: kind, Description: "not allowed, or no such client", Detail: detail}
}

// InBackoff returns e for a caller that came during the backoff after a failure, as the
// error err of the cache says: the caller is told when that ends. Without a backoff it
// returns e.
func (e *Error) InBackoff(err error, now time.Time) *Error {
	var b *cache.BackoffError
	if !errors.As(err, &b) || !e.Kind.Temporary() {
		return e
	}
	again := *e
	again.RetryAfter = max(b.Until.Sub(now), time.Second)
	return &again
}
