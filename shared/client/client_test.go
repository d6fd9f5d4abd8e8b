package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tokenvendor/shared/ask"
)

const (
	canary    = "cnry-7f3Qz9"
	firstURL  = "https://one.execute-api.eu-central-1.amazonaws.com/prod/token"
	secondURL = "https://two.execute-api.eu-west-1.amazonaws.com/prod/token"
)

// vendor answers requests as the API does, without a network. It is safe for concurrent use.
type vendor struct {
	mu    sync.Mutex
	calls []call // guarded by mu, as what follows
	// answer makes the answer; nil: a token of an hour that is to be refreshed after 48 minutes.
	answer func(call, int) (status int, header, body string)
	delay  time.Duration
	hangs  string // how the host begins that does not answer; empty: none
}

// call is what one request was.
type call struct {
	host, path, authorization string
	body                      map[string]any
}

var errRefused = errors.New("connection refused " + canary)

func (v *vendor) RoundTrip(req *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	c := call{host: req.URL.Host, path: req.URL.Path, authorization: req.Header.Get("Authorization")}
	if err := json.Unmarshal(text, &c.body); err != nil {
		return nil, err
	}
	if v.hangs != "" && strings.HasPrefix(c.host, v.hangs) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	time.Sleep(v.delay)
	v.mu.Lock()
	v.calls = append(v.calls, c)
	n, answer := len(v.calls), v.answer
	v.mu.Unlock()
	status, header, body := http.StatusOK, "", fmt.Sprintf(`{"access_token":"%s-%d","token_type":"Bearer","expires_in":3600,"refresh_after":2880,"zone":"z"}`, canary, n)
	if answer != nil {
		status, header, body = answer(c, n)
	}
	if status == 0 {
		return nil, errRefused
	}
	resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: req}
	if name, value, ok := strings.Cut(header, ": "); ok {
		resp.Header.Set(name, value)
	}
	return resp, nil
}

func (v *vendor) answers(f func(call, int) (int, string, string)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answer = f
}

// count returns how many calls there were.
func (v *vendor) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.calls)
}

func (v *vendor) last() call {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls[len(v.calls)-1]
}

func newClient(t *testing.T, v *vendor, urls ...string) *Client {
	t.Helper()
	if len(urls) == 0 {
		urls = []string{firstURL}
	}
	return newClientAt(t, v, nil, urls...)
}

// newClientAt is newClient with a clock.
func newClientAt(t *testing.T, v *vendor, now func() time.Time, urls ...string) *Client {
	t.Helper()
	c, err := New(Config{URLs: urls, Now: now, HTTPClient: &http.Client{Transport: v}, AWS: aws.Config{
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: canary}, nil
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustToken(t *testing.T, c *Client, r Request) *Token {
	t.Helper()
	token, err := c.Token(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func status(code int) func(call, int) (int, string, string) {
	return func(call, int) (int, string, string) { return code, "", "" }
}

func TestRequestsAtOnceMakeOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{delay: time.Second}
		c := newClient(t, v)
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { mustToken(t, c, Request{Client: "billing"}) })
		}
		all.Wait()
		if v.count() != 1 {
			t.Errorf("got %d calls, want 1", v.count())
		}
		got := v.last()
		if got.host != "one.execute-api.eu-central-1.amazonaws.com" || got.path != "/prod/token/billing" || len(got.body) != 0 ||
			!strings.Contains(got.authorization, "/eu-central-1/execute-api/aws4_request") {
			t.Errorf("got %+v", got)
		}
	})
}

