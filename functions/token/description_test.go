package main

import (
	"net/http"
	"strings"
	"testing"

	"tokenvendor/scripts/vendctl/openapi/openapitest"
)

// checkDescription compares an answer with the description of the API that callers get.
func checkDescription(t testing.TB, a answer) {
	t.Helper()
	header := make(http.Header)
	for name, value := range a.headers {
		header.Set(name, value)
	}
	if err := openapitest.CheckAnswer(a.status, header, a.body); err != nil {
		t.Error(err)
	}
}

// TestDescriptionAllowsWhatIsAnswered: the function and the description of its API agree about
// requests.
func TestDescriptionAllowsWhatIsAnswered(t *testing.T) {
	f := handlerHarness(newEnv(t), closedGate())
	for _, test := range []struct {
		client, media, body string
		allowed             bool
	}{
		{"billing", "", "", true},
		{"billing", mediaForm, "scope=read+write&grant_type=client_credentials&client_id=billing", true},
		{"billing", mediaForm, "min_ttl=300&dry_run=true", true},
		{"billing", mediaForm, "resource=urn%3Aa&resource=urn%3Ab&dry_run=true", true},
		{"billing", mediaForm, "x_extra=1", true},
		{"billing", mediaJSON, `{"scope": "read", "min_ttl": 300, "x_extra": "1"}`, true},
		{"billing", mediaJSON, `{"resource": "urn:a"}`, true},
		{"billing", mediaJSON, `{"resource": ["urn:a", "urn:b"], "dry_run": true, "client": "billing"}`, true},
		{"billing", mediaJSON, `{"token_format": "jwt", "audience": "inside", "rejected": "` + strings.Repeat("0f", 32) + `"}`, true},
		{"Billing", "", "", false},
		{"-billing", "", "", false},
		{strings.Repeat("b", 64), "", "", false},
		{"billing", mediaForm, "min_ttl=-1", false},
		{"billing", mediaForm, "min_ttl=86401", false},
		{"billing", mediaForm, "dry_run=maybe", false},
		{"billing", mediaForm, "rejected=0f", false},
		{"billing", mediaForm, "token_format=saml", false},
		{"billing", mediaForm, "grant_type=password", false},
		{"billing", mediaForm, "scope=" + strings.Repeat("a", 4097), false},
		{"billing", mediaJSON, `{"min_ttl": "300"}`, false},
		{"billing", mediaJSON, `{"dry_run": "true"}`, false},
		{"billing", mediaJSON, `{"resource": [1]}`, false},
		{"billing", mediaJSON, `{"x_extra": 1}`, false},
		{"billing", mediaJSON, `[]`, false},
		{"billing", "text/plain", "scope=read", false},
	} {
		s := shapes()["REST API role"]
		s.client, s.media, s.body = text(test.client), text(test.media), text(test.body)
		a := readAnswer(t, f.invoke(t, s.invocation(t)), false)
		described := openapitest.CheckRequest(test.client, test.media, test.body)
		if (a.status == 200) != test.allowed || (described == nil) != test.allowed {
			t.Errorf("%s %s %.80s: got status %d and from the description %v, want allowed: %v", test.client, test.media, test.body, a.status, described, test.allowed)
		}
	}
}
