// Package awsjson is the server's side of AWS JSON 1.0 and 1.1, which the local doubles of
// AWS share. It decodes a request, calls its operation, writes the answer, counts calls and
// injects faults.
//
// It refuses an operation and a parameter that a double does not support, with an error that
// names it: ignoring a parameter would be a hidden difference from AWS. It refuses unsigned
// requests but does not verify signatures, because the doubles listen on loopback only. It
// also refuses requests that a web page in a browser could send: those with an Origin, or
// with a Host that is not loopback. It imports the standard library only.
//
// Source: smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html, and the page
// CommonErrors.html of each service's API reference.
package awsjson

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config configures an [Endpoint].
type Config struct {
	// Version is the version of the protocol, "1.0" or "1.1". Required.
	Version string
	// Target is the part of X-Amz-Target before the operation's name, with its dot.
	// Required.
	Target string
	// Operations has the operations by name. Required.
	Operations map[string]Operation
	// MaxBody is the largest request in bytes. Required. TooLarge is the error code for a
	// larger one. Empty: ValidationException.
	MaxBody  int
	TooLarge string
	// Type returns the __type of an error code. Nil: the code itself.
	Type func(code string) string
	// Checksum adds X-Amz-Crc32 to every answer.
	Checksum bool
}

// Endpoint is the http.Handler of one service. It is safe for concurrent use if its
// operations are.
type Endpoint struct {
	cfg Config

	mu     sync.Mutex
	calls  map[string]int     // by operation; guarded by mu
	faults map[string]pending // by operation; guarded by mu
}

// Operation returns the answer to a body, which must be a value that encoding/json can
// encode. It is called without a lock, and its answer is encoded after it has returned.
type Operation func(body []byte) (any, *Error)

// Error is an error answer. Code is its name in AWS's model, without a namespace. Members
// has further members of the answer. Nil: none.
type Error struct {
	Code, Message string
	Members       map[string]any
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// New returns an endpoint without faults, whose counters are zero.
func New(cfg Config) *Endpoint {
	if cfg.Type == nil {
		cfg.Type = func(code string) string { return code }
	}
	if cfg.TooLarge == "" {
		cfg.TooLarge = "ValidationException"
	}
	return &Endpoint{cfg: cfg, calls: make(map[string]int), faults: make(map[string]pending)}
}

// Decode returns an operation that calls run with the decoded body. A parameter that In does
// not have is a ValidationException. A body that does not have the type In is a
// SerializationException, unless an UnmarshalJSON of In returns an [Error].
func Decode[In any](run func(In) (any, *Error)) Operation {
	return func(body []byte) (any, *Error) {
		var in In
		if err := unmarshal(body, &in); err != nil {
			return nil, decodeError(err)
		}
		return run(in)
	}
}

// unmarshal is json.Unmarshal for a body without unknown members.
func unmarshal(body []byte, in any) error {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(in); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("data after the JSON object")
	}
	return nil
}

func decodeError(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return &Error{Code: "ValidationException", Message: "the parameter " + name + " is not supported"}
	}
	return &Error{Code: "SerializationException", Message: "the body is not the JSON of this operation"}
}

// ServeHTTP implements http.Handler.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-amz-json-"+e.cfg.Version)
	w.Header().Set("X-Amzn-Requestid", rand.Text())
	name, body, failure := e.read(r)
	if failure != nil {
		e.fail(w, failure)
		return
	}
	f := e.count(name)
	f.wait(r.Context()) // without mu, so that other calls continue
	if f.replacesAnswer() && !f.Done {
		e.answerFault(w, r, f)
		return
	}
	out, failure := e.cfg.Operations[name](body)
	switch {
	case f.replacesAnswer():
		e.answerFault(w, r, f)
	case failure != nil:
		e.fail(w, failure)
	default:
		e.write(w, http.StatusOK, encode(out))
	}
}

// encode does not escape <, > and &, which AWS does not either.
func encode(out any) []byte {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(out); err != nil {
		panic(fmt.Sprintf("internal error: an answer cannot be encoded: %v", err))
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n"))
}

func (e *Endpoint) fail(w http.ResponseWriter, failure *Error) {
	out := map[string]any{"__type": e.cfg.Type(failure.Code), "Message": failure.Message, "message": failure.Message}
	for name, member := range failure.Members {
		out[name] = member
	}
	w.Header().Set("X-Amzn-Errortype", failure.Code)
	e.write(w, status(failure.Code), encode(out))
}

func (e *Endpoint) write(w http.ResponseWriter, status int, body []byte) {
	if e.cfg.Checksum {
		w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// status returns the HTTP status of an error code (CommonErrors.html).
func status(code string) int {
	switch code {
	case "MissingAuthenticationTokenException":
		return http.StatusForbidden
	case "InternalServiceError", "InternalServerError", "InternalFailure", "KMSInternalException", "DependencyTimeoutException", "KeyUnavailableException":
		return http.StatusInternalServerError
	case "ServiceUnavailable":
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// read returns the operation and the body of a request that is accepted.
func (e *Endpoint) read(r *http.Request) (operation string, body []byte, failure *Error) {
	operation, failure = e.accept(r)
	if failure != nil {
		return "", nil, failure
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(e.cfg.MaxBody)+1))
	if err != nil || len(body) > e.cfg.MaxBody {
		return "", nil, &Error{Code: e.cfg.TooLarge, Message: "the request is too large or was cut off"}
	}
	return operation, body, nil
}

// accept returns the operation of a request. It requires a signature of any value, so that
// a client without credentials fails as it does at AWS.
func (e *Endpoint) accept(r *http.Request) (operation string, failure *Error) {
	target := r.Header.Get("X-Amz-Target")
	name, ok := strings.CutPrefix(target, e.cfg.Target)
	switch {
	case !fromThisMachine(r):
		return "", &Error{Code: "AccessDeniedException", Message: "only programs on this machine may call"}
	case r.Method != http.MethodPost || !ok || e.cfg.Operations[name] == nil:
		return "", &Error{Code: "UnknownOperationException", Message: "the operation " + strconv.Quote(target) + " is not supported"}
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
		return "", &Error{Code: "MissingAuthenticationTokenException", Message: "the request is not signed"}
	}
	return name, nil
}

// fromThisMachine refuses requests of web pages. A page can reach loopback directly, or by a
// host name that resolves to it.
func fromThisMachine(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return len(r.Header.Values("Origin")) == 0 && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// Time is a time that is encoded in epoch seconds with a fraction.
type Time time.Time

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(time.Time(t).UnixMilli())/1000), nil
}
