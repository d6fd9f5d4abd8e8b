package registry

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"tokenvendor/shared/keypair/keypairtest"
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

// fillDocument puts material into the placeholders of a document.
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
			t.Fatalf("no material for %s", mark)
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

// checkSilent fails when a problem repeats any of what a document holds.
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
	return New(cfg).Load(t.Context(), "billing", Have{})
}
