package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// extensionName is the name of the extension's file in /opt/extensions, which Lambda compares.
const extensionName = "vendctl"

// extension is this program as a Lambda extension
// (docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html). The process is frozen
// between invocations, so that it may call the vendor only while one runs.
type extension struct {
	api string // of the extensions API
	id  string
}

// extensionsAPI returns the URL of the extensions API.
func extensionsAPI() (string, error) {
	host := os.Getenv("AWS_LAMBDA_RUNTIME_API")
	if host == "" {
		return "", usage("--lambda-extension: AWS_LAMBDA_RUNTIME_API is not set, so that this is no Lambda environment")
	}
	return "http://" + host + "/2020-01-01/extension", nil
}

// register registers the extension for invocations and for the end of the environment.
func register(ctx context.Context) (*extension, error) {
	api, err := extensionsAPI()
	if err != nil {
		return nil, err
	}
	e := &extension{api: api}
	// #nosec G704 -- the address is that of the Lambda environment.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.api+"/register", bytes.NewReader([]byte(`{"events":["INVOKE","SHUTDOWN"]}`)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Lambda-Extension-Name", extensionName)
	resp, err := http.DefaultClient.Do(req) // #nosec G704 -- as above
	if err != nil {
		return nil, errors.New("the extension cannot be registered: the extensions API does not answer")
	}
	defer func() { _ = resp.Body.Close() }()
	if e.id = resp.Header.Get("Lambda-Extension-Identifier"); resp.StatusCode != http.StatusOK || e.id == "" {
		return nil, fmt.Errorf("the extension cannot be registered: status %d; its file in /opt/extensions must be named %s", resp.StatusCode, extensionName)
	}
	return e, nil
}

// lambdaEvent is an event of the extensions API.
type lambdaEvent struct {
	Type       string `json:"eventType"`
	DeadlineMs int64  `json:"deadlineMs"` // Unix time at which Lambda ends the invocation; 0: not known
}

// next says that the work for the last event is done, and waits for another one.
func (e *extension) next(ctx context.Context) (event lambdaEvent, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.api+"/event/next", nil)
	if err != nil {
		return event, err
	}
	req.Header.Set("Lambda-Extension-Identifier", e.id)
	// Without a time limit: the environment may be frozen for hours.
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return event, errors.New("the extensions API does not answer")
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(text, &event) != nil {
		return event, fmt.Errorf("the extensions API answers with status %d", resp.StatusCode)
	}
	return event, nil
}

// prefetchTime is how long an invocation may wait for tokens, and prefetchMargin what must be left
// of it then.
const (
	prefetchTime   = 2 * time.Second
	prefetchMargin = 500 * time.Millisecond
)

// run calls refresh for each invocation, until the environment ends. Lambda ends an invocation
// only after refresh.
func (e *extension) run(ctx context.Context, refresh func(context.Context)) error {
	for {
		event, err := e.next(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil && event.Type == "INVOKE":
			end := time.Now().Add(prefetchTime)
			if last := time.UnixMilli(event.DeadlineMs).Add(-prefetchMargin); event.DeadlineMs > 0 && last.Before(end) {
				end = last
			}
			within, cancel := context.WithDeadline(ctx, end)
			refresh(within)
			cancel()
		case ctx.Err() != nil || event.Type == "SHUTDOWN":
			return ctx.Err()
		}
	}
}
