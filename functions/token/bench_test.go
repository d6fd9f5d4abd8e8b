package main

import (
	"context"
	"io"
	"strings"
	"testing"
)

// hit returns a handler and an event of 3 KB whose token is cached.
func hit(tb testing.TB) (h *handler, e *env, ctx context.Context, payload []byte) {
	e = newEnv(tb)
	h = testHandler(e.vendor(io.Discard), closedGate(), new(output))
	s := shapes()["REST API role"]
	s.Headers = map[string]text{"X-Padding": text(strings.Repeat("x", 900))}
	s.media, s.body = "form", "grant_type=client_credentials&scope=read+write"
	payload = s.invocation(tb).payload
	ctx = lambdaContext(tb.Context(), "id", testAlias)
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

// BenchmarkDecodedHit measures the handler from the decoded event to the encoded answer.
func BenchmarkDecodedHit(b *testing.B) {
	h, e, ctx, payload := hit(b)
	decoded := readEvent(payload)
	b.ReportAllocs()
	for b.Loop() {
		event := decoded
		if answer := h.http(ctx, &event, payload); len(answer) == 0 {
			b.Fatal("no answer")
		}
	}
	if e.exchanges.Load() != 1 {
		b.Errorf("got %d exchanges, want 1", e.exchanges.Load())
	}
}

// Allocations are most of the cost of a hit.
func TestHitAllocatesLittle(t *testing.T) {
	h, _, ctx, payload := hit(t)
	decoded := readEvent(payload)
	allocations := testing.AllocsPerRun(100, func() {
		event := decoded
		h.http(ctx, &event, payload)
	})
	if allocations > 40 {
		t.Errorf("got %v allocations from the decoded event to the answer, want at most 40", allocations)
	}
}
