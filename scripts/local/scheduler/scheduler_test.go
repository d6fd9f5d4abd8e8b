package scheduler

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const good = `{"ScheduleExpression":"rate(5 minutes)","FlexibleTimeWindow":{"Mode":"OFF"},"ClientToken":"c","Target":{"Arn":"arn:f","RoleArn":"arn:r","Input":"at <aws.scheduler.scheduled-time>"}}`

// request returns a signed request.
func request(method, url, body string) *http.Request {
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
	return r
}

func call(s *Server, r *http.Request) (status int, kind, answer string) {
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Header().Get("X-Amzn-Errortype"), w.Body.String()
}

func TestTargetIsCalledAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the time is midnight, 1 January 2000
		var mu sync.Mutex
		var inputs []string
		s := New(Config{Region: "eu-central-1", Account: "123456789012", Target: func(arn string, input []byte) {
			mu.Lock()
			defer mu.Unlock()
			if inputs = append(inputs, string(input)); arn != "arn:f" {
				t.Errorf("called %s", arn)
			}
		}})
		if status, _, answer := call(s, request("POST", "http://localhost/schedules/a", good)); status != 200 || !strings.Contains(answer, ":schedule/default/a") {
			t.Errorf("got %d %s", status, answer)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 16*time.Minute)
		defer cancel()
		s.Run(ctx)
		if want := []string{"at 2000-01-01T00:05:00Z", "at 2000-01-01T00:10:00Z", "at 2000-01-01T00:15:00Z"}; !slices.Equal(inputs, want) {
			t.Errorf("got the inputs %q, want %q", inputs, want)
		}
	})
}

func TestOperations(t *testing.T) {
	s := New(Config{Region: "eu-central-1", Account: "123456789012", Target: func(string, []byte) {}})
	with := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, step := range []struct {
		method, path, body string
		status             int
		kind, want         string
	}{
		{"DELETE", "/schedules/a", "", 404, "ResourceNotFoundException", ""},
		{"POST", "/schedules/a", good, 200, "", "ScheduleArn"},
		{"POST", "/schedules/a", good, 409, "ConflictException", ""},
		{"POST", "/schedules/b", with("rate(5 minutes)", "cron(0 2 * * ? *)"), 400, "ValidationException", "cron"},
		{"POST", "/schedules/b", with("rate(5 minutes)", "rate(0 minutes)"), 400, "ValidationException", "rate"},
		{"POST", "/schedules/b", with("arn:f", ""), 400, "ValidationException", "Arn"},
		{"POST", "/schedules/b", with("OFF", "FLEXIBLE"), 400, "ValidationException", "Mode"},
		{"POST", "/schedules/b", with(`{"Sched`, `{"State":"DISABLED","Sched`), 400, "ValidationException", "not supported"},
		{"POST", "/schedules/b", "x", 400, "ValidationException", ""},
		{"POST", "/schedules/a%20b", good, 400, "ValidationException", ""},
		{"GET", "/schedules/a", "", 404, "UnknownOperationException", "GET /schedules/a"},
		{"PUT", "/schedules/a", good, 404, "UnknownOperationException", "PUT /schedules/a"},
		{"GET", "/schedules", "", 404, "UnknownOperationException", "GET /schedules"},
		{"DELETE", "/schedules/a", "", 200, "", "{}"},
		{"POST", "/schedules/a", good, 200, "", "ScheduleArn"},
	} {
		status, kind, answer := call(s, request(step.method, "http://localhost"+step.path, step.body))
		if status != step.status || kind != step.kind || !strings.Contains(answer, step.want) {
			t.Errorf("%s %s: got %d %s %s, want %d %s %s", step.method, step.path, status, kind, answer, step.status, step.kind, step.want)
		}
	}
}

func TestRefusesUnsignedRequestsAndBrowsers(t *testing.T) {
	s := New(Config{Target: func(string, []byte) {}})
	unsigned := httptest.NewRequest("POST", "http://localhost/schedules/a", strings.NewReader(good))
	browser := request("POST", "http://localhost/schedules/a", good)
	browser.Header.Set("Origin", "https://evil.example")
	for name, r := range map[string]*http.Request{"unsigned": unsigned, "browser": browser, "another host": request("POST", "http://evil.example/schedules/a", good)} {
		if status, kind, answer := call(s, r); status != 403 {
			t.Errorf("%s: got %d %s %s, want 403", name, status, kind, answer)
		}
	}
}
