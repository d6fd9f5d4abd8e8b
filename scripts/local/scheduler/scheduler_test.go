package scheduler

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const good = `{"ScheduleExpression":"rate(5 minutes)","FlexibleTimeWindow":{"Mode":"OFF"},"Target":{"Arn":"arn:f","RoleArn":"arn:r","Input":"{\"id\":\"<aws.scheduler.execution-id>\",\"at\":\"<aws.scheduler.scheduled-time>\"}"}}`

func call(s *Server, method, path, body string) (status int, kind, answer string) {
	r := httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Header().Get("X-Amzn-Errortype"), w.Body.String()
}

// TestSchedules: a rate comes again and again, a time once.
func TestSchedules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var inputs []string
		s := New(Config{Region: "eu-central-1", Account: "123456789012", Target: func(arn string, input []byte) {
			mu.Lock()
			defer mu.Unlock()
			if inputs = append(inputs, string(input)); arn != "arn:f" || !json.Valid(input) || strings.Contains(string(input), "aws.scheduler") {
				t.Errorf("called %s with %s", arn, input)
			}
		}})
		if status, _, answer := call(s, http.MethodPost, "/schedules/a", good); status != 200 || !strings.Contains(answer, ":schedule/default/a") {
			t.Errorf("%d %s", status, answer)
		}
		at := time.Now().UTC().Add(7 * time.Minute).Format("2006-01-02T15:04:05")
		call(s, http.MethodPost, "/schedules/b", strings.Replace(good, "rate(5 minutes)", "at("+at+")", 1))
		call(s, http.MethodPost, "/schedules/c", strings.Replace(good, `{"Sched`, `{"State":"DISABLED","Sched`, 1))
		ctx, cancel := context.WithTimeout(t.Context(), 26*time.Minute)
		defer cancel()
		s.Run(ctx)
		if len(inputs) != 6 {
			t.Errorf("called %d times, want 5 and 1", len(inputs))
		}
		if inputs[0] == inputs[1] {
			t.Error("two runs have one id")
		}
	})
}

// TestOperations in the order in which somebody would use them.
func TestOperations(t *testing.T) {
	s := New(Config{Region: "eu-central-1", Account: "123456789012", Target: func(string, []byte) {}})
	bad := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, step := range []struct {
		method, path, body string
		status             int
		kind, want         string
	}{
		{"GET", "/schedules/a", "", 404, "ResourceNotFoundException", ""},
		{"PUT", "/schedules/a", good, 404, "ResourceNotFoundException", ""},
		{"POST", "/schedules/a", good, 200, "", "ScheduleArn"},
		{"POST", "/schedules/a", good, 409, "ConflictException", ""},
		{"PUT", "/schedules/a", bad("5 minutes", "1 hour"), 200, "", "ScheduleArn"},
		{"GET", "/schedules/a", "", 200, "", "rate(1 hour)"},
		{"GET", "/schedules", "", 200, "", `"Name":"a"`},
		{"POST", "/schedules/b", bad("rate(5 minutes)", "cron(0 2 * * ? *)"), 400, "ValidationException", "no cron"},
		{"POST", "/schedules/b", bad("rate(5 minutes)", "rate(0 minutes)"), 400, "ValidationException", ""},
		{"POST", "/schedules/b", bad("arn:f", ""), 400, "ValidationException", "Arn"},
		{"POST", "/schedules/b", bad("OFF", ""), 400, "ValidationException", "Mode"},
		{"POST", "/schedules/b", "x", 400, "ValidationException", ""},
		{"POST", "/schedules/a b", good, 400, "ValidationException", ""},
		{"PATCH", "/schedules/a", "", 400, "ValidationException", ""},
		{"DELETE", "/schedules/a", "", 200, "", "{}"},
		{"GET", "/schedules/a", "", 404, "ResourceNotFoundException", ""},
	} {
		status, kind, answer := call(s, step.method, strings.ReplaceAll(step.path, " ", "%20"), step.body)
		if status != step.status || kind != step.kind || !strings.Contains(answer, step.want) {
			t.Errorf("%s %s: %d %s %s", step.method, step.path, status, kind, answer)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "http://localhost/schedules", nil)
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, r); w.Code != 403 {
		t.Errorf("unsigned: %d", w.Code)
	}
	r = httptest.NewRequest(http.MethodGet, "http://evil.example/schedules", nil)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
	w = httptest.NewRecorder()
	if s.ServeHTTP(w, r); w.Code != 403 {
		t.Errorf("by another name: %d", w.Code)
	}
}
