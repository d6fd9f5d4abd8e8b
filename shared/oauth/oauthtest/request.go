package oauthtest

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// maxForm is the largest accepted token request in bytes.
const maxForm = 64 << 10

// Request is a token request as the server received it. It contains the client's secrets,
// so it prints as its method and path only.
type Request struct {
	Method      string
	Path        string
	Header      http.Header
	Form        url.Values
	Certificate *x509.Certificate // nil: the client offered none
	Resumed     bool              // the TLS session was resumed

	chain []*x509.Certificate // the client's certificates after Certificate
	// problem says why the body is not a form; empty: it is one.
	problem string
}

// Format implements [fmt.Formatter].
func (r Request) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.Method+" "+r.Path) }

// readRequest records r. It also returns the body, which a fault may read again.
func readRequest(r *http.Request) (Request, []byte) {
	request := Request{Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Resumed: r.TLS.DidResume}
	if certificates := r.TLS.PeerCertificates; len(certificates) > 0 {
		request.Certificate, request.chain = certificates[0], certificates[1:]
	}
	body, readErr := io.ReadAll(io.LimitReader(r.Body, maxForm+1))
	form, formErr := url.ParseQuery(string(body))
	request.Form = form
	switch {
	case readErr != nil:
		request.problem = "the body broke off"
	case len(body) > maxForm:
		request.problem = "the body is too large"
	case formErr != nil:
		request.problem = "the body is not a form"
	}
	return request, body
}
