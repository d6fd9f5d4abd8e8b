package keypair

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"tokenvendor/shared/keypair/keypairtest"
)

var testMaterial = sync.OnceValue(keypairtest.New)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// anyError makes checkError accept any error.
const anyError = "any"

// checkError fails unless err begins with want (empty: is nil) and repeats nothing of
// the input.
func checkError(t *testing.T, err error, want, input string) {
	t.Helper()
	if err == nil {
		if want != "" {
			t.Errorf("got no error, want %q", want)
		}
		return
	}
	if want == "" || want != anyError && !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %q, want %q", err, want)
	}
	forbidden := []string{keypairtest.Canary, "BEGIN ", "MII", "test-only"}
	for line := range strings.Lines(input) {
		if line = strings.TrimSpace(line); len(line) > 12 {
			forbidden = append(forbidden, line)
		}
	}
	for _, f := range forbidden {
		if strings.Contains(err.Error(), f) {
			t.Errorf("the error repeats %d bytes of the input", len(f))
		}
	}
}

func opensslFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "openssl", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

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

// dsaKey is a PKCS#8 key with the algorithm id-dsa and nothing usable.
func dsaKey() []byte {
	type algorithm struct {
		OID        asn1.ObjectIdentifier
		Parameters asn1.RawValue
	}
	return must(asn1.Marshal(struct {
		Version   int
		Algorithm algorithm
		Key       []byte
	}{0, algorithm{asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}, asn1.NullRawValue}, []byte{2, 1, 5}}))
}

// hugeRSA is a PKCS#1 key of 16 384 bits, as far as its numbers go.
func hugeRSA() []byte {
	type key struct {
		Version                       int
		N                             *big.Int
		E                             int
		D, P, Q, Dp, Dq, CoefficientQ *big.Int
	}
	odd := func(bits uint) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.Or(n, big.NewInt(12345))
	}
	n := new(big.Int).Mul(odd(8192), odd(8192))
	return must(asn1.Marshal(key{0, n, 65537, odd(16000), odd(8192), odd(8192), odd(8000), odd(8000), odd(8000)}))
}

// withoutCRT is a PKCS#1 key whose last five numbers are zero.
func withoutCRT(k *rsa.PrivateKey) []byte {
	zero := big.NewInt(0)
	return must(asn1.Marshal(struct {
		Version               int
		N                     *big.Int
		E                     int
		D, P, Q, Dp, Dq, QInv *big.Int
	}{0, k.N, k.E, k.D, zero, zero, zero, zero, zero}))
}

