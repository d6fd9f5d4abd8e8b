package client

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// resourceServer is an API that refuses some tokens.
type resourceServer struct {
	*httptest.Server
	mu      sync.Mutex
	refused map[string]bool // guarded by mu
	got     []string        // tokens and bodies; guarded by mu
}

func newResourceServer(t *testing.T, refused ...string) *resourceServer {
	t.Helper()
	s := &resourceServer{refused: make(map[string]bool)}
	for _, token := range refused {
		s.refused[token] = true
	}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		s.mu.Lock()
		s.got = append(s.got, token+" "+string(body))
		bad := s.refused[token] || s.refused["*"]
		s.mu.Unlock()
		if bad {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = io.WriteString(w, "answer")
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *resourceServer) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...)
}

func TestTransportReplacesRefusedToken(t *testing.T) {
	for name, test := range map[string]struct {
		body   func() io.Reader
		status int
		want   []string
	}{
		"no body":             {func() io.Reader { return nil }, 200, []string{canary + "-1 ", canary + "-2 "}},
		"body":                {func() io.Reader { return strings.NewReader("b") }, 200, []string{canary + "-1 b", canary + "-2 b"}},
		"body to read once":   {func() io.Reader { return io.MultiReader(strings.NewReader("b")) }, 401, []string{canary + "-1 b"}},
		"body without length": {func() io.Reader { return io.NopCloser(strings.NewReader("")) }, 401, []string{canary + "-1 "}},
	} {
		server, v := newResourceServer(t, canary+"-1"), &vendor{}
		c := newClient(t, v)
		resp, err := c.HTTPClient(Request{Client: "billing"}).Post(server.URL, "text/plain", test.body())
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		got := server.requests()
		if resp.StatusCode != test.status || string(text) != "answer" || strings.Join(got, "|") != strings.Join(test.want, "|") {
			t.Errorf("%s: got %d, requests %q, want %d, %q", name, resp.StatusCode, got, test.status, test.want)
		}
		if v.count() != 2 || v.last().body["rejected"] == nil {
			t.Errorf("%s: the token was not reported", name)
		}
		if token := mustToken(t, c, Request{Client: "billing"}); token.AccessToken() != canary+"-2" {
			t.Errorf("%s: the next request gets the refused token", name)
		}
	}
}

// An API that refuses every token costs one call of the vendor in 30 seconds.
func TestTransportReportsATokenOnce(t *testing.T) {
	server := newResourceServer(t, "*")
	v := &vendor{answer: func(call, int) (int, string, string) {
		return 200, "", `{"access_token":"same","token_type":"Bearer","expires_in":3600,"refresh_after":3000}`
	}}
	c := newClient(t, v)
	for range 10 {
		resp, err := c.HTTPClient(Request{Client: "billing"}).Get(server.URL)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if v.count() != 2 || len(server.requests()) != 10 {
		t.Errorf("got %d calls of the vendor and %d of the API, want 2 and 10", v.count(), len(server.requests()))
	}
}

// The server of a redirect is not the one that the token is for.
func TestTransportSendsNoTokenElsewhere(t *testing.T) {
	other := newResourceServer(t)
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a" {
			http.Redirect(w, r, "/b", http.StatusFound)
			return
		}
		if r.Header.Get("Authorization") == "" {
			t.Error("the token is missing after a redirect to the same server")
		}
		http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+"/c", http.StatusFound)
	}))
	defer first.Close()
	resp, err := newClient(t, &vendor{}).HTTPClient(Request{Client: "billing"}).Get(first.URL + "/a")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if got := other.requests(); len(got) != 1 || got[0] != " " {
		t.Errorf("got %q, want one request without a token", got)
	}
}

func TestTransportWithoutVendor(t *testing.T) {
	server := newResourceServer(t, "*")
	v := &vendor{answer: status(0)}
	c := newClient(t, v)
	if _, err := c.HTTPClient(Request{Client: "billing"}).Get(server.URL); err == nil || len(server.requests()) != 0 || strings.Contains(err.Error(), canary) { //nolint:bodyclose // there is none
		t.Errorf("got %v and %d requests, want an error and none", err, len(server.requests()))
	}
	// The vendor fails after a 401: the API's answer counts.
	v = &vendor{answer: func(_ call, n int) (int, string, string) {
		if n > 1 {
			return 0, "", ""
		}
		return 200, "", `{"access_token":"t","expires_in":3600}`
	}}
	resp, err := newClient(t, v).HTTPClient(Request{Client: "billing"}).Get(server.URL)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("got %v", err)
	}
	_ = resp.Body.Close()
}
