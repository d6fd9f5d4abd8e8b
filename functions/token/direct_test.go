package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// readList reads {"responses":[…]}.
func readList(t testing.TB, r response) []answer {
	t.Helper()
	a := readAnswer(t, r, true)
	var list struct{ Responses []json.RawMessage }
	if err := json.Unmarshal(a.body, &list); a.code != "" || err != nil {
		t.Fatalf("got error %q (%s), %v; want a list of responses", a.code, a.text, err)
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

// requests returns the payload of a list.
func requests(items ...string) []byte {
	return []byte(`{"requests":[` + strings.Join(items, ",") + `]}`)
}

// Each item of a list is answered at its index, and a bad one does not affect the others.
func TestListAnswersEachItem(t *testing.T) {
	e := newEnv(t)
	f := handlerHarness(e, closedGate())
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
			answers := readList(t, f.invoke(t, invoked{payload: requests(test.items...)}))
			if len(answers) != len(test.want) {
				t.Fatalf("got %d answers, want %d", len(answers), len(test.want))
			}
			for i, a := range answers {
				if a.code != test.want[i] {
					t.Errorf("item %d: got %q (%s), want %q", i, a.code, a.text, test.want[i])
				}
				checkLeaks(t, a, f.logs.take())
			}
		})
	}
	e.checkForms(t)
}

// Items run at the same time, up to a limit, and are answered in their order.
func TestListKeepsItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int64
		h := fakeHandler(func(_ context.Context, r token.Request) (token.Grant, error) {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			time.Sleep(time.Duration(len(r.Client)*7919%13) * time.Second)
			return token.Grant{}, &fault.Error{Kind: fault.Denied, Description: r.Client}
		}, closedGate(), new(output))
		var items []string
		for i := range 60 {
			items = append(items, fmt.Sprintf(`{"client":"%s"}`, strings.Repeat("a", i+1)))
		}
		answers := readList(t, call(t, h, lambdaContext(t.Context(), "id", ""), "id", requests(items...)))
		for i, a := range answers {
			if len(a.text) != i+1 {
				t.Errorf("got the answer of item %d at index %d", len(a.text)-1, i)
			}
		}
		if most.Load() != invocation.MaxParallel {
			t.Errorf("got %d requests at once, want %d", most.Load(), invocation.MaxParallel)
		}
	})
}

// TestListStatesTheLifeThatIsLeft: A request waits for its server while the token of another one
// grows old.
func TestListStatesTheLifeThatIsLeft(t *testing.T) {
	for _, test := range []struct {
		wait      time.Duration
		expiresIn int64
		code      string
	}{{40 * time.Minute, 20 * 60, ""}, {time.Hour, 0, "temporarily_unavailable"}} {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			env.MustVend(token.Request{})
			env.Server.Misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
				if r.FormValue("scope") == "slow" {
					time.Sleep(time.Second) // the other request has its token
					env.Pass(test.wait)
				}
				next.ServeHTTP(w, r)
			})
			h := testHandler(env.Vendor, closedGate(), new(output))
			h.now = env.Now
			answers := readList(t, call(t, h, lambdaContext(t.Context(), "id", ""), "id", requests(`{"client":"billing"}`, `{"client":"billing","scope":"slow"}`)))
			var got struct {
				ExpiresIn int64 `json:"expires_in"`
			}
			if err := json.Unmarshal(answers[0].body, &got); err != nil || got.ExpiresIn > test.expiresIn || got.ExpiresIn < test.expiresIn-2 || answers[0].code != test.code {
				t.Errorf("after %v: got expires_in %d, code %q, error %v; want %d and %q", test.wait, got.ExpiresIn, answers[0].code, err, test.expiresIn, test.code)
			}
		})
	}
}

func TestEqualItemsShareOneExchange(t *testing.T) {
	e := newEnv(t)
	f := handlerHarness(e, closedGate())
	items := strings.Split(strings.Repeat(`{"client":"billing"} `, 100), " ")[:100]
	answers := readList(t, f.invoke(t, invoked{payload: requests(items...)}))
	for i, a := range answers {
		if a.code != "" {
			t.Errorf("item %d: got %s, want a token", i, a.code)
		}
	}
	if len(answers) != 100 || e.exchanges.Load() != 1 || e.reads.Load() != 1 {
		t.Errorf("got %d answers, %d exchanges, %d secrets read, want 100, 1, 1", len(answers), e.exchanges.Load(), e.reads.Load())
	}
}

// Lambda drops an answer above 6 MB as a whole, so that items which do not fit are refused.
func TestListAnswerFitsLambda(t *testing.T) {
	e := newEnv(t)
	f := handlerHarness(e, closedGate())
	items := strings.Split(strings.Repeat(`{"client":"large"} `, 100), " ")[:100]
	items[99] = `{"client":"billing"}`
	r := f.invoke(t, invoked{payload: requests(items...)})
	if len(r.payload) > 6<<20 {
		t.Fatalf("got %d bytes, want at most %d", len(r.payload), 6<<20)
	}
	answers, tokens := readList(t, r), 0
	for i, a := range answers {
		switch {
		case a.code == "":
			tokens++
		case a.code != "invalid_request" || i < 80:
			t.Errorf("item %d: got %s %s, want a token or, near the end, invalid_request", i, a.code, a.text)
		}
	}
	// The last item is small enough to fit.
	if len(answers) != 100 || tokens < 90 || tokens == 100 || answers[99].code != "" {
		t.Errorf("got %d answers with %d tokens, error %q for the small one; want 100 with 90 to 99, and a token", len(answers), tokens, answers[99].code)
	}
}

// A state machine takes an answer of 256 KiB at most, so that items which do not fit are
// refused. Small answers after them still fit.
func TestListAnswerFitsAStateMachine(t *testing.T) {
	e := newEnv(t)
	f := handlerHarness(e, closedGate())
	items := strings.Split(strings.Repeat(`{"client":"large"} `, 100), " ")[:100]
	items[50] = `{"client":"billing"}`
	for _, limit := range []int{1024, 20_000, 262_144, 1_000_000} {
		payload := fmt.Appendf(nil, `{"max_bytes":%d,"requests":[%s]}`, limit, strings.Join(items, ","))
		r := f.invoke(t, invoked{payload: payload})
		answers := readList(t, r)
		// The error documents of all items may exceed the limit.
		if errorsAlone := 100 * 250; len(r.payload) > max(limit, errorsAlone) || len(answers) != 100 {
			t.Errorf("max_bytes %d: got %d answers in %d bytes, want 100", limit, len(answers), len(r.payload))
		}
		if limit >= 262_144 && (answers[0].code != "" || answers[50].code != "" || answers[99].code != "invalid_request") {
			t.Errorf("max_bytes %d: got errors %q, %q, %q; want the last item only to be refused", limit, answers[0].code, answers[50].code, answers[99].code)
		}
	}
	for _, bad := range []string{"0", "1023", "5500001", "1e6", `"262144"`, "null", "-1"} {
		if r := f.invoke(t, invoked{payload: []byte(`{"max_bytes":` + bad + `,"requests":[{"client":"billing"}]}`)}); !r.failed {
			t.Errorf("max_bytes %s: got %s, want an error", bad, r.payload)
		}
	}
}
