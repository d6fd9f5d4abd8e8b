package oauthtest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// outcome is the answer that a client receives, or the error.
type outcome struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func exchange(ctx context.Context, t *testing.T, s *oauthtest.Server, secret string) outcome {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CAPool()}, DisableKeepAlives: true, MaxResponseHeaderBytes: 4 << 20}
	return exchangeAt(ctx, t, &http.Client{Transport: transport, CheckRedirect: noRedirects}, s.TokenEndpoint(), secret)
}

func noRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func exchangeAt(ctx context.Context, t *testing.T, client *http.Client, endpoint, secret string) outcome {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"c"}, "client_secret": {secret}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := client.Do(r)
	if err != nil {
		return outcome{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return outcome{status: response.StatusCode, header: response.Header, body: body, err: err}
}

func faulty(t *testing.T) *oauthtest.Server {
	t.Helper()
	s := oauthtest.NewServer(t, oauthtest.Config{})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"s3cr3t"}})
	return s
}

func TestFaultsChangeTheAnswer(t *testing.T) {
	const page, object = "text/html", "application/json;charset=UTF-8"
	contains := func(text string) func(outcome) bool {
		return func(o outcome) bool { return strings.Contains(string(o.body), text) }
	}
	size := func(n int) func(outcome) bool { return func(o outcome) bool { return len(o.body) == n } }
	header := func(name, value string) func(outcome) bool {
		return func(o outcome) bool { return o.header.Get(name) == value }
	}
	for _, tt := range []struct {
		name      string
		fault     oauthtest.Fault
		status    int
		media     string
		exchanges int
		also      func(outcome) bool
	}{
		{"HTML 429", oauthtest.HTML429("banana"), 429, page, 0, header("Retry-After", "banana")},
		{"HTML 429 without Retry-After", oauthtest.HTML429(""), 429, page, 0, header("Retry-After", "")},
		{"status", oauthtest.Answer(503, "text/plain", "down"), 503, "text/plain", 0, contains("down")},
		{"empty 200", oauthtest.Answer(200, "application/json", ""), 200, "application/json", 0, size(0)},
		{"refusal", oauthtest.RefuseWith(400, "invalid_scope", "no"), 400, object, 0, contains(`"invalid_scope"`)},
		{"media type", oauthtest.WrongContentType, 200, page, 1, contains(`"access_token"`)},
		{"redirect", oauthtest.Redirect(307, "https://other.test/"), 307, "", 0, header("Location", "https://other.test/")},
		{"late", oauthtest.Late(time.Millisecond), 200, object, 1, contains(`"access_token"`)},
		{"late body", oauthtest.LateBody(time.Millisecond), 200, object, 1, contains(`"access_token"`)},
		{"drip", oauthtest.Drip(time.Microsecond), 200, object, 1, contains(`"access_token"`)},
		{"expires_in as a string", oauthtest.Members(map[string]any{"expires_in": "3600"}), 200, object, 1, contains(`"expires_in":"3600"`)},
		{"no expires_in", oauthtest.Members(map[string]any{"expires_in": nil}), 200, object, 1, func(o outcome) bool { return !contains("expires_in")(o) }},
		{"error beside the token", oauthtest.Members(map[string]any{"error": "x"}), 200, object, 1, contains(`"error":"x"`)},
		{"control characters", oauthtest.Members(map[string]any{"access_token": "a\r\nb"}), 200, object, 1, contains(`"a\r\nb"`)},
		{"expires_in that is not JSON", oauthtest.Rewrite(func(b []byte) []byte { return bytes.Replace(b, []byte(`:3600`), []byte(`:NaN`), 1) }), 200, object, 1, contains(":NaN")},
		{"huge", oauthtest.Huge(200, 3<<20), 200, "application/json", 0, size(3 << 20)},
		{"bomb", oauthtest.Bomb(3 << 20), 200, "application/json", 0, size(3 << 20)},
		{"huge header", oauthtest.HugeHeader(1 << 20), 200, "application/json", 0, func(o outcome) bool { return len(o.header.Get("X-Filler")) == 1<<20 }},
		{"echo", oauthtest.Echo(400, "invalid_request"), 400, object, 0, contains("s3cr3t")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := faulty(t)
			s.MisbehaveNext(1, tt.fault)
			o := exchange(t.Context(), t, s, "s3cr3t")
			if o.err != nil || o.status != tt.status || o.header.Get("Content-Type") != tt.media || s.Exchanges() != tt.exchanges || !tt.also(o) {
				t.Errorf("got error %v, status %d, media type %q, %d exchanges, %d bytes", o.err, o.status, o.header.Get("Content-Type"), s.Exchanges(), len(o.body))
			}
			if o.header.Get("X-Ids-Id") == "" {
				t.Error("got no correlation identifier")
			}
			if o := exchange(t.Context(), t, s, "s3cr3t"); o.status != 200 || o.header.Get("Content-Type") != object {
				t.Errorf("next request: got error %v, status %d, want 200", o.err, o.status)
			}
		})
	}
}

