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

// aDirectInvoke and anHTTPEvent are good.
func aDirectInvoke(*testing.T) []byte { return []byte(`{"client":"billing"}`) }

func anHTTPEvent(t *testing.T) []byte { return shapes()["REST API role"].invocation(t).payload }

// TestPanicShowsNothing: text and stack of a panic must reach neither caller nor log, and
// the process must live.
func TestPanicShowsNothing(t *testing.T) {
	var nobody map[string]int
	for name, cause := range map[string]func(){
		"text":       func() { panic("cnry-text") },
		"error":      func() { panic(errors.New("cnry-error")) },
		"nil map":    func() { nobody["cnry-key"] = 1 },
		"bytes":      func() { panic([]byte("cnry-bytes")) },
		"nil":        func() { panic(nil) },
		"our error":  func() { panic(&fault.Error{Kind: fault.Denied, Description: "cnry-description"}) },
		"deadline":   func() { panic(context.DeadlineExceeded) },
		"formatting": func() { panic(fmt.Sprintf("%v", strings.Repeat("cnry-", 1000))) },
	} {
		t.Run(name, func(t *testing.T) {
			logs := new(output)
			h := testHandler(vendorFunc(func(context.Context, token.Request) (token.Grant, error) {
				cause()
				return token.Grant{}, nil
			}), closedGate(), logs)
			ctx := lambdaContext(t.Context(), "id", testAlias)
			a := readAnswer(t, call(t, h, ctx, "id", anHTTPEvent(t)), false)
			if a.status != 500 || a.code != "server_error" || a.text != "internal error" {
				t.Errorf("HTTP: got %d %s %s", a.status, a.code, a.text)
			}
			checkPanicLog(t, logs.take())
			a = readAnswer(t, call(t, h, ctx, "id", aDirectInvoke(t)), true)
			if a.code != "server_error" || a.text != "internal error" {
				t.Errorf("direct: got %s %s", a.code, a.text)
			}
			checkPanicLog(t, logs.take())
			answers := batchAnswers(t, call(t, h, ctx, "id", []byte(`{"requests":[{"client":"billing"},{"client":"-"}]}`)))
			if answers[0].code != "server_error" || answers[1].code != "invalid_request" {
				t.Errorf("batch: got %s and %s", answers[0].code, answers[1].code)
			}
			checkPanicLog(t, logs.take())
		})
	}
}

func checkPanicLog(t *testing.T, log string) {
	t.Helper()
	checkCanaries(t, "the log", log)
	if !strings.Contains(log, `"msg":"panic"`) || !strings.Contains(log, "handler_test.go") && !strings.Contains(log, "TestPanicShowsNothing") {
		t.Error("the log doesn't say that and where it panicked")
	}
}

// TestErrorsOfTheCore: what the core's errors become, and what becomes of the text
// of others.
func TestErrorsOfTheCore(t *testing.T) {
	upstream := &fault.Error{Kind: fault.Throttled, Description: "wait", Upstream: &fault.Upstream{Status: 429, Code: "slow_down"}, RetryAfter: 1200 * time.Millisecond}
	for _, test := range []struct {
		name       string
		err        error
		status     int
		code       string
		retryAfter string
	}{
		{"foreign", errors.New("cnry-foreign"), 500, "server_error", ""},
		{"foreign around ours", fmt.Errorf("cnry-foreign: %w", &fault.Error{Kind: fault.Denied, Description: "no"}), 403, "access_denied", ""},
		{"deadline", fmt.Errorf("cnry-foreign: %w", context.DeadlineExceeded), 504, "temporarily_unavailable", "1"},
		{"canceled", context.Canceled, 504, "temporarily_unavailable", "1"},
		{"unavailable", &fault.Error{Kind: fault.Unavailable, Description: "no", RetryAfter: time.Second}, 503, "temporarily_unavailable", "1"},
		{"throttled", upstream, 429, "temporarily_unavailable", "2"},
		{"description with quotes", &fault.Error{Kind: fault.Misconfigured, Description: "a\"b\\c\nd\x00ü" + strings.Repeat("x", 500)}, 502, "server_error", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			logs := new(output)
			h := testHandler(vendorFunc(func(context.Context, token.Request) (token.Grant, error) { return token.Grant{}, test.err }), closedGate(), logs)
			ctx := lambdaContext(t.Context(), "id", testAlias)
			a := readAnswer(t, call(t, h, ctx, "id", anHTTPEvent(t)), false)
			if a.status != test.status || a.code != test.code || a.headers["Retry-After"] != test.retryAfter {
				t.Errorf("got %d %s, Retry-After %q", a.status, a.code, a.headers["Retry-After"])
			}
			if test.err == error(upstream) && !strings.Contains(string(a.body), `"upstream":{"status":429,"error":"slow_down"}`) {
				t.Errorf("upstream is missing: %s", a.body)
			}
			d := readAnswer(t, call(t, h, ctx, "id", aDirectInvoke(t)), true)
			if d.code != test.code {
				t.Errorf("direct: got %s", d.code)
			}
			checkCanaries(t, "an answer", string(a.body)+string(d.body))
			checkCanaries(t, "the log", logs.take())
		})
	}
}

