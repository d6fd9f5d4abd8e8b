package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
)

// batchAnswers takes {"responses":[…]} apart.
func batchAnswers(t testing.TB, r response) []answer {
	t.Helper()
	a := readAnswer(t, r, true)
	var list struct{ Responses []json.RawMessage }
	if err := json.Unmarshal(a.body, &list); a.code != "" || err != nil {
		t.Fatalf("not a list of responses: %s %s %v", a.code, a.text, err)
	}
	var answers []answer
	for _, raw := range list.Responses {
		var probe struct {
			AccessToken string `json:"access_token"`
		}
		item := answer{body: raw}
		if json.Unmarshal(raw, &probe) == nil && probe.AccessToken != "" {
			checkToken(t, raw)
		} else {
			item.code, item.text = readErrorDocument(t, raw, r.requestID)
		}
		answers = append(answers, item)
	}
	return answers
}

// requests is a batch of items.
func requests(items ...string) []byte {
	return []byte(`{"requests":[` + strings.Join(items, ",") + `]}`)
}

// TestBatch: each item is answered in its place, and a bad one spoils no other.
func TestBatch(t *testing.T) {
	w := newEnv(t)
	f := handlerHarness(w, closedGate())
	const good = `{"client":"billing"}`
	for name, test := range map[string]struct{ items, want []string }{
		"bad ones between": {
			[]string{good, `{"client":"payroll"}`, good, `{"client":"bil--ling"}`, `{"client":"billing","scope":" "}`, good, `{"client":"billing","grant_type":"password"}`, good, good, `{"client":"bounded"}`},
			[]string{"", "access_denied", "", "", "invalid_scope", "", "unsupported_grant_type", "", "", ""},
		},
		"no objects": {
			[]string{"null", "[]", `"cnry-x"`, "1", "{}", good, `{"requests":[` + good + `]}`, "[[" + good + "]]"},
			[]string{"invalid_request", "invalid_request", "invalid_request", "invalid_request", "invalid_request", "", "invalid_request", "invalid_request"},
		},
		"repeated member": {
			[]string{`{"client":"billing","client":"billing"}`, good}, []string{"invalid_request", ""},
		},
		"large item": {
			[]string{`{"client":"billing","audience":"` + strings.Repeat("cnry-", 2000) + `"}`, good}, []string{"invalid_request", ""},
		},
		"deep item": {
			[]string{`{"client":` + strings.Repeat("[", 10) + strings.Repeat("]", 10) + `}`, good}, []string{"invalid_request", ""},
		},
		"broken document": {[]string{`{"client":"broken"}`, good}, []string{"server_error", ""}},
		"one":             {[]string{good}, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			answers := batchAnswers(t, f.invoke(t, invoked{payload: requests(test.items...)}))
			if len(answers) != len(test.want) {
				t.Fatalf("%d answers to %d requests", len(answers), len(test.want))
			}
			for i, a := range answers {
				if a.code != test.want[i] {
					t.Errorf("item %d: got %q (%s), want %q", i, a.code, a.text, test.want[i])
				}
				checkLeaks(t, a, f.logs.take())
			}
		})
	}
	w.checkForms(t)
}

// TestBatchOrder: items that take unequally long don't change places.
func TestBatchOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int64
		h := testHandler(vendorFunc(func(_ context.Context, r token.Request) (token.Grant, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Duration(len(r.Client)*7919%13) * time.Second)
			return token.Grant{}, &fault.Error{Kind: fault.Denied, Description: r.Client}
		}), closedGate(), new(output))
		var items []string
		for i := range 60 {
			items = append(items, fmt.Sprintf(`{"client":"%s"}`, strings.Repeat("a", i+1)))
		}
		answers := batchAnswers(t, call(t, h, lambdaContext(t.Context(), "id", ""), "id", requests(items...)))
		for i, a := range answers {
			if len(a.text) != i+1 {
				t.Errorf("the answer in place %d is that of item %d", i, len(a.text)-1)
			}
		}
		if most.Load() != invocation.MaxParallel {
			t.Errorf("%d requests at once, want %d", most.Load(), invocation.MaxParallel)
		}
	})
}

// TestHundredEqual: equal requests share one exchange.
func TestHundredEqual(t *testing.T) {
	w := newEnv(t)
	f := handlerHarness(w, closedGate())
	items := strings.Split(strings.Repeat(`{"client":"billing"} `, 100), " ")[:100]
	answers := batchAnswers(t, f.invoke(t, invoked{payload: requests(items...)}))
	for i, a := range answers {
		if a.code != "" {
			t.Errorf("item %d: %s", i, a.code)
		}
	}
	if len(answers) != 100 || w.exchanges.Load() != 1 || w.reads.Load() != 1 {
		t.Errorf("%d answers, %d exchanges, %d secrets read, want 100, 1, 1", len(answers), w.exchanges.Load(), w.reads.Load())
	}
}

// TestLargeAnswers: Lambda drops an answer above 6 MB whole, so what doesn't fit
// is refused item by item.
func TestLargeAnswers(t *testing.T) {
	w := newEnv(t)
	f := handlerHarness(w, closedGate())
	items := strings.Split(strings.Repeat(`{"client":"large"} `, 100), " ")[:100]
	items[99] = `{"client":"billing"}`
	r := f.invoke(t, invoked{payload: requests(items...)})
	if len(r.payload) > 6<<20 {
		t.Fatalf("the answer has %d bytes", len(r.payload))
	}
	answers, tokens := batchAnswers(t, r), 0
	for i, a := range answers {
		switch {
		case a.code == "":
			tokens++
		case a.code != "invalid_request" || i < 80:
			t.Errorf("item %d: %s %s", i, a.code, a.text)
		}
	}
	// The last one is small enough to fit.
	if len(answers) != 100 || tokens < 90 || tokens == 100 || answers[99].code != "" {
		t.Errorf("%d answers, %d of them tokens; the small one: %q", len(answers), tokens, answers[99].code)
	}
}

// TestListAnswerFitsAStateMachine: a state machine takes 256 KiB, all of it or nothing; what
// does not fit is refused in its place, and small answers after it still get theirs.
func TestListAnswerFitsAStateMachine(t *testing.T) {
	w := newEnv(t)
	f := handlerHarness(w, closedGate())
	items := strings.Split(strings.Repeat(`{"client":"large"} `, 100), " ")[:100]
	items[50] = `{"client":"billing"}`
	for _, limit := range []int{1024, 20_000, 262_144, 1_000_000} {
		payload := fmt.Appendf(nil, `{"max_bytes":%d,"requests":[%s]}`, limit, strings.Join(items, ","))
		r := f.invoke(t, invoked{payload: payload})
		answers := batchAnswers(t, r)
		// Errors must stand somewhere, even where there is no room for them.
		if errorsAlone := 100 * 250; len(r.payload) > max(limit, errorsAlone) || len(answers) != 100 {
			t.Errorf("%d: %d answers in %d bytes", limit, len(answers), len(r.payload))
		}
		if limit >= 262_144 && (answers[0].code != "" || answers[50].code != "" || answers[99].code != "invalid_request") {
			t.Errorf("%d: got %q, %q, %q", limit, answers[0].code, answers[50].code, answers[99].code)
		}
	}
	for _, bad := range []string{"0", "1023", "5500001", "1e6", `"262144"`, "null", "-1"} {
		if r := f.invoke(t, invoked{payload: []byte(`{"max_bytes":` + bad + `,"requests":[{"client":"billing"}]}`)}); !r.failed {
			t.Errorf("max_bytes %s was taken", bad)
		}
	}
}
