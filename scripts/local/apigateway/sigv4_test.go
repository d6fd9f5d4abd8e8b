package apigateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"tokenvendor/scripts/vendctl/openapi/openapitest"
)

func set(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func add(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func del(name string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Del(name) }
}

// sentTo changes the path on the wire.
func sentTo(path, rawPath string) func(*http.Request) {
	return func(r *http.Request) { r.URL.Path, r.URL.RawPath = path, rawPath }
}

// sum returns the SHA-256 of a text, the value of the header X-Amz-Content-Sha256.
func sum(text string) string {
	hash := sha256.Sum256([]byte(text))
	return hex.EncodeToString(hash[:])
}

// TestSDKSignatureIsAccepted: the API accepts what the SDK's signer signs, and the event has
// the path as sent.
func TestSDKSignatureIsAccepted(t *testing.T) {
	tests := map[string]signedCall{
		"session token":          {},
		"long-term key":          {credentials: longTerm},
		"form":                   {body: "grant_type=client_credentials", before: set("Content-Type", "application/x-www-form-urlencoded")},
		"space in a client":      {path: "/local/token/bil%20ling"},
		"encoded slash":          {path: "/local/token/..%2Fpayroll"},
		"encoded letter":         {path: "/local/token/%62illing"},
		"double encoded":         {path: "/local/token/%252e%252e"},
		"dots":                   {path: "/local/token/.."},
		"UTF-8":                  {path: "/local/token/b%C3%ADlling"},
		"not UTF-8":              {path: "/local/token/b%FFlling"},
		"reserved":               {path: "/local/token/a:b@c!$&'()*+,;=d"},
		"query":                  {path: "/local/token/billing?b=2&a=1&b=1&c&d=x%20y%2Fz&%C3%A9=1&A=%7E*"},
		"query in another order": {path: "/local/token/billing?a=1&b=1&b=2", after: func(r *http.Request) { r.URL.RawQuery = "b=2&a=1&b=1" }},
		"repeated header":        {before: func(r *http.Request) { r.Header["X-Multi"] = []string{"b", " a   c ", "b"} }},
		"inner spaces":           {before: set("X-Spaces", "  one   two    three  ")},
		"content hash":           {body: "abc", before: set("X-Amz-Content-Sha256", sum("abc"))},
		"signed length":          {body: strings.Repeat("x", 100_000)},
		"host name":              {before: func(r *http.Request) { r.Host = "api.example.com" }},
		"host with a port":       {before: func(r *http.Request) { r.Host = "api.example.com:8443" }},
		"unsigned other header":  {after: set("X-Proxy-Added", "later")},
		"five minutes old":       {at: -5 * time.Minute},
		"five minutes ahead":     {at: 5 * time.Minute},
		"day before":             {at: -4 * time.Minute}, // the clock says 00:02
	}
	for name, call := range tests {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, nil)
			got := a.send(t, call)
			if got.status != 200 || got.body != "ok" || len(a.events) != 1 {
				t.Fatalf("got %d %s, %d events; want 200 ok, 1 event", got.status, got.body, len(a.events))
			}
			path, _, _ := strings.Cut(or(call.path, "/local/token/billing"), "?")
			decoded, err := url.PathUnescape(strings.TrimPrefix(path, "/local/token/"))
			if err != nil {
				t.Fatal(err)
			}
			e := a.events[0]
			if e.RequestContext.Path != path || e.Path != strings.TrimPrefix(path, "/local") ||
				e.PathParameters["client"] != strings.ToValidUTF8(decoded, "\uFFFD") {
				t.Errorf("event has %q %q %q", e.RequestContext.Path, e.Path, e.PathParameters)
			}
		})
	}
}

