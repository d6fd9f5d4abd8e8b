package oauth

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestParseTokenKeepsMembers(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	token, detail := parseToken([]byte(`{"access_token":"tok","token_type":"bearer","expires_in":"3600","scope":"b a","jti":"x","refresh_token":"no","id_token":"no",
		"nested":{"a":[1, 2]},"expires_at":7}`), start)
	if detail != "" {
		t.Fatal(detail)
	}
	got := string(token.AppendJSON(nil, start.Add(90*time.Second)))
	want := `{"access_token":"tok","token_type":"bearer","jti":"x","nested":{"a":[1, 2]},"scope":"b a","expires_in":3510,"expires_at":1800003600}`
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
		want      time.Duration // 0: unknown; -1: refused
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
		{"below one", `,"expires_in":0.9`, -1},
		{"zero", `,"expires_in":0`, -1},
		{"negative", `,"expires_in":-1`, -1},
		{"minus infinity", `,"expires_in":-1e400`, -1},
		{"NaN as a string", `,"expires_in":"NaN"`, -1},
		{"words", `,"expires_in":"soon"`, -1},
		{"boolean", `,"expires_in":true`, -1},
		{"object", `,"expires_in":{}`, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, detail := parseToken([]byte(`{"access_token":"tok","token_type":"Bearer"`+tt.raw+`}`), start)
			switch {
			case tt.want < 0 && detail == "":
				t.Error("got no error")
			case tt.want < 0:
			case detail != "":
				t.Error(detail)
			case tt.want == 0 && !token.Expiry().IsZero(), tt.want > 0 && token.Expiry().Sub(start) != tt.want:
				t.Errorf("got expiry %v, want %v after the start", token.Expiry(), tt.want)
			}
		})
	}
	token, _ := parseToken([]byte(`{"access_token":"tok"}`), start)
	if got := string(token.AppendJSON(nil, start)); got != `{"access_token":"tok"}` {
		t.Errorf("without expires_in: got %s", got)
	}
}

// The detail says what the answer looks like, and names no member of it.
func TestParseTokenSaysWhatTheAnswerIs(t *testing.T) {
	for body, want := range map[string]string{
		"\ufeff<html>":           "the answer is not a JSON object: it looks like HTML or XML at line 1, column 1",
		`{"access_token":"tok",`: "the answer is not a JSON object: it ends before it is complete, at line 1, column 23",
		`{"a":1,"a":2}`:          "the answer has a member twice, is nested too deeply or has too many members",
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
		"scope is a list":       `{"access_token":"tok","scope":["a"]}`,
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

func TestCertificateBound(t *testing.T) {
	jwt := func(claims string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".sig"
	}
	for _, tt := range []struct {
		name, token string
		want        bool
	}{
		{"bound", jwt(`{"sub":"x","cnf":{"x5t#S256":"abc"}}`), true},
		{"DPoP bound", jwt(`{"cnf":{"jkt":"abc"}}`), false},
		{"not bound", jwt(`{"sub":"x"}`), false},
		{"cnf is a string", jwt(`{"cnf":"x"}`), false},
		{"opaque", "3a7f", false},
		{"dots only", strings.Repeat(".", 1000), false},
		{"claims are not JSON", jwt(`x`), false},
	} {
		if got := certificateBound(tt.token); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
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

func TestRetryAfterIsLimited(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0}, {"0", 0}, {"2", 2 * time.Second}, {"300", 5 * time.Minute}, {"86400", 5 * time.Minute},
		{"99999999999999999999", 0}, {"-1", 0}, {"+5", 0}, {"1e3", 0}, {"banana", 0},
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
		"https://as.test:0/", "https://as.test:70000/", "https://as.test:/", "https://[::1%25lo]/", "https://as.test/a b", "https://as.test/\t", "https://äs.test/", "https://" + strings.Repeat("a", 4096)} {
		if _, err := ParseEndpoint(bad); err == nil {
			t.Errorf("%q: got no error", bad)
		} else if len(bad) > 12 && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: the error repeats it", bad)
		}
	}
}
