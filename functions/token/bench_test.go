package main

import (
	"strings"
	"testing"
)

// BenchmarkHit answers an event of 3 KB with a token that is in memory.
func BenchmarkHit(b *testing.B) {
	w := newWorld(b)
	h := newHandler(w.vendor(), closedGate(), new(output))
	s := shapes()["REST API role"]
	s.Headers = map[string]text{"X-Padding": text(strings.Repeat("x", 900))}
	s.media, s.body = "form", "grant_type=client_credentials&scope=read+write"
	payload := s.invocation(b).payload
	ctx := lambdaContext(b.Context(), "id", testAlias)
	if a := readAnswer(b, call(b, h, ctx, "id", payload), false); a.status != 200 {
		b.Fatalf("got %d %s", a.status, a.text)
	}
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
