package oauth_test

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

// awkward has every character that is treated differently by one of the ways
// in which a secret is written.
const awkward = `: / + % space & = ü "\$'%41`

// private is the policy for servers on loopback.
func private() oauth.AddressPolicy { return oauth.AddressPolicy{Private: true} }

func exchanger() *oauth.Exchanger {
	return oauth.NewExchanger(oauth.ExchangerConfig{UserAgent: "token-vendor/test", Rand: func() float64 { return 0 }})
}

func newClient(t *testing.T, s *oauthtest.Server, cfg oauth.Config) *oauth.Client {
	t.Helper()
	if cfg.TokenEndpoint == "" {
		cfg.TokenEndpoint = s.TokenEndpoint()
	}
	if cfg.RootCAs == nil {
		cfg.RootCAs = s.CAPool()
	}
	cfg.Addresses = private()
	client, err := oauth.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestClientSecrets(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	id := "sb-app!t1|x +%:"
	for _, tt := range []struct {
		name     string
		register oauthtest.Client
		auth     oauth.Authenticator
	}{
		{"post", oauthtest.Client{ID: id, Methods: []string{"client_secret_post"}}, oauth.SecretPost{Secret: oauth.NewSecret(awkward)}},
		{"basic, form-encoded", oauthtest.Client{ID: id, Methods: []string{"client_secret_basic"}},
			oauth.SecretBasic{ClientID: id, Secret: oauth.NewSecret(awkward)}},
		{"basic, raw", oauthtest.Client{ID: "sb-app!t1|x +%", Methods: []string{"client_secret_basic"}, RawBasic: true},
			oauth.SecretBasic{ClientID: "sb-app!t1|x +%", Secret: oauth.NewSecret(awkward), Encoding: oauth.BasicRaw}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.register.Secrets = []string{awkward}
			s.Register(tt.register)
			client := newClient(t, s, oauth.Config{ID: tt.register.ID, Authenticator: tt.auth})
			if _, err := exchanger().Exchange(t.Context(), client, oauth.Request{}); err != nil {
				t.Fatal(err)
			}
			requests := s.Requests()
			last := requests[len(requests)-1]
			if last.Form.Get("client_id") != tt.register.ID || last.Form.Get("grant_type") != "client_credentials" {
				t.Error("client_id or grant_type is not in the body")
			}
		})
	}
}

func TestWholeRequest(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"s"}})
	client := newClient(t, s, oauth.Config{ID: "c", Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("s")}})
	_, err := exchanger().Exchange(t.Context(), client, oauth.Request{
		Ask: ask.Ask{
			Scope: []string{"a", "b"}, Resource: []string{"urn:x", "urn:y"}, Audience: "aud", TokenFormat: "opaque", AppTID: "t1",
			Parameters: map[string]string{"x": "1&client_secret=2", "grant_type": "password", "client_id": "other", "client_secret": "other"},
		},
		CorrelationID: "r-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	got := s.Requests()[0]
	want := "app_tid=t1&audience=aud&client_id=c&client_secret=s&grant_type=client_credentials&resource=urn%3Ax&resource=urn%3Ay&scope=a+b&token_format=opaque&x=1%26client_secret%3D2"
	if form := got.Form.Encode(); form != want {
		t.Errorf("form is %s", form)
	}
	for name, want := range map[string]string{
		"Accept": "application/json", "User-Agent": "token-vendor/test", "Content-Type": "application/x-www-form-urlencoded", "X-Correlationid": "r-1", "Authorization": "", "Idempotency-Key": "",
	} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("%s is %q, want %q", name, value, want)
		}
	}
}

func TestCertificates(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	intermediate, err := s.CA().Intermediate("clients")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]crypto.Signer{"RSA": rsaKey(), "P-256": ecKey(t, elliptic.P256()), "P-384": ecKey(t, elliptic.P384())}
	for name, key := range keys {
		t.Run("issued "+name, func(t *testing.T) {
			issued, err := intermediate.Issue(oauthtest.Leaf{CommonName: name, Key: key})
			if err != nil {
				t.Fatal(err)
			}
			s.Register(oauthtest.Client{ID: name, Methods: []string{"tls_client_auth"}, SubjectDN: issued.Chain[0].Subject.String()})
			wantBound(t, exchangeWith(t, s, name, oauth.TLSClientAuth, issued))
		})
		t.Run("self-signed "+name, func(t *testing.T) {
			issued, err := oauthtest.SelfSigned(oauthtest.Leaf{CommonName: name, Key: key})
			if err != nil {
				t.Fatal(err)
			}
			s.Register(oauthtest.Client{ID: name, Methods: []string{"self_signed_tls_client_auth"}, Thumbprint: oauthtest.Thumbprint(issued.Chain[0])})
			wantBound(t, exchangeWith(t, s, name, oauth.SelfSignedTLSClientAuth, issued))
		})
	}
}

