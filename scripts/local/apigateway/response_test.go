package apigateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/scripts/vendctl/openapi/openapitest"
)

func answering(answer string, err error) func(*Config) {
	return func(c *Config) {
		c.Invoke = func(context.Context, []byte) ([]byte, error) { return []byte(answer), err }
	}
}

func TestProxyResponseBecomesHTTP(t *testing.T) {
	const failed = `{"message": "Internal server error"}`
	tests := map[string]struct {
		answer string
		err    error
		status int
		body   string
		header http.Header // some of them
	}{
		"body and headers": {`{"statusCode":403,"headers":{"Content-Type":"text/plain","cache-control":"no-store"},"body":"no","isBase64Encoded":false}`, nil,
			403, "no", http.Header{"Content-Type": {"text/plain"}, "Cache-Control": {"no-store"}}},
		"status alone":           {`{"statusCode":201}`, nil, 201, "", http.Header{"Content-Type": {"application/json"}}},
		"nulls":                  {`{"statusCode":200,"headers":null,"multiValueHeaders":null,"body":null,"isBase64Encoded":null}`, nil, 200, "", nil},
		"base64 stays":           {`{"statusCode":200,"body":"b2s=","isBase64Encoded":true}`, nil, 200, "b2s=", nil},
		"other members":          {`{"statusCode":200,"cookies":[]}`, nil, 200, "", nil},
		"function error":         {``, errors.New("crashed"), 502, failed, nil},
		"not JSON":               {`ok`, nil, 502, failed, nil},
		"null":                   {`null`, nil, 502, failed, nil},
		"array":                  {`[]`, nil, 502, failed, nil},
		"no status":              {`{"body":"x"}`, nil, 502, failed, nil},
		"other case":             {`{"StatusCode":200}`, nil, 502, failed, nil},
		"status with a fraction": {`{"statusCode":200.5}`, nil, 502, failed, nil},
		"status out of range":    {`{"statusCode":99}`, nil, 502, failed, nil},
		"informational status":   {`{"statusCode":101}`, nil, 502, failed, nil},
		"object as a body":       {`{"statusCode":200,"body":{}}`, nil, 502, failed, nil},
		"status as text":         {`{"statusCode":"200"}`, nil, 502, failed, nil},
		"multiValueHeaders":      {`{"statusCode":200,"multiValueHeaders":{"a":["b"]}}`, nil, 502, failed, nil},
		"object as a header":     {`{"statusCode":200,"headers":{"a":{}}}`, nil, 502, failed, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := newAPI(t, answering(tt.answer, tt.err)).send(t, signedCall{})
			if got.status != tt.status || got.body != strings.ReplaceAll(tt.body, ": ", ":") {
				t.Errorf("got %d %s, want %d %s", got.status, got.body, tt.status, tt.body)
			}
			if err := openapitest.CheckAnswer(got.status, got.header, []byte(got.body)); err != nil && tt.status == 502 {
				t.Error(err)
			}
			for name, want := range tt.header {
				if !slices.Equal(got.header.Values(name), want) {
					t.Errorf("%s: got %q, want %q", name, got.header.Values(name), want)
				}
			}
			if len(got.header.Get("X-Amzn-Requestid")) != 36 {
				t.Errorf("got the headers %v, want a request id", got.header)
			}
		})
	}
}

// TestFunctionHas29Seconds, also if the caller leaves.
func TestFunctionHas29Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		var log bytes.Buffer
		cfg.AccessLog = &log
		begin := time.Now()
		cfg.Now = func() time.Time { return now.Add(time.Since(begin)) }
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		leave()
		w := httptest.NewRecorder()
		s.ServeHTTP(w, signedRecord(t).WithContext(ctx))
		if w.Code != 504 || w.Body.String() != `{"message":"Endpoint request timed out"}` {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		if took := time.Since(begin); took != 29*time.Second {
			t.Errorf("the answer took %v, want 29s", took)
		}
		if !strings.Contains(log.String(), `"integrationLatency":29000`) {
			t.Errorf("got the log %s, want an integrationLatency of 29000", log.String())
		}
	})
}

// signedRecord returns a signed request for a handler without a server.
func signedRecord(t testing.TB) *http.Request {
	t.Helper()
	req := httptest.NewRequest("POST", "/local/token/billing", nil)
	req.URL.Host = req.Host
	req.Header.Set("X-Amz-Date", now.Format(amzTime))
	req.Header.Set("Authorization", ownSignature(req, "host;x-amz-date", ownScope))
	return req
}

func TestAccessLogHasOneLinePerRequest(t *testing.T) {
	a := newAPI(t, nil)
	a.send(t, signedCall{})
	a.send(t, signedCall{credentials: longTerm, path: "/local/token/payroll"})
	a.send(t, signedCall{after: del("Authorization")})
	var lines []map[string]any
	for line := range strings.Lines(a.log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, entry)
	}
	if len(lines) != 3 {
		t.Fatalf("got %d lines, want 3", len(lines))
	}
	for i, want := range []struct {
		status float64
		caller any
		kind   any
	}{{200, role, nil}, {403, user, "AccessDeniedException"}, {403, nil, "MissingAuthenticationTokenException"}} {
		if got := lines[i]; got["status"] != want.status || got["caller"] != want.caller || got["errorType"] != want.kind {
			t.Errorf("line %d: got %v, want %+v", i, got, want)
		}
	}
}
