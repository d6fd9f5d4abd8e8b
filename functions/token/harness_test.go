package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/token"
)

// invoked is one event on its way in.
type invoked struct {
	payload []byte
	// alias is the one invoked; empty: the function itself.
	alias string
}

// response is what Lambda's caller sees.
type response struct {
	requestID string
	payload   []byte
	// failed: payload is a function error, with errorType and errorMessage.
	failed bool
}

// harness is a function that can be invoked, in this process or in its own.
type harness struct {
	env    *env
	invoke func(t testing.TB, in invoked) response
	// vends counts the calls of the core; nil: they cannot be counted.
	vends func() int64
	// logs is everything that the function logged.
	logs *output
	// stderr is what its process wrote there; nil in this process.
	stderr *output
}

// output is a writer that tests may read meanwhile.
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

// vendorFunc is a function as a vendor.
type vendorFunc func(ctx context.Context, r token.Request) (token.Grant, error)

// core is a vendorFunc that catches panics, as the core does.
type core struct {
	vend vendorFunc
	log  *slog.Logger
}

func (c core) Vend(ctx context.Context, read func(*token.Request) error) (grant token.Grant, err error) {
	var r token.Request
	err = fault.Catch(c.log, &r.RequestID, func() (err error) {
		if err = read(&r); err == nil {
			grant, err = c.vend(ctx, r)
		}
		return err
	})
	return grant, err
}

func (f vendorFunc) Vend(ctx context.Context, read func(*token.Request) error) (token.Grant, error) {
	return core{f, slog.New(slog.DiscardHandler)}.Vend(ctx, read)
}

// counted counts the calls of a core's Vend.
type counted struct {
	*token.Vendor
	vends *atomic.Int64
}

func (c counted) Vend(ctx context.Context, read func(*token.Request) error) (token.Grant, error) {
	return c.Vendor.Vend(ctx, func(r *token.Request) error {
		err := read(r)
		if err == nil {
			c.vends.Add(1)
		}
		return err
	})
}

// closedGate is the gate as the template configures it.
func closedGate() gate { return gate{proof: oauth.NewSecret(testProof), alias: testAlias} }

// newHandler is the real handler with another core.
func testHandler(v vendor, g gate, logs *output) *handler {
	log := slog.New(slog.NewJSONHandler(logs, nil))
	if f, ok := v.(vendorFunc); ok {
		v = core{f, log}
	}
	return &handler{vendor: v, gate: g, log: log, now: time.Now}
}

// lambdaContext is what the runtime passes to a handler.
func lambdaContext(ctx context.Context, id, alias string) context.Context {
	arn := "arn:aws:lambda:eu-central-1:111122223333:function:cnry-function"
	if alias != "" {
		arn += ":" + alias
	}
	return lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: id, InvokedFunctionArn: arn})
}

// handlerHarness is the real handler on the real core, in this process.
func handlerHarness(w *env, g gate) *harness {
	vends, logs := new(atomic.Int64), new(output)
	h := testHandler(counted{w.vendor(logs), vends}, g, logs)
	events := new(atomic.Int64)
	return &harness{env: w, vends: vends.Load, logs: logs, invoke: func(t testing.TB, in invoked) response {
		t.Helper()
		id := fmt.Sprintf("request-%d", events.Add(1))
		return call(t, h, lambdaContext(t.Context(), id, in.alias), id, in.payload)
	}}
}

// call invokes h and returns what the runtime would send on.
func call(t testing.TB, h *handler, ctx context.Context, id string, payload []byte) response {
	t.Helper()
	answer, err := h.Invoke(ctx, payload)
	if err == nil {
		return response{requestID: id, payload: answer}
	}
	// The runtime looks at the dynamic type: wrapped it would not be found.
	failure, ok := err.(messages.InvokeResponse_Error)
	if !ok || errors.Unwrap(err) != nil {
		t.Fatalf("the error is a %T, want an InvokeResponse_Error by value", err)
	}
	text, err := json.Marshal(failure)
	if err != nil {
		t.Fatal(err)
	}
	return response{requestID: id, payload: text, failed: true}
}
