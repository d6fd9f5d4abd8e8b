package oauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

// awkward contains every character that one of the encodings of a secret changes.
const awkward = `: / + % space & = ü "\$'%41`

// private allows servers on loopback.
func private() oauth.AddressPolicy { return oauth.AddressPolicy{Private: true} }

func exchanger() *oauth.Exchanger {
	return oauth.NewExchanger(oauth.ExchangerConfig{UserAgent: "token-vendor/test", Rand: func() float64 { return 0 }})
}

// httpClient returns an HTTP client that trusts only roots.
func httpClient(addresses oauth.AddressPolicy, roots *x509.CertPool) *http.Client {
	pool := func([]*x509.Certificate) *x509.CertPool { return roots }
	return oauth.NewConnections(addresses, pool).To("https://as.test", oauth.Trust{Roots: []*x509.Certificate{{}}}).HTTP(time.Now())
}

func newClient(t *testing.T, s *oauthtest.Server, cfg oauth.Config) *oauth.Client {
	t.Helper()
	if cfg.TokenEndpoint == "" {
		cfg.TokenEndpoint = s.TokenEndpoint()
	}
	if cfg.RootCAs == nil {
		cfg.RootCAs = s.CAPool()
	}
	cfg.Addresses = private()
	client, err := oauth.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// secretClient returns a client that authenticates as "c" with the secret "good".
func secretClient(t *testing.T, s *oauthtest.Server) *oauth.Client {
	t.Helper()
	return newClient(t, s, oauth.Config{ID: "c", Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("good")}})
}

// secretServer returns a server at which the client of [secretClient] is registered.
func secretServer(t *testing.T) *oauthtest.Server {
	t.Helper()
	s := oauthtest.NewServer(t, oauthtest.Config{})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	return s
}

// certificateConfig configures a client that authenticates by certificate.
func certificateConfig(id string, method oauth.Method, issued *oauthtest.Issued) oauth.Config {
	certificate := issued.TLS()
	return oauth.Config{
		ID: id, Method: method, Certificate: &certificate,
		Authenticator: oauth.Certificate{NotBefore: certificate.Leaf.NotBefore, NotAfter: certificate.Leaf.NotAfter},
	}
}

func selfSigned(t *testing.T, leaf oauthtest.Leaf) *oauthtest.Issued {
	t.Helper()
	issued, err := oauthtest.SelfSigned(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func failureOf(t *testing.T, err error) *oauth.Error {
	t.Helper()
	var failure *oauth.Error
	if !errors.As(err, &failure) {
		t.Fatalf("got error %v (%T), want an *oauth.Error", err, err)
	}
	return failure
}

// exchangeError makes an exchange that must fail.
func exchangeError(t *testing.T, c *oauth.Client) *oauth.Error {
	t.Helper()
	_, err := exchanger().Exchange(t.Context(), c, oauth.Request{})
	return failureOf(t, err)
}

// rsaKey is shared, because generating an RSA key is slow.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
