package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
)

// transportError sorts the error of a call that brought no answer. The error's
// own text is left behind: it may hold the URL or what a server sent.
func (c *Client) transportError(err error) *Error {
	var op *net.OpError
	isOp := errors.As(err, &op)
	switch {
	case errors.Is(err, errAddress):
		return &Error{Reason: AddressRefused}
	case isOp && op.Op == "remote error":
		// An alert of the server. With a certificate of ours at stake it is
		// most likely about that.
		if c.method.MutualTLS() {
			return &Error{Reason: CertificateRefused}
		}
		return &Error{Reason: Untrusted, Detail: "the server ended the TLS handshake"}
	case untrusted(err):
		return &Error{Reason: Untrusted, Detail: untrustedDetail(err)}
	case isOp && op.Op == "local error":
		return &Error{Reason: Untrusted, Detail: "the TLS handshake failed"}
	case isOp && op.Op == "dial", strings.Contains(err.Error(), "TLS handshake timeout"):
		return &Error{Reason: Unreachable, Detail: dialDetail(err)}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), isTimeout(err):
		return &Error{Reason: TimedOut}
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "server response headers exceeded"):
		return &Error{Reason: Unusable, Detail: "the header is malformed or too large"}
	}
	return &Error{Reason: Unreachable, Detail: "the connection broke before an answer"}
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
