package registry

import (
	"crypto"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"tokenvendor/shared/oauth"
)

// readmeDocuments are the documents of README.md, in their order.
var readmeDocuments = []struct {
	// about is in the text before the document.
	about    string
	endpoint string
	method   oauth.Method
}{
	{"SIGN_VERIFY", "https://tenant.accounts.ondemand.com/oauth2/token", oauth.PrivateKeyJWT},
	{"GetWebIdentityToken", "https://tenant.accounts.ondemand.com/oauth2/token", oauth.AWSWebIdentity},
	{"second credential before", "https://tenant.accounts.ondemand.com/oauth2/token", oauth.ClientSecretPost},
	{"SAP SuccessFactors", "https://tenant.accounts.ondemand.com/oauth2/token", oauth.ClientSecretPost},
	{"read as it is", "https://sub.authentication.eu10.hana.ondemand.com/oauth/token", oauth.ClientSecretPost},
	{"SAP S/4HANA Cloud", "https://my123456-api.s4hana.cloud.sap/sap/bc/sec/oauth2/token", oauth.ClientSecretBasic},
	{"SAP Ariba", "https://api.ariba.com/v2/oauth/token", oauth.ClientSecretBasic},
	{"Microsoft Entra ID", "https://login.microsoftonline.com/TENANT/oauth2/v2.0/token", oauth.ClientSecretPost},
	{"Okta", "https://example.okta.com/oauth2/v1/token", oauth.PrivateKeyJWT},
	{"Keycloak", "https://sso.example.com/realms/main/protocol/openid-connect/token", oauth.ClientSecretPost},
	{"Auth0", "https://example.eu.auth0.com/oauth/token", oauth.ClientSecretPost},
}

// TestReadmeDocumentsAreAccepted loads every JSON document of README.md as it stands there.
func TestReadmeDocumentsAreAccepted(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```json\n")
	if got, want := len(blocks)-1, len(readmeDocuments); got != want {
		t.Fatalf("README.md has %d JSON documents, readmeDocuments has %d", got, want)
	}
	for i, want := range readmeDocuments {
		t.Run(want.about, func(t *testing.T) {
			// What is before the document belongs to it from the end of the one before on.
			if before := blocks[i][strings.Index(blocks[i], "```\n")+1:]; !strings.Contains(before, want.about) {
				t.Errorf("the text before document %d does not contain %q", i, want.about)
			}
			document, _, closed := strings.Cut(blocks[i+1], "```\n")
			if !closed {
				t.Fatal("the block has no end")
			}
			checkReadmeDocument(t, document, want.endpoint, want.method)
		})
	}
}

func checkReadmeDocument(t *testing.T, document, endpoint string, method oauth.Method) {
	t.Helper()
	client, err := loadAs(t, "stock", []byte(document), func(c *Config) {
		c.Keys = &keyring{keys: map[string]crypto.Signer{"alias/token-vendor/stock": testMaterial().RSA}}
		c.Audiences = []string{"https://tenant.accounts.ondemand.com"}
		c.Identity = issuerFunc(func(WebIdentityRequest) (oauth.Secret, error) { return oauth.Secret{}, errors.New("not here") })
	})
	if err != nil {
		t.Fatal(err)
	}
	if client.OAuth.TokenEndpoint() != endpoint || client.Method != method {
		t.Errorf("got %s by %s, want %s by %s", client.OAuth.TokenEndpoint(), client.Method, endpoint, method)
	}
	if client.Shadow != nil && client.Shadow.Problem != "" {
		t.Errorf("shadow: %s", client.Shadow.Problem)
	}
	// A block has one document.
	if decoder := json.NewDecoder(strings.NewReader(document)); decoder.Decode(&struct{}{}) != nil || !errors.Is(decoder.Decode(&struct{}{}), io.EOF) {
		t.Error("the block is not one JSON document")
	}
}
