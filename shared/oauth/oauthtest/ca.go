package oauthtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"time"
)

// KeyKind is a type of private key.
type KeyKind int

// The key types. Generating an RSA key is slow.
const (
	P256 KeyKind = iota
	P384
	P521
	Ed25519
	RSA2048
)

// NewKey generates a private key.
func NewKey(kind KeyKind) (crypto.Signer, error) {
	switch kind {
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case P521:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// KeyPEM returns key as PKCS#8 in PEM.
func KeyPEM(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), err
}

// CertificatePEM returns certificates in PEM, in the given order.
func CertificatePEM(chain ...*x509.Certificate) string {
	var text []byte
	for _, c := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return string(text)
}

// CA is a certificate authority for tests. It is immutable.
type CA struct {
	Certificate *x509.Certificate
	// Chain are the certificates from this authority's own up to the root, which is not
	// included; empty for a root.
	Chain []*x509.Certificate
	key   crypto.Signer
}

// NewCA returns a root.
func NewCA(name string) (*CA, error) { return newCA(name, nil) }

// Intermediate returns an authority whose certificate ca signs.
func (ca *CA) Intermediate(name string) (*CA, error) { return newCA(name, ca) }

func newCA(name string, parent *CA) (*CA, error) {
	key, err := NewKey(P256)
	if err != nil {
		return nil, err
	}
	template := certificateTemplate(Leaf{CommonName: name, NotAfter: time.Now().AddDate(10, 0, 0)})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.ExtKeyUsage = nil
	issuer, signer := template, key
	if parent != nil {
		issuer, signer = parent.Certificate, parent.key
	}
	certificate, err := sign(template, issuer, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	ca := &CA{Certificate: certificate, key: key}
	if parent != nil {
		ca.Chain = append([]*x509.Certificate{certificate}, parent.Chain...)
	}
	return ca, nil
}

// PEM returns the certificate and the private key of a root, for [ParseCA].
func (ca *CA) PEM() (string, error) {
	key, err := KeyPEM(ca.key)
	return CertificatePEM(ca.Certificate) + key, err
}

// ParseCA returns the root that PEM encoded.
func ParseCA(text string) (*CA, error) {
	pair, err := tls.X509KeyPair([]byte(text), []byte(text))
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign")
	}
	return &CA{Certificate: pair.Leaf, key: key}, nil
}

// Leaf describes a certificate to issue.
type Leaf struct {
	CommonName string
	// Key is the certificate's key, which several certificates may share; nil: a new P-256
	// key.
	Key crypto.Signer
	// NotBefore and NotAfter limit the validity; zero: one hour ago and in one day.
	NotBefore, NotAfter time.Time
	// Hosts are the DNS names and IP addresses of a server's certificate.
	Hosts []string
}

// Issued is a certificate with its key and chain, leaf first.
type Issued struct {
	Key   crypto.Signer
	Chain []*x509.Certificate
}

// Issue returns a certificate signed by ca.
func (ca *CA) Issue(leaf Leaf) (*Issued, error) { return issue(leaf, ca) }

// SelfSigned returns a certificate that is its own issuer.
func SelfSigned(leaf Leaf) (*Issued, error) { return issue(leaf, nil) }

func issue(leaf Leaf, ca *CA) (*Issued, error) {
	if leaf.Key == nil {
		key, err := NewKey(P256)
		if err != nil {
			return nil, err
		}
		leaf.Key = key
	}
	template := certificateTemplate(leaf)
	issuer, signer := template, leaf.Key
	var chain []*x509.Certificate
	if ca != nil {
		issuer, signer, chain = ca.Certificate, ca.key, ca.Chain
	}
	certificate, err := sign(template, issuer, leaf.Key.Public(), signer)
	if err != nil {
		return nil, err
	}
	return &Issued{Key: leaf.Key, Chain: append([]*x509.Certificate{certificate}, chain...)}, nil
}

// TLS returns the certificate for a tls.Config.
func (i *Issued) TLS() tls.Certificate {
	c := tls.Certificate{PrivateKey: i.Key, Leaf: i.Chain[0]}
	for _, link := range i.Chain {
		c.Certificate = append(c.Certificate, link.Raw)
	}
	return c
}

func certificateTemplate(leaf Leaf) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	c := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: leaf.CommonName, Organization: []string{"Example"}},
		NotBefore:    leaf.NotBefore,
		NotAfter:     leaf.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(24 * time.Hour)
	}
	for _, host := range leaf.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, host)
		}
	}
	return c
}

func sign(template, issuer *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
