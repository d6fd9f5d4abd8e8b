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

func newWebIdentity(t *testing.T) (*WebIdentity, *localsts.Server) {
	t.Helper()
	endpoint, err := localsts.New(localsts.Config{Region: "eu-central-1", Account: "123456789012", Role: "token"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(endpoint)
	t.Cleanup(server.Close)
	return NewWebIdentity(configOf(t, "AWS_ENDPOINT_URL_STS", server.URL)), endpoint
}

// A document of aws_web_identity gets a token from a server that trusts STS, and only as its
// own client.
func TestWebIdentityExchange(t *testing.T) {
	identity, endpoint := newWebIdentity(t)
	server := oauthtest.NewServer(t, oauthtest.Config{})
	for _, name := range []string{"billing", "payroll"} {
		server.Register(oauthtest.Client{ID: name, Methods: []string{"private_key_jwt"}, Trust: &oauthtest.Trust{
			Issuer: endpoint.Issuer(), Subject: endpoint.Subject(), Keys: endpoint.Keys(), Tags: map[string]string{"token-vendor-client": name},
		}})
	}
	// exchange loads the document of client and authenticates as clientID.
	exchange := func(client, clientID, alg, audience string) error {
		document := `{"token_endpoint":"` + server.TokenEndpoint() + `","client_id":"` + clientID + `","token_endpoint_auth_method":"aws_web_identity","alg":"` + alg +
			`","assertion_audience":"` + audience + `","ca_certificates":"` + strings.ReplaceAll(string(server.CAPEM()), "\n", `\n`) + `"}`
		r := registry.New(registry.Config{
			Secrets: secret.ReaderFunc(func(context.Context, string, secret.Want) (secret.Secret, error) {
				return secret.Secret{Text: []byte(document), Version: "v1"}, nil
			}), Identity: identity, Audiences: []string{server.Issuer(), "urn:other"},
			Addresses: oauth.AddressPolicy{Private: true},
		})
		loaded, _, err := r.Load(t.Context(), client, registry.Have{})
		if err != nil {
			t.Fatal(err)
		}
		defer loaded.OAuth.Close()
		_, err = oauth.NewExchanger(oauth.ExchangerConfig{}).Exchange(t.Context(), loaded.OAuth, oauth.Request{})
		return err
	}
	for _, alg := range []string{"RS256", "ES384"} {
		if err := exchange("billing", "billing", alg, server.Issuer()); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
	for what, err := range map[string]error{
		"the document of another client": exchange("billing", "payroll", "RS256", server.Issuer()),
		"another audience":               exchange("billing", "billing", "RS256", "urn:other"),
	} {
		var failure *oauth.Error
		if !errors.As(err, &failure) || !failure.FailedLogon() {
			t.Errorf("%s: got %v, want a failed logon", what, err)
		}
	}
	for _, issued := range endpoint.Issued() {
		if issued.Duration != time.Minute || len(issued.Audience) != 1 || issued.Tags["token-vendor-client"] != "billing" || len(issued.Tags) != 1 {
			t.Errorf("got the request %+v, want one audience, a minute and the tag billing", issued)
		}
	}
}

// An error says what an operator must do, or wraps ErrTemporary.
func TestIssueErrors(t *testing.T) {
	identity, endpoint := newWebIdentity(t)
	issue := func() error {
		_, err := identity.Issue(t.Context(), registry.WebIdentityRequest{Client: "billing", Audience: "https://as.example", Algorithm: "RS256", Lifetime: time.Minute})
		return err
	}
	if err := issue(); err != nil {
		t.Fatal(err)
	}
	endpoint.Disable(true)
	if err := issue(); err == nil || !strings.Contains(err.Error(), "outbound identity federation is not enabled") || errors.Is(err, oauth.ErrTemporary) {
		t.Errorf("disabled: got %v, want an error that is not temporary", err)
	}
	endpoint.Disable(false)
	for code, temporary := range map[string]bool{"AccessDenied": false, "ValidationError": false, "JWTPayloadSizeExceededException": false, "Throttling": true, "InternalFailure": true} {
		endpoint.Fail(10, code)
		err := issue()
		if err == nil || errors.Is(err, oauth.ErrTemporary) != temporary {
			t.Errorf("%s: got %v, want a temporary error: %t", code, err, temporary)
		}
		checkText(t, err)
		endpoint.Fail(0, "")
	}
	identity.now = func() time.Time { return time.Now().Add(time.Hour) }
	if err := issue(); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: got %v", err)
	}
}

func TestIsJWT(t *testing.T) {
	for _, text := range []string{"", "x", "a.b", "a..c", "a.b.c.d", "a.b\nc.d", "a.b.c=", strings.Repeat("A", 16<<10) + ".b.c"} {
		if isJWT(text) {
			t.Errorf("%.40q: got true, want false", text)
		}
	}
	if !isJWT("eyJ-_.e30.c2ln") {
		t.Error("got false for a JWT, want true")
	}
}
