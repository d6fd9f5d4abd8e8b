package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/ask/asktest"
)

func full(text string) Event {
	list := []string{text, text, text, text, text, text, text}
	at := time.Date(2026, 11, 23, 10, 15, 30, 123e6, time.FixedZone("", 3600))
	return Event{
		Type: Decision, Time: at, RequestID: text, Caller: text, Client: text, DryRun: true,
		Ask: ask.Ask{Scope: list, Resource: list, Audience: text, TokenFormat: text, AppTID: text, Parameters: map[string]string{"a": text, "b": text, text: text}},
		Origin: Origin{
			Source: REST, CallerID: text, Session: text, SourceIP: text, VPCE: text, Alias: text, GatewayRequestID: text, GatewayTime: at,
		},
		Allowed: true, Mode: "document", Rule: text, WouldDeny: true, Nearest: text, Failed: text, Outcome: "hit", Status: 502, Error: text, Detail: text,
		UpstreamStatus: 401, UpstreamError: text, CorrelationID: text, FuseUntil: at, IssuerHost: text, Method: text, TokenSHA256: text, GrantedScope: list,
		ExpiresAt: at, RefreshAfter: time.Minute, SecretVersion: text, CertificateBound: true, CertificateNotAfter: at, Duration: 1500 * time.Millisecond,
	}
}

func lineOf(t testing.TB, e Event) string {
	t.Helper()
	var b bytes.Buffer
	if err := New(Config{Output: &b, Version: "abc"}).Write(&e); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestWriteLineFormat compares whole lines, because queries and alarms of operators depend
// on their format.
func TestWriteLineFormat(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 15, 30, 123e6, time.UTC)
	for want, e := range map[string]Event{
		`{"schema":1,"type":"decision","time":"2026-11-23T10:15:30.123Z","request_id":"r","source":"rest","source_ip":"203.0.113.7","alias":"http","caller":"aws:111122223333:role/billing-job",` +
			`"caller_id":"AROAEXAMPLEID","session":"i-0abc","client":"billing","allowed":true,"mode":"document","rule":"billing-team","outcome":"hit",` +
			`"issuer_host":"tenant.accounts.ondemand.com","method":"tls_client_auth","token_sha256":"9f86","expires_at":1795432530,"refresh_after":60,"secret_version":"v1","duration_ms":1,"version":"abc","scope_asked":["read"]}`: {
			Type: Decision, Time: at, RequestID: "r", Caller: "aws:111122223333:role/billing-job", Client: "billing", Ask: ask.Ask{Scope: []string{"read"}}, Allowed: true,
			Origin: Origin{Source: REST, SourceIP: "203.0.113.7", Alias: "http", CallerID: "AROAEXAMPLEID", Session: "i-0abc"},
			Mode:   "document", Rule: "billing-team", Outcome: "hit", IssuerHost: "tenant.accounts.ondemand.com", Method: "tls_client_auth", TokenSHA256: "9f86",
			ExpiresAt: time.Unix(1795432530, 0), RefreshAfter: time.Minute, SecretVersion: "v1", Duration: time.Millisecond,
		},
		`{"schema":1,"type":"forged","time":"2026-11-23T10:15:30.123Z","request_id":"r","source":"http","caller":"","client":"","allowed":false,"outcome":"denied","status":403,"error":"access_denied","version":"abc","detail":"no proof"}`: {
			Type: Forged, Time: at, RequestID: "r", Origin: Origin{Source: HTTP}, Outcome: "denied", Status: 403, Error: "access_denied", Detail: "no proof",
		},
	} {
		if got := lineOf(t, e); got != want+"\n" {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}

// hit is the line of a token out of memory, for a role's call of the REST API.
func hit() Event {
	return Event{
		Type: Decision, Time: time.Date(2026, 11, 23, 10, 15, 30, 123e6, time.UTC), RequestID: "4895e1d2-bdc9-46e0-ac3b-30a582a702a0",
		Origin: Origin{
			Source: REST, CallerID: "AROAEXAMPLEBILLINGJOB", Session: "i-0abcdef1234567890", SourceIP: "203.0.113.7", Alias: "http",
			GatewayRequestID: "3f2b8c1d-0a4e-4d5f-9b6a-7c8d9e0f1a2b", TraceID: "1-6b041242-5d2f8b7e6a1c4f3098b7d6e5",
		},
		Caller: "aws:123456789012:role/billing-job", Client: "billing", Allowed: true, Mode: "iam", Outcome: "hit",
		CorrelationID: "7c9e6679-7425-40de-944b-e07fc1f90ae7", IssuerHost: "tenant.accounts.ondemand.com", Method: "client_secret_post",
		TokenSHA256: strings.Repeat("9f86d081", 8), ExpiresAt: time.Unix(1795432530, 0), RefreshAfter: 2880 * time.Second,
		SecretVersion: "bbd7cd84-0c4e-93c0-7dd2-a45ac03ca2e4",
	}
}

// TestHitHasNoMemberThatFollowsFromOthers bounds the bytes that are billed for each call. A new
// member of a hit's line needs a reason: why a reader cannot know it from the other members, from
// the access log of the API, or from its absence.
func TestHitHasNoMemberThatFollowsFromOthers(t *testing.T) {
	reasons := map[string]string{
		"schema":             "readers find audit lines by it, and it says what the others mean",
		"type":               "tells a decision from a forged event and from a shadow, which have the same members",
		"time":               "CloudWatch Logs has the time of the end, and only in its own metadata",
		"request_id":         "joins the line to other lines of the function and to AWS's support",
		"gateway_request_id": "joins the line to the access log",
		"source":             "HTTP, URL and REST have the same members",
		"source_ip":          "a Function URL has no access log, and API Gateway may lose a line of its own",
		"alias":              "the proof that the event came through API Gateway",
		"trace_id":           "the caller may choose it",
		"caller":             "who got the token",
		"caller_id":          "a role that was deleted and created again has the same name",
		"session":            "the instance of the role",
		"client":             "whose token it is",
		"allowed":            "queries count refusals by it, and a dry run is allowed without a token",
		"mode":               "a change of the policy's mode is in no other log of the vendor",
		"outcome":            "where the token came from",
		"correlation_id":     "the exchange's line may be missing: its caller may have left",
		"issuer_host":        "as correlation_id; a new version of the document may have another",
		"method":             "as issuer_host",
		"token_sha256":       "which token; vendctl finds holders by all of its characters",
		"expires_at":         "when the last holder's token ends; the answer had it, the exchange's line may be missing",
		"refresh_after":      "it has jitter",
		"secret_version":     "which credential the token was obtained with",
		"version":            "which revision decided",
	}
	line := lineOf(t, hit())
	for name := range checkLine(t, line) {
		if reasons[name] == "" {
			t.Errorf("a hit's line has %s without a reason", name)
		}
		delete(reasons, name)
	}
	if len(reasons) > 0 {
		t.Errorf("a hit's line does not have %v", reasons)
	}
	// Today it has 789, of which the values are 452.
	const most = 800
	if len(line) > most {
		t.Errorf("a hit's line has %d bytes, want at most %d: %s", len(line), most, line)
	}
}

// maxLine is less than the 256 KiB at which log services truncate a line.
const maxLine = 104 << 10

// checkLine checks that line is one JSON object of at most maxLine bytes on one line, and returns
// its members.
func checkLine(t *testing.T, line string) map[string]any {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(line), &members); err != nil {
		t.Fatalf("%.300q: %v", line, err)
	}
	if len(line) > maxLine || strings.IndexByte(line, '\n') != len(line)-1 || strings.ContainsFunc(line[:len(line)-1], func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x2028 || r == 0x85 || r == 0x202e }) {
		t.Errorf("got %d bytes %.300q, want at most maxLine without control characters", len(line), line)
	}
	for _, name := range []string{"schema", "type", "time", "request_id", "source", "caller", "client", "allowed", "outcome"} {
		if _, ok := members[name]; !ok {
			t.Errorf("got a line without %s", name)
		}
	}
	return members
}

