package runtimeapi

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	// maxPayload is Lambda's limit on a synchronous event, in bytes.
	maxPayload = 6 << 20
	// maxResponse is Lambda's limit on a response, in bytes: 100 more.
	maxResponse = maxPayload + 100
	// unhandled is the FunctionError of all errors.
	unhandled = "Unhandled"
)

// event is an Invocation in the queue or in a process.
type event struct {
	id      string
	arn     string
	traceID string
	payload []byte
	done    chan Result // has room for the one result

	// Guarded by Runtime.mu.
	finished  bool
	delivered bool // the process may have read it
	deadline  time.Time
	timer     *time.Timer // nil until a process has the event
}

func (r *Runtime) newEvent(in Invocation) *event {
	if len(in.Payload) == 0 {
		in.Payload = []byte("{}")
	}
	return &event{
		id:      newUUID(),
		arn:     r.arn(or(in.Qualifier, r.cfg.Alias)),
		traceID: newTraceID(),
		payload: in.Payload,
		done:    make(chan Result, 1),
	}
}

func (r *Runtime) arn(qualifier string) string {
	arn := "arn:aws:lambda:" + r.cfg.Region + ":" + r.cfg.Account + ":function:" + r.cfg.FunctionName
	if qualifier != "" {
		arn += ":" + qualifier
	}
	return arn
}

// newTraceID returns an X-Ray header for an event that is not sampled.
func newTraceID() string {
	var b [20]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("Root=1-%08x-%x;Parent=%x;Sampled=0", time.Now().Unix(), b[:12], b[12:])
}

// newUUID returns a random UUID (RFC 9562 section 5.4), the form of Lambda's request ids.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// finish hands the result to the caller. Only the first result counts.
func (e *event) finish(result Result) {
	if !e.finished {
		e.finished = true
		e.done <- result
	}
}

// failure is an error that Lambda itself reports.
func (e *event) failure(kind, message string) Result {
	payload, _ := json.Marshal(map[string]string{
		"errorType":    kind,
		"errorMessage": "RequestId: " + e.id + " Error: " + message,
	})
	return Result{RequestID: e.id, Payload: payload, FunctionError: unhandled}
}

// closedResult is the result of an event that is queued when Close is called.
func closedResult(e *event) Result {
	return e.failure("Runtime.Shutdown", "the runtime was closed")
}

// timedOut is what Lambda reports for an event past its deadline. It has no errorType.
func (e *event) timedOut(timeout time.Duration) Result {
	payload, _ := json.Marshal(map[string]string{
		"errorMessage": fmt.Sprintf("%s %s Task timed out after %.2f seconds",
			time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), e.id, timeout.Seconds()),
	})
	return Result{RequestID: e.id, Payload: payload, FunctionError: unhandled}
}

// writeHeaders writes what the process receives beside the payload.
func (e *event) writeHeaders(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", e.id)
	h.Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(e.deadline.UnixMilli()))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", e.arn)
	h.Set("Lambda-Runtime-Trace-Id", e.traceID)
}

func (r *Runtime) enqueue(e *event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	r.queue = append(r.queue, e)
	r.dispatch()
	return nil
}

// withdraw removes e from the queue, if it is still there.
func (r *Runtime) withdraw(e *event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = slices.DeleteFunc(r.queue, func(q *event) bool { return q == e })
}

// failQueue ends all queued events. The caller holds r.mu.
func (r *Runtime) failQueue(result func(*event) Result) {
	for _, e := range r.queue {
		e.finish(result(e))
	}
	r.queue = nil
}

// dispatch hands queued events to the process, and starts one if none runs. The caller
// holds r.mu.
func (r *Runtime) dispatch() {
	if len(r.queue) > 0 && r.proc == nil && !r.closed {
		proc, err := r.startProcess()
		if err != nil {
			r.failQueue(func(e *event) Result { return e.failure("Runtime.InvalidEntrypoint", err.Error()) })
			return
		}
		r.proc = proc
	}
	for len(r.queue) > 0 && r.proc != nil && r.proc.accepts() {
		e := r.queue[0]
		r.queue = r.queue[1:]
		r.proc.hand(e)
	}
}
