// Package invocation is what every function needs of an invocation by AWS Lambda: how long
// it may take, what it is called, how it fails, and lists of requests in one payload. Beside
// the functions, it alone knows that they run in Lambda.
package invocation

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/token"
)

// Margin is what is left of an invocation's time for the answer, so that a caller gets the
// function's error and not the platform's.
const Margin = 500 * time.Millisecond

// Run calls do for an invocation, with its deadline earlier by [Margin]. An error, a panic
// included, becomes a [messages.InvokeResponse_Error], by value and not wrapped: the runtime
// would put the Go type's name in the place of errorType, which the Retry and Catch of a
// state machine match.
func Run(ctx context.Context, log *slog.Logger, do func(context.Context) ([]byte, error)) ([]byte, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-Margin))
		defer cancel()
	}
	var answer []byte
	id := RequestID(ctx)
	err := fault.Catch(log, &id, func() (err error) {
		answer, err = do(ctx)
		return err
	})
	if err != nil {
		e := fault.From(err)
		return nil, messages.InvokeResponse_Error{Type: e.Kind.Code(), Message: oauth.Printable(e.Description)}
	}
	return answer, nil
}

// RequestID returns the invocation's id; empty outside of Lambda.
func RequestID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.AwsRequestID
	}
	return ""
}

// Alias returns the alias that Lambda was asked for; empty: the function itself. Lambda sets
// it, not the caller. The ARN itself is not logged.
func Alias(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		// arn:aws:lambda:region:account:function:name[:alias]
		if arn := lc.InvokedFunctionArn; strings.Count(arn, ":") == 7 {
			return arn[strings.LastIndexByte(arn, ':')+1:]
		}
	}
	return ""
}

// TraceID returns the root of the trace that the invocation belongs to; empty: none.
func TraceID(ctx context.Context) string {
	header, _ := ctx.Value("x-amzn-trace-id").(string) // the key of aws-lambda-go
	return TraceRoot(header)
}

// TraceRoot returns the root in a header X-Amzn-Trace-Id, such as
// 1-6b041242-5d2f8b7e6a1c4f3098b7d6e5; empty: there is none of that form.
//
// Source: docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html
func TraceRoot(header string) string {
	for field := range strings.SplitSeq(header, ";") {
		root, ok := strings.CutPrefix(strings.TrimSpace(field), "Root=")
		if ok && len(root) == 35 && strings.Trim(root, "0123456789abcdef-") == "" {
			return root
		}
	}
	return ""
}

// Request returns what is known of a request before its event is read. Caller is set for a
// direct invoke only.
func Request(ctx context.Context, source audit.Source) token.Request {
	r := token.Request{RequestID: RequestID(ctx), Origin: audit.Origin{Source: source, Alias: Alias(ctx), TraceID: TraceID(ctx)}}
	if source == audit.Direct {
		r.Caller = DirectCaller(r.Origin.Alias)
	}
	return r
}

// DirectCaller names the caller of a direct invoke. IAM decides who may call which alias, so
// the alias stands for the caller.
func DirectCaller(alias string) string {
	if alias == "" {
		return "direct"
	}
	return "direct:" + alias
}
