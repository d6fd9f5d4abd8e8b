package main

import (
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"tokenvendor/scripts/bench/clock"
	"tokenvendor/shared/oauth/oauthtest"
)

// tokenRequest is a token request as an authorization server counts it.
type tokenRequest struct {
	at, answered time.Time // by the clock of this machine
	client       string
	secret       string
	form         url.Values
	status       int
}

// failedLogon reports whether the server counted a failed logon.
func (r tokenRequest) failedLogon() bool { return r.status == http.StatusUnauthorized }

// authServer is an authorization server that counts. It is safe for concurrent use.
type authServer struct {
	*oauthtest.Server
	clock clock.File

	mu       sync.Mutex
	late     time.Duration                    // the time of an answer; guarded by mu
	rule     func(url.Values) oauthtest.Fault // guarded by mu
	requests []tokenRequest                   // guarded by mu
}

// startAuthServer starts a server whose time is that of the clock.
func startAuthServer(file clock.File) (*authServer, error) {
	server, err := oauthtest.Start(oauthtest.Config{Now: file.Now})
	if err != nil {
		return nil, err
	}
	s := &authServer{Server: server, clock: file}
	server.Misbehave(s.serve)
	return s, nil
}

// setLate sets how long an answer takes.
func (s *authServer) setLate(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = d
}

// setRule sets what answers a request with a form instead of the server; nil: the server
// does. A nil rule means the server always does.
func (s *authServer) setRule(rule func(url.Values) oauthtest.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rule = rule
}

func (s *authServer) serve(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
	_ = r.ParseForm() // a body that is no form has no parameters
	s.mu.Lock()
	late, rule, n := s.late, s.rule, len(s.requests)
	s.requests = append(s.requests, tokenRequest{at: time.Now(), client: r.Form.Get("client_id"), secret: r.Form.Get("client_secret"), form: r.Form})
	s.mu.Unlock()
	answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests[n].status, s.requests[n].answered = answer.status, time.Now()
	}()
	w.Header().Set("Date", s.clock.Now().UTC().Format(http.TimeFormat))
	handler := next
	if rule != nil {
		if fault := rule(r.Form); fault != nil {
			handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fault(w, r, next, done) })
		}
	}
	oauthtest.Late(late)(answer, r, handler, done)
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets [http.ResponseController] find the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// seen returns the requests since a time for which match is true; nil: all.
func (s *authServer) seen(since time.Time, match func(tokenRequest) bool) []tokenRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.requests), func(r tokenRequest) bool {
		return r.at.Before(since) || match != nil && !match(r)
	})
}

// busiest returns the greatest number of requests since a time within d.
func (s *authServer) busiest(since time.Time, d time.Duration) (most int) {
	all := s.seen(since, nil)
	first := 0
	for i, r := range all {
		for r.at.Sub(all[first].at) > d {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}
