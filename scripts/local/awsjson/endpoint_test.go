package awsjson_test

import (
	"context"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// refused is an input whose decoding fails with an Error.
type refused struct{}

func (*refused) UnmarshalJSON([]byte) error {
	return &awsjson.Error{Code: "ValidationException", Message: "always refused"}
}

// newEndpoint returns an endpoint with three operations. done counts the calls that took
// effect.
func newEndpoint(version string, done *atomic.Int32) *awsjson.Endpoint {
	return awsjson.New(awsjson.Config{
		Version: version, Target: "Shop.", MaxBody: 100, Checksum: version == "1.0",
		Type: func(code string) string { return "shop#" + code },
		Operations: map[string]awsjson.Operation{
			"Buy": awsjson.Decode(func(in struct{ Name string }) (any, *awsjson.Error) {
				done.Add(1)
				return map[string]string{"Bought": in.Name}, nil
			}),
			"Sell": awsjson.Decode(func(in struct{ What refused }) (any, *awsjson.Error) { return nil, nil }),
			"Fix": awsjson.Decode(func(struct{}) (any, *awsjson.Error) {
				return nil, &awsjson.Error{Code: "Broken", Message: "cannot be fixed", Members: map[string]any{"Item": 7}}
			}),
		},
	})
}

func request(url, operation, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, url, strings.NewReader(body))
	r.RequestURI = ""
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x")
	r.Header.Set("X-Amz-Target", "Shop."+operation)
	return r
}

func TestAnswersAsAWSDoes(t *testing.T) {
	for _, tt := range []struct {
		name, operation, body string
		change                func(*http.Request)
		status                int
		want                  string
	}{
		{"answer", "Buy", `{"Name":"<a&b>"}`, nil, 200, `{"Bought":"<a&b>"}`},
		{"error with members", "Fix", `{}`, nil, 400, `{"Item":7,"Message":"cannot be fixed","__type":"shop#Broken","message":"cannot be fixed"}`},
		{"not JSON", "Buy", `{`, nil, 400, "shop#SerializationException"},
		{"wrong type", "Buy", `{"Name":1}`, nil, 400, "shop#SerializationException"},
		{"two objects", "Buy", `{}{}`, nil, 400, "shop#SerializationException"},
		{"unsupported parameter", "Buy", `{"Name":"x","Color":"red"}`, nil, 400, `"__type":"shop#ValidationException","message":"the parameter \"Color\" is not supported"`},
		{"error of a member", "Sell", `{"What":1}`, nil, 400, "shop#ValidationException"},
		{"too large", "Buy", `{"Name":"` + strings.Repeat("x", 100) + `"}`, nil, 400, "shop#ValidationException"},
		{"unsupported operation", "Steal", `{}`, nil, 400, `"__type":"shop#UnknownOperationException","message":"the operation \"Shop.Steal\" is not supported"`},
		{"other service", "Buy", `{}`, func(r *http.Request) { r.Header.Set("X-Amz-Target", "Office.Buy") }, 400, "shop#UnknownOperationException"},
		{"unsigned", "Buy", `{}`, func(r *http.Request) { r.Header.Del("Authorization") }, 403, "shop#MissingAuthenticationTokenException"},
		{"password", "Buy", `{}`, func(r *http.Request) { r.Header.Set("Authorization", "Basic eDp4") }, 403, "shop#MissingAuthenticationTokenException"},
		{"web page", "Buy", `{}`, func(r *http.Request) { r.Header.Set("Origin", "http://evil.test") }, 400, "shop#AccessDeniedException"},
		{"web page from a file", "Buy", `{}`, func(r *http.Request) { r.Header.Set("Origin", "null") }, 400, "shop#AccessDeniedException"},
		{"rebound name", "Buy", `{}`, func(r *http.Request) { r.Host = "evil.test:1" }, 400, "shop#AccessDeniedException"},
		{"name with the prefix localhost", "Buy", `{}`, func(r *http.Request) { r.Host = "localhost.evil.test" }, 400, "shop#AccessDeniedException"},
		{"other address", "Buy", `{}`, func(r *http.Request) { r.Host = "192.0.2.1:1" }, 400, "shop#AccessDeniedException"},
		{"IPv4", "Buy", `{}`, func(r *http.Request) { r.Host = "127.0.0.1:1" }, 200, "Bought"},
		{"IPv6", "Buy", `{}`, func(r *http.Request) { r.Host = "[::1]:1" }, 200, "Bought"},
		{"GET", "Buy", ``, func(r *http.Request) { r.Method = http.MethodGet }, 400, "shop#UnknownOperationException"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, version := range []string{"1.0", "1.1"} {
				r := request("http://localhost/", tt.operation, tt.body)
				if tt.change != nil {
					tt.change(r)
				}
				w := httptest.NewRecorder()
				newEndpoint(version, new(atomic.Int32)).ServeHTTP(w, r)
				if body := w.Body.String(); w.Code != tt.status || !strings.Contains(body, tt.want) || !json.Valid(w.Body.Bytes()) {
					t.Errorf("got %d %s, want %d %s", w.Code, body, tt.status, tt.want)
				}
				checksum := ""
				if version == "1.0" {
					checksum = strconv.FormatUint(uint64(crc32.ChecksumIEEE(w.Body.Bytes())), 10)
				}
				if h := w.Header(); h.Get("Content-Type") != "application/x-amz-json-"+version || h.Get("X-Amzn-Requestid") == "" || h.Get("X-Amz-Crc32") != checksum {
					t.Errorf("got headers %v, want those of version %s with checksum %q", h, version, checksum)
				}
			}
		})
	}
}

