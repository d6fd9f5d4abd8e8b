package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// Connecting takes 5 s at most in total. SAP's users report that 2 s is too short from
	// Asia, and IAS documents no value.
	dialTimeout = 2 * time.Second
	tlsTimeout  = 3 * time.Second
	// There is one exchange in a token's lifetime, so that a pooled connection is useful only
	// for a retry, and for the other clients of a server. An older one may be dead; see also
	// closeDead.
	idleTimeout = 10 * time.Second
	// maxIdle is how many exchanges an environment makes with a server at once.
	maxIdle = 10

	maxHeaderBytes = 64 << 10
)

// UnsolicitedResponse is how net/http begins a line of package log when a server sends more than its
// answer. What the server sent follows, which may be a token, or a secret that it repeats.
const UnsolicitedResponse = "Unsolicited response received on idle HTTP channel"

// connect returns what connects to servers within the policy.
func (p AddressPolicy) connect() dialFunc {
	switch {
	case p.Proxy != nil:
		return p.connector()
	case p.Dial != nil:
		return p.Dial
	}
	return p.dialer().connect
}

func newHTTPClient(v *versions) *http.Client {
	return &http.Client{
		Transport: v,
		// A redirect would send the credential to another server (RFC 9700 section
		// 4.12).
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func newTransport(dial dialFunc, config *tls.Config) *http.Transport {
	return &http.Transport{
		// HTTPS_PROXY is for AWS. It would hide the server's address from the address policy.
		Proxy:                  nil,
		DialContext:            dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    tlsTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    maxIdle,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

// newTLSConfig returns how to speak TLS with an authorization server. roots nil means the
// system's, certificate nil means none.
func newTLSConfig(roots *x509.CertPool, certificate *tls.Certificate, options TLSOptions) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		RootCAs:    roots,
		NextProtos: []string{"http/1.1"},
		// SAP Cloud Identity Services may request the client certificate only after the
		// handshake.
		Renegotiation: tls.RenegotiateOnceAsClient,
	}
	if certificate != nil {
		// Without a callback, Go sends no certificate if the server's list of CAs does not
		// contain the issuer. The server's refusal would then be about a missing one.
		cfg.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			noteCertificateRequest(info.Context())
			return certificate, nil
		}
	}
	return options.apply(cfg)
}

// attemptTrace records the state of an attempt, which decides what its transport error
// means. The zero value is a trace of a request without a client certificate. The transport
// and the exchange use it from different goroutines.
type attemptTrace struct {
	mutualTLS bool
	answered  atomic.Bool // the first byte of the answer has arrived
	requested atomic.Bool // the server requested the client certificate in the handshake
	shaken    atomic.Bool // a TLS handshake of this attempt succeeded
	unnamed   atomic.Bool // the server named no HTTP version in that handshake
	atProxy   atomic.Bool // the proxy has not connected to the server yet
}

type attemptTraceKey struct{}

// traceAttempt returns a context for one request, and its trace.
func traceAttempt(ctx context.Context, mutualTLS bool) (context.Context, *attemptTrace) {
	t := &attemptTrace{mutualTLS: mutualTLS}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeDone: func(state tls.ConnectionState, err error) {
			t.shaken.Store(err == nil)
			t.unnamed.Store(err == nil && state.NegotiatedProtocol == "")
		},
		GotFirstResponseByte: func() { t.answered.Store(true) },
	})
	return context.WithValue(ctx, attemptTraceKey{}, t), t
}

// traceOf returns the trace of a request. Without [traceAttempt] it is one that is not read.
func traceOf(ctx context.Context) *attemptTrace {
	if t, ok := ctx.Value(attemptTraceKey{}).(*attemptTrace); ok {
		return t
	}
	return new(attemptTrace)
}

func noteCertificateRequest(ctx context.Context) { traceOf(ctx).requested.Store(true) }

// showedCertificate reports whether the server may have seen the certificate that
// authenticates the client. After a handshake that did not request it, the server may have
// requested it by a renegotiation, which crypto/tls makes without the context.
func (t *attemptTrace) showedCertificate() bool {
	return t.mutualTLS && (t.requested.Load() || t.shaken.Load())
}

// protocolSwitched is the error for an answer 101: net/http returns the connection as the
// body, which could be read without end.
func protocolSwitched() *Error {
	return &Error{Reason: Unusable, Detail: "the server wants to switch to another protocol"}
}

