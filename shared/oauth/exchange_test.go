package oauth_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
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

func TestRequestContainsAllParameters(t *testing.T) {
	s := secretServer(t)
	client := secretClient(t, s)
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
	want := "app_tid=t1&audience=aud&client_id=c&client_secret=good&grant_type=client_credentials&resource=urn%3Ax&resource=urn%3Ay&scope=a+b&token_format=opaque&x=1%26client_secret%3D2"
	if form := got.Form.Encode(); form != want {
		t.Errorf("got form %s\nwant %s", form, want)
	}
	for name, want := range map[string]string{
		"Accept": "application/json", "User-Agent": "token-vendor/test", "Content-Type": "application/x-www-form-urlencoded", "X-Correlationid": "r-1", "Authorization": "", "Idempotency-Key": "",
	} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("%s: got %q, want %q", name, value, want)
		}
	}
}

func TestFailedLogonIsNotRetried(t *testing.T) {
	s := secretServer(t)
	for _, tt := range []struct{ name, path, code string }{
		{"SAP Cloud Identity Services", oauthtest.TokenPath, "invalid_client"}, {"XSUAA", oauthtest.XSUAAPath, "unauthorized"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(s.Requests())
			client := newClient(t, s, oauth.Config{ID: "c", TokenEndpoint: s.URL() + tt.path, Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("bad")}})
			s.MisbehaveNext(1, oauthtest.DateSkew(10*time.Minute))
			failure := exchangeError(t, client)
			if !failure.FailedLogon() || failure.Temporary() || failure.Status != 401 || failure.Code != tt.code || failure.CorrelationID == "" || failure.Description != "" {
				t.Errorf("got %+v, want a failed logon with the code %s", failure, tt.code)
			}
			if !strings.Contains(failure.Error(), "clock differs") {
				t.Errorf("got %v, want the difference of the clocks", failure)
			}
			if n := len(s.Requests()) - before; n != 1 {
				t.Errorf("got %d requests, want 1", n)
			}
		})
	}
}

func TestUntrustedServerReceivesNothing(t *testing.T) {
	genuine := oauthtest.NewServer(t, oauthtest.Config{})
	issue := func(leaf oauthtest.Leaf) *tls.Certificate {
		issued, err := genuine.CA().Issue(leaf)
		if err != nil {
			t.Fatal(err)
		}
		certificate := issued.TLS()
		return &certificate
	}
	loopback, past := []string{"127.0.0.1"}, time.Now().Add(-time.Minute)
	for _, tt := range []struct {
		name   string
		config oauthtest.Config
		detail string
	}{
		{"unknown authority", oauthtest.Config{}, "unknown authority; check ca_certificates"},
		{"other host", oauthtest.Config{Certificate: issue(oauthtest.Leaf{CommonName: "x", Hosts: []string{"as.test"}})}, "another host"},
		{"no name", oauthtest.Config{Certificate: issue(oauthtest.Leaf{CommonName: "127.0.0.1"})}, "no subject alternative name"},
		{"SHA-1", oauthtest.Config{Certificate: signedWithSHA1(t, genuine.CA(), issue(oauthtest.Leaf{CommonName: "x", Hosts: loopback}))}, "signed with SHA-1"},
		{"expired", oauthtest.Config{Certificate: issue(oauthtest.Leaf{CommonName: "x", Hosts: loopback, NotAfter: past})}, "until " + past.UTC().Format(time.RFC3339)},
		{"TLS 1.1 only", oauthtest.Config{Certificate: issue(oauthtest.Leaf{CommonName: "x", Hosts: loopback}), TLS: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }}, "handshake"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := oauthtest.NewServer(t, tt.config)
			client := newClient(t, s, oauth.Config{ID: "c", RootCAs: genuine.CAPool(), Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("s")}})
			failure := exchangeError(t, client)
			if failure.Reason != oauth.Untrusted || failure.Temporary() || !strings.Contains(failure.Error(), tt.detail) {
				t.Errorf("got failure %v", failure)
			}
			if len(s.Requests()) != 0 || s.Connections() > 1 {
				t.Errorf("got %d requests, %d connections, want 0 and at most 1", len(s.Requests()), s.Connections())
			}
		})
	}
}