func TestParseKey(t *testing.T) {
	m := testMaterial()
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	p521 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	der := must(x509.MarshalPKCS8PrivateKey(m.RSA))
	encrypted := string(opensslFile(t, "pkcs8-aes-256-cbc-hmacWithSHA256.pem"))
	tests := []struct{ name, key, want string }{
		{"RSA 1024", keypairtest.KeyPEM(small), "is an RSA key of a size"},
		{"RSA 1024 as PKCS#1", keypairtest.BlockPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small)), "is an RSA key of a size"},
		{"RSA 16384", keypairtest.BlockPEM("RSA PRIVATE KEY", hugeRSA()), anyError},
		{"RSA without CRT", keypairtest.BlockPEM("RSA PRIVATE KEY", withoutCRT(m.RSA)), "holds a private key that cannot be read"},
		{"P-521", keypairtest.KeyPEM(p521), ""},
		{"P-224", keypairtest.KeyPEM(p224), "is an EC key on a curve"},
		{"Ed25519", keypairtest.KeyPEM(ed), ""},
		{"DSA", keypairtest.BlockPEM("DSA PRIVATE KEY", []byte{1}), "is a DSA key"},
		{"DSA as PKCS#8", keypairtest.BlockPEM("PRIVATE KEY", dsaKey()), "holds a private key that cannot be read"},
		{"OpenSSH", keypairtest.BlockPEM("OPENSSH PRIVATE KEY", []byte{1}), "is in the format of OpenSSH"},
		{"public key", keypairtest.BlockPEM("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(m.RSA.Public()))), "is a public key"},
		{"RSA public key", keypairtest.BlockPEM("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&m.RSA.PublicKey)), "is a public key"},
		{"certificate", m.PEM["ca"], "holds a certificate"},
		{"two keys and a certificate", m.PEM["rsa.key"] + m.PEM["ca"] + m.PEM["ec256.key"], "must hold one private key"},
		{"thirteen blocks", m.PEM["rsa.key"] + strings.Repeat(m.PEM["ca"], 12), "holds more than 12 PEM blocks"},
		{"two keys", m.PEM["rsa.key"] + m.PEM["rsa.key"], "must hold one private key"},
		{"parameters alone", keypairtest.BlockPEM("EC PARAMETERS", []byte{5, 0}), "holds a PEM block that is not a private key"},
		{"trailing DER", keypairtest.BlockPEM("PRIVATE KEY", append(slices.Clone(der), 5, 0)), "holds a private key that cannot be read"},
		{"trailing text", m.PEM["rsa.key"] + keypairtest.Canary, "has something behind"},
		{"rubbish", keypairtest.Canary, "is not PEM"},
		{"encrypted without password", encrypted, "is encrypted, and private_key_password is missing"},
		{"certificate behind", m.PEM["rsa.key"] + m.PEM["ca"], ""},
		{"chain before", m.PEM["rsa.chain"] + m.PEM["rsa.pkcs1"], ""},
		{"export", exported(m.PEM["rsa.key"], m.PEM["rsa.chain"]), ""},
		{"PKCS#1", m.PEM["rsa.pkcs1"], ""},
		{"PKCS#1 with literal newlines", m.PEM["rsa.pkcs1.literal"], ""},
		{"SEC1 with parameters", m.PEM["ec256.sec1"], ""},
		{"PKCS#8 on one line", strings.ReplaceAll(m.PEM["ec384.key"], "\n", " "), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			key, err := ParseKey(test.key, Password{Name: "private_key_password"})
			checkError(t, err, test.want, test.key)
			if (key == nil) != (test.want != "") {
				t.Errorf("got a key: %t", key != nil)
			}
		})
	}
}

// People exchange PEM labels by hand.
func TestParseKeyIgnoresLabel(t *testing.T) {
	m := testMaterial()
	for name, key := range map[string]string{
		"PKCS#8 as PKCS#1": keypairtest.BlockPEM("RSA PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(m.RSA))),
		"PKCS#1 as PKCS#8": keypairtest.BlockPEM("PRIVATE KEY", x509.MarshalPKCS1PrivateKey(m.RSA)),
		"SEC1 as PKCS#8":   keypairtest.BlockPEM("PRIVATE KEY", must(x509.MarshalECPrivateKey(m.EC256))),
		"PKCS#8 as SEC1":   keypairtest.BlockPEM("EC PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(m.EC256))),
	} {
		if _, err := ParseKey(key, Password{}); err != nil {
			t.Errorf("%s: got %v, want no error", name, err)
		}
	}
}

func TestParseKeyOpensEncryptedKey(t *testing.T) {
	for _, name := range opensslNames(t, "pkcs8-*.pem") {
		t.Run(name, func(t *testing.T) {
			file := string(opensslFile(t, name))
			key, err := ParseKey(file, Password{"private_key_password", "test-only"})
			if err != nil {
				t.Fatal(err)
			}
			if !opensslKey(t).Equal(key.Public()) {
				t.Error("got another key, want that of leaf.pem")
			}
			_, err = ParseKey(file, Password{"private_key_password", "test-wrong"})
			checkError(t, err, "cannot be decrypted: private_key_password is wrong, or the key is damaged", file)
		})
	}
}

func TestParseKeyRefusesEncryption(t *testing.T) {
	tests := map[string]string{
		"refused-pkcs8-pbes1.pem":      "is encrypted in a way that is not supported (PBES1); convert it with openssl pkcs8 ",
		"refused-pkcs8-scrypt.pem":     "is encrypted with scrypt, which is not supported; convert it with openssl pkcs8 ",
		"refused-pkcs8-camellia.pem":   "is encrypted with a cipher that is not supported; convert it with openssl pkcs8 ",
		"refused-pkcs8-iterations.pem": "is encrypted with more than 1000000 iterations",
		"refused-traditional.pem":      "is encrypted in a way that is not supported; convert it with openssl pkcs8 ",
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			file := string(opensslFile(t, name))
			_, err := ParseKey(file, Password{"private_key_password", "test-only"})
			checkError(t, err, want, file)
		})
	}
}
