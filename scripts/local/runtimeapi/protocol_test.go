package runtimeapi

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// The parts of the protocol that aws-lambda-go does not use, or uses only when it
// goes wrong, sent by hand to the address of a real process.
func TestProtocol(t *testing.T) {
	r := start(t, Config{})
	address := addressOf(t, mustReport(t, invoke(t, r, `{}`)))
	named := func(req *http.Request) { req.Header.Set("Lambda-Extension-Name", "bootstrap") }
	tests := []struct {
		name         string
		method, path string
		body         string
		change       func(*http.Request)
		status       int
		part         string
	}{
		{"answer to no event", "POST", "/2018-06-01/runtime/invocation/none/response", `{}`, nil, 400, "InvalidRequestID"},
		{"error of no event", "POST", "/2018-06-01/runtime/invocation/none/error", `{}`, nil, 400, "InvalidRequestID"},
		{"huge error", "POST", "/2018-06-01/runtime/invocation/none/error", strings.Repeat(" ", maxResponse+1), nil, 413, "RequestEntityTooLarge"},
		{"init error after init", "POST", "/2018-06-01/runtime/init/error", `{}`, nil, 403, "InvalidStateTransition"},
		{"huge init error", "POST", "/2018-06-01/runtime/init/error", strings.Repeat(" ", maxInitError+1), nil, 413, "RequestEntityTooLarge"},
		{"register", "POST", "/2020-01-01/extension/register", `{"events":[]}`, named, 200, `"functionName":"function"`},
		{"register without a name", "POST", "/2020-01-01/extension/register", `{"events":[]}`, nil, 400, "InvalidExtensionName"},
		{"unknown path", "GET", "/2018-06-01/runtime/restore/next", ``, nil, 404, ""},
		{"wrong method", "POST", "/2018-06-01/runtime/invocation/next", ``, nil, 405, ""},
		{"from a web page", "POST", "/2018-06-01/runtime/init/error", `{}`, func(req *http.Request) { req.Header.Set("Origin", "null") }, 403, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := send(t, tt.method, address+tt.path, tt.body, tt.change)
			if got.status != tt.status || !strings.Contains(got.body, tt.part) {
				t.Errorf("got %d %s", got.status, got.body)
			}
			if tt.name == "register" && len(got.header.Get("Lambda-Extension-Identifier")) != 36 {
				t.Errorf("headers %v", got.header)
			}
		})
	}
	mustReport(t, invoke(t, r, `{}`))
}

func addressOf(t *testing.T, r report) string {
	t.Helper()
	for _, variable := range r.Env {
		if value, ok := strings.CutPrefix(variable, "AWS_LAMBDA_RUNTIME_API="); ok {
			return "http://" + value
		}
	}
	t.Fatal("no address")
	return ""
}

// One event at a time holds for a process that asks for more, too.
func TestGreedyProcess(t *testing.T) {
	var stdout output
	r := start(t, Config{Stdout: &stdout})
	address := addressOf(t, mustReport(t, invoke(t, r, `{}`)))
	var all sync.WaitGroup
	all.Go(func() { mustReport(t, invoke(t, r, `{"do":"sleep","ms":500}`)) })
	eventually(t, "the event runs", func() bool { return strings.Contains(stdout.String(), "sleeping") })
	all.Go(func() { mustReport(t, invoke(t, r, `{}`)) })

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", address+"/2018-06-01/runtime/invocation/next", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if resp, err := client.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Error("a busy process got a second event")
	}
	all.Wait()
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1:9001": true, "127.0.0.1": true, "[::1]:80": true, "[::1]": true, "LocalHost:1": true, "127.9.9.9": true,
		"": false, "example.com": false, "127.0.0.1.example.com": false, "localhost.example.com:80": false,
		"10.0.0.1:80": false, "0.0.0.0": false, "2130706433": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("isLoopback(%q) = %v", host, got)
		}
	}
}
