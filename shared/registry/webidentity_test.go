package registry

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
)

// issuerFunc implements [WebIdentity].
type issuerFunc func(r WebIdentityRequest) (oauth.Secret, error)

func (f issuerFunc) Issue(_ context.Context, r WebIdentityRequest) (oauth.Secret, error) { return f(r) }

// A document of aws_web_identity gets a token for the operator's audiences only and for its
// own client only. It must hold no credential.
func TestWebIdentityDocuments(t *testing.T) {
	allowed := []string{"https://as.example.com", "https://as.example.com/token", "urn:sap"}
	for _, test := range []struct {
		name      string
		members   members
		audiences []string
		want      string
		request   WebIdentityRequest
	}{
		{"endpoint", nil, allowed, "", WebIdentityRequest{Audience: "https://as.example.com/token"}},
		{"issuer", members{"issuer": "https://as.example.com"}, allowed, "", WebIdentityRequest{Audience: "https://as.example.com"}},
		{"named", members{"assertion_audience": "urn:sap", "alg": "ES384", "assertion_lifetime": 300}, allowed, "", WebIdentityRequest{Audience: "urn:sap", Algorithm: "ES384", Lifetime: 5 * time.Minute}},
		{"another audience", members{"assertion_audience": "urn:other"}, allowed, "assertion_audience is not one that the operator allows", WebIdentityRequest{}},
		{"another case", members{"assertion_audience": "URN:SAP"}, allowed, "assertion_audience is not one that the operator allows", WebIdentityRequest{}},
		{"none allowed", members{"assertion_audience": "urn:sap"}, nil, "token_endpoint_auth_method is aws_web_identity, for which the operator allows no audience", WebIdentityRequest{}},
		{"algorithm", members{"alg": "PS256"}, allowed, "alg must be RS256 or ES384", WebIdentityRequest{}},
		{"short", members{"assertion_lifetime": 59}, allowed, "assertion_lifetime must be 60 to 300 seconds", WebIdentityRequest{}},
		{"ten minutes", members{"assertion_lifetime": 600}, allowed, "assertion_lifetime must be 60 to 300 seconds", WebIdentityRequest{}},
		{"another server", members{"token_endpoint": "https://attacker.example/token", "assertion_audience": "https://as.example.com"}, allowed, "assertion_audience is a URL with another host", WebIdentityRequest{}},
		{"another server's port", members{"token_endpoint": "https://as.example.com:444/token", "assertion_audience": "https://as.example.com"}, allowed, "assertion_audience is a URL with another host", WebIdentityRequest{}},
		{"long", members{"assertion_lifetime": 3601}, allowed, "assertion_lifetime must be", WebIdentityRequest{}},
		{"a secret", members{"client_secret": testSecret}, allowed, "client_secret must not be kept beside aws_web_identity", WebIdentityRequest{}},
		{"a key in KMS", members{"kms_key_id": "alias/token-vendor/billing"}, allowed, "kms_key_id must not be kept beside aws_web_identity", WebIdentityRequest{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			document := members{"token_endpoint_auth_method": "aws_web_identity"}
			for name, value := range test.members {
				document[name] = value
			}
			var asked []WebIdentityRequest
			client, err := loadAs(t, "billing", native(document), func(c *Config) {
				c.Keys, c.Audiences = newKeyring(), test.audiences
				c.Identity = issuerFunc(func(r WebIdentityRequest) (oauth.Secret, error) {
					asked = append(asked, r)
					return oauth.NewSecret(""), errors.New("not here")
				})
			})
			if test.want != "" {
				if got := problemsIn(t, err); !strings.HasPrefix(got, test.want) {
					t.Errorf("got %q, want %q", got, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _ = oauth.NewExchanger(oauth.ExchangerConfig{Now: keypairtest.Now}).Exchange(t.Context(), client.OAuth, oauth.Request{})
			want := test.request
			want.Client, want.Algorithm, want.Lifetime = "billing", cmp.Or(want.Algorithm, "RS256"), cmp.Or(want.Lifetime, time.Minute)
			if !slices.Equal(asked, []WebIdentityRequest{want}) {
				t.Errorf("got the requests %+v, want %+v", asked, want)
			}
		})
	}
}