// TestWriteEscapesAndTruncates proves that a text of a caller can neither begin a line nor
// make it so long that a log service truncates it.
func TestWriteEscapesAndTruncates(t *testing.T) {
	checkLine(t, lineOf(t, Event{}))
	for _, text := range []string{
		"\n{\"schema\":1}\n", "\r", "\x1b[2J", `"}`, "\u2028", "\u202e", "\x85", "\xff\xfe", "\\", "\x00", "ü", "😀",
		strings.Repeat("x", 10_000), strings.Repeat("\x00", 10_000), strings.Repeat("ü", 10_000), strings.Repeat("😀", 10_000), strings.Repeat(`"`, 10_000),
	} {
		members := checkLine(t, lineOf(t, full(text)))
		if got := members["audience"]; utf8.ValidString(text) && len(text) < 100 && got != text {
			t.Errorf("got audience %q, want %q", got, text)
		}
	}
}

// The detail may be longer than other texts, because it says what an operator does.
func TestDetailIsRecordedInFull(t *testing.T) {
	detail := strings.Repeat("x", 1000)
	if line := checkLine(t, lineOf(t, Event{Type: Decision, Detail: detail})); line["detail"] != detail {
		t.Errorf("got the detail %.80v, want all of its %d bytes", line["detail"], len(detail))
	}
}

func TestEachMemberOfAskIsRecorded(t *testing.T) {
	asktest.EachChangesKey(t, func(a ask.Ask) string { return lineOf(t, Event{Ask: a}) })
}

