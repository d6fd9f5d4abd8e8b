package endpoint_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func TestAnyOAuthLibraryGetsAToken(t *testing.T) {
	k := newKit(t)
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		for _, path := range []string{"/oauth2/token", "/oauth/token", "/token"} {
			cfg := clientcredentials.Config{ClientID: "billing", ClientSecret: secretCanary, TokenURL: k.URL + path, AuthStyle: style}
			token, err := cfg.Token(t.Context())
			if err != nil || token.AccessToken != tokenCanary+"-1" || token.Extra("scope") != "read" || time.Until(token.Expiry) < 9*time.Minute {
				t.Errorf("%s: got a token: %t, error %v", path, token != nil, err)
			}
		}
	}
	if got := k.vendor.requests(); len(got) != 1 || got[0] != "/prod/token/billing {}" {
		t.Errorf("got the requests %q, want one", got)
	}
}

func TestParametersReachTheVendor(t *testing.T) {
	k := newKit(t)
	form := good("empty", "", "scope", "a b", "resource", "", "resource", "urn:x", "resource", "urn:y", "audience", "au", "token_format", "jwt", "app_tid", "tid", "min_ttl", "60",
		"response_type", "token", "authorities", `{"a":"b"}`, "assertion", "")
	if r := k.post("/oauth/token", nil, form); r.status != http.StatusOK || r.header.Get("Cache-Control") != "no-store" || r.members(t)["refresh_after"] == nil {
		t.Errorf("got %d, %v", r.status, r.header)
	}
	want := `/prod/token/billing {"app_tid":"tid","audience":"au","authorities":"{\"a\":\"b\"}","min_ttl":60,"resource":["urn:x","urn:y"],"scope":"a b","token_format":"jwt"}`
	if got := k.vendor.requests(); len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTokenEndpointRefuses(t *testing.T) {
	k := newKit(t)
	basic := func(text string) map[string]string {
		return map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(text))}
	}
	without := good()
	without.Del("client_secret")
	for name, test := range map[string]struct {
		got    result
		status int
		code   string
	}{
		"wrong secret":     {k.post("/token", nil, map[string][]string{"grant_type": {"client_credentials"}, "client_id": {"billing"}, "client_secret": {"x"}}), 401, "invalid_client"},
		"no secret":        {k.post("/token", nil, without), 401, "invalid_client"},
		"wrong Basic":      {k.post("/token", basic("billing:x"), good()), 401, "invalid_client"},
		"no client_id":     {k.post("/token", basic(":"+secretCanary), map[string][]string{"grant_type": {"client_credentials"}}), 400, "invalid_request"},
		"password":         {k.post("/token", basic("billing:"+secretCanary), map[string][]string{"grant_type": {"password"}}), 400, "unsupported_grant_type"},
		"scope twice":      {k.post("/token", nil, good("scope", "a", "scope", "b")), 400, "invalid_request"},
		"client":           {k.post("/token", nil, good("client", "other")), 400, "invalid_request"},
		"dry_run":          {k.post("/token", nil, good("dry_run", "true")), 400, "invalid_request"},
		"not a name":       {k.post("/token", nil, url.Values{"grant_type": {"client_credentials"}, "client_id": {"NOT A NAME"}, "client_secret": {secretCanary}}), 400, "invalid_request"},
		"min_ttl":          {k.post("/token", nil, good("min_ttl", "x")), 400, "invalid_request"},
		"client name":      {k.post("/token", basic("../x:"+secretCanary), map[string][]string{"grant_type": {"client_credentials"}}), 400, "invalid_request"},
		"long":             {k.post("/token", nil, good("scope", strings.Repeat("a", 65<<10))), 400, "invalid_request"},
		"JSON":             {k.do(http.MethodPost, "/token", map[string]string{"Content-Type": "application/json"}, strings.NewReader("{}")), 400, "invalid_request"},
		"text/plain":       {k.do(http.MethodPost, "/token", map[string]string{"Content-Type": "text/plain"}, strings.NewReader(good().Encode())), 400, "invalid_request"},
		"GET":              {k.get("/token?"+good().Encode(), nil), 405, "invalid_request"},
		"another path":     {k.post("/other", nil, good()), 404, "invalid_request"},
		"secret in a path": {k.get("/r/x/~"+secretCanary+"/", nil), 404, "invalid_request"},
	} {
		if test.got.status != test.status || test.got.members(t)["error"] != test.code {
			t.Errorf("%s: got %d %s, want %d %s", name, test.got.status, test.got.body, test.status, test.code)
		}
		k.checkSilent(name, test.got.body)
	}
	if got := k.vendor.requests(); len(got) != 0 {
		t.Errorf("got the requests %q of the vendor, want none", got)
	}
	if r := k.post("/token", basic("billing:x"), nil); !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic ") {
		t.Error("a 401 to HTTP Basic has no WWW-Authenticate (RFC 6749 section 5.2)")
	}
}

