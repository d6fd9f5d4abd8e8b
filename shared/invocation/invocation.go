// Package invocation is what every function needs of an invocation by AWS Lambda: how
// long it may take, what it is called, how it fails, and lists of requests in one
// payload. Beside the functions it alone knows that they run in Lambda.
package invocation

import (
	"context"
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

// Margin is what is left of an invocation's time for the answer, so that a caller
// gets our error and not the platform's.
const Margin = 500 * time.Millisecond

// WithMargin returns ctx with its deadline, if it has one, earlier by [Margin].
func WithMargin(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-Margin))
}

// RequestID returns the invocation's id; empty outside of Lambda.
func RequestID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.AwsRequestID
	}
	return ""
}

// Alias returns the alias that Lambda was asked for; empty: the function itself.
// Lambda sets it, not the caller. The ARN itself is not logged.
func Alias(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		// arn:aws:lambda:region:account:function:name[:alias]
		if parts := strings.Split(lc.InvokedFunctionArn, ":"); len(parts) == 8 {
			return parts[7]
		}
	}
	return ""
}

// DirectCaller is who calls without HTTP. Who may call which alias is IAM's decision,
// so the alias stands for the caller.
func DirectCaller(alias string) string {
	if alias == "" {
		return "direct"
	}
	return "direct:" + alias
}

// Failure returns err as a [messages.InvokeResponse_Error], by value and not wrapped:
// the runtime would put the Go type's name in the place of errorType, which the Retry
// and Catch of a state machine match. nil stays nil.
func Failure(err error) error {
	if err == nil {
		return nil
	}
	e := token.AsError(err)
	return messages.InvokeResponse_Error{Type: e.Kind.Code(), Message: oauth.Printable(e.Description)}
}

// Rescue, deferred, turns a panic into an error: the runtime would send its text and
// stack to the caller and end the process, other events with it.
func Rescue(log *slog.Logger, requestID string, err *error) {
	if cause := recover(); cause != nil {
		// The value may be a secret; its type and the place are not.
		log.Error("panic", "requestId", requestID, "type", fmt.Sprintf("%T", cause), "at", panicSite())
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