func exchangeWith(t *testing.T, s *oauthtest.Server, id string, method oauth.Method, issued *oauthtest.Issued) *oauth.Token {
	t.Helper()
	certificate := issued.TLS()
	client := newClient(t, s, oauth.Config{
		ID: id, Method: method, Certificate: &certificate,
		Authenticator: oauth.Certificate{NotBefore: certificate.Leaf.NotBefore, NotAfter: certificate.Leaf.NotAfter},
	})
	token, err := exchanger().Exchange(t.Context(), client, oauth.Request{})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func wantBound(t *testing.T, token *oauth.Token) {
	t.Helper()
	if !token.CertificateBound() {
		t.Error("the token is not seen to be bound")
	}
}

// TestS20NoResumptionAcrossClients: a connection and a TLS session carry the
// certificate's identity, so two clients of one host have nothing in common.
func TestS20NoResumptionAcrossClients(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	x := exchanger()
	var issued [2]*oauthtest.Issued
	for i := range issued {
		var err error
		if issued[i], err = oauthtest.SelfSigned(oauthtest.Leaf{CommonName: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprint("c", i)
		s.Register(oauthtest.Client{ID: id, Methods: []string{"self_signed_tls_client_auth"}, Thumbprint: oauthtest.Thumbprint(issued[i].Chain[0])})
		certificate := issued[i].TLS()
		client := newClient(t, s, oauth.Config{ID: id, Method: oauth.SelfSignedTLSClientAuth, Certificate: &certificate,
			Authenticator: oauth.Certificate{NotBefore: certificate.Leaf.NotBefore, NotAfter: certificate.Leaf.NotAfter}})
		for range 2 {
			if _, err := x.Exchange(t.Context(), client, oauth.Request{}); err != nil {
				t.Fatal(err)
			}
			client.Close() // the next exchange must shake hands again
		}
	}
	for i, r := range s.Requests() {
		if r.Resumed || !r.Certificate.Equal(issued[i/2].Chain[0]) {
			t.Errorf("request %d: resumed %v, or with another client's certificate", i, r.Resumed)
		}
	}
}

// TestJTIFreshPerAttempt: the server refuses an assertion that it has seen, and a
// retry after a lost answer must not look like one.
func TestJTIFreshPerAttempt(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	key := ecKey(t, elliptic.P256())
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{"k": key.Public()}})
	signer, err := oauth.NewLocalSigner(key, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, audience := range []string{s.Issuer(), s.TokenEndpoint()} {
		client := newClient(t, s, oauth.Config{ID: "c", Authenticator: oauth.Assertion{ClientID: "c", Audience: audience, Signer: signer, KeyID: "k"}})
		s.MisbehaveNext(1, oauthtest.Lost)
		if _, err := exchanger().Exchange(t.Context(), client, oauth.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	if n, failed := len(s.Requests()), s.FailedLogons("c"); n != 4 || failed != 0 {
		t.Errorf("%d requests, %d failed logons; want 4, 0", n, failed)
	}
}

func failureOf(t *testing.T, err error) *oauth.Error {
	t.Helper()
	var failure *oauth.Error
	if !errors.As(err, &failure) {
		t.Fatalf("error is %v (%T)", err, err)
	}
	return failure
}

func TestRefusedLogons(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	for _, tt := range []struct{ name, path, code string }{
		{"SAP Cloud Identity Services", oauthtest.TokenPath, "invalid_client"}, {"XSUAA", oauthtest.XSUAAPath, "unauthorized"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(s.Requests())
			client := newClient(t, s, oauth.Config{ID: "c", TokenEndpoint: s.URL() + tt.path, Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("bad")}})
			s.MisbehaveNext(1, oauthtest.DateSkew(10*time.Minute))
			_, err := exchanger().Exchange(t.Context(), client, oauth.Request{})
			failure := failureOf(t, err)
			if !failure.FailedLogon() || failure.Temporary() || failure.Status != 401 || failure.Code != tt.code || failure.CorrelationID == "" || failure.Description != "" {
				t.Errorf("failure is %+v", failure)
			}
			if !strings.Contains(failure.Error(), "clock differs") {
				t.Errorf("the clocks' difference is not named: %v", failure)
			}
			if n := len(s.Requests()) - before; n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// TestUntrustedServers: whoever cannot prove to be the server is sent nothing.
func TestUntrustedServers(t *testing.T) {
	genuine := oauthtest.NewServer(t, oauthtest.Config{})
	issue := func(leaf oauthtest.Leaf) *tls.Certificate {
		issued, err := genuine.CA().Issue(leaf)
		if err != nil {
			t.Fatal(err)
		}
		certificate := issued.TLS()
		return &certificate
	}
	loopback := []string{"127.0.0.1"}
	for _, tt := range []struct {
		name   string
		config oauthtest.Config
		detail string
	}{
		{"unknown authority", oauthtest.Config{}, "unknown authority"},
		{"other host", oauthtest.Config{Certificate: issue(oauthtest.Leaf{CommonName: "x", Hosts: []string{"as.test"}})}, "another host"},
		{"expired", oauthtest.Config{Certificate: issue(oauthtest.Leaf{CommonName: "x", Hosts: loopback, NotAfter: time.Now().Add(-time.Minute)})}, "expired"},
		{"TLS 1.1 only", oauthtest.Config{Certificate: issue(oauthtest.Leaf{CommonName: "x", Hosts: loopback}), TLS: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }}, "handshake"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := oauthtest.NewServer(t, tt.config)
			client := newClient(t, s, oauth.Config{ID: "c", RootCAs: genuine.CAPool(), Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("s")}})
			_, err := exchanger().Exchange(t.Context(), client, oauth.Request{})
			failure := failureOf(t, err)
			if failure.Reason != oauth.Untrusted || failure.Temporary() || !strings.Contains(failure.Error(), tt.detail) {
				t.Errorf("failure is %v", failure)
			}
			if len(s.Requests()) != 0 || s.Connections() > 1 {
				t.Errorf("%d requests, %d connections", len(s.Requests()), s.Connections())
			}
		})
	}
}

func TestCertificateRefusedInTheHandshake(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := oauthtest.NewServer(t, oauthtest.Config{})
		demanding := oauthtest.NewServer(t, oauthtest.Config{TLS: func(c *tls.Config) {
			c.MaxVersion, c.ClientAuth, c.ClientCAs = version, tls.RequireAndVerifyClientCert, s.CAPool()
		}})
		issued, err := oauthtest.SelfSigned(oauthtest.Leaf{CommonName: "stranger"})
		if err != nil {
			t.Fatal(err)
		}
		certificate := issued.TLS()
		client := newClient(t, demanding, oauth.Config{ID: "c", Method: oauth.TLSClientAuth, Certificate: &certificate,
			Authenticator: oauth.Certificate{NotBefore: certificate.Leaf.NotBefore, NotAfter: certificate.Leaf.NotAfter}})
		_, err = exchanger().Exchange(t.Context(), client, oauth.Request{})
		if failure := failureOf(t, err); failure.Reason != oauth.CertificateRefused || !failure.FailedLogon() {
			t.Errorf("%s: failure is %v", tls.VersionName(version), failure)
		}
		if demanding.Connections() != 1 {
			t.Errorf("%s: %d connections", tls.VersionName(version), demanding.Connections())
		}
	}
}

func TestS34AddressIsJudgedBeforeAnythingIsSent(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	for _, host := range []string{"127.0.0.1", "localhost"} {
		_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL(), "https://"))
		client, err := oauth.NewClient(oauth.Config{ID: "c", TokenEndpoint: "https://" + net.JoinHostPort(host, port) + "/", RootCAs: s.CAPool(), Authenticator: oauth.SecretPost{}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = exchanger().Exchange(t.Context(), client, oauth.Request{})
		if failure := failureOf(t, err); failure.Reason != oauth.AddressRefused || failure.Temporary() {
			t.Errorf("%s: failure is %v", host, failure)
		}
	}
	if s.Connections() != 0 {
		t.Errorf("%d connections", s.Connections())
	}
}

func TestRedirectSinkReceivesNothing(t *testing.T) {
	var sunk atomic.Int64
	sink := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { sunk.Add(1) }))
	defer sink.Close()
	s := oauthtest.NewServer(t, oauthtest.Config{})
	client := newClient(t, s, oauth.Config{ID: "c", Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("s")}})
	for _, status := range []int{301, 302, 303, 307, 308} {
		s.MisbehaveNext(1, oauthtest.Redirect(status, sink.URL))
		_, err := exchanger().Exchange(t.Context(), client, oauth.Request{})
		if failure := failureOf(t, err); failure.Reason != oauth.Redirected {
			t.Errorf("%d: failure is %v", status, failure)
		}
	}
	if sunk.Load() != 0 || len(s.Requests()) != 5 {
		t.Errorf("the sink got %d requests, the server %d", sunk.Load(), len(s.Requests()))
	}
}

