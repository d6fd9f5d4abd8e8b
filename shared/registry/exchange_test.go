package registry

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
)

// authorizationServer returns a server that gives a token for the requests that want accepts.
// All others get invalid_client.
func authorizationServer(t *testing.T, want func(*http.Request) bool) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
			_, _ = fmt.Fprintf(w, `{"issuer": %q, "token_endpoint": %q}`, server.URL, server.URL+"/token")
			return
		}
		if err := r.ParseForm(); err != nil || r.URL.Path != "/token" || r.PostForm.Get("client_id") != "billing" || !want(r) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"error":"invalid_client"}`))
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"at","token_type":"Bearer","expires_in":60}`))
	})
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// exchange loads the document and gets a token with it, over TLS.
func exchange(t *testing.T, server *httptest.Server, document members) error {
	t.Helper()
	document["ca_certificates"] = keypairtest.CertificatePEM(server.Certificate())
	if document["issuer"] == nil {
		document["token_endpoint"] = server.URL + "/token"
	} else {
		document["token_endpoint"] = ""
	}
	client, err := load(t, native(document), func(cfg *Config) {
		cfg.Addresses = oauth.AddressPolicy{Private: true}
		cfg.Discover = nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.OAuth.Close()
	x := oauth.NewExchanger(oauth.ExchangerConfig{Now: keypairtest.Now})
	_, err = x.Exchange(t.Context(), client.OAuth, oauth.Request{})
	return err
}

func TestExchangeByMethod(t *testing.T) {
	m := testMaterial()
	basic := func(r *http.Request) string {
		text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Basic ")
		decoded, _ := base64.StdEncoding.DecodeString(text)
		return string(decoded)
	}
	tests := []struct {
		name     string
		document members
		want     func(*http.Request) bool
	}{
		{"client_secret_post", members{"client_secret": testSecret}, func(r *http.Request) bool {
			return r.PostForm.Get("client_secret") == testSecret
		}},
		{"client_secret_basic raw", members{"client_secret": testSecret, "token_endpoint_auth_method": "client_secret_basic", "basic_encoding": "raw"}, func(r *http.Request) bool {
			return basic(r) == "billing:"+testSecret && r.PostForm.Get("client_secret") == ""
		}},
		{"tls_client_auth", members{"certificate": m.PEM["rsa.chain.literal"], "private_key": m.PEM["rsa.pkcs1.literal"]}, func(r *http.Request) bool {
			return len(r.TLS.PeerCertificates) == 3 && m.RSA.PublicKey.Equal(r.TLS.PeerCertificates[0].PublicKey)
		}},
		{"tls_client_auth with a key store in one member", members{"certificate": m.PEM["rsa.chain"] + m.PEM["rsa.key"]}, func(r *http.Request) bool {
			return len(r.TLS.PeerCertificates) == 3 && m.RSA.PublicKey.Equal(r.TLS.PeerCertificates[0].PublicKey)
		}},
		// RFC 8705 section 3: the certificate does not authenticate the client, the token is
		// bound to it.
		{"client_secret_basic with a certificate", members{
			"client_secret": testSecret, "token_endpoint_auth_method": "client_secret_basic", "basic_encoding": "raw", "certificate_bound": "allow",
			"certificate": m.PEM["rsa.chain"], "private_key": m.PEM["rsa.key"],
		}, func(r *http.Request) bool {
			return len(r.TLS.PeerCertificates) == 3 && basic(r) == "billing:"+testSecret
		}},
		{"private_key_jwt", members{"private_key": m.PEM["ec384.key"], "kid": "k"}, func(r *http.Request) bool {
			return len(r.TLS.PeerCertificates) == 0 && goodAssertion(r.PostForm.Get("client_assertion"), &m.EC384.PublicKey, "ES384")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := exchange(t, authorizationServer(t, test.want), test.document); err != nil {
				t.Error(err)
			}
		})
	}
}

func goodAssertion(assertion string, key any, algorithm jose.SignatureAlgorithm) bool {
	signed, err := jose.ParseSignedCompact(assertion, []jose.SignatureAlgorithm{algorithm})
	if err != nil {
		return false
	}
	_, err = signed.Verify(key)
	return err == nil && signed.Signatures[0].Header.KeyID == "k"
}

func TestAssertionHasThumbprintOfCertificate(t *testing.T) {
	m := testMaterial()
	certificate := keypairtest.SelfSigned(m.EC256)
	sum := sha256.Sum256(certificate.Raw)
	server := authorizationServer(t, func(r *http.Request) bool {
		signed, err := jose.ParseSignedCompact(r.PostForm.Get("client_assertion"), []jose.SignatureAlgorithm{jose.ES256})
		return err == nil && signed.Signatures[0].Header.ExtraHeaders["x5t#S256"] == base64.RawURLEncoding.EncodeToString(sum[:])
	})
	err := exchange(t, server, members{
		"private_key": m.PEM["ec256.key"], "certificate": keypairtest.CertificatePEM(certificate), "token_endpoint_auth_method": "private_key_jwt",
	})
	if err != nil {
		t.Error(err)
	}
}

func TestExchangeAfterDiscovery(t *testing.T) {
	server := authorizationServer(t, func(r *http.Request) bool { return r.PostForm.Get("client_secret") == testSecret })
	if err := exchange(t, server, members{"client_secret": testSecret, "issuer": server.URL}); err != nil {
		t.Error(err)
	}
}

// A server may require the certificate on every connection.
func TestDiscoveryOffersCertificateOfMutualTLS(t *testing.T) {
	m := testMaterial()
	var offered bool
	server := httptest.NewUnstartedServer(nil)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		offered = len(r.TLS.PeerCertificates) > 0
		_, _ = fmt.Fprintf(w, `{"issuer": %q, "token_endpoint": %q, "mtls_endpoint_aliases": {"token_endpoint": %q}}`, server.URL, server.URL+"/token", server.URL+"/mtls/token")
	})
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	for method, bound := range map[string]string{"tls_client_auth": "", "private_key_jwt": "allow", "client_secret_basic": "allow"} {
		secrets := map[string]string{"client_secret_basic": "s"}
		client, err := load(t, native(members{
			"issuer": server.URL, "token_endpoint": "", "token_endpoint_auth_method": method, "ca_certificates": keypairtest.CertificatePEM(server.Certificate()),
			"certificate": m.PEM["rsa.chain"], "private_key": m.PEM["rsa.key"], "certificate_bound": bound, "client_secret": secrets[method],
		}), func(cfg *Config) { cfg.Addresses, cfg.Discover = oauth.AddressPolicy{Private: true}, nil })
		if err != nil {
			t.Fatal(err)
		}
		// The alias is for every client with a certificate in the handshake (RFC 8705 section 5).
		alias := strings.HasSuffix(client.OAuth.TokenEndpoint(), "/mtls/token")
		if want := method != "private_key_jwt"; offered != want || alias != want {
			t.Errorf("%s: got a certificate: %t, the alias: %t, want %t", method, offered, alias, want)
		}
	}
}

