package oauth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenvendor/shared/strictjson"
)

func TestParseTokenKeepsMembers(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	token, detail := parseToken([]byte(`{"access_token":"tok","token_type":"bearer","expires_in":"3600","scope":"b a","jti":"x","refresh_token":"no","id_token":"no",
		"nested":{"a":[1, 2]},"expires_at":7}`), start)
	if detail != "" {
		t.Fatal(detail)
	}
	got := string(token.AppendJSON(nil, start.Add(90*time.Second)))
	want := `{"access_token":"tok","token_type":"Bearer","jti":"x","nested":{"a":[1, 2]},"scope":"b a","expires_in":3510,"expires_at":1800003600}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if token.Scope() != "b a" || !token.Issued().Equal(start) || !token.Expiry().Equal(start.Add(time.Hour)) {
		t.Errorf("got scope %q, issued %v, expiry %v", token.Scope(), token.Issued(), token.Expiry())
	}
	// x/oauth2 reads 0 as "never expires".
	for _, late := range []time.Duration{time.Hour - time.Millisecond, time.Hour, 2 * time.Hour} {
		if got := string(token.AppendJSON(nil, start.Add(late))); !strings.HasSuffix(got, `,"expires_in":1,"expires_at":1800003600}`) {
			t.Errorf("after %v: got %s, want expires_in 1", late, got)
		}
	}
	// The clock was set back by two hours.
	if got := string(token.AppendJSON(nil, start.Add(-2*time.Hour))); !strings.HasSuffix(got, `,"expires_in":3600,"expires_at":1799996400}`) {
		t.Errorf("after the clock was set back: got %s, want the token's lifetime", got)
	}
}

func TestParseTokenLimitsExpiry(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		name, raw string
		want      time.Duration // 0: unknown
	}{
		{"absent", ``, 0},
		{"null", `,"expires_in":null`, 0},
		{"empty string", `,"expires_in":""`, 0},
		{"number", `,"expires_in":60`, time.Minute},
		{"string", `,"expires_in":"60"`, time.Minute},
		{"fraction", `,"expires_in":1.5`, 1500 * time.Millisecond},
		{"over a day", `,"expires_in":864000`, 24 * time.Hour},
		{"overflows a Duration", `,"expires_in":3600000000000000000`, 24 * time.Hour},
		{"overflows a float", `,"expires_in":1e400`, 24 * time.Hour},
		{"one", `,"expires_in":1`, time.Second},
		{"below one", `,"expires_in":0.9`, 0},
		{"zero", `,"expires_in":0`, 0},
		{"negative", `,"expires_in":-1`, 0},
		{"minus infinity", `,"expires_in":-1e400`, 0},
		{"NaN as a string", `,"expires_in":"NaN"`, 0},
		{"words", `,"expires_in":"soon"`, 0},
		{"boolean", `,"expires_in":true`, 0},
		{"object", `,"expires_in":{}`, 0},
		{"date", `,"expires_in":"2027-01-15 08:00:00"`, 0},
		{"never", `,"expires_in":"-1"`, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, detail := parseToken([]byte(`{"access_token":"tok","token_type":"Bearer"`+tt.raw+`}`), start)
			switch {
			case detail != "":
				t.Error(detail)
			case tt.want == 0 && !token.Expiry().IsZero(), tt.want > 0 && token.Expiry().Sub(start) != tt.want:
				t.Errorf("got expiry %v, want %v after the start", token.Expiry(), tt.want)
			}
		})
	}
	token, _ := parseToken([]byte(`{"access_token":"tok"}`), start)
	if got := string(token.AppendJSON(nil, start)); got != `{"access_token":"tok","token_type":"Bearer"}` {
		t.Errorf("without expires_in: got %s", got)
	}
}

// The detail says what the answer looks like, and names no member of it.
func TestParseTokenSaysWhatTheAnswerIs(t *testing.T) {
	for body, want := range map[string]string{
		"\ufeff<html>":              "the answer is not a JSON object: it looks like HTML or XML at line 1, column 1",
		`{"access_token":"tok",`:    "the answer is not a JSON object: it ends before it is complete, at line 1, column 23",
		`{"scope":"a","scope":"b"}`: "the answer has a member twice, is nested too deeply or has too many members",
	} {
		if _, detail := parseToken([]byte(body), time.Now()); detail != want {
			t.Errorf("got %q, want %q", detail, want)
		}
	}
}

func TestParseTokenRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"empty":                 ``,
		"HTML":                  `<html>`,
		"list":                  `[]`,
		"truncated":             `{"access_token":"tok"`,
		"trailing text":         `{"access_token":"tok"}x`,
		"no token":              `{"token_type":"Bearer"}`,
		"empty token":           `{"access_token":""}`,
		"token is a number":     `{"access_token":1}`,
		"token is null":         `{"access_token":null}`,
		"token twice":           `{"access_token":"a","access_token":"b"}`,
		"error beside token":    `{"access_token":"tok","error":"invalid_client"}`,
		"line break in token":   `{"access_token":"a\r\nX: y"}`,
		"space in token":        `{"access_token":"a b"}`,
		"umlaut in token":       `{"access_token":"ü"}`,
		"token too large":       `{"access_token":"` + strings.Repeat("a", maxToken+1) + `"}`,
		"MAC":                   `{"access_token":"tok","token_type":"MAC"}`,
		"DPoP":                  `{"access_token":"tok","token_type":"DPoP"}`,
		"N_A":                   `{"access_token":"tok","token_type":"N_A"}`,
		"type is a number":      `{"access_token":"tok","token_type":1}`,
		"scope is a list of 1":  `{"access_token":"tok","scope":["a",1]}`,
		"control char in list":  `{"access_token":"tok","scope":["a\n"]}`,
		"scope is an object":    `{"access_token":"tok","scope":{"a":1}}`,
		"scope is Latin-1":      "{\"access_token\":\"tok\",\"scope\":\"\xfc\"}",
		"lifetime twice":        `{"access_token":"tok","expires_in":1,"expires_in":2}`,
		"one name, two escapes": `{"access_token":"tok","scope":"a","sc\u006fpe":"b"}`,
		"error after no error":  `{"access_token":"tok","error":"","error":"invalid_client"}`,
		"error is true":         `{"access_token":"tok","error":true}`,
		"error is an object":    `{"access_token":"tok","error":{}}`,
		"white space only":      `{"access_token":" \n"}`,
		"tab in token":          `{"access_token":"tok\ttok"}`,
		"Bearer in token":       `{"access_token":"Bearer tok"}`,
		"two byte order marks":  "\ufeff\ufeff{\"access_token\":\"tok\"}",
		"1001 members":          `{"access_token":"tok","a":1,"a":2` + manyMembers(1000) + `}`,
		"Bearer in another":     `{"access_token":"tok","token_type":"bearer jwt"}`,
		"control char in scope": `{"access_token":"tok","scope":"a\u0000"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, detail := parseToken([]byte(body), time.Now()); detail == "" {
				t.Error("got no error")
			} else if strings.Contains(detail, "tok\"") {
				t.Errorf("the detail %q repeats the answer", detail)
			}
		})
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":0`, i)
	}
	return b.String()
}

