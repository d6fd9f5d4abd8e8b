package main

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"tokenvendor/scripts/bench/clock"
	"tokenvendor/shared/oauth/oauthtest"
)

func newTestAuthServer(t *testing.T) *authServer {
	t.Helper()
	file := clock.File(filepath.Join(t.TempDir(), "clock"))
	if err := file.Reset(); err != nil {
		t.Fatal(err)
	}
	s, err := startAuthServer(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.Register(oauthtest.Client{ID: "bench", Methods: []string{"client_secret_post"}, Secrets: []string{firstSecret}})
	return s
}

// exchange makes a token request and returns the answer without its body.
func exchange(t *testing.T, s *authServer, secret, scope string) *http.Response {
	t.Helper()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CAPool()}, DisableKeepAlives: true}}
	answer, err := client.PostForm(s.TokenEndpoint(), url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"bench"}, "client_secret": {secret}, "scope": {scope},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestAuthServerCounts(t *testing.T) {
	s := newTestAuthServer(t)
	s.setRule(func(form url.Values) oauthtest.Fault {
		if form.Get("scope") == "late" {
			return oauthtest.HTML429("300")
		}
		return nil
	})
	begin := time.Now()
	for _, tt := range []struct {
		secret, scope string
		status        int
		retryAfter    string
	}{{firstSecret, "s", 200, ""}, {"wrong", "s", 401, ""}, {firstSecret, "late", 429, "300"}} {
		answer := exchange(t, s, tt.secret, tt.scope)
		if answer.StatusCode != tt.status || answer.Header.Get("Retry-After") != tt.retryAfter {
			t.Errorf("%s, %s: got %d, Retry-After %q", tt.secret, tt.scope, answer.StatusCode, answer.Header.Get("Retry-After"))
		}
	}
	all := s.seen(begin, nil)
	if len(all) != 3 || len(s.seen(time.Now(), nil)) != 0 || len(s.seen(begin, tokenRequest.failedLogon)) != 1 {
		t.Fatalf("got %d requests, %d failed logons, want 3 and 1", len(all), len(s.seen(begin, tokenRequest.failedLogon)))
	}
	if r := all[1]; r.client != "bench" || r.secret != "wrong" || r.status != 401 || r.answered.Before(r.at) {
		t.Errorf("got %s, %d", r.client, r.status)
	}
}

// The server has the time of the clock, and is as slow as it is told.
func TestAuthServerFollowsTheClock(t *testing.T) {
	s := newTestAuthServer(t)
	if err := s.clock.Advance(time.Hour); err != nil {
		t.Fatal(err)
	}
	s.setLate(20 * time.Millisecond)
	begin := time.Now()
	answer := exchange(t, s, firstSecret, "")
	if took := time.Since(begin); took < 20*time.Millisecond {
		t.Errorf("the answer came after %v", took)
	}
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if ahead := time.Until(date).Round(time.Minute); err != nil || ahead != time.Hour {
		t.Errorf("the header Date is %v ahead, %v, want 1h", ahead, err)
	}
}

func TestBusiestWindow(t *testing.T) {
	s := &authServer{}
	start := time.Now()
	for _, second := range []int{0, 10, 50, 65, 69, 100} {
		s.requests = append(s.requests, tokenRequest{at: start.Add(time.Duration(second) * time.Second), client: strconv.Itoa(second)})
	}
	if got := s.busiest(start, time.Minute); got != 4 { // those from 10 to 69, or from 50 to 100
		t.Errorf("got %d requests in the busiest minute, want 4", got)
	}
}
