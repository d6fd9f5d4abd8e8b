package oauth_test

import (
	"crypto"
	"crypto/elliptic"
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

func TestSecretAuthenticatesClient(t *testing.T) {
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
				t.Errorf("got client_id %q, grant_type %q", last.Form.Get("client_id"), last.Form.Get("grant_type"))
			}
		})
	}
}

func TestCertificateAuthenticatesClient(t *testing.T) {
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
			wantBound(t, s, certificateConfig(name, oauth.TLSClientAuth, issued))
		})
		t.Run("self-signed "+name, func(t *testing.T) {
			issued := selfSigned(t, oauthtest.Leaf{CommonName: name, Key: key})
			s.Register(oauthtest.Client{ID: name, Methods: []string{"self_signed_tls_client_auth"}, Thumbprint: oauthtest.Thumbprint(issued.Chain[0])})
			wantBound(t, s, certificateConfig(name, oauth.SelfSignedTLSClientAuth, issued))
		})
	}
}

// A certificate that expired after its document was read is not sent, and the error names its dates.
func TestExpiredCertificateIsNotSent(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	from, until := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	cfg := certificateConfig("c", oauth.SelfSignedTLSClientAuth, selfSigned(t, oauthtest.Leaf{CommonName: "c", NotBefore: from, NotAfter: until}))
	failure := exchangeError(t, newClient(t, s, cfg))
	if failure.Reason != oauth.NoProof || failure.FailedLogon() || !strings.HasSuffix(failure.Error(), ": it is valid from 2026-01-02T03:04:05Z until 2026-02-03T04:05:06Z") {
		t.Errorf("got %v, want NoProof with the dates", failure)
	}
	if n := s.Connections(); n != 0 {
		t.Errorf("got %d connections, want 0", n)
	}
}

func wantBound(t *testing.T, s *oauthtest.Server, cfg oauth.Config) {
	t.Helper()
	token, err := exchanger().Exchange(t.Context(), newClient(t, s, cfg), oauth.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if !token.CertificateBound() {
		t.Error("CertificateBound is false")
	}
}

// TestClientsShareNoSession: a connection and a TLS session carry the identity of the
// certificate, so two clients of one host must not share them.
func TestClientsShareNoSession(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	x := exchanger()
	var issued [2]*oauthtest.Issued
	for i := range issued {
		issued[i] = selfSigned(t, oauthtest.Leaf{CommonName: fmt.Sprint(i)})
		id := fmt.Sprint("c", i)
		s.Register(oauthtest.Client{ID: id, Methods: []string{"self_signed_tls_client_auth"}, Thumbprint: oauthtest.Thumbprint(issued[i].Chain[0])})
		client := newClient(t, s, certificateConfig(id, oauth.SelfSignedTLSClientAuth, issued[i]))
		for range 2 {
			if _, err := x.Exchange(t.Context(), client, oauth.Request{}); err != nil {
				t.Fatal(err)
			}
			client.Close() // the next exchange needs another handshake
		}
	}
	for i, r := range s.Requests() {
		if r.Resumed || !r.Certificate.Equal(issued[i/2].Chain[0]) {
			t.Errorf("request %d: got resumed %v, or the certificate of the other client", i, r.Resumed)
		}
	}
}

// TestRetrySendsNewAssertion loses the answer to the first attempt. The server refuses an
// assertion that is sent again.
func TestRetrySendsNewAssertion(t *testing.T) {
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
		t.Errorf("got %d requests, %d failed logons, want 4, 0", n, failed)
	}
}
