package runtimeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxInitError is the largest report of a failed start, in bytes.
const maxInitError = 256 << 10

// api serves the Runtime API to one process.
func (p *process) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", p.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", p.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", p.invocationError)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", p.initFailed)
	return localOnly(mux)
}

// next answers as soon as there is an event for the process.
func (p *process) next(w http.ResponseWriter, req *http.Request) {
	poll := p.addPoll()
	var e *event
	select {
	case e = <-poll:
	case <-req.Context().Done():
		if e = p.removePoll(poll); e != nil {
			p.requeue(e)
		}
		return
	}
	// The process may have gone before the event arrived.
	if req.Context().Err() != nil {
		p.requeue(e)
		return
	}
	p.setDelivered(e)
	e.writeHeaders(w.Header())
	w.Header().Set("Content-Length", fmt.Sprint(len(e.payload)))
	_, err := w.Write(e.payload)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err != nil {
		p.requeue(e)
	}
}

func (p *process) response(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxResponse))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		p.finish(req.PathValue("id"), false, oversized)
		protocolError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
			fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", maxResponse))
		return
	}
	if err != nil {
		protocolError(w, http.StatusBadRequest, "InvalidRequest", "the body ended early")
		return
	}
	p.answer(w, req, "", body)
}

func oversized(e *event) Result {
	payload, _ := json.Marshal(map[string]string{
		"errorType": "Function.ResponseSizeTooLarge",
		"errorMessage": fmt.Sprintf(
			"Response payload size exceeded maximum allowed payload size (%d bytes).", maxResponse),
	})
	return Result{RequestID: e.id, Payload: payload, FunctionError: unhandled}
}

func (p *process) invocationError(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxResponse))
	if err != nil {
		protocolError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "the error is too large")
		return
	}
	p.answer(w, req, unhandled, body)
}

// answer ends the event of a request with the process's answer.
func (p *process) answer(w http.ResponseWriter, req *http.Request, functionError string, body []byte) {
	ok := p.finish(req.PathValue("id"), functionError != "" && hasStack(body), func(e *event) Result {
		return Result{RequestID: e.id, Payload: body, FunctionError: functionError}
	})
	if !ok {
		protocolError(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return
	}
	accepted(w)
}

// hasStack reports whether an error is a panic, after which aws-lambda-go exits.
func hasStack(body []byte) bool {
	var report struct {
		StackTrace []json.RawMessage `json:"stackTrace"`
	}
	return json.Unmarshal(body, &report) == nil && len(report.StackTrace) > 0
}

func (p *process) initFailed(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxInitError))
	if err != nil {
		protocolError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "the error is too large")
		return
	}
	p.r.mu.Lock()
	ready := p.ready
	if !ready {
		p.initError = body
	}
	p.r.mu.Unlock()
	if ready {
		protocolError(w, http.StatusForbidden, "InvalidStateTransition", "the runtime is initialized")
		return
	}
	accepted(w)
}

func accepted(w http.ResponseWriter) {
	writeJSON(w, http.StatusAccepted, map[string]string{"status": "OK"})
}

func protocolError(w http.ResponseWriter, status int, kind, message string) {
	writeJSON(w, status, map[string]string{"errorType": kind, "errorMessage": message})
}

func writeJSON(w http.ResponseWriter, status int, value map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}
