package main

import (
	"runtime"
	"strings"
	"testing"
)

// Any sender can fill an event of 6 MB. What reading it costs is at most three times its
// size, and a message costs its own size twice more.
func TestLargeEventsNeedLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector")
	}
	fill := func(before, element, after string) string {
		return before + strings.TrimSuffix(strings.Repeat(element, (6<<20-len(before)-len(after))/len(element)), ",") + after
	}
	run(t, func(t *testing.T, r *harness) {
		for name, payload := range map[string]string{
			"records":             fill(`{"Records":[`, "{},", "]}"),
			"numbers as records":  fill(`{"Records":[`, "0,", "]}"),
			"members of a record": fill(`{"Records":[{`, `"a":0,`, "}]}"),
			"list in a record":    fill(`{"Records":[{"messageId":[`, "0,", "]}]}"),
			"detail":              fill(`{"id":"a","detail-type":"TokenRequested","detail":{"requests":[`, "0,", "]}}"),
			"members of a detail": fill(`{"id":"a","detail-type":"TokenRequested","detail":{`, `"a":0,`, "}}"),
			"entries":             fill(`{"schedule":[`, "0,", "]}"),
			"list in an entry":    fill(`{"schedule":[{"resource":[`, "0,", "]}]}"),
			"members of an entry": fill(`{"schedule":[{`, `"a":0,`, "}]}"),
			"requests":            fill(`{"requests":[`, "0,", "]}"),
			"list in a request":   fill(`{"client":"billing","resource":[`, "0,", "]}"),
			"unknown":             fill(`{"x":[`, "{},", "]}"),
			"deep":                fill(`{"x":`, "[", ""),
			"one message":         queueEventOf(message("m", strings.Repeat("x", 6<<20), 1)),
		} {
			limit := 3.0
			if name == "one message" {
				limit = 5
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, _ = r.invoke(r.h, payload)
			runtime.ReadMemStats(&after)
			if ratio := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(payload)); ratio > limit {
				t.Errorf("%s: got %.1f times the payload's size allocated, want at most %.0f times", name, ratio, limit)
			}
		}
		if len(r.bus.events) > 0 {
			t.Errorf("got %d announcements, want none", len(r.bus.events))
		}
	})
}
