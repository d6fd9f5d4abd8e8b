package registry

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// canary stands where a document may hold what nobody must see again.
	canary = "cnry-7f3Qz9"
	// testSecret has the characters of a secret that SAP generates, and more.
	testSecret = canary + `]:?/=.+%2 &ü_-:`
)

// testNow lies in the life of every certificate that the tests make.
func testNow() time.Time { return time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC) }

// material is what documents are filled with: made for each run, so that no
// usable private key lies in the repository.
type material struct {
	rsa          *rsa.PrivateKey
	ec256, ec384 *ecdsa.PrivateKey
	ca, inter    issuer
	// values are the placeholders of testdata/documents.
	values map[string]string
}

// issuer is a certificate with its key.
type issuer struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

var testMaterial = sync.OnceValue(func() *material {
	m := &material{}
	m.rsa = must(rsa.GenerateKey(rand.Reader, 2048))
	m.ec256 = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	m.ec384 = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	caKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	m.ca = issuer{key: caKey}
	m.ca.certificate = m.issue(caKey, func(c *x509.Certificate) { c.Subject.CommonName, c.IsCA = "Test Root", true })
	interKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	m.inter = issuer{key: interKey}
	m.inter.certificate = m.issue(interKey, func(c *x509.Certificate) { c.Subject.CommonName, c.IsCA = "Test Intermediate", true })
	m.fill()
	return m
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// issue makes a certificate for key: by the intermediate, which is by the root.
func (m *material) issue(key crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	by := m.inter
	if by.certificate == nil {
		by = m.ca
	}
	template := &x509.Certificate{
		SerialNumber:          must(rand.Int(rand.Reader, big.NewInt(1<<62))),
		Subject:               pkix.Name{CommonName: "test client", Organization: []string{"Acme"}},
		NotBefore:             testNow().Add(-24 * time.Hour),
		NotAfter:              testNow().Add(24 * time.Hour),
		BasicConstraintsValid: true,
	}
	change(template)
	if by.certificate == nil {
		by = issuer{template, key}
	}
	der := must(x509.CreateCertificate(rand.Reader, template, by.certificate, key.Public(), by.key))
	return must(x509.ParseCertificate(der))
}

func selfSigned(key crypto.Signer) *x509.Certificate {
	// As openssl req -x509 does it: marked as a CA.
	return (&material{}).issue(key, func(c *x509.Certificate) { c.IsCA = true })
}

func (m *material) fill() {
	leaf := m.issue(m.rsa, func(*x509.Certificate) {})
	chain := certificatePEM(leaf, m.inter.certificate, m.ca.certificate)
	pkcs1 := blockPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(m.rsa))
	m.values = map[string]string{
		"canary":            canary,
		"secret":            testSecret,
		"rsa.chain":         chain,
		"rsa.chain.literal": strings.ReplaceAll(strings.TrimSpace(chain), "\n", `\n`),
		"rsa.key":           keyPEM(m.rsa),
		"rsa.pkcs1":         pkcs1,
		"rsa.pkcs1.literal": strings.ReplaceAll(pkcs1, "\n", `\r\n`),
		"ec256.key":         keyPEM(m.ec256),
		"ec256.sec1":        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + blockPEM("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(m.ec256))),
		"ec256.selfsigned":  certificatePEM(selfSigned(m.ec256)),
		"ec384.key":         keyPEM(m.ec384),
		"ca":                certificatePEM(m.ca.certificate),
		"expired":           certificatePEM(m.issue(m.rsa, func(c *x509.Certificate) { c.NotAfter = testNow().Add(-time.Second) })),
	}
}

func blockPEM(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

func keyPEM(key crypto.Signer) string {
	return blockPEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
}

func certificatePEM(certificates ...*x509.Certificate) string {
	var b strings.Builder
	for _, c := range certificates {
		b.WriteString(blockPEM("CERTIFICATE", c.Raw))
	}
	return b.String()
}

var placeholder = regexp.MustCompile(`\$\{([^}]+)\}`)

// fillDocument puts material into the placeholders of a document.
func fillDocument(t testing.TB, template string) []byte {
	t.Helper()
	filled := placeholder.ReplaceAllStringFunc(template, func(mark string) string {
		name := mark[2 : len(mark)-1]
		value, ok := testMaterial().values[name]
		if file, isFile := strings.CutPrefix(name, "file:"); isFile {
			value, ok = base64.StdEncoding.EncodeToString(opensslFile(t, file)), true
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
	data, err := os.ReadFile(filepath.Join("testdata", "openssl", name))
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
	forbidden := []string{canary, "BEGIN ", "MII", "test-only"}
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
	cfg := Config{Secrets: documentReader(document), Prefix: "token-vendor/clients/", Now: testNow, Discover: discoverExample}
	if change != nil {
		change(&cfg)
	}
	return New(cfg).Load(t.Context(), "billing", Have{})
}
