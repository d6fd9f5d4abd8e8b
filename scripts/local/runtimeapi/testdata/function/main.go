// Command function is a Lambda function that does what its event says.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type order struct {
	Do   string
	Text string
	MS   int
}

type handler struct{}

func (handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var o order
	if err := json.Unmarshal(payload, &o); err != nil {
		return nil, err
	}
	switch o.Do {
	case "fail":
		return nil, messages.InvokeResponse_Error{Type: "access_denied", Message: o.Text}
	case "panic":
		panic(o.Text)
	case "exit":
		os.Exit(3)
	case "hang":
		hang()
	case "grow":
		return json.Marshal(strings.Repeat("x", o.MS))
	case "child":
		return child()
	case "sleep":
		fmt.Println("sleeping")
		select {
		case <-time.After(time.Duration(o.MS) * time.Millisecond):
		case <-ctx.Done():
			return nil, errors.New("asked to sleep past the deadline")
		}
	}
	return report(ctx, o)
}

// report returns what the process sees.
func report(ctx context.Context, o order) ([]byte, error) {
	lc, _ := lambdacontext.FromContext(ctx)
	deadline, _ := ctx.Deadline()
	return json.Marshal(map[string]any{
		"pid":  os.Getpid(),
		"text": o.Text,
		"arn":  lc.InvokedFunctionArn,
		"id":   lc.AwsRequestID,
		"left": time.Until(deadline).Milliseconds(),
		"env":  os.Environ(),
	})
}

// child starts a process that would outlive this one and that has its output.
func child() ([]byte, error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "BEHAVIOUR=orphan")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return json.Marshal(map[string]int{"pid": cmd.Process.Pid})
}

// mute answers one event and requests no other.
func mute() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	next, err := http.Get(api + "next")
	if err != nil {
		panic(err)
	}
	url := api + next.Header.Get("Lambda-Runtime-Aws-Request-Id") + "/response"
	if _, err := http.Post(url, "application/json", strings.NewReader(fmt.Sprintf(`{"pid":%d}`, os.Getpid()))); err != nil {
		panic(err)
	}
	hang()
}

// hang never returns. Without cgo, an empty select would be reported as a deadlock and
// end the process.
func hang() {
	for {
		time.Sleep(time.Hour)
	}
}

func main() {
	switch os.Getenv("BEHAVIOUR") {
	case "mute":
		mute()
	case "orphan":
		time.Sleep(time.Minute)
	case "init-exit":
		os.Exit(1)
	case "init-hang":
		hang()
	case "init-error":
		url := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/init/error"
		body := `{"errorType":"Configuration","errorMessage":"two variables are missing"}`
		resp, err := http.Post(url, "application/json", bytes.NewReader([]byte(body)))
		fmt.Println(resp, err)
		os.Exit(1)
	default:
		lambda.Start(handler{})
	}
}
