package registry

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenvendor/shared/keypair/keypairtest"
)

// FuzzDocument checks that each document becomes a client or a DocumentError, and that the
// error does not repeat the canary.
func FuzzDocument(f *testing.F) {
	files, err := filepath.Glob("testdata/documents/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		template, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(fillDocument(f, string(template)))
	}
	f.Add(native(members{"private_key": jwkOf(f, testMaterial().EC256, "k1", "ES256")}))
	f.Add(native(members{"private_key": string(must(json.Marshal(jwkOf(f, testMaterial().RSA, "", "PS384"))))}))
	f.Fuzz(func(t *testing.T, document []byte) {
		client, err := load(t, document, nil)
		var bad *DocumentError
		switch {
		case err == nil && client.OAuth != nil && client.CertificateBound != "":
		case !errors.As(err, &bad):
			t.Fatalf("got %+v, %v, want a client or a DocumentError", client, err)
		case len(bad.Problems) == 0:
			t.Fatal("got a DocumentError without problems")
		case strings.Contains(err.Error(), keypairtest.Canary):
			t.Fatal("the error repeats a value of the document")
		}
	})
}

// FuzzPreviousVersion checks that each previous version becomes a client with the current
// terms or an ErrNoPrevious, and that the error does not repeat the canary.
func FuzzPreviousVersion(f *testing.F) {
	for _, document := range []string{
		`{"token_endpoint": "https://as.example.com/token", "client_id": "billing", "client_secret": "${canary}", "scope": "b"}`,
		`{"token_endpoint": "https://AS.example.com:443/token", "client_id": "billing", "private_key": "${ec256.key}", "shadow": {}}`,
		`{"issuer": "https://as.example.com/realm", "client_id": "billing", "client_secret": "${canary}"}`,
		`{"service_key": {"clientid": "billing", "clientsecret": "${canary}", "url": "https://as.example.com"}, "previous": "never"}`,
	} {
		f.Add(fillDocument(f, document))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		v := &versions{current: native(members{"client_secret": "s", "scope": "a"}), previous: document}
		current, previous, err := v.load(t)
		switch {
		case err == nil && previous.OAuth.TokenEndpoint() == current.OAuth.TokenEndpoint() && previous.Terms == current.Terms && previous.Credential != current.Credential:
		case !errors.Is(err, ErrNoPrevious):
			t.Fatalf("got %+v, %v, want a client or %v", previous, err, ErrNoPrevious)
		case strings.Contains(err.Error(), keypairtest.Canary):
			t.Fatal("the error repeats a value of the document")
		}
	})
}
