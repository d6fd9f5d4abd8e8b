package oauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

// namedServer returns a server whose certificate is for as.test, and its address.
func namedServer(t *testing.T, change func(*tls.Config)) (*oauthtest.Server, *x509.CertPool, string) {
	t.Helper()
	issued := selfSigned(t, oauthtest.Leaf{CommonName: "as", Hosts: []string{"as.test"}})
	certificate := issued.TLS()
	s := oauthtest.NewServer(t, oauthtest.Config{Certificate: &certificate, TLS: change, Metadata: func(m map[string]any) {
		m["issuer"], m["token_endpoint"] = "https://as.test", "https://as.test"+oauthtest.TokenPath
	}})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	roots := x509.NewCertPool()
	roots.AddCert(issued.Chain[0])
	return s, roots, strings.TrimPrefix(s.URL(), "https://")
}

// throughProxy returns the policy with a proxy, in which nothing but the proxy may be resolved.
func throughProxy(t *testing.T, url string) oauth.AddressPolicy {
	t.Helper()
	proxy, err := oauth.ParseProxy(url)
	if err != nil {
		t.Fatal(err)
	}
	return oauth.AddressPolicy{Proxy: proxy, Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			t.Errorf("%s was resolved", host)
		}
		return []netip.Addr{ip}, err
	}}
}

