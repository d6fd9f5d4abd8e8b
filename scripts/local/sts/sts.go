// Package sts is the part of AWS STS that the token vendor uses, on this machine:
// GetWebIdentityToken, which issues tokens that name the role of whoever asks, and
// GetCallerIdentity. It speaks the AWS query protocol, refuses unsigned requests and
// browsers, does not verify signatures, and takes every caller for one role.
//
// It imports the standard library only. Source: the page API_GetWebIdentityToken.html
// of the STS API Reference, and "Understanding token claims" of the IAM User Guide.
package sts

import (
	"crypto"
	"crypto/rand"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config says whose STS it is.
type Config struct {
	// Region and Account are in its tokens; required.
	Region, Account string
	// Role is the name of the role that all callers have; required.
	Role string
	// Issuer is the name of the account's issuer; empty: one like those of AWS.
	Issuer string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Server is the http.Handler. It is safe for concurrent use.
type Server struct {
	cfg  Config
	keys keys

	mu       sync.Mutex
	disabled bool     // guarded by mu
	failures []string // codes for the next calls; guarded by mu
	issued   []Issued // guarded by mu
}

// Issued is a token that was issued.
type Issued struct {
	Audience  []string
	Algorithm string
	Duration  time.Duration
	Tags      map[string]string
}

// New returns an STS of an account that has outbound identity federation enabled.
func New(cfg Config) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Issuer == "" {
		cfg.Issuer = "https://" + strings.ToLower(rand.Text()) + ".tokens.sts.global.api.aws"
	}
	made, err := newKeys()
	return &Server{cfg: cfg, keys: made}, err
}

// Issuer returns the name that stands in the tokens' iss.
func (s *Server) Issuer() string { return s.cfg.Issuer }

// Subject returns what stands in the tokens' sub: the ARN of the role.
func (s *Server) Subject() string { return "arn:aws:iam::" + s.cfg.Account + ":role/" + s.cfg.Role }

// Keys returns the keys that verify the tokens, by kid.
func (s *Server) Keys() map[string]crypto.PublicKey { return s.keys.public() }

// Issued returns what was issued so far.
func (s *Server) Issued() []Issued {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

// Disable makes the account one that has not enabled outbound identity federation, or
// enables it again.
func (s *Server) Disable(disabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disabled = disabled
}

// Fail makes the next calls answer with an error of that code, such as Throttling or
// AccessDenied.
func (s *Server) Fail(times int, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = slices.Repeat([]string{code}, times)
}

// failure is an error answer.
type failure struct {
	status        int
	code, message string
}

func invalid(message string) *failure {
	return &failure{http.StatusBadRequest, "ValidationError", message}
}

// maxBody is more than all parameters together may have.
const maxBody = 64 << 10

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	form, problem := read(r)
	if problem == nil {
		problem = s.nextFailure()
	}
	var answer any
	if problem == nil {
		switch form.Get("Action") {
		case "GetWebIdentityToken":
			answer, problem = s.getWebIdentityToken(form)
		case "GetCallerIdentity":
			answer = s.getCallerIdentity()
		default:
			problem = &failure{http.StatusBadRequest, "InvalidAction", "there is no such action here"}
		}
	}
	status := http.StatusOK
	if problem != nil {
		status, answer = problem.status, errorResponse{Code: problem.code, Message: problem.message, Type: "Sender", RequestID: rand.Text()}
	}
	text, err := xml.Marshal(answer)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

func (s *Server) nextFailure() *failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failures) == 0 {
		return nil
	}
	code := s.failures[0]
	s.failures = s.failures[1:]
	return &failure{http.StatusBadRequest, code, "told to fail"}
}

// read returns the form of a signed request from this machine.
func read(r *http.Request) (url.Values, *failure) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	switch {
	case r.Header.Get("Origin") != "" || host != "localhost" && (ip == nil || !ip.IsLoopback()):
		return nil, &failure{http.StatusForbidden, "AccessDenied", "only programs on this machine may call"}
	case r.Method != http.MethodPost:
		return nil, &failure{http.StatusBadRequest, "InvalidAction", "the method must be POST"}
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
		return nil, &failure{http.StatusForbidden, "MissingAuthenticationToken", "the request is not signed"}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return nil, invalid("the request is too large")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &failure{http.StatusBadRequest, "MalformedQueryString", "the body is not a form"}
	}
	return form, nil
}

