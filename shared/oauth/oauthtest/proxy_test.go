package oauthtest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

func newHTTPClient(t *testing.T, roots *x509.CertPool) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: noRedirects}
}

func newProxy(t *testing.T, cfg oauthtest.ProxyConfig) *oauthtest.Proxy {
	t.Helper()
	p, err := oauthtest.StartProxy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func inject(t *testing.T, p *oauthtest.Proxy, trouble oauthtest.Trouble) {
	t.Helper()
	if err := p.Make(trouble); err != nil {
		t.Fatal(err)
	}
}

func (o outcome) granted() bool {
	return o.err == nil && o.status == 200 && strings.Contains(string(o.body), "access_token")
}

// TestProxyInjectsEachTrouble injects all troubles one after the other on one proxy. An
// exchange after each of them succeeds.
func TestProxyInjectsEachTrouble(t *testing.T) {
	s := faulty(t)
	p := newProxy(t, oauthtest.ProxyConfig{Target: s.URL(), CA: s.CA()})
	client := newHTTPClient(t, s.CAPool())
	// short is enough for what gets no token; some of that gets no answer either.
	const short, long = time.Second, 20 * time.Second
	try := func(timeout time.Duration) outcome {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		return exchangeAt(ctx, t, client, p.URL()+oauthtest.TokenPath, "s3cr3t")
	}
	if o := try(long); !o.granted() || p.Met() != 0 {
		t.Fatalf("without a trouble: got error %v, status %d, %d met", o.err, o.status, p.Met())
	}
	granted := map[string]bool{"late by 0.3 s": true, "body late by 0.4 s": true}
	names := make(map[string]bool)
	for _, trouble := range oauthtest.Troubles() {
		if trouble.Name == "" || names[trouble.Name] {
			t.Fatalf("the name %q is empty or not unique", trouble.Name)
		}
		names[trouble.Name] = true
		before, met := s.Exchanges(), p.Met()
		inject(t, p, trouble)
		timeout := short
		if granted[trouble.Name] {
			timeout = long
		}
		if o := try(timeout); o.granted() != granted[trouble.Name] && trouble.Name != "body byte by byte" {
			t.Errorf("%s: got error %v, status %d, want a token: %v", trouble.Name, o.err, o.status, granted[trouble.Name])
		}
		if p.Met() <= met && trouble.Name != "refused" {
			t.Errorf("%s was not injected", trouble.Name)
		}
		if s.Exchanges() > before && !trouble.Passed {
			t.Errorf("%s: the server received the request, but Passed is false", trouble.Name)
		}
		inject(t, p, oauthtest.Trouble{})
		if o := try(long); !o.granted() {
			t.Errorf("after %s: got error %v, status %d", trouble.Name, o.err, o.status)
		}
	}
}

// TestProxyKeepsTheHost: AWS signs the header Host.
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
	p := newProxy(t, oauthtest.ProxyConfig{Target: target.URL, CA: ca})
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	if o := exchangeAt(t.Context(), t, newHTTPClient(t, roots), p.URL()+"/", "s3cr3t"); o.status != 200 || "https://"+host != p.URL() || forwarded != "" {
		t.Errorf("got status %d, host %s, X-Forwarded-For %q, want 200 and the proxy's host", o.status, host, forwarded)
	}
	target.Close()
	if o := exchangeAt(t.Context(), t, newHTTPClient(t, roots), p.URL()+"/", "s3cr3t"); o.err == nil {
		t.Errorf("without a server: got status %d, want an error", o.status)
	}
}

