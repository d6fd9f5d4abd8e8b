package registry

import (
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
	f.Fuzz(func(t *testing.T, document []byte) {
		client, err := load(t, document, nil)
		var bad *DocumentError
		switch {
		case err == nil && client.OAuth != nil && client.Parameters != nil && client.Allow != nil && client.CertificateBound != "":
		case !errors.As(err, &bad):
			t.Fatalf("got %+v, %v, want a client or a DocumentError", client, err)
		case len(bad.Problems) == 0:
			t.Fatal("got a DocumentError without problems")
		case strings.Contains(err.Error(), keypairtest.Canary):
			t.Fatal("the error repeats a value of the document")
		}
	})
}
