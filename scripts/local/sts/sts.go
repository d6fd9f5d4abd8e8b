// Package sts is a local double of AWS STS. It has one operation, GetWebIdentityToken, with
// one audience and at most one tag: it issues tokens that name the caller's role. It speaks
// the AWS query protocol, refuses unsigned requests and browsers, does not verify
// signatures, and gives all callers the same role.
//
// It imports the standard library only. Sources: the page API_GetWebIdentityToken.html of
// the STS API Reference, and "Understanding token claims" of the IAM User Guide.
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

// Config configures a [Server].
type Config struct {
	// Region and Account are claims of the tokens. Required.
	Region, Account string
	// Role is the name of the role that all callers have. Required.
	Role string
}

// Server is the http.Handler. It is safe for concurrent use.
type Server struct {
	cfg    Config
	issuer string
	keys   keys

	mu       sync.Mutex
	disabled bool     // guarded by mu
	failures []string // error codes of the next calls; guarded by mu
	issued   []Issued // guarded by mu
}

// Issued describes a token that was issued.
type Issued struct {
	Audience  []string
	Algorithm string
	Duration  time.Duration
	Tags      map[string]string
}

// New returns the STS of an account that has outbound identity federation enabled.
func New(cfg Config) (*Server, error) {
	made, err := newKeys()
	return &Server{cfg: cfg, keys: made, issuer: "https://" + strings.ToLower(rand.Text()) + ".tokens.sts.global.api.aws"}, err
}

// Issuer returns the claim iss of the tokens.
func (s *Server) Issuer() string { return s.issuer }

// Subject returns the claim sub of the tokens: the ARN of the role.
func (s *Server) Subject() string { return "arn:aws:iam::" + s.cfg.Account + ":role/" + s.cfg.Role }

// Keys returns the keys that verify the tokens, by kid.
func (s *Server) Keys() map[string]crypto.PublicKey { return s.keys.public() }

// Issued describes all tokens issued so far.
func (s *Server) Issued() []Issued {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

// Disable disables outbound identity federation for the account, or enables it again.
func (s *Server) Disable(disabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disabled = disabled
}

// Fail makes the next calls fail with an error code such as Throttling or AccessDenied.
// It replaces the failures of an earlier call.
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

// maxBody is more than all parameters together may have, in bytes.
const maxBody = 64 << 10

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, problem := s.answer(r)
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

func (s *Server) answer(r *http.Request) (any, *failure) {
	form, problem := read(r)
	if problem == nil {
		problem = s.nextFailure()
	}
	if problem != nil {
		return nil, problem
	}
	if action := form.Get("Action"); action != "GetWebIdentityToken" {
		return nil, &failure{http.StatusBadRequest, "InvalidAction", "the action " + strconv.QuoteToASCII(action) + " is not supported"}
	}
	return s.getWebIdentityToken(form)
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

// read returns the form of a signed request of a program on this machine.
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

type webIdentity struct {
	XMLName    xml.Name `xml:"GetWebIdentityTokenResponse"`
	Token      string   `xml:"GetWebIdentityTokenResult>WebIdentityToken"`
	Expiration string   `xml:"GetWebIdentityTokenResult>Expiration"`
	RequestID  string   `xml:"ResponseMetadata>RequestId"`
}

func (s *Server) getWebIdentityToken(form url.Values) (any, *failure) {
	request, problem := parameters(form)
	if problem != nil {
		return nil, problem
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.disabled {
		return nil, &failure{http.StatusForbidden, "OutboundWebIdentityFederationDisabledException", "outbound web identity federation is not enabled for this account"}
	}
	now := time.Now()
	end := now.Add(request.Duration)
	token, err := s.keys.sign(request.Algorithm, s.claims(request, now, end))
	if err != nil {
		return nil, &failure{http.StatusInternalServerError, "InternalFailure", "the token could not be signed"}
	}
	s.issued = append(s.issued, request)
	return webIdentity{Token: token, Expiration: end.UTC().Format(time.RFC3339), RequestID: rand.Text()}, nil
}

// The members of lists that are supported.
const (
	audience = "Audience.member.1"
	tagKey   = "Tags.member.1.Key"
	tagValue = "Tags.member.1.Value"
)

// parameters reads and checks the parameters as AWS does. Unsupported ones are refused:
// ignoring them would be a hidden difference from AWS.
func parameters(form url.Values) (Issued, *failure) {
	supported := []string{"Action", "Version", audience, "SigningAlgorithm", "DurationSeconds", tagKey, tagValue}
	for name := range form {
		if !slices.Contains(supported, name) {
			return Issued{}, invalid("the parameter " + strconv.QuoteToASCII(name) + " is not supported")
		}
	}
	seconds, err := strconv.Atoi(form.Get("DurationSeconds"))
	switch {
	case form.Get(audience) == "" || len(form.Get(audience)) > 1000:
		return Issued{}, invalid("Audience must have a member of 1 to 1000 characters")
	case form.Get("SigningAlgorithm") != "RS256" && form.Get("SigningAlgorithm") != "ES384":
		return Issued{}, invalid("SigningAlgorithm must be RS256 or ES384")
	case err != nil || seconds < 60 || seconds > 3600:
		return Issued{}, invalid("DurationSeconds must be 60 to 3600")
	case !validTag(form):
		return Issued{}, invalid("a tag must have a Key of 1 to 128 and a Value of at most 256 characters")
	}
	request := Issued{Audience: []string{form.Get(audience)}, Algorithm: form.Get("SigningAlgorithm"), Duration: time.Duration(seconds) * time.Second, Tags: map[string]string{}}
	if form.Has(tagKey) {
		request.Tags[form.Get(tagKey)] = form.Get(tagValue)
	}
	return request, nil
}

// validTag reports whether the tag is valid or missing.
func validTag(form url.Values) bool {
	key := form.Get(tagKey)
	return form.Has(tagKey) == form.Has(tagValue) && form.Has(tagKey) == (key != "") && len(key) <= 128 && len(form.Get(tagValue)) <= 256
}
