package oauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/oauth"
)

// TestFailedLogon lists the answers of servers. proven is the result for a credential that
// has obtained a token before.
func TestFailedLogon(t *testing.T) {
	code := func(code string) string { return fmt.Sprintf(`{"error":%q,"error_description":"x"}`, code) }
	for _, tt := range []struct {
		server         string
		status         int
		body           string
		failed, proven bool
	}{
		{"SAP Cloud Identity Services", 401, code("invalid_client"), true, true},
		{"SAP Cloud Identity Services", 400, code("invalid_client"), true, true},
		{"XSUAA", 401, code("unauthorized"), true, true},
		{"Entra ID AADSTS7000215", 401, code("invalid_client"), true, true},
		{"Entra ID AADSTS700016", 400, code("unauthorized_client"), false, false},
		{"Entra ID AADSTS53003", 400, code("invalid_grant"), false, false},
		{"Okta, Ping, Google", 401, code("invalid_client"), true, true},
		{"Cognito, IdentityServer", 400, code("invalid_client"), true, true},
		{"Auth0, wrong secret", 401, code("access_denied"), true, true},
		{"Auth0, no grant for the audience", 403, code("access_denied"), true, false},
		{"Keycloak", 401, code("unauthorized_client"), true, true},
		{"Keycloak before 12", 403, code("unauthorized_client"), true, false},
		{"Salesforce, unknown client", 400, code("invalid_client_id"), true, true},
		{"Zoho", 200, code("invalid_client_secret"), true, true},
		{"Slack, LinkedIn", 200, code("invalid_client_id"), true, true},
		{"Salesforce, wrong secret", 400, code("invalid_client"), true, true},
		{"Apigee", 500, `{"ErrorCode":"invalid_client","Error":"ClientId is Invalid"}`, true, true},
		{"Apigee", 401, `{"fault":{"detail":{"errorcode":"oauth.v2.InvalidClientIdentifier"}}}`, true, true},
		{"nested code", 400, `{"error":{"code":"invalid_client"}}`, true, true},
		{"no body", 401, "", true, true},
		{"Glewlwyd, no scope", 403, "", true, false},
		{"firewall", 403, "<html>", true, false},
		{"scope", 403, code("invalid_scope"), false, false},
		{"scope", 401, code("invalid_scope"), false, false},
		{"target", 401, code("invalid_target"), false, false},
		{"grant", 401, code("unsupported_grant_type"), false, false},
		{"scope in broken JSON", 401, code("invalid_scope") + "}", false, false},
		{"request", 400, code("invalid_request"), false, false},
		{"no such page", 404, "<html>", false, false},
		{"failure", 500, code("server_error"), false, false},
	} {
		w := newRawServer(t, rawSecret, answerOf(fmt.Sprintf("%d x", tt.status), "", tt.body), false)
		for proven, want := range map[bool]bool{false: tt.failed, true: tt.proven} {
			before := w.secrets.Load()
			_, err := exchanger().Exchange(t.Context(), w.client, oauth.Request{Proven: proven})
			e := failureOf(t, err)
			if e.FailedLogon() != want || e.Temporary() != (tt.status == 500) || w.secrets.Load() != before+1 {
				t.Errorf("%s, %d %s, proven %v: got failed logon %v, temporary %v, %d requests, want %v",
					tt.server, tt.status, tt.body, proven, e.FailedLogon(), e.Temporary(), w.secrets.Load()-before, want)
			}
			if strings.Contains(e.Error(), "check token_endpoint") != (tt.status == 404) {
				t.Errorf("%d: got %v, want token_endpoint for 404 only", tt.status, e)
			}
		}
	}
}

