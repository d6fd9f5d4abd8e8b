package registry

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
)

// keyring is a KMS with keys by alias. fail makes it refuse.
type keyring struct {
	keys map[string]crypto.Signer
	fail error
	// asked counts calls of Public, signed those of Sign, with the algorithm.
	asked  int
	signed []string
}

func (k *keyring) Public(_ context.Context, alias string) (crypto.PublicKey, error) {
	k.asked++
	key := k.keys[alias]
	switch {
	case k.fail != nil:
		return nil, k.fail
	case key == nil:
		return nil, ErrNoKey
	}
	return key.Public(), nil
}

func (k *keyring) Sign(_ context.Context, alias, algorithm string, digest []byte) ([]byte, error) {
	k.signed = append(k.signed, algorithm)
	var opts crypto.SignerOpts = crypto.SHA256
	switch algorithm {
	case "PS256":
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	case "ES384":
		opts = crypto.SHA384
	}
	return k.keys[alias].Sign(rand.Reader, digest, opts)
}

func newKeyring() *keyring {
	m := testMaterial()
	return &keyring{keys: map[string]crypto.Signer{
		"alias/token-vendor/billing": m.RSA, "alias/token-vendor/billing-next": m.EC384,
		"alias/token-vendor/payroll": m.RSA, "alias/billing": m.RSA,
	}}
}

// anyClient is a reader that knows every client by the same document.
func anyClient(document []byte) secret.Reader {
	return secret.ReaderFunc(func(context.Context, string, bool) (secret.Secret, error) {
		return secret.Secret{Text: document, Version: "v1"}, nil
	})
}

// loadAs loads a document as that of the client.
func loadAs(t *testing.T, name string, document []byte, change func(*Config)) (*Client, error) {
	t.Helper()
	cfg := Config{Secrets: anyClient(document), Now: keypairtest.Now, Discover: discoverExample}
	change(&cfg)
	return New(cfg).Load(t.Context(), name, Have{})
}

func problemsIn(t *testing.T, err error) string {
	t.Helper()
	var document *DocumentError
	if !errors.As(err, &document) {
		t.Fatalf("got %v", err)
	}
	return strings.Join(document.Problems, "; ")
}

// TestS32OwnKeyOnly: whoever writes one client's document cannot sign as another.
func TestS32OwnKeyOnly(t *testing.T) {
	own := "kms_key_id must be alias/token-vendor/ and the client's own name"
	for _, test := range []struct{ client, alias, want string }{
		{"billing", "alias/token-vendor/billing", ""},
		{"billing", "alias/token-vendor/billing-next", ""},
		{"billing", "alias/token-vendor/payroll", own},
		{"billing", "alias/token-vendor/Billing", own},
		{"billing", "alias/token-vendor/billing ", own},
		{"billing", "alias/token-vendor/billing-next-next", own},
		{"billing", "alias/token-vendor/", own},
		{"billing", "alias/billing", own},
		{"billing", "billing", own},
		{"billing", "1234abcd-12ab-34cd-56ef-1234567890ab", own},
		{"billing", "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab", own},
		{"billing", "arn:aws:kms:eu-central-1:111122223333:alias/token-vendor/billing", own},
		{"billing", "arn:aws:kms:eu-central-1:444455556666:alias/token-vendor/billing", own},
		{"payroll", "alias/token-vendor/billing", own},
		// billing's next key is not this client's.
		{"billing-next", "alias/token-vendor/billing-next", "kms_key_id cannot be used by a client whose name ends in -next"},
		{"billing-next", "alias/token-vendor/billing", "kms_key_id cannot be used by a client whose name ends in -next"},
	} {
		t.Run(test.client+" "+test.alias, func(t *testing.T) {
			keys := newKeyring()
			client, err := loadAs(t, test.client, native(members{"kms_key_id": test.alias}), func(c *Config) { c.Keys = keys })
			if test.want == "" {
				if err != nil || client.Method != oauth.PrivateKeyJWT {
					t.Errorf("got %v", err)
				}
				return
			}
			if got := problemsIn(t, err); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if keys.asked > 0 {
				t.Error("KMS was asked about a key of somebody else")
			}
		})
	}
}

