package oauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
)

// A client authenticates by client_secret_post. A Secret must be exposed explicitly.
func ExampleExchanger_Exchange() {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("grant_type:", r.FormValue("grant_type"))
		fmt.Println("scope:", r.FormValue("scope"))
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"Bearer","expires_in":3600}`)
	}))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())

	client, err := oauth.NewClient(oauth.Config{
		ID:            "s6BhdRkqt3",
		TokenEndpoint: server.URL + "/oauth2/token",
		Method:        oauth.ClientSecretPost,
		Authenticator: oauth.SecretPost{Secret: oauth.NewSecret("7Fjfp0ZBr1KtDRbnfVdmIw")},
		RootCAs:       roots,
		Addresses:     oauth.AddressPolicy{Private: true}, // the server listens on loopback
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	exchanger := oauth.NewExchanger(oauth.ExchangerConfig{})
	token, err := exchanger.Exchange(context.Background(), client, oauth.Request{Ask: ask.Ask{Scope: []string{"read", "write"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("token:", token.AccessToken())
	fmt.Println("exposed:", token.AccessToken().Expose())
	fmt.Println("lifetime:", token.Expiry().Sub(token.Issued()))
	// Output:
	// grant_type: client_credentials
	// scope: read write
	// token: [redacted]
	// exposed: 2YotnFZFEjr1zCsicMWpAA
	// lifetime: 1h0m0s
}

// The caller decides by FailedLogon whether the credential may be sent again. Exchange does
// not retry a failed logon.
func ExampleError() {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client"}`)
	}))
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())

	client, err := oauth.NewClient(oauth.Config{
		ID:            "s6BhdRkqt3",
		TokenEndpoint: server.URL + "/oauth2/token",
		Method:        oauth.ClientSecretBasic,
		Authenticator: oauth.SecretBasic{ClientID: "s6BhdRkqt3", Secret: oauth.NewSecret("wrong")},
		RootCAs:       roots,
		Addresses:     oauth.AddressPolicy{Private: true},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	_, err = oauth.NewExchanger(oauth.ExchangerConfig{}).Exchange(context.Background(), client, oauth.Request{})
	var failure *oauth.Error
	if errors.As(err, &failure) {
		fmt.Println(failure)
		fmt.Println("failed logon:", failure.FailedLogon())
		fmt.Println("temporary:", failure.Temporary())
	}
	// Output:
	// the authorization server answered with an error, status 401, error invalid_client
	// failed logon: true
	// temporary: false
}

// A client authenticates by private_key_jwt. The server of package oauthtest verifies the
// signature and all claims of the assertion.
func ExampleAssertion() {
	server, err := oauthtest.Start(oauthtest.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	server.Register(oauthtest.Client{ID: "s6BhdRkqt3", Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{"k1": key.Public()}})

	signer, err := oauth.NewLocalSigner(key, "ES256")
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := oauth.NewClient(oauth.Config{
		ID:            "s6BhdRkqt3",
		TokenEndpoint: server.TokenEndpoint(),
		Method:        oauth.PrivateKeyJWT,
		Authenticator: oauth.Assertion{ClientID: "s6BhdRkqt3", Audience: server.Issuer(), Signer: signer, KeyID: "k1"},
		RootCAs:       server.CAPool(),
		Addresses:     oauth.AddressPolicy{Private: true},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	token, err := oauth.NewExchanger(oauth.ExchangerConfig{}).Exchange(context.Background(), client, oauth.Request{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("lifetime:", token.Expiry().Sub(token.Issued()))
	fmt.Println("exchanges:", server.Exchanges())
	// Output:
	// lifetime: 1h0m0s
	// exchanges: 1
}

// A client authenticates by its certificate (RFC 8705). The token is bound to it.
func ExampleCertificate() {
	server, err := oauthtest.Start(oauthtest.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	issued, err := server.CA().Issue(oauthtest.Leaf{CommonName: "demo"})
	if err != nil {
		fmt.Println(err)
		return
	}
	certificate := issued.TLS()
	server.Register(oauthtest.Client{ID: "s6BhdRkqt3", Methods: []string{"tls_client_auth"}, SubjectDN: certificate.Leaf.Subject.String()})

	client, err := oauth.NewClient(oauth.Config{
		ID:            "s6BhdRkqt3",
		TokenEndpoint: server.TokenEndpoint(),
		Method:        oauth.TLSClientAuth,
		Authenticator: oauth.Certificate{NotBefore: certificate.Leaf.NotBefore, NotAfter: certificate.Leaf.NotAfter},
		Certificate:   &certificate,
		RootCAs:       server.CAPool(),
		Addresses:     oauth.AddressPolicy{Private: true},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	token, err := oauth.NewExchanger(oauth.ExchangerConfig{}).Exchange(context.Background(), client, oauth.Request{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("bound:", token.CertificateBound())
	// Output:
	// bound: true
}
