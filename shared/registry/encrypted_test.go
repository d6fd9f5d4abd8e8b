package registry

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"
)

// opensslKey is the key of every file in testdata/openssl.
func opensslKey(t testing.TB) *ecdsa.PublicKey {
	t.Helper()
	block, _ := pem.Decode(opensslFile(t, "leaf.pem"))
	return must(x509.ParseCertificate(block.Bytes)).PublicKey.(*ecdsa.PublicKey)
}

func opensslNames(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/openssl/" + pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	for i, file := range files {
		files[i] = filepath.Base(file)
	}
	return files
}

func TestEncryptedKeys(t *testing.T) {
	for _, name := range opensslNames(t, "pkcs8-*.pem") {
		t.Run(name, func(t *testing.T) {
			file := string(opensslFile(t, name))
			key, problem := parseKey(file, text{"password", "test-only"})
			if problem != "" {
				t.Fatal(problem)
			}
			if !opensslKey(t).Equal(key.Public()) {
				t.Error("another key came out")
			}
			expectProblem(t, native(members{"private_key": file, "private_key_password": "test-wrong"}),
				"private_key cannot be decrypted: private_key_password is wrong")
			if _, err := load(t, native(members{"private_key": file, "pkcs12_password": "test-only"}), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEncryptedKeysRefused(t *testing.T) {
	tests := map[string]string{
		"refused-pkcs8-pbes1.pem":      "is encrypted in a way that is not supported (PBES1); convert it with openssl pkcs8 ",
		"refused-pkcs8-scrypt.pem":     "is encrypted with scrypt, which is not supported; convert it with openssl pkcs8 ",
		"refused-pkcs8-camellia.pem":   "is encrypted with a cipher that is not supported; convert it with openssl pkcs8 ",
		"refused-pkcs8-iterations.pem": "is encrypted with more than 1000000 iterations",
		"refused-traditional.pem":      "is encrypted in a way that is not supported; convert it with openssl pkcs8 ",
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			document := native(members{"private_key": string(opensslFile(t, name)), "private_key_password": "test-only"})
			expectProblem(t, document, "private_key "+want)
		})
	}
}

func TestEncryptedKeyOfServiceKey(t *testing.T) {
	key := members{
		"clientid": "a", "url": "https://acme.accounts.ondemand.com",
		"key": string(opensslFile(t, "pkcs8-aes-256-cbc-hmacWithSHA256.pem")), "certificate": string(opensslFile(t, "leaf.pem")),
	}
	bare, wrapped := members{"credentials": key}, members{"service_key": key, "private_key_password": "test-only"}
	if _, err := load(t, must(json.Marshal(wrapped)), nil); err != nil {
		t.Error(err)
	}
	expectProblem(t, must(json.Marshal(bare)), "credentials.key is encrypted, and private_key_password beside service_key is missing")
}

func TestPKCS12(t *testing.T) {
	for _, name := range opensslNames(t, "p12-*.p12") {
		t.Run(name, func(t *testing.T) {
			password := "test-only"
			switch {
			case strings.Contains(name, "empty"):
				password = ""
			case strings.Contains(name, "utf8"):
				password = "tëst-önly"
			}
			file := base64.StdEncoding.EncodeToString(opensslFile(t, name))
			document := native(members{"pkcs12": file, "pkcs12_password": password})
			client, err := load(t, document, nil)
			if err != nil {
				t.Fatal(err)
			}
			if client.CertificateNotAfter.IsZero() {
				t.Error("no certificate")
			}
			checkPKCS12Chain(t, document, strings.Contains(name, "chain") || strings.Contains(name, "keytool"))
			expectProblem(t, native(members{"pkcs12": file, "pkcs12_password": "test-wrong"}),
				"pkcs12 cannot be decrypted: pkcs12_password is wrong")
		})
	}
}

func checkPKCS12Chain(t *testing.T, document []byte, whole bool) {
	t.Helper()
	id := New(Config{Now: testNow}).parse("x", document, &report{}).identity
	var names []string
	for _, c := range id.chain {
		names = append(names, c.Subject.CommonName)
	}
	want := []string{"test client", "Test Intermediate", "Test Root"}
	if !whole {
		want = want[:1]
	}
	if !slices.Equal(names, want) || !opensslKey(t).Equal(id.key.Public()) {
		t.Errorf("chain %q", names)
	}
}

func TestPKCS12Refused(t *testing.T) {
	encode := base64.StdEncoding.EncodeToString
	whole := opensslFile(t, "p12-openssl3-chain.p12")
	m := testMaterial()
	other := selfSigned(m.ec384)
	tests := []struct {
		name, file, want string
	}{
		{"not base64", canary, "pkcs12 is not base64"},
		{"not DER", encode([]byte(canary)), "pkcs12 is not a PKCS#12 file"},
		{"cut", encode(whole[:len(whole)-1]), "pkcs12 is not a PKCS#12 file"},
		{"with a trailer", encode(append(slices.Clone(whole), 5, 0)), "pkcs12 is not a PKCS#12 file"},
		{"BER", encode(indefinite(whole)), "pkcs12 is not a PKCS#12 file"},
		{"no key", encode(opensslFile(t, "refused-p12-no-key.p12")), "pkcs12 must hold exactly one private key"},
		{"two keys", encode(opensslFile(t, "refused-p12-two-keys.p12")), "pkcs12 must hold exactly one private key"},
		{"a million iterations", encode(opensslFile(t, "refused-p12-iterations.p12")), "pkcs12 is encrypted with more than 1000000"},
		{"another certificate", encode(must(pkcs12.Modern.Encode(m.ec256, other, nil, "test-only"))), "pkcs12 does not hold the certificate of its key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expectProblem(t, native(members{"pkcs12": test.file, "pkcs12_password": "test-only"}), test.want)
		})
	}
	t.Run("beside a key", func(t *testing.T) {
		document := native(members{"pkcs12": encode(whole), "pkcs12_password": "test-only", "private_key": m.values["ec256.key"]})
		expectProblem(t, document, "private_key and pkcs12 are both given")
	})
}

// indefinite gives the outermost value an indefinite length, as BER may.
func indefinite(der []byte) []byte {
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		panic(err)
	}
	return slices.Concat([]byte{0x30, 0x80}, outer.Bytes, []byte{0, 0})
}

// TestPKCS12HiddenKey puts a second key, which would take years to decrypt,
// into an encrypted content that comes before the first key.
func TestPKCS12HiddenKey(t *testing.T) {
	m := testMaterial()
	const password = "test-only"
	good := must(pkcs12.Modern.Encode(m.ec256, selfSigned(m.ec256), nil, password))
	contents, _, problem := frame(good)
	if problem != "" {
		t.Fatal(problem)
	}
	der, ok := reframe([]asn1.RawValue{{FullBytes: hiddenKey(t, password)}, contents[0]}, password)
	if !ok {
		t.Fatal("cannot build the file")
	}
	// Were the hidden key met first, this would not return.
	expectProblem(t, native(members{"pkcs12": base64.StdEncoding.EncodeToString(der), "pkcs12_password": password}),
		"pkcs12 is not a PKCS#12 file that can be read")
}

// hiddenKey is an encrypted content that holds a certificate and a key with
// 2^40 iterations.
func hiddenKey(t *testing.T, password string) []byte {
	t.Helper()
	scheme := func(iterations int, iv []byte) pkix.AlgorithmIdentifier {
		kdf := must(asn1.Marshal(pbkdf2Parameters{
			Salt: asn1.RawValue{Tag: asn1.TagOctetString, Bytes: []byte("salt")}, Iterations: iterations,
			PRF: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}},
		}))
		parameters := must(asn1.Marshal(pbes2{
			KDF: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, Parameters: asn1.RawValue{FullBytes: kdf}},
			Cipher: pkix.AlgorithmIdentifier{
				Algorithm:  asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42},
				Parameters: asn1.RawValue{Tag: asn1.TagOctetString, Bytes: iv},
			},
		}))
		return pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, Parameters: asn1.RawValue{FullBytes: parameters}}
	}
	iv := make([]byte, 16)
	key := must(asn1.Marshal(encryptedKey{scheme(1<<40, iv), make([]byte, 16)}))
	bags := must(asn1.Marshal([]safeBag{{
		ID:    asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2},
		Value: asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: key},
	}}))
	var sealed encryptedContent
	sealed.Info.Type = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	sealed.Info.Algorithm = scheme(1, iv)
	sealed.Info.Data = encryptCBC(t, sealed.Info.Algorithm, password, bags)
	return must(asn1.Marshal(content{
		Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6},
		Data: asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: must(asn1.Marshal(sealed))},
	}))
}

