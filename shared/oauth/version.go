package oauth

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// All requests to a server share one connection of HTTP/2, and one that nobody answers on any more
// would fail all of them until there is none for a while. Therefore a connection that receives
// nothing for pingAfter is asked for a sign of life, and closed after pingTimeout without one. Both
// together leave an attempt time for a second one.
const (
	pingAfter   = 2 * time.Second
	pingTimeout = time.Second
)

// versions speaks HTTP/1.1, and HTTP/2 with a server that refuses HTTP/1.1. HTTP/1.1 is the
// first choice, because HTTP/2 allows no renegotiation (RFC 9113 section 9.2.1). If both were
// offered, most servers would choose HTTP/2.
type versions struct {
	dial   dialFunc
	one    *http.Transport
	two    atomic.Pointer[http.Transport] // nil until it is needed; see second
	useTwo atomic.Bool                    // the server speaks HTTP/2 only
	tryTwo atomic.Bool                    // the server may speak HTTP/2 only; the next request finds out
	noTwo  atomic.Bool                    // the server does not speak HTTP/2
	// once means that the server requests a certificate by a renegotiation. Each connection
	// serves one request then, because a second renegotiation would fail.
	once atomic.Bool
	// certificate means that the client's certificate is offered.
	certificate bool
}

var errNoHTTP2 = errors.New("the server does not speak HTTP/2")

func newVersions(dial dialFunc, config *tls.Config) *versions {
	v := &versions{dial: dial, one: newTransport(dial, config), certificate: config.GetClientCertificate != nil}
	if !v.certificate {
		config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if duringRenegotiation(info) {
				v.once.Store(true)
			}
			return new(tls.Certificate), nil
		}
	}
	return v
}

// duringRenegotiation reports whether a server requests a certificate by a renegotiation:
// crypto/tls makes that without the context of a request, which could end.
func duringRenegotiation(info *tls.CertificateRequestInfo) bool { return info.Context().Done() == nil }

// second returns the transport of HTTP/2.
func (v *versions) second() *http.Transport {
	if made := v.two.Load(); made != nil {
		return made
	}
	config := v.one.TLSClientConfig.Clone()
	config.NextProtos = []string{"h2"}
	config.Renegotiation = tls.RenegotiateNever
	// This happens before the client certificate is sent. Without it, net/http speaks
	// HTTP/1.1 to a server that names no version.
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if state.NegotiatedProtocol != "h2" {
			return errNoHTTP2
		}
		return nil
	}
	made := newTransport(v.dial, config)
	made.Protocols = new(http.Protocols)
	made.Protocols.SetHTTP2(true)
	made.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	v.two.CompareAndSwap(nil, made)
	return v.two.Load()
}

// RoundTrip implements [http.RoundTripper]. It sends the same request again by HTTP/2 if the server
// says that it did not read it, because it speaks HTTP/2 only.
func (v *versions) RoundTrip(req *http.Request) (*http.Response, error) {
	if v.useTwo.Load() {
		resp, err := v.second().RoundTrip(req)
		if refusesHTTP2(err) {
			v.useTwo.Store(false)
		}
		return resp, err
	}
	var body []byte // for a second request
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
		req = withBody(req, body)
	}
	trace := traceOf(req.Context())
	if v.tryTwo.Swap(false) && !v.noTwo.Load() {
		if resp, sent, err := v.roundTripTwo(req, trace); sent {
			return resp, err
		}
		req = withBody(req, body)
	}
	if v.once.Load() {
		v.one.CloseIdleConnections()
		req = req.WithContext(req.Context())
		req.Close = true
	}
	resp, err := v.one.RoundTrip(req)
	switch {
	case v.noTwo.Load():
		return resp, err
	case !trace.refusesHTTP1(resp, err):
		v.tryTwo.Store(trace.mayRefuseHTTP1(resp, err))
		return resp, err
	}
	answered, shaken := trace.answered.Swap(false), trace.shaken.Swap(false)
	second, sent, secondErr := v.roundTripTwo(withBody(req, body), trace)
	if !sent {
		trace.answered.Store(answered)
		trace.shaken.Store(shaken)
		return resp, err
	}
	if resp != nil {
		_ = resp.Body.Close()
	}
	return second, secondErr
}

// roundTripTwo sends a request by HTTP/2. sent is false if there is no such connection.
func (v *versions) roundTripTwo(req *http.Request, trace *attemptTrace) (resp *http.Response, sent bool, err error) {
	resp, err = v.second().RoundTrip(req)
	if sent = trace.shaken.Load(); sent {
		v.useTwo.Store(true)
	} else {
		v.noTwo.Store(refusesHTTP2(err))
	}
	return resp, sent, err
}

// current returns the transport of the version that the server speaks.
func (v *versions) current() *http.Transport {
	if v.useTwo.Load() {
		return v.second()
	}
	return v.one
}

// withBody returns a copy of the request with this body; nil: req, which has none.
func withBody(req *http.Request, body []byte) *http.Request {
	if body == nil {
		return req
	}
	r := req.WithContext(req.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r
}

// refusesHTTP1 reports whether the result of a request by HTTP/1.1 is that of a server which may
// speak HTTP/2 only, and did not read the request. Such a server ends the handshake, or names no
// version in it (Go and Python do) and then sends bytes of HTTP/2, or answers 505. Others end the
// connection; see [attemptTrace.mayRefuseHTTP1].
func (t *attemptTrace) refusesHTTP1(resp *http.Response, err error) bool {
	var op *net.OpError
	switch {
	case resp != nil:
		return t.unnamed.Load() && resp.StatusCode == http.StatusHTTPVersionNotSupported
	case isTimeout(err):
		return false
	case errors.As(err, &op) && op.Op == "remote error":
		return noCommonVersion(op)
	}
	// net/http quotes the beginning of what it received: the length of a first frame (RFC 9113
	// sections 3.4 and 4.1). If the frame arrives before net/http writes the request, net/http
	// closes the connection without an error of its own, and writes nothing.
	text := err.Error()
	return t.unnamed.Load() && (strings.Contains(text, `malformed HTTP response "\x00\x00`) || strings.Contains(text, "readLoopPeekFailLocked: %!w(<nil>)"))
}

// mayRefuseHTTP1 reports whether a server that named no version ended the connection before an
// answer. It speaks HTTP/2 only, or it broke down after it had read the request, which must not be
// sent again then: an assertion is for one use, and a refused logon may have been counted.
func (t *attemptTrace) mayRefuseHTTP1(resp *http.Response, err error) bool {
	var op *net.OpError
	return resp == nil && t.unnamed.Load() && !t.answered.Load() && !isTimeout(err) && !(errors.As(err, &op) && op.Op == "remote error")
}

func refusesHTTP2(err error) bool {
	var op *net.OpError
	return errors.Is(err, errNoHTTP2) || errors.As(err, &op) && noCommonVersion(op)
}

// noCommonVersion recognises the alert no_application_protocol (RFC 7301 section 3.2).
func noCommonVersion(op *net.OpError) bool { return op.Err.Error() == "tls: no application protocol" }

// CloseIdleConnections closes the idle connections of both versions.
func (v *versions) CloseIdleConnections() {
	v.one.CloseIdleConnections()
	if two := v.two.Load(); two != nil {
		two.CloseIdleConnections()
	}
}