// TestParseTokenAcceptsOddAnswers: what is odd and not needed is left out, and the members of
// RFC 6749 section 5.1 have their usual form for callers.
func TestParseTokenAcceptsOddAnswers(t *testing.T) {
	for _, tt := range []struct{ name, body, want string }{
		{"type of Apigee", `{"token_type":"BearerToken","access_token":"a1"}`, `{"access_token":"a1","token_type":"Bearer"}`},
		{"type in capitals", `{"access_token":"a1","token_type":"BEARER"}`, `{"access_token":"a1","token_type":"Bearer"}`},
		{"no type", `{"access_token":"a1"}`, `{"access_token":"a1","token_type":"Bearer"}`},
		{"type is null", `{"access_token":"a1","token_type":null}`, `{"access_token":"a1","token_type":"Bearer"}`},
		{"type is empty", `{"access_token":"a1","token_type":""}`, `{"access_token":"a1","token_type":"Bearer"}`},
		{"list of scopes", `{"access_token":"a1","scope":["x:y", "z<&>"]}`, `{"access_token":"a1","token_type":"Bearer","scope":"x:y z<&>"}`},
		{"list of one scope", `{"access_token":"a1","scope":["x"]}`, `{"access_token":"a1","token_type":"Bearer","scope":"x"}`},
		{"empty list of scopes", `{"access_token":"a1","scope":[]}`, `{"access_token":"a1","token_type":"Bearer","scope":""}`},
		{"scope is null", `{"access_token":"a1","scope":null}`, `{"access_token":"a1","token_type":"Bearer","scope":null}`},
		{"no error", `{"access_token":"a1","error":"","error_description":"","error_uri":""}`, `{"access_token":"a1","token_type":"Bearer"}`},
		{"error is false", `{"access_token":"a1","error":false}`, `{"access_token":"a1","token_type":"Bearer"}`},
		{"member twice", `{"u":1,"access_token":"a1","u":2,"v":3,"u":4}`, `{"access_token":"a1","token_type":"Bearer","v":3}`},
		{"member twice, escaped", `{"access_token":"a1","u":2,"\u0075":3}`, `{"access_token":"a1","token_type":"Bearer"}`},
		{"member twice in another", `{"access_token":"a1","u":[{"x":1,"x":2}],"v":{"x":1}}`, `{"access_token":"a1","token_type":"Bearer","v":{"x":1}}`},
		{"Latin-1", "\r\n{\"access_token\":\"a1\",\"stra\xdfe\":1,\"u\":\"K\xf6ln\",\"v\":\"ok\"}\n", `{"access_token":"a1","token_type":"Bearer","v":"ok"}`},
		{"half a character", `{"access_token":"a1","u":"\udc00","\ud800":1}`, `{"access_token":"a1","token_type":"Bearer"}`},
		{"white space around token", `{"access_token":" \ta1\r\n"}`, `{"access_token":"a1","token_type":"Bearer"}`},
		{"token of Salesforce", `{"access_token":"00D!a&<1","expires_in":""}`, `{"access_token":"00D!a&<1","token_type":"Bearer"}`},
		{"byte order mark", "\ufeff \n{\"access_token\":\"a1\"}", `{"access_token":"a1","token_type":"Bearer"}`},
		{"byte order mark and Latin-1", "\ufeff{\"access_token\":\"a1\",\"u\":\"\xe4\"}", `{"access_token":"a1","token_type":"Bearer"}`},
	} {
		token, detail := parseToken([]byte(tt.body), time.Now())
		if detail != "" {
			t.Errorf("%s: %s", tt.name, detail)
			continue
		}
		if got := string(token.AppendJSON(nil, time.Now())); got != tt.want {
			t.Errorf("%s: got  %s\nwant %s", tt.name, got, tt.want)
		}
		var members struct {
			Access string `json:"access_token"`
			Scope  string `json:"scope"`
		}
		if json.Unmarshal(token.AppendJSON(nil, time.Now()), &members) != nil || members.Access != token.AccessToken().Expose() || members.Scope != token.Scope() {
			t.Errorf("%s: the members differ from AccessToken or Scope", tt.name)
		}
	}
}