// The test uses connections, because a fault resets one.
func TestFaultReplacesOneAnswer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault awsjson.Fault
		// want is part of the answer. Empty: there is no answer.
		want string
		done int32
	}{
		{"code", awsjson.Fault{Code: "ThrottlingException"}, "shop#ThrottlingException", 0},
		{"internal error", awsjson.Fault{Code: "InternalServerError"}, "shop#InternalServerError", 0},
		{"code afterwards", awsjson.Fault{Code: "InternalServerError", Done: true}, "shop#InternalServerError", 1},
		{"garbage", awsjson.Fault{Body: "<html>"}, "<html>", 0},
		{"garbage afterwards", awsjson.Fault{Body: "<html>", Done: true}, "<html>", 1},
		{"reset", awsjson.Fault{Reset: true}, "", 0},
		{"reset afterwards", awsjson.Fault{Reset: true, Done: true}, "", 1},
		{"late", awsjson.Fault{Delay: time.Millisecond}, "Bought", 1},
		{"late error", awsjson.Fault{Delay: time.Millisecond, Code: "ThrottlingException"}, "shop#ThrottlingException", 0},
		{"none", awsjson.Fault{}, "Bought", 1},
	} {
		for kind, start := range map[string]func(http.Handler) *httptest.Server{"HTTP": httptest.NewServer, "TLS": httptest.NewTLSServer} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				var done atomic.Int32
				e := newEndpoint("1.1", &done)
				server := start(e)
				defer server.Close()
				e.Inject("Buy", 1, tt.fault)
				response, err := server.Client().Do(request(server.URL, "Buy", `{}`))
				if tt.want == "" {
					if !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("got error %v, want a reset", err)
					}
				} else if err != nil {
					t.Fatal(err)
				} else if body, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(body), tt.want) {
					t.Errorf("got %s, %v, want %s", body, err, tt.want)
				}
				if n := done.Load(); n != tt.done {
					t.Errorf("got %d calls that took effect, want %d", n, tt.done)
				}
				if _, err = server.Client().Do(request(server.URL, "Buy", `{}`)); err != nil || done.Load() != tt.done+1 {
					t.Errorf("the next call: got %v and %d calls that took effect, want %d", err, done.Load(), tt.done+1)
				}
				if n := e.Calls("Buy"); n != 2 {
					t.Errorf("got %d calls, want 2", n)
				}
			})
		}
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	for name, f := range map[string]awsjson.Fault{"hang": {Hang: true}, "delay": {Delay: time.Hour}, "delay and hang": {Delay: time.Second, Hang: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEndpoint("1.0", new(atomic.Int32))
				e.Inject("Buy", 1, f)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start, ended := time.Now(), make(chan time.Duration)
				go func() {
					e.ServeHTTP(httptest.NewRecorder(), request("http://localhost/", "Buy", `{}`).WithContext(ctx))
					ended <- time.Since(start)
				}()
				synctest.Wait()
				w := httptest.NewRecorder()
				e.ServeHTTP(w, request("http://localhost/", "Buy", `{}`))
				if after := time.Since(start); w.Code != 200 || after != 0 {
					t.Errorf("another call: got status %d after %v, want 200 at once", w.Code, after)
				}
				if waited := <-ended; waited != time.Minute {
					t.Errorf("the call took %v, want 1m0s", waited)
				}
			})
		})
	}
}

// Inject does not change the faults of other operations.
func TestInjectReplacesTheFault(t *testing.T) {
	e := newEndpoint("1.1", new(atomic.Int32))
	status := func() int {
		w := httptest.NewRecorder()
		e.ServeHTTP(w, request("http://localhost/", "Buy", `{}`))
		return w.Code
	}
	e.Fail("Buy", 5, "InternalFailure")
	e.Fail("Fix", 5, "InternalFailure")
	if got := status(); got != 500 {
		t.Errorf("got status %d, want 500", got)
	}
	e.Fail("Buy", 1, "ThrottlingException")
	if got := status(); got != 400 {
		t.Errorf("got status %d, want 400", got)
	}
	e.Fail("Buy", 5, "InternalFailure")
	e.Inject("Buy", 0, awsjson.Fault{})
	if got := status(); got != 200 {
		t.Errorf("got status %d, want 200", got)
	}
}
