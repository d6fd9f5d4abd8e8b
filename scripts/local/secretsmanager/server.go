// Package secretsmanager is AWS Secrets Manager in memory, on one machine: the
// operations that this project and its users call, with the semantics of stages
// and versions that rotation depends on. The AWS SDK and the AWS CLI talk to it.
//
// It refuses unsigned requests, but does not verify signatures, because it
// listens on loopback only (the API Gateway of the local stack does verify); for
// the same reason it refuses what a browser could send (an Origin, or a Host that
// is not loopback). It does not encrypt, replicate, rotate or evaluate policies.
// It imports the standard library only.
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
	faults  map[string]fault   // by operation; guarded by mu
}

// operation decodes its input and runs with the server's mu held.
type operation func(body []byte) (any, *apiError)

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
	internalError    = "InternalServiceError"
	unsigned         = "MissingAuthenticationTokenException"
)

// New returns an empty Secrets Manager.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, secrets: make(map[string]*secret), calls: make(map[string]int), faults: make(map[string]fault)}
	s.operations = map[string]operation{
		"BatchGetSecretValue":      decode(s.batchGetSecretValue),
		"CreateSecret":             decode(s.createSecret),
		"DeleteSecret":             decode(s.deleteSecret),
		"DescribeSecret":           decode(s.describeSecret),
		"GetSecretValue":           decode(s.getSecretValue),
		"ListSecrets":              decode(s.listSecrets),
		"PutSecretValue":           decode(s.putSecretValue),
		"RestoreSecret":            decode(s.restoreSecret),
		"TagResource":              decode(s.tagResource),
		"UntagResource":            decode(s.untagResource),
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

// maxBody leaves room for the largest secret: in JSON a byte of it takes up to
// six (\u0000), and the other members need some too.
const maxBody = 6*maxValue + 64<<10

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

// status is 400 for nearly everything (CommonErrors.html).
func status(code string) int {
	switch code {
	case unsigned:
		return http.StatusForbidden
	case internalError:
		return http.StatusInternalServerError
	case "ServiceUnavailable":
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

func (s *Server) serve(r *http.Request) (any, *apiError) {
	name, failure := s.accept(r)
	if failure != nil {
		return nil, failure
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		return nil, &apiError{invalidParameter, "the request is too large or was cut off"}
	}
	if failure := s.meet(r.Context(), name); failure != nil {
		return nil, failure
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetDeleted()
	return s.operations[name](body)
}

// accept returns the operation that a request may have. That there is a
// signature is looked at, so that a client without credentials fails here as it
// would at AWS; whether it is right is not.
func (s *Server) accept(r *http.Request) (operation string, failure *apiError) {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	switch {
	case !fromThisMachine(r):
		return "", &apiError{"AccessDeniedException", "only programs on this machine may call"}
	case r.Method != http.MethodPost || !ok || s.operations[name] == nil:
		return "", &apiError{"UnknownOperationException", "no such operation"}
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
		return "", &apiError{unsigned, "the request is not signed"}
	}
	return name, nil
}

// fromThisMachine keeps browsers out: a page could otherwise reach loopback, by
// itself or by a name that it makes resolve to it.
func fromThisMachine(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return len(r.Header.Values("Origin")) == 0 && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// seconds is how the protocol writes a time: epoch seconds with a fraction.
type seconds time.Time

// MarshalJSON implements json.Marshaler.
func (t seconds) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(time.Time(t).UnixMilli())/1000), nil
}
