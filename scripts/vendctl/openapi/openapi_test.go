package openapi_test

import (
	"net/http"
	"testing"

	"tokenvendor/scripts/vendctl/openapi/openapitest"
)

func TestDescriptionOfAnswers(t *testing.T) {
	const token = `{"access_token": "t", "token_type": "Bearer", "expires_in": 10, "expires_at": 20, "refresh_after": 5, "other": [1]}`
	const failure = `{"error": "access_denied", "error_description": "no", "request_id": "r"}`
	for _, test := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		valid  bool
	}{
		{"a token", 200, nil, token, true},
		{"a warning", 200, map[string]string{"Token-Vendor-Warning": "certificate-bound"}, token, true},
		{"an unknown warning", 200, map[string]string{"Token-Vendor-Warning": "other"}, token, false},
		{"a token that a proxy may keep", 200, map[string]string{"Cache-Control": "public"}, token, false},
		{"no token", 200, nil, `{"token_type": "Bearer"}`, false},
		{"another type", 200, nil, `{"access_token": "t", "token_type": "MAC"}`, false},
		{"a life in a string", 200, nil, `{"access_token": "t", "token_type": "Bearer", "expires_in": "10"}`, false},
		{"an explanation", 200, nil, `{"dry_run": true, "allowed": false, "mode": "document", "nearest_rule": "r", "failed": "scope"}`, true},
		{"an explanation with more", 200, nil, `{"dry_run": true, "allowed": true, "mode": "iam", "arn": "a"}`, false},
		{"an error", 403, nil, failure, true},
		{"an error of another status", 429, nil, failure, false},
		{"an error with more", 403, nil, `{"error": "access_denied", "error_description": "no", "request_id": "r", "arn": "a"}`, false},
		{"an error without a name", 403, nil, `{"error": "access_denied", "error_description": "no"}`, false},
		{"an error of API Gateway", 403, nil, `{"message": "Forbidden"}`, true},
		{"an unavailable server", 503, map[string]string{"Retry-After": "5"}, `{"error": "temporarily_unavailable", "error_description": "no", "request_id": "r", "upstream": {"status": 503}}`, true},
		{"a date to retry at", 503, map[string]string{"Retry-After": "tomorrow"}, `{"message": "Service Unavailable"}`, false},
		{"another method", 405, map[string]string{"Allow": "POST"}, `{"error": "invalid_request", "error_description": "no", "request_id": "r"}`, true},
		{"a status of nobody", 418, nil, failure, false},
		{"no JSON", 500, nil, "Internal", false},
	} {
		header := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Pragma": {"no-cache"}}
		for name, value := range test.header {
			header.Set(name, value)
		}
		if err := openapitest.CheckAnswer(test.status, header, []byte(test.body)); (err == nil) != test.valid {
			t.Errorf("%s: got error %v, want valid: %v", test.name, err, test.valid)
		}
	}
}
