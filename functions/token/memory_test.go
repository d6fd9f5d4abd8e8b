package main

import (
	"encoding/json"
	"io"
	"runtime"
	"strings"
	"testing"

	"tokenvendor/shared/token"
)

const sixMB = 6 << 20

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// fill returns a text of about size bytes with as many of the elements as fit.
func fill(before, element, after string, size int) []byte {
	return []byte(before + strings.TrimSuffix(strings.Repeat(element, (size-len(before)-len(after))/len(element)), ",") + after)
}

// Any invoker can send a payload of 6 MB. What reading it costs is at most three times its
// size, whatever is in it. The time is linear, or the test would take minutes.
func TestLargePayloadsNeedLittleMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector")
	}
	h := testHandler(token.New(token.Config{}), gate{}, io.Discard)
	headers := func(inner string) string {
		return `{"path":"/token/billing","httpMethod":"POST","requestContext":{"identity":{"userArn":"arn:aws:iam::111122223333:root"}},"headers":` + inner
	}
	many := make(map[string]int)
	for i := range 500_000 {
		many[string(rune('a'+i%26))+strings.Repeat("x", i%7)+string(rune(0x30+i%10))+string(rune(0x4e00+i/26))] = 0
	}
	names, err := json.Marshal(many)
	if err != nil {
		t.Fatal(err)
	}
	for name, payload := range map[string][]byte{
		"list of numbers":      fill(`{"requests":[`, "0,", "]}", sixMB),
		"list of requests":     fill(`{"requests":[`, `{"client":"a"},`, "]}", sixMB),
		"number in a list":     fill(`{"requests":[`, "0", "]}", sixMB),
		"list in a request":    fill(`{"client":"a","resource":[`, `"",`, "]}", sixMB),
		"list in a list":       fill(`{"requests":[{"resource":[`, "0,", "]}]}", sixMB),
		"members of a request": fill(`{"requests":[{`, `"a":0,`, "}]}", sixMB),
		"members":              names,
		"same members":         fill(`{`, `"client":"a",`, "}", sixMB),
		"deep lists":           fill(`{"requests":`, "[", "", sixMB),
		"deep objects":         fill(`{"requests":`, `{"a":`, "", sixMB),
		"escapes":              fill(`{"client":"`, `\u0061`, `"}`, sixMB),
		"list as a header":     fill(headers(`{"content-type":[`), `"",`, "]}}", sixMB),
		"headers":              fill(headers(`{`), `"content-type":"a",`, "}}", sixMB),
		"text as a header":     fill(headers(`{"content-type":"`), "a", `"}}`, sixMB),
		"body":                 fill(headers(`{"content-type":"application/json"},"body":"`), "a", `"}`, sixMB),
		"base64 body":          fill(headers(`{"content-type":"application/json"},"isBase64Encoded":true,"body":"`), "a", `"}`, sixMB),
		"event of numbers":     fill(headers(`{}`)+`,"x":[`, "0,", "]}", sixMB),
	} {
		var answer []byte
		bytes := allocated(func() { answer, err = h.Invoke(t.Context(), payload) })
		if strings.Contains(string(answer), "access_token") {
			t.Errorf("%s: got %s, want a refusal", name, answer)
		}
		if ratio := float64(bytes) / float64(len(payload)); ratio > 3 {
			t.Errorf("%s: got %d bytes allocated, %.1f times the payload's size; want at most 3 times", name, bytes, ratio)
		}
	}
}

// The refusal of a list says what a list may hold.
func TestLongListIsRefusedAsSuch(t *testing.T) {
	h := testHandler(token.New(token.Config{}), gate{}, io.Discard)
	r := call(t, h, lambdaContext(t.Context(), "id", ""), "id", fill(`{"requests":[`, "0,", "]}", sixMB))
	if !r.failed || !strings.Contains(string(r.payload), "1 to 100 requests") {
		t.Errorf("got %.200s, want an error that says 1 to 100 requests", r.payload)
	}
}
