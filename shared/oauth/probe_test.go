package oauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

// dropServer is a TLS server that gets the certificates of a connection and may end it.
type dropServer struct {
	net.Listener
	shown atomic.Int64
}

// startDropServer handles each connection after its handshake with serve.
func startDropServer(t *testing.T, config *tls.Config, serve func(*tls.Conn)) (*dropServer, *oauth.Client) {
	t.Helper()
	certificate := selfSigned(t, oauthtest.Leaf{CommonName: "as", Hosts: []string{"127.0.0.1"}})
	config.Certificates = []tls.Certificate{certificate.TLS()}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dropServer{Listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = raw.Close() }() // without close_notify, like Node
				conn := tls.Server(raw, config)
				if conn.HandshakeContext(context.Background()) == nil {
					s.shown.Add(int64(len(conn.ConnectionState().PeerCertificates)))
					serve(conn)
				}
			}()
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Chain[0])
	own := selfSigned(t, oauthtest.Leaf{CommonName: "c"}).TLS()
	client, err := oauth.NewClient(oauth.Config{
		ID: "c", TokenEndpoint: "https://" + listener.Addr().String() + "/t", RootCAs: roots, Addresses: private(),
		Method: oauth.TLSClientAuth, Certificate: &own, Authenticator: oauth.Certificate{NotAfter: time.Now().Add(time.Hour)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return s, client
}

// TestConnectionDroppedWithoutAlert: it is the certificate if the server accepts connections
// without one, or refuses them by an alert as Node does. A server that drops everybody, or
// cannot be reached any more, is out of order.
func TestConnectionDroppedWithoutAlert(t *testing.T) {
	drop := func(*tls.Conn) {}
	required := func() *tls.Config { return &tls.Config{ClientAuth: tls.RequireAnyClientCert} }
	old := func(auth tls.ClientAuthType) *tls.Config {
		return &tls.Config{ClientAuth: auth, MaxVersion: tls.VersionTLS12}
	}
	optional := func() *tls.Config { return &tls.Config{ClientAuth: tls.RequestClientCert} }
	dropShown := func(conn *tls.Conn) {
		if len(conn.ConnectionState().PeerCertificates) == 0 {
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	trouble := func(config *tls.Config) *tls.Config {
		var n atomic.Int64
		config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if n.Add(1) > 1 {
				return nil, errors.New("overloaded")
			}
			return nil, nil
		}
		return config
	}
	for _, tt := range []struct {
		name   string
		config *tls.Config
		serve  func(*tls.Conn)
		r      oauth.Request
		want   oauth.Reason
	}{
		{"Node", required(), drop, oauth.Request{}, oauth.CertificateRefused},
		{"Node, TLS 1.2", old(tls.RequireAnyClientCert), drop, oauth.Request{}, oauth.CertificateRefused},
		{"accepts no certificate", optional(), dropShown, oauth.Request{}, oauth.CertificateRefused},
		{"HTTP/2 only", &tls.Config{ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"h2"}}, drop, oauth.Request{}, oauth.CertificateRefused},
		{"drops everybody", optional(), drop, oauth.Request{}, oauth.Unreachable},
		{"drops everybody, TLS 1.2", old(tls.RequestClientCert), drop, oauth.Request{}, oauth.Unreachable},
		{"in trouble", trouble(required()), drop, oauth.Request{}, oauth.Unreachable},
		{"proven", required(), drop, oauth.Request{Proven: true}, oauth.Unreachable},
		{"no certificate requested", &tls.Config{}, drop, oauth.Request{}, oauth.Unreachable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, client := startDropServer(t, tt.config, tt.serve)
			tt.r.MaxAttempts = 1
			_, err := exchanger().Exchange(t.Context(), client, tt.r)
			e := failureOf(t, err)
			if e.Reason != tt.want || e.Temporary() == (tt.want == oauth.CertificateRefused) || e.FailedLogon() == e.Temporary() {
				t.Errorf("got %v, want reason %v", e, tt.want)
			}
			if hint := strings.Contains(e.Error(), "refuse"); hint != (e.FailedLogon() || tt.r.Proven) {
				t.Errorf("got %q, a word of a refusal: %v", e, hint)
			}
			// net/http repeats a request of HTTP/2 whose body it has not read yet.
			if s.shown.Load() > 1 && tt.config.NextProtos == nil {
				t.Errorf("the certificate was shown %d times, want 1", s.shown.Load())
			}
		})
	}
	t.Run("gone", func(t *testing.T) {
		closing := make(chan func() error, 1)
		s, client := startDropServer(t, required(), func(*tls.Conn) { _ = (<-closing)() })
		closing <- s.Close
		if e := exchangeError(t, client); e.Reason != oauth.Unreachable {
			t.Errorf("got %v, want Unreachable", e)
		}
	})
}

// TestDroppedConnectionThroughPolicy: the probe connects as the exchange does.
func TestDroppedConnectionThroughPolicy(t *testing.T) {
	certificate := selfSigned(t, oauthtest.Leaf{CommonName: "c"}).TLS()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	defer s.Close()
	var dials atomic.Int64
	client, err := oauth.NewClient(oauth.Config{
		ID: "c", TokenEndpoint: "https://127.0.0.1/t", RootCAs: poolOf(s), Method: oauth.TLSClientAuth, Certificate: &certificate,
		Authenticator: oauth.Certificate{NotAfter: time.Now().Add(time.Hour)},
		Addresses: oauth.AddressPolicy{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials.Add(1); address != "127.0.0.1:443" {
				t.Errorf("got address %s", address)
			}
			return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if e := exchangeError(t, client); e.Reason != oauth.CertificateRefused || dials.Load() != 2 {
		t.Errorf("got %v after %d connections, want CertificateRefused, 2", e, dials.Load())
	}
}
