package oauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

func TestDiscoverAcceptsOwnHostOnly(t *testing.T) {
	var change func(map[string]any)
	s := oauthtest.NewServer(t, oauthtest.Config{Metadata: func(m map[string]any) {
		if change != nil {
			change(m)
		}
	}})
	hc := httpClient(private(), s.CAPool())
	alias := strings.Replace(s.URL(), "127.0.0.1", "localhost", 1)
	for _, tt := range []struct {
		name   string
		change func(map[string]any)
		ok     bool
	}{
		{"unchanged", nil, true},
		{"alias on the same host", func(m map[string]any) {
			m["mtls_endpoint_aliases"] = map[string]string{"token_endpoint": s.URL() + "/mtls"}
		}, true},
		{"other issuer", func(m map[string]any) { m["issuer"] = s.URL() + "/" }, false},
		{"no issuer", func(m map[string]any) { delete(m, "issuer") }, false},
		{"foreign token endpoint", func(m map[string]any) { m["token_endpoint"] = "https://evil.test/token" }, false},
		{"http token endpoint", func(m map[string]any) { m["token_endpoint"] = "http://127.0.0.1/token" }, false},
		{"http alias", func(m map[string]any) {
			m["mtls_endpoint_aliases"] = map[string]string{"token_endpoint": "http://127.0.0.1/mtls"}
		}, false},
		{"alias on another host", func(m map[string]any) {
			m["mtls_endpoint_aliases"] = map[string]string{"token_endpoint": alias + "/mtls"}
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change = tt.change
			m, err := oauth.Discover(t.Context(), hc, s.Issuer())
			if (err == nil) != tt.ok {
				t.Fatalf("got error %v, want success: %v", err, tt.ok)
			}
			if err == nil && m.TokenEndpoint != s.TokenEndpoint() {
				t.Errorf("got metadata %+v, want the token endpoint %s", m, s.TokenEndpoint())
			}
			if errors.Is(err, oauth.ErrDiscovery) {
				t.Errorf("got the temporary error %v", err)
			}
		})
	}
}

// TestDiscoverRefusesOtherProtocol answers 101. Without a special case the read of the body
// would not end.
func TestDiscoverRefusesOtherProtocol(t *testing.T) {
	stop := make(chan struct{})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		connection, _, _ := http.NewResponseController(w).Hijack()
		_, _ = io.WriteString(connection, switchingProtocols)
		<-stop
		_ = connection.Close()
	}))
	defer s.Close()
	defer close(stop)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := oauth.Discover(ctx, httpClient(private(), poolOf(s)), s.URL); err == nil || ctx.Err() != nil {
		t.Errorf("got error %v, context %v", err, ctx.Err())
	}
}

// TestDiscoverTriesBothPlaces: the place of RFC 8414 is tried after an answer that is no
// metadata, and not after one of a server in trouble.
func TestDiscoverTriesBothPlaces(t *testing.T) {
	const page = "<!doctype html><title>sign in</title>"
	for _, tt := range []struct {
		name, first, second string // status and body
		want                string // part of the error; empty: none
		temporary           bool
	}{
		{"first", "200 {}", "500 ", "", false},
		{"400", "400 {}", "200 {}", "", false},
		{"401", "401 ", "200 {}", "", false},
		{"403", "403 {}", "200 {}", "", false},
		{"404", "404 " + page, "200 {}", "", false},
		{"405", "405 ", "200 {}", "", false},
		{"410", "410 ", "200 {}", "", false},
		{"429", "429 ", "200 {}", "", false},
		{"301", "301 ", "200 {}", "", false},
		{"302", "302 " + page, "200 {}", "", false},
		{"204", "204 ", "200 {}", "", false},
		{"page", "200 " + page, "200 {}", "", false},
		{"nothing", "200 ", "200 {}", "", false},
		{"list", "200 []", "200 {}", "", false},
		{"503", "503 ", "200 {}", "status 503", true},
		{"neither", "404 ", "403 ", "status 403", false},
		{"first says more", "403 ", "404 ", "status 403", false},
		{"page, then nothing", "200 " + page, "404 ", "it looks like HTML", false},
		{"page only at the second", "404 ", "200 " + page, "it looks like HTML", false},
		{"429, then nothing", "429 ", "404 ", "status 429", true},
		{"nothing, then 429", "403 ", "429 ", "status 429", true},
		{"nothing, then 503", "403 ", "503 ", "status 503", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, second, err := discoverAt(t, tt.first, tt.second)
			switch {
			case tt.want == "" && (err != nil || !strings.HasSuffix(m.TokenEndpoint, "/t")):
				t.Errorf("got %+v, error %v", m, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, oauth.ErrDiscovery) != tt.temporary):
				t.Errorf("got error %v, want %q, temporary %v", err, tt.want, tt.temporary)
			}
			if asked := tt.first != "200 {}" && tt.first != "503 "; (second == 1) != asked || second > 1 {
				t.Errorf("got %d requests for the second place", second)
			}
		})
	}
}