// TestNoTimeLeft: with less than the margin left nothing is started that could
// not be finished, and the caller gets our 504, not the platform's.
func TestNoTimeLeft(t *testing.T) {
	w := newEnv(t)
	h := testHandler(w.vendor(io.Discard), closedGate(), new(output))
	ctx, cancel := context.WithTimeout(lambdaContext(t.Context(), "id", testAlias), 300*time.Millisecond)
	defer cancel()
	a := readAnswer(t, call(t, h, ctx, "id", anHTTPEvent(t)), false)
	if a.status != 504 || a.code != "temporarily_unavailable" || a.headers["Retry-After"] == "" {
		t.Errorf("got %d %s, Retry-After %q", a.status, a.code, a.headers["Retry-After"])
	}
	if a := readAnswer(t, call(t, h, ctx, "id", aDirectInvoke(t)), true); a.code != "temporarily_unavailable" {
		t.Errorf("direct: got %s", a.code)
	}
	if w.reads.Load() != 0 || w.exchanges.Load() != 0 {
		t.Error("something was asked")
	}
}

// TestMargin: a core that hangs is given up before the invocation's time is.
func TestMargin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := testHandler(vendorFunc(func(ctx context.Context, _ token.Request) (token.Grant, error) {
			<-ctx.Done()
			return token.Grant{}, ctx.Err()
		}), closedGate(), new(output))
		for _, payload := range [][]byte{anHTTPEvent(t), aDirectInvoke(t), []byte(`{"requests":[{"client":"a"},{"client":"b"}]}`)} {
			ctx, cancel := context.WithTimeout(lambdaContext(t.Context(), "id", testAlias), 25*time.Second)
			start := time.Now()
			r := call(t, h, ctx, "id", payload)
			cancel()
			if took := time.Since(start); took != 25*time.Second-invocation.Margin {
				t.Errorf("answered after %v, want %v before the end", took, invocation.Margin)
			}
			if !strings.Contains(string(r.payload), "temporarily_unavailable") {
				t.Error("the answer doesn't say that it took too long")
			}
		}
	})
}

// TestAnswerOfAGrant: the life is counted when the answer is made, and a bound
// token is said to be bound.
func TestAnswerOfAGrant(t *testing.T) {
	w := newEnv(t)
	grant := w.grant(t, "billing")
	grant.CertificateBound = true
	h := testHandler(vendorFunc(func(context.Context, token.Request) (token.Grant, error) { return grant, nil }), closedGate(), new(output))
	h.now = func() time.Time { return grant.Token.Expiry().Add(-90*time.Second - time.Millisecond) }
	a := readAnswer(t, call(t, h, lambdaContext(t.Context(), "id", testAlias), "id", anHTTPEvent(t)), false)
	if a.status != 200 || a.headers["Token-Vendor-Warning"] != "certificate-bound" {
		t.Errorf("got %d with warning %q", a.status, a.headers["Token-Vendor-Warning"])
	}
	var body struct {
		ExpiresIn int64 `json:"expires_in"`
		ExpiresAt int64 `json:"expires_at"`
	}
	if err := json.Unmarshal(a.body, &body); err != nil || body.ExpiresIn != 90 || body.ExpiresAt != grant.Token.Expiry().Unix() {
		t.Errorf("expires_in is %d, expires_at %d, %v", body.ExpiresIn, body.ExpiresAt, err)
	}
	grant.CertificateBound = false
	a = readAnswer(t, call(t, h, lambdaContext(t.Context(), "id", testAlias), "id", anHTTPEvent(t)), false)
	if a.headers["Token-Vendor-Warning"] != "" {
		t.Error("an unbound token is said to be bound")
	}
}