func FuzzLine(f *testing.F) {
	f.Add("a", "\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		e := full(a)
		e.Caller, e.Scope, e.Detail = b, []string{b, a, b + a}, a+b
		checkLine(t, lineOf(t, e))
	})
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestWriteReportsIncompleteLine(t *testing.T) {
	for name, w := range map[string]io.Writer{
		"error": writerFunc(func([]byte) (int, error) { return 0, errors.New("closed") }),
		"short": writerFunc(func(p []byte) (int, error) { return len(p) - 1, nil }),
		"none":  writerFunc(func([]byte) (int, error) { return 0, nil }),
	} {
		if New(Config{Output: w}).Write(&Event{}) == nil {
			t.Errorf("%s: got no error, want one", name)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	log, e := New(Config{Output: io.Discard, Version: "abc"}), full("billing")
	b.ReportAllocs()
	for b.Loop() {
		_ = log.Write(&e)
	}
}

// TestLargestAskIsRecordedInFull: No request has more than 8 KiB, and a line holds all of it.
func TestLargestAskIsRecordedInFull(t *testing.T) {
	list := func(item string, n int) (all []string) {
		for i := range n {
			all = append(all, item+strings.Repeat("x", 60)+string(rune('a'+i%26))+string(rune('a'+i/26)))
		}
		return all
	}
	parameters := make(map[string]string)
	for i := range 60 {
		parameters["p"+string(rune('a'+i%26))+string(rune('a'+i/26))] = strings.Repeat("ü", 64)
	}
	for name, a := range map[string]ask.Ask{
		"scopes":     {Scope: list("scope.", 64), AppTID: strings.Repeat("t", 64)},
		"resources":  {Resource: list("urn:", 16), Audience: strings.Repeat("ü", 1000)},
		"long texts": {Resource: []string{"urn:" + strings.Repeat("r", 2000), "urn:" + strings.Repeat("s", 2000)}, Audience: strings.Repeat("\"", 2000)},
		"parameters": {Parameters: parameters},
		"one text":   {Parameters: map[string]string{"x": strings.Repeat("ü", 2048), "y": strings.Repeat("\\", 4000)}},
	} {
		granted := list("granted.", 500)
		var got struct {
			Scope      []string          `json:"scope_asked"`
			Granted    []string          `json:"scope_granted"`
			Resource   []string          `json:"resource"`
			Audience   string            `json:"audience"`
			AppTID     string            `json:"app_tid"`
			Parameters map[string]string `json:"parameters"`
		}
		line := lineOf(t, Event{Ask: a, GrantedScope: granted})
		checkLine(t, line)
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		recorded := ask.Ask{Scope: got.Scope, Resource: got.Resource, Audience: got.Audience, AppTID: got.AppTID, Parameters: got.Parameters}
		if recorded.Key() != a.Key() || !slices.Equal(got.Granted, granted) {
			t.Errorf("%s: the line does not have all of the ask or of the granted scope, in order: %.300s", name, line)
		}
	}
}

// TestWriteReusesMemory proves that a line costs no allocation, and that nothing is left of
// the line before it.
func TestWriteReusesMemory(t *testing.T) {
	var b bytes.Buffer
	l := New(Config{Output: &b})
	long, short := full(strings.Repeat("x", 300)), Event{Type: Decision, Outcome: "hit"}
	want := lineOf(t, short)
	want = strings.Replace(want, `,"version":"abc"`, "", 1)
	for range 3 {
		for _, e := range []*Event{&long, &short} {
			b.Reset()
			if err := l.Write(e); err != nil {
				t.Fatal(err)
			}
		}
		if got := b.String(); got != want {
			t.Errorf("got %q after a long line, want %q", got, want)
		}
	}
	hit := Event{
		Type: Decision, Time: time.Now(), Origin: Origin{Source: REST, GatewayTime: time.Now(), SourceIP: "203.0.113.7"}, Ask: ask.Ask{Scope: []string{"read"}},
		Outcome: "hit", CertificateNotAfter: time.Now(), ExpiresAt: time.Now(),
	}
	discard := New(Config{Output: io.Discard})
	if n := testing.AllocsPerRun(1000, func() { _ = discard.Write(&hit) }); n != 0 {
		t.Errorf("got %v allocations for a line, want none", n)
	}
}

// TestTextIsTruncatedAtItsLimit proves that a text without escapes is truncated where one with
// escapes of one byte is.
func TestTextIsTruncatedAtItsLimit(t *testing.T) {
	const longest = maxText - 5 // an escape may need 6 bytes
	for n := maxText - 10; n < maxText+10; n++ {
		text := strings.Repeat("x", n)
		want := text
		if n > longest {
			want = text[:longest] + "..."
		}
		if line := lineOf(t, Event{Caller: text}); !strings.Contains(line, `"caller":"`+want+`"`) {
			t.Errorf("%d bytes: got %s, want %d", n, line, len(want))
		}
	}
}
