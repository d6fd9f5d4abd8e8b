package oauthtest_test

import (
	"crypto"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"tokenvendor/shared/oauth/oauthtest"
)

// The server is tried with plain net/http and go-jose, not with the client that
// it is there to test.

const awkward = ": / + % space & = ü"

type answer struct {
	status int
	body   map[string]any
}

func post(t *testing.T, s *oauthtest.Server, certificate *tls.Certificate, basic string, form ...string) answer {
	t.Helper()
	values := url.Values{"grant_type": {"client_credentials"}}
	for i := 0; i < len(form); i += 2 {
		values[form[i]] = append(values[form[i]], form[i+1])
	}
	config := &tls.Config{RootCAs: s.CAPool()}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.TokenEndpoint(), strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if basic != "" {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(basic)))
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	a := answer{status: response.StatusCode}
	body, _ := io.ReadAll(response.Body)
	_ = json.Unmarshal(body, &a.body)
	return a
}

func (a answer) want(t *testing.T, name string, status int, code any) {
	t.Helper()
	if a.status != status || a.body["error"] != code {
		t.Errorf("%s: %d %v, want %d %v", name, a.status, a.body["error"], status, code)
	}
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
		t.Errorf("%d exchanges, want 4", s.Exchanges())
	}
}

func TestLock(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	s := oauthtest.NewServer(t, oauthtest.Config{Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	logon := func(secret string) answer { return post(t, s, nil, "", "client_id", "c", "client_secret", secret) }
	for range 4 {
		logon("bad").want(t, "bad", 401, "invalid_client")
	}
	logon("good").want(t, "after four", 200, nil)
	for range 5 {
		logon("bad").want(t, "bad", 401, "invalid_client")
	}
	logon("good").want(t, "after five in a row", 401, "invalid_client")
	if !s.Locked("c") || s.FailedLogons("c") != 10 {
		t.Errorf("locked %v, %d failed logons", s.Locked("c"), s.FailedLogons("c"))
	}
	mu.Lock()
	now = now.Add(61 * time.Minute)
	mu.Unlock()
	if s.Locked("c") {
		t.Error("locked for more than an hour")
	}
}

func TestAssertionsAreVerified(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	key, err := oauthtest.NewKey(oauthtest.P256)
	if err != nil {
		t.Fatal(err)
	}
	other, err := oauthtest.NewKey(oauthtest.P256)
	if err != nil {
		t.Fatal(err)
	}
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{"": key.Public()}})
	good := func() map[string]any {
		return map[string]any{"iss": "c", "sub": "c", "aud": s.Issuer(), "jti": time.Now().String(), "exp": time.Now().Add(time.Minute).Unix()}
	}
	logon := func(claims map[string]any, key crypto.Signer) answer {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(signer).Claims(claims).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return post(t, s, nil, "", "client_id", "c", "client_assertion", text, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	}
	once := good()
	logon(once, key).want(t, "good", 200, nil)
	logon(once, key).want(t, "replayed", 401, "invalid_client")
	logon(good(), other).want(t, "other key", 401, "invalid_client")
	for name, value := range map[string]any{
		"iss": "x", "sub": "x", "aud": "https://other.test", "jti": "", "exp": time.Now().Add(-time.Second).Unix(),
	} {
		claims := good()
		claims[name] = value
		logon(claims, key).want(t, "wrong "+name, 401, "invalid_client")
		delete(claims, name)
		logon(claims, key).want(t, "no "+name, 401, "invalid_client")
	}
	claims := good()
	claims["exp"] = time.Now().Add(2 * time.Hour).Unix()
	logon(claims, key).want(t, "too long a life", 401, "invalid_client")
	claims = good()
	claims["aud"] = []string{s.Issuer(), "https://other.test"}
	logon(claims, key).want(t, "two audiences", 401, "invalid_client")
}

func TestCertificatesAreVerified(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	foreign, err := oauthtest.NewCA("foreign")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(by func(oauthtest.Leaf) (*oauthtest.Issued, error), leaf oauthtest.Leaf) *oauthtest.Issued {
		issued, err := by(leaf)
		if err != nil {
			t.Fatal(err)
		}
		return issued
	}
	own := issue(s.CA().Issue, oauthtest.Leaf{CommonName: "c"})
	self := issue(oauthtest.SelfSigned, oauthtest.Leaf{CommonName: "self"})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"tls_client_auth"}, SubjectDN: own.Chain[0].Subject.String()})
	s.Register(oauthtest.Client{ID: "self", Methods: []string{"self_signed_tls_client_auth"}, Thumbprint: oauthtest.Thumbprint(self.Chain[0])})
	for _, tt := range []struct {
		name, id string
		issued   *oauthtest.Issued
		ok       bool
	}{
		{"good", "c", own, true},
		{"self-signed", "self", self, true},
		{"other subject", "c", issue(s.CA().Issue, oauthtest.Leaf{CommonName: "d"}), false},
		{"foreign authority", "c", issue(foreign.Issue, oauthtest.Leaf{CommonName: "c"}), false},
		{"expired", "c", issue(s.CA().Issue, oauthtest.Leaf{CommonName: "c", NotAfter: time.Now().Add(-time.Minute)}), false},
		{"same subject, other thumbprint", "self", issue(oauthtest.SelfSigned, oauthtest.Leaf{CommonName: "self"}), false},
		{"another client's", "self", own, false},
	} {
		certificate := tt.issued.TLS()
		a := post(t, s, &certificate, "", "client_id", tt.id)
		if (a.status == 200) != tt.ok {
			t.Errorf("%s: status %d", tt.name, a.status)
		}
		if tt.ok && !strings.Contains(claimsOf(t, a), `"cnf":{"x5t#S256":`) {
			t.Errorf("%s: the token is not bound", tt.name)
		}
	}
	post(t, s, nil, "", "client_id", "c").want(t, "no certificate", 401, "invalid_client")
}

func claimsOf(t *testing.T, a answer) string {
	t.Helper()
	token, _ := a.body["access_token"].(string)
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(claims)
}

func TestMisbehaviourIsCounted(t *testing.T) {
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
		t.Errorf("%d requests, %d exchanges, %d connections", len(s.Requests()), s.Exchanges(), s.Connections())
	}
}