// discoverAt discovers an issuer whose two places answer first and second, and counts the
// requests for the second one.
func discoverAt(t *testing.T, first, second string) (m oauth.Metadata, asked int, err error) {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := first
		if r.URL.Path == "/.well-known/oauth-authorization-server/x" {
			answer = second
			asked++
		} else if r.URL.Path != "/x/.well-known/openid-configuration" {
			t.Errorf("got a request for %s", r.URL.Path)
		}
		code, body, _ := strings.Cut(answer, " ")
		status, _ := strconv.Atoi(code)
		if body == "{}" && status == http.StatusOK {
			body = fmt.Sprintf(`{"issuer":"%s/x","token_endpoint":"%[1]s/t"}`, s.URL)
		}
		w.Header().Set("Location", "/logon")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	defer s.Close()
	m, err = oauth.Discover(t.Context(), httpClient(private(), poolOf(s)), s.URL+"/x")
	return m, asked, err
}

// TestDiscoverReadsOddMetadata: a byte order mark and odd members that are not used do not
// matter, and an issuer that differs by its last slash is named as that.
func TestDiscoverReadsOddMetadata(t *testing.T) {
	for _, tt := range []struct {
		name, path, body string // {} in body: the server's URL
		want             string // part of the error; empty: none
	}{
		{"byte order mark", "/x", "\ufeff" + `{"issuer":"{}/x","token_endpoint":"{}/t"}`, ""},
		{"member twice", "/x", `{"issuer":"{}/x","token_endpoint":"{}/t","a":1,"a":2}`, ""},
		{"Latin-1", "/x", "{\"issuer\":\"{}/x\",\"token_endpoint\":\"{}/t\",\"op_name\":\"B\xfcro\"}", ""},
		{"endpoint twice", "/x", `{"issuer":"{}/x","token_endpoint":"{}/t","token_endpoint":"{}/u"}`, "a member twice"},
		{"slash to add", "/x", `{"issuer":"{}/x/","token_endpoint":"{}/t"}`, "slash at its end: add it"},
		{"slash to add to a host", "", `{"issuer":"{}/","token_endpoint":"{}/t"}`, "slash at its end: add it"},
		{"slash to remove", "/x/", `{"issuer":"{}/x","token_endpoint":"{}/t"}`, "slash at its end: remove it"},
		{"two slashes", "/x", `{"issuer":"{}/x//","token_endpoint":"{}/t"}`, "names another issuer"},
		{"no issuer", "/", `{"token_endpoint":"{}/t"}`, "names another issuer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s *httptest.Server
			s = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, strings.ReplaceAll(tt.body, "{}", s.URL))
			}))
			defer s.Close()
			m, err := oauth.Discover(t.Context(), httpClient(private(), poolOf(s)), s.URL+tt.path)
			switch {
			case tt.want == "" && (err != nil || m.TokenEndpoint != s.URL+"/t"):
				t.Errorf("got %+v, error %v", m, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), s.URL)):
				t.Errorf("got error %v, want %q", err, tt.want)
			case strings.HasPrefix(tt.want, "names") && strings.Contains(err.Error(), "slash"):
				t.Errorf("got %v, want no word of a slash", err)
			}
		})
	}
}