// TestKeyInKMS: what must fit together does, and what does not is named.
func TestKeyInKMS(t *testing.T) {
	const alias, next = "alias/token-vendor/billing", "alias/token-vendor/billing-next"
	m := testMaterial()
	for _, test := range []struct {
		name    string
		members members
		fail    error
		want    string
	}{
		{"RSA", members{"kms_key_id": alias}, nil, ""},
		{"RSA PSS", members{"kms_key_id": alias, "alg": "PS256"}, nil, ""},
		{"EC", members{"kms_key_id": next}, nil, ""},
		{"EC named", members{"kms_key_id": next, "alg": "ES384"}, nil, ""},
		{"with its certificate", members{"kms_key_id": alias, "certificate": m.PEM["rsa.chain"]}, nil, ""},
		{"EC as RSA", members{"kms_key_id": next, "alg": "RS256"}, nil, "alg does not fit the key"},
		{"P-384 as P-256", members{"kms_key_id": next, "alg": "ES256"}, nil, "alg does not fit the key"},
		{"RSA as EC", members{"kms_key_id": alias, "alg": "ES256"}, nil, "alg does not fit the key"},
		{"another certificate", members{"kms_key_id": next, "certificate": m.PEM["rsa.chain"]}, nil, "certificate and kms_key_id do not belong together"},
		{"beside a key", members{"kms_key_id": alias, "private_key": m.PEM["ec256.key"]}, nil, "kms_key_id and private_key are both given"},
		{"for mutual TLS", members{"kms_key_id": alias, "certificate": m.PEM["rsa.chain"], "token_endpoint_auth_method": "tls_client_auth"}, nil, "kms_key_id is only for private_key_jwt"},
		{"for a secret", members{"kms_key_id": alias, "client_secret": "s", "token_endpoint_auth_method": "client_secret_post"}, nil, "kms_key_id is only for private_key_jwt"},
		{"no such key", members{"kms_key_id": alias}, ErrNoKey, "kms_key_id names no key that signs"},
	} {
		t.Run(test.name, func(t *testing.T) {
			keys := newKeyring()
			keys.fail = test.fail
			_, err := loadAs(t, "billing", native(test.members), func(c *Config) { c.Keys = keys })
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && !strings.HasPrefix(problemsIn(t, err), test.want):
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	for _, sentinel := range []error{secret.ErrDenied, secret.ErrUnavailable} {
		keys := newKeyring()
		keys.fail = fmt.Errorf("kms: %w", sentinel)
		if _, err := loadAs(t, "billing", native(members{"kms_key_id": alias}), func(c *Config) { c.Keys = keys }); !errors.Is(err, sentinel) {
			t.Errorf("got %v, want %v", err, sentinel)
		}
	}
}

// TestKMSExchange: the assertion that a server gets is signed by the key in KMS, by
// the algorithm of the document. That the alias has another key by now is noticed;
// that KMS does not answer passes.
func TestKMSExchange(t *testing.T) {
	m := testMaterial()
	for _, test := range []struct {
		alias, alg string
		public     crypto.PublicKey
	}{
		{"alias/token-vendor/billing", "RS256", &m.RSA.PublicKey},
		{"alias/token-vendor/billing", "PS256", &m.RSA.PublicKey},
		{"alias/token-vendor/billing-next", "ES384", &m.EC384.PublicKey},
	} {
		t.Run(test.alg, func(t *testing.T) {
			server := authorizationServer(t, func(r *http.Request) bool {
				return goodAssertion(r.PostForm.Get("client_assertion"), test.public, jose.SignatureAlgorithm(test.alg))
			})
			keys := newKeyring()
			cfg := Config{
				Secrets: anyClient(native(members{
					"kms_key_id": test.alias, "alg": test.alg, "kid": "k", "token_endpoint": server.URL + "/token",
					"ca_certificates": keypairtest.CertificatePEM(server.Certificate()),
				})),
				Now: keypairtest.Now, Keys: keys, Addresses: oauth.AddressPolicy{Private: true},
			}
			client, err := New(cfg).Load(t.Context(), "billing", Have{})
			if err != nil {
				t.Fatal(err)
			}
			defer client.OAuth.Close()
			x := oauth.NewExchanger(oauth.ExchangerConfig{Now: keypairtest.Now})
			if _, err := x.Exchange(t.Context(), client.OAuth, oauth.Request{}); err != nil {
				t.Fatal(err)
			}
			again, err := New(cfg).Load(t.Context(), "billing", Have{Client: client})
			if err != nil || again != client || !slices.Equal(keys.signed, []string{test.alg}) {
				t.Errorf("got %v, the same client %t, signed %v", err, again == client, keys.signed)
			}
			// KMS does not answer, and then the alias has another key.
			keys.fail = secret.ErrUnavailable
			if _, err = New(cfg).Load(t.Context(), "billing", Have{Client: client}); !errors.Is(err, secret.ErrUnavailable) {
				t.Errorf("without KMS: %v", err)
			}
			keys.fail = nil
			keys.keys[test.alias] = must(rsa.GenerateKey(rand.Reader, 2048))
			again, err = New(cfg).Load(t.Context(), "billing", Have{Client: client})
			switch {
			case test.alg == "ES384" && (err == nil || !strings.HasPrefix(problemsIn(t, err), "alg does not fit the key")):
				t.Errorf("with an RSA key: %v", err)
			case test.alg != "ES384" && (err != nil || again == client || again.Version == client.Version || !strings.HasPrefix(again.Version, "v1+")):
				t.Errorf("with another key: %v, %+v", err, again)
			}
		})
	}
}

// issuerFunc is a function as a [WebIdentity].
type issuerFunc func(r WebIdentityRequest) (oauth.Secret, error)

func (f issuerFunc) Issue(_ context.Context, r WebIdentityRequest) (oauth.Secret, error) { return f(r) }

// TestS33Audiences: a document may have the vendor prove itself to the operator's
// audiences only, as its own client, and keeps no credential.
func TestS33Audiences(t *testing.T) {
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
				t.Errorf("STS was asked %+v, want %+v", asked, want)
			}
		})
	}
}

