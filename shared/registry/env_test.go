package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
)

// testSecret has the characters of a secret that SAP generates, and more.
const testSecret = keypairtest.Canary + `]:?/=.+%2 &ü_-:`

var testMaterial = sync.OnceValue(keypairtest.New)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var placeholder = regexp.MustCompile(`\$\{([^}]+)\}`)

// fillDocument replaces the placeholders of a document.
func fillDocument(t testing.TB, template string) []byte {
	t.Helper()
	filled := placeholder.ReplaceAllStringFunc(template, func(mark string) string {
		name := mark[2 : len(mark)-1]
		value, ok := testMaterial().PEM[name]
		switch file, isFile := strings.CutPrefix(name, "file:"); {
		case isFile:
			value, ok = base64.StdEncoding.EncodeToString(opensslFile(t, file)), true
		case name == "canary":
			value, ok = keypairtest.Canary, true
		case name == "secret":
			value, ok = testSecret, true
		}
		if !ok {
			t.Fatalf("no value for the placeholder %s", mark)
		}
		quoted := string(must(json.Marshal(value)))
		return quoted[1 : len(quoted)-1]
	})
	return []byte(filled)
}

func opensslFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "keypair", "testdata", "openssl", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// native returns a native document with the given members added or replaced.
func native(members map[string]any) []byte {
	document := map[string]any{"token_endpoint": "https://as.example.com/token", "client_id": "billing"}
	for name, value := range members {
		document[name] = value
	}
	return must(json.Marshal(document))
}

// checkSilent fails if a text repeats a value of a document.
func checkSilent(t *testing.T, document []byte, text string) {
	t.Helper()
	forbidden := []string{keypairtest.Canary, "BEGIN ", "MII", "test-only"}
	var members map[string]any
	if json.Unmarshal(document, &members) == nil {
		for _, name := range []string{"private_key", "certificate", "key", "pkcs12", "client_secret"} {
			value, _ := members[name].(string)
			for line := range strings.Lines(value) {
				if line = strings.TrimSpace(line); len(line) > 12 {
					forbidden = append(forbidden, line)
				}
			}
		}
	}
	for _, f := range forbidden {
		if strings.Contains(text, f) {
			t.Errorf("the error repeats %d bytes of the document", len(f))
		}
	}
}

// load loads a document as client "billing".
func load(t testing.TB, document []byte, change func(*Config)) (*Client, error) {
	t.Helper()
	cfg := Config{Secrets: documentReader(document), Prefix: "token-vendor/clients/", Now: keypairtest.Now, Discover: discoverExample}
	if change != nil {
		change(&cfg)
	}
	client, _, err := New(cfg).Load(t.Context(), "billing", Have{})
	return client, err
}

// anyClient returns a reader that has the same document for every client.
func anyClient(document []byte) secret.Reader {
	return secret.ReaderFunc(func(context.Context, string, secret.Want) (secret.Secret, error) {
		return secret.Secret{Text: document, Version: "v1"}, nil
	})
}

// loadAs loads a document as that of the client name.
func loadAs(t *testing.T, name string, document []byte, change func(*Config)) (*Client, error) {
	t.Helper()
	cfg := Config{Secrets: anyClient(document), Now: keypairtest.Now, Discover: discoverExample}
	change(&cfg)
	client, _, err := New(cfg).Load(t.Context(), name, Have{})
	return client, err
}

// problemsIn returns the problems of a [DocumentError].
func problemsIn(t *testing.T, err error) string {
	t.Helper()
	var bad *DocumentError
	if !errors.As(err, &bad) {
		t.Fatalf("got %v, want a DocumentError", err)
	}
	return strings.Join(bad.Problems, "; ")
}

// problemsOf loads a document that must be refused and checks that the error repeats no
// value.
func problemsOf(t *testing.T, document []byte) []string {
	t.Helper()
	_, err := load(t, document, nil)
	var bad *DocumentError
	if !errors.As(err, &bad) {
		t.Fatalf("got %v, want a DocumentError", err)
	}
	checkSilent(t, document, err.Error())
	return bad.Problems
}

// expectProblem fails unless the document has one problem, which begins with want.
func expectProblem(t *testing.T, document []byte, want string) {
	t.Helper()
	problems := problemsOf(t, document)
	if len(problems) != 1 || !strings.HasPrefix(problems[0], want) {
		t.Errorf("got %q, want %q", problems, want)
	}
}

// members are the members of a document.
type members = map[string]any

// documentReader returns a reader that has a document for client "billing" only.
func documentReader(document []byte) secret.Reader {
	return secret.ReaderFunc(func(_ context.Context, name string, _ secret.Want) (secret.Secret, error) {
		if name != "token-vendor/clients/billing" {
			return secret.Secret{}, secret.ErrNotFound
		}
		return secret.Secret{Text: document, Version: "v1"}, nil
	})
}

// discoverExample implements [DiscoverFunc] for one issuer.
func discoverExample(_ context.Context, _ *http.Client, issuer string) (oauth.Metadata, error) {
	if issuer != "https://as.example.com/realm" {
		return oauth.Metadata{}, errors.New("issuer has no metadata: status 404")
	}
	return oauth.Metadata{
		Issuer:                 issuer,
		TokenEndpoint:          issuer + "/token",
		MutualTLSTokenEndpoint: issuer + "/mtls/token",
	}, nil
}
