package oauth_test

import (
	"context"
	"crypto/elliptic"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

// versionServer records the HTTP version and the certificate of each request.
type versionServer struct {
	*httptest.Server
	mu           sync.Mutex
	connections  int      // guarded by mu
	versions     []string // of requests; guarded by mu
	certificates int      // in requests; guarded by mu
	only2        bool     // other requests get the answer 505
	accept       func(*tls.Conn)
}

func (s *versionServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.versions = append(s.versions, r.Proto)
	s.certificates += len(r.TLS.PeerCertificates)
	s.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body)
	if s.only2 && r.ProtoMajor != 2 {
		w.WriteHeader(http.StatusHTTPVersionNotSupported)
		return
	}
	_, _ = io.WriteString(w, `{"access_token":"t","token_type":"Bearer","expires_in":60}`)
}

func startVersionServer(t *testing.T, change func(*versionServer)) *versionServer {
	t.Helper()
	s := &versionServer{}
	s.Server = httptest.NewUnstartedServer(s)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			s.connections++
			s.mu.Unlock()
			if s.accept != nil {
				s.accept(conn.(*tls.Conn))
			}
		}
	}
	change(s)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// onlyHTTP2 makes Go's server end a connection that is not of HTTP/2 after the handshake.
func onlyHTTP2(s *versionServer) {
	s.EnableHTTP2, s.Config.Protocols = true, new(http.Protocols)
	s.Config.Protocols.SetHTTP2(true)
}

// offer makes the server offer the versions to clients that do not offer HTTP/2.
func (s *versionServer) offer(versions ...string) {
	s.TLS.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, "h2") && s.EnableHTTP2 {
			return nil, nil
		}
		config := s.TLS.Clone()
		config.NextProtos, config.GetConfigForClient = versions, nil
		return config, nil
	}
}

// sendFrame begins a connection as HTTP/2 does if no version was named in the handshake.
func sendFrame(conn *tls.Conn) {
	if conn.Handshake() != nil || conn.ConnectionState().NegotiatedProtocol != "" {
		return
	}
	_, _ = io.WriteString(conn, "\x00\x00\x00\x04\x00\x00\x00\x00\x00") // SETTINGS
	_, _ = conn.Read(make([]byte, 4096))
	_ = conn.Close()
}

// TestHTTPVersion: HTTP/1.1 is the first choice. A server that speaks HTTP/2 only gets each
// request once, and with the client's certificate. One that ends the connection instead of saying
// so gets the request in the next attempt.
func TestHTTPVersion(t *testing.T) {
	servers := map[string]struct {
		change      func(*versionServer)
		requests    []string
		connections int
	}{
		"both":                   {func(s *versionServer) { s.EnableHTTP2, s.TLS.NextProtos = true, []string{"h2", "http/1.1"} }, []string{"HTTP/1.1", "HTTP/1.1"}, 1},
		"HTTP/1.1":               {func(*versionServer) {}, []string{"HTTP/1.1", "HTTP/1.1"}, 1},
		"names no version":       {func(s *versionServer) { s.offer() }, []string{"HTTP/1.1", "HTTP/1.1"}, 1},
		"2, ends connection":     {onlyHTTP2, []string{"HTTP/2.0", "HTTP/2.0"}, 2},
		"2, alert":               {func(s *versionServer) { onlyHTTP2(s); s.offer("other") }, []string{"HTTP/2.0", "HTTP/2.0"}, 2},
		"2, sends its own":       {func(s *versionServer) { onlyHTTP2(s); s.accept = sendFrame }, []string{"HTTP/2.0", "HTTP/2.0"}, 2},
		"2, sends its own first": {func(s *versionServer) { onlyHTTP2(s); s.accept = sendFrame }, []string{"HTTP/2.0", "HTTP/2.0"}, 2},
		"2, answers status 505":  {func(s *versionServer) { s.EnableHTTP2, s.only2 = true, true }, []string{"HTTP/1.1", "HTTP/2.0", "HTTP/2.0"}, 2},
	}
	for name, tt := range servers {
		for _, mutual := range []bool{false, true} {
			s := startVersionServer(t, tt.change)
			client := clientOf(t, s.Server, oauth.ClientSecretPost, oauth.SecretPost{}, nil)
			if mutual {
				client = certificateClient(t, s.Server)
			}
			for range 2 {
				attempts, ctx := 1, t.Context()
				switch name {
				case "2, ends connection":
					attempts = 2
				case "2, sends its own first": // than the client, whose request waits
					ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { time.Sleep(20 * time.Millisecond) }})
				}
				if _, err := exchanger().Exchange(ctx, client, oauth.Request{MaxAttempts: attempts, Proven: true}); err != nil {
					t.Errorf("%s, mutual TLS %v: %v", name, mutual, err)
				}
			}
			s.mu.Lock()
			if !slices.Equal(s.versions, tt.requests) || s.connections != tt.connections || (s.certificates == len(tt.requests)) != mutual {
				t.Errorf("%s, mutual TLS %v: got requests %v, %d connections, %d certificates", name, mutual, s.versions, s.connections, s.certificates)
			}
			s.mu.Unlock()
			client.Close()
		}
	}
}

