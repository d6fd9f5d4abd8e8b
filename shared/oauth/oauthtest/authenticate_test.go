package oauthtest_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// clock is a Config.Now that a test can set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestSecretsAreVerified(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	s.Register(oauthtest.Client{ID: "a b", Methods: []string{"client_secret_post", "client_secret_basic"}, Secrets: []string{awkward, "second"}})
	s.Register(oauthtest.Client{ID: "raw", Methods: []string{"client_secret_basic"}, Secrets: []string{awkward}, RawBasic: true})
	encoded := url.QueryEscape("a b") + ":" + url.QueryEscape(awkward)
	post(t, s, nil, "", "client_id", "a b", "client_secret", awkward).want(t, "post", 200, nil)
	post(t, s, nil, "", "client_id", "a b", "client_secret", "second").want(t, "second secret", 200, nil)
	post(t, s, nil, encoded).want(t, "basic", 200, nil)
	post(t, s, nil, "raw:"+awkward).want(t, "raw basic", 200, nil)
	for name, a := range map[string]answer{
		"wrong secret":        post(t, s, nil, "", "client_id", "a b", "client_secret", "x"),
		"empty secret":        post(t, s, nil, "", "client_id", "a b", "client_secret", ""),
		"unknown client":      post(t, s, nil, "", "client_id", "nobody", "client_secret", awkward),
		"not decoded":         post(t, s, nil, "a b:"+awkward),
		"raw, but encoded":    post(t, s, nil, "raw:"+url.QueryEscape(awkward)),
		"another client_id":   post(t, s, nil, encoded, "client_id", "raw"),
		"no proof":            post(t, s, nil, "", "client_id", "a b"),
		"method not allowed":  post(t, s, nil, "", "client_id", "raw", "client_secret", awkward),
		"secret's first half": post(t, s, nil, "", "client_id", "a b", "client_secret", awkward[:5]),
	} {
		a.want(t, name, 401, "invalid_client")
	}
	post(t, s, nil, encoded, "client_id", "a b", "client_secret", awkward).want(t, "two methods", 400, "invalid_request")
	post(t, s, nil, encoded, "scope", "a", "scope", "b").want(t, "repeated parameter", 400, "invalid_request")
	if s.Exchanges() != 4 {
		t.Errorf("got %d exchanges, want 4", s.Exchanges())
	}
}

// TestRawBasicIsNotDecoded uses an id such as XSUAA's, which form encoding changes. The
// encoded form must not authenticate the client.
func TestRawBasicIsNotDecoded(t *testing.T) {
	const id = "sb-shop!t1|x"
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	s.Register(oauthtest.Client{ID: id, Methods: []string{"client_secret_basic"}, Secrets: []string{awkward}, RawBasic: true})
	raw, encoded := id+":"+awkward, url.QueryEscape(id)+":"+url.QueryEscape(awkward)
	for _, tt := range []struct {
		name, scheme, credentials, path string
		status                          int
		code                            any
	}{
		{"raw", "Basic", raw, oauthtest.XSUAAPath, 200, nil},
		{"lower-case scheme", "basic", raw, oauthtest.XSUAAPath, 200, nil},
		{"encoded", "Basic", encoded, oauthtest.XSUAAPath, 401, "unauthorized"},
		{"other scheme", "Bearer", raw, oauthtest.XSUAAPath, 401, "unauthorized"},
		{"no colon", "Basic", id, oauthtest.XSUAAPath, 401, "unauthorized"},
		{"wrong secret", "Basic", id + ":x", oauthtest.XSUAAPath, 401, "unauthorized"},
		{"encoded at the other path", "Basic", encoded, oauthtest.TokenPath, 401, "invalid_client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{"Authorization": {tt.scheme + " " + base64.StdEncoding.EncodeToString([]byte(tt.credentials))}}
			a, got := send(t, s, call{path: tt.path, header: header})
			a.want(t, tt.name, tt.status, tt.code)
			if (a.status == 401) != (got.Get("Www-Authenticate") != "") {
				t.Errorf("got status %d with WWW-Authenticate %q", a.status, got.Get("Www-Authenticate"))
			}
		})
	}
	// Only a decoded id that is registered names a client.
	if failed := s.FailedLogons(id); failed != 1 {
		t.Errorf("got %d failed logons, want 1", failed)
	}
}

func TestFiveFailedLogonsLockForAnHour(t *testing.T) {
	c := clock{now: time.Now()}
	s := oauthtest.NewServer(t, oauthtest.Config{Now: c.Now})
	for _, id := range []string{"c", "d"} {
		s.Register(oauthtest.Client{ID: id, Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	}
	logon := func(secret string) answer { return post(t, s, nil, "", "client_id", "c", "client_secret", secret) }
	for range 4 {
		logon("bad").want(t, "bad", 401, "invalid_client")
	}
	logon("good").want(t, "after four failed logons", 200, nil)
	for range 5 {
		logon("bad").want(t, "bad", 401, "invalid_client")
	}
	post(t, s, nil, "", "client_id", "d", "client_secret", "good").want(t, "another client", 200, nil)
	c.add(59 * time.Minute)
	logon("good").want(t, "locked", 401, "invalid_client")
	logon("bad").want(t, "locked", 401, "invalid_client")
	if n := s.FailedLogons("c"); n != 11 {
		t.Errorf("got %d failed logons, want 11", n)
	}
	c.add(time.Minute)
	logon("bad").want(t, "first failed logon after the lock", 401, "invalid_client")
	logon("good").want(t, "after the lock", 200, nil)
}

func TestNeverLock(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	for range 6 {
		post(t, s, nil, "", "client_id", "c", "client_secret", "bad").want(t, "bad", 401, "invalid_client")
	}
	post(t, s, nil, "", "client_id", "c", "client_secret", "good").want(t, "good", 200, nil)
}

// TestRotationRefusesNoRequest rotates a secret under load while both secrets are valid. The
// test also changes its own slice after the registration, which must have no effect.
func TestRotationRefusesNoRequest(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	secrets := []string{"one"}
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: secrets})
	secrets[0] = "changed"
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 10 {
				post(t, s, nil, "", "client_id", "c", "client_secret", "one").want(t, "under load", 200, nil)
			}
		})
	}
	for range 20 {
		if err := s.SetSecrets("c", "one", "two"); err != nil {
			t.Error(err)
		}
		if err := s.Update("c", func(c *oauthtest.Client) { c.ID, c.Lifetime = "other", time.Minute }); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	if n := s.Exchanges(); n != 40 {
		t.Errorf("got %d exchanges, want 40", n)
	}
	a := post(t, s, nil, "", "client_id", "c", "client_secret", "two")
	a.want(t, "new secret", 200, nil)
	if a.body["expires_in"] != 60.0 {
		t.Errorf("got expires_in %v, want 60", a.body["expires_in"])
	}
	if s.Update("nobody", func(*oauthtest.Client) {}) == nil || s.SetSecrets("nobody") == nil {
		t.Error("got no error for an unknown client")
	}
}

// TestSecretsAreNotPrinted: a failing test prints requests and clients.
func TestSecretsAreNotPrinted(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	c := oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"s3cr3t"}}
	s.Register(c)
	post(t, s, nil, "", "client_id", "c", "client_secret", "s3cr3t").want(t, "good", 200, nil)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if strings.Contains(fmt.Sprintf(format, c), "s3cr3t") || strings.Contains(fmt.Sprintf(format, s.Requests()), "s3cr3t") {
			t.Errorf("%s prints a secret", format)
		}
	}
}
