package oauth

import (
	"encoding/base64"
	"encoding/json"
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
		t.Errorf("scope %q, issued %v, expiry %v", token.Scope(), token.Issued(), token.Expiry())
	}
	if late := string(token.AppendJSON(nil, start.Add(2*time.Hour))); !strings.Contains(late, `"expires_in":0,`) {
		t.Errorf("after its end the life is not 0: %s", late)
	}
}

func TestParseTokenLife(t *testing.T) {
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
				t.Error("it is taken")
			case tt.want < 0:
			case detail != "":
				t.Error(detail)
			case tt.want == 0 && !token.Expiry().IsZero(), tt.want > 0 && token.Expiry().Sub(start) != tt.want:
				t.Errorf("expiry %v", token.Expiry())
			}
		})
	}
	token, _ := parseToken([]byte(`{"access_token":"tok"}`), start)
	if got := string(token.AppendJSON(nil, start)); got != `{"access_token":"tok"}` {
		t.Errorf("without a life: %s", got)
	}
}

func TestParseTokenRefuses(t *testing.T) {
	for name, body := range map[string]string{
		"empty":                 ``,
		"HTML":                  `<html>`,
		"list":                  `[]`,
		"truncated":             `{"access_token":"tok"`,
		"text behind":           `{"access_token":"tok"}x`,
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
				t.Error("it is taken")
			} else if strings.Contains(detail, "tok\"") {
				t.Error("the detail repeats the answer")
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
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestRedactEcho(t *testing.T) {
	secret := `zq/+%&"<\$>-CNRY-0123456789`
	sent := proofs(url.Values{"client_secret": {secret}}, http.Header{})
	for name, text := range map[string]string{
		"as it is": secret, "first part": secret[:10], "last part": secret[15:], "form": url.QueryEscape(secret), "path": url.PathEscape(secret),
		"lower-case hex": strings.NewReplacer("%2F", "%2f", "%2B", "%2b", "%3C", "%3c").Replace(url.QueryEscape(secret)[:32]), "base64": base64.StdEncoding.EncodeToString([]byte(secret)), "JSON": `zq\/+%&\"<\\$>-CNRY-0123456789`,
	} {
		if got := redactEcho("bad secret "+text+" given", sent); got != redacted {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, text := range []string{"", "the client is not known", "CNRY"} {
		if got := redactEcho(text, sent); got != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	if errorCode("CNRY-0123456789", sent) != "" || errorCode("invalid_client", sent) != "invalid_client" {
		t.Error("the error code")
	}
	if got := redactEcho("short pw given", []string{"pw"}); got != redacted {
		t.Errorf("short secret: %s", got)
	}
}

func TestRetryAfter(t *testing.T) {
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
			t.Errorf("%q: %v, want %v", tt.value, got, tt.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                  "plain",
		"a\"b\\c\nd":             "a?b?c?d",
		"für":                    "f?r",
		"\x1b[2J":                "?[2J",
		strings.Repeat("x", 300): strings.Repeat("x", 200),
	} {
		if got := Printable(in); got != want {
			t.Errorf("%q becomes %q", in, got)
		}
	}
}

func TestParseEndpoint(t *testing.T) {
	for _, good := range []string{"https://as.test/oauth2/token", "https://as.test:8443/", "https://127.0.0.1:1/t", "https://[::1]:443/t?tenant=x"} {
		if _, err := ParseEndpoint(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "http://as.test/", "ftp://as.test/", "https:///x", "https:as.test/x", "//as.test/x", "https://u:p@as.test/", "https://as.test/#f", "https://as.test/#",
		"https://as.test:0/", "https://as.test:70000/", "https://as.test:/", "https://[::1%25lo]/", "https://as.test/a b", "https://as.test/\t", "https://äs.test/", "https://" + strings.Repeat("a", 4096)} {
		if _, err := ParseEndpoint(bad); err == nil {
			t.Errorf("%q is taken", bad)
		} else if len(bad) > 12 && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: the error repeats it", bad)
		}
	}
}

// FuzzParseToken: whatever a server answers, the result is a detail, or a token
// whose JSON is valid and whose access token fits a header.
func FuzzParseToken(f *testing.F) {
	for _, seed := range []string{`{"access_token":"tok","token_type":"Bearer","expires_in":3600}`, `{"access_token":"a.b.c","cnf":{}}`, `{"error":"x"}`, `<html>`, `{"access_token":"t","expires_in":"1e308"}`} {
		f.Add([]byte(seed))
	}
	start := time.Unix(1_800_000_000, 0)
	f.Fuzz(func(t *testing.T, body []byte) {
		token, detail := parseToken(body, start)
		if detail != "" {
			return
		}
		if access := token.AccessToken().Expose(); access == "" || strings.ContainsFunc(access, notTokenByte) {
			t.Error("a token that no header can carry")
		}
		if !json.Valid(token.AppendJSON(nil, start)) {
			t.Error("the token JSON is not valid")
		}
		if !token.Expiry().IsZero() && !token.Expiry().After(start) {
			t.Error("expired from the beginning")
		}
	})
}

// FuzzParseEndpoint: what is taken leads to a host by https and nowhere else.
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
			t.Errorf("%q is taken", raw)
		}
		again, err := ParseEndpoint(u.String())
		if err != nil || again.String() != u.String() {
			t.Errorf("%q is another URL the second time: %v", raw, err)
		}
	})
}

// FuzzMetadata: no metadata leads a secret to another host.
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
		m, err := parseMetadata(body, base, issuer)
		if err != nil {
			return
		}
		u, err := ParseEndpoint(m.TokenEndpoint)
		if err != nil || !strings.EqualFold(u.Hostname(), "as.test") || m.Issuer != issuer {
			t.Errorf("%+v is taken", m)
		}
	})
}

// FuzzRetryAfter: whatever a header says, the pause is bounded.
func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"1", "Mon, 23 Nov 2026 12:00:07 GMT", "-1", "1e9"} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		if d := retryAfter(value, now); d < 0 || d > MaxRetryAfter {
			t.Errorf("%v", d)
		}
	})
}
