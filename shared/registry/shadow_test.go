package registry

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
)

func TestShadowInheritsFromDocument(t *testing.T) {
	client, err := loadAs(t, "billing", native(members{"client_secret": testSecret, "shadow": members{
		"kms_key_id": "alias/token-vendor/billing", "kid": "k", "share": 0.25,
	}}), func(c *Config) { c.Keys = newKeyring() })
	if err != nil {
		t.Fatal(err)
	}
	if s := client.Shadow; client.Method != oauth.ClientSecretPost || s.Method != oauth.PrivateKeyJWT || s.Share != 0.25 || s.OAuth.TokenEndpoint() != client.OAuth.TokenEndpoint() {
		t.Errorf("got %+v, want private_key_jwt at the same endpoint, share 0.25", s)
	}
}

func TestShadowOfServiceKeyInheritsItsEndpoints(t *testing.T) {
	m := testMaterial()
	client, err := loadAs(t, "billing", []byte(`{"service_key":{"clientid":"c","clientsecret":"s","url":"https://x.authentication.eu10.hana.ondemand.com","certurl":"https://x.authentication.cert.eu10.hana.ondemand.com","xsappname":"x"},"shadow":`+
		string(must(json.Marshal(members{"certificate": m.PEM["rsa.chain"], "private_key": m.PEM["rsa.pkcs1"]})))+`}`), func(*Config) {})
	if err != nil {
		t.Fatal(err)
	}
	if s := client.Shadow; s.Method != oauth.TLSClientAuth || s.Share != 1 || s.OAuth.TokenEndpoint() != "https://x.authentication.cert.eu10.hana.ondemand.com/oauth/token" {
		t.Errorf("got %+v at %s, want tls_client_auth at certurl, share 1", s, s.OAuth.TokenEndpoint())
	}
}

func TestShadowProblems(t *testing.T) {
	m := testMaterial()
	for want, shadow := range map[string]any{
		"shadow must be an object":                    "private_key_jwt",
		"shadow.client_secret is missing, and so is":  members{"share": 0.5},
		"shadow.scope is not known here":              members{"client_secret": "s", "scope": "a"},
		"shadow.shadow is not known here":             members{"client_secret": "s", "shadow": members{"client_secret": "s"}},
		"shadow.share must be a number above 0":       members{"client_secret": "s", "share": 0},
		"shadow.share must be a number above 0 and":   members{"client_secret": "s", "share": 1.5},
		"shadow.share must be a number above 0 and a": members{"client_secret": "s", "share": "NaN"},
		"shadow.kms_key_id must be":                   members{"kms_key_id": "alias/token-vendor/payroll"},
		"shadow.token_endpoint is not usable":         members{"client_secret": "s", "token_endpoint": "http://as.example.com/"},
		"shadow.alg does not fit the key":             members{"private_key": m.PEM["ec256.key"], "alg": "RS256"},
	} {
		_, err := loadAs(t, "billing", native(members{"client_secret": testSecret, "shadow": shadow}), func(c *Config) { c.Keys = newKeyring() })
		if got := problemsIn(t, err); !strings.HasPrefix(got, want) || strings.Contains(got, ";") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The certificate of a shadow ends at a time when nobody looks at the document.
func TestExpiredCertificateOfShadow(t *testing.T) {
	m := testMaterial()
	client, err := load(t, native(members{"client_secret": testSecret, "shadow": members{
		"certificate": m.PEM["expired"], "private_key": m.PEM["rsa.key"], "issuer": "https://issuer.example",
	}}), func(cfg *Config) {
		cfg.Discover = func(context.Context, *http.Client, string) (oauth.Metadata, error) {
			t.Error("the expired certificate was used")
			return oauth.Metadata{}, oauth.ErrDiscovery
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := client.Shadow; s.Problem != "shadow.certificate has expired: it was valid until 2027-01-15T11:59:59Z" || s.OAuth != nil || s.Credential != "" {
		t.Errorf("got %+v, want a shadow with an expired certificate", s)
	}
}

func TestLoadReturnsNewClientWhenEndpointOfShadowChanges(t *testing.T) {
	endpoint := "https://issuer.example/a"
	r := New(Config{
		Secrets: anyClient(native(members{"client_secret": testSecret, "shadow": members{"client_secret": "y", "issuer": "https://issuer.example"}})), Now: keypairtest.Now,
		Discover: func(context.Context, *http.Client, string) (oauth.Metadata, error) {
			return oauth.Metadata{TokenEndpoint: endpoint}, nil
		},
	})
	first, _, err := r.Load(t.Context(), "billing", Have{})
	if err != nil {
		t.Fatal(err)
	}
	if same, _, err := r.Load(t.Context(), "billing", Have{Client: first}); err != nil || same != first {
		t.Errorf("nothing has changed: got %v, want the same client", err)
	}
	endpoint = "https://issuer.example/b"
	second, _, err := r.Load(t.Context(), "billing", Have{Client: first})
	if err != nil || second.Shadow.OAuth.TokenEndpoint() != endpoint {
		t.Errorf("got %+v, %v, want the shadow at %s", second, err, endpoint)
	}
}

// TestSilentIssuerOfShadow: a client waits for its shadow for a short time only.
func TestSilentIssuerOfShadow(t *testing.T) {
	document := native(members{"client_secret": testSecret, "shadow": members{"issuer": "https://silent.test", "client_secret": testSecret}})
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		client, err := load(t, document, func(cfg *Config) {
			cfg.Discover = func(ctx context.Context, _ *http.Client, _ string) (oauth.Metadata, error) {
				<-ctx.Done()
				return oauth.Metadata{}, oauth.ErrDiscovery
			}
		})
		if err != nil || client.Shadow.Problem == "" || time.Since(begin) != shadowTime {
			t.Errorf("got error %v after %v, want a client after %v", err, time.Since(begin), shadowTime)
		}
	})
}
