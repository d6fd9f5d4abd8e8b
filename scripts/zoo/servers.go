package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// servers have certificates that clients refuse, for different reasons, or that ca_certificates
// makes them accept.
func servers(z *zoo) []scenario {
	stranger, err := oauthtest.NewCA("stranger")
	must(err)

	return []scenario{
		{name: "unknown-ca", oddity: "a server of an unknown authority", document: native(nil), serve: behaviour{certificate: issued(stranger, oauthtest.Leaf{CommonName: "a", Hosts: []string{"as.unknown-ca.example"}})}, refused: "unknown authority", check: nothingSent},
		{name: "no-san", oddity: "a server's certificate without subject alternative name", document: native(nil), serve: behaviour{certificate: issued(z.ca, oauthtest.Leaf{CommonName: "as.no-san.example"})}, refused: "no subject alternative name", check: nothingSent},
		{name: "sha-1", oddity: "a server's certificate that is signed with SHA-1", document: native(nil), serve: behaviour{certificate: z.signedWithSHA1("as.sha-1.example")}, refused: "SHA-1", check: nothingSent},
		{name: "old-root", oddity: "ca_certificates with an old root whose serial number is negative, and the good one", document: native(doc{
			"ca_certificates": negativeSerial() + oauthtest.CertificatePEM(stranger.Certificate),
		}), serve: behaviour{certificate: issued(stranger, oauthtest.Leaf{CommonName: "b", Hosts: []string{"as.old-root.example"}})}, check: sentTo("/token")},
		{name: "old-root-list", oddity: "the same as a list", document: native(doc{
			"ca_certificates": []string{oauthtest.CertificatePEM(stranger.Certificate), negativeSerial()},
		}), serve: behaviour{certificate: issued(stranger, oauthtest.Leaf{CommonName: "c", Hosts: []string{"as.old-root-list.example"}})}, check: sentTo("/token")},
	}
}

// must ends the program if a key or a certificate cannot be made, which never happens.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func issued(ca *oauthtest.CA, leaf oauthtest.Leaf) *tls.Certificate {
	made, err := ca.Issue(leaf)
	must(err)
	pair := made.TLS()
	return &pair
}

func (z *zoo) signedWithSHA1(host string) *tls.Certificate {
	text, err := z.ca.PEM()
	must(err)
	ca, err := tls.X509KeyPair([]byte(text), []byte(text))
	must(err)
	key, err := oauthtest.NewKey(oauthtest.P256)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), DNSNames: []string{host}, SignatureAlgorithm: x509.ECDSAWithSHA1,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey)
	must(err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// negativeSerial returns a root with the serial number -5, which crypto/x509 refuses.
func negativeSerial() string {
	key, err := oauthtest.NewKey(oauthtest.P256)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(5), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(err)
	der = bytes.Replace(der, []byte{2, 1, 5}, []byte{2, 1, 0xfb}, 1)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
