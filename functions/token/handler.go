package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/token"
)

// margin is what is left of an invocation's time for the answer, so that a
// caller gets our 504 and not the platform's.
const margin = 500 * time.Millisecond

// vendor is the core, as far as this function needs it.
type vendor interface {
	Vend(ctx context.Context, r token.Request) (token.Grant, error)
	Refuse(r token.Request, err error) *token.Error
}

// handler answers events. It takes and returns bytes: Lambda's typed handlers
// decode every event by reflection into all of its members. It is safe for
// concurrent use.
type handler struct {
	vendor vendor
	gate   gate
	log    *slog.Logger
	// flush writes the metrics; nil: there are none.
	flush func()
	now   func() time.Time
}

// Invoke implements lambda.Handler. An error is a [messages.InvokeResponse_Error],
// by value and not wrapped: the runtime would put the Go type's name in the place
// of errorType.
func (h *handler) Invoke(ctx context.Context, payload []byte) (answer []byte, err error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-margin))
		defer cancel()
	}
	if h.flush != nil {
		defer h.flush()
	}
	defer func() {
		if failure := (*token.Error)(nil); errors.As(err, &failure) {
			err = functionError(failure)
		}
	}()
	defer h.rescue(requestID(ctx), &err)
	e := readEvent(payload)
	if !e.http {
		return h.direct(ctx, payload)
	}
	return h.http(ctx, &e, payload), nil
}

// rescue, deferred, turns a panic into an error: the runtime would send its text
// and stack to the caller and end the process, other events with it.
func (h *handler) rescue(requestID string, err *error) {
	if cause := recover(); cause != nil {
		// The value may be a secret; its type and the place are not.
		h.log.Error("panic", "requestId", requestID, "type", fmt.Sprintf("%T", cause), "at", panicSite())
		*err = &token.Error{Kind: token.Internal, Description: "internal error"}
	}
}

// panicSite names the function and line that panicked.
func panicSite() string {
	var callers [16]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers[:])])
	for panicked := false; ; {
		frame, more := frames.Next()
		if panicked && !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf("%s:%d", frame.Function, frame.Line)
		}
		panicked = panicked || frame.Function == "runtime.gopanic"
		if !more {
			return ""
		}
	}
}

// requestID returns the invocation's id; empty outside of Lambda.
func requestID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.AwsRequestID
	}
	return ""
}

func functionError(e *token.Error) error {
	return messages.InvokeResponse_Error{Type: e.Kind.Code(), Message: oauth.Printable(e.Description)}
}
