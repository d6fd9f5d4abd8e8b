// Command token is the Lambda function that vends access tokens: to callers of
// API Gateway (REST API, HTTP API), of a Function URL, and to those that invoke
// it directly. It only wires; the work is in tokenvendor/shared.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/aws/aws-lambda-go/lambda"

	"tokenvendor/shared/app"
)

func main() {
	// A standard output that was closed must be an error of the line, not the end of
	// the process.
	signal.Ignore(syscall.SIGPIPE)
	a, err := app.New(app.Config{Getenv: os.Getenv, Output: os.Stdout})
	if err != nil {
		fmt.Fprintln(os.Stderr, "token:", err)
		app.FailInit(os.Getenv, err)
		os.Exit(1)
	}
	// aws-lambda-go prints every function error with package log; this makes
	// JSON of it too.
	slog.SetDefault(a.Log)
	a.Warm(context.Background())
	app.TuneRuntimeAPI(http.DefaultTransport.(*http.Transport))
	lambda.Start(newHandler(a))
}
