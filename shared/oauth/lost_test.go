package oauth_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

// losingServer closes the connection of a request without an answer where lose says so.
// request counts from 1.
func losingServer(t *testing.T, clientAuth tls.ClientAuthType, lose func(request int64, r *http.Request) bool) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var requests atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if lose(requests.Add(1), r) {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(rw, `{"access_token":"t","token_type":"Bearer","expires_in":60}`)
	}))
	s.TLS = &tls.Config{ClientAuth: clientAuth}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, &requests
}

// TestLostConnectionWithCertificate: a certificate that has obtained a token is sent again
// once after a lost connection. Another one is not, because some servers refuse a
// certificate in this way, also after a renegotiation, of which the first handshake shows
// nothing. If the server requested it in the handshake and accepts others, it is refused.
func TestLostConnectionWithCertificate(t *testing.T) {
	for name, tt := range map[string]struct {
		auth     tls.ClientAuthType
		r        oauth.Request
		lost     int64
		requests int64
		ok       bool
		refused  bool
	}{
		"proven":                        {tls.RequireAnyClientCert, oauth.Request{Proven: true}, 1, 2, true, false},
		"proven, lost twice":            {tls.RequireAnyClientCert, oauth.Request{Proven: true}, 2, 2, false, false},
		"proven, one attempt":           {tls.RequireAnyClientCert, oauth.Request{Proven: true, MaxAttempts: 1}, 1, 1, false, false},
		"not proven":                    {tls.RequireAnyClientCert, oauth.Request{}, 1, 1, false, true},
		"proven, none in the handshake": {tls.NoClientCert, oauth.Request{Proven: true}, 1, 2, true, false},
		"none in the handshake":         {tls.NoClientCert, oauth.Request{}, 1, 1, false, false},
	} {
		s, requests := losingServer(t, tt.auth, func(n int64, _ *http.Request) bool { return n <= tt.lost })
		_, err := exchanger().Exchange(t.Context(), certificateClient(t, s), tt.r)
		if (err == nil) != tt.ok || requests.Load() != tt.requests {
			t.Errorf("%s: got error %v, %d requests, want %d", name, err, requests.Load(), tt.requests)
		}
		if err != nil && failureOf(t, err).Temporary() == tt.refused {
			t.Errorf("%s: got %v, want a refused certificate: %v", name, err, tt.refused)
		}
	}
}

// TestIdleConnectionsAreDroppedAfterThaw: after a frozen function thaws, the connections of
// the pool may be dead. The timers did not run meanwhile, only the wall clock shows it.
func TestIdleConnectionsAreDroppedAfterThaw(t *testing.T) {
	var used sync.Map
	s, requests := losingServer(t, tls.NoClientCert, func(_ int64, r *http.Request) bool {
		_, again := used.LoadOrStore(r.RemoteAddr, true)
		return again
	})
	now := time.Now()
	x := oauth.NewExchanger(oauth.ExchangerConfig{Now: func() time.Time { return now }, Rand: func() float64 { return 0 }})
	client := clientOf(t, s, oauth.ClientSecretPost, oauth.SecretPost{}, nil)
	for _, tt := range []struct {
		idle     time.Duration
		requests int64
		ok       bool
	}{{0, 1, true}, {time.Minute, 2, true}, {9 * time.Second, 3, false}, {10 * time.Second, 4, true}} {
		now = now.Add(tt.idle)
		if _, err := x.Exchange(t.Context(), client, oauth.Request{MaxAttempts: 1}); (err == nil) != tt.ok || requests.Load() != tt.requests {
			t.Errorf("idle for %v: got error %v, %d requests, want %d", tt.idle, err, requests.Load(), tt.requests)
		}
	}
	// Within the timeout, a dead connection costs one attempt, with a certificate too.
	certificate := selfSigned(t, oauthtest.Leaf{CommonName: "c"}).TLS()
	again := clientOf(t, s, oauth.TLSClientAuth, oauth.Certificate{NotAfter: now.Add(time.Hour)}, &certificate)
	for range 2 {
		if _, err := exchanger().Exchange(t.Context(), again, oauth.Request{}); err != nil {
			t.Error(err)
		}
	}
	if requests.Load() != 7 {
		t.Errorf("got %d requests, want 7", requests.Load())
	}
}

// TestCertificateIsNotSentAgainAfterSilence: a server may have refused the certificate, and
// not say so before the handshake times out.
func TestCertificateIsNotSentAgainAfterSilence(t *testing.T) {
	var shown atomic.Int64
	issued := selfSigned(t, oauthtest.Leaf{
		CommonName: "as", Hosts: []string{"as.test"}, NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), // synctest begins in 2000
	})
	roots, certificate := x509.NewCertPool(), issued.TLS()
	roots.AddCert(issued.Chain[0])
	synctest.Test(t, func(t *testing.T) {
		config := &tls.Config{
			Certificates: []tls.Certificate{certificate}, MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert,
			VerifyConnection: func(tls.ConnectionState) error {
				shown.Add(1)
				time.Sleep(time.Minute)
				return nil
			},
		}
		client, err := oauth.NewClient(oauth.Config{
			ID: "c", TokenEndpoint: "https://as.test/t", RootCAs: roots, Method: oauth.TLSClientAuth, Certificate: &certificate,
			Authenticator: oauth.Certificate{NotAfter: time.Now().AddDate(100, 0, 0)},
			Addresses: oauth.AddressPolicy{Dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() { _ = tls.Server(theirs, config).Handshake(); _ = theirs.Close() }()
				return ours, nil
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if e := exchangeError(t, client); e.Reason != oauth.Unreachable || shown.Load() != 1 {
			t.Errorf("got %v, the certificate was sent %d times, want Unreachable, 1", e, shown.Load())
		}
		time.Sleep(2 * time.Minute)
	})
}

// TestProbeEndsWithItsContext: the server drops the connection that showed the certificate, and is
// silent on the next one, which asks whether it accepts others.
func TestProbeEndsWithItsContext(t *testing.T) {
	issued := selfSigned(t, oauthtest.Leaf{
		CommonName: "as", Hosts: []string{"as.test"}, NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), // synctest begins in 2000
	})
	roots, certificate := x509.NewCertPool(), issued.TLS()
	roots.AddCert(issued.Chain[0])
	const probeTime = 100 * time.Millisecond // less than the client waits for the alert
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		dropped := false
		config := &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert}
		client, err := oauth.NewClient(oauth.Config{
			ID: "c", TokenEndpoint: "https://as.test/t", RootCAs: roots, Method: oauth.TLSClientAuth, Certificate: &certificate,
			Authenticator: oauth.Certificate{NotAfter: time.Now().AddDate(100, 0, 0)},
			Addresses: oauth.AddressPolicy{Dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				server := tls.Server(theirs, config)
				drop := !dropped
				dropped = true
				go func() {
					defer func() { _ = theirs.Close() }()
					if server.Handshake(); drop {
						return
					}
					time.Sleep(probeTime)
					cancel()
					_, _ = server.Read(make([]byte, 1)) // until the client ends the connection
				}()
				return ours, nil
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if _, err := exchanger().Exchange(ctx, client, oauth.Request{}); err == nil || time.Since(begin) != probeTime {
			t.Errorf("got error %v after %v, want one when the context ends", err, time.Since(begin))
		}
		client.Close()
	})
}
