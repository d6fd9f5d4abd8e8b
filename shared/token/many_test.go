package token_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// many is an environment that serves many clients of many servers, in real time.
type many struct {
	*token.Vendor
	names            []string
	reads, exchanges atomic.Int64
	handshakes       atomic.Int64
}

// newMany returns an environment for n clients, whose tokens have 1.5 KB. An environment makes ten
// exchanges at once with one server.
func newMany(tb testing.TB, n, servers int) *many {
	tb.Helper()
	m := &many{}
	for i := range n {
		m.names = append(m.names, fmt.Sprint("client-", i))
	}
	ca, err := oauthtest.NewCA("many")
	if err != nil {
		tb.Fatal(err)
	}
	issued, err := ca.Issue(oauthtest.Leaf{CommonName: "as", Hosts: []string{"*.as.test"}, NotAfter: time.Now().Add(time.Hour)})
	if err != nil {
		tb.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"access_token":"%08d%s","token_type":"Bearer","expires_in":43200}`, m.exchanges.Add(1), strings.Repeat("t", 1500))
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{issued.TLS()}, VerifyConnection: func(tls.ConnectionState) error {
		m.handshakes.Add(1)
		return nil
	}}
	server.StartTLS()
	tb.Cleanup(server.Close)
	authority := oauthtest.CertificatePEM(ca.Certificate)
	reader := secret.ReaderFunc(func(_ context.Context, name string, _ secret.Want) (secret.Secret, error) {
		m.reads.Add(1)
		var i int
		_, _ = fmt.Sscanf(name, "client-%d", &i)
		text, err := json.Marshal(map[string]string{
			"token_endpoint": fmt.Sprintf("https://t%d.as.test/token", i%servers), "client_id": name, "client_secret": name + "0123456789abcdef0123456789abcdef", "ca_certificates": authority,
		})
		return secret.Secret{Text: text, Version: "00000000-0000-0000-0000-000000000000"}, err
	})
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
	}
	m.Vendor = token.New(token.Config{
		Clients:   registry.New(registry.Config{Secrets: reader, Addresses: oauth.AddressPolicy{Dial: dial}}),
		Exchanger: oauth.NewExchanger(oauth.ExchangerConfig{}),
	})
	return m
}

func (m *many) vend(tb testing.TB, name string) {
	if _, err := m.Vend(tb.Context(), tokentest.Read(token.Request{Client: name})); err != nil {
		tb.Error(err)
	}
}

// fill fetches the tokens of all clients.
func (m *many) fill(tb testing.TB) {
	tb.Helper()
	var all sync.WaitGroup
	for first := range 8 {
		all.Go(func() {
			for i := first; i < len(m.names); i += 8 {
				m.vend(tb, m.names[i])
			}
		})
	}
	all.Wait()
}

// hits returns how long n hits of random clients take.
func (m *many) hits(tb testing.TB, n int) time.Duration {
	random := rand.New(rand.NewPCG(1, 2))
	order := make([]string, n)
	for i := range order {
		order[i] = m.names[random.IntN(len(m.names))]
	}
	begun := time.Now()
	for _, name := range order {
		m.vend(tb, name)
	}
	return time.Since(begun)
}

func live() int {
	var stats runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// TestManyClients: an environment of 256 MB serves 10 000 clients without reading a secret or
// calling a server again, and a hit takes as long as with ten clients.
func TestManyClients(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 20 seconds")
	}
	const clients, servers, megabyte = 10_000, 256, 1 << 20
	few := newMany(t, 10, 10)
	few.fill(t)
	before := live()
	m := newMany(t, clients, servers)
	m.fill(t)
	used := live() - before
	t.Logf("%d clients: %d bytes each, %d handshakes", clients, used/clients, m.handshakes.Load())
	// The collector lets the heap double, and a function with one client needs less than 20 MB.
	if total := 2*used + 20*megabyte; total > 200*megabyte {
		t.Errorf("the function needs up to %d MB, want some room in 256", total/megabyte)
	}
	if m.handshakes.Load() > 12*servers {
		t.Errorf("got %d handshakes with %d servers", m.handshakes.Load(), servers)
	}
	best := 100.0
	for range 10 {
		base := few.hits(t, clients)
		best = min(best, float64(m.hits(t, clients))/float64(base))
		if best <= 1.3 {
			break
		}
	}
	t.Logf("a hit takes %.2f of the time with 10 clients", best)
	if best > 1.3 {
		t.Errorf("a hit takes %.2f of the time with 10 clients, want at most 1.3", best)
	}
	if m.reads.Load() != clients || m.exchanges.Load() != clients {
		t.Errorf("got %d reads of secrets and %d exchanges, want one for each of %d clients", m.reads.Load(), m.exchanges.Load(), clients)
	}
}

// BenchmarkHitOf is a hit in an environment that serves 10 or 10 000 clients.
func BenchmarkHitOf(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := newMany(b, n, 256)
			m.fill(b)
			random := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			for b.Loop() {
				m.vend(b, m.names[random.IntN(n)])
			}
		})
	}
}

// BenchmarkMissOf is the first call for a new client of a server: a read of its secret and an
// exchange.
func BenchmarkMissOf(b *testing.B) {
	b.ReportAllocs()
	m := newMany(b, b.N, 1+b.N/10)
	b.ResetTimer()
	for _, name := range m.names {
		m.vend(b, name)
	}
	b.ReportMetric(float64(m.handshakes.Load())/float64(b.N), "handshakes/op")
}
