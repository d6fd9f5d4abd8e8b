package eventbridge_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/scripts/local/eventbridge"
)

func newServer() *eventbridge.Server {
	s := eventbridge.New(eventbridge.Config{Region: "eu-central-1", Account: "123456789012"})
	s.AddBus("jobs")
	return s
}

// put sends PutEvents. In body, ' stands for ".
func put(t *testing.T, s *eventbridge.Server, body string) (failed int, codes []string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(strings.ReplaceAll(body, "'", `"`)))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
	r.Header.Set("X-Amz-Target", "AWSEvents.PutEvents")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var out struct {
		FailedEntryCount int
		Entries          []struct{ EventID, ErrorCode string }
		Type             string `json:"__type"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	for _, e := range out.Entries {
		codes = append(codes, e.ErrorCode)
	}
	if out.Type != "" {
		codes = []string{out.Type}
	}
	return out.FailedEntryCount, codes
}

func TestEachEntryIsAcceptedOrRefusedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the time is midnight, 1 January 2000
		s := newServer()
		const good = `{'EventBusName':'jobs','Source':'a','DetailType':'T','Detail':'{}'}`
		failed, codes := put(t, s, `{'Entries':[`+good+`, {'EventBusName':'none','Source':'a','DetailType':'T','Detail':'{}'}, {'EventBusName':'jobs','DetailType':'T','Detail':'{}'},
			{'EventBusName':'jobs','Source':'a','DetailType':'T','Detail':'{}','Time':1600000000},
			{'EventBusName':'jobs','Source':'a','DetailType':'T','Detail':'[]'}, {'EventBusName':'jobs','Source':'a','DetailType':'T','Detail':'x'}]}`)
		if want := []string{"", "ResourceNotFoundException", "InvalidArgument", "InvalidArgument", "MalformedDetail", "MalformedDetail"}; failed != 5 || !slices.Equal(codes, want) {
			t.Errorf("got %d failures, %v, want 5, %v", failed, codes, want)
		}
		if events := s.Events("jobs"); len(events) != 1 || events[0].Time != "2000-01-01T00:00:00Z" || len(events[0].ID) != 36 {
			t.Errorf("got the events %+v", events)
		}
		for _, entries := range []string{"", strings.Repeat(good+",", 10) + good} {
			if _, codes := put(t, s, `{'Entries':[`+entries+`]}`); !slices.Equal(codes, []string{"ValidationException"}) {
				t.Errorf("%.40s: got %v, want ValidationException", entries, codes)
			}
		}
	})
}

func TestRuleGetsMatchingEvents(t *testing.T) {
	s := newServer()
	s.AddBus("other")
	var mu sync.Mutex
	got := make(map[string]int)
	rule := func(name string, r eventbridge.Rule) {
		r.Target = func(event []byte) {
			mu.Lock()
			defer mu.Unlock()
			if got[name]++; !json.Valid(event) || !strings.Contains(string(event), `"detail":{"x":"<&>"}`) {
				t.Errorf("%s got %s", name, event)
			}
		}
		s.AddRule(r)
	}
	rule("any source", eventbridge.Rule{Bus: "jobs", DetailType: "T"})
	rule("other sources", eventbridge.Rule{Bus: "jobs", DetailType: "T", NotSource: "us"})
	rule("other bus", eventbridge.Rule{Bus: "other", DetailType: "T"})
	detail := `'EventBusName':'arn:aws:events:eu-central-1:123456789012:event-bus/jobs','Detail':'{\'x\':\'<&>\'}'`
	detail = strings.ReplaceAll(detail, `\'`, `\"`)
	put(t, s, `{'Entries':[{'Source':'us','DetailType':'T',`+detail+`},{'Source':'them','DetailType':'T',`+detail+`},{'Source':'them','DetailType':'U',`+detail+`}]}`)
	s.Wait()
	if got["any source"] != 2 || got["other sources"] != 1 || got["other bus"] != 0 {
		t.Errorf("the targets were called %v times", got)
	}
}

func TestAsyncRetriesTwice(t *testing.T) {
	for failures, tt := range map[int]struct {
		calls    int
		waited   time.Duration
		reported bool
	}{0: {1, 0, false}, 1: {2, time.Minute, false}, 2: {3, 3 * time.Minute, false}, 3: {3, 3 * time.Minute, true}} {
		synctest.Test(t, func(t *testing.T) {
			calls, reported, begun := 0, "", time.Now()
			eventbridge.Async{
				Wait: time.Minute,
				Invoke: func(context.Context, []byte) (string, string) {
					if calls++; calls <= failures {
						return "kind", "message"
					}
					return "", ""
				},
				Failed: func(event []byte, kind, message string) { reported = string(event) + kind + message },
			}.Run(t.Context(), []byte("e"))
			if calls != tt.calls || time.Since(begun) != tt.waited || (reported == "ekindmessage") != tt.reported {
				t.Errorf("%d failures: got %d calls in %v, failure %q, want %+v", failures, calls, time.Since(begun), reported, tt)
			}
		})
	}
}
