package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

// TestErrorTable is the specification of what callers get.
func TestErrorTable(t *testing.T) {
	table := []struct {
		kind   Kind
		status int
		code   string
	}{
		{Internal, 500, "server_error"},
		{Malformed, 400, "invalid_request"},
		{UnsupportedGrant, 400, "unsupported_grant_type"},
		{InvalidScope, 400, "invalid_scope"},
		{InvalidTarget, 400, "invalid_target"},
		{Denied, 403, "access_denied"},
		{TooLarge, 413, "invalid_request"},
		{WrongMedia, 415, "invalid_request"},
		{WrongMethod, 405, "invalid_request"},
		{Misconfigured, 502, "server_error"},
		{Throttled, 429, "temporarily_unavailable"},
		{Unavailable, 503, "temporarily_unavailable"},
		{Timeout, 504, "temporarily_unavailable"},
	}
	if len(table) != len(answers) {
		t.Errorf("the specification has %d kinds, the code %d", len(table), len(answers))
	}
	for i, row := range table {
		if int(row.kind) != i {
			t.Errorf("kind %d stands in row %d", row.kind, i)
		}
		if row.kind.Status() != row.status || row.kind.Code() != row.code {
			t.Errorf("kind %d is %d %s, want %d %s", row.kind, row.kind.Status(), row.kind.Code(), row.status, row.code)
		}
	}
	var zero Error
	if zero.Kind != Internal {
		t.Error("the zero kind must be Internal")
	}
}

// TestAsError: what is not ours becomes Internal, and its text stays behind.
func TestAsError(t *testing.T) {
	ours := &Error{Kind: Denied, Description: "no", Detail: "why"}
	const foreign = "secret arn:aws:iam::111122223333:role/x"
	for _, test := range []struct {
		name string
		err  error
		want Kind
	}{
		{"ours", ours, Denied},
		{"ours, wrapped", fmt.Errorf(foreign+": %w", ours), Denied},
		{"foreign", errors.New(foreign), Internal},
		{"foreign, joined", errors.Join(io.EOF, errors.New(foreign)), Internal},
		{"deadline", fmt.Errorf(foreign+": %w", context.DeadlineExceeded), Timeout},
		{"canceled", context.Canceled, Timeout},
		{"too many wait", cache.ErrBusy, Unavailable},
		{"frozen until it was over", cache.ErrExpired, Unavailable},
		{"at rest", &cache.RestError{Err: ours}, Denied},
		{"nil", nil, Internal},
	} {
		e := AsError(test.err)
		if e.Kind != test.want {
			t.Errorf("%s: got kind %d, want %d", test.name, e.Kind, test.want)
		}
		if text := e.Error() + e.Description + e.Detail; strings.Contains(text, "arn:") || strings.Contains(text, "secret") {
			t.Errorf("%s: the text of a foreign error came through", test.name)
		}
	}
}