func TestUnreachable(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	pool := s.CAPool()
	endpoint := s.TokenEndpoint()
	s.Close()
	for name, url := range map[string]string{"refused": endpoint, "no such name": "https://nobody.invalid/"} {
		client, err := oauth.NewClient(oauth.Config{ID: "c", TokenEndpoint: url, RootCAs: pool, Addresses: private(), Authenticator: oauth.SecretPost{}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = exchanger().Exchange(t.Context(), client, oauth.Request{})
		failure := failureOf(t, err)
		if failure.Reason != oauth.Unreachable || !failure.Temporary() || strings.Contains(failure.Error(), "127.0.0.1") || strings.Contains(failure.Error(), "nobody") {
			t.Errorf("%s: failure is %v", name, failure)
		}
	}
}

// TestSlowServers: the whole exchange is over when the caller's time is, and one
// attempt takes five seconds at most, whatever part of the answer is slow.
func TestSlowServers(t *testing.T) {
	for name, fault := range map[string]oauthtest.Fault{"hang": oauthtest.Hang, "late": oauthtest.Late(time.Minute), "drip": oauthtest.Drip(100 * time.Millisecond)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := oauthtest.NewServer(t, oauthtest.Config{})
			s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"s"}})
			s.Misbehave(fault)
			client := newClient(t, s, oauth.Config{ID: "c", Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("s")}})
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			_, err := exchanger().Exchange(ctx, client, oauth.Request{})
			if failure := failureOf(t, err); failure.Reason != oauth.TimedOut || !failure.Temporary() {
				t.Errorf("failure is %v", failure)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// TestRetryBudget: a server in trouble isn't asked three times by everybody.
func TestRetryBudget(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"s"}})
	client := newClient(t, s, oauth.Config{ID: "c", Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("s")}})
	s.Misbehave(oauthtest.Answer(503, "", ""))
	var mu sync.Mutex
	now := time.Now()
	x := oauth.NewExchanger(oauth.ExchangerConfig{Rand: func() float64 { return 0 }, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	for range 20 {
		_, _ = x.Exchange(t.Context(), client, oauth.Request{})
	}
	if n := len(s.Requests()); n != 30 {
		t.Errorf("asked %d times, want 20 exchanges and a budget of 10 retries", n)
	}
	mu.Lock()
	now = now.Add(20 * time.Second)
	mu.Unlock()
	for range 2 {
		_, _ = x.Exchange(t.Context(), client, oauth.Request{})
	}
	if n := len(s.Requests()); n != 34 {
		t.Errorf("asked %d times, want 2 exchanges more and 2 retries that time gave back", n)
	}
}

func TestS08Discover(t *testing.T) {
	var change func(map[string]any)
	s := oauthtest.NewServer(t, oauthtest.Config{Metadata: func(m map[string]any) {
		if change != nil {
			change(m)
		}
	}})
	hc := oauth.NewHTTPClient(s.CAPool(), nil, private())
	alias := strings.Replace(s.URL(), "127.0.0.1", "localhost", 1)
	for _, tt := range []struct {
		name   string
		change func(map[string]any)
		ok     bool
	}{
		{"good", nil, true},
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
				t.Fatalf("error is %v", err)
			}
			if err == nil && m.TokenEndpoint != s.TokenEndpoint() {
				t.Errorf("metadata is %+v", m)
			}
			if errors.Is(err, oauth.ErrDiscovery) {
				t.Error("a lie is called temporary")
			}
		})
	}
}
