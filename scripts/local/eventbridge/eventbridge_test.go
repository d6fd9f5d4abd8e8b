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
	s := eventbridge.New(eventbridge.Config{Region: "eu-central-1", Account: "123456789012", Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
	s.AddBus("jobs")
	return s
}

// put answers a PutEvents, in whose body ' stands for ".
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

// TestPutEvents: each entry is taken or refused for itself.
func TestPutEvents(t *testing.T) {
	s := newServer()
	failed, codes := put(t, s, `{'Entries':[
		{'EventBusName':'jobs','Source':'a','DetailType':'T','Detail':'{}'}, {'Source':'a','DetailType':'T','Detail':'{}','Time':1600000000},
		{'EventBusName':'none','Source':'a','DetailType':'T','Detail':'{}'}, {'Source':'','DetailType':'T','Detail':'{}'},
		{'Source':'a','DetailType':'T','Detail':'[]'}, {'Source':'a','DetailType':'T','Detail':'x'}]}`)
	if want := []string{"", "", "ResourceNotFoundException", "InvalidArgument", "MalformedDetail", "MalformedDetail"}; failed != 4 || !slices.Equal(codes, want) {
		t.Errorf("%d failed, %v", failed, codes)
	}
	jobs, fallback := s.Events("jobs"), s.Events("default")
	if len(jobs) != 1 || jobs[0].Time != "2023-11-14T22:13:20Z" || len(jobs[0].ID) != 36 || len(fallback) != 1 || fallback[0].Time != "2020-09-13T12:26:40Z" {
		t.Errorf("%+v\n%+v", jobs, fallback)
	}
	entry := `{'Source':'a','DetailType':'T','Detail':'{}'}`
	for _, body := range []string{`{'Entries':[]}`, `{'Entries':[` + strings.TrimSuffix(strings.Repeat(entry+",", 11), ",") + `]}`} {
		if _, codes := put(t, s, body); !slices.Equal(codes, []string{"ValidationException"}) {
			t.Errorf("%.40s: %v", body, codes)
		}
	}
}

// TestRules: an event goes to the rules that it matches.
func TestRules(t *testing.T) {
	s := newServer()
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
	rule("all", eventbridge.Rule{Bus: "jobs"})
	rule("typed", eventbridge.Rule{Bus: "jobs", DetailType: "T", NotSource: "us"})
	rule("elsewhere", eventbridge.Rule{Bus: "default"})
	detail := `'EventBusName':'arn:aws:events:eu-central-1:123456789012:event-bus/jobs','Detail':'{\'x\':\'<&>\'}'`
	detail = strings.ReplaceAll(detail, `\'`, `\"`)
	put(t, s, `{'Entries':[{'Source':'us','DetailType':'T',`+detail+`},{'Source':'them','DetailType':'T',`+detail+`},{'Source':'them','DetailType':'U',`+detail+`}]}`)
	s.Wait()
	if got["all"] != 3 || got["typed"] != 1 || got["elsewhere"] != 0 {
		t.Errorf("called %v", got)
	}
}

// TestAsync: what fails is tried three times and then handed over.
func TestAsync(t *testing.T) {
	for _, failures := range []int{0, 1, 2, 3, 9} {
		synctest.Test(t, func(t *testing.T) {
			calls, handed, begun := 0, "", time.Now()
			eventbridge.Async{
				Wait: time.Minute,
				Invoke: func(context.Context, []byte) (string, string) {
					if calls++; calls <= failures {
						return "kind", "message"
					}
					return "", ""
				},
				Failed: func(event []byte, kind, message string) { handed = string(event) + kind + message },
			}.Run(t.Context(), []byte("e"))
			if want := min(failures, 2) + 1; calls != want || (handed == "ekindmessage") != (failures > 2) {
				t.Errorf("%d failures: %d calls, handed over %q", failures, calls, handed)
			}
			if waited := time.Since(begun); waited != map[int]time.Duration{0: 0, 1: time.Minute}[failures] && failures < 2 || failures >= 2 && waited != 3*time.Minute {
				t.Errorf("%d failures: waited %v", failures, waited)
			}
		})
	}
}
