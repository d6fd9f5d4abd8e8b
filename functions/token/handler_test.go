package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
)

// aDirectInvoke and anHTTPEvent return good payloads.
func aDirectInvoke(*testing.T) []byte { return []byte(`{"client":"billing"}`) }

func anHTTPEvent(t *testing.T) []byte { return shapes()["REST API role"].invocation(t).payload }

// The text of a panic reaches neither the caller nor the log, and the process goes on.
func TestPanicShowsNothing(t *testing.T) {
	var empty map[string]int
	for name, cause := range map[string]func(){
		"text":       func() { panic("cnry-text") },
		"error":      func() { panic(errors.New("cnry-error")) },
		"nil map":    func() { empty["cnry-key"] = 1 },
		"bytes":      func() { panic([]byte("cnry-bytes")) },
		"nil":        func() { panic(nil) },
		"core error": func() { panic(&fault.Error{Kind: fault.Denied, Description: "cnry-description"}) },
		"deadline":   func() { panic(context.DeadlineExceeded) },
		"formatting": func() { panic(fmt.Sprintf("%v", strings.Repeat("cnry-", 1000))) },
	} {
		t.Run(name, func(t *testing.T) {
			logs := new(output)
			h := fakeHandler(func(context.Context, token.Request) (token.Grant, error) {
				cause()
				return token.Grant{}, nil
			}, closedGate(), logs)
			ctx := lambdaContext(t.Context(), "id", testAlias)
			a := readAnswer(t, call(t, h, ctx, "id", anHTTPEvent(t)), false)
			if a.status != 500 || a.code != "server_error" || a.text != "internal error" {
				t.Errorf("HTTP: got %d %s %s, want 500 server_error", a.status, a.code, a.text)
			}
			checkPanicLog(t, logs.take())
			a = readAnswer(t, call(t, h, ctx, "id", aDirectInvoke(t)), true)
			if a.code != "server_error" || a.text != "internal error" {
				t.Errorf("direct: got %s %s, want server_error", a.code, a.text)
			}
			checkPanicLog(t, logs.take())
			answers := readList(t, call(t, h, ctx, "id", []byte(`{"requests":[{"client":"billing"},{"client":"-"}]}`)))
			if answers[0].code != "server_error" || answers[1].code != "invalid_request" {
				t.Errorf("list: got %s and %s, want server_error and invalid_request", answers[0].code, answers[1].code)
			}
			checkPanicLog(t, logs.take())
		})
	}
}

func checkPanicLog(t *testing.T, log string) {
	t.Helper()
	checkCanaries(t, "the log", log)
	if !strings.Contains(log, `"msg":"panic"`) || !strings.Contains(log, "handler_test.go") && !strings.Contains(log, "TestPanicShowsNothing") {
		t.Errorf("got log %s, want a panic with its file or function", log)
	}
}

// Every error of the core has its status, and the text of other errors reaches no caller.
func TestErrorsBecomeDocuments(t *testing.T) {
	upstream := &fault.Error{Kind: fault.Throttled, Description: "wait", Upstream: &fault.Upstream{Status: 429, Code: "slow_down"}, RetryAfter: 1200 * time.Millisecond}
	for _, test := range []struct {
		name       string
		err        error
		status     int
		code       string
		retryAfter string
	}{
		{"foreign", errors.New("cnry-foreign"), 500, "server_error", ""},
		{"foreign around core", fmt.Errorf("cnry-foreign: %w", &fault.Error{Kind: fault.Denied, Description: "no"}), 403, "access_denied", ""},
		{"deadline", fmt.Errorf("cnry-foreign: %w", context.DeadlineExceeded), 504, "temporarily_unavailable", "1"},
		{"canceled", context.Canceled, 504, "temporarily_unavailable", "1"},
		{"unavailable", &fault.Error{Kind: fault.Unavailable, Description: "no", RetryAfter: time.Second}, 503, "temporarily_unavailable", "1"},
		{"throttled", upstream, 429, "temporarily_unavailable", "2"},
		{"description with quotes", &fault.Error{Kind: fault.Misconfigured, Description: "a\"b\\c\nd\x00ü" + strings.Repeat("x", 500)}, 502, "server_error", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			logs := new(output)
			h := fakeHandler(func(context.Context, token.Request) (token.Grant, error) { return token.Grant{}, test.err }, closedGate(), logs)
			ctx := lambdaContext(t.Context(), "id", testAlias)
			a := readAnswer(t, call(t, h, ctx, "id", anHTTPEvent(t)), false)
			if a.status != test.status || a.code != test.code || a.headers["Retry-After"] != test.retryAfter {
				t.Errorf("got %d %s, Retry-After %q, want %d %s, %q", a.status, a.code, a.headers["Retry-After"], test.status, test.code, test.retryAfter)
			}
			if test.err == error(upstream) && !strings.Contains(string(a.body), `"upstream":{"status":429,"error":"slow_down"}`) {
				t.Errorf("got %s, want it with upstream", a.body)
			}
			d := readAnswer(t, call(t, h, ctx, "id", aDirectInvoke(t)), true)
			if d.code != test.code {
				t.Errorf("direct: got %s, want %s", d.code, test.code)
			}
			checkCanaries(t, "an answer", string(a.body)+string(d.body))
			checkCanaries(t, "the log", logs.take())
		})
	}
}