// transportError classifies the error of a request without an answer. It drops the text of
// err, which may contain the URL or bytes that the server sent. After the first byte of the
// answer it does not search the text either.
func (t *attemptTrace) transportError(err error) *Error {
	var op *net.OpError
	isOp := errors.As(err, &op)
	if failure := t.proxyFailure(err); failure != nil {
		return failure
	}
	switch {
	case errors.Is(err, errAddress):
		return &Error{Reason: AddressRefused}
	case isOp && op.Op == "remote error":
		return t.alertError(op.Err.Error())
	case t.answered.Load() && !isTimeout(err):
		// The server has read the credential and may have counted a failed logon.
		return &Error{Reason: Unusable, Detail: "the answer's head is malformed, too large or broke off"}
	case t.answered.Load():
		return &Error{Reason: TimedOut}
	case untrusted(err):
		return &Error{Reason: Untrusted, Detail: untrustedDetail(err)}
	case isOp && op.Op == "local error":
		return &Error{Reason: Untrusted, Detail: "the TLS handshake failed"}
	case isOp && op.Op == "dial", strings.Contains(err.Error(), "TLS handshake timeout"):
		// A server may have refused the certificate, and not say so before the handshake's time
		// is over (TLS 1.2).
		return &Error{Reason: Unreachable, Detail: dialDetail(err), shown: t.showedCertificate()}
	case isTimeout(err):
		return &Error{Reason: TimedOut}
	}
	failure := t.broken()
	failure.dropped = t.mutualTLS && t.requested.Load()
	return failure
}

// broken is the error for a connection that ended before an answer.
func (t *attemptTrace) broken() *Error {
	return &Error{Reason: Unreachable, Detail: "the connection broke before an answer", shown: t.showedCertificate()}
}

// internalError is the alert of a server in trouble.
const internalError = "tls: internal error"

// alertError classifies an alert of the server (RFC 8446 section 6) by the text that
// crypto/tls has for it.
func (t *attemptTrace) alertError(alert string) *Error {
	switch alert {
	case internalError:
		return t.broken()
	case "tls: handshake failure", "tls: bad certificate", "tls: unsupported certificate", "tls: revoked certificate", "tls: expired certificate",
		"tls: unknown certificate", "tls: unknown certificate authority", "tls: access denied", "tls: certificate required":
		if t.showedCertificate() {
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

// untrustedDetail says what is wrong with the server's certificate. The errors of
// crypto/x509 contain host names and subjects.
func untrustedDetail(err error) string {
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &host) && !hasAlternativeName(host.Certificate):
		return "its certificate names no host: it has no subject alternative name (SAN)"
	case errors.As(err, &host):
		return "its certificate is for another host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "its certificate is expired or not yet valid by the local clock: it is valid from " +
			invalid.Cert.NotBefore.UTC().Format(time.RFC3339) + " until " + invalid.Cert.NotAfter.UTC().Format(time.RFC3339)
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return "its certificate is not for servers: its extended key usage is without serverAuth"
	case errors.As(err, &invalid):
		return "its certificate is not valid"
	case errors.As(err, &authority) && strings.Contains(authority.Error(), "insecure algorithm"):
		// The authority is known: crypto/x509 tried to verify with it.
		return "its certificate or an intermediate one is signed with SHA-1 or an older algorithm, which is not accepted"
	case errors.As(err, &authority):
		return "its certificate is issued by an unknown authority; check ca_certificates"
	}
	if strings.Contains(err.Error(), "failed to parse certificate from server") {
		return "its certificate cannot be read, for example because of a negative serial number"
	}
	return "the TLS handshake failed"
}

// hasAlternativeName reports whether a certificate has the extension subjectAltName (RFC 5280
// section 4.2.1.6). Old appliances name themselves in the common name only.
func hasAlternativeName(c *x509.Certificate) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.String() == "2.5.29.17" })
}

func dialDetail(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "its name does not resolve"
	}
	if isTimeout(err) || errors.Is(err, syscall.ETIMEDOUT) {
		return "connecting took too long"
	}
	return "it does not accept connections"
}

// isTimeout reports whether a time-out of the exchange ended a request. ETIMEDOUT is not one: the
// system gave up a connection on which nothing was acknowledged.
func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		errors.As(err, &t) && t.Timeout() && !errors.Is(err, syscall.ETIMEDOUT)
}