// proxiedClient returns a client of as.test that authenticates as "c" with the secret "good",
// unless cfg says otherwise.
func proxiedClient(t *testing.T, roots *x509.CertPool, cfg oauth.Config) *oauth.Client {
	t.Helper()
	cfg.ID, cfg.RootCAs = "c", roots
	if cfg.TokenEndpoint == "" {
		cfg.TokenEndpoint = "https://as.test" + oauthtest.TokenPath
	}
	if cfg.Authenticator == nil {
		cfg.Authenticator = oauth.SecretPost{Secret: oauth.NewSecret("good")}
	}
	client, err := oauth.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestExchangeThroughProxy(t *testing.T) {
	issued := selfSigned(t, oauthtest.Leaf{CommonName: "c"})
	for name, tt := range map[string]struct {
		credentials string
		cfg         oauth.Config
	}{
		"secret":      {"", oauth.Config{}},
		"credentials": {`us er:p:@/?#%ä`, oauth.Config{}},
		"mutual TLS":  {"", certificateConfig("c", oauth.SelfSignedTLSClientAuth, issued)},
	} {
		var certificates atomic.Int64
		s, roots, address := namedServer(t, func(c *tls.Config) {
			c.VerifyConnection = func(state tls.ConnectionState) error {
				certificates.Add(int64(len(state.PeerCertificates)))
				return nil
			}
		})
		if tt.cfg.Certificate != nil {
			s.Register(oauthtest.Client{ID: "c", Methods: []string{"self_signed_tls_client_auth"}, Thumbprint: oauthtest.Thumbprint(issued.Chain[0])})
		}
		handler := &oauthtest.ConnectProxy{Credentials: tt.credentials, Addresses: map[string]string{"as.test:443": address}}
		proxy := httptest.NewServer(handler)
		t.Cleanup(proxy.Close)
		proxyURL, _ := url.Parse(proxy.URL)
		if user, password, ok := strings.Cut(tt.credentials, ":"); ok {
			proxyURL.User = url.UserPassword(user, password)
		}
		tt.cfg.Addresses = throughProxy(t, proxyURL.String())
		client := proxiedClient(t, roots, tt.cfg)
		for range 2 {
			if _, err := exchanger().Exchange(t.Context(), client, oauth.Request{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if handler.Requests() != 1 || handler.Connected() != 1 || len(s.Requests()) != 2 {
			t.Errorf("%s: got %d requests and %d connections of the proxy, %d exchanges, want 1, 1, 2", name, handler.Requests(), handler.Connected(), len(s.Requests()))
		}
		if (certificates.Load() == 1) != (tt.cfg.Certificate != nil) {
			t.Errorf("%s: the server got %d certificates", name, certificates.Load())
		}
	}
}

func TestDiscoverThroughProxy(t *testing.T) {
	_, roots, address := namedServer(t, nil)
	handler := &oauthtest.ConnectProxy{Addresses: map[string]string{"as.test:443": address}}
	proxy := httptest.NewServer(handler)
	defer proxy.Close()
	m, err := oauth.Discover(t.Context(), httpClient(throughProxy(t, proxy.URL), roots), "https://as.test")
	if err != nil || m.TokenEndpoint != "https://as.test"+oauthtest.TokenPath || handler.Connected() != 1 {
		t.Errorf("got %+v, error %v over %d connections of the proxy", m, err, handler.Connected())
	}
	handler.Status = 502
	_, err = oauth.Discover(t.Context(), httpClient(throughProxy(t, proxy.URL), roots), "https://as.test")
	if !errors.Is(err, oauth.ErrDiscovery) || !strings.Contains(err.Error(), "the proxy did not connect to it, status 502") {
		t.Errorf("got error %v, want a temporary one of the proxy", err)
	}
}

// rawProxy answers each connection with text, and closes it; with hang it leaves it open.
func rawProxy(t *testing.T, text string, hang bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				if _, err := conn.Read(make([]byte, 4096)); err == nil {
					_, _ = io.WriteString(conn, text)
				}
				if hang {
					_, _ = io.Copy(io.Discard, conn)
				}
				_ = conn.Close()
			}()
		}
	}()
	return "cnry-user:cnry-password@" + listener.Addr().String()
}

// TestProxyFailureIsTemporary: the server has seen nothing, so that it is no failed logon, and
// the exchange is tried again as after a failed dial.
func TestProxyFailureIsTemporary(t *testing.T) {
	s, roots, address := namedServer(t, nil)
	answering := func(handler *oauthtest.ConnectProxy, user string) string {
		handler.Addresses = map[string]string{"as.test:443": address}
		proxy := httptest.NewServer(handler)
		t.Cleanup(proxy.Close)
		return user + strings.TrimPrefix(proxy.URL, "http://")
	}
	status502 := &oauthtest.ConnectProxy{Status: 502}
	failures := map[string]struct {
		url, want string
		wait      time.Duration // of the caller, who makes one attempt; 0: as long as three take
	}{
		"refused":            {"http://cnry-user:cnry-password@127.0.0.1:1", "the proxy could not be reached: it does not accept connections", 0},
		"no credentials":     {"http://" + answering(&oauthtest.ConnectProxy{Credentials: "u:p"}, ""), "the proxy wants credentials, status 407", 0},
		"wrong credentials":  {"http://" + answering(&oauthtest.ConnectProxy{Credentials: "u:p"}, "cnry-user:cnry-password@"), "the proxy wants other credentials than it was sent, status 407", 0},
		"forbidden":          {"http://" + answering(&oauthtest.ConnectProxy{Status: 403}, ""), "the proxy did not connect to it, status 403", 0},
		"bad gateway":        {"http://" + answering(status502, ""), "the proxy did not connect to it, status 502", 0},
		"garbage":            {"http://" + rawProxy(t, "cnry garbage\r\n\r\n", true), "the proxy gave no valid answer", 0},
		"long head":          {"http://" + rawProxy(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20), true), "the proxy gave no valid answer", 0},
		"bytes after answer": {"http://" + rawProxy(t, "HTTP/1.1 200 OK\r\n\r\ncnry", true), "the proxy gave no valid answer", 0},
		"closes":             {"http://" + rawProxy(t, "", false), "the proxy gave no valid answer", 0},
		"no TLS":             {"https://" + rawProxy(t, "HTTP/1.1 200 OK\r\n\r\n", true), "the TLS handshake with the proxy failed", 0},
		"hangs":              {"http://" + rawProxy(t, "HTTP/1.1 200", true), "the proxy did not answer in time", time.Minute},
		"hangs in TLS":       {"https://" + rawProxy(t, "", true), "the proxy did not answer in time", time.Minute},
		"short deadline":     {"http://" + rawProxy(t, "", true), "the proxy did not answer in time", 200 * time.Millisecond},
	}
	var all sync.WaitGroup
	for name, tt := range failures {
		all.Go(func() {
			client := proxiedClient(t, roots, oauth.Config{Addresses: throughProxy(t, tt.url)})
			ctx, request, begun := t.Context(), oauth.Request{}, time.Now()
			if tt.wait > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.wait)
				defer cancel()
				request.MaxAttempts = 1
			}
			_, err := exchanger().Exchange(ctx, client, request)
			var e *oauth.Error
			if !errors.As(err, &e) {
				t.Errorf("%s: got error %v", name, err)
				return
			}
			if e.Reason != oauth.Unreachable || !e.Temporary() || e.FailedLogon() || e.Status != 0 || e.Detail != tt.want || strings.Contains(err.Error(), "cnry") {
				t.Errorf("%s: got %v, want %q", name, e, tt.want)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("%s: it took %v", name, took)
			}
		})
	}
	all.Wait()
	if status502.Requests() != 3 {
		t.Errorf("got %d attempts, want 3", status502.Requests())
	}
	if s.Connections() != 0 {
		t.Errorf("the server got %d connections, want none", s.Connections())
	}
}