// TestFaultsKeepRefusals: a fault that changes a valid answer does not change a refusal.
func TestFaultsKeepRefusals(t *testing.T) {
	for name, fault := range map[string]oauthtest.Fault{
		"members": oauthtest.Members(map[string]any{"error": "x"}), "rewrite": oauthtest.Rewrite(func([]byte) []byte { return nil }),
		"late body": oauthtest.LateBody(0), "drip": oauthtest.Drip(0), "late": oauthtest.Late(0),
	} {
		s := faulty(t)
		s.Misbehave(fault)
		if o := exchange(t.Context(), t, s, "wrong"); o.status != 401 || !strings.Contains(string(o.body), "invalid_client") || s.FailedLogons("c") != 1 {
			t.Errorf("%s: got status %d, %d failed logons, want 401, 1", name, o.status, s.FailedLogons("c"))
		}
	}
}

func TestFaultsBreakTheConnection(t *testing.T) {
	for _, tt := range []struct {
		name      string
		fault     oauthtest.Fault
		want      error
		exchanges int
	}{
		{"reset", oauthtest.Reset, syscall.ECONNRESET, 0},
		{"lost", oauthtest.Lost, syscall.ECONNRESET, 1},
		{"truncated", oauthtest.Truncated, io.ErrUnexpectedEOF, 1},
	} {
		s := faulty(t)
		s.MisbehaveNext(1, tt.fault)
		if o := exchange(t.Context(), t, s, "s3cr3t"); !errors.Is(o.err, tt.want) || s.Exchanges() != tt.exchanges {
			t.Errorf("%s: got error %v, %d exchanges, want %v, %d", tt.name, o.err, s.Exchanges(), tt.want, tt.exchanges)
		}
	}
}

// TestSlowFaultsStop: a slow fault stops when the client gives up and when the server closes.
func TestSlowFaultsStop(t *testing.T) {
	for name, fault := range map[string]oauthtest.Fault{
		"hang": oauthtest.Hang, "late": oauthtest.Late(time.Hour), "late body": oauthtest.LateBody(time.Hour), "drip": oauthtest.Drip(time.Hour),
	} {
		ended := make(chan struct{}, 2)
		impatient, giveUp := context.WithCancel(t.Context())
		watched := func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
			defer func() { ended <- struct{}{} }()
			giveUp() // the second client waits
			fault(w, r, next, done)
		}
		s := faulty(t)
		s.Misbehave(watched)
		if o := exchange(impatient, t, s, "s3cr3t"); !errors.Is(o.err, context.Canceled) {
			t.Errorf("%s: got error %v, want that of the client", name, o.err)
		}
		<-ended
		result := make(chan outcome, 1)
		go func() { result <- exchange(t.Context(), t, s, "s3cr3t") }()
		for len(s.Requests()) < 2 {
			time.Sleep(time.Millisecond)
		}
		s.Close()
		if o := <-result; o.err == nil {
			t.Errorf("%s: got status %d from a closed server", name, o.status)
		}
		<-ended
	}
}

func TestFaultsApplyToTheNextRequests(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	logon := func() answer { return post(t, s, nil, "", "client_id", "c", "client_secret", "good") }
	s.MisbehaveNext(1, oauthtest.HTML429("1"))
	logon().want(t, "misbehaved", 429, nil)
	logon().want(t, "behaved", 200, nil)
	s.Misbehave(oauthtest.Answer(503, "", ""))
	for range 3 {
		logon().want(t, "misbehaved", 503, nil)
	}
	s.Behave()
	logon().want(t, "behaved again", 200, nil)
	if len(s.Requests()) != 6 || s.Exchanges() != 2 || s.Connections() != 6 {
		t.Errorf("got %d requests, %d exchanges, %d connections, want 6, 2, 6", len(s.Requests()), s.Exchanges(), s.Connections())
	}
}
