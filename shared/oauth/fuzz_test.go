package oauth

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/strictjson"
)

// FuzzParseToken: the result is a detail, or a token whose JSON is valid and whose access
// token fits into a header.
func FuzzParseToken(f *testing.F) {
	for _, seed := range []string{`{"access_token":"tok","token_type":"Bearer","expires_in":3600}`, `{"access_token":"a.b.c","cnf":{}}`, `{"error":"x"}`, `<html>`, `{"access_token":"t","expires_in":"1e308"}`,
		`{"access_token":"t\n","scope":["a","b"],"u":1,"u":2}`, "\ufeff{\"access_token\":\"t\",\"u\":\"\xfc\"}", `{"access_token":"e30.eyJleHAiOjE4MDAwMDA2MDB9.x"}`} {
		f.Add([]byte(seed))
	}
	start := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, body []byte) {
		token, detail := parseToken(body, start)
		if detail != "" {
			return
		}
		if access := token.AccessToken().Expose(); access == "" || !isToken(access) {
			t.Error("the access token does not fit into a header")
		}
		members, err := strictjson.Object(token.AppendJSON(nil, start), strictjson.Limits{})
		if err != nil || string(members["token_type"]) != `"Bearer"` {
			t.Errorf("the token JSON is not valid or has no type: %v", err)
		}
		if access, _ := strictjson.String(members["access_token"]); access != token.AccessToken().Expose() {
			t.Error("the member access_token differs from AccessToken")
		}
		if scope, _ := strictjson.String(members["scope"]); scope != token.Scope() || strings.ContainsFunc(scope, notNQSCHAR) {
			t.Error("the member scope differs from Scope or is not valid")
		}
		if !token.Expiry().IsZero() && !token.Expiry().After(start) {
			t.Error("the token is already expired")
		}
	})
}

// FuzzReadError: the code is safe to log, and invalid_client is not found in a text that is
// no JSON object if the request contained it.
func FuzzReadError(f *testing.F) {
	for _, seed := range []string{`{"error":"invalid_client"}}`, `<html>invalid_client`, `{"error":{"code":"invalid_client"}}`, "\ufeff{", `{"a":1,"error":"x"`} {
		f.Add([]byte(seed))
	}
	s := sent{form: url.Values{"scope": {"invalid_client"}}, credentials: []string{"canary-0123"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		e := &Error{Reason: Refused, Status: 400}
		e.readError(body, s)
		if !isToken(e.Code) || len(e.Code) > 64 || strings.Contains(e.Code, "canary-0") || strings.ContainsFunc(e.Description, notNQSCHAR) {
			t.Errorf("got code %q, description %q", e.Code, e.Description)
		}
		if e.FailedLogon() && !bytes.Contains(body, []byte("{")) {
			t.Error("got a failed logon from a text that repeats the request")
		}
	})
}

// FuzzParseEndpoint: an accepted URL is an https URL with a host, and its text is stable.
func FuzzParseEndpoint(f *testing.F) {
	for _, seed := range []string{"https://as.test/t", "https://u@as.test/", "https://as.test:0/", "https://[::1]:1/", "https://as.test/#", "https:\\\\as.test"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := ParseEndpoint(raw)
		if err != nil {
			return
		}
		if u.Scheme != "https" || u.User != nil || u.Hostname() == "" || strings.ContainsFunc(raw, notURLByte) || strings.Contains(raw, "#") {
			t.Errorf("%q: got no error", raw)
		}
		again, err := ParseEndpoint(u.String())
		if err != nil || again.String() != u.String() {
			t.Errorf("%q: parsed again, got %v, error %v", raw, again, err)
		}
	})
}

// FuzzMetadata: an accepted token endpoint is on the issuer's host.
func FuzzMetadata(f *testing.F) {
	const issuer = "https://as.test"
	for _, seed := range []string{`{"issuer":"https://as.test","token_endpoint":"https://as.test/t"}`, `{"issuer":"https://as.test","token_endpoint":"https://evil.test/t"}`,
		`{"issuer":"https://as.test","token_endpoint":"https://as.test/t","mtls_endpoint_aliases":{"token_endpoint":"https://m.test/"}}`} {
		f.Add([]byte(seed))
	}
	base, err := ParseEndpoint(issuer)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		members, err := readAnswer(body, "issuer", "token_endpoint", "mtls_endpoint_aliases")
		if err != nil {
			return
		}
		m, err := readMetadata(members, base, issuer)
		if err != nil {
			return
		}
		u, err := ParseEndpoint(m.TokenEndpoint)
		if err != nil || !strings.EqualFold(u.Hostname(), "as.test") || m.Issuer != issuer {
			t.Errorf("got %+v", m)
		}
	})
}

// FuzzRetryAfter: the pause is never negative or too long.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"1", "Mon, 23 Nov 2026 12:00:07 GMT", "-1", "1e9"} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		if d := retryAfter(value, now); d < 0 || d > MaxRetryAfter {
			t.Errorf("got %v", d)
		}
	})
}

func FuzzJoinECDSA(f *testing.F) {
	f.Add([]byte{0x30, 6, 2, 1, 1, 2, 1, 1})
	f.Fuzz(func(t *testing.T, der []byte) {
		if joined, err := joinECDSA(der, 32); err == nil && len(joined) != 64 {
			t.Errorf("got %d bytes, want 64", len(joined))
		}
	})
}
