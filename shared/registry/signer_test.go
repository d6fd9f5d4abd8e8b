package registry

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
)

// keyring implements [SigningKeys] with keys by alias. If fail is set, Public returns it.
type keyring struct {
	keys map[string]crypto.Signer
	fail error
	// algorithms is what Public returns beside the key.
	algorithms []string
	// asked counts the calls of Public; signed holds the algorithm of each call of Sign.
	asked  int
	signed []string
}

func (k *keyring) Public(_ context.Context, alias string) (crypto.PublicKey, []string, error) {
	k.asked++
	key := k.keys[alias]
	switch {
	case k.fail != nil:
		return nil, nil, k.fail
	case key == nil:
		return nil, nil, ErrNoKey
	}
	return key.Public(), k.algorithms, nil
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

// The author of one client's document must not be able to sign as another client.
func TestKeyAliasMustBeOwn(t *testing.T) {
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
		// The alias of billing's next key is not this client's.
		{"billing-next", "alias/token-vendor/billing-next", "kms_key_id cannot be used by a client whose name ends in -next"},
		{"billing-next", "alias/token-vendor/billing", "kms_key_id cannot be used by a client whose name ends in -next"},
	} {
		t.Run(test.client+" "+test.alias, func(t *testing.T) {
			keys := newKeyring()
			client, err := loadAs(t, test.client, native(members{"kms_key_id": test.alias}), func(c *Config) { c.Keys = keys })
			if test.want == "" {
				if err != nil || client.Method != oauth.PrivateKeyJWT {
					t.Errorf("got %+v, %v, want private_key_jwt", client, err)
				}
				return
			}
			if got := problemsIn(t, err); !strings.HasPrefix(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if keys.asked > 0 {
				t.Errorf("got %d calls of KMS for a refused alias, want 0", keys.asked)
			}
		})
	}
}

func TestKeyAliasBesideOtherMembers(t *testing.T) {
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
				t.Errorf("got %v, want no error", err)
			case test.want != "" && !strings.HasPrefix(problemsIn(t, err), test.want):
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestLoadWrapsErrorOfKMS(t *testing.T) {
	for _, sentinel := range []error{secret.ErrDenied, secret.ErrUnavailable} {
		keys := newKeyring()
		keys.fail = fmt.Errorf("kms: %w", sentinel)
		if _, err := loadAs(t, "billing", native(members{"kms_key_id": "alias/token-vendor/billing"}), func(c *Config) { c.Keys = keys }); !errors.Is(err, sentinel) {
			t.Errorf("got %v, want %v", err, sentinel)
		}
	}
}

// The authorization server gets an assertion that the key in KMS signed by the document's
// algorithm. A later load returns the same client, except if KMS does not answer or the
// alias refers to another key.
func TestExchangeWithKeyInKMS(t *testing.T) {
	m := testMaterial()
	for _, test := range []struct {
		alias, alg string
		public     crypto.PublicKey
		// otherKey is the problem of an RSA key behind the same alias; empty if there is none.
		otherKey string
	}{
		{"alias/token-vendor/billing", "RS256", &m.RSA.PublicKey, ""},
		{"alias/token-vendor/billing", "PS256", &m.RSA.PublicKey, ""},
		{"alias/token-vendor/billing-next", "ES384", &m.EC384.PublicKey, "alg does not fit the key"},
	} {
		t.Run(test.alg, func(t *testing.T) {
			server := authorizationServer(t, func(r *http.Request) bool {
				return goodAssertion(r.PostForm.Get("client_assertion"), test.public, jose.SignatureAlgorithm(test.alg))
			})
			keys := newKeyring()
			r := New(Config{
				Secrets: anyClient(native(members{
					"kms_key_id": test.alias, "alg": test.alg, "kid": "k", "token_endpoint": server.URL + "/token",
					"ca_certificates": keypairtest.CertificatePEM(server.Certificate()),
				})),
				Now: keypairtest.Now, Keys: keys, Addresses: oauth.AddressPolicy{Private: true},
			})
			client, _, err := r.Load(t.Context(), "billing", Have{})
			if err != nil {
				t.Fatal(err)
			}
			defer client.OAuth.Close()
			x := oauth.NewExchanger(oauth.ExchangerConfig{Now: keypairtest.Now})
			if _, err := x.Exchange(t.Context(), client.OAuth, oauth.Request{}); err != nil {
				t.Fatal(err)
			}
			again, _, err := r.Load(t.Context(), "billing", Have{Client: client})
			if err != nil || again != client || !slices.Equal(keys.signed, []string{test.alg}) {
				t.Errorf("got %v, the same client %t, signed %v, want one signature and the same client", err, again == client, keys.signed)
			}
			keys.fail = secret.ErrUnavailable
			if _, _, err = r.Load(t.Context(), "billing", Have{Client: client}); !errors.Is(err, secret.ErrUnavailable) {
				t.Errorf("KMS does not answer: got %v, want %v", err, secret.ErrUnavailable)
			}
			keys.fail = nil
			keys.keys[test.alias] = must(rsa.GenerateKey(rand.Reader, 2048))
			again, _, err = r.Load(t.Context(), "billing", Have{Client: client})
			if test.otherKey != "" {
				if got := problemsIn(t, err); !strings.HasPrefix(got, test.otherKey) {
					t.Errorf("another key: got %q, want %q", got, test.otherKey)
				}
				return
			}
			if err != nil || again == client || again.Version == client.Version || !strings.HasPrefix(again.Version, "v1+") {
				t.Errorf("another key: got %+v, %v, want a client of another version", again, err)
			}
		})
	}
}