// encryptCBC is the inverse of decryptCBC for AES-256.
func encryptCBC(t *testing.T, algorithm pkix.AlgorithmIdentifier, password string, plain []byte) []byte {
	t.Helper()
	var scheme pbes2
	if !unmarshalAll(algorithm.Parameters.FullBytes, &scheme) {
		t.Fatal("not PBES2")
	}
	derive, problem := keyDerivation(scheme.KDF)
	if problem != "" {
		t.Fatal(problem)
	}
	block := must(aes.NewCipher(must(derive(password, 32))))
	n := aes.BlockSize - len(plain)%aes.BlockSize
	data := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(n)}, n)...)
	cipher.NewCBCEncrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(data, data)
	return data
}

func TestPKCS12Encoders(t *testing.T) {
	m := testMaterial()
	leaf := m.issue(m.rsa, func(*x509.Certificate) {})
	chain := []*x509.Certificate{m.ca.certificate, m.inter.certificate}
	tests := []struct {
		name, password string
		encoder        *pkcs12.Encoder
	}{
		{"RC2", "test-only", pkcs12.LegacyRC2},
		{"3DES", "test-only", pkcs12.LegacyDES},
		{"PBES2", "test-only", pkcs12.Modern2023},
		{"PBMAC1", "test-only", pkcs12.Modern2026},
		{"in the clear", "", pkcs12.Passwordless},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := must(test.encoder.Encode(m.rsa, leaf, chain, test.password))
			key, certificates, problem := openPKCS12(file, text{"password", test.password})
			if problem != "" || !m.rsa.Equal(key) || len(certificates) != 3 {
				t.Errorf("problem %q, %d certificates", problem, len(certificates))
			}
			if test.password == "" {
				return
			}
			if _, _, problem := openPKCS12(file, text{"password", "test-wrong"}); !strings.Contains(problem, "password is wrong") {
				t.Errorf("wrong password: %q", problem)
			}
		})
	}
}