// TestRequestIsNotRepeatedByHTTP2: a server that names no version for HTTP/1.1, and would speak HTTP/2,
// may have read a request when it breaks down. The same assertion must not arrive twice, and no
// credential after an answer has begun.
func TestRequestIsNotRepeatedByHTTP2(t *testing.T) {
	signer, err := oauth.NewLocalSigner(ecKey(t, elliptic.P256()), "")
	if err != nil {
		t.Fatal(err)
	}
	assertion := oauth.Assertion{ClientID: "c", Audience: "a", Signer: signer}
	for name, tt := range map[string]struct {
		answer   string
		auth     oauth.Authenticator
		attempts int
		want     int // requests
	}{
		"assertion":         {"", assertion, 1, 1},
		"another assertion": {"", assertion, 2, 2},
		"answer has begun":  {"HTTP/1.1 401 Unauthorized\r\nContent-Ty", oauth.SecretPost{Secret: oauth.NewSecret("s")}, 3, 1},
	} {
		var bodies []string // of one request at a time
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if bodies = append(bodies, string(body)); r.ProtoMajor == 2 {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			connection, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			_, _ = io.WriteString(connection, tt.answer)
			_ = connection.Close()
		}))
		s.EnableHTTP2 = true // and no version is named for HTTP/1.1
		s.StartTLS()
		client := clientOf(t, s, "", tt.auth, nil)
		if _, err := exchanger().Exchange(t.Context(), client, oauth.Request{MaxAttempts: tt.attempts}); err == nil {
			t.Errorf("%s: got a token", name)
		}
		client.Close()
		s.Close()
		if len(bodies) != tt.want || len(slices.Compact(bodies)) != tt.want {
			t.Errorf("%s: got %d requests, want %d different ones", name, len(bodies), tt.want)
		}
	}
}

// TestServerWithoutHTTP2IsAskedOnce: after a broken connection, the vendor asks once whether
// the server speaks HTTP/2, and does not show the certificate for that.
func TestServerWithoutHTTP2IsAskedOnce(t *testing.T) {
	var shown atomic.Int64
	s := startVersionServer(t, func(s *versionServer) {
		s.offer()
		s.TLS.VerifyConnection = func(state tls.ConnectionState) error {
			shown.Add(int64(len(state.PeerCertificates)))
			return nil
		}
		s.accept = func(conn *tls.Conn) {
			_ = conn.Handshake()
			_ = conn.Close()
		}
	})
	client := certificateClient(t, s.Server)
	for range 3 {
		_, err := exchanger().Exchange(t.Context(), client, oauth.Request{})
		if e := failureOf(t, err); e.Reason != oauth.Unreachable || e.Detail != "the connection broke before an answer" {
			t.Errorf("got %v, want the first error", e)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Each exchange is followed by a connection without a certificate.
	if s.connections != 3+1+3 || shown.Load() != 3 {
		t.Errorf("got %d connections, the certificate in %d of them, want 7, 3", s.connections, shown.Load())
	}
}

// TestIPv6Only: the server has no IPv4 address, and one that does not answer.
func TestIPv6Only(t *testing.T) {
	listener, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("the machine has no IPv6")
	}
	s := oauthtest.NewServer(t, oauthtest.Config{Listener: listener})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	server := netip.MustParseAddrPort(listener.Addr().String())
	policy := private()
	policy.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == "localhost" {
			return []netip.Addr{netip.MustParseAddr("127.0.0.67"), server.Addr()}, nil
		}
		return []netip.Addr{netip.MustParseAddr(host)}, nil
	}
	for _, endpoint := range []string{s.TokenEndpoint(), "https://localhost:" + strconv.Itoa(int(server.Port())) + oauthtest.TokenPath} {
		client, err := oauth.NewClient(oauth.Config{
			ID: "c", TokenEndpoint: endpoint, RootCAs: s.CAPool(), Addresses: policy, Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("good")},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := exchanger().Exchange(t.Context(), client, oauth.Request{MaxAttempts: 1}); err != nil {
			t.Errorf("%s: %v", endpoint, err)
		}
		client.Close()
	}
}

// stallingListener accepts connections that can fall silent.
type stallingListener struct {
	net.Listener
	silent chan struct{} // closed: the connections so far are silent
	mu     sync.Mutex
	open   []*stallingConn // guarded by mu
}

type stallingConn struct {
	net.Conn
	silent, closed chan struct{}
	close          func()
}

func (l *stallingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &stallingConn{Conn: conn, silent: l.silent, closed: make(chan struct{})}
	c.close = sync.OnceFunc(func() { close(c.closed) })
	l.open = append(l.open, c)
	return c, nil
}

// stall makes all connections silent.
func (l *stallingListener) stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.silent)
	l.silent = make(chan struct{})
}

func (c *stallingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.silent:
		<-c.closed
		return 0, io.EOF
	default:
		return n, err
	}
}

func (c *stallingConn) Write(p []byte) (int, error) {
	select {
	case <-c.silent:
		return len(p), nil
	default:
		return c.Conn.Write(p)
	}
}

func (c *stallingConn) Close() error {
	c.close()
	return c.Conn.Close()
}

// TestSilentConnectionOfHTTP2IsReplaced: a client gets its token by another connection within one
// exchange.
func TestSilentConnectionOfHTTP2IsReplaced(t *testing.T) {
	var listener *stallingListener
	s := startVersionServer(t, func(s *versionServer) {
		onlyHTTP2(s)
		s.TLS.NextProtos = []string{"h2"}
		listener = &stallingListener{Listener: s.Listener, silent: make(chan struct{})}
		s.Listener = listener
	})
	t.Cleanup(listener.stall)
	client := clientOf(t, s.Server, oauth.ClientSecretPost, oauth.SecretPost{}, nil)
	for _, stall := range []bool{false, true} {
		if stall {
			listener.stall()
		}
		if _, err := exchanger().Exchange(t.Context(), client, oauth.Request{}); err != nil {
			t.Errorf("silent %v: %v", stall, err)
		}
	}
}