// What a browser or a proxy sends is refused everywhere, with and without the secret.
func TestForeignRequestsAreRefused(t *testing.T) {
	target := newTarget(t)
	k := newKit(t, "api=billing@"+target.URL)
	for _, path := range []string{"/token", "/oauth2/token", "/r/api/~" + secretCanary + "/x", "/.well-known/openid-configuration", "/metrics", "/healthz"} {
		for name, value := range map[string]string{
			"Origin": "http://127.0.0.1:8973", "Sec-Fetch-Site": "same-origin", "X-Forwarded-For": "127.0.0.1", "Forwarded": "for=x",
			"Host": "rebound.example:8973",
		} {
			if r := k.post(path, map[string]string{name: value}, good()); r.status != http.StatusForbidden || strings.Contains(r.body, tokenCanary) {
				t.Errorf("%s with %s: got %d, want 403", path, name, r.status)
			}
		}
	}
	for _, host := range []string{"127.0.0.1.evil.example", "localhost.evil.example", "0.0.0.0", "[::]", "10.0.0.1", ""} {
		if r := k.get("/healthz", map[string]string{"Host": host}); r.status != http.StatusForbidden && host != "" {
			t.Errorf("the host %q: got %d, want 403", host, r.status)
		}
	}
	for _, host := range []string{"127.0.0.1", "localhost:1", "[::1]:8973", "127.9.9.9"} {
		if r := k.get("/healthz", map[string]string{"Host": host}); r.status != http.StatusOK {
			t.Errorf("the host %q: got %d, want 200", host, r.status)
		}
	}
	if len(k.vendor.requests()) != 0 || len(target.requests()) != 0 {
		t.Error("a foreign request reached the vendor or a target")
	}
}

func TestThousandRequestsMakeOneCall(t *testing.T) {
	k := newKit(t)
	k.vendor.delay = 300 * time.Millisecond
	transport := &http.Transport{MaxConnsPerHost: 1000}
	defer transport.CloseIdleConnections()
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			resp, err := (&http.Client{Transport: transport}).PostForm(k.URL+"/token", good()) //nolint:noctx // a test
			if err != nil {
				t.Error(err)
				return
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("got %d", resp.StatusCode)
			}
		})
	}
	all.Wait()
	if got := k.vendor.requests(); len(got) != 1 {
		t.Errorf("got %d calls of the vendor, want 1", len(got))
	}
}

// The vendor is down for ten minutes: a token serves to its end, and then the answer is 503.
func TestVendorIsUnavailable(t *testing.T) {
	k := newKit(t)
	if r := k.post("/token", nil, good()); r.status != http.StatusOK {
		t.Fatal(r.body)
	}
	k.vendor.set(http.StatusServiceUnavailable)
	for range 9 {
		k.vendor.pass(time.Minute)
		if r := k.post("/token", nil, good()); r.status != http.StatusOK {
			t.Fatalf("got %d before the token's end", r.status)
		}
	}
	k.vendor.pass(time.Minute)
	for range 2 {
		r := k.post("/token", nil, good())
		if r.status != http.StatusServiceUnavailable || r.members(t)["error"] != "temporarily_unavailable" || r.header.Get("Retry-After") == "" {
			t.Errorf("after the token's end: got %d %s, Retry-After %q", r.status, r.body, r.header.Get("Retry-After"))
		}
	}
	k.vendor.pass(time.Minute)
	k.vendor.set(0)
	if r := k.post("/token", nil, good()); r.status != http.StatusOK {
		t.Errorf("the vendor is back: got %d", r.status)
	}
}

func TestErrorsOfTheVendorArePassedOn(t *testing.T) {
	for status, want := range map[int]string{403: "access_denied", 502: "server_error"} {
		k := newKit(t)
		k.vendor.set(status)
		if r := k.post("/token", nil, good()); r.status != status || r.members(t)["error"] != want || r.members(t)["request_id"] != "r1" {
			t.Errorf("got %d %s, want %d %s", r.status, r.body, status, want)
		}
	}
	// What says something about the program's own request, or is no failure, comes from a proxy.
	for _, status := range []int{204, 302, 304, 401, 407} {
		k := newKit(t)
		k.vendor.set(status)
		if r := k.post("/token", nil, good()); r.status != http.StatusBadGateway || r.members(t)["error"] != "server_error" {
			t.Errorf("a proxy answers with %d: got %d %s, want 502", status, r.status, r.body)
		}
	}
	k := newKit(t)
	k.vendor.Close()
	if r := k.post("/token", nil, good()); r.status != http.StatusServiceUnavailable || r.header.Get("Retry-After") == "" {
		t.Errorf("no vendor: got %d %s", r.status, r.body)
	}
}

func TestMetadataNamesTheAddressThatIsUsed(t *testing.T) {
	k := newKit(t)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		for _, host := range []string{"127.0.0.1:8973", "localhost:8973"} {
			members := k.get(path, map[string]string{"Host": host}).members(t)
			if members["issuer"] != "http://"+host || members["token_endpoint"] != "http://"+host+"/oauth2/token" || members["authorization_endpoint"] == nil || members["grant_types_supported"] == nil {
				t.Errorf("%s at %s: got %v", path, host, members)
			}
		}
	}
	if members := k.get("/jwks", nil).members(t); members["keys"] == nil {
		t.Errorf("got %v", members)
	}
}

func TestEachTokenIsLoggedAndCounted(t *testing.T) {
	k := newKit(t)
	for range 2 {
		k.post("/token", nil, good())
	}
	k.post("/token", nil, map[string][]string{"client_secret": {"x"}})
	k.mu.Lock()
	lines := strings.Split(strings.TrimSpace(k.log.String()), "\n")
	k.mu.Unlock()
	if len(lines) != 2 || !strings.Contains(lines[0], `"client":"billing"`) || !strings.Contains(lines[0], `"token_sha256":"`) {
		t.Errorf("got the lines %q", lines)
	}
	text := k.get("/metrics", nil).body
	for _, want := range []string{`vendctl_requests_total{kind="token",result="given"} 2`, `vendctl_requests_total{kind="unauthorized",result=""} 1`, "# TYPE"} {
		if !strings.Contains(text, want) {
			t.Errorf("got the metrics %q, want %q in them", text, want)
		}
	}
}
