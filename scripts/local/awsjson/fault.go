package awsjson

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Fault is a fault of a call. The zero value is none. At most one of Code, Hang, Reset and
// Body may be set.
type Fault struct {
	// Delay delays the call, until the caller's context ends. Without another fault the
	// call is then answered.
	Delay time.Duration
	// Code is the code of an error answer, such as ThrottlingException.
	Code string
	// Hang does not answer before the caller's context ends.
	Hang bool
	// Reset resets the connection instead of answering.
	Reset bool
	// Body is answered with status 200 and a correct checksum.
	Body string
	// Done runs the operation before the fault, so that the operation takes effect but
	// the caller does not learn it.
	Done bool
}

// pending is a fault for the next calls of an operation.
type pending struct {
	Fault
	left int
}

// Inject gives a fault to the next calls of an operation, times of them. It replaces the
// operation's earlier fault. With times 0 the operation has none.
func (e *Endpoint) Inject(operation string, times int, f Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults[operation] = pending{f, times}
}

// Fail injects an error of the given code, such as ThrottlingException, see [Endpoint.Inject].
func (e *Endpoint) Fail(operation string, times int, code string) {
	e.Inject(operation, times, Fault{Code: code})
}

// Hang injects a call without an answer, see [Endpoint.Inject].
func (e *Endpoint) Hang(operation string, times int) {
	e.Inject(operation, times, Fault{Hang: true})
}

// Calls returns how often an operation was called. It counts calls that failed, but not
// requests that were refused before the operation was called.
func (e *Endpoint) Calls(operation string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[operation]
}

// count counts a call and returns its fault.
func (e *Endpoint) count(operation string) Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls[operation]++
	f := e.faults[operation]
	if f.left <= 0 {
		return Fault{}
	}
	e.faults[operation] = pending{f.Fault, f.left - 1}
	return f.Fault
}

// wait waits for the delay or the end of ctx.
func (f Fault) wait(ctx context.Context) {
	if f.Delay <= 0 {
		return
	}
	timer := time.NewTimer(f.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// replacesAnswer reports whether the fault is more than a delay.
func (f Fault) replacesAnswer() bool { return f.Code != "" || f.Hang || f.Reset || f.Body != "" }

// answerFault answers a call with its fault.
func (e *Endpoint) answerFault(w http.ResponseWriter, r *http.Request, f Fault) {
	switch {
	case f.Hang:
		<-r.Context().Done()
		e.fail(w, &Error{Code: "InternalServiceError", Message: "told to hang"})
	case f.Reset:
		reset(w)
	case f.Body != "":
		e.write(w, http.StatusOK, []byte(f.Body))
	default:
		e.fail(w, &Error{Code: f.Code, Message: "told to fail"})
	}
}

// reset closes the connection with a TCP reset, which the caller can tell from an end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // with HTTP/2 there is no reset, but no answer either
	}
	raw := conn
	if secured, ok := conn.(*tls.Conn); ok {
		raw = secured.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}