// TestDocumentFailure: what the registry's errors become.
func TestDocumentFailure(t *testing.T) {
	document := &registry.DocumentError{Client: "billing", Version: "v1", Problems: []string{"client_id must be a string", "alg is \"not\" known"}}
	for _, test := range []struct {
		name string
		err  error
		want Kind
		says string
	}{
		{"no such client", fmt.Errorf("client x: %w", secret.ErrNotFound), Denied, "not allowed, or no such client"},
		{"may not be read", fmt.Errorf("client x: %w", secret.ErrDenied), Misconfigured, "cannot be read"},
		{"not now", fmt.Errorf("client x: %w", secret.ErrUnavailable), Unavailable, "cannot be read now"},
		{"metadata of the issuer", fmt.Errorf("client x: %w", oauth.ErrDiscovery), Unavailable, "cannot be read now"},
		{"too late", fmt.Errorf("client x: %w", context.DeadlineExceeded), Timeout, "in time"},
		{"bad document", fmt.Errorf("client x: %w", document), Misconfigured, "client_id must be a string; alg is"},
		{"too many wait", cache.ErrBusy, Unavailable, "too many"},
		{"another", errors.New("arn:aws:secretsmanager:x"), Internal, "internal error"},
	} {
		e := documentFailure(test.err)
		if e.Kind != test.want || !strings.Contains(e.Description, test.says) {
			t.Errorf("%s: got %d %q, want %d and %q", test.name, e.Kind, e.Description, test.want, test.says)
		}
		if strings.ContainsAny(e.Description, `"\`) || strings.Contains(e.Description+e.Detail, "arn:") {
			t.Errorf("%s: %q holds what no description may", test.name, e.Description)
		}
		if (e.RetryAfter > 0) != (e.Kind == Unavailable || e.Kind == Timeout) {
			t.Errorf("%s: RetryAfter is %v", test.name, e.RetryAfter)
		}
		if e.reread {
			t.Errorf("%s: reading again what was just read", test.name)
		}
	}
}

// TestExchangeFailure: the server's answers as the caller sees them. A refused
// credential is never the caller's 401.
func TestExchangeFailure(t *testing.T) {
	for _, test := range []struct {
		name    string
		failure oauth.Error
		want    Kind
		reread  bool
	}{
		{"invalid_client 401", oauth.Error{Reason: oauth.Refused, Status: 401, Code: "invalid_client"}, Misconfigured, true},
		{"invalid_client 400", oauth.Error{Reason: oauth.Refused, Status: 400, Code: "invalid_client"}, Misconfigured, true},
		{"401 without a code", oauth.Error{Reason: oauth.Refused, Status: 401}, Misconfigured, true},
		{"unauthorized_client", oauth.Error{Reason: oauth.Refused, Status: 400, Code: "unauthorized_client"}, Misconfigured, true},
		{"403", oauth.Error{Reason: oauth.Refused, Status: 403}, Misconfigured, true},
		{"404", oauth.Error{Reason: oauth.Refused, Status: 404}, Misconfigured, true},
		{"certificate refused", oauth.Error{Reason: oauth.CertificateRefused}, Misconfigured, true},
		{"redirect", oauth.Error{Reason: oauth.Redirected, Status: 302}, Misconfigured, true},
		{"no token", oauth.Error{Reason: oauth.Unusable, Status: 200}, Misconfigured, true},
		{"untrusted", oauth.Error{Reason: oauth.Untrusted}, Misconfigured, true},
		{"address", oauth.Error{Reason: oauth.AddressRefused}, Misconfigured, true},
		{"no proof", oauth.Error{Reason: oauth.NoProof}, Misconfigured, true},
		{"invalid_scope", oauth.Error{Reason: oauth.Refused, Status: 400, Code: "invalid_scope"}, InvalidScope, false},
		{"invalid_target", oauth.Error{Reason: oauth.Refused, Status: 400, Code: "invalid_target"}, InvalidTarget, false},
		{"429", oauth.Error{Reason: oauth.Refused, Status: 429, RetryAfter: 7 * time.Second}, Throttled, false},
		{"500", oauth.Error{Reason: oauth.Refused, Status: 500}, Unavailable, false},
		{"503 invalid_client", oauth.Error{Reason: oauth.Refused, Status: 503, Code: "invalid_client"}, Misconfigured, true},
		{"unreachable", oauth.Error{Reason: oauth.Unreachable}, Unavailable, false},
		{"timed out", oauth.Error{Reason: oauth.TimedOut}, Timeout, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := exchangeFailure(&test.failure)
			if e.Kind != test.want || e.reread != test.reread {
				t.Errorf("got kind %d, reread %v, want %d, %v", e.Kind, e.reread, test.want, test.reread)
			}
			if (e.Upstream != nil) != (test.failure.Status != 0) || e.Upstream != nil && (e.Upstream.Status != test.failure.Status || e.Upstream.Code != test.failure.Code) {
				t.Errorf("upstream is %+v", e.Upstream)
			}
			if e.Kind == Throttled && e.RetryAfter != 7*time.Second {
				t.Errorf("RetryAfter is %v, want the server's", e.RetryAfter)
			}
			if (e.RetryAfter > 0) != (e.Kind == Throttled || e.Kind == Unavailable || e.Kind == Timeout) {
				t.Errorf("RetryAfter is %v", e.RetryAfter)
			}
		})
	}
}

// TestDescriptionOfTheServer reaches the caller printable and cut.
func TestDescriptionOfTheServer(t *testing.T) {
	e := exchangeFailure(&oauth.Error{Reason: oauth.Refused, Status: 400, Code: "invalid_scope", Description: `scope "x\y` + strings.Repeat("z", 400), CorrelationID: "id-1"})
	if len(e.Description) > 200 || strings.ContainsAny(e.Description, `"\`) || !strings.Contains(e.Description, "scope") {
		t.Errorf("the description has %d bytes: %q", len(e.Description), e.Description)
	}
	if e.CorrelationID != "id-1" {
		t.Errorf("CorrelationID is %q", e.CorrelationID)
	}
}