// TestProxyDecidesWhichAddressesAreAllowed, except for what the URL alone shows.
func TestProxyDecidesWhichAddressesAreAllowed(t *testing.T) {
	for host, want := range map[string]oauth.Reason{
		"10.0.0.1": oauth.Unreachable, "127.0.0.1": oauth.Unreachable, "localhost": oauth.Unreachable, "100.64.0.1": oauth.Unreachable,
		"[fd00::1]": oauth.Unreachable, "[2606:4700::1]": oauth.Unreachable,
		"169.254.169.254": oauth.AddressRefused, "169.254.169.254.": oauth.AddressRefused, "[::ffff:169.254.169.254]": oauth.AddressRefused,
		"[64:ff9b::169.254.169.254]": oauth.AddressRefused, "[fd00:ec2::254]": oauth.AddressRefused, "[fe80::1]": oauth.AddressRefused,
		"0.0.0.0": oauth.AddressRefused, "2852039166": oauth.AddressRefused, "0xa9fea9fe": oauth.AddressRefused, "169.254.43518": oauth.AddressRefused,
	} {
		handler := &oauthtest.ConnectProxy{Status: 502}
		proxy := httptest.NewServer(handler)
		client := proxiedClient(t, nil, oauth.Config{TokenEndpoint: "https://" + host + "/token", Addresses: throughProxy(t, proxy.URL)})
		_, err := exchanger().Exchange(t.Context(), client, oauth.Request{MaxAttempts: 1})
		if e := failureOf(t, err); e.Reason != want || (handler.Requests() == 1) != (want == oauth.Unreachable) {
			t.Errorf("%s: got %v after %d requests to the proxy", host, e, handler.Requests())
		}
		proxy.Close()
	}
}

// TestProxyOfTheEnvironmentIsNotUsed: net/http never uses it for loopback addresses, so that
// the server has a name here.
func TestProxyOfTheEnvironmentIsNotUsed(t *testing.T) {
	handler := &oauthtest.ConnectProxy{Status: 502}
	proxy := httptest.NewServer(handler)
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	_, roots, address := namedServer(t, nil)
	server := netip.MustParseAddrPort(address)
	policy := private()
	policy.Lookup = func(context.Context, string) ([]netip.Addr, error) { return []netip.Addr{server.Addr()}, nil }
	client := proxiedClient(t, roots, oauth.Config{Addresses: policy, TokenEndpoint: fmt.Sprintf("https://as.test:%d%s", server.Port(), oauthtest.TokenPath)})
	if _, err := exchanger().Exchange(t.Context(), client, oauth.Request{}); err != nil || handler.Requests() != 0 {
		t.Errorf("got error %v, and %d requests to the proxy of the environment", err, handler.Requests())
	}
}

func TestParseProxy(t *testing.T) {
	for _, bad := range []string{
		"", "cnry", "cnry:3128", "cnry.example:3128", "//cnry.example:3128", "ftp://cnry.example:3128", "socks5://cnry.example:1080", "http://:3128",
		"http://cnry.example", "http://cnry.example:", "http://cnry.example:0", "http://cnry.example:70000", "http://cnry.example:3128/cnry",
		"http://cnry.example:3128?", "http://cnry.example:3128#cnry", "http://cnry:cn%zz@cnry.example:3128", "http://cnry:c nry@cnry.example:3128",
		"http://cn%3ary:cnry@cnry.example:3128", "http://cnry:cn%0d%0ary@cnry.example:3128", "http://[fe80::1%25cnry]:3128",
	} {
		if p, err := oauth.ParseProxy(bad); err == nil || strings.Contains(err.Error(), "cnry") {
			t.Errorf("%s: got %v, error %v; want one without the value", bad, p, err)
		}
	}
	for _, good := range []string{
		"http://proxy:3128", "https://proxy_1.example:3128/", "http://10.0.0.1:80", "http://[fd00::1]:3128", "http://cnry-user:cnry-password@proxy:3128", "http://cnry-token@proxy:3128",
	} {
		p, err := oauth.ParseProxy(good)
		if err != nil {
			t.Errorf("%s: %v", good, err)
			continue
		}
		policy := oauth.AddressPolicy{Proxy: p}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			for _, value := range []any{p, *p, policy, &policy} {
				text := fmt.Sprintf(verb, value)
				if strings.Contains(text, "cnry") || strings.Contains(text, "Y25ye") {
					t.Errorf("%s of %T: got %s", verb, value, text)
				}
			}
		}
	}
}
