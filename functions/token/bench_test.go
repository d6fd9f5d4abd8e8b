package main

import (
	"context"
	"io"
	"strings"
	"testing"
)

// hit returns a handler and an event of 3 KB whose token is in memory.
func hit(tb testing.TB) (h *handler, w *env, ctx context.Context, payload []byte) {
	w = newEnv(tb)
	h = testHandler(w.vendor(io.Discard), closedGate(), new(output))
	s := shapes()["REST API role"]
	s.Headers = map[string]text{"X-Padding": text(strings.Repeat("x", 900))}
	s.media, s.body = "form", "grant_type=client_credentials&scope=read+write"
	payload = s.invocation(tb).payload
	ctx = lambdaContext(tb.Context(), "id", testAlias)
	if a := readAnswer(tb, call(tb, h, ctx, "id", payload), false); a.status != 200 {
		tb.Fatalf("got %d %s", a.status, a.text)
	}
	return h, w, ctx, payload
}

// BenchmarkHit is the function's work from the event's bytes to the answer's.
func BenchmarkHit(b *testing.B) {
	h, w, ctx, payload := hit(b)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Invoke(ctx, payload); err != nil {
			b.Fatal(err)
		}
	}
	if w.exchanges.Load() != 1 {
		b.Error("the token was not kept")
	}
}

// BenchmarkDecodedHit is its part from the decoded event to the encoded answer.
func BenchmarkDecodedHit(b *testing.B) {
	h, w, ctx, payload := hit(b)
	decoded := readEvent(payload)
	b.ReportAllocs()
	for b.Loop() {
		e := decoded
		if answer := h.http(ctx, &e, payload); len(answer) == 0 {
			b.Fatal("no answer")
		}
	}
	if w.exchanges.Load() != 1 {
		b.Error("the token was not kept")
	}
}

// TestHitAllocates little: what a hit allocates is most of what it costs.
func TestHitAllocates(t *testing.T) {
	h, _, ctx, payload := hit(t)
	decoded := readEvent(payload)
	allocations := testing.AllocsPerRun(100, func() {
		e := decoded
		h.http(ctx, &e, payload)
	})
	if allocations > 40 {
		t.Errorf("%v allocations from the decoded event to the answer, want at most 40", allocations)
	}
}
