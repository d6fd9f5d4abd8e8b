package oauthtest

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
)

// maxForm is how large a token request may be, in bytes.
const maxForm = 64 << 10

// Request is a token request as it was received. It holds what the client
// sent, secrets included.
type Request struct {
	Method      string
	Path        string
	Header      http.Header
	Form        url.Values
	Certificate *x509.Certificate // nil: none was offered
	Resumed     bool              // the TLS session was resumed
	TLSVersion  uint16

	chain []*x509.Certificate // what came with Certificate
	// problem is why the body is no form; empty: it is one.
	problem string
}

// String names the method and the path only: the rest holds secrets.
func (r Request) String() string { return r.Method + " " + r.Path }

// GoString is as String.
func (r Request) GoString() string { return r.String() }

// readRequest takes down r and returns its body too, for whoever reads it again.
func readRequest(r *http.Request) (Request, []byte) {
	request := Request{Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Resumed: r.TLS.DidResume, TLSVersion: r.TLS.Version}
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

// counts is what the server saw beside the token requests.
type counts struct {
	accepted, open, most int // connections
	full, resumed        int // handshakes
	metadata             int
}

func (s *Server) countConnection(_ net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.counts.accepted++
		s.counts.open++
		s.counts.most = max(s.counts.most, s.counts.open)
	case http.StateClosed, http.StateHijacked:
		s.counts.open--
	}
}

// countHandshakes counts where resumed sessions pass too.
func (s *Server) countHandshakes(config *tls.Config) {
	verify := config.VerifyConnection
	config.VerifyConnection = func(state tls.ConnectionState) error {
		s.mu.Lock()
		if state.DidResume {
			s.counts.resumed++
		} else {
			s.counts.full++
		}
		s.mu.Unlock()
		if verify != nil {
			return verify(state)
		}
		return nil
	}
}

// Requests returns the token requests received so far, misbehaved ones included.
// The caller must not change them.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Connections returns how many connections were accepted.
func (s *Server) Connections() int { return s.seen().accepted }

// MostConnections returns how many connections were open at once at most.
func (s *Server) MostConnections() int { return s.seen().most }

// Handshakes returns how many TLS handshakes got as far as the client's
// certificate: full ones, and those that resumed a session.
func (s *Server) Handshakes() (full, resumed int) {
	seen := s.seen()
	return seen.full, seen.resumed
}

// MetadataRequests returns how often the metadata was asked for.
func (s *Server) MetadataRequests() int { return s.seen().metadata }

func (s *Server) seen() counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts
}

// Exchanges returns how many tokens were issued, to all clients together.
func (s *Server) Exchanges() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.clients {
		n += c.exchanges
	}
	return n
}

// FailedLogons returns how many failed logons were counted for a client, those
// that met its lock included.
func (s *Server) FailedLogons(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clients[id]; c != nil {
		return c.failedLogons
	}
	return 0
}

// Locked reports whether a client is locked now.
func (s *Server) Locked(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.clients[id]
	return c != nil && c.locked(s.cfg.Now())
}