// TestShadow: the second credential takes what it leaves open from the document.
func TestShadow(t *testing.T) {
	m := testMaterial()
	client, err := loadAs(t, "billing", native(members{"client_secret": testSecret, "shadow": members{
		"kms_key_id": "alias/token-vendor/billing", "kid": "k", "share": 0.25,
	}}), func(c *Config) { c.Keys = newKeyring() })
	if err != nil {
		t.Fatal(err)
	}
	if s := client.Shadow; client.Method != oauth.ClientSecretPost || s.Method != oauth.PrivateKeyJWT || s.Share != 0.25 || s.OAuth.TokenEndpoint() != client.OAuth.TokenEndpoint() {
		t.Errorf("got %+v", s)
	}
	client, err = loadAs(t, "billing", []byte(`{"service_key":{"clientid":"c","clientsecret":"s","url":"https://x.authentication.eu10.hana.ondemand.com","certurl":"https://x.authentication.cert.eu10.hana.ondemand.com","xsappname":"x"},"shadow":`+
		string(must(json.Marshal(members{"certificate": m.PEM["rsa.chain"], "private_key": m.PEM["rsa.pkcs1"]})))+`}`), func(*Config) {})
	if err != nil {
		t.Fatal(err)
	}
	if s := client.Shadow; s.Method != oauth.TLSClientAuth || s.Share != 1 || s.OAuth.TokenEndpoint() != "https://x.authentication.cert.eu10.hana.ondemand.com/oauth/token" {
		t.Errorf("got %+v at %s", s, s.OAuth.TokenEndpoint())
	}
	for want, shadow := range map[string]any{
		"shadow must be an object":                    "private_key_jwt",
		"shadow.client_secret is missing, and so is":  members{"share": 0.5},
		"shadow.scope is not known here":              members{"client_secret": "s", "scope": "a"},
		"shadow.shadow is not known here":             members{"client_secret": "s", "shadow": members{"client_secret": "s"}},
		"shadow.share must be a number above 0":       members{"client_secret": "s", "share": 0},
		"shadow.share must be a number above 0 and":   members{"client_secret": "s", "share": 1.5},
		"shadow.share must be a number above 0 and a": members{"client_secret": "s", "share": "1"},
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

// TestShadowElsewhere: a shadow whose server has moved is another one.
func TestShadowElsewhere(t *testing.T) {
	endpoint := "https://issuer.example/a"
	r := New(Config{
		Secrets: anyClient(native(members{"client_secret": testSecret, "shadow": members{"client_secret": "y", "issuer": "https://issuer.example"}})), Now: keypairtest.Now,
		Discover: func(context.Context, *x509.CertPool, *tls.Certificate, string) (oauth.Metadata, error) {
			return oauth.Metadata{TokenEndpoint: endpoint}, nil
		},
	})
	first, err := r.Load(t.Context(), "billing", Have{})
	if err != nil {
		t.Fatal(err)
	}
	if same, err := r.Load(t.Context(), "billing", Have{Client: first}); err != nil || same != first {
		t.Errorf("nothing has changed: %v", err)
	}
	endpoint = "https://issuer.example/b"
	second, err := r.Load(t.Context(), "billing", Have{Client: first})
	if err != nil || second.Shadow.OAuth.TokenEndpoint() != endpoint {
		t.Errorf("the shadow is still at the old endpoint: %v", err)
	}
}
