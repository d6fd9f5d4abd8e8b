package oauthtest_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"tokenvendor/shared/oauth/oauthtest"
)

// call is a request that [post] cannot make. The zero value is a valid request without
// credentials.
type call struct {
	method, path, body string
	header             http.Header
}

func send(t *testing.T, s *oauthtest.Server, c call) (answer, http.Header) {
	t.Helper()
	if c.method == "" {
		c.method = http.MethodPost
	}
	if c.path == "" {
		c.path = oauthtest.TokenPath
	}
	if c.body == "" {
		c.body = "grant_type=client_credentials"
	}
	r, err := http.NewRequestWithContext(t.Context(), c.method, s.URL()+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, values := range c.header {
		r.Header[name] = values
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CAPool()}, DisableKeepAlives: true}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	a := answer{status: response.StatusCode}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal(body, &a.body)
	return a, response.Header
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post", "client_secret_basic"}, Secrets: []string{"good"}})
	const good = "grant_type=client_credentials&client_id=c&client_secret=good"
	for _, tt := range []struct {
		name string
		call call
		code string
	}{
		{"GET", call{method: "GET", body: good}, "invalid_request"},
		{"JSON", call{body: good, header: http.Header{"Content-Type": {"application/json"}}}, "invalid_request"},
		{"no Content-Type", call{body: good, header: http.Header{"Content-Type": nil}}, "invalid_request"},
		{"query", call{path: oauthtest.TokenPath + "?client_id=c", body: good}, "invalid_request"},
		{"bad escape", call{body: good + "&x=%zz"}, "invalid_request"},
		{"semicolon", call{body: good + ";x=1"}, "invalid_request"},
		{"too large", call{body: good + "&x=" + strings.Repeat("x", 64<<10)}, "invalid_request"},
		{"no grant_type", call{body: "client_id=c&client_secret=good"}, "invalid_request"},
		{"other grant_type", call{body: "grant_type=password&client_id=c&client_secret=good"}, "unsupported_grant_type"},
		{"client_id twice", call{body: good + "&client_id=c"}, "invalid_request"},
		{"two headers", call{header: http.Header{"Authorization": {"Basic Yzpnb29k", "Basic Yzpnb29k"}}}, "invalid_request"},
		{"header and body", call{body: good, header: http.Header{"Authorization": {"Basic Yzpnb29k"}}}, "invalid_request"},
		{"secret and assertion", call{body: good + "&client_assertion=a.b.c&client_assertion_type=" + url.QueryEscape(jwtBearer)}, "invalid_request"},
		{"other token_format", call{body: good + "&token_format=JWT"}, "invalid_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := send(t, s, tt.call)
			a.want(t, tt.name, 400, tt.code)
		})
	}
	if s.Exchanges() != 0 || s.FailedLogons("c") != 0 || len(s.Requests()) != 14 {
		t.Errorf("got %d exchanges, %d failed logons, %d requests, want 0, 0, 14", s.Exchanges(), s.FailedLogons("c"), len(s.Requests()))
	}
	a, header := send(t, s, call{body: good})
	a.want(t, "good", 200, nil)
	if header.Get("X-Ids-Id") == "" || header.Get("Server") != "SAP" || !strings.Contains(header.Get("Cache-Control"), "no-store") {
		t.Errorf("got headers %v, want those of SAP", header)
	}
}

func TestRefusedParametersAreNotFailedLogons(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	client := oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}, Scopes: []string{"read"}, Lifetime: time.Minute}
	s.Register(client)
	client.ID, client.Opaque, client.AppTID = "opaque", true, "t1"
	s.Register(client)
	logon := func(id string, form ...string) answer {
		return post(t, s, nil, "", append([]string{"client_id", id, "client_secret", "good"}, form...)...)
	}
	logon("c", "scope", "read write").want(t, "scope", 400, "invalid_scope")
	logon("opaque").want(t, "no app_tid", 400, "invalid_request")
	if s.FailedLogons("c")+s.FailedLogons("opaque")+s.Exchanges() != 0 {
		t.Error("a refused parameter was counted as a failed logon or an exchange")
	}
	for name, opaque := range map[string]answer{
		"asked":   logon("c", "token_format", "opaque"),
		"default": logon("opaque", "app_tid", "t1"),
	} {
		if text, _ := opaque.body["access_token"].(string); text == "" || strings.Contains(text, ".") {
			t.Errorf("%s: the token is not opaque", name)
		}
	}
}

