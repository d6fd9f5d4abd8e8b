package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/strictjson"
)

// answer is a response taken apart.
type answer struct {
	// status is 0 for a direct invoke.
	status  int
	code    string
	text    string
	headers map[string]string
	body    []byte
}

// readAnswer holds a response to what every answer must be (RFC 6749 sections
// 5.1 and 5.2) and takes it apart.
func readAnswer(t testing.TB, r response, direct bool) answer {
	t.Helper()
	if !utf8.Valid(r.payload) || !json.Valid(r.payload) {
		t.Fatalf("the answer is not JSON in UTF-8: %d bytes", len(r.payload))
	}
	if r.failed && !direct {
		t.Fatal("an HTTP event failed the function, so its caller gets API Gateway's 502")
	}
	switch {
	case r.failed:
		return readFailure(t, r)
	case direct:
		return answer{body: r.payload}
	}
	return readProxy(t, r)
}

// readFailure reads what Step Functions sees.
func readFailure(t testing.TB, r response) answer {
	t.Helper()
	var failure struct{ ErrorType, ErrorMessage string }
	members, err := strictjson.Object(r.payload, strictjson.Limits{})
	if err != nil || len(members) != 2 || json.Unmarshal(r.payload, &failure) != nil {
		t.Fatalf("a function error must have errorType and errorMessage only, got %v", slices.Sorted(maps.Keys(members)))
	}
	checkText(t, failure.ErrorType, failure.ErrorMessage)
	return answer{code: failure.ErrorType, text: failure.ErrorMessage, body: r.payload}
}

func readProxy(t testing.TB, r response) answer {
	t.Helper()
	var proxy struct {
		StatusCode      int
		Headers         map[string]string
		IsBase64Encoded *bool
		Body            string
	}
	members, err := strictjson.Object(r.payload, strictjson.Limits{})
	if err != nil || len(members) != 4 || json.Unmarshal(r.payload, &proxy) != nil || proxy.IsBase64Encoded == nil || *proxy.IsBase64Encoded {
		t.Fatalf("not a proxy response: %d members, %v", len(members), err)
	}
	a := answer{status: proxy.StatusCode, headers: proxy.Headers, body: []byte(proxy.Body)}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"} {
		if a.headers[name] != want {
			t.Errorf("%s is %q, want %q", name, a.headers[name], want)
		}
	}
	for name := range a.headers {
		switch name {
		case "Content-Type", "Cache-Control", "Pragma", "Retry-After", "Allow", "Token-Vendor-Warning":
		default:
			t.Errorf("header %s is not in the contract", name)
		}
	}
	if (a.status == 405) != (a.headers["Allow"] == "POST") {
		t.Errorf("status %d with Allow %q", a.status, a.headers["Allow"])
	}
	if a.status == 200 {
		checkToken(t, a.body)
		return a
	}
	a.code, a.text = readErrorDocument(t, a.body, r.requestID)
	if !inTable(a.status, a.code) {
		t.Errorf("%d %s is no row of the error table", a.status, a.code)
	}
	return a
}

// readErrorDocument reads the body of RFC 6749 section 5.2.
func readErrorDocument(t testing.TB, body []byte, requestID string) (code, description string) {
	t.Helper()
	members, err := strictjson.Object(body, strictjson.Limits{})
	if err != nil {
		t.Fatalf("the error document: %v", err)
	}
	for name := range members {
		switch name {
		case "error", "error_description", "request_id", "upstream":
		default:
			t.Errorf("%s is not in the contract", name)
		}
	}
	id, _ := strictjson.String(members["request_id"])
	if id != requestID || id == "" {
		t.Errorf("request_id is %q, want %q", id, requestID)
	}
	code, _ = strictjson.String(members["error"])
	description, _ = strictjson.String(members["error_description"])
	checkText(t, code, description)
	return code, description
}

// checkText holds error and error_description to RFC 6749 section 5.2.
func checkText(t testing.TB, code, description string) {
	t.Helper()
	if !slices.ContainsFunc(allKinds(), func(k fault.Kind) bool { return k.Code() == code }) {
		t.Errorf("error %q is not in the table", code)
	}
	if description == "" || len(description) > 200 || strings.ContainsFunc(description, notDescriptionByte) {
		t.Errorf("error_description has %d bytes, want 1 to 200 of the RFC's characters: %q", len(description), description)
	}
}

// notDescriptionByte is true outside %x20-21 / %x23-5B / %x5D-7E.
func notDescriptionByte(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }

func allKinds() []fault.Kind {
	var kinds []fault.Kind
	for k := fault.Internal; k <= fault.Timeout; k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

func inTable(status int, code string) bool {
	return slices.ContainsFunc(allKinds(), func(k fault.Kind) bool { return k.Status() == status && k.Code() == code })
}

func checkToken(t testing.TB, body []byte) {
	t.Helper()
	var got struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
		ExpiresAt   int64  `json:"expires_at"`
	}
	if _, err := strictjson.Object(body, strictjson.Limits{}); err != nil || json.Unmarshal(body, &got) != nil {
		t.Fatalf("the token JSON: %v", err)
	}
	if got.AccessToken == "" || got.TokenType != "Bearer" || got.ExpiresIn <= 0 || got.ExpiresIn > 3600 || got.ExpiresAt == 0 {
		t.Error("the token JSON lacks access_token, token_type, expires_in or expires_at")
	}
}

// canaries are the beginnings of what must not come out, in every form in which
// a program might write it.
func canaries() []string {
	const word = "cnry-"
	forms := []string{word, url.QueryEscape(word), hex.EncodeToString([]byte(word)), `\u0063nry`}
	for before := range 3 {
		// The characters at both ends depend on what stands beside the word.
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + word))
		forms = append(forms, text[(before*8+5)/6:(before+len(word))*8/6])
	}
	return forms
}

// checkCanaries fails the test if text holds one. It doesn't show text.
func checkCanaries(t testing.TB, where, text string) {
	t.Helper()
	lower := strings.ToLower(text)
	for _, form := range canaries() {
		if strings.Contains(text, form) || strings.Contains(lower, form) {
			t.Errorf("%s holds a value of the input or a secret, in the form %q", where, form)
		}
	}
}

func TestCanariesAreFound(t *testing.T) {
	for _, text := range []string{
		"cnry-x", "CNRY-X", hex.EncodeToString([]byte("a cnry-x")),
		base64.StdEncoding.EncodeToString([]byte("cnry-x")), base64.StdEncoding.EncodeToString([]byte("1cnry-x")),
		base64.StdEncoding.EncodeToString([]byte("12cnry-x")), base64.RawURLEncoding.EncodeToString([]byte("123cnry-x")),
	} {
		if !slices.ContainsFunc(canaries(), func(form string) bool {
			return strings.Contains(text, form) || strings.Contains(strings.ToLower(text), form)
		}) {
			t.Errorf("no canary is found in %q", text)
		}
	}
}