// TestProxyCountsHiddenRefusals: a lost refusal is counted, and a delivered one is not.
func TestProxyCountsHiddenRefusals(t *testing.T) {
	s := faulty(t)
	p := newProxy(t, oauthtest.ProxyConfig{Target: s.URL(), CA: s.CA()})
	for _, trouble := range append(oauthtest.Troubles(), oauthtest.Trouble{}) {
		if trouble.Name != "" && trouble.Name != "answer lost" && trouble.Name != "half a body" {
			continue
		}
		before, lost := p.Hidden(), 0
		if trouble.Name != "" {
			lost = 1
		}
		inject(t, p, trouble)
		exchangeAt(t.Context(), t, newHTTPClient(t, s.CAPool()), p.URL()+oauthtest.TokenPath, "wrong")
		exchangeAt(t.Context(), t, newHTTPClient(t, s.CAPool()), p.URL()+oauthtest.TokenPath, "s3cr3t") // no refusal
		if p.Hidden()-before != lost {
			t.Errorf("%q: got %d hidden, want %d", trouble.Name, p.Hidden()-before, lost)
		}
	}
	if s.FailedLogons("c") != 3 {
		t.Errorf("got %d failed logons, want 3", s.FailedLogons("c"))
	}
}

func TestProxyCountsFollowedRedirects(t *testing.T) {
	s := faulty(t)
	p := newProxy(t, oauthtest.ProxyConfig{Target: s.URL(), CA: s.CA()})
	client := newHTTPClient(t, s.CAPool())
	redirects := 0
	for _, trouble := range oauthtest.Troubles() {
		if !strings.HasPrefix(trouble.Name, "redirect") {
			continue
		}
		redirects++
		inject(t, p, trouble)
		before := p.Strayed()
		for follow, want := range []int{before, before + 1} {
			if client.CheckRedirect = nil; follow == 0 {
				client.CheckRedirect = noRedirects
			}
			exchangeAt(t.Context(), t, client, p.URL()+oauthtest.TokenPath, "s3cr3t")
			if got := p.Strayed(); got != want {
				t.Errorf("%s: got %d strayed, want %d", trouble.Name, got, want)
			}
		}
	}
	if redirects == 0 {
		t.Error("no trouble is a redirect")
	}
}

// TestProxyKeepsItsPortWhileClosed: a port that another process takes meanwhile cannot be opened again.
func TestProxyKeepsItsPortWhileClosed(t *testing.T) {
	s := faulty(t)
	p := newProxy(t, oauthtest.ProxyConfig{Target: s.URL(), CA: s.CA()})
	for _, trouble := range oauthtest.Troubles() {
		if trouble.Name == "refused" {
			inject(t, p, trouble)
		}
	}
	address := strings.TrimPrefix(p.URL(), "https://")
	if connection, err := net.Dial("tcp", address); err == nil {
		_ = connection.Close()
		t.Fatal("the port is open")
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	local, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if connection, err := (&net.Dialer{LocalAddr: local}).Dial("tcp", other.Addr().String()); err == nil {
		_ = connection.Close()
		t.Error("another socket could take the port")
	}
	inject(t, p, oauthtest.Trouble{})
}

// TestProxyCloses: Close breaks open connections, and Make fails afterwards.
func TestProxyCloses(t *testing.T) {
	s := faulty(t)
	for _, trouble := range oauthtest.Troubles() {
		if trouble.Name != "silent when connecting" && trouble.Name != "no answer" && trouble.Name != "refused" {
			continue
		}
		p, err := oauthtest.StartProxy(oauthtest.ProxyConfig{Target: s.URL(), CA: s.CA()})
		if err != nil {
			t.Fatal(err)
		}
		inject(t, p, trouble)
		ended := make(chan outcome)
		go func() {
			ended <- exchangeAt(t.Context(), t, newHTTPClient(t, s.CAPool()), p.URL()+oauthtest.TokenPath, "s3cr3t")
		}()
		for p.Met() == 0 && trouble.Name != "refused" {
			time.Sleep(time.Millisecond)
		}
		p.Close()
		p.Close()
		if o := <-ended; o.err == nil {
			t.Errorf("%s: got status %d, want an error", trouble.Name, o.status)
		}
		if err := p.Make(oauthtest.Trouble{}); err == nil {
			t.Errorf("%s: Make succeeds on a closed proxy", trouble.Name)
		}
	}
}