func TestClaimsFollowTheRequest(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}, Lifetime: time.Minute, Opaque: true})
	a := post(t, s, nil, "", "client_id", "c", "client_secret", "good",
		"app_tid", "t1", "token_format", "jwt", "scope", "read", "resource", "urn:a", "resource", "urn:b")
	claims := verify(t, s, a)
	for _, tt := range []struct {
		name      string
		got, want any
	}{
		{"scope", a.body["scope"], "read"}, {"expires_in", a.body["expires_in"], 60.0}, {"token_type", a.body["token_type"], "Bearer"},
		{"iss", claims["iss"], s.Issuer()}, {"sub", claims["sub"], "c"}, {"azp", claims["azp"], "c"}, {"app_tid", claims["app_tid"], "t1"},
		{"aud", claims["aud"], []any{"urn:a", "urn:b"}}, {"ias_apis", claims["ias_apis"], []any{"all"}}, {"cnf", claims["cnf"], nil},
		{"life", claims["exp"].(float64) - claims["iat"].(float64), 60.0},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	if claims["jti"] == "" {
		t.Error("jti is empty")
	}
}

// verify verifies a token with the published keys and returns its claims.
func verify(t *testing.T, s *oauthtest.Server, a answer) map[string]any {
	t.Helper()
	var set jose.JSONWebKeySet
	get(t, s, "/oauth2/certs", &set)
	text, _ := a.body["access_token"].(string)
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil || len(set.Keys) != 1 {
		t.Fatalf("%v, %d keys", err, len(set.Keys))
	}
	claims := make(map[string]any)
	if err := token.Claims(set.Keys[0], &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func get(t *testing.T, s *oauthtest.Server, path string, into any) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CAPool()}, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.ProtoMajor != 1 || response.StatusCode != 200 {
		t.Fatalf("%s: status %d over %s", path, response.StatusCode, response.Proto)
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func TestMetadataCanBeChanged(t *testing.T) {
	plain := oauthtest.NewServer(t, oauthtest.Config{})
	changed := oauthtest.NewServer(t, oauthtest.Config{Metadata: func(members map[string]any) {
		members["issuer"] = "https://other.test"
		members["mtls_endpoint_aliases"] = map[string]string{"token_endpoint": "https://mtls.test/"}
		delete(members, "jwks_uri")
	}})
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"} {
		var members map[string]any
		get(t, plain, path, &members)
		if members["issuer"] != plain.Issuer() || members["token_endpoint"] != plain.TokenEndpoint() || members["jwks_uri"] != plain.URL()+"/oauth2/certs" || members["mtls_endpoint_aliases"] != nil {
			t.Errorf("%s: %v", path, members)
		}
		clear(members)
		get(t, changed, path, &members)
		if members["issuer"] != "https://other.test" || members["mtls_endpoint_aliases"] == nil || members["jwks_uri"] != nil {
			t.Errorf("%s: got %v, want the changed members", path, members)
		}
	}
	if n := plain.MetadataRequests(); n != 2 {
		t.Errorf("got %d metadata requests, want 2", n)
	}
}

func TestResumedSessionsAreRecorded(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: s.CAPool(), ClientSessionCache: tls.NewLRUClientSessionCache(1)}}
	for range 3 {
		response, err := (&http.Client{Transport: transport}).PostForm(s.TokenEndpoint(), url.Values{"grant_type": {"client_credentials"}, "client_id": {"c"}, "client_secret": {"good"}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	if n := s.Connections(); n != 3 {
		t.Errorf("got %d connections, want 3", n)
	}
	if r := s.Requests(); r[0].Resumed || !r[1].Resumed || !r[2].Resumed || r[1].Method != "POST" {
		t.Errorf("got resumed %v, %v, %v, want false, true, true", r[0].Resumed, r[1].Resumed, r[2].Resumed)
	}
}

func TestServerClosesItsListener(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := oauthtest.Start(oauthtest.Config{Listener: listener})
	if err != nil {
		t.Fatal(err)
	}
	if s.URL() != "https://"+listener.Addr().String() {
		t.Errorf("got URL %s, want the listener's address", s.URL())
	}
	var members map[string]any
	get(t, s, "/.well-known/openid-configuration", &members)
	s.Close()
	s.Close()
	if connection, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		_ = connection.Close()
		t.Error("the server still listens after Close")
	}
}