func TestRequestCarriesTheAsk(t *testing.T) {
	v := &vendor{}
	c := newClient(t, v)
	r := Request{Client: "billing", MinTTL: 10 * time.Minute, Ask: ask.Ask{
		Scope: []string{"a", "b"}, Resource: []string{"urn:x"}, Audience: "au", TokenFormat: "jwt", AppTID: "tid", Parameters: map[string]string{"p": "q"},
	}}
	mustToken(t, c, r)
	text, _ := json.Marshal(v.last().body)
	if want := `{"app_tid":"tid","audience":"au","min_ttl":600,"p":"q","resource":["urn:x"],"scope":"a b","token_format":"jwt"}`; string(text) != want {
		t.Errorf("got the body %s, want %s", text, want)
	}
	r.Scope = []string{"a"}
	mustToken(t, c, r)
	if v.count() != 2 {
		t.Errorf("got %d calls for two asks, want 2", v.count())
	}
	r.Scope, r.MinTTL = []string{"b"}, 500*time.Millisecond
	mustToken(t, c, r)
	if got := v.last().body["min_ttl"]; got != float64(1) {
		t.Errorf("got the min_ttl %v for half a second, want 1", got)
	}
}

// A token is kept until refresh_after. While a new one is fetched, callers get the old one.
func TestTokenIsKeptUntilRefreshAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{}
		c := newClient(t, v)
		first := mustToken(t, c, Request{Client: "billing"})
		time.Sleep(47 * time.Minute)
		if again := mustToken(t, c, Request{Client: "billing"}); again != first || v.count() != 1 {
			t.Errorf("before refresh_after: got %d calls, want 1", v.count())
		}
		time.Sleep(2 * time.Minute)
		v.delay = 5 * time.Second
		var all sync.WaitGroup
		all.Go(func() {
			// The one that begins the refresh waits for a while.
			if begun := time.Now(); mustToken(t, c, Request{Client: "billing"}) != first || time.Since(begun) != refreshWait {
				t.Errorf("got another token, or a token after %v, want the old one after %v", time.Since(begun), refreshWait)
			}
		})
		synctest.Wait()
		if begun := time.Now(); mustToken(t, c, Request{Client: "billing"}) != first || time.Since(begun) != 0 {
			t.Error("during the refresh: another token, or a wait")
		}
		all.Wait()
		time.Sleep(v.delay)
		if fresh := mustToken(t, c, Request{Client: "billing"}); fresh == first || v.count() != 2 {
			t.Errorf("after the refresh: got %d calls, want 2", v.count())
		}
	})
}

func TestTokenIsUsedWhileVendorIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{}
		c := newClient(t, v)
		first := mustToken(t, c, Request{Client: "billing"})
		time.Sleep(49 * time.Minute)
		v.answers(func(call, int) (int, string, string) {
			return 503, "Retry-After: 20", `{"error":"temporarily_unavailable","error_description":"d","request_id":"r"}`
		})
		before := v.count()
		for range 600 {
			if mustToken(t, c, Request{Client: "billing"}) != first {
				t.Fatal("another token")
			}
			time.Sleep(time.Second)
		}
		if n := v.count() - before; n > 30 {
			t.Errorf("got %d calls in ten minutes with Retry-After: 20, want 30 at most", n)
		}
		time.Sleep(2 * time.Minute)
		for range 3 {
			_, err := c.Token(t.Context(), Request{Client: "billing"})
			var failure *Error
			if !errors.As(err, &failure) || !failure.Temporary() || failure.RetryAfter <= 0 || failure.RetryAfter > 30*time.Second {
				t.Errorf("after its end: got %v, want a temporary error with RetryAfter", err)
			}
		}
	})
}

func TestNextURLIsUsedForAMinute(t *testing.T) {
	for name, outage := range map[string]int{"no connection": 0, "503": 503, "500": 500} {
		synctest.Test(t, func(t *testing.T) {
			v := &vendor{}
			c := newClient(t, v, firstURL, secondURL)
			v.answers(func(at call, n int) (int, string, string) {
				if strings.HasPrefix(at.host, "one.") {
					return outage, "", ""
				}
				return 200, "", fmt.Sprintf(`{"access_token":"t%d","token_type":"Bearer","expires_in":1}`, n)
			})
			for i := range 3 {
				mustToken(t, c, Request{Client: fmt.Sprint("c", i)})
			}
			if n := v.count(); n != 4 {
				t.Errorf("%s: got %d calls, want one of the first URL and three of the second", name, n)
			}
			if !strings.Contains(v.last().authorization, "/eu-west-1/") {
				t.Errorf("%s: the signature is not for the region of the second URL", name)
			}
			time.Sleep(stickyTime)
			mustToken(t, c, Request{Client: "d"})
			if n := v.count(); n != 6 {
				t.Errorf("%s: got %d calls, want the first URL tried again", name, n)
			}
		})
	}
}

