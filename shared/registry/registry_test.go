package registry

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The golden file beside each document of testdata describes the client, or lists the
// problems.
func TestDocuments(t *testing.T) {
	files, err := filepath.Glob("testdata/documents/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			template, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			document := fillDocument(t, string(template))
			got := outcome(t, document)
			if bad := strings.HasPrefix(got, "problems"); bad != strings.HasPrefix(name, "bad-") {
				t.Errorf("got an outcome that does not fit the name of the file:\n%s", got)
			}
			checkSilent(t, document, got)
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// outcome describes a client, or lists the problems of its document.
func outcome(t *testing.T, document []byte) string {
	client, err := load(t, document, nil)
	var bad *DocumentError
	if errors.As(err, &bad) {
		return "problems\n" + strings.Join(bad.Problems, "\n") + "\n"
	}
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	line := func(name string, value any) {
		if text := fmt.Sprint(value); text != "" && text != "[]" && text != "map[]" {
			fmt.Fprintf(&b, "%s: %s\n", name, text)
		}
	}
	line("method", client.Method)
	line("endpoint", client.OAuth.TokenEndpoint())
	line("host", client.IssuerHost)
	line("scope", client.Defaults.Scope)
	line("resource", client.Defaults.Resource)
	line("audience", client.Defaults.Audience)
	line("token format", client.Defaults.TokenFormat)
	line("app_tid", client.Defaults.AppTID)
	line("parameters", client.Defaults.Parameters)
	line("allow", slices.Sorted(maps.Keys(client.Allow)))
	line("certificate bound", client.CertificateBound)
	describeProof(t, document, line)
	return b.String()
}

// describeProof describes what a Client does not show.
func describeProof(t *testing.T, document []byte, line func(string, any)) {
	r := New(Config{Now: keypairtest.Now, Discover: discoverExample})
	d := parse("x", document, r.cfg, &report{})
	if err := r.resolve(t.Context(), d, &report{}); err != nil {
		t.Fatal(err)
	}
	line("client_id", d.id.value)
	switch a := newAuthenticator(d, r.cfg).(type) {
	case oauth.SecretPost:
		line("secret is whole", a.Secret.Expose() == testSecret)
	case oauth.SecretBasic:
		line("secret is whole", a.Secret.Expose() == testSecret)
		line("basic", a.Encoding)
	case oauth.Assertion:
		line("assertion", fmt.Sprintf("aud=%s alg=%s kid=%s typ=%s lifetime=%s x5t=%t",
			a.Audience, a.Signer.Algorithm(), a.KeyID, a.Type, a.Lifetime, a.Thumbprint != ""))
	}
	for _, c := range d.pair.Chain {
		line("certificate", c.Subject.CommonName)
	}
	line("own roots", d.options.roots != nil)
}

func TestLoadWrapsErrorOfReader(t *testing.T) {
	fail := func(err error) func(*Config) {
		return func(cfg *Config) {
			cfg.Secrets = secret.ReaderFunc(func(context.Context, string, secret.Want) (secret.Secret, error) {
				return secret.Secret{}, fmt.Errorf("reading: %w", err)
			})
		}
	}
	for _, want := range []error{secret.ErrNotFound, secret.ErrDenied, secret.ErrUnavailable} {
		if _, err := load(t, nil, fail(want)); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

func TestLoadReportsDiscoveryFailures(t *testing.T) {
	document := []byte(`{"issuer": "https://as.example.com", "client_id": "a", "client_secret": "s"}`)
	down := func(cfg *Config) {
		cfg.Discover = func(context.Context, *http.Client, string) (oauth.Metadata, error) {
			return oauth.Metadata{}, fmt.Errorf("%w: status 503", oauth.ErrDiscovery)
		}
	}
	if _, err := load(t, document, down); !errors.Is(err, secret.ErrUnavailable) {
		t.Errorf("status 503: got %v, want %v", err, secret.ErrUnavailable)
	}
	var bad *DocumentError
	if _, err := load(t, document, nil); !errors.As(err, &bad) || !strings.HasPrefix(bad.Problems[0], "issuer ") {
		t.Errorf("status 404: got %v, want a problem of issuer", err)
	}
}

func TestDocumentErrorListsAllProblems(t *testing.T) {
	_, err := load(t, []byte(`{"client_id": "a"}`), nil)
	var bad *DocumentError
	if !errors.As(err, &bad) {
		t.Fatal(err)
	}
	if bad.Client != "billing" || bad.Version != "v1" || len(bad.Problems) != 2 || !slices.IsSorted(bad.Problems) {
		t.Errorf("got %+v, want two sorted problems of billing", bad)
	}
	want := "client billing: bad document: client_secret is missing, and so is any other credential; token_endpoint is missing, and so is issuer"
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

// The version of a secret that does not change with its text is an emulator's.
func TestLoadReturnsSameClientOnlyIfNothingChanged(t *testing.T) {
	base := members{"client_secret": "s", "shadow": members{"client_secret": "t"}}
	for name, change := range map[string]members{
		"nothing":        nil,
		"order":          {"scope": ""},
		"secret":         {"client_secret": "S"},
		"scope":          {"scope": "read"},
		"previous":       {"previous": "never"},
		"no shadow":      {"shadow": nil},
		"shadow":         {"shadow": members{"client_secret": "T"}},
		"share of it":    {"shadow": members{"client_secret": "t", "share": 0.5}},
		"form of a host": {"token_endpoint": "https://AS.example.com/token"},
	} {
		document := native(base)
		r := New(Config{Now: keypairtest.Now, Secrets: secret.ReaderFunc(func(context.Context, string, secret.Want) (secret.Secret, error) {
			return secret.Secret{Text: document, Version: "v1"}, nil
		})})
		old, _, err := r.Load(t.Context(), "billing", Have{})
		if err != nil {
			t.Fatal(err)
		}
		changed := maps.Clone(base)
		maps.Copy(changed, change)
		maps.DeleteFunc(changed, func(_ string, value any) bool { return value == nil })
		document = native(changed)
		got, _, err := r.Load(t.Context(), "billing", Have{Client: old})
		if same := name == "nothing" || name == "order"; err != nil || (got == old) != same {
			t.Errorf("%s: got the same client: %t, %v, want %t", name, got == old, err, same)
		}
		got, _, err = r.Load(t.Context(), "billing", Have{Client: old, Refused: true})
		if same := name != "secret"; err != nil || (got == old) != same {
			t.Errorf("%s, refused: got the same client: %t, %v, want %t", name, got == old, err, same)
		}
	}
}

func TestValidName(t *testing.T) {
	good := []string{"a", "7", "billing", "a-b", "a--b", strings.Repeat("a", 63)}
	bad := []string{"", "-", "-a", "a-", "A", "a_b", "a.b", "..", "a/b", "a%62", "ä", "a b", "a\n", strings.Repeat("a", 64), "billing\x00"}
	for _, name := range good {
		if !ValidName(name) {
			t.Errorf("%q: got false, want true", name)
		}
	}
	for _, name := range bad {
		if ValidName(name) {
			t.Errorf("%q: got true, want false", name)
		}
		_, _, err := New(Config{Secrets: documentReader(nil)}).Load(t.Context(), name, Have{})
		if !errors.Is(err, secret.ErrNotFound) {
			t.Errorf("Load of %q: got %v, want %v", name, err, secret.ErrNotFound)
		}
	}
}
