package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
)

// sightings is what was seen of an attempt on its way. Transport and attempt look at
// it from different goroutines.
type sightings struct {
	// answer: the first byte of one has come.
	answer atomic.Bool
	// asked: the server wanted the client's certificate.
	asked atomic.Bool
}

type sightingsKey struct{}

// watch returns a context under which an attempt notes what it sees.
func watch(ctx context.Context) (context.Context, *sightings) {
	seen := &sightings{}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: func() { seen.answer.Store(true) }})
	return context.WithValue(ctx, sightingsKey{}, seen), seen
}

// noteAsked is called when a server asks for the client's certificate.
func noteAsked(ctx context.Context) {
	if seen, ok := ctx.Value(sightingsKey{}).(*sightings); ok {
		seen.asked.Store(true)
	}
}

// switched is the error for an answer 101: net/http hands its connection over, and
// would let somebody read it without end.
func switched() *Error {
	return &Error{Reason: Unusable, Detail: "the server wants to switch to another protocol"}
}

// transportError sorts the error of a call that brought no answer. The error's
// own text is left behind: it may hold the URL or what a server sent.
func (c *Client) transportError(err error, seen *sightings) *Error {
	var op *net.OpError
	isOp := errors.As(err, &op)
	switch {
	case errors.Is(err, errAddress):
		return &Error{Reason: AddressRefused}
	case isOp && op.Op == "remote error":
		return c.alertError(op.Err.Error(), seen)
	case untrusted(err):
		return &Error{Reason: Untrusted, Detail: untrustedDetail(err)}
	case isOp && op.Op == "local error":
		return &Error{Reason: Untrusted, Detail: "the TLS handshake failed"}
	case isOp && op.Op == "dial", strings.Contains(err.Error(), "TLS handshake timeout"):
		return &Error{Reason: Unreachable, Detail: dialDetail(err)}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), isTimeout(err):
		return &Error{Reason: TimedOut}
	case seen.answer.Load():
		// The server has looked at the proof, and may have counted it.
		return &Error{Reason: Unusable, Detail: "the answer's head is malformed, too large or broke off"}
	}
	return c.broken(seen)
}

// broken is the error for a connection that ended before an answer. Some servers end
// it so when they don't like the client's certificate: that one is not shown again.
func (c *Client) broken(seen *sightings) *Error {
	return &Error{Reason: Unreachable, Detail: "the connection broke before an answer", final: c.method.MutualTLS() && seen.asked.Load()}
}

// alertError sorts an alert of the server (RFC 8446 section 6) by the words that
// crypto/tls has for it.
func (c *Client) alertError(alert string, seen *sightings) *Error {
	switch strings.TrimPrefix(alert, "tls: ") {
	case "internal error":
		return c.broken(seen)
	case "handshake failure", "bad certificate", "unsupported certificate", "revoked certificate", "expired certificate",
		"unknown certificate", "unknown certificate authority", "access denied", "certificate required":
		if c.method.MutualTLS() && seen.asked.Load() {
			return &Error{Reason: CertificateRefused}
		}
	}
	return &Error{Reason: Untrusted, Detail: "the server ended the TLS handshake"}
}

func untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &verification) || errors.As(err, &record) ||
		strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "server gave HTTP response")
}

// untrustedDetail says in our words what is wrong with the server's
// certificate; the words of crypto/x509 name hosts and subjects.
func untrustedDetail(err error) string {
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &host):
		return "its certificate is for another host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate is expired or not yet valid"
	case errors.As(err, &invalid):
		return "its certificate is not valid"
	case errors.As(err, &authority):
		return "its certificate is issued by an unknown authority"
	}
	return "the TLS handshake failed"
}

func dialDetail(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "its name does not resolve"
	}
	if isTimeout(err) {
		return "connecting took too long"
	}
	return "it does not accept connections"
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
