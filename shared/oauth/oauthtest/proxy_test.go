package oauthtest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// through asks for a token at a URL as meet does, on connections that are kept, and
// with a certificate if there is one.
func through(ctx context.Context, t *testing.T, client *http.Client, endpoint, secret string) outcome {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"c"}}
	if secret != "" {
		form.Set("client_secret", secret)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := client.Do(r)
	if err != nil {
		return outcome{err: err}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return outcome{status: response.StatusCode, header: response.Header, body: body, err: err}
}

func caller(t *testing.T, roots *x509.CertPool, certificates ...tls.Certificate) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certificates}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// TestProxyMakesTrouble: each in turn, on one proxy, and after each there is none.
func TestProxyMakesTrouble(t *testing.T) {
	s := faulty(t)
	p := oauthtest.NewProxy(t, oauthtest.ProxyConfig{Target: s.URL(), CA: s.CA()})
	client := caller(t, s.CAPool())
	ask := func() outcome {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		return through(ctx, t, client, p.URL()+oauthtest.TokenPath, "s3cr3t")
	}
	good := func(o outcome) bool {
		return o.err == nil && o.status == 200 && strings.Contains(string(o.body), "access_token")
	}
	if o := ask(); !good(o) {
		t.Fatalf("without trouble: %v, status %d", o.err, o.status)
	}
	if p.Met() != 0 {
		t.Errorf("met %d without any", p.Met())
	}
	names := make(map[string]bool)
	for _, trouble := range oauthtest.Troubles() {
		if trouble.Name == "" || names[trouble.Name] {
			t.Fatalf("the name %q is empty, or there twice", trouble.Name)
		}
		names[trouble.Name] = true
		before, met := s.Exchanges(), p.Met()
		if err := p.Make(trouble); err != nil {
			t.Fatal(err)
		}
		if o := ask(); good(o) != slices.Contains([]string{"late by 0.3 s", "body late by 0.4 s"}, trouble.Name) && trouble.Name != "body byte by byte" {
			t.Errorf("%s: %v, status %d", trouble.Name, o.err, o.status)
		}
		if p.Met() <= met && trouble.Name != "refused" {
			t.Errorf("%s was not met", trouble.Name)
		}
		if passed := s.Exchanges() > before; passed && !trouble.Passed {
			t.Errorf("%s: passed is %t", trouble.Name, passed)
		}
		if err := p.Make(oauthtest.Trouble{}); err != nil {
			t.Fatal(err)
		}
		if o := ask(); !good(o) {
			t.Errorf("after %s: %v, status %d", trouble.Name, o.err, o.status)
		}
	}
}

// TestProxyShowsTheCertificate: the server sees the certificate that the caller showed
// if its key is known, and else none.
func TestProxyShowsTheCertificate(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	known, err := s.CA().Issue(oauthtest.Leaf{CommonName: "c"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.CA().Issue(oauthtest.Leaf{CommonName: "c"})
	if err != nil {
		t.Fatal(err)
	}
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"tls_client_auth"}, SubjectDN: known.Chain[0].Subject.String()})
	p := oauthtest.NewProxy(t, oauthtest.ProxyConfig{Target: s.URL(), CA: s.CA(), Clients: []*oauthtest.Issued{known}})
	for status, client := range map[int]*http.Client{
		200: caller(t, s.CAPool(), known.TLS()),
		401: caller(t, s.CAPool(), other.TLS()),
	} {
		if o := through(t.Context(), t, client, p.URL()+oauthtest.TokenPath, ""); o.status != status {
			t.Errorf("status %d, want %d: %v %s", o.status, status, o.err, o.body)
		}
	}
}