// TestDateHeaderIsAccepted: the specification allows Date instead of X-Amz-Date. The SDK's
// signer does not support it, so ownSignature signs.
func TestDateHeaderIsAccepted(t *testing.T) {
	for name, layout := range map[string]string{"HTTP date": http.TimeFormat, "ISO 8601": amzTime} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, nil)
			req := a.request(t, signedCall{credentials: longTerm})
			req.Header.Del("X-Amz-Date")
			req.Header.Set("Date", now.Format(layout))
			req.Header.Set("Authorization", ownSignature(req, "date;host", ownScope))
			if got := do(t, req); got.status != 200 {
				t.Errorf("got %d %s, want 200", got.status, got.body)
			}
		})
	}
}

const ownScope = "20261123/" + region + "/execute-api/aws4_request"

// ownSignature signs an empty POST /local/token/billing with the long-term key.
func ownSignature(req *http.Request, names, scope string) string {
	canonical := "POST\n/local/token/billing\n\n"
	for name := range strings.SplitSeq(names, ";") {
		value := req.Header.Get(name)
		if name == "host" {
			value = req.URL.Host
		}
		canonical += name + ":" + value + "\n"
	}
	canonical += "\n" + names + "\n" + sum("")
	key := []byte("AWS4" + longTerm.SecretAccessKey)
	for part := range strings.SplitSeq(scope, "/") {
		key = sign(key, part)
	}
	signature := sign(key, algorithm+"\n"+now.Format(amzTime)+"\n"+scope+"\n"+sum(canonical))
	return algorithm + " Credential=" + longTerm.AccessKeyID + "/" + scope + ",SignedHeaders=" + names + ",Signature=" + hex.EncodeToString(signature)
}

// replaceIn changes one part of the Authorization header.
func replaceIn(old, with string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
	}
}

const (
	missing    = "MissingAuthenticationTokenException"
	incomplete = "IncompleteSignatureException"
	invalid    = "InvalidSignatureException"
	unknown    = "UnrecognizedClientException"
	denied     = "AccessDeniedException"
)

// refusal is a call that must not reach the function.
type refusal struct {
	name   string
	call   signedCall
	kind   string
	status int // zero: 403
}

func TestUnprovenIdentityIsRefused(t *testing.T) {
	wrongSecret, otherToken, strayToken, unknownKey := session, session, longTerm, session
	wrongSecret.SecretAccessKey += "x"
	otherToken.SessionToken += "x"
	strayToken.SessionToken = session.SessionToken
	unknownKey.AccessKeyID += "X"
	noToken := session
	noToken.SessionToken = ""
	testRefusals(t, []refusal{
		{"unsigned", signedCall{after: del("Authorization")}, missing, 0},
		{"bearer token", signedCall{after: set("Authorization", "Bearer x")}, incomplete, 0},
		{"two Authorization headers", signedCall{after: add("Authorization", "Bearer x")}, incomplete, 0},
		{"SigV4a", signedCall{after: replaceIn("AWS4-HMAC", "AWS4-ECDSA-P256")}, incomplete, 0},
		{"no signature", signedCall{after: replaceIn("Signature=", "Sig=")}, incomplete, 0},
		{"no date", signedCall{after: del("X-Amz-Date")}, incomplete, 0},
		{"two dates", signedCall{after: add("X-Amz-Date", "20261123T000203Z")}, incomplete, 0},
		{"malformed date", signedCall{after: set("X-Amz-Date", "yesterday")}, incomplete, 0},
		{"wrong secret", signedCall{credentials: wrongSecret}, invalid, 0},
		{"unknown key", signedCall{credentials: unknownKey}, unknown, 0},
		{"token of another key", signedCall{credentials: otherToken}, unknown, 0},
		{"token on a long-term key", signedCall{credentials: strayToken}, unknown, 0},
		{"no token", signedCall{credentials: noToken}, unknown, 0},
		{"token added unsigned", signedCall{credentials: noToken, after: set("X-Amz-Security-Token", session.SessionToken)}, invalid, 0},
		{"two tokens", signedCall{after: add("X-Amz-Security-Token", session.SessionToken)}, unknown, 0},
		{"other region", signedCall{region: "eu-west-1"}, invalid, 0},
		{"other service", signedCall{service: "sts"}, invalid, 0},
		{"other terminator", signedCall{after: replaceIn("aws4_request", "aws5_request")}, invalid, 0},
		{"other region in the scope", signedCall{region: "eu-west-1", after: replaceIn("eu-west-1", region)}, invalid, 0},
		{"six minutes old", signedCall{at: -6 * time.Minute}, invalid, 0},
		{"six minutes ahead", signedCall{at: 6 * time.Minute}, invalid, 0},
		{"just over five minutes", signedCall{at: -5*time.Minute - time.Second}, invalid, 0},
	})
}