// With less time left than the margin, the handler starts nothing, and the caller gets a 504 of
// the handler instead of one of API Gateway.
func TestNothingIsStartedWithoutTimeToFinish(t *testing.T) {
	e := newEnv(t)
	h := testHandler(e.vendor(io.Discard), closedGate(), new(output))
	ctx, cancel := context.WithTimeout(lambdaContext(t.Context(), "id", testAlias), 300*time.Millisecond)
	defer cancel()
	a := readAnswer(t, call(t, h, ctx, "id", anHTTPEvent(t)), false)
	if a.status != 504 || a.code != "temporarily_unavailable" || a.headers["Retry-After"] == "" {
		t.Errorf("got %d %s, Retry-After %q, want 504 temporarily_unavailable with Retry-After", a.status, a.code, a.headers["Retry-After"])
	}
	if a := readAnswer(t, call(t, h, ctx, "id", aDirectInvoke(t)), true); a.code != "temporarily_unavailable" {
		t.Errorf("direct: got %s, want temporarily_unavailable", a.code)
	}
	if reads, exchanges := e.reads.Load(), e.exchanges.Load(); reads != 0 || exchanges != 0 {
		t.Errorf("got %d secrets read and %d exchanges, want none", reads, exchanges)
	}
}

// If the core hangs, the handler answers before the deadline of the invocation.
func TestAnswersByTheMarginBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fakeHandler(func(ctx context.Context, _ token.Request) (token.Grant, error) {
			<-ctx.Done()
			return token.Grant{}, ctx.Err()
		}, closedGate(), new(output))
		for _, payload := range [][]byte{anHTTPEvent(t), aDirectInvoke(t), []byte(`{"requests":[{"client":"a"},{"client":"b"}]}`)} {
			ctx, cancel := context.WithTimeout(lambdaContext(t.Context(), "id", testAlias), 25*time.Second)
			start := time.Now()
			r := call(t, h, ctx, "id", payload)
			cancel()
			if took := time.Since(start); took != 25*time.Second-invocation.Margin {
				t.Errorf("answered after %v, want %v", took, 25*time.Second-invocation.Margin)
			}
			if !strings.Contains(string(r.payload), "temporarily_unavailable") {
				t.Errorf("got %s, want temporarily_unavailable", r.payload)
			}
		}
	})
}

// expires_in counts from the time of the answer. An answer with a certificate-bound token says
// that it is bound.
func TestAnswerTellsLifeAndBindingOfTheToken(t *testing.T) {
	e := newEnv(t)
	grant := e.grant(t, "billing")
	grant.CertificateBound = true
	h := fakeHandler(func(context.Context, token.Request) (token.Grant, error) { return grant, nil }, closedGate(), new(output))
	h.now = func() time.Time { return grant.Token.Expiry().Add(-90*time.Second - time.Millisecond) }
	a := readAnswer(t, call(t, h, lambdaContext(t.Context(), "id", testAlias), "id", anHTTPEvent(t)), false)
	if a.status != 200 || a.headers["Token-Vendor-Warning"] != "certificate-bound" {
		t.Errorf("got %d with warning %q, want 200 with certificate-bound", a.status, a.headers["Token-Vendor-Warning"])
	}
	var body struct {
		ExpiresIn int64 `json:"expires_in"`
		ExpiresAt int64 `json:"expires_at"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil || body.ExpiresIn != 90 || body.ExpiresAt != grant.Token.Expiry().Unix() {
		t.Errorf("got expires_in %d, expires_at %d, %v; want 90, %d", body.ExpiresIn, body.ExpiresAt, err, grant.Token.Expiry().Unix())
	}
	grant.CertificateBound = false
	a = readAnswer(t, call(t, h, lambdaContext(t.Context(), "id", testAlias), "id", anHTTPEvent(t)), false)
	if warning := a.headers["Token-Vendor-Warning"]; warning != "" {
		t.Errorf("got warning %q for an unbound token, want none", warning)
	}
}
