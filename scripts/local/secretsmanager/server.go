// Package secretsmanager is AWS Secrets Manager in memory, on one machine: the
// operations that this project and its users call, with the semantics of stages
// and versions that rotation depends on. The AWS SDK and the AWS CLI talk to it.
//
// It refuses unsigned requests, but does not verify signatures, because it
// listens on loopback only; for the same reason it refuses what a browser could
// send (an Origin, or a Host that is not loopback). It does not encrypt,
// replicate, rotate or evaluate policies. It imports the standard library only.
//
// Source: docs.aws.amazon.com/secretsmanager/latest/apireference.
package secretsmanager

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Config configures a [Server].
type Config struct {
	// Region and Account make the ARNs; required.
	Region, Account string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Server is the endpoint. It is safe for concurrent use.
type Server struct {
	cfg        Config
	operations map[string]operation

	mu      sync.Mutex
	secrets map[string]*secret // by name; guarded by mu
	calls   map[string]int     // by operation; guarded by mu
	faults  map[string]*fault  // by operation; guarded by mu
}

// operation decodes its input and runs with the server's mu held.
type operation func(body []byte) (any, *apiError)

type fault struct {
	code string
	left int
}

// apiError is an error answer, by the name of its type in AWS's model.
type apiError struct{ code, message string }

// Error implements error, for Go callers.
func (e *apiError) Error() string { return e.code + ": " + e.message }

const (
	invalidParameter = "InvalidParameterException"
	invalidRequest   = "InvalidRequestException"
	notFound         = "ResourceNotFoundException"
	exists           = "ResourceExistsException"
	limitExceeded    = "LimitExceededException"
)

// New returns an empty Secrets Manager.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, secrets: make(map[string]*secret), calls: make(map[string]int), faults: make(map[string]*fault)}
	s.operations = map[string]operation{
		"BatchGetSecretValue":      decode(s.batchGetSecretValue),
		"CreateSecret":             decode(s.createSecret),
		"DeleteSecret":             decode(s.deleteSecret),
		"DescribeSecret":           decode(s.describeSecret),
		"GetSecretValue":           decode(s.getSecretValue),
		"ListSecrets":              decode(s.listSecrets),
		"PutSecretValue":           decode(s.putSecretValue),
		"RestoreSecret":            decode(s.restoreSecret),
		"UpdateSecret":             decode(s.updateSecret),
		"UpdateSecretVersionStage": decode(s.updateSecretVersionStage),
	}
	return s
}

// decode makes an operation of a function with a typed input.
func decode[In any](run func(In) (any, *apiError)) operation {
	return func(body []byte) (any, *apiError) {
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, &apiError{"SerializationException", "the body is not the JSON of this operation"}
		}
		return run(in)
	}
}

// Calls returns how often an operation was called, by name.
func (s *Server) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[operation]
}

// Fail makes the next calls of an operation, times of them, answer with an error
// of that code.
func (s *Server) Fail(operation string, times int, code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[operation] = &fault{code: code, left: times}
}

// Seed makes text the current value of a secret, which it creates if need be.
func (s *Server) Seed(name, text string) (versionID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failure *apiError
	id := newUUID()
	if s.secrets[name] == nil {
		_, failure = s.createSecret(createInput{Name: name, value: value{SecretString: &text}, ClientRequestToken: id})
	} else {
		_, failure = s.putSecretValue(putInput{SecretID: name, value: value{SecretString: &text}, ClientRequestToken: id})
	}
	if failure != nil {
		return "", failure
	}
	return id, nil
}

// maxBody is twice the largest secret, for base64 and the members around it.
const maxBody = 2*maxValue + 8<<10

// ServeHTTP answers one call of the JSON 1.1 protocol.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", rand.Text())
	out, failure := s.serve(r)
	if failure != nil {
		w.Header().Set("X-Amzn-Errortype", failure.code)
		w.WriteHeader(status(failure.code))
		out = map[string]string{"__type": failure.code, "Message": failure.message, "message": failure.message}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func status(code string) int {
	if code == "InternalServiceError" {
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

func (s *Server) serve(r *http.Request) (any, *apiError) {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	run := s.operations[name]
	switch {
	case !fromThisMachine(r):
		return nil, &apiError{"AccessDeniedException", "only programs on this machine may call"}
	case r.Method != http.MethodPost || !ok || run == nil:
		return nil, &apiError{"UnknownOperationException", "no such operation"}
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
		return nil, &apiError{"MissingAuthenticationTokenException", "the request is not signed"}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return nil, &apiError{invalidParameter, "the request is too large"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[name]++
	if f := s.faults[name]; f != nil && f.left > 0 {
		f.left--
		return nil, &apiError{f.code, "told to fail"}
	}
	return run(body)
}

// fromThisMachine keeps browsers out: a page could otherwise reach loopback, by
// itself or by a name that it makes resolve to it.
func fromThisMachine(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return r.Header.Get("Origin") == "" && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// seconds is how the protocol writes a time: epoch seconds with a fraction.
type seconds time.Time

// MarshalJSON implements json.Marshaler.
func (t seconds) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(time.Time(t).UnixMilli())/1000), nil
}