func TestTamperedRequestIsRefused(t *testing.T) {
	body := func(text string) func(*http.Request) {
		return func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		}
	}
	testRefusals(t, []refusal{
		{"date changed", signedCall{after: set("X-Amz-Date", "20261123T000204Z")}, invalid, 0},
		{"date of another day", signedCall{after: set("X-Amz-Date", "20261122T235959Z")}, invalid, 0},
		{"path changed", signedCall{after: sentTo("/local/token/other", "")}, invalid, 0},
		{"path encoded otherwise", signedCall{after: sentTo("/local/token/billing", "/local/token/%62illing")}, invalid, 0},
		{"host changed", signedCall{after: func(r *http.Request) { r.Host = "other.example.com" }}, invalid, 0},
		{"query added", signedCall{after: func(r *http.Request) { r.URL.RawQuery = "a=b" }}, invalid, 0},
		{"query changed", signedCall{path: "/local/token/billing?a=b", after: func(r *http.Request) { r.URL.RawQuery = "a=c" }}, invalid, 0},
		{"query that cannot be read", signedCall{after: func(r *http.Request) { r.URL.RawQuery = "a=%zz" }}, invalid, 0},
		{"body changed", signedCall{body: "a=1", after: body("a=2")}, invalid, 0},
		{"body added", signedCall{after: body("a=2")}, invalid, 0},
		{"body and hash changed", signedCall{body: "a=1", before: set("X-Amz-Content-Sha256", sum("a=1")), after: func(r *http.Request) {
			body("a=2")(r)
			r.Header.Set("X-Amz-Content-Sha256", sum("a=2"))
		}}, invalid, 0},
		{"hash of another body", signedCall{body: "a=1", before: set("X-Amz-Content-Sha256", sum("a=2"))}, invalid, 0},
		{"signature in the query, too", signedCall{path: "/local/token/billing?X-Amz-Signature=00"}, missing, 0},
		{"unsigned hash", signedCall{after: set("X-Amz-Content-Sha256", sum(""))}, invalid, 0},
		{"unsigned X-Amz header", signedCall{after: set("X-Amz-Source-Account", "1")}, invalid, 0},
		{"signed header changed", signedCall{before: set("X-Mine", "1"), after: set("X-Mine", "2")}, invalid, 0},
		{"signed header removed", signedCall{before: set("X-Mine", "1"), after: del("X-Mine")}, invalid, 0},
		{"signed header repeated", signedCall{before: set("X-Mine", "1"), after: add("X-Mine", "1")}, invalid, 0},
		{"host not signed", signedCall{after: replaceIn("host;", "")}, invalid, 0},
		{"headers not sorted", signedCall{after: replaceIn("host;", "x-zzz;host;")}, incomplete, 0},
	})
}

