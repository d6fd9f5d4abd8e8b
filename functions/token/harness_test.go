package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"tokenvendor/shared/oauth"
)

// invoked is one invocation of the function.
type invoked struct {
	payload []byte
	// alias is the invoked one; empty: the function itself.
	alias string
}

// response is what the caller of Lambda gets.
type response struct {
	requestID string
	payload   []byte
	// failed is true if payload is a function error, with errorType and errorMessage.
	failed bool
}

// harness is a function that runs in this process or in one of its own.
type harness struct {
	env    *env
	invoke func(t testing.TB, in invoked) response
	// vends returns how many requests the core decided; nil: unknown.
	vends func() int64
	// logs is what the function writes to standard output.
	logs *output
	// stderr is nil if the function runs in this process.
	stderr *output
}

// output collects what is written. It is safe for concurrent use.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// take returns what was written since the last call.
func (o *output) take() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.b.String()
	o.b.Reset()
	return text
}

// closedGate returns the gate as the template configures it.
func closedGate() gate { return gate{proof: oauth.NewSecret(testProof), alias: testAlias} }

// testHandler returns the real handler with this core.
func testHandler(v vendor, g gate, logs io.Writer) *handler {
	return &handler{vendor: v, flush: func() {}, gate: g, log: slog.New(slog.NewJSONHandler(logs, nil)), now: time.Now}
}

// lambdaContext returns the context that the runtime passes to a handler.
func lambdaContext(ctx context.Context, id, alias string) context.Context {
	arn := "arn:aws:lambda:eu-central-1:111122223333:function:cnry-function"
	if alias != "" {
		arn += ":" + alias
	}
	return lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: id, InvokedFunctionArn: arn})
}

// handlerHarness returns the real handler on the real core, in this process.
func handlerHarness(e *env, g gate) *harness {
	vends, logs := new(atomic.Int64), new(output)
	h := testHandler(countingVendor{e.vendor(logs), vends}, g, logs)
	events := new(atomic.Int64)
	return &harness{env: e, vends: vends.Load, logs: logs, invoke: func(t testing.TB, in invoked) response {
		t.Helper()
		id := fmt.Sprintf("request-%d", events.Add(1))
		return call(t, h, lambdaContext(t.Context(), id, in.alias), id, in.payload)
	}}
}

// call invokes h and returns what the runtime library would send.
func call(t testing.TB, h *handler, ctx context.Context, id string, payload []byte) response {
	t.Helper()
	answer, err := h.Invoke(ctx, payload)
	if err == nil {
		return response{requestID: id, payload: answer}
	}
	// The runtime library looks at the dynamic type, so that the error must not be wrapped.
	failure, ok := err.(messages.InvokeResponse_Error)
	if !ok || errors.Unwrap(err) != nil {
		t.Fatalf("got an error of type %T, want InvokeResponse_Error by value", err)
	}
	text, err := json.Marshal(failure)
	if err != nil {
		t.Fatal(err)
	}
	return response{requestID: id, payload: text, failed: true}
}
