package runtimeapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// maxInitError bounds what a process may say about its failed start, in bytes.
const maxInitError = 256 << 10

// api is the Runtime API and the Extensions API as one process sees them.
func (p *process) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", p.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", p.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", p.invocationError)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", p.initFailed)
	mux.HandleFunc("POST /2020-01-01/extension/register", p.register)
	mux.HandleFunc("GET /2020-01-01/extension/event/next", p.extensionEvent)
	return localOnly(mux)
}

// next answers when there is an event for the process.
func (p *process) next(w http.ResponseWriter, req *http.Request) {
	poll := p.asked()
	var e *event
	select {
	case e = <-poll:
	case <-req.Context().Done():
		if e = p.left(poll); e != nil {
			p.takeBack(e)
		}
		return
	}
	// The process may have gone between its request and the event.
	if req.Context().Err() != nil {
		p.takeBack(e)
		return
	}
	p.delivering(e)
	e.writeHeaders(w.Header())
	w.Header().Set("Content-Length", fmt.Sprint(len(e.payload)))
	_, err := w.Write(e.payload)
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err != nil {
		p.takeBack(e)
	}
}

// delivering notes that from now on the process may have seen e.
func (p *process) delivering(e *event) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	e.delivered = true
}

func (p *process) response(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxResponse))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		p.reported(req.PathValue("id"), false, oversized)
		protocolError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge",
			fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", maxResponse))
		return
	}
	if err != nil {
		protocolError(w, http.StatusBadRequest, "InvalidRequest", "the body ended early")
		return
	}
	failed := req.Trailer.Get("Lambda-Runtime-Function-Error-Type") != ""
	if failed {
		body, _ = base64.StdEncoding.DecodeString(req.Trailer.Get("Lambda-Runtime-Function-Error-Body"))
	}
	p.settle(w, req, failed, body)
}

func oversized(e *event) Result {
	payload, _ := json.Marshal(map[string]string{
		"errorType": "Function.ResponseSizeTooLarge",
		"errorMessage": fmt.Sprintf(
			"Response payload size exceeded maximum allowed payload size (%d bytes).", maxResponse),
	})
	return Result{RequestID: e.id, Payload: payload, FunctionError: "Unhandled"}
}

func (p *process) invocationError(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxResponse))
	if err != nil {
		protocolError(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "the error is too large")
		return
	}
	p.settle(w, req, true, body)
}

// settle ends the event that req speaks of.
func (p *process) settle(w http.ResponseWriter, req *http.Request, failed bool, body []byte) {
	ok := p.reported(req.PathValue("id"), failed && hasStack(body), func(e *event) Result {
		result := Result{RequestID: e.id, Payload: body}
		if failed {
			result.FunctionError = "Unhandled"
		}
		return result
	})
	if !ok {
		protocolError(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return
	}
	accepted(w)
}

// hasStack tells a panic, after which aws-lambda-go exits, from other errors.
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

func (p *process) register(w http.ResponseWriter, req *http.Request) {
	if req.Header.Get("Lambda-Extension-Name") == "" {
		protocolError(w, http.StatusBadRequest, "Extension.InvalidExtensionName", "empty extension name")
		return
	}
	p.r.mu.Lock()
	p.extension = true
	p.r.mu.Unlock()
	w.Header().Set("Lambda-Extension-Identifier", newUUID())
	writeJSON(w, http.StatusOK, map[string]string{
		"functionName":    p.r.cfg.FunctionName,
		"functionVersion": "$LATEST",
		"handler":         "bootstrap",
	})
}

// extensionEvent hangs: an internal extension cannot register for SHUTDOWN, and
// the one of aws-lambda-go registers for nothing.
func (p *process) extensionEvent(_ http.ResponseWriter, req *http.Request) {
	<-req.Context().Done()
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
