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
	// maxPayload is Lambda's limit on an event, in bytes.
	maxPayload = 6 << 20
	// maxResponse is Lambda's limit on an answer: 100 bytes more.
	maxResponse = maxPayload + 100
	// maxAsyncPayload is the limit on an event that nobody waits for, in bytes.
	maxAsyncPayload = 1 << 20
)

// event is an Invocation on its way through a process.
type event struct {
	id            string
	arn           string
	traceID       string
	clientContext string
	payload       []byte
	done          chan Result // receives once, never blocks

	// Guarded by Runtime.mu.
	finished  bool
	delivered bool // the process may have seen it
	deadline  time.Time
	timer     *time.Timer // nil until a process has the event
}

func (r *Runtime) newEvent(in Invocation, limit int) (*event, error) {
	if len(in.Payload) > limit {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrPayloadTooLarge, len(in.Payload), limit)
	}
	if len(in.Payload) == 0 {
		in.Payload = []byte("{}")
	}
	return &event{
		id:            newUUID(),
		arn:           r.arn(or(in.Qualifier, r.cfg.Alias)),
		traceID:       or(in.TraceID, r.newTraceID()),
		clientContext: in.ClientContext,
		payload:       in.Payload,
		done:          make(chan Result, 1),
	}, nil
}

func (r *Runtime) arn(qualifier string) string {
	arn := "arn:aws:lambda:" + r.cfg.Region + ":" + r.cfg.Account + ":function:" + r.cfg.FunctionName
	if qualifier != "" {
		arn += ":" + qualifier
	}
	return arn
}

// newTraceID is a header of X-Ray that says "not sampled".
func (r *Runtime) newTraceID() string {
	var b [20]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("Root=1-%08x-%x;Parent=%x;Sampled=0", r.cfg.Now().Unix(), b[:12], b[12:])
}

// newUUID is a random UUID (RFC 9562 section 5.4), the shape of Lambda's request ids.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// finish gives the caller its result; only the first one counts.
func (e *event) finish(result Result) {
	if !e.finished {
		e.finished = true
		e.done <- result
	}
}

// failure is an error that the platform reports, in the words of Lambda.
func (e *event) failure(kind, message string) Result {
	payload, _ := json.Marshal(map[string]string{
		"errorType":    kind,
		"errorMessage": "RequestId: " + e.id + " Error: " + message,
	})
	return Result{RequestID: e.id, Payload: payload, FunctionError: "Unhandled"}
}

// closedResult ends an event that Close found waiting.
func closedResult(e *event) Result {
	return e.failure("Runtime.Shutdown", "the runtime was closed")
}

// timedOut is what Lambda reports for an event past its deadline. It has no type.
func (e *event) timedOut(now time.Time, timeout time.Duration) Result {
	payload, _ := json.Marshal(map[string]string{
		"errorMessage": fmt.Sprintf("%s %s Task timed out after %.2f seconds",
			now.UTC().Format("2006-01-02T15:04:05.000Z"), e.id, timeout.Seconds()),
	})
	return Result{RequestID: e.id, Payload: payload, FunctionError: "Unhandled"}
}

// writeHeaders says what the process is told beside the payload.
func (e *event) writeHeaders(h http.Header) {
	h.Set("Content-Type", "application/json")
	h.Set("Lambda-Runtime-Aws-Request-Id", e.id)
	h.Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(e.deadline.UnixMilli()))
	h.Set("Lambda-Runtime-Invoked-Function-Arn", e.arn)
	h.Set("Lambda-Runtime-Trace-Id", e.traceID)
	if e.clientContext != "" {
		h.Set("Lambda-Runtime-Client-Context", e.clientContext)
	}
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

// withdraw drops e if no process has it yet.
func (r *Runtime) withdraw(e *event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = slices.DeleteFunc(r.queue, func(q *event) bool { return q == e })
}

// failQueue ends all events that wait. The caller holds r.mu.
func (r *Runtime) failQueue(why func(*event) Result) {
	for _, e := range r.queue {
		e.finish(why(e))
	}
	r.queue = nil
}

// dispatch hands waiting events to the process, and starts one if there is none.
// The caller holds r.mu.
func (r *Runtime) dispatch() {
	if len(r.queue) > 0 && r.proc == nil && !r.closed {
		proc, err := r.startProcess()
		if err != nil {
			r.failQueue(func(e *event) Result { return e.failure("Runtime.InvalidEntrypoint", err.Error()) })
			return
		}
		r.proc = proc
	}
	for len(r.queue) > 0 && r.proc != nil && r.proc.takes() {
		e := r.queue[0]
		r.queue = r.queue[1:]
		r.proc.hand(e)
	}
}
