package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/shared/app"
)

// pipedFunction is the compiled function with a pipe as its standard output.
type pipedFunction struct {
	t        *testing.T
	function *runtimeapi.Runtime
	output   *os.File // the reading end
}

func startPiped(t *testing.T) *pipedFunction {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = reader.Close(), writer.Close() })
	return &pipedFunction{t, newEnv(t).start(t, runtimeapi.Config{Stdout: writer, Stderr: io.Discard}), reader}
}

// ask asks for a token. It returns false if the answer is server_error; anything else fails
// the test.
func (p *pipedFunction) ask() (token bool) {
	p.t.Helper()
	begin := time.Now()
	result, err := p.function.Invoke(p.t.Context(), runtimeapi.Invocation{Payload: []byte(`{"client":"billing"}`)})
	if err != nil {
		p.t.Fatal(err)
	}
	if d := time.Since(begin); d > 5*time.Second {
		p.t.Fatalf("an answer took %v, want at most 5s", d)
	}
	token = strings.Contains(string(result.Payload), testToken)
	if !token && !strings.Contains(string(result.Payload), `"errorType":"server_error"`) {
		p.t.Fatalf("got %s, want a token or server_error", result.Payload)
	}
	return token
}

// wantRefused asks until five requests in a row are refused. A pipe takes 64 KiB, so that the
// first requests may get tokens.
func (p *pipedFunction) wantRefused() {
	p.t.Helper()
	refused := 0
	for range 1000 {
		switch token := p.ask(); {
		case token && refused > 0:
			p.t.Fatal("got a token without its audit line")
		case !token:
			refused++
		}
		if refused == 5 {
			return
		}
	}
	p.t.Fatalf("got %d refusals in 1000 requests, want 5", refused)
}

func TestNoTokenWhenStandardOutputIsClosed(t *testing.T) {
	p := startPiped(t)
	if !p.ask() {
		t.Fatal("got no token from a function that can write")
	}
	if err := p.output.Close(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if p.ask() {
			t.Fatal("got a token without its audit line")
		}
	}
}

// Once the pipe is read again, requests get tokens again.
func TestNoTokenWhenStandardOutputIsFull(t *testing.T) {
	p := startPiped(t)
	if !p.ask() {
		t.Fatal("got no token from a function that can write")
	}
	p.wantRefused()
	go func() { _, _ = io.Copy(io.Discard, p.output) }()
	deadline := time.Now().Add(10 * time.Second)
	for !p.ask() {
		if time.Now().After(deadline) {
			t.Fatal("got no token although the pipe is read")
		}
	}
}

// blocked is a writer that blocks for ever.
type blocked struct{}

func (blocked) Write([]byte) (int, error) { select {} }

// If Secrets Manager hangs, too, the refusal still comes before Lambda ends the invocation.
func TestRefusesBeforeTheDeadlineWhenStandardOutputBlocks(t *testing.T) {
	secrets := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer secrets.Close()
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets.URL,
	} {
		t.Setenv(name, value)
	}
	a, err := app.New(app.Config{Getenv: func(string) string { return "" }, Output: blocked{}})
	if err != nil {
		t.Fatal(err)
	}
	h := &handler{vendor: a.Vendor, flush: a.Metrics.Flush, log: a.Log, now: time.Now}
	ctx, cancel := context.WithTimeout(lambdaContext(t.Context(), "r", ""), 1500*time.Millisecond)
	defer cancel()
	if _, err := h.Invoke(ctx, []byte(`{"client":"billing"}`)); err == nil || ctx.Err() != nil {
		t.Errorf("got error %v, context %v; want an error before the deadline", err, ctx.Err())
	}
}
