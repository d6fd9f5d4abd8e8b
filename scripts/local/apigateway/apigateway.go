// Package apigateway is a local double of an Amazon API Gateway REST API in front of one
// function. It has one stage and one route, POST /token/{client}, with AWS_IAM: it verifies
// Signature Version 4, checks the caller's permission execute-api:Invoke for the path,
// makes the proxy event (payload version 1.0) and converts the proxy response to HTTP.
//
// It refuses unsigned, presigned, stale and unsigned-payload requests, other paths, bodies
// above 10 MB, and requests with an Origin. It does not throttle, cache or transform, and
// does not answer CORS preflights. Like API Gateway without binaryMediaTypes it passes
// bodies as text: bytes that are not UTF-8 become U+FFFD. Of the proxy response it supports
// statusCode, headers and body.
//
// The package imports the standard library only.
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
	// maxSkew is the largest difference between a signature's time and now.
	maxSkew = 5 * time.Minute
	// maxBody is API Gateway's limit on a request body, in bytes.
	maxBody = 10 << 20
	// integrationTimeout is the longest time that API Gateway waits for a function.
	integrationTimeout = 29 * time.Second
)

// Config configures a [Server].
type Config struct {
	// Region, Account, APIID and Stage are part of the ARN that policies name:
	// arn:aws:execute-api:<region>:<account>:<api>/<stage>/POST/token/<client>.
	// All are required.
	Region, Account, APIID, Stage string
	// StageVariables are passed to the function. Nil: null in the event.
	StageVariables map[string]string
	// Principals are all known callers.
	Principals []Principal
	// Invoke runs the function and returns its proxy response. The caller gets 502 for
	// an error, and 504 after ctx has ended. Required.
	Invoke func(ctx context.Context, payload []byte) ([]byte, error)
	// AccessLog gets one JSON line per request, in one Write. Writes are serialized. The
	// line contains no header, query, path or body. Nil: no log.
	AccessLog io.Writer
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
}

// Principal is an IAM identity with one access key. Its printed form has no secrets.
type Principal struct {
	AccessKeyID, SecretAccessKey string
	// SessionToken belongs to temporary credentials. Empty: a long-term key; a request
	// with a token is refused.
	SessionToken string
	// ARN is the identity: an assumed role's session or a user.
	ARN string
	// Allow lists the execute-api ARNs that the principal may invoke. A * at the end
	// matches any characters, including "/".
	Allow []string
}

// String returns the access key id and the ARN.
func (p Principal) String() string { return "Principal(" + p.AccessKeyID + " " + p.ARN + ")" }

// GoString returns String, for %#v.
func (p Principal) GoString() string { return p.String() }

// MarshalText returns String, for JSON and slog.
func (p Principal) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Server is the API. It is safe for concurrent use and needs no closing.
type Server struct {
	cfg        Config
	principals map[string]identity // by access key id

	logMu sync.Mutex // guards writes to cfg.AccessLog
}

// New checks cfg and reports all problems together. The error contains no secret.
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

// serve processes one request. The body is read only after the request has named a known
// key and a current time.
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
