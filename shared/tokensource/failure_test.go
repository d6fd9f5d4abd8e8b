package tokensource

import (
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
)

// TestExchangeFault: a refused credential is never the caller's 401.
func TestExchangeFault(t *testing.T) {
	for _, test := range []struct {
		name    string
		failure oauth.Error
		want    fault.Kind
	}{
		{"invalid_client 401", oauth.Error{Reason: oauth.Refused, Status: 401, Code: "invalid_client"}, fault.Misconfigured},
		{"invalid_client 400", oauth.Error{Reason: oauth.Refused, Status: 400, Code: "invalid_client"}, fault.Misconfigured},
		{"401 without a code", oauth.Error{Reason: oauth.Refused, Status: 401}, fault.Misconfigured},
		{"unauthorized_client", oauth.Error{Reason: oauth.Refused, Status: 400, Code: "unauthorized_client"}, fault.Misconfigured},
		{"403", oauth.Error{Reason: oauth.Refused, Status: 403}, fault.Misconfigured},
		{"404", oauth.Error{Reason: oauth.Refused, Status: 404}, fault.Misconfigured},
		{"certificate refused", oauth.Error{Reason: oauth.CertificateRefused}, fault.Misconfigured},
		{"redirect", oauth.Error{Reason: oauth.Redirected, Status: 302}, fault.Misconfigured},
		{"no token", oauth.Error{Reason: oauth.Unusable, Status: 200}, fault.Misconfigured},
		{"untrusted", oauth.Error{Reason: oauth.Untrusted}, fault.Misconfigured},
		{"address", oauth.Error{Reason: oauth.AddressRefused}, fault.Misconfigured},
		{"no proof", oauth.Error{Reason: oauth.NoProof}, fault.Misconfigured},
		{"invalid_scope", oauth.Error{Reason: oauth.Refused, Status: 400, Code: "invalid_scope"}, fault.InvalidScope},
		{"invalid_target", oauth.Error{Reason: oauth.Refused, Status: 400, Code: "invalid_target"}, fault.InvalidTarget},
		{"429", oauth.Error{Reason: oauth.Refused, Status: 429, RetryAfter: 7 * time.Second}, fault.Throttled},
		{"500", oauth.Error{Reason: oauth.Refused, Status: 500}, fault.Unavailable},
		{"503 invalid_client", oauth.Error{Reason: oauth.Refused, Status: 503, Code: "invalid_client"}, fault.Misconfigured},
		{"unreachable", oauth.Error{Reason: oauth.Unreachable}, fault.Unavailable},
		{"timed out", oauth.Error{Reason: oauth.TimedOut}, fault.Timeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := exchangeFault(&test.failure)
			if e.Kind != test.want {
				t.Errorf("got kind %d, want %d", e.Kind, test.want)
			}
			if u := e.Upstream; (u != nil) != (test.failure.Status != 0) || u != nil && (u.Status != test.failure.Status || u.Code != test.failure.Code) {
				t.Errorf("upstream is %+v", u)
			}
			if e.Kind == fault.Throttled && e.RetryAfter != 7*time.Second {
				t.Errorf("RetryAfter is %v, want the server's", e.RetryAfter)
			}
			if advised := strings.Contains(e.Detail, "compare client_id"); advised != test.failure.FailedLogon() || strings.Contains(e.Description, "compare") {
				t.Errorf("the detail is %q, the description %q, want advice for a failed logon in the detail", e.Detail, e.Description)
			}
			if sure := parametersFault(&test.failure, true); strings.Contains(sure.Detail, "compare") {
				t.Errorf("the detail is %q, want no advice about a credential that is good", sure.Detail)
			}
			if (e.RetryAfter > 0) != e.Kind.Temporary() {
				t.Errorf("RetryAfter is %v", e.RetryAfter)
			}
		})
	}
}

// TestServersDescriptionIsPrintable: it reaches the caller printable and cut.
func TestServersDescriptionIsPrintable(t *testing.T) {
	e := exchangeFault(&oauth.Error{Reason: oauth.Refused, Status: 400, Code: "invalid_scope", Description: `scope "x\y` + strings.Repeat("z", 400), CorrelationID: "id-1"})
	if len(e.Description) > 200 || strings.ContainsAny(e.Description, `"\`) || !strings.Contains(e.Description, "scope") {
		t.Errorf("the description has %d bytes: %q", len(e.Description), e.Description)
	}
	if e.CorrelationID != "id-1" {
		t.Errorf("CorrelationID is %q", e.CorrelationID)
	}
}

// TestNoteKeepsRefusal: the text of a lockout is made anew by its reader, so that it says
// the same thing once.
func TestNoteKeepsRefusal(t *testing.T) {
	until := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	r := refusal{fault: &fault.Error{Kind: fault.Misconfigured, Description: "refused", Upstream: &fault.Upstream{Status: 401, Code: "invalid_client"}}, until: until, times: 2}
	e, fuse := readNote(noteOf(r.error()))
	if !fuse || e.Kind != fault.Misconfigured || e.Description != "refused" || *e.Upstream != *r.fault.Upstream {
		t.Errorf("got %+v, %v", e, fuse)
	}
	again := refusal{fault: e, until: until, times: 2}.error().fault
	if strings.Count(again.Description, "fuse is blown") != 1 || !again.Fuse.Equal(until) {
		t.Errorf("got %q", again.Description)
	}
	for _, text := range []string{"", "{", `{"kind":0}`, `{"kind":99}`, `{"kind":-1}`} {
		if e, fuse := readNote([]byte(text)); fuse || e.Kind != fault.Unavailable {
			t.Errorf("%q became %+v", text, e)
		}
	}
}
