package oauth_test

import (
	"crypto/x509"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

func newConnections() *oauth.Connections {
	return oauth.NewConnections(private(), func(roots []*x509.Certificate) *x509.CertPool {
		pool := x509.NewCertPool()
		for _, root := range roots {
			pool.AddCert(root)
		}
		return pool
	})
}

// connected returns a client that is registered at s by cfg and uses connections of c.
func connected(t testing.TB, c *oauth.Connections, s *oauthtest.Server, trust oauth.Trust, cfg oauth.Config) *oauth.Client {
	t.Helper()
	cfg.TokenEndpoint, cfg.Certificate, cfg.Connection = s.TokenEndpoint(), trust.Certificate, c.To(s.TokenEndpoint(), trust)
	client, err := oauth.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// trustIn returns the trust in the server's authority, as a document of its own would state it.
func trustIn(t testing.TB, s *oauthtest.Server) oauth.Trust {
	t.Helper()
	root, err := x509.ParseCertificate(s.CA().Certificate.Raw)
	if err != nil {
		t.Fatal(err)
	}
	return oauth.Trust{Roots: []*x509.Certificate{root}}
}

// bySecret configures a client that authenticates by the secret "good".
func bySecret(id string) oauth.Config {
	return oauth.Config{ID: id, Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("good")}}
}

func registerSecret(s *oauthtest.Server, id string) {
	s.Register(oauthtest.Client{ID: id, Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
}

// TestClientsOfServerShareConnection: 100 new clients of one server need one handshake. None of
// them ends the connection of the others when it is replaced.
func TestClientsOfServerShareConnection(t *testing.T) {
	s, connections, x := oauthtest.NewServer(t, oauthtest.Config{}), newConnections(), exchanger()
	for i := range 100 {
		id := fmt.Sprint("c", i)
		registerSecret(s, id)
		client := connected(t, connections, s, trustIn(t, s), bySecret(id))
		token, err := x.Exchange(t.Context(), client, oauth.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if token.AccessToken().IsZero() || s.Requests()[i].Form.Get("client_id") != id {
			t.Errorf("request %d is not that of its client", i)
		}
		client.Close()
	}
	if got := s.Connections(); got > 2 { // a slow test may need more than idleTimeout
		t.Errorf("got %d connections, want 1", got)
	}
}

// TestConnectionsAreNotShared: what a connection or a TLS session says of a client, and what a
// client demands of a server, holds for no other client.
func TestConnectionsAreNotShared(t *testing.T) {
	s, other := oauthtest.NewServer(t, oauthtest.Config{}), oauthtest.NewServer(t, oauthtest.Config{})
	connections := newConnections()
	certificate := selfSigned(t, oauthtest.Leaf{CommonName: "c"}).TLS()
	trust := trustIn(t, s)
	first := connections.To(s.TokenEndpoint(), trust)
	if again := connections.To(s.URL()+"/another/path", trustIn(t, s)); again != first {
		t.Error("clients that trust a server in the same way do not share connections")
	}
	for name, different := range map[string]struct {
		endpoint string
		trust    oauth.Trust
	}{
		"certificate":         {s.TokenEndpoint(), oauth.Trust{Roots: trust.Roots, Certificate: &certificate}},
		"roots of the system": {s.TokenEndpoint(), oauth.Trust{}},
		"other roots":         {s.TokenEndpoint(), trustIn(t, other)},
		"more roots":          {s.TokenEndpoint(), oauth.Trust{Roots: append(trustIn(t, other).Roots, trust.Roots...)}},
		"TLS 1.2":             {s.TokenEndpoint(), oauth.Trust{Roots: trust.Roots, TLS: oauth.TLSOptions{AtMost12: true}}},
		"RSA":                 {s.TokenEndpoint(), oauth.Trust{Roots: trust.Roots, TLS: oauth.TLSOptions{RSAKeyExchange: true}}},
		"no post-quantum":     {s.TokenEndpoint(), oauth.Trust{Roots: trust.Roots, TLS: oauth.TLSOptions{NoPostQuantum: true}}},
		"server":              {other.TokenEndpoint(), trust},
	} {
		if connections.To(different.endpoint, different.trust) == first {
			t.Errorf("%s: the connection is shared", name)
		}
	}
	mutual := oauth.Trust{Certificate: &certificate}
	own := connections.To(s.TokenEndpoint(), mutual)
	if connections.To(s.TokenEndpoint(), mutual) == own {
		t.Error("two clients with a certificate share a connection")
	}
	runtime.KeepAlive(first)
}

// TestOpenConnectionDoesNotHideDistrust: a client that does not trust a server sends it nothing,
// though another client has a connection.
func TestOpenConnectionDoesNotHideDistrust(t *testing.T) {
	s, other, connections := secretServer(t), oauthtest.NewServer(t, oauthtest.Config{}), newConnections()
	trusting := connected(t, connections, s, trustIn(t, s), bySecret("c"))
	if _, err := exchanger().Exchange(t.Context(), trusting, oauth.Request{}); err != nil {
		t.Fatal(err)
	}
	if e := exchangeError(t, connected(t, connections, s, trustIn(t, other), bySecret("c"))); e.Reason != oauth.Untrusted {
		t.Errorf("got %v, want Untrusted", e)
	}
	if got := s.Exchanges(); got != 1 {
		t.Errorf("the server got %d requests, want 1", got)
	}
}

// TestSharedConnectionsShowNoCertificate: a client with a certificate and one without use the
// same server at the same time.
func TestSharedConnectionsShowNoCertificate(t *testing.T) {
	s, connections, x := secretServer(t), newConnections(), exchanger()
	issued := selfSigned(t, oauthtest.Leaf{CommonName: "m"})
	s.Register(oauthtest.Client{ID: "m", Methods: []string{"self_signed_tls_client_auth"}, Thumbprint: oauthtest.Thumbprint(issued.Chain[0])})
	mutual := trustIn(t, s)
	mutual.Certificate = certificateConfig("m", oauth.SelfSignedTLSClientAuth, issued).Certificate
	clients := []*oauth.Client{
		connected(t, connections, s, trustIn(t, s), bySecret("c")),
		connected(t, connections, s, mutual, certificateConfig("m", oauth.SelfSignedTLSClientAuth, issued)),
	}
	for i := range 6 {
		if _, err := x.Exchange(t.Context(), clients[i%2], oauth.Request{}); err != nil {
			t.Fatal(err)
		}
		if shown := s.Requests()[i].Certificate != nil; shown != (i%2 == 1) {
			t.Errorf("request %d: the server saw a certificate: %t", i, shown)
		}
	}
}

// TestSharedConnectionsAreBounded: documents name as many servers and authorities as they like.
// Connections that no client uses any more make room.
func TestSharedConnectionsAreBounded(t *testing.T) {
	connections := newConnections()
	open := func(i int) *oauth.Connection {
		return connections.To(fmt.Sprintf("https://as%d.test", i), oauth.Trust{RootsSize: 100 << 10})
	}
	shared := func(c *oauth.Connection) bool { return c.Size() == 0 }
	if large := connections.To("https://large.test", oauth.Trust{RootsSize: 1 << 20}); shared(large) {
		t.Error("connections with many authorities are shared")
	}
	var used []*oauth.Connection
	for i := range 1000 {
		used = append(used, open(i))
	}
	if n := slices.IndexFunc(used, func(c *oauth.Connection) bool { return !shared(c) }); n < 40 || n > 100 {
		t.Errorf("%d connections of 100 KiB are shared, want 8 MiB", n)
	}
	runtime.KeepAlive(used)
	for deadline := time.Now().Add(10 * time.Second); !shared(open(2000)); runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatal("connections that no client uses are not released")
		}
	}
}

// TestUnusedConnectionsTakeNoMemory: an environment may see any number of servers in its life.
func TestUnusedConnectionsTakeNoMemory(t *testing.T) {
	connections := newConnections()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 50_000 {
		connections.To(fmt.Sprintf("https://as%d.test", i), oauth.Trust{})
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		runtime.ReadMemStats(&after)
		grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		if grown < 4<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the heap has grown by %d bytes", grown)
		}
	}
	runtime.KeepAlive(connections)
}

// TestRenegotiatingServerServesSharedClients: a server that requests a certificate by a
// renegotiation may do so for each request, and crypto/tls allows one for a connection.
func TestRenegotiatingServerServesSharedClients(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed, and Go's server cannot renegotiate")
	}
	certFile, keyFile, certificate := writePEM(t)
	server := startOpenSSL(t, openssl, certFile, keyFile)
	connection := newConnections().To("https://"+server.address, oauth.Trust{Roots: []*x509.Certificate{certificate}})
	for i := range 3 {
		cfg := bySecret(fmt.Sprint("c", i))
		cfg.TokenEndpoint, cfg.Connection = "https://"+server.address+"/oauth2/token", connection
		client, err := oauth.NewClient(cfg)
		if err != nil {
			t.Fatal(err)
		}
		header := "Accept-Encoding"
		if i > 0 {
			header = "Connection: close"
		}
		go server.answer(`{"access_token":"tok","token_type":"Bearer","expires_in":3600}`, header, "SSL_do_handshake -> 1")
		if _, err := exchanger().Exchange(t.Context(), client, oauth.Request{MaxAttempts: 1}); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		if err := <-server.sawCertificate; err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkFirstExchange is the first exchange of a new client, with connections of its own and
// with those of the clients before it. The memory includes that of the server.
func BenchmarkFirstExchange(b *testing.B) {
	for _, shared := range []bool{false, true} {
		b.Run(fmt.Sprintf("shared=%t", shared), func(b *testing.B) {
			s, x := oauthtest.NewServer(b, oauthtest.Config{}), exchanger()
			registerSecret(s, "c")
			connections := newConnections()
			var clients []*oauth.Client
			for b.Loop() {
				if !shared {
					connections = newConnections()
				}
				client := connected(b, connections, s, trustIn(b, s), bySecret("c"))
				if _, err := x.Exchange(b.Context(), client, oauth.Request{}); err != nil {
					b.Fatal(err)
				}
				clients = append(clients, client)
			}
			var stats runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&stats)
			b.ReportMetric(float64(stats.HeapAlloc+stats.StackInuse)/float64(b.N), "memory-B/client")
			runtime.KeepAlive(clients)
			b.ReportMetric(float64(s.Connections())/float64(b.N), "handshakes/op")
		})
	}
}
