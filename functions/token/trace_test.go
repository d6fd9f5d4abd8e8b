package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"tokenvendor/shared/audit"
)

const (
	traceRoot   = "1-6b041242-5d2f8b7e6a1c4f3098b7d6e5"
	traceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

// The trace of the caller is in the origin only in its own form. API Gateway's header comes
// before that of the invocation.
func TestTraceIsThatOfTheCaller(t *testing.T) {
	ctx := context.WithValue(t.Context(), "x-amzn-trace-id", "Root=1-00000000-000000000000000000000000;Sampled=0") //nolint:staticcheck // the key of aws-lambda-go
	const ours = "1-00000000-000000000000000000000000"
	for _, test := range []struct{ headers, id, parent string }{
		{`{}`, ours, ""},
		{`{"X-Amzn-Trace-Id":"Root=` + traceRoot + `"}`, traceRoot, ""},
		{`{"x-amzn-trace-id":"Self=1-67891234-12456789abcdef012345678a;Root=` + traceRoot + `;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0|1:68fd508a:5"}`, traceRoot, ""},
		{`{"X-Amzn-Trace-Id":"Root=cnry"}`, ours, ""},
		{`{"X-Amzn-Trace-Id":["Root=` + traceRoot + `"]}`, ours, ""},
		{`{"X-Amzn-Trace-Id":"` + strings.Repeat("a=b;", 300) + `Root=` + traceRoot + `"}`, ours, ""},
		{`{"TraceParent":"` + traceParent + `","X-Amzn-Trace-Id":null}`, ours, traceParent},
		{`{"traceparent":"` + strings.ToUpper(traceParent) + `"}`, ours, ""},
		{`{"traceparent":"` + traceParent + `0"}`, ours, ""},
		{`{"traceparent":"cnry\n{}"}`, ours, ""},
		{`{"traceparent":"` + strings.Replace(traceParent, "4", "-", 1) + `"}`, ours, ""},
	} {
		e := readEvent([]byte(`{"requestContext":{},"path":"/","headers":` + test.headers + `,"multiValueHeaders":` + test.headers + `}`))
		if o := e.from(ctx); o != (audit.Origin{Source: audit.REST, TraceID: test.id, Traceparent: test.parent}) || e.mistyped {
			t.Errorf("%s: got %+v, want trace %q and parent %q", test.headers, o, test.id, test.parent)
		}
	}
}

// headersOf returns headers with these values.
func headersOf(id, parent string) string {
	text, err := json.Marshal(map[string]string{"x-amzn-trace-id": id, "traceparent": parent})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func FuzzTrace(f *testing.F) {
	f.Add("Root="+traceRoot, traceParent)
	f.Fuzz(func(t *testing.T, id, parent string) {
		e := readEvent([]byte(`{"headers":` + headersOf(id, parent) + `}`))
		if o := e.origin; o.TraceID != "" && len(o.TraceID) != 35 || o.Traceparent != "" && len(o.Traceparent) != 55 {
			t.Errorf("%q %q: got %+v", id, parent, o)
		}
	})
}