type errorResponse struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

type callerIdentity struct {
	XMLName   xml.Name `xml:"GetCallerIdentityResponse"`
	ARN       string   `xml:"GetCallerIdentityResult>Arn"`
	UserID    string   `xml:"GetCallerIdentityResult>UserId"`
	Account   string   `xml:"GetCallerIdentityResult>Account"`
	RequestID string   `xml:"ResponseMetadata>RequestId"`
}

func (s *Server) getCallerIdentity() callerIdentity {
	return callerIdentity{
		ARN:    "arn:aws:sts::" + s.cfg.Account + ":assumed-role/" + s.cfg.Role + "/local",
		UserID: "AROALOCAL:local", Account: s.cfg.Account, RequestID: rand.Text(),
	}
}

type webIdentity struct {
	XMLName    xml.Name `xml:"GetWebIdentityTokenResponse"`
	Token      string   `xml:"GetWebIdentityTokenResult>WebIdentityToken"`
	Expiration string   `xml:"GetWebIdentityTokenResult>Expiration"`
	RequestID  string   `xml:"ResponseMetadata>RequestId"`
}

func (s *Server) getWebIdentityToken(form url.Values) (any, *failure) {
	asked, problem := parameters(form)
	if problem != nil {
		return nil, problem
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disabled {
		return nil, &failure{http.StatusForbidden, "OutboundWebIdentityFederationDisabledException", "outbound web identity federation is not enabled for this account"}
	}
	now := s.cfg.Now()
	end := now.Add(asked.Duration)
	token, err := s.keys.sign(asked.Algorithm, s.claims(asked, now, end))
	if err != nil {
		return nil, &failure{http.StatusInternalServerError, "InternalFailure", "the token could not be signed"}
	}
	s.issued = append(s.issued, asked)
	return webIdentity{Token: token, Expiration: end.UTC().Format(time.RFC3339), RequestID: rand.Text()}, nil
}

// parameters checks what is asked as AWS does.
func parameters(form url.Values) (Issued, *failure) {
	asked := Issued{Audience: members(form, "Audience.member."), Algorithm: form.Get("SigningAlgorithm"), Duration: 5 * time.Minute, Tags: map[string]string{}}
	if len(asked.Audience) == 0 || len(asked.Audience) > 10 || slices.ContainsFunc(asked.Audience, func(a string) bool { return a == "" || len(a) > 1000 }) {
		return asked, invalid("Audience must have 1 to 10 members of 1 to 1000 characters")
	}
	if asked.Algorithm != "RS256" && asked.Algorithm != "ES384" {
		return asked, invalid("SigningAlgorithm must be RS256 or ES384")
	}
	if form.Has("DurationSeconds") {
		seconds, err := strconv.Atoi(form.Get("DurationSeconds"))
		if err != nil || seconds < 60 || seconds > 3600 {
			return asked, invalid("DurationSeconds must be 60 to 3600")
		}
		asked.Duration = time.Duration(seconds) * time.Second
	}
	keys, values := members(form, "Tags.member.", ".Key"), members(form, "Tags.member.", ".Value")
	if len(keys) > 50 || len(keys) != len(values) {
		return asked, invalid("Tags must have up to 50 members with Key and Value")
	}
	for i, key := range keys {
		if _, twice := asked.Tags[key]; twice || key == "" || len(key) > 128 || len(values[i]) > 256 {
			return asked, invalid("a tag is not valid, or given twice")
		}
		asked.Tags[key] = values[i]
	}
	return asked, nil
}

// members returns the values of prefix1suffix, prefix2suffix and so on.
func members(form url.Values, prefix string, suffix ...string) (list []string) {
	for i := 1; ; i++ {
		name := prefix + strconv.Itoa(i) + strings.Join(suffix, "")
		if !form.Has(name) {
			return list
		}
		list = append(list, form.Get(name))
	}
}
