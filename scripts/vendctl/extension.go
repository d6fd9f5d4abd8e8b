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

// register registers the extension for invocations and for the end of the environment.
func register(ctx context.Context) (*extension, error) {
	host := os.Getenv("AWS_LAMBDA_RUNTIME_API")
	if host == "" {
		return nil, usage("--lambda-extension: AWS_LAMBDA_RUNTIME_API is not set, so that this is no Lambda environment")
	}
	e := &extension{api: "http://" + host + "/2020-01-01/extension"}
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

// next says that the work for the last event is done, and waits for another one.
func (e *extension) next(ctx context.Context) (event string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.api+"/event/next", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Lambda-Extension-Identifier", e.id)
	// Without a time limit: the environment may be frozen for hours.
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", errors.New("the extensions API does not answer")
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		EventType string `json:"eventType"`
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(text, &answer) != nil {
		return "", fmt.Errorf("the extensions API answers with status %d", resp.StatusCode)
	}
	return answer.EventType, nil
}

// run calls refresh for each invocation, until the environment ends.
func (e *extension) run(ctx context.Context, refresh func(context.Context)) error {
	for {
		event, err := e.next(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil && event == "INVOKE":
			refresh(ctx)
		case ctx.Err() != nil || event == "SHUTDOWN":
			return ctx.Err()
		}
	}
}
