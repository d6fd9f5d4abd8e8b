package main

import (
	"context"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/app"
)

// hit returns a handler, as main wires it, and an event of 3 KB whose token is cached.
func hit(tb testing.TB) (h *handler, e *env, ctx context.Context, payload []byte) {
	e = newEnv(tb)
	secrets := httptest.NewServer(e)
	tb.Cleanup(secrets.Close)
	for name, value := range map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets.URL,
		"ALLOW_PRIVATE_ENDPOINTS": "true", "ENVELOPE_PROOF": testProof, "HTTP_ALIAS": testAlias,
	} {
		tb.Setenv(name, value)
	}
	log, output, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	tb.Cleanup(func() { _, _ = output.Close(), log.Close() })
	a, err := app.New(app.Config{Getenv: os.Getenv, Output: output})
	if err != nil {
		tb.Fatal(err)
	}
	h = newHandler(a)
	s := shapes()["REST API role"]
	s.Headers = map[string]text{"X-Padding": text(strings.Repeat("x", 900))}
	s.media, s.body = "form", "grant_type=client_credentials&scope=read+write"
	payload = s.invocation(tb).payload
	ctx, cancel := context.WithTimeout(lambdaContext(tb.Context(), "id", testAlias), time.Minute)
	tb.Cleanup(cancel)
	if a := readAnswer(tb, call(tb, h, ctx, "id", payload), false); a.status != 200 {
		tb.Fatalf("got %d %s", a.status, a.text)
	}
	return h, e, ctx, payload
}

// BenchmarkHit measures the handler from the bytes of the event to those of the answer.
func BenchmarkHit(b *testing.B) {
	h, e, ctx, payload := hit(b)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Invoke(ctx, payload); err != nil {
			b.Fatal(err)
		}
	}
	if e.exchanges.Load() != 1 {
		b.Errorf("got %d exchanges, want 1", e.exchanges.Load())
	}
}

// Allocations are most of the cost of a hit.
func TestHitAllocatesLittle(t *testing.T) {
	h, _, ctx, payload := hit(t)
	allocations := testing.AllocsPerRun(100, func() {
		if _, err := h.Invoke(ctx, payload); err != nil {
			t.Fatal(err)
		}
	})
	if allocations > 29 {
		t.Errorf("got %v allocations from the bytes of the event to those of the answer, want at most 29", allocations)
	}
}
