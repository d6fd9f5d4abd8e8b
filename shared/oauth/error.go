package oauth

import (
	"fmt"
	"slices"
	"time"
)

// Reason is why an exchange returned no token.
type Reason int

// The reasons. The zero value is not used in an [Error].
const (
	_                  Reason = iota
	Refused                   // the server answered with an error status; see Error.Status
	CertificateRefused        // the server ended the TLS handshake because of the client certificate, by an alert or probably
	NoProof                   // the [Authenticator] failed; no request was sent
	Unreachable               // there was no connection, or it broke before an answer
	TimedOut                  // no complete answer before the deadline
	Untrusted                 // the server's certificate or its TLS version is not acceptable
	AddressRefused            // the server's name resolves to an address that is not allowed
	Redirected                // the server answered with a redirect, which is not followed
	Unusable                  // the server answered 200 without a usable token
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

// Error is the error type of [Exchanger.Exchange]. Of the server's answer, its text
// contains only the status and the error code of RFC 6749 section 5.2.
type Error struct {
	Reason Reason
	// Status is the HTTP status of the answer; 0: there was no answer.
	Status int
	// Code is the server's error code (RFC 6749 section 5.2); empty: none, or one that is
	// not safe to log.
	Code string
	// Description is the server's error_description as [Printable] returns it; empty for a
	// failed logon, and "[redacted]" if it repeated the credential. It is for operators,
	// and for a caller whose parameter was refused.
	Description string
	// Detail explains the reason. It contains no value that was sent or received.
	Detail string
	// RetryAfter is the pause that the server asked for, at most [MaxRetryAfter]; 0: none.
	RetryAfter time.Duration
	// CorrelationID identifies the request in the server's log: X-Ids-Id of SAP Cloud
	// Identity Services, X-Vcap-Request-Id of XSUAA.
	CorrelationID string
	// ClockSkew is the server's Date minus the local clock; 0: not known. It is set for a
	// failed logon and for a refused assertion, because a wrong clock makes valid
	// assertions fail, which some servers answer with 500.
	ClockSkew time.Duration
	// temporary: NoProof wrapped ErrTemporary.
	temporary bool
	// proven is that of the [Request].
	proven bool
	// ambiguous: the answer contains invalid_client, which may be what the request sent.
	ambiguous bool
	// shown: the connection broke after the server had requested the certificate that
	// authenticates the client.
	shown bool
	// unread: the answer has no code, because its body broke off or cannot be decoded.
	unread bool
	// dropped: the connection ended without an alert after the server had requested that
	// certificate in the handshake.
	dropped bool
}

// Error implements error.
func (e *Error) Error() string {
	text := reasonTexts[e.Reason]
	if e.Status != 0 {
		text += fmt.Sprintf(", status %d", e.Status)
	}
	if e.Code != "" {
		text += ", error " + e.Code
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.ClockSkew.Abs() > 30*time.Second {
		text += fmt.Sprintf("; its clock differs from ours by %v", e.ClockSkew.Round(time.Second))
	}
	return text
}

// FailedLogon reports whether the server may have counted the exchange as a failed logon.
// SAP Cloud Identity Services answers invalid_client with 400 or 401, older XSUAA answers
// 401 with the code "unauthorized", Auth0 401 with access_denied, Keycloak 401 with
// unauthorized_client, Salesforce 400 with invalid_client_id, Zoho 200 with
// invalid_client_secret, and gateways are known to
// change the status to 200 or 503. A 401 whose code is about the request is no failed
// logon: the client was authenticated, and a caller's invalid scope must not lock it out.
// A 403 is a failed logon unless [Request].Proven: Keycloak before version 12 refuses a
// wrong secret by it, other servers a client that lacks a permission. A 400 whose body cannot be
// read is one too, since invalid_client may be in it.
func (e *Error) FailedLogon() bool {
	if e.Reason != Refused && e.Reason != Unusable {
		return e.Reason == CertificateRefused
	}
	switch e.Code {
	case "invalid_client", "invalid_client_id", "invalid_client_secret":
		return true
	case "invalid_scope", "invalid_target", "unsupported_grant_type":
		// They imply that the client was authenticated (RFC 6749 section 5.2, RFC 8707 section 2).
		return false
	}
	return e.Status == 401 || e.Status == 403 && !e.proven || e.Status == 400 && e.unread
}

// Temporary reports whether the same exchange may succeed later without a change of the
// configuration.
func (e *Error) Temporary() bool {
	switch e.Reason {
	case Unreachable, TimedOut:
		return true
	case Refused:
		return e.Status == 429 || e.Status >= 500
	}
	return e.temporary
}

// retriable reports whether the exchange may be retried after the given attempt without
// the risk of a failed logon. Some servers refuse a client certificate by closing the
// connection, so only a certificate that is known to be good is sent again, and only once.
func (e *Error) retriable(attempt int) bool {
	switch {
	case e.FailedLogon() || e.ambiguous || e.shown && (attempt > 1 || !e.proven):
		return false
	case e.Reason == Unreachable:
		return true
	}
	return e.Reason == Refused && slices.Contains([]int{429, 502, 503, 504}, e.Status)
}
