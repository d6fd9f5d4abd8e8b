package awsapi

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	localsts "tokenvendor/scripts/local/sts"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

func newIdentity(t *testing.T) (*WebIdentity, *localsts.Server) {
	t.Helper()
	endpoint, err := localsts.New(localsts.Config{Region: "eu-central-1", Account: "123456789012", Role: "token"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(endpoint)
	t.Cleanup(server.Close)
	return NewWebIdentity(configOf(t, "AWS_ENDPOINT_URL_STS", server.URL)), endpoint
}

// TestWebIdentityExchange: a document without a credential gets a token from a server
// that trusts STS, and only as its own client.
func TestWebIdentityExchange(t *testing.T) {
	identity, endpoint := newIdentity(t)
	server := oauthtest.NewServer(t, oauthtest.Config{})
	for _, name := range []string{"billing", "payroll"} {
		server.Register(oauthtest.Client{ID: name, Methods: []string{"private_key_jwt"}, Trust: &oauthtest.Trust{
			Issuer: endpoint.Issuer(), Subject: endpoint.Subject(), Keys: endpoint.Keys(), Tags: map[string]string{"token-vendor-client": name},
		}})
	}
	// vend loads the document of client and exchanges as clientID.
	vend := func(client, clientID, alg, audience string) error {
		document := `{"token_endpoint":"` + server.TokenEndpoint() + `","client_id":"` + clientID + `","token_endpoint_auth_method":"aws_web_identity","alg":"` + alg +
			`","assertion_audience":"` + audience + `","ca_certificates":"` + strings.ReplaceAll(string(server.CAPEM()), "\n", `\n`) + `"}`
		r := registry.New(registry.Config{
			Secrets: secret.ReaderFunc(func(context.Context, string, bool) (secret.Secret, error) {
				return secret.Secret{Text: []byte(document), Version: "v1"}, nil
			}), Identity: identity, Audiences: []string{server.Issuer(), "urn:other"},
			Addresses: oauth.AddressPolicy{Private: true},
		})
		loaded, err := r.Load(t.Context(), client, registry.Have{})
		if err != nil {
			t.Fatal(err)
		}
		defer loaded.OAuth.Close()
		_, err = oauth.NewExchanger(oauth.ExchangerConfig{}).Exchange(t.Context(), loaded.OAuth, oauth.Request{})
		return err
	}
	for _, alg := range []string{"RS256", "ES384"} {
		if err := vend("billing", "billing", alg, server.Issuer()); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
	for what, err := range map[string]error{
		"S33 the document of another client": vend("billing", "payroll", "RS256", server.Issuer()),
		"another audience":                   vend("billing", "billing", "RS256", "urn:other"),
	} {
		var failure *oauth.Error
		if !errors.As(err, &failure) || !failure.FailedLogon() {
			t.Errorf("%s: got %v", what, err)
		}
	}
	for _, issued := range endpoint.Issued() {
		if issued.Duration != time.Minute || len(issued.Audience) != 1 || issued.Tags["token-vendor-client"] != "billing" || len(issued.Tags) != 1 {
			t.Errorf("STS was asked for %+v", issued)
		}
	}
}

// TestR19WebIdentityFailures: what an operator must do stands in the error, and what
// passes away is marked.
func TestR19WebIdentityFailures(t *testing.T) {
	identity, endpoint := newIdentity(t)
	issue := func() error {
		_, err := identity.Issue(t.Context(), registry.WebIdentityRequest{Client: "billing", Audience: "https://as.example", Algorithm: "RS256", Lifetime: time.Minute})
		return err
	}
	if err := issue(); err != nil {
		t.Fatal(err)
	}
	endpoint.Disable(true)
	if err := issue(); err == nil || !strings.Contains(err.Error(), "outbound identity federation is not enabled") || errors.Is(err, oauth.ErrTemporary) {
		t.Errorf("disabled: %v", err)
	}
	endpoint.Disable(false)
	for code, temporary := range map[string]bool{"AccessDenied": false, "ValidationError": false, "JWTPayloadSizeExceededException": false, "Throttling": true, "InternalFailure": true} {
		endpoint.Fail(10, code)
		err := issue()
		if err == nil || errors.Is(err, oauth.ErrTemporary) != temporary {
			t.Errorf("%s: %v", code, err)
		}
		checkText(t, err)
		endpoint.Fail(0, "")
	}
	identity.now = func() time.Time { return time.Now().Add(time.Hour) }
	if err := issue(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v", err)
	}
}

// TestTokensOfSTS: what is no JWT is not sent on, where it would count as a failed logon.
func TestTokensOfSTS(t *testing.T) {
	for _, text := range []string{"", "x", "a.b", "a..c", "a.b.c.d", "a.b\nc.d", "a.b.c=", strings.Repeat("A", 16<<10) + ".b.c"} {
		if isJWT(text) {
			t.Errorf("%.40q passes", text)
		}
	}
	if !isJWT("eyJ-_.e30.c2ln") {
		t.Error("a JWT does not pass")
	}
}