func TestUnroutedOrDeniedRequestIsRefused(t *testing.T) {
	testRefusals(t, []refusal{
		{"method not routed", signedCall{method: "GET"}, missing, 0},
		{"method in lower case", signedCall{method: "post"}, missing, 0},
		{"no stage", signedCall{path: "/token/billing"}, missing, 0},
		{"other stage", signedCall{path: "/prod/token/billing"}, missing, 0},
		{"no client", signedCall{path: "/local/token/"}, missing, 0},
		{"slash after the client", signedCall{path: "/local/token/billing/"}, missing, 0},
		{"two slashes", signedCall{path: "/local//token/billing"}, missing, 0},
		{"dots before the client", signedCall{path: "/local/token/../token/billing"}, missing, 0},
		{"absolute form", signedCall{after: func(r *http.Request) { r.URL.Opaque = "//" + r.URL.Host + r.URL.Path }}, missing, 0},
		{"root", signedCall{path: "/"}, missing, 0},
		{"stage encoded", signedCall{path: "/l%6Fcal/token/billing"}, missing, 0},
		{"not allowed", signedCall{credentials: longTerm, path: "/local/token/other"}, denied, 0},
		{"not allowed under another encoding", signedCall{credentials: longTerm, path: "/local/token/%62illing"}, denied, 0},
		{"from a web page", signedCall{after: set("Origin", "https://example.com")}, "ForbiddenException", 0},
		{"body above 10 MB", signedCall{body: strings.Repeat("x", maxBody+1)}, "RequestEntityTooLargeException", 413},
		{"event above 6 MB", signedCall{body: strings.Repeat("x", maxEvent)}, "RequestEntityTooLargeException", 413},
	})
}

// testRefusals fails the test unless each call is refused with a text without secrets.
func testRefusals(t *testing.T, tests []refusal) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAPI(t, nil)
			got := a.send(t, tt.call)
			if tt.status == 0 {
				tt.status = http.StatusForbidden
			}
			if got.status != tt.status || got.header.Get("X-Amzn-Errortype") != tt.kind || len(a.events) != 0 {
				t.Errorf("got %d %s %s, %d events; want %d %s", got.status, got.header.Get("X-Amzn-Errortype"), got.body, len(a.events), tt.status, tt.kind)
			}
			if !strings.Contains(strings.ToLower(got.body), `{"message":"`) {
				t.Errorf("got the body %s, want a message", got.body)
			}
			if err := openapitest.CheckAnswer(got.status, got.header, []byte(got.body)); err != nil {
				t.Error(err)
			}
			for i, secret := range []string{session.SecretAccessKey, session.SessionToken, longTerm.SecretAccessKey, "111122223333/", "123456789012"} {
				if strings.Contains(got.body, secret) || strings.Contains(a.log.String(), secret) {
					t.Errorf("the answer or the log contains secret %d", i)
				}
			}
		})
	}
}

// TestSignatureOfTooLittleIsRefused: each signature is correct, but for another scope or
// over too few headers.
func TestSignatureOfTooLittleIsRefused(t *testing.T) {
	for name, tt := range map[string]struct{ dateHeader, names, scope, kind string }{
		"another day":        {"X-Amz-Date", "host;x-amz-date", strings.Replace(ownScope, "23/", "22/", 1), "InvalidSignatureException"},
		"another terminator": {"X-Amz-Date", "host;x-amz-date", strings.Replace(ownScope, "aws4", "aws5", 1), "InvalidSignatureException"},
		"another service":    {"X-Amz-Date", "host;x-amz-date", strings.Replace(ownScope, "execute-api", "sts", 1), "InvalidSignatureException"},
		"host not signed":    {"X-Amz-Date", "x-amz-date", ownScope, "InvalidSignatureException"},
		"date not signed":    {"Date", "host", ownScope, "InvalidSignatureException"},
		"nothing is wrong":   {"X-Amz-Date", "host;x-amz-date", ownScope, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t, nil)
			req := a.request(t, signedCall{credentials: longTerm})
			req.Header.Del("X-Amz-Date")
			req.Header.Set(tt.dateHeader, now.Format(amzTime))
			req.Header.Set("Authorization", ownSignature(req, tt.names, tt.scope))
			if got := do(t, req); got.header.Get("X-Amzn-Errortype") != tt.kind {
				t.Errorf("got %d %s, want %q", got.status, got.body, tt.kind)
			}
		})
	}
}