func TestPKCS12CostlyMAC(t *testing.T) {
	for _, encoder := range []*pkcs12.Encoder{pkcs12.LegacyDES, pkcs12.Modern2023} {
		var file pfx
		whole := must(encoder.Encode(testMaterial().ec256, selfSigned(testMaterial().ec256), nil, "test-only"))
		if !unmarshalAll(whole, &file) {
			t.Fatal("not a PFX")
		}
		for _, iterations := range []int{0, -1, maxIterations + 1, 1 << 31, 1 << 62} {
			file.MAC.Iterations = iterations
			if _, _, problem := openPKCS12(must(asn1.Marshal(file)), text{"password", "test-only"}); problem != tooCostly() {
				t.Errorf("%d iterations: %q", iterations, problem)
			}
		}
	}
}

// TestKeyUnderAnotherLabel: labels are known to be exchanged by hand.
func TestKeyUnderAnotherLabel(t *testing.T) {
	m := testMaterial()
	for name, key := range map[string]string{
		"PKCS#8 as PKCS#1": blockPEM("RSA PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(m.rsa))),
		"PKCS#1 as PKCS#8": blockPEM("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(m.rsa)),
		"SEC1 as PKCS#8":   blockPEM("PRIVATE KEY", must(x509.MarshalECPrivateKey(m.ec256))),
		"PKCS#8 as SEC1":   blockPEM("EC PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(m.ec256))),
	} {
		if _, err := load(t, native(map[string]any{"private_key": key}), nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
