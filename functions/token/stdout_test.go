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

// TestR74Stdout: with a standard output that nobody reads, or that is closed, no token
// leaves the process and every answer comes in time; when somebody reads again, tokens
// come again.
func TestR74Stdout(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	for name, closed := range map[string]bool{"blocked": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			secrets := httptest.NewServer(w)
			defer secrets.Close()
			reader, writer, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			function, err := runtimeapi.Start(runtimeapi.Config{
				Binary: binary, FunctionName: "f", Region: "eu-central-1", Account: "111122223333", Timeout: 20 * time.Second, Stdout: writer, Stderr: io.Discard,
				Env: []string{"AWS_ACCESS_KEY_ID=id", "AWS_SECRET_ACCESS_KEY=key", "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + secrets.URL, "ALLOW_PRIVATE_ENDPOINTS=true"},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = function.Close() }()
			ask := func() (token, failed bool) {
				result, err := function.Invoke(t.Context(), runtimeapi.Invocation{Payload: []byte(`{"client":"billing"}`)})
				if err != nil {
					t.Fatal(err)
				}
				return strings.Contains(string(result.Payload), testToken), strings.Contains(string(result.Payload), `"errorType":"server_error"`)
			}
			if token, _ := ask(); !token {
				t.Fatal("no token while all is well")
			}
			if closed {
				if err := reader.Close(); err != nil {
					t.Fatal(err)
				}
			}
			// A pipe takes 64 KiB, which a line at a time fills after a while.
			refused := 0
			for range 1000 {
				begin := time.Now()
				token, failed := ask()
				if d := time.Since(begin); d > 5*time.Second {
					t.Fatalf("an answer took %v", d)
				}
				switch {
				case token && (closed || refused > 0):
					t.Fatal("a token without its line")
				case !token && !failed:
					t.Fatal("neither a token nor server_error")
				case !token:
					refused++
				}
				if refused == 5 {
					break
				}
			}
			if refused < 5 {
				t.Fatalf("%d of 1000 requests were refused", refused)
			}
			if closed {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, reader) }()
			deadline := time.Now().Add(10 * time.Second)
			for token, _ := ask(); !token; token, _ = ask() {
				if time.Now().After(deadline) {
					t.Fatal("no token though somebody reads")
				}
			}
		})
	}
}

// blocked takes nothing, for ever.
type blocked struct{}

func (blocked) Write([]byte) (int, error) { select {} }

// TestR74StdoutAtTheDeadline: when the time is used up, too, the refusal comes before
// the platform ends the invocation.
func TestR74StdoutAtTheDeadline(t *testing.T) {
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
	a, err := app.New(t.Context(), app.Config{Getenv: func(string) string { return "" }, Output: blocked{}})
	if err != nil {
		t.Fatal(err)
	}
	h := &handler{vendor: a.Vendor, flush: a.Metrics.Flush, log: a.Log, now: time.Now}
	ctx, cancel := context.WithTimeout(lambdaContext(t.Context(), "r", ""), 1500*time.Millisecond)
	defer cancel()
	if _, err := h.Invoke(ctx, []byte(`{"client":"billing"}`)); err == nil || ctx.Err() != nil {
		t.Errorf("got %v; the invocation was ended: %v", err, ctx.Err())
	}
}
