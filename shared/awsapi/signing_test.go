package awsapi

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tokenvendor/scripts/local/awsjson"
	localkms "tokenvendor/scripts/local/kms"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

// newSigningKeys returns the keys of a local KMS, which has one key of each kind under an
// alias of the kind's name.
func newSigningKeys(t *testing.T) (*SigningKeys, *localkms.Server) {
	t.Helper()
	endpoint := localkms.New(localkms.Config{Region: "eu-central-1", Account: "123456789012"})
	server := httptest.NewServer(endpoint)
	t.Cleanup(server.Close)
	cfg := configOf(t, "AWS_ENDPOINT_URL_KMS", server.URL)
	for _, spec := range []string{"RSA_2048", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521", "ECC_NIST_EDWARDS25519", "SYMMETRIC_DEFAULT"} {
		if _, err := endpoint.AddKey(spec, "token-vendor/"+spec); err != nil {
			t.Fatal(err)
		}
	}
	return NewSigningKeys(cfg), endpoint
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// OpenSSL accepts the signatures. It is another implementation than Go's, which the local KMS
// uses.
func TestSignVerifiedByOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	keys, _ := newSigningKeys(t)
	message := []byte("header.claims " + rand.Text())
	for _, test := range []struct {
		spec, algorithm string
		hash            crypto.Hash
		options         []string
	}{
		{"RSA_2048", "RS256", crypto.SHA256, nil},
		{"RSA_2048", "PS256", crypto.SHA256, []string{"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32", "-sigopt", "rsa_mgf1_md:sha256"}},
		{"RSA_2048", "RS384", crypto.SHA384, nil},
		{"RSA_2048", "RS512", crypto.SHA512, nil},
		{"RSA_2048", "PS512", crypto.SHA512, []string{"-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:64", "-sigopt", "rsa_mgf1_md:sha512"}},
		{"ECC_NIST_P256", "ES256", crypto.SHA256, nil},
		{"ECC_NIST_P384", "ES384", crypto.SHA384, nil},
		{"ECC_NIST_P521", "ES512", crypto.SHA512, nil},
	} {
		t.Run(test.algorithm, func(t *testing.T) {
			alias := "alias/token-vendor/" + test.spec
			public, algorithms, err := keys.Public(t.Context(), alias)
			if err != nil || !slices.Contains(algorithms, test.algorithm) {
				t.Fatalf("got the algorithms %v, error %v, want %s among them", algorithms, err, test.algorithm)
			}
			digest := test.hash.New()
			digest.Write(message)
			signature, err := keys.Sign(t.Context(), alias, test.algorithm, digest.Sum(nil))
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.MarshalPKIXPublicKey(public)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for name, content := range map[string][]byte{
				"key": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "signature": signature, "message": message,
			} {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			digestName := map[crypto.Hash]string{crypto.SHA256: "-sha256", crypto.SHA384: "-sha384", crypto.SHA512: "-sha512"}[test.hash]
			cmd := exec.CommandContext(t.Context(), openssl, append([]string{"dgst", digestName, "-verify", "key", "-signature", "signature"}, append(test.options, "message")...)...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("openssl: %v: %s", err, out)
			}
		})
	}
}

// The signature has the form of JWS. An algorithm that does not fit the key is refused before
// KMS signs anything.
func TestSignerOfKMSKey(t *testing.T) {
	keys, endpoint := newSigningKeys(t)
	for spec, natural := range map[string]string{"RSA_2048": "RS256", "ECC_NIST_P256": "ES256", "ECC_NIST_P384": "ES384", "ECC_NIST_P521": "ES512", "ECC_NIST_EDWARDS25519": "EdDSA"} {
		alias := "alias/token-vendor/" + spec
		public, algorithms, err := keys.Public(t.Context(), alias)
		if err != nil {
			t.Fatal(err)
		}
		for _, algorithm := range oauth.Algorithms() {
			fits := algorithm == natural || spec == "RSA_2048" && algorithm[1] == 'S' && algorithm[0] != 'E'
			if slices.Contains(algorithms, algorithm) != fits {
				t.Errorf("%s: KMS has %v", spec, algorithms)
			}
			signer, err := oauth.NewSigner(public, algorithm, func(ctx context.Context, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
				return keys.Sign(ctx, alias, algorithm, digest)
			})
			if (err == nil) != fits {
				t.Fatalf("%s with %s: got %v, want an error: %t", spec, algorithm, err, !fits)
			}
			if !fits {
				continue
			}
			signature, err := signer.Sign(t.Context(), []byte("message"))
			want, ok := map[string]int{"ES256": 64, "ES384": 96, "ES512": 132, "EdDSA": 64}[algorithm]
			if !ok {
				want = 256
			}
			if err != nil || len(signature) != want {
				t.Errorf("%s with %s: got %d bytes, %v, want %d", spec, algorithm, len(signature), err, want)
			}
		}
	}
	if n := endpoint.Calls("Sign"); n != 10 {
		t.Errorf("got %d calls of Sign, want 10", n)
	}
}

func TestSigningKeyErrors(t *testing.T) {
	keys, endpoint := newSigningKeys(t)
	alias := "alias/token-vendor/RSA_2048"
	for name, want := range map[string]error{
		"alias/token-vendor/SYMMETRIC_DEFAULT": registry.ErrNoKey,
		"alias/token-vendor/none":              registry.ErrNoKey,
	} {
		_, _, err := keys.Public(t.Context(), name)
		if !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		checkText(t, err)
	}
	// A key of another usage.
	der, err := x509.MarshalPKIXPublicKey(&rsaKey(t).PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for usage, want := range map[string]error{"ENCRYPT_DECRYPT": registry.ErrNoKey, "SIGN_VERIFY": nil} {
		endpoint.Inject("GetPublicKey", 1, awsjson.Fault{Body: fmt.Sprintf(`{"PublicKey": %q, "KeyUsage": %q}`, base64.StdEncoding.EncodeToString(der), usage)})
		if _, _, err := keys.Public(t.Context(), alias); !errors.Is(err, want) {
			t.Errorf("a key of the usage %s: got %v, want %v", usage, err, want)
		}
	}
	for code, want := range map[string]error{
		"AccessDeniedException": secret.ErrDenied, "DisabledException": secret.ErrDenied, "KMSInvalidStateException": secret.ErrDenied,
		"ThrottlingException": secret.ErrUnavailable, "KMSInternalException": secret.ErrUnavailable, "KeyUnavailableException": secret.ErrUnavailable,
	} {
		endpoint.Fail("GetPublicKey", 100, code)
		endpoint.Fail("Sign", 100, code)
		if _, _, err := keys.Public(t.Context(), alias); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", code, err, want)
		}
		before := endpoint.Calls("Sign")
		_, err := keys.Sign(t.Context(), alias, "RS256", make([]byte, 32))
		if errors.Is(err, oauth.ErrTemporary) != (want == secret.ErrUnavailable) || endpoint.Calls("Sign")-before > signAttempts {
			t.Errorf("%s: Sign: got %v after %d calls, want at most %d", code, err, endpoint.Calls("Sign")-before, signAttempts)
		}
		checkText(t, err)
	}
	endpoint.Hang("Sign", 100)
	begin := time.Now()
	_, err = keys.Sign(t.Context(), alias, "RS256", make([]byte, 32))
	if d := time.Since(begin); !errors.Is(err, oauth.ErrTemporary) || d > signTimeout+time.Second {
		t.Errorf("KMS does not answer: got %v after %v, want a temporary error after %v", err, d, signTimeout)
	}
	endpoint.Fail("Sign", 1, "ThrottlingException")
	if _, err := keys.Sign(t.Context(), alias, "RS256", make([]byte, 32)); err != nil {
		t.Errorf("throttled once: got %v, want no error", err)
	}
}