// A URL that hangs is given up, and the next one is asked.
func TestNextURLIsUsedWhenOneHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{}
		c := newClient(t, v, firstURL, secondURL)
		v.hangs = "one."
		begun := time.Now()
		mustToken(t, c, Request{Client: "billing"})
		if took := time.Since(begun); took != callTimeout {
			t.Errorf("got a token after %v, want it after %v", took, callTimeout)
		}
	})
}

func TestRefusalsAreNotTriedElsewhere(t *testing.T) {
	for _, code := range []int{400, 403, 404, 429} {
		v := &vendor{answer: status(code)}
		_, err := newClient(t, v, firstURL, secondURL).Token(t.Context(), Request{Client: "billing"})
		var failure *Error
		if !errors.As(err, &failure) || failure.Status != code || v.count() != 1 {
			t.Errorf("got %v after %d calls, want status %d after 1", err, v.count(), code)
		}
	}
}

// What API Gateway refuses, such as credentials that have expired, costs no token.
func TestTokenIsDroppedWhenTheVendorDeniesIt(t *testing.T) {
	for body, kept := range map[string]bool{`{"error":"access_denied"}`: false, `{"message":"The security token included in the request is expired"}`: true} {
		synctest.Test(t, func(t *testing.T) {
			v := &vendor{}
			c := newClient(t, v)
			mustToken(t, c, Request{Client: "billing"})
			time.Sleep(49 * time.Minute)
			v.answers(func(call, int) (int, string, string) { return 403, "", body })
			_, _ = c.Token(t.Context(), Request{Client: "billing"})
			if _, err := c.Token(t.Context(), Request{Client: "billing"}); (err == nil) != kept {
				t.Errorf("%s: got %v, want the token kept: %t", body, err, kept)
			}
		})
	}
}

func TestMinTTLAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{}
		c := newClient(t, v)
		mustToken(t, c, Request{Client: "billing"})
		time.Sleep(30 * time.Minute)
		mustToken(t, c, Request{Client: "billing", MinTTL: 20 * time.Minute})
		mustToken(t, c, Request{Client: "billing", MinTTL: 40 * time.Minute})
		if v.count() != 2 || v.last().body["min_ttl"] != 2400.0 {
			t.Errorf("got %d calls, the last with %v, want 2", v.count(), v.last().body)
		}
	})
}

// The vendor may have given a token that is nearly as old as its refresh_after.
func TestMinTTLAsksAtOnceUnlessTheLastCallDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &vendor{}
		c := newClient(t, v)
		for _, step := range []struct {
			sleep, minTTL time.Duration
			calls         int
		}{{0, 0, 1}, {0, 2 * time.Hour, 2}, {0, 2 * time.Hour, 2}, {0, 90 * time.Minute, 2}, {0, 3 * time.Hour, 3}, {29 * time.Second, 2 * time.Hour, 3}, {time.Second, 2 * time.Hour, 4}} {
			time.Sleep(step.sleep)
			if mustToken(t, c, Request{Client: "billing", MinTTL: step.minTTL}); v.count() != step.calls {
				t.Errorf("min_ttl %v after %v: got %d calls, want %d", step.minTTL, step.sleep, v.count(), step.calls)
			}
		}
	})
}

// A token without expires_in is not kept.
func TestTokenOfUnknownLifeIsNotKept(t *testing.T) {
	v := &vendor{answer: func(_ call, n int) (int, string, string) { return 200, "", fmt.Sprintf(`{"access_token":"t%d"}`, n) }}
	c := newClient(t, v)
	for range 2 {
		if token := mustToken(t, c, Request{Client: "billing"}); token.Type() != "Bearer" || !token.Expiry().IsZero() {
			t.Errorf("got %s until %v", token.Type(), token.Expiry())
		}
	}
	if v.count() != 2 {
		t.Errorf("got %d calls, want 2", v.count())
	}
}

