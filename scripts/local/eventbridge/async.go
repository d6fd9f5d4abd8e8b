package eventbridge

import (
	"context"
	"time"
)

// Async is the asynchronous invocation of a function by AWS Lambda.
//
// Source: docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
type Async struct {
	// Invoke invokes the function. kind and message describe a function error; both are
	// empty without one. Required.
	Invoke func(ctx context.Context, event []byte) (kind, message string)
	// Wait is the time before the first retry. The second retry waits twice as long.
	// AWS waits one minute, then two.
	Wait time.Duration
	// Failed gets an event whose three attempts failed. Required.
	Failed func(event []byte, kind, message string)
}

// Run invokes the function up to three times. The event is lost if ctx ends meanwhile.
func (a Async) Run(ctx context.Context, event []byte) {
	for attempt := range 3 {
		kind, message := a.Invoke(ctx, event)
		switch {
		case kind == "":
			return
		case attempt == 2:
			a.Failed(event, kind, message)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(a.Wait << attempt):
		}
	}
}
