// Package awsjson is the server's side of AWS JSON 1.0 and 1.1, which the local
// endpoints share: it takes a request apart, finds its operation, writes the
// answer, counts calls and, when told so, makes them fail.
//
// It refuses unsigned requests, but does not verify signatures: endpoints listen
// on loopback only. For the same reason it refuses what a browser could send (an
// Origin, or a Host that is not loopback).
// It imports the standard library only.
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

// Config says what distinguishes one service's endpoint from another's.
type Config struct {
	// Version of the protocol, "1.0" or "1.1"; required.
	Version string
	// Target is what X-Amz-Target has before the operation's name, with its dot;
	// required.
	Target string
	// Operations by name; required.
	Operations map[string]Operation
	// MaxBody is the largest request in bytes; required. TooLarge is the code of
	// the error that a larger one is answered with; empty: ValidationException.
	MaxBody  int
	TooLarge string
	// Type makes an error's __type of its code; nil: the code itself.
	Type func(code string) string
	// Checksum adds the X-Amz-Crc32 of every answer.
	Checksum bool
}

// Endpoint is the http.Handler of one service. It is safe for concurrent use; its
// operations must be too.
type Endpoint struct {
	cfg Config

	mu     sync.Mutex
	calls  map[string]int     // by operation; guarded by mu
	faults map[string]waiting // by operation; guarded by mu
}

// Operation answers a body with a value that encoding/json can write. It is
// called without a lock, and its answer is written after it has returned.
type Operation func(body []byte) (any, *Error)

// Error is an error answer. Code is its name in AWS's model, without a namespace;
// Members are further members of the answer, nil where there are none.
type Error struct {
	Code, Message string
	Members       map[string]any
}

// Error implements error, for Go callers.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// New returns an endpoint that has not been called yet.
func New(cfg Config) *Endpoint {
	if cfg.Type == nil {
		cfg.Type = func(code string) string { return code }
	}
	if cfg.TooLarge == "" {
		cfg.TooLarge = "ValidationException"
	}
	return &Endpoint{cfg: cfg, calls: make(map[string]int), faults: make(map[string]waiting)}
}

// Decode makes an operation of a function with a typed input. What does not fit
// the type is a SerializationException, unless its UnmarshalJSON returns an
// [Error] of its own.
func Decode[In any](run func(In) (any, *Error)) Operation {
	return func(body []byte) (any, *Error) {
		var in In
		if err := json.Unmarshal(body, &in); err != nil {
			var own *Error
			if errors.As(err, &own) {
				return nil, own
			}
			return nil, &Error{Code: "SerializationException", Message: "the body is not the JSON of this operation"}
		}
		return run(in)
	}
}

// ServeHTTP answers one call.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-amz-json-"+e.cfg.Version)
	w.Header().Set("X-Amzn-Requestid", rand.Text())
	name, body, failure := e.read(r)
	if failure != nil {
		e.fail(w, failure)
		return
	}
	f := e.count(name)
	f.wait(r.Context()) // without mu: other calls go on
	if f.meets() && !f.Done {
		e.meet(w, r, f)
		return
	}
	out, failure := e.cfg.Operations[name](body)
	switch {
	case f.meets():
		e.meet(w, r, f)
	case failure != nil:
		e.fail(w, failure)
	default:
		e.write(w, http.StatusOK, encode(out))
	}
}

// encode writes without escapes for HTML, as AWS does.
func encode(out any) []byte {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(out); err != nil {
		panic(fmt.Sprintf("internal error: an answer that is not JSON: %v", err))
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

// status is 400 for nearly everything (CommonErrors.html).
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

// read returns the operation that a request may have, and the request's body.
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

// accept looks that there is a signature, so that a client without credentials
// fails here as it would at AWS; whether it is right is not looked at.
func (e *Endpoint) accept(r *http.Request) (operation string, failure *Error) {
	name, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), e.cfg.Target)
	switch {
	case !fromThisMachine(r):
		return "", &Error{Code: "AccessDeniedException", Message: "only programs on this machine may call"}
	case r.Method != http.MethodPost || !ok || e.cfg.Operations[name] == nil:
		return "", &Error{Code: "UnknownOperationException", Message: "no such operation"}
	case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
		return "", &Error{Code: "MissingAuthenticationTokenException", Message: "the request is not signed"}
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

// Time is a time as the protocol writes it: epoch seconds with a fraction.
type Time time.Time

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(time.Time(t).UnixMilli())/1000), nil
}