// TestExpiryOfJWT: exp replaces a lifetime that the server does not name, and limits one that it
// names. Without a usable one, the token is not kept.
func TestExpiryOfJWT(t *testing.T) {
	start := time.Unix(1_800_000_000, 0).Add(700 * time.Millisecond)
	for _, tt := range []struct {
		name, expiresIn, claims string
		want                    time.Duration // 0: unknown
	}{
		{"no lifetime", ``, `{"exp":1800000600}`, 599300 * time.Millisecond},
		{"lifetime null", `null`, `{"exp":1800000600}`, 599300 * time.Millisecond},
		{"lifetime -1", `-1`, `{"exp":1800000600}`, 599300 * time.Millisecond},
		{"longer lifetime", `7200`, `{"exp":1800000600}`, 599300 * time.Millisecond},
		{"longer lifetime, fraction", `"7200"`, `{"exp":1800000600.5}`, 599800 * time.Millisecond},
		{"shorter lifetime", `60`, `{"exp":1800000600}`, time.Minute},
		{"same lifetime, counted on two clocks", `600`, `{"exp":1800000598}`, 10 * time.Minute},
		{"exp is over", `600`, `{"exp":1799999000}`, 0},
		{"exp is over, no lifetime", ``, `{"exp":1800000001}`, 0},
		{"longer than a day", ``, `{"exp":1900000000}`, 24 * time.Hour},
		{"exp is a string", ``, `{"exp":"1800000600"}`, 599300 * time.Millisecond},
		{"exp has an escaped name", ``, `{"e\u0078p":1800000600}`, 599300 * time.Millisecond},
		{"exp is a date", `600`, `{"exp":"2027-01-15"}`, 10 * time.Minute},
		{"exp is null", `600`, `{"exp":null}`, 10 * time.Minute},
		{"exp overflows", ``, `{"exp":1e400}`, 24 * time.Hour},
		{"no exp", ``, `{"sub":"x"}`, 0},
		{"claims are not JSON", `600`, `{"exp":1`, 10 * time.Minute},
	} {
		body := `{"access_token":"` + jwt(tt.claims) + `"`
		if tt.expiresIn != "" {
			body += `,"expires_in":` + tt.expiresIn
		}
		token, detail := parseToken([]byte(body+`}`), start)
		switch {
		case detail != "":
			t.Errorf("%s: %s", tt.name, detail)
		case tt.want == 0 && !token.Expiry().IsZero(), tt.want > 0 && token.Expiry().Sub(start).Round(time.Millisecond) != tt.want:
			t.Errorf("%s: got expiry %v, want %v after the start", tt.name, token.Expiry(), tt.want)
		}
	}
}

