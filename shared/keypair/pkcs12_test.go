package keypair

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"tokenvendor/shared/keypair/keypairtest"
)

func TestParsePKCS12(t *testing.T) {
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
			pair, err := ParsePKCS12(file, Password{"pkcs12_password", password})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range pair.Chain {
				names = append(names, c.Subject.CommonName)
			}
			want := []string{"test client", "Test Intermediate", "Test Root"}
			if !strings.Contains(name, "chain") && !strings.Contains(name, "keytool") {
				want = want[:1]
			}
			if !slices.Equal(names, want) || !opensslKey(t).Equal(pair.Key.Public()) {
				t.Errorf("got the chain %q, want %q and its key", names, want)
			}
			_, err = ParsePKCS12(file, Password{"pkcs12_password", "test-wrong"})
			checkError(t, err, "cannot be decrypted: pkcs12_password is wrong, or the file is damaged", file)
			if password != "" {
				_, err = ParsePKCS12(file, Password{"pkcs12_password", ""})
				checkError(t, err, "cannot be decrypted: pkcs12_password is missing, or the file is damaged", file)
			}
		})
	}
}

func TestParsePKCS12Refuses(t *testing.T) {
	encode := base64.StdEncoding.EncodeToString
	whole := opensslFile(t, "p12-openssl3-chain.p12")
	m := testMaterial()
	other := keypairtest.SelfSigned(m.EC384)
	tests := []struct {
		name, file, want string
	}{
		{"not base64", keypairtest.Canary, "is not base64"},
		{"not DER", encode([]byte(keypairtest.Canary)), "is not a PKCS#12 file"},
		{"cut", encode(whole[:len(whole)-1]), "is not a PKCS#12 file"},
		{"with a trailer", encode(append(slices.Clone(whole), 5, 0)), "is not a PKCS#12 file"},
		{"BER", encode(indefinite(whole)), "is not a PKCS#12 file"},
		{"no key", encode(opensslFile(t, "refused-p12-no-key.p12")), "must hold exactly one private key"},
		{"two keys", encode(opensslFile(t, "refused-p12-two-keys.p12")), "must hold exactly one private key"},
		{"a million iterations", encode(opensslFile(t, "refused-p12-iterations.p12")), "is encrypted with more than 1000000"},
		{"another certificate", encode(must(pkcs12.Modern.Encode(m.EC256, other, nil, "test-only"))), "does not hold the certificate of its key"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParsePKCS12(test.file, Password{"pkcs12_password", "test-only"})
			checkError(t, err, test.want, test.file)
		})
	}
}

// indefinite gives the outermost value an indefinite length, as BER may.
func indefinite(der []byte) []byte {
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		panic(err)
	}
	return slices.Concat([]byte{0x30, 0x80}, outer.Bytes, []byte{0, 0})
}

// A second key, which would take years to decrypt, is hidden in an encrypted content
// before the first key.
func TestParsePKCS12SkipsHiddenCostlyKey(t *testing.T) {
	m := testMaterial()
	const password = "test-only"
	good := must(pkcs12.Modern.Encode(m.EC256, keypairtest.SelfSigned(m.EC256), nil, password))
	contents, _, err := parseFrame(good)
	if err != nil {
		t.Fatal(err)
	}
	der, err := buildFrame([]asn1.RawValue{{FullBytes: hiddenKey(t, password)}, contents[0]}, password)
	if err != nil {
		t.Fatal(err)
	}
	// If the hidden key were decrypted first, this would not return.
	file := base64.StdEncoding.EncodeToString(der)
	_, err = ParsePKCS12(file, Password{"pkcs12_password", password})
	checkError(t, err, "is not a PKCS#12 file that can be read", file)
}

// hiddenKey is an encrypted content that holds a certificate and a key with
// 2^40 iterations.
func hiddenKey(t *testing.T, password string) []byte {
	t.Helper()
	iv := make([]byte, 16)
	key := must(asn1.Marshal(encryptedKey{encryption(1<<40, iv), make([]byte, 16)}))
	bags := must(asn1.Marshal([]safeBag{{
		ID:    asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 10, 1, 2},
		Value: asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: key},
	}}))
	var sealed encryptedContent
	sealed.Info.Type = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	sealed.Info.Algorithm = encryption(1, iv)
	sealed.Info.Data = encryptCBC(t, sealed.Info.Algorithm, password, bags)
	return must(asn1.Marshal(content{
		Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6},
		Data: asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: must(asn1.Marshal(sealed))},
	}))
}

// encryption is PBES2 with PBKDF2, HMAC-SHA256 and AES-256 in CBC.
func encryption(iterations int, iv []byte) pkix.AlgorithmIdentifier {
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

// encryptCBC is the inverse of decryptCBC for AES-256.
func encryptCBC(t *testing.T, algorithm pkix.AlgorithmIdentifier, password string, plain []byte) []byte {
	t.Helper()
	var scheme pbes2
	if !unmarshalAll(algorithm.Parameters.FullBytes, &scheme) {
		t.Fatal("not PBES2")
	}
	derive, err := keyDerivation(scheme.KDF)
	if err != nil {
		t.Fatal(err)
	}
	block := must(aes.NewCipher(must(derive(password, 32))))
	n := aes.BlockSize - len(plain)%aes.BlockSize
	data := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(n)}, n)...)
	cipher.NewCBCEncrypter(block, make([]byte, aes.BlockSize)).CryptBlocks(data, data)
	return data
}

func TestOpenPKCS12ReadsEachEncoding(t *testing.T) {
	m := testMaterial()
	leaf := m.Issue(m.RSA, nil)
	chain := []*x509.Certificate{m.Root.Certificate, m.Intermediate.Certificate}
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
			file := must(test.encoder.Encode(m.RSA, leaf, chain, test.password))
			key, certificates, err := openPKCS12(file, Password{"password", test.password})
			if err != nil || !m.RSA.Equal(key) || len(certificates) != 3 {
				t.Errorf("got %d certificates, %v, want 3 and the key", len(certificates), err)
			}
			if test.password == "" {
				return
			}
			if _, _, err := openPKCS12(file, Password{"password", "test-wrong"}); err == nil || !strings.Contains(err.Error(), "password is wrong") {
				t.Errorf("got %v for a wrong password", err)
			}
		})
	}
}

func TestOpenPKCS12RefusesCostlyMAC(t *testing.T) {
	for _, encoder := range []*pkcs12.Encoder{pkcs12.LegacyDES, pkcs12.Modern2023} {
		var file pfx
		whole := must(encoder.Encode(testMaterial().EC256, keypairtest.SelfSigned(testMaterial().EC256), nil, "test-only"))
		if !unmarshalAll(whole, &file) {
			t.Fatal("not a PFX")
		}
		for _, iterations := range []int{0, -1, maxIterations + 1, 1 << 31, 1 << 62} {
			file.MAC.Iterations = iterations
			if _, _, err := openPKCS12(must(asn1.Marshal(file)), Password{"password", "test-only"}); err == nil || err.Error() != errTooCostly.Error() {
				t.Errorf("%d iterations: got %v, want %v", iterations, err, errTooCostly)
			}
		}
	}
}