// signedWithSHA1 returns a certificate with the same content and an old signature.
func signedWithSHA1(t *testing.T, ca *oauthtest.CA, certificate *tls.Certificate) *tls.Certificate {
	t.Helper()
	text, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(text), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	template := *certificate.Leaf
	template.SignatureAlgorithm = x509.ECDSAWithSHA1
	der, err := x509.CreateCertificate(rand.Reader, &template, pair.Leaf, template.PublicKey, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: certificate.PrivateKey}
}

func TestCertificateRefusedInHandshakeIsFailedLogon(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := oauthtest.NewServer(t, oauthtest.Config{})
		strict := oauthtest.NewServer(t, oauthtest.Config{TLS: func(c *tls.Config) {
			c.MaxVersion, c.ClientAuth, c.ClientCAs = version, tls.RequireAndVerifyClientCert, s.CAPool()
		}})
		client := newClient(t, strict, certificateConfig("c", oauth.TLSClientAuth, selfSigned(t, oauthtest.Leaf{CommonName: "unknown"})))
		if failure := exchangeError(t, client); failure.Reason != oauth.CertificateRefused || !failure.FailedLogon() {
			t.Errorf("%s: got failure %v, want CertificateRefused", tls.VersionName(version), failure)
		}
		if strict.Connections() != 1 {
			t.Errorf("%s: got %d connections, want 1", tls.VersionName(version), strict.Connections())
		}
		// The certificate to which the token will be bound, beside a secret.
		config := certificateConfig("c", oauth.ClientSecretPost, selfSigned(t, oauthtest.Leaf{CommonName: "unknown"}))
		config.Authenticator = oauth.SecretPost{Secret: oauth.NewSecret("s")}
		if failure := exchangeError(t, newClient(t, strict, config)); failure.Reason != oauth.CertificateRefused {
			t.Errorf("%s: got failure %v with a secret, want CertificateRefused", tls.VersionName(version), failure)
		}
	}
}

func TestPrivateAddressIsNotDialled(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	for _, host := range []string{"127.0.0.1", "localhost"} {
		_, port, _ := net.SplitHostPort(strings.TrimPrefix(s.URL(), "https://"))
		client, err := oauth.NewClient(oauth.Config{ID: "c", TokenEndpoint: "https://" + net.JoinHostPort(host, port) + "/", RootCAs: s.CAPool(), Authenticator: oauth.SecretPost{}})
		if err != nil {
			t.Fatal(err)
		}
		if failure := exchangeError(t, client); failure.Reason != oauth.AddressRefused || failure.Temporary() {
			t.Errorf("%s: got failure %v, want AddressRefused", host, failure)
		}
	}
	if s.Connections() != 0 {
		t.Errorf("got %d connections, want 0", s.Connections())
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var followed atomic.Int64
	target := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Add(1) }))
	defer target.Close()
	s := oauthtest.NewServer(t, oauthtest.Config{})
	client := newClient(t, s, oauth.Config{ID: "c", Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("s")}})
	for _, status := range []int{301, 302, 303, 307, 308} {
		s.MisbehaveNext(1, oauthtest.Redirect(status, target.URL))
		if failure := exchangeError(t, client); failure.Reason != oauth.Redirected || !strings.Contains(failure.Error(), "check token_endpoint") {
			t.Errorf("%d: got failure %v, want Redirected", status, failure)
		}
	}
	if followed.Load() != 0 || len(s.Requests()) != 5 {
		t.Errorf("the target got %d requests, the server %d, want 0, 5", followed.Load(), len(s.Requests()))
	}
}

func TestUnreachableServerIsNotNamed(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	pool := s.CAPool()
	endpoint := s.TokenEndpoint()
	s.Close()
	for name, url := range map[string]string{"refused": endpoint, "no such name": "https://nobody.invalid/"} {
		client, err := oauth.NewClient(oauth.Config{ID: "c", TokenEndpoint: url, RootCAs: pool, Addresses: private(), Authenticator: oauth.SecretPost{}})
		if err != nil {
			t.Fatal(err)
		}
		failure := exchangeError(t, client)
		if failure.Reason != oauth.Unreachable || !failure.Temporary() || strings.Contains(failure.Error(), "127.0.0.1") || strings.Contains(failure.Error(), "nobody") {
			t.Errorf("%s: got failure %v, want Unreachable", name, failure)
		}
	}
}

