package awsjson

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// Fault is what a call meets instead of its answer, or on the way to it. The zero
// value is none. Give at most one of Code, Hang, Reset and Body.
type Fault struct {
	// Delay passes before anything else, also beside nothing else: then the call
	// is answered late. A caller that gives up ends it.
	Delay time.Duration
	// Code answers with an error, such as ThrottlingException.
	Code string
	// Hang lets the call wait until its caller gives up.
	Hang bool
	// Reset breaks the connection instead of an answer.
	Reset bool
	// Body is answered with status 200 and a checksum that is right, whatever it
	// is.
	Body string
	// Done lets the operation take effect first, so that the fault hides from the
	// caller what happened.
	Done bool
}

// waiting is a fault for the next calls of an operation.
type waiting struct {
	Fault
	left int
}

// Inject makes the next calls of an operation, times of them, meet a fault. It
// replaces what the operation was told before; times 0 takes that back.
func (e *Endpoint) Inject(operation string, times int, f Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults[operation] = waiting{f, times}
}

// Fail makes the next calls of an operation, times of them, answer with an error
// of that code, such as ThrottlingException or AccessDeniedException. It replaces
// what the operation was told before.
func (e *Endpoint) Fail(operation string, times int, code string) {
	e.Inject(operation, times, Fault{Code: code})
}

// Hang makes the next calls of an operation, times of them, wait until their
// caller gives up. It replaces what the operation was told before.
func (e *Endpoint) Hang(operation string, times int) {
	e.Inject(operation, times, Fault{Hang: true})
}

// Calls returns how often an operation was called, by name. Calls that failed
// count, unless they were refused before their operation was looked at.
func (e *Endpoint) Calls(operation string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls[operation]
}

// count counts a call and returns the fault that it uses up, if any.
func (e *Endpoint) count(operation string) Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls[operation]++
	f := e.faults[operation]
	if f.left <= 0 {
		return Fault{}
	}
	e.faults[operation] = waiting{f.Fault, f.left - 1}
	return f.Fault
}

// wait lets the delay pass.
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

// meets reports whether there is more to the fault than a delay.
func (f Fault) meets() bool { return f.Code != "" || f.Hang || f.Reset || f.Body != "" }

// meet does to a call what Inject asked for.
func (e *Endpoint) meet(w http.ResponseWriter, r *http.Request, f Fault) {
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

// reset breaks the connection so that the caller sees a reset and not an end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2, or no connection: at least there is no answer
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
