package main

import (
	"bytes"
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

// answer is a response that has been read.
type answer struct {
	// status is 0 for a direct invoke.
	status  int
	code    string
	text    string
	headers map[string]string
	body    []byte
}

// readAnswer reads a response. It fails the test if that is not what every answer must be (RFC
// 6749 sections 5.1 and 5.2).
func readAnswer(t testing.TB, r response, direct bool) answer {
	t.Helper()
	if !utf8.Valid(r.payload) || !json.Valid(r.payload) {
		t.Fatalf("got %d bytes, want JSON in UTF-8", len(r.payload))
	}
	if r.failed && !direct {
		t.Fatal("got a function error for an HTTP event, which API Gateway answers with 502")
	}
	switch {
	case r.failed:
		return readFailure(t, r)
	case direct:
		return answer{body: r.payload}
	}
	return readProxy(t, r)
}

// readFailure reads a function error, as Step Functions gets it.
func readFailure(t testing.TB, r response) answer {
	t.Helper()
	var failure struct{ ErrorType, ErrorMessage string }
	members, err := strictjson.Object(r.payload, strictjson.Limits{})
	if err != nil || len(members) != 2 || json.Unmarshal(r.payload, &failure) != nil {
		t.Fatalf("got a function error with %v, want errorType and errorMessage", slices.Sorted(maps.Keys(members)))
	}
	checkText(t, failure.ErrorType, failure.ErrorMessage)
	return answer{code: failure.ErrorType, text: failure.ErrorMessage, body: r.payload}
}

// readProxy reads a proxy response of API Gateway.
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
		t.Fatalf("got %d members, %v; want a proxy response", len(members), err)
	}
	a := answer{status: proxy.StatusCode, headers: proxy.Headers, body: []byte(proxy.Body)}
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache"} {
		if a.headers[name] != want {
			t.Errorf("%s: got %q, want %q", name, a.headers[name], want)
		}
	}
	for name := range a.headers {
		switch name {
		case "Content-Type", "Cache-Control", "Pragma", "Retry-After", "Allow", "Token-Vendor-Warning":
		default:
			t.Errorf("got header %s, which is not in the contract", name)
		}
	}
	if (a.status == 405) != (a.headers["Allow"] == "POST") {
		t.Errorf("got status %d with Allow %q, want Allow POST with 405 only", a.status, a.headers["Allow"])
	}
	checkDescription(t, a)
	if a.status == 200 {
		if !bytes.Contains(a.body, []byte(`"dry_run":true`)) {
			checkToken(t, a.body)
		}
		return a
	}
	a.code, a.text = readErrorDocument(t, a.body, r.requestID)
	if !inTable(a.status, a.code) {
		t.Errorf("got %d %s, which is not in the error table", a.status, a.code)
	}
	return a
}

// readErrorDocument reads the body of RFC 6749 section 5.2.
func readErrorDocument(t testing.TB, body []byte, requestID string) (code, description string) {
	t.Helper()
	members, err := strictjson.Object(body, strictjson.Limits{})
	if err != nil {
		t.Fatalf("got an error document that is %v", err)
	}
	for name := range members {
		switch name {
		case "error", "error_description", "request_id", "upstream":
		default:
			t.Errorf("got member %s, which is not in the contract", name)
		}
	}
	id, _ := strictjson.String(members["request_id"])
	if id != requestID || id == "" {
		t.Errorf("got request_id %q, want %q", id, requestID)
	}
	code, _ = strictjson.String(members["error"])
	description, _ = strictjson.String(members["error_description"])
	checkText(t, code, description)
	return code, description
}

// checkText checks error and error_description (RFC 6749 section 5.2).
func checkText(t testing.TB, code, description string) {
	t.Helper()
	if !slices.ContainsFunc(allKinds(), func(k fault.Kind) bool { return k.Code() == code }) {
		t.Errorf("got error %q, which is not in the table", code)
	}
	if description == "" || len(description) > 200 || strings.ContainsFunc(description, notDescriptionByte) {
		t.Errorf("got error_description %q of %d bytes, want 1 to 200 of the characters of the RFC", description, len(description))
	}
}

// notDescriptionByte reports whether r is outside %x20-21 / %x23-5B / %x5D-7E.
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
		t.Fatalf("got a token document that is not valid: %v", err)
	}
	if got.AccessToken == "" || got.TokenType != "Bearer" || got.ExpiresIn <= 0 || got.ExpiresIn > 3600 || got.ExpiresAt == 0 {
		t.Error("got a token document without a valid access_token, token_type, expires_in or expires_at")
	}
}

// canaries returns the prefix of all values that no output may hold, in every encoding in which
// a program might write it.
func canaries() []string {
	const word = "cnry-"
	forms := []string{word, url.QueryEscape(word), hex.EncodeToString([]byte(word)), `\u0063nry`}
	for before := range 3 {
		// The characters at both ends depend on the bytes beside the word.
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + word))
		forms = append(forms, text[(before*8+5)/6:(before+len(word))*8/6])
	}
	return forms
}

// checkCanaries fails the test if text holds a canary. It does not print text.
func checkCanaries(t testing.TB, where, text string) {
	t.Helper()
	lower := strings.ToLower(text)
	for _, form := range canaries() {
		if strings.Contains(text, form) || strings.Contains(lower, form) {
			t.Errorf("%s holds a secret or a value of the input, in the form %q", where, form)
		}
	}
}

func TestCanariesAreFoundInEveryEncoding(t *testing.T) {
	for _, text := range []string{
		"cnry-x", "CNRY-X", hex.EncodeToString([]byte("a cnry-x")),
		base64.StdEncoding.EncodeToString([]byte("cnry-x")), base64.StdEncoding.EncodeToString([]byte("1cnry-x")),
		base64.StdEncoding.EncodeToString([]byte("12cnry-x")), base64.RawURLEncoding.EncodeToString([]byte("123cnry-x")),
	} {
		if !slices.ContainsFunc(canaries(), func(form string) bool {
			return strings.Contains(text, form) || strings.Contains(strings.ToLower(text), form)
		}) {
			t.Errorf("got no canary in %q, want one", text)
		}
	}
}