// TestRepeatedParameterIsNoFailedLogon: a page that repeats what was sent is not searched
// for invalid_client, and the credential is not sent again.
func TestRepeatedParameterIsNoFailedLogon(t *testing.T) {
	const word = "invalid_client"
	const page = "<html><body>Not allowed: invalid_client</body></html>"
	scope := func(scope string) oauth.Request { return oauth.Request{Ask: ask.Ask{Scope: []string{"a", scope}}} }
	for name, tt := range map[string]struct {
		status string
		body   string
		r      oauth.Request
		failed bool
	}{
		"page":                 {"400 x", page, scope("b"), true},
		"page, 503":            {"503 x", page, scope("b"), true},
		"scope":                {"400 x", page, scope(word), false},
		"scope, 503":           {"503 x", page, scope(word), false},
		"scope, 200":           {"200 OK", page, scope(word), false},
		"part of a scope":      {"400 x", page, scope("my.invalid_client.read"), false},
		"scope in upper case":  {"400 x", page, scope("INVALID_CLIENT"), false},
		"escaped for a URL":    {"400 x", page, scope("invalid%5Fclient"), false},
		"escaped twice":        {"400 x", page, scope("invalid%255fclient"), false},
		"escaped for HTML":     {"400 x", page, scope("invalid&#95;client"), false},
		"audience":             {"400 x", page, oauth.Request{Ask: ask.Ask{Audience: word}}, false},
		"resource":             {"400 x", page, oauth.Request{Ask: ask.Ask{Resource: []string{"urn:a", "urn:" + word}}}, false},
		"app_tid":              {"400 x", page, oauth.Request{Ask: ask.Ask{AppTID: word}}, false},
		"token_format":         {"400 x", page, oauth.Request{Ask: ask.Ask{TokenFormat: word}}, false},
		"parameter":            {"400 x", page, oauth.Request{Ask: ask.Ask{Parameters: map[string]string{"x": word}}}, false},
		"name of a parameter":  {"400 x", page, oauth.Request{Ask: ask.Ask{Parameters: map[string]string{word: "x"}}}, false},
		"correlation id":       {"400 x", page, oauth.Request{CorrelationID: word}, false},
		"description":          {"400 x", `{"error":"invalid_scope","error_description":"no invalid_client"}`, scope(word), false},
		"member":               {"400 x", `{"message":"no scope invalid_client"}`, scope(word), false},
		"code":                 {"400 x", `{"error":"invalid_client"}`, scope(word), true},
		"code in broken JSON":  {"400 x", `{"error":"invalid_client"}}`, scope(word), true},
		"scope in broken JSON": {"400 x", `{"error":"invalid_scope","scope":"invalid_client"}}`, scope(word), false},
	} {
		w := newRawServer(t, rawSecret, answerOf(tt.status, "", tt.body), false)
		_, err := exchanger().Exchange(t.Context(), w.client, tt.r)
		if e := failureOf(t, err); e.FailedLogon() != tt.failed || w.secrets.Load() != 1 {
			t.Errorf("%s: got failed logon %v, %d requests, want %v, 1: %v", name, e.FailedLogon(), w.secrets.Load(), tt.failed, e)
		}
	}
	// The credential and the path of the token endpoint.
	w := newRawServer(t, rawSecret, answerOf("400 x", "", page), false)
	for name, auth := range map[string]oauth.Authenticator{
		"post": oauth.SecretPost{Secret: oauth.NewSecret("my " + word)}, "basic": oauth.SecretBasic{ClientID: "c", Secret: oauth.NewSecret("my " + word)},
	} {
		if e := exchangeError(t, w.clientWith(t, auth)); e.FailedLogon() {
			t.Errorf("%s: got %v, want no failed logon", name, e)
		}
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.WriteHeader(http.StatusNotFound)
		_, _ = fmt.Fprintf(rw, "Cannot POST %s", r.URL.Path)
	}))
	defer s.Close()
	s.URL += "/" + word
	if e := exchangeError(t, clientOf(t, s, oauth.ClientSecretPost, oauth.SecretPost{}, nil)); e.FailedLogon() {
		t.Errorf("path: got %v, want no failed logon", e)
	}
}

// TestServerTextIsNotSearched: net/http repeats the first line of an answer that is not HTTP
// in its error, which must not pass for one of its own errors.
func TestServerTextIsNotSearched(t *testing.T) {
	for _, line := range []string{"net/http: TLS handshake timeout", "tls: x", "server gave HTTP response"} {
		w := newRawServer(t, rawSecret, line+"\r\n\r\n", false)
		if e := exchangeError(t, w.client); e.Reason != oauth.Unusable || w.secrets.Load() != 1 {
			t.Errorf("%q: got %v, %d requests, want Unusable, 1", line, e, w.secrets.Load())
		}
	}
}

// TestClockSkewIsNamed: servers answer a valid assertion with any error if one of the clocks
// is wrong.
func TestClockSkewIsNamed(t *testing.T) {
	wrong := "Date: " + time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat) + "\r\n"
	right := "Date: " + time.Now().UTC().Format(http.TimeFormat) + "\r\n"
	assertion := oauth.IssuedAssertion{Issue: func(context.Context) (oauth.Secret, error) { return oauth.NewSecret("a.b.c"), nil }}
	secret := oauth.SecretPost{Secret: oauth.NewSecret("s")}
	for name, tt := range map[string]struct {
		auth           oauth.Authenticator
		status, header string
		body           string
		want           bool
	}{
		"400":                {assertion, "400 x", wrong, `{"error":"invalid_request"}`, true},
		"401":                {assertion, "401 x", wrong, `{"error":"invalid_client"}`, true},
		"403":                {assertion, "403 x", wrong, "", true},
		"500":                {assertion, "500 x", wrong, "<html>", true},
		"503":                {assertion, "503 x", wrong, "", true},
		"200 with an error":  {assertion, "200 OK", wrong, `{"error":"server_error"}`, true},
		"429":                {assertion, "429 x", wrong, "", false},
		"right clock":        {assertion, "500 x", right, "", false},
		"no Date":            {assertion, "500 x", "", "", false},
		"invalid Date":       {assertion, "500 x", "Date: yesterday\r\n", "", false},
		"from a cache":       {assertion, "500 x", wrong + "Age: 3600\r\n", "", false},
		"secret, 500":        {secret, "500 x", wrong, "", false},
		"secret, bad client": {secret, "400 x", wrong, `{"error":"invalid_client"}`, true},
	} {
		client := newRawServer(t, rawSecret, answerOf(tt.status, tt.header, tt.body), false).clientWith(t, tt.auth)
		_, err := exchanger().Exchange(t.Context(), client, oauth.Request{MaxAttempts: 1})
		if got := strings.Contains(failureOf(t, err).Error(), "its clock differs from ours by -1h0m"); got != tt.want {
			t.Errorf("%s: got the clock named %v, want %v: %v", name, got, tt.want, err)
		}
	}
}

// TestRetryAfterIsOnTheServersClock: a date is compared with the server's Date.
func TestRetryAfterIsOnTheServersClock(t *testing.T) {
	now := time.Now().Add(-time.Hour).UTC()
	header := "Date: " + now.Format(http.TimeFormat) + "\r\nRetry-After: " + now.Add(40*time.Second).Format(http.TimeFormat) + "\r\n"
	w := newRawServer(t, rawSecret, answerOf("429 x", header, ""), false)
	if e := exchangeError(t, w.client); e.RetryAfter != 40*time.Second || w.secrets.Load() != 1 {
		t.Errorf("got %v, %d requests, want 40s, 1", e.RetryAfter, w.secrets.Load())
	}
}
