// Package keypairtest makes private keys and certificates for tests. They are made for each
// run, so that the repository holds no private key that could be used.
package keypairtest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"time"
)

// Canary stands where tests put text that must not appear in any error.
const Canary = "cnry-7f3Qz9"

// Now is a time at which all certificates of [New] are valid.
func Now() time.Time { return time.Date(2027, 1, 15, 12, 0, 0, 0, time.UTC) }

// Material is a set of keys and certificates.
type Material struct {
	RSA          *rsa.PrivateKey
	EC256, EC384 *ecdsa.PrivateKey
	// Intermediate is issued by Root.
	Root, Intermediate Authority
	// PEM holds keys and certificates by name, in the forms that people store.
	PEM map[string]string
}

// Authority is a certificate authority.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// New returns new keys, with certificates that are valid for a day before and after [Now].
func New() *Material {
	m := &Material{
		RSA:   must(rsa.GenerateKey(rand.Reader, 2048)),
		EC256: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		EC384: must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
	}
	m.Root = m.authority("Test Root")
	m.Intermediate = m.authority("Test Intermediate")
	leaf := m.Issue(m.RSA, nil)
	chain := CertificatePEM(leaf, m.Intermediate.Certificate, m.Root.Certificate)
	pkcs1 := BlockPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(m.RSA))
	m.PEM = map[string]string{
		"rsa.chain":         chain,
		"rsa.chain.literal": strings.ReplaceAll(strings.TrimSpace(chain), "\n", `\n`),
		"rsa.key":           KeyPEM(m.RSA),
		"rsa.pkcs1":         pkcs1,
		"rsa.pkcs1.literal": strings.ReplaceAll(pkcs1, "\n", `\r\n`),
		"ec256.key":         KeyPEM(m.EC256),
		"ec256.sec1":        "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + BlockPEM("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(m.EC256))),
		"ec256.selfsigned":  CertificatePEM(SelfSigned(m.EC256)),
		"ec384.key":         KeyPEM(m.EC384),
		"ca":                CertificatePEM(m.Root.Certificate),
		"ca.negative":       m.negativeSerial(),
		"expired":           CertificatePEM(m.Issue(m.RSA, func(c *x509.Certificate) { c.NotAfter = Now().Add(-time.Second) })),
	}
	return m
}

func (m *Material) authority(name string) Authority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return Authority{Key: key, Certificate: m.Issue(key, func(c *x509.Certificate) { c.Subject.CommonName, c.IsCA = name, true })}
}

// negativeSerial returns a root with the serial number -5, as old authorities have one, which
// crypto/x509 refuses. Its signature is wrong then.
func (m *Material) negativeSerial() string {
	root := m.Issue(m.EC256, func(c *x509.Certificate) { c.SerialNumber, c.IsCA = big.NewInt(5), true })
	return BlockPEM("CERTIFICATE", bytes.Replace(root.Raw, []byte{2, 1, 5}, []byte{2, 1, 0xfb}, 1))
}

// Issue returns a certificate for key by the intermediate authority. change may change
// the template; nil changes nothing.
func (m *Material) Issue(key crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber:          must(rand.Int(rand.Reader, big.NewInt(1<<62))),
		Subject:               pkix.Name{CommonName: "test client", Organization: []string{"Acme"}},
		NotBefore:             Now().Add(-24 * time.Hour),
		NotAfter:              Now().Add(24 * time.Hour),
		BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	by := m.Intermediate
	if by.Certificate == nil {
		by = m.Root
	}
	if by.Certificate == nil {
		by = Authority{template, key}
	}
	der := must(x509.CreateCertificate(rand.Reader, template, by.Certificate, key.Public(), by.Key))
	return must(x509.ParseCertificate(der))
}

// SelfSigned returns a self-signed certificate for key. It is marked as a CA, as those of
// openssl req -x509 are.
func SelfSigned(key crypto.Signer) *x509.Certificate {
	return new(Material).Issue(key, func(c *x509.Certificate) { c.IsCA = true })
}

// BlockPEM returns a PEM block.
func BlockPEM(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

// KeyPEM returns key as PKCS#8 in PEM.
func KeyPEM(key crypto.Signer) string {
	return BlockPEM("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
}

// CertificatePEM returns certificates in PEM.
func CertificatePEM(certificates ...*x509.Certificate) string {
	var b strings.Builder
	for _, c := range certificates {
		b.WriteString(BlockPEM("CERTIFICATE", c.Raw))
	}
	return b.String()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
