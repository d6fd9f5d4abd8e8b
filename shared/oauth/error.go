package oauth

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Reason says what kept an exchange from giving a token.
type Reason int

// The reasons. The zero value never stands in an [Error].
const (
	_ Reason = iota
	// Refused: the server answered with an error status; see Error.Status.
	Refused
	// CertificateRefused: the server ended the TLS handshake over our
	// certificate.
	CertificateRefused
	// NoProof: the client's proof could not be made; nothing was sent.
	NoProof
	// Unreachable: no connection, or it broke before an answer came.
	Unreachable
	// TimedOut: no whole answer within the time.
	TimedOut
	// Untrusted: the server's certificate or its TLS is not acceptable.
	Untrusted
	// AddressRefused: the server's name leads to an address that is not
	// allowed.
	AddressRefused
	// Redirected: the server answered with a redirect, which is not followed.
	Redirected
	// Unusable: the server answered 200 without a token that can be passed on.
	Unusable
)

var reasonTexts = [...]string{
	Refused:            "the authorization server answered with an error",
	CertificateRefused: "the authorization server refused the client certificate in the TLS handshake",
	NoProof:            "the client authentication could not be made",
	Unreachable:        "the authorization server could not be reached",
	TimedOut:           "the authorization server did not answer in time",
	Untrusted:          "the TLS connection to the authorization server could not be trusted",
	AddressRefused:     "the token endpoint leads to an address that is not allowed",
	Redirected:         "the authorization server answered with a redirect",
	Unusable:           "the authorization server's answer holds no usable token",
}

// Error is the one error type of [Exchanger.Exchange]. Its text holds nothing
// that the server sent but the error code of RFC 6749 section 5.2.
type Error struct {
	Reason Reason
	// Status is the HTTP status of the answer; 0: none came.
	Status int
	// Code is the server's error member (RFC 6749 section 5.2); empty: none, or
	// not one that the RFC allows.
	Code string
	// Description is the server's error_description, cut to 200 printable
	// characters; empty for a failed logon, and "[redacted]" when it echoed
	// the credential. It is the server's text: for operators, and for the
	// caller where its own parameter was refused.
	Description string
	// Detail is our own words on the reason; never a value.
	Detail string
	// RetryAfter is what the server asked for, at most five minutes; 0: nothing.
	RetryAfter time.Duration
	// CorrelationID is what the server's log calls the request: X-Ids-Id of SAP
	// Cloud Identity Services, X-Vcap-Request-Id of XSUAA.
	CorrelationID string
	// ClockSkew is the server's Date minus our clock, set for a failed logon: a
	// wrong clock makes good assertions fail.
	ClockSkew time.Duration
	// temporary: NoProof wrapped ErrTemporary.
	temporary bool
	// final: the proof was shown and must not be shown again by itself.
	final bool
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(reasonTexts[e.Reason])
	if e.Status != 0 {
		b.WriteString(", status " + strconv.Itoa(e.Status))
	}
	if e.Code != "" {
		b.WriteString(", error " + e.Code)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.ClockSkew.Abs() > 30*time.Second {
		fmt.Fprintf(&b, "; its clock differs from ours by %v", e.ClockSkew.Round(time.Second))
	}
	return b.String()
}

// FailedLogon reports whether the server may have counted the exchange as a
// failed logon: SAP Cloud Identity Services answers invalid_client with 400 or
// 401, older XSUAA answers 401 with the code "unauthorized", and gateways are known
// to make a 200 or a 503 of it. A 401 whose code is about what was asked for is
// none: the client was known, and must not be blocked by a caller's bad scope.
func (e *Error) FailedLogon() bool {
	switch {
	case e.Reason == CertificateRefused:
		return true
	case e.Reason != Refused && e.Reason != Unusable:
		return false
	case e.Code == "invalid_client":
		return true
	}
	return e.Status == 401 && !aboutRequest(e.Code)
}

// aboutRequest reports whether an error code says that the client was authenticated
// (RFC 6749 section 5.2, RFC 8707 section 2).
func aboutRequest(code string) bool {
	switch code {
	case "invalid_scope", "invalid_target", "unsupported_grant_type", "unauthorized_client":
		return true
	}
	return false
}

// Temporary reports whether the same exchange may succeed later without
// anybody changing anything.
func (e *Error) Temporary() bool {
	switch e.Reason {
	case Unreachable, TimedOut:
		return true
	case NoProof:
		return e.temporary
	case Refused:
		return e.Status == 429 || e.Status >= 500
	}
	return false
}

// retriable reports whether trying again now cannot count as a failed logon.
func (e *Error) retriable() bool {
	switch {
	case e.final || e.FailedLogon():
		return false
	case e.Reason == Unreachable:
		return true
	}
	switch e.Status {
	case 429, 502, 503, 504:
		return e.Reason == Refused
	}
	return false
}