func TestPresignedRequestIsRefused(t *testing.T) {
	a := newAPI(t, nil)
	req := a.request(t, signedCall{after: func(r *http.Request) { r.Header = http.Header{} }})
	signed, _, err := v4.NewSigner().PresignHTTP(t.Context(), session, req, sum(""), "execute-api", region, now)
	if err != nil {
		t.Fatal(err)
	}
	if req.URL, err = url.Parse(signed); err != nil {
		t.Fatal(err)
	}
	if got := do(t, req); got.status != 403 || !strings.Contains(got.body, "Missing Authentication Token") {
		t.Errorf("got %d %s, want 403", got.status, got.body)
	}
}

func TestUnsignedPayloadIsRefused(t *testing.T) {
	a := newAPI(t, nil)
	req := a.request(t, signedCall{body: "a=1", before: set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")})
	req.Header.Del("Authorization")
	if err := v4.NewSigner().SignHTTP(t.Context(), session, req, "UNSIGNED-PAYLOAD", "execute-api", region, now); err != nil {
		t.Fatal(err)
	}
	if got := do(t, req); got.status != 403 || got.header.Get("X-Amzn-Errortype") != "InvalidSignatureException" {
		t.Errorf("got %d %s, want 403", got.status, got.body)
	}
}

func TestDeniedMessage(t *testing.T) {
	a := newAPI(t, nil)
	got := a.send(t, signedCall{credentials: longTerm, path: "/local/token/payroll"})
	want := `{"Message":"User: ` + user + ` is not authorized to perform: execute-api:Invoke on resource: ` +
		`arn:aws:execute-api:eu-central-1:********9012:abc123/local/POST/token/payroll"}`
	if got.body != want {
		t.Errorf("got  %s\nwant %s", got.body, want)
	}
}

func TestParseAuthorization(t *testing.T) {
	const good = "AWS4-HMAC-SHA256 Credential=AKIA/20261123/eu-central-1/execute-api/aws4_request, SignedHeaders=host;x-amz-date, Signature=00ff"
	for name, tt := range map[string]struct {
		header string
		ok     bool
	}{
		"as the SDK writes it":     {good, true},
		"without spaces":           {strings.ReplaceAll(good, ", ", ","), true},
		"empty":                    {"", false},
		"algorithm alone":          {"AWS4-HMAC-SHA256", false},
		"no parts":                 {"AWS4-HMAC-SHA256 ", false},
		"part twice":               {good + ", Signature=00ff", false},
		"part too many":            {good + ", Extra=1", false},
		"trailing comma":           {good + ",", false},
		"six elements":             {strings.Replace(good, "AKIA/", "AKIA/x/", 1), false},
		"four elements":            {strings.Replace(good, "AKIA/", "", 1), false},
		"empty element":            {strings.Replace(good, "AKIA/", "/", 1), false},
		"signed header twice":      {strings.Replace(good, "host;", "host;host;", 1), false},
		"signed header upper case": {strings.Replace(good, "host;", "Host;", 1), false},
		"empty signed header":      {strings.Replace(good, "host;", ";", 1), false},
		"other case of a part":     {strings.Replace(good, "Signature", "signature", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, f := parseAuthorization(tt.header); (f == nil) != tt.ok {
				t.Errorf("got %+v", f)
			}
		})
	}
}

// TestMalformedHeaderIsNotQuoted: it may contain a token.
func TestMalformedHeaderIsNotQuoted(t *testing.T) {
	a := newAPI(t, nil)
	got := a.send(t, signedCall{after: set("Authorization", "Bearer hunter2")})
	if strings.Contains(got.body, "hunter2") || bytes.Contains(a.log.Bytes(), []byte("hunter2")) {
		t.Errorf("got %s, log %s", got.body, a.log.String())
	}
}
