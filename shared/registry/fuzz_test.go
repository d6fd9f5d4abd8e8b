package registry

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzDocument: whatever a document holds, it becomes a client or a
// DocumentError, and the error repeats no canary.
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
			t.Fatalf("client %v, error %v", client, err)
		case len(bad.Problems) == 0:
			t.Fatal("no problem is named")
		case strings.Contains(err.Error(), canary):
			t.Fatal("the error repeats a value")
		}
	})
}

func FuzzKey(f *testing.F) {
	m := testMaterial()
	for _, name := range []string{"rsa.key", "rsa.pkcs1", "rsa.pkcs1.literal", "ec256.sec1", "ec384.key", "ca"} {
		f.Add(m.values[name])
	}
	f.Fuzz(func(t *testing.T, pem string) {
		key, problem := parseKey(pem, text{"password", "test-only"})
		if (key == nil) == (problem == "") {
			t.Fatalf("key %t, problem %q", key != nil, problem)
		}
		if _, problem := checkKey(key); key != nil && problem != "" {
			t.Fatal("a key came out that is refused")
		}
	})
}

func FuzzCertificates(f *testing.F) {
	m := testMaterial()
	for _, name := range []string{"rsa.chain", "rsa.chain.literal", "ec256.selfsigned", "rsa.key"} {
		f.Add(m.values[name])
	}
	f.Fuzz(func(t *testing.T, pem string) {
		certificates, problem := parseCertificates(pem, maxChain)
		if (len(certificates) == 0) == (problem == "") || len(certificates) > maxChain {
			t.Fatalf("%d certificates, problem %q", len(certificates), problem)
		}
		if problem == "" && len(issuingOrder(certificates)) > len(certificates) {
			t.Fatal("certificates were added")
		}
	})
}

func FuzzPKCS8(f *testing.F) {
	files, err := filepath.Glob("testdata/openssl/*pkcs8-*.pem")
	if err != nil || len(files) == 0 {
		f.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		blocks, problem := parsePEM(string(opensslFile(f, filepath.Base(file))), 1)
		if problem != "" {
			f.Fatal(problem)
		}
		f.Add(blocks[0].der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		plain, problem := decryptPKCS8(der, text{"password", "test-only"})
		if (plain == nil) == (problem == "") {
			t.Fatalf("%d bytes, problem %q", len(plain), problem)
		}
	})
}

func FuzzPKCS12(f *testing.F) {
	files, err := filepath.Glob("testdata/openssl/*.p12")
	if err != nil || len(files) == 0 {
		f.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		f.Add(opensslFile(f, filepath.Base(file)))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		contents, _, problem := frame(bytes.Clone(der))
		if (len(contents) == 0) == (problem == "") {
			t.Fatalf("%d contents, problem %q", len(contents), problem)
		}
		key, chain, problem := openPKCS12(der, text{"password", "test-only"})
		if problem == "" && (key == nil || len(chain) == 0) {
			t.Fatal("neither key nor problem")
		}
	})
}
