package main

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// behaviour is that of a server. The zero value answers every request with a token.
type behaviour struct {
	// answer replaces the answer.
	answer http.HandlerFunc
	// tls changes the server's TLS.
	tls func(*tls.Config)
	// certificate replaces the server's certificate.
	certificate *tls.Certificate
}

// request is what a server got.
type request struct {
	host, method, path string
	header             http.Header
	body               string
	form               url.Values
	tls                *tls.ConnectionState
}

// json returns the body as a JSON object; nil: it is none.
func (r *request) json() (members map[string]any) {
	_ = json.Unmarshal([]byte(r.body), &members)
	return members
}

// server is one TLS server that records its requests.
type server struct {
	http *http.Server
	mu   sync.Mutex
	got  []request // guarded by mu
}

// open starts the server of an scenario and tells the proxy its address.
func (z *zoo) open(a scenario) (*server, error) {
	names := append([]string{a.host}, a.further...)
	certificate := a.serve.certificate
	if certificate == nil {
		issued, err := z.ca.Issue(oauthtest.Leaf{CommonName: a.host, Hosts: names})
		if err != nil {
			return nil, err
		}
		made := issued.TLS()
		certificate = &made
	}
	config := &tls.Config{Certificates: []tls.Certificate{*certificate}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	if a.serve.tls != nil {
		a.serve.tls(config)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		z.proxy.Addresses[net.JoinHostPort(name, "443")] = listener.Addr().String()
	}
	answer := a.serve.answer
	if answer == nil {
		answer = token(`{"access_token":"` + theToken + `","token_type":"Bearer","expires_in":3600}`)
	}
	s := &server{}
	// Without HTTP/2, which does not allow the cipher suites of old servers.
	http1 := map[string]func(*http.Server, *tls.Conn, http.Handler){}
	s.http = &http.Server{ReadHeaderTimeout: 10 * time.Second, TLSConfig: config, TLSNextProto: http1, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.record(r)
		answer(w, r)
	})}
	go func() { _ = s.http.ServeTLS(listener, "", "") }()
	return s, nil
}

func (s *server) close() { _ = s.http.Close() }

func (s *server) record(r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	form, _ := url.ParseQuery(string(body))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, request{r.Host, r.Method, r.URL.Path, r.Header, string(body), form, r.TLS})
}

// requests returns the token requests.
func (s *server) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// token returns a handler that answers POST with a text.
func token(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
	}
}

// subject returns the common name of the client's certificate; empty: it showed none.
func (r *request) subject() string {
	if len(r.tls.PeerCertificates) == 0 {
		return ""
	}
	return r.tls.PeerCertificates[0].Subject.CommonName
}