func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
}

func TestCertificateBound(t *testing.T) {
	for _, tt := range []struct {
		name, token string
		want        bool
	}{
		{"bound", jwt(`{"sub":"x","cnf":{"x5t#S256":"abc"}}`), true},
		{"bound, with escaped names", jwt(`{"\u0063nf":{"x5t\u0023S256":"abc"}}`), true},
		{"DPoP bound", jwt(`{"cnf":{"jkt":"abc"}}`), false},
		{"not bound", jwt(`{"sub":"x"}`), false},
		{"cnf is a string", jwt(`{"cnf":"x"}`), false},
		{"opaque", "3a7f", false},
		{"dots only", strings.Repeat(".", 1000), false},
		{"claims are not JSON", jwt(`x`), false},
	} {
		if got := readClaims(tt.token).bound(); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestConnectionGivenUpBySystemIsBroken: ETIMEDOUT is a time-out to package net. The system ends a
// connection with it on which nothing was acknowledged, which is no time-out of the exchange.
func TestConnectionGivenUpBySystemIsBroken(t *testing.T) {
	ended := func(op string, number syscall.Errno) error {
		return fmt.Errorf("read: %w", &net.OpError{Op: op, Err: os.NewSyscallError(op, number)})
	}
	for _, tt := range []struct {
		name     string
		err      error
		answered bool
		want     Error
	}{
		{"before the answer", ended("read", syscall.ETIMEDOUT), false, Error{Reason: Unreachable, Detail: "the connection broke before an answer"}},
		{"in the answer", ended("read", syscall.ETIMEDOUT), true, Error{Reason: Unusable, Detail: "the answer's head is malformed, too large or broke off"}},
		{"while dialling", ended("dial", syscall.ETIMEDOUT), false, Error{Reason: Unreachable, Detail: "connecting took too long"}},
		{"time-out of the exchange", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, false, Error{Reason: TimedOut}},
	} {
		var trace attemptTrace
		trace.answered.Store(tt.answered)
		if got := trace.transportError(tt.err); got.Reason != tt.want.Reason || got.Detail != tt.want.Detail {
			t.Errorf("%s: got %v, %q; want %v, %q", tt.name, got.Reason, got.Detail, tt.want.Reason, tt.want.Detail)
		}
	}
}

func TestRedactEchoRecognisesEncodings(t *testing.T) {
	secret := `zq/+%&"<\$>-CNRY-0123456789`
	sent := sentCredentials(url.Values{"client_secret": {secret}}, http.Header{})
	for name, text := range map[string]string{
		"as it is": secret, "first part": secret[:10], "last part": secret[15:], "form": url.QueryEscape(secret), "path": url.PathEscape(secret),
		"lower-case hex": strings.NewReplacer("%2F", "%2f", "%2B", "%2b", "%3C", "%3c").Replace(url.QueryEscape(secret)[:32]), "base64": base64.StdEncoding.EncodeToString([]byte(secret)), "JSON": `zq\/+%&\"<\\$>-CNRY-0123456789`,
	} {
		if got := redactEcho("bad secret "+text+" given", sent); got != redacted {
			t.Errorf("%s: got %q", name, got)
		}
	}
	for _, text := range []string{"", "the client is not known", "CNRY"} {
		if got := redactEcho(text, sent); got != text {
			t.Errorf("%q: got %q, want it unchanged", text, got)
		}
	}
	if errorCode("CNRY-0123456789", sent) != "" || errorCode("invalid_client", sent) != "invalid_client" {
		t.Error("errorCode returns the secret or drops invalid_client")
	}
	if got := redactEcho("short pw given", []string{"pw"}); got != redacted {
		t.Errorf("short secret: got %q", got)
	}
}

// TestIdentifierIsShortAndPlain: RFC 6749 section 5.2 allows any printable text as an error, and the
// vendor logs the error.
func TestIdentifierIsShortAndPlain(t *testing.T) {
	const characters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_."
	want := func(text string, kept bool) {
		t.Helper()
		if got := identifier(text, nil); kept && got != text || !kept && got != "" {
			t.Errorf("%q: got %q, want it kept: %t", text, got, kept)
		}
	}
	for c := range 256 {
		want("a"+string([]byte{byte(c)})+"b", strings.IndexByte(characters, byte(c)) >= 0)
	}
	want("", false)
	want(strings.Repeat("x", 64), true)
	want(strings.Repeat("x", 65), false)
	want("arn:aws:iam::123456789012:role/vendor", false)
	want("\u00e9\u0141", false)
}

func TestRetryAfterIsLimited(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0}, {"0", 0}, {"2", 2 * time.Second}, {"300", 5 * time.Minute}, {"86400", 5 * time.Minute},
		{"99999999999999999999", 5 * time.Minute}, {"-1", 0}, {"+5", 0}, {"1e3", 0}, {"banana", 0},
		{"Mon, 23 Nov 2026 12:00:07 GMT", 7 * time.Second}, {"Mon, 23 Nov 2026 11:00:00 GMT", 0}, {"Sun, 01 Jan 2099 00:00:00 GMT", 5 * time.Minute},
	} {
		if got := retryAfter(tt.value, now); got != tt.want {
			t.Errorf("%q: got %v, want %v", tt.value, got, tt.want)
		}
	}
}