// TestNoSecretIsSentToAliasOnAnotherHost: metadata could otherwise redirect the secret of a client
// that has a certificate, too. The document itself may name another host.
func TestNoSecretIsSentToAliasOnAnotherHost(t *testing.T) {
	m := testMaterial()
	const issuer, token, same, other = "https://as.test:8443", "https://as.test:8443/token", "https://AS.test/mtls", "https://mtls.as.test/token"
	secret, header := members{"certificate_bound": "allow", "client_secret": testSecret}, members{"headers": members{"X-Api-Key": "key"}}
	for name, tt := range map[string]struct {
		method, alias string
		members       members
		want          string // the token endpoint; empty: a problem
	}{
		"certificate":               {"tls_client_auth", other, nil, other},
		"certificate and header":    {"tls_client_auth", other, header, ""},
		"header, same host":         {"tls_client_auth", same, header, same},
		"secret in body":            {"client_secret_post", other, secret, ""},
		"secret in header":          {"client_secret_basic", other, secret, ""},
		"secret, same host":         {"client_secret_post", same, secret, same},
		"assertion, no certificate": {"private_key_jwt", other, nil, token},
	} {
		document := members{"issuer": issuer, "token_endpoint": "", "token_endpoint_auth_method": tt.method, "certificate": m.PEM["rsa.chain"], "private_key": m.PEM["rsa.key"]}
		maps.Copy(document, tt.members)
		client, err := load(t, native(document), func(cfg *Config) {
			cfg.Discover = func(context.Context, *http.Client, string) (oauth.Metadata, error) {
				return oauth.Metadata{Issuer: issuer, TokenEndpoint: token, MutualTLSTokenEndpoint: tt.alias}, nil
			}
		})
		if tt.want == "" {
			if problems := problemsIn(t, err); !strings.Contains(problems, "issuer has a token_endpoint on another host") || strings.Contains(problems, "as.test") {
				t.Errorf("%s: got %s", name, problems)
			}
		} else if err != nil || client.OAuth.TokenEndpoint() != tt.want {
			t.Errorf("%s: got error %v, or another token endpoint than %s", name, err, tt.want)
		}
	}
}

// TestDiscoveryNamesRefusedCertificate: the document's certificate is at fault, and not what the
// client trusts.
func TestDiscoveryNamesRefusedCertificate(t *testing.T) {
	m := testMaterial()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error { return errors.New("unknown") }}
	server.StartTLS()
	defer server.Close()
	_, err := load(t, native(members{
		"issuer": server.URL, "token_endpoint": "", "ca_certificates": keypairtest.CertificatePEM(server.Certificate()),
		"certificate": m.PEM["rsa.chain"], "private_key": m.PEM["rsa.key"],
	}), func(cfg *Config) { cfg.Addresses, cfg.Discover = oauth.AddressPolicy{Private: true}, nil })
	if problems := problemsIn(t, err); !strings.Contains(problems, "refused the client certificate") {
		t.Errorf("got %s", problems)
	}
}