func TestTokenForOAuth2(t *testing.T) {
	v := &vendor{}
	c := newClient(t, v)
	token, err := c.TokenSource(t.Context(), Request{Client: "billing"}).Token()
	if err != nil || token.AccessToken != canary+"-1" || token.Extra("zone") != "z" || time.Until(token.Expiry) < 59*time.Minute {
		t.Errorf("got a token: %t, error %v", token != nil, err)
	}
	text := mustToken(t, c, Request{Client: "billing"}).JSON(time.Now().Add(10 * time.Minute))
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	if life, _ := members["expires_in"].(float64); life > 3000 || life < 2990 || members["zone"] != "z" {
		t.Errorf("got %v of life, members %d", life, len(members))
	}
}

func TestNothingShowsATokenOrAnAnswer(t *testing.T) {
	v := &vendor{}
	c := newClient(t, v)
	token := mustToken(t, c, Request{Client: "billing"})
	text, err := json.Marshal(token)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %q %x %s", token, token, token, token, token, token, text)
	v.answers(func(call, int) (int, string, string) {
		return 403, "", `{"message":"User: arn:` + canary + ` is not authorized"}`
	})
	_, err = c.Token(t.Context(), Request{Client: "other"})
	shown += err.Error()
	v.answers(status(0))
	_, err = c.Token(t.Context(), Request{Client: "third"})
	shown += err.Error()
	if strings.Contains(shown, canary) || !strings.Contains(shown, "IAM does not allow") {
		t.Errorf("got %s", shown)
	}
}

func TestExplainKeepsNothing(t *testing.T) {
	v := &vendor{answer: func(call, int) (int, string, string) { return 200, "", `{"dry_run":true,"allowed":true}` }}
	c := newClient(t, v)
	for range 2 {
		if text, err := c.Explain(t.Context(), Request{Client: "billing"}); err != nil || string(text) != `{"dry_run":true,"allowed":true}` {
			t.Errorf("got %s, %v", text, err)
		}
	}
	if v.count() != 2 || v.last().body["dry_run"] != true {
		t.Errorf("got %d calls, the last with %v", v.count(), v.last().body)
	}
}

func TestNewNamesTheProblem(t *testing.T) {
	good := aws.Config{Region: "eu-central-1", Credentials: aws.AnonymousCredentials{}}
	for _, test := range []struct {
		cfg  Config
		want string
	}{
		{Config{AWS: good}, "URLs is empty"},
		{Config{URLs: []string{firstURL}}, "no credentials"},
		{Config{URLs: []string{"https://vendor.example/token"}, AWS: aws.Config{Credentials: good.Credentials}}, "no region"},
		{Config{URLs: []string{"http://vendor.example/token"}, AWS: good}, "not https"},
		{Config{URLs: []string{"https://" + canary + "@vendor.example/token"}, AWS: good}, "not a URL"},
		{Config{URLs: []string{"vendor.example"}, AWS: good}, "not a URL"},
		{Config{URLs: []string{"http://127.0.0.1:1/token", firstURL}, AWS: good}, ""},
		{Config{URLs: []string{"arn:aws:s3:::" + canary}, AWS: good}, "not that of a Lambda function"},
		{Config{URLs: []string{"arn:aws-iso:lambda:us-iso-east-1:111122223333:function:f"}, AWS: good}, "BaseEndpoint"},
		{Config{URLs: []string{"arn:aws:lambda:eu-central-1:111122223333:function:f"}, AWS: aws.Config{Credentials: good.Credentials, BaseEndpoint: aws.String("http://vendor.example")}}, "BaseEndpoint"},
	} {
		_, err := New(test.cfg)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), canary)) {
			t.Errorf("got %v, want %q", err, test.want)
		}
	}
	c := newClient(t, &vendor{})
	for _, name := range []string{"", "../x", "A", "a/b"} {
		if _, err := c.Token(t.Context(), Request{Client: name}); err == nil || strings.Contains(err.Error(), "../") {
			t.Errorf("the client %q: got %v", name, err)
		}
	}
}