// TestSlowServerIsTimedOut: the exchange ends at the caller's deadline, whichever part of the
// answer is slow.
func TestSlowServerIsTimedOut(t *testing.T) {
	for name, fault := range map[string]oauthtest.Fault{"hang": oauthtest.Hang, "late": oauthtest.Late(time.Minute), "drip": oauthtest.Drip(100 * time.Millisecond)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := secretServer(t)
			s.Misbehave(fault)
			client := secretClient(t, s)
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			_, err := exchanger().Exchange(ctx, client, oauth.Request{})
			if failure := failureOf(t, err); failure.Reason != oauth.TimedOut || !failure.Temporary() {
				t.Errorf("got failure %v", failure)
			}
			if n := len(s.Requests()); n != 1 {
				t.Errorf("got %d requests, want 1", n)
			}
		})
	}
}

// TestRetryNeedsPermit: the caller limits the requests, and not only the exchanges.
func TestRetryNeedsPermit(t *testing.T) {
	s := secretServer(t)
	s.Misbehave(oauthtest.Answer(503, "", ""))
	asked := 0
	x := oauth.NewExchanger(oauth.ExchangerConfig{Rand: func() float64 { return 0 }})
	_, err := x.Exchange(t.Context(), secretClient(t, s), oauth.Request{Permit: func(context.Context) bool { asked++; return asked < 2 }})
	if err == nil || len(s.Requests()) != 2 || asked != 2 {
		t.Errorf("got error %v, %d requests and %d questions, want 2 and 2", err, len(s.Requests()), asked)
	}
}

// TestLatePermitKeepsError: a permit that comes when there is no time left does not replace the
// server's answer by a time-out.
func TestLatePermitKeepsError(t *testing.T) {
	s := secretServer(t)
	s.Misbehave(oauthtest.Answer(503, "", ""))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	x := oauth.NewExchanger(oauth.ExchangerConfig{Rand: func() float64 { return 0 }})
	_, err := x.Exchange(ctx, secretClient(t, s), oauth.Request{Permit: func(ctx context.Context) bool { <-ctx.Done(); return true }})
	var failure *oauth.Error
	if !errors.As(err, &failure) || failure.Status != 503 || len(s.Requests()) != 1 {
		t.Errorf("got %v after %d requests, want status 503 after 1", err, len(s.Requests()))
	}
}

// TestLongPauseEndsExchange: all callers keep the pause, and do not wait it out at once.
func TestLongPauseEndsExchange(t *testing.T) {
	s := secretServer(t)
	s.Misbehave(oauthtest.HTML429("3"))
	begun := time.Now()
	_, err := oauth.NewExchanger(oauth.ExchangerConfig{}).Exchange(t.Context(), secretClient(t, s), oauth.Request{})
	if err == nil || len(s.Requests()) != 1 || time.Since(begun) > 2*time.Second {
		t.Errorf("got error %v and %d requests after %v, want 1 at once", err, len(s.Requests()), time.Since(begun))
	}
}

// TestRetryBudget: exchanges with a failing server use up its retries.
func TestRetryBudget(t *testing.T) {
	s := secretServer(t)
	client := secretClient(t, s)
	s.Misbehave(oauthtest.Answer(503, "", ""))
	var mu sync.Mutex
	now := time.Now()
	x := oauth.NewExchanger(oauth.ExchangerConfig{Rand: func() float64 { return 0 }, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	for range 20 {
		_, _ = x.Exchange(t.Context(), client, oauth.Request{})
	}
	if n := len(s.Requests()); n != 30 {
		t.Errorf("got %d requests, want 30: 20 exchanges and 10 retries", n)
	}
	mu.Lock()
	now = now.Add(20 * time.Second)
	mu.Unlock()
	for range 2 {
		_, _ = x.Exchange(t.Context(), client, oauth.Request{})
	}
	if n := len(s.Requests()); n != 34 {
		t.Errorf("got %d requests, want 34: 2 more exchanges and 2 more retries after 20 s", n)
	}
}