// TestProxyKeepsTheHost: what a caller signed stays as it is.
func TestProxyKeepsTheHost(t *testing.T) {
	ca, err := oauthtest.NewCA("root")
	if err != nil {
		t.Fatal(err)
	}
	var host, forwarded string
	target := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		host, forwarded = r.Host, r.Header.Get("X-Forwarded-For")
	}))
	t.Cleanup(target.Close)
	p := oauthtest.NewProxy(t, oauthtest.ProxyConfig{Target: target.URL, CA: ca})
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	if o := through(t.Context(), t, caller(t, roots), p.URL()+"/", ""); o.status != 200 || "https://"+host != p.URL() || forwarded != "" {
		t.Errorf("status %d, the server sees the host %s, forwarded for %q", o.status, host, forwarded)
	}
	// A server that ends is a connection that ends.
	target.Close()
	if o := through(t.Context(), t, caller(t, roots), p.URL()+"/", ""); o.err == nil {
		t.Errorf("without a server: status %d", o.status)
	}
}

// TestProxyHides: a refusal that is lost is counted, and one that arrives is not.
func TestProxyHides(t *testing.T) {
	s := faulty(t)
	p := oauthtest.NewProxy(t, oauthtest.ProxyConfig{Target: s.URL(), CA: s.CA()})
	for _, trouble := range append(oauthtest.Troubles(), oauthtest.Trouble{}) {
		if trouble.Name != "" && trouble.Name != "answer lost" && trouble.Name != "half a body" {
			continue
		}
		before, lost := p.Hidden(), 0
		if trouble.Name != "" {
			lost = 1
		}
		if err := p.Make(trouble); err != nil {
			t.Fatal(err)
		}
		through(t.Context(), t, caller(t, s.CAPool()), p.URL()+oauthtest.TokenPath, "wrong")
		if p.Hidden()-before != lost {
			t.Errorf("%q: %d hidden", trouble.Name, p.Hidden()-before)
		}
	}
	if s.FailedLogons("c") != 3 {
		t.Errorf("%d failed logons", s.FailedLogons("c"))
	}
}

// TestProxyCountsWhoStrays: who follows a redirect is seen, and nobody else.
func TestProxyCountsWhoStrays(t *testing.T) {
	s := faulty(t)
	p := oauthtest.NewProxy(t, oauthtest.ProxyConfig{Target: s.URL(), CA: s.CA()})
	client := caller(t, s.CAPool())
	redirects := 0
	for _, trouble := range oauthtest.Troubles() {
		if !strings.HasPrefix(trouble.Name, "redirect") {
			continue
		}
		redirects++
		if err := p.Make(trouble); err != nil {
			t.Fatal(err)
		}
		before := p.Strayed()
		for follow, want := range []int{before, before + 1} {
			if client.CheckRedirect = nil; follow == 0 {
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			}
			through(t.Context(), t, client, p.URL()+oauthtest.TokenPath, "s3cr3t")
			if got := p.Strayed(); got != want {
				t.Errorf("%s: %d have strayed, want %d", trouble.Name, got, want)
			}
		}
	}
	if redirects == 0 {
		t.Error("no trouble is a redirect")
	}
}

// TestProxyEnds: closing ends what it holds, and nothing can be made of it any more.
func TestProxyEnds(t *testing.T) {
	s := faulty(t)
	for _, trouble := range oauthtest.Troubles() {
		if trouble.Name != "silent when connecting" && trouble.Name != "no answer" && trouble.Name != "refused" {
			continue
		}
		p, err := oauthtest.StartProxy(oauthtest.ProxyConfig{Target: s.URL(), CA: s.CA()})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Make(trouble); err != nil {
			t.Fatal(err)
		}
		ended := make(chan outcome)
		go func() { ended <- through(t.Context(), t, caller(t, s.CAPool()), p.URL()+oauthtest.TokenPath, "s3cr3t") }()
		for p.Met() == 0 && trouble.Name != "refused" {
			time.Sleep(time.Millisecond)
		}
		p.Close()
		p.Close()
		if o := <-ended; o.err == nil {
			t.Errorf("%s: status %d", trouble.Name, o.status)
		}
		if err := p.Make(oauthtest.Trouble{}); err == nil {
			t.Errorf("%s: a closed proxy takes orders", trouble.Name)
		}
	}
}