func TestPrintableReplacesOtherCharacters(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                  "plain",
		"a\"b\\c\nd":             "a?b?c?d",
		"für":                    "f?r",
		"\x1b[2J":                "?[2J",
		strings.Repeat("x", 300): strings.Repeat("x", 200),
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestParseEndpointRequiresHTTPS(t *testing.T) {
	for _, good := range []string{"https://as.test/oauth2/token", "https://as.test:8443/", "https://127.0.0.1:1/t", "https://[::1]:443/t?tenant=x"} {
		if _, err := ParseEndpoint(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "http://as.test/", "ftp://as.test/", "https:///x", "https:as.test/x", "//as.test/x", "https://u:p@as.test/", "https://as.test/#f", "https://as.test/#",
		"https://as.test:0/", "https://as.test:70000/", "https://as.test:/", "https://[::1%25lo]/", "https://as.test/a b", "https://as.test/\t", "https://äs.test/", "https://as%C3%A4.test/", "https://as%EF%BD%84.test/", "https://" + strings.Repeat("a", 4096)} {
		if _, err := ParseEndpoint(bad); err == nil {
			t.Errorf("%q: got no error", bad)
		} else if len(bad) > 12 && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: the error repeats it", bad)
		}
	}
}

// TestAmbiguousAnswerNeedsLittleMemory: an answer with a member twice is read member by member, up to
// as many as an answer may have.
func TestAmbiguousAnswerNeedsLittleMemory(t *testing.T) {
	body := []byte(`{"a":1,"a":2` + strings.Repeat(`,"b":{}`, 100_000) + `}`)
	var err error
	allocations := testing.AllocsPerRun(1, func() { _, err = readAnswer(body) })
	if !errors.Is(err, strictjson.ErrLimit) || allocations > 50_000 {
		t.Errorf("got error %v after %v allocations, want one after less than one for each member", err, allocations)
	}
}
