// Package apigateway is an Amazon API Gateway REST API in front of one function,
// on one machine. It has one stage and one route, POST /token/{client}, which
// requires AWS_IAM: it verifies Signature Version 4, asks the principal's policy
// for execute-api:Invoke on the path, makes the proxy event (payload version 1.0)
// and turns the proxy response into HTTP.
//
// It refuses unsigned, presigned, stale and unsigned-payload requests, paths that
// are not the route, bodies above 10 MB, and requests with an Origin. It does not
// throttle, cache, transform, or answer CORS preflights. As API Gateway does
// without binaryMediaTypes, it passes bodies as text: bytes that are not UTF-8
// arrive as U+FFFD.
//
// It imports the standard library only, and nothing of this module.
//
// Sources: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html and
// reference_sigv-create-signed-request.html; in the API Gateway developer guide
// set-up-lambda-proxy-integrations.html, api-gateway-known-issues.html and
// supported-gateway-response-types.html.
package apigateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// maxSkew is how old, or how far ahead, a signature may be.
	maxSkew = 5 * time.Minute
	// maxBody is API Gateway's limit on a request body, in bytes.
	maxBody = 10 << 20
	// integrationTimeout is API Gateway's longest wait for a function.
	integrationTimeout = 29 * time.Second
)

// Config describes the API and who may call it.
type Config struct {
	// Region, Account, APIID and Stage make the ARN that policies name:
	// arn:aws:execute-api:<region>:<account>:<api>/<stage>/POST/token/<client>.
	// All are required.
	Region, Account, APIID, Stage string
	// StageVariables are handed to the function. Nil: null in the event.
	StageVariables map[string]string
	// Principals are the callers that exist.
	Principals []Principal
	// Invoke runs the function on an event and returns its proxy response. An error
	// is a function error: the caller sees 502, or 504 once ctx has ended. Required.
	Invoke func(ctx context.Context, payload []byte) ([]byte, error)
	// AccessLog gets one JSON line per request, in one Write, never two at a time.
	// The line holds no header, query, path or body. Nil: no log.
	AccessLog io.Writer
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Principal is an IAM identity with one access key. It prints without its secrets.
type Principal struct {
	AccessKeyID, SecretAccessKey string
	// SessionToken belongs to temporary credentials. Empty: long-term key, and a
	// request that carries a token is refused.
	SessionToken string
	// Expires is when temporary credentials end. Zero: never.
	Expires time.Time
	// ARN is the identity as IAM names it: an assumed role's session or a user.
	ARN string
	// Allow and Deny hold execute-api ARNs in which * stands for any characters,
	// "/" included, and ? for one. What is not allowed is denied; Deny wins.
	Allow, Deny []string
}

// String names the principal without its secrets.
func (p Principal) String() string { return "Principal(" + p.AccessKeyID + " " + p.ARN + ")" }

// GoString is String, so that %#v shows no secret either.
func (p Principal) GoString() string { return p.String() }

// MarshalText is String, so that JSON and slog show no secret either.
func (p Principal) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Server is the API. It is safe for concurrent use and holds no resources.
type Server struct {
	cfg        Config
	principals map[string]identity // by access key id

	logMu sync.Mutex // guards writes to cfg.AccessLog
}

// New checks cfg and reports all its problems together. No secret is in the error.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, principals: make(map[string]identity)}
	if s.cfg.Now == nil {
		s.cfg.Now = time.Now
	}
	problems := cfg.problems()
	for _, p := range cfg.Principals {
		who, err := newIdentity(p)
		if _, twice := s.principals[p.AccessKeyID]; twice {
			err = errors.New("access key given twice")
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("apigateway: principal %s: %w", p.ARN, err))
		}
		s.principals[p.AccessKeyID] = who
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return s, nil
}

func (cfg Config) problems() []error {
	var problems []error
	for _, member := range []struct{ name, value string }{
		{"Region", cfg.Region}, {"Account", cfg.Account}, {"APIID", cfg.APIID}, {"Stage", cfg.Stage},
	} {
		if member.value == "" || strings.ContainsAny(member.value, "/*?:%") {
			problems = append(problems, fmt.Errorf("apigateway: %s is empty or malformed", member.name))
		}
	}
	if cfg.Invoke == nil {
		problems = append(problems, errors.New("apigateway: Invoke is nil"))
	}
	return problems
}

// ServeHTTP answers one request as the API would.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := s.newCall(w, r)
	if f := s.serve(c); f != nil {
		c.refuse(f)
	}
	s.log(c)
}

// serve is one request from end to end. Nothing of the body is read before the
// caller has named a key that exists and a time that is now.
func (s *Server) serve(c *call) *fault {
	if c.r.Header.Get("Origin") != "" {
		return forbidden()
	}
	if !s.route(c) {
		return missingToken()
	}
	claim, f := s.claim(c)
	if f != nil {
		return f
	}
	if f := c.readBody(); f != nil {
		return f
	}
	if f := claim.verify(c); f != nil {
		return f
	}
	c.who = &claim.who
	if f := s.authorize(c); f != nil {
		return f
	}
	return s.integrate(c)
}
