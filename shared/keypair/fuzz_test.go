package keypair

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"path/filepath"
	"testing"
)

func FuzzKey(f *testing.F) {
	m := testMaterial()
	for _, name := range []string{"rsa.key", "rsa.pkcs1", "rsa.pkcs1.literal", "ec256.sec1", "ec384.key", "ca"} {
		f.Add(m.PEM[name])
	}
	f.Fuzz(func(t *testing.T, pem string) {
		key, err := ParseKey(pem, Password{"password", "test-only"})
		if (key == nil) == (err == nil) {
			t.Fatalf("got a key: %t, error %v", key != nil, err)
		}
		if _, err := checkKey(key); key != nil && err != nil {
			t.Fatalf("ParseKey returned a key that checkKey refuses: %v", err)
		}
	})
}

func FuzzJWK(f *testing.F) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	for _, key := range []any{testMaterial().RSA, testMaterial().EC256, ed} {
		f.Add(jwkOf(f, key, nil))
	}
	f.Fuzz(func(t *testing.T, text string) {
		pair, err := ParseJWK(text)
		if (pair.Key == nil) == (err == nil) {
			t.Fatalf("got a key: %t, error %v", pair.Key != nil, err)
		}
		if _, err := checkKey(pair.Key); pair.Key != nil && err != nil {
			t.Fatalf("ParseJWK returned a key that checkKey refuses: %v", err)
		}
	})
}

func FuzzCertificates(f *testing.F) {
	m := testMaterial()
	for _, name := range []string{"rsa.chain", "rsa.chain.literal", "ec256.selfsigned", "rsa.key"} {
		f.Add(m.PEM[name])
	}
	f.Add(exported(m.PEM["rsa.key"], m.PEM["rsa.chain"]))
	f.Add(m.PEM["ca.negative"] + m.PEM["ca"])
	f.Fuzz(func(t *testing.T, pem string) {
		chain, err := ParseChain(pem, nil)
		if len(chain) == 0 && err == nil || len(chain) > maxChain {
			t.Fatalf("got %d certificates, error %v", len(chain), err)
		}
		if _, certificate := Holds(pem); len(chain) > 0 && !certificate {
			t.Fatal("Holds found no certificate, ParseChain did")
		}
		roots, skipped, err := ParseRoots([]string{pem})
		if (len(roots) == 0) == (err == nil) || len(roots)+len(skipped) > maxRoots {
			t.Fatalf("got %d roots, %d skipped, error %v", len(roots), len(skipped), err)
		}
	})
}

func FuzzPKCS8(f *testing.F) {
	files, err := filepath.Glob("testdata/openssl/*pkcs8-*.pem")
	if err != nil || len(files) == 0 {
		f.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		blocks, err := parsePEM(string(opensslFile(f, filepath.Base(file))), 1)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(blocks[0].der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if plain, err := decryptPKCS8(der, "test-only"); plain != nil && err != nil {
			t.Fatalf("got %d bytes and %v", len(plain), err)
		}
		key, err := parseEncryptedKey(der, Password{"password", "test-only"})
		if (key == nil) == (err == nil) {
			t.Fatalf("got a key: %t, error %v", key != nil, err)
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
		contents, _, err := parseFrame(bytes.Clone(der))
		if (len(contents) == 0) == (err == nil) {
			t.Fatalf("got %d contents, error %v", len(contents), err)
		}
		key, certificates, err := openPKCS12(der, Password{"password", "test-only"})
		if err == nil && (key == nil || len(certificates) == 0) {
			t.Fatal("got neither a key nor an error")
		}
	})
}
