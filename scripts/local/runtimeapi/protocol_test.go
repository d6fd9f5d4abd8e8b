package runtimeapi

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestProtocolErrors sends requests that aws-lambda-go does not send, or only after an
// error, to the Runtime API of a real process.
func TestProtocolErrors(t *testing.T) {
	r := start(t, nil)
	address := addressOf(t, mustReport(t, invoke(t, r, `{}`)))
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
		{"unknown path", "GET", "/2018-06-01/runtime/restore/next", ``, nil, 404, ""},
		{"wrong method", "POST", "/2018-06-01/runtime/invocation/next", ``, nil, 405, ""},
		{"from a web page", "POST", "/2018-06-01/runtime/init/error", `{}`, func(req *http.Request) { req.Header.Set("Origin", "null") }, 403, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := send(t, tt.method, address+tt.path, tt.body, tt.change)
			if got.status != tt.status || !strings.Contains(got.body, tt.part) {
				t.Errorf("got %d %s, want %d %s", got.status, got.body, tt.status, tt.part)
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

func TestBusyProcessGetsNoSecondEvent(t *testing.T) {
	var stdout output
	r := start(t, func(c *Config) { c.Stdout = &stdout })
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
			t.Errorf("isLoopback(%q) returns %v, want %v", host, got, want)
		}
	}
}
