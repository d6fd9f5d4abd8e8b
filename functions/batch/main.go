// Command batch is the Lambda function for jobs that start from a queue, an event, a
// schedule or a state machine. It fetches tokens ahead into what the environments
// share and announces them by claims, and keeps tokens in secrets for jobs that can
// read nothing else. No answer holds a token. It only wires; the work is here
// and in tokenvendor/shared.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"tokenvendor/shared/app"
	"tokenvendor/shared/app/jobs"
)

// patience with the shared table: no caller waits for a job's token, and what is done
// without the table may be done twice.
const patience = 900 * time.Millisecond

func main() {
	// A standard output that was closed must be an error of the line, not the end of
	// the process.
	signal.Ignore(syscall.SIGPIPE)
	a, err := app.New(app.Config{Getenv: os.Getenv, Output: os.Stdout, Patience: patience})
	if err != nil {
		fail(err)
	}
	j, err := jobs.New(a)
	if err != nil {
		fail(err)
	}
	// aws-lambda-go prints every function error with package log; this makes
	// JSON of it too.
	slog.SetDefault(a.Log)
	a.Warm(context.Background())
	app.TuneRuntimeAPI(http.DefaultTransport.(*http.Transport))
	lambda.Start(newHandler(a, j))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "batch:", err)
	app.FailInit(os.Getenv, err)
	os.Exit(1)
}
