package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// certificates are PEM texts and handshakes as people and servers have them.
func certificates(z *zoo) []scenario {
	pair, own := z.selfSigned("as.self-signed.example")
	mutual := func(host, chain, key string) doc {
		d := doc{"token_endpoint": "https://" + host + "/token", "client_id": theID, "token_endpoint_auth_method": "tls_client_auth"}
		if chain != "" {
			d["certificate"] = chain
		}
		if key != "" {
			d["private_key"] = key
		}
		return d
	}
	return []scenario{
		{name: "one-member", oddity: "PEM: key and chain in one member", document: func(z *zoo, h string) any {
			chain, key := z.pair("one-member")
			return mutual(h, key+chain, "")
		}, check: func(v *outcome) error { return shown(v, "one-member") }},
		{name: "bag-attributes", oddity: "openssl pkcs12 -nodes: bag attributes, the same text in both members", document: func(z *zoo, h string) any {
			chain, key := z.pair("bag-attributes")
			text := "Bag Attributes\n    localKeyID: 01 02 \n    friendlyName: zoo\nKey Attributes: <No Attributes>\n" + key +
				"Bag Attributes\n    localKeyID: 01 02 \nsubject=CN = bag-attributes\n\nissuer=CN = zoo\n\n" + chain
			return mutual(h, text, text)
		}, check: func(v *outcome) error { return shown(v, "bag-attributes") }},
		{name: "not-a-clients", oddity: "a certificate that may not be a client's is found before a logon", document: func(z *zoo, h string) any {
			chain, key := serverOnly("not-a-clients")
			return mutual(h, chain, key)
		}, refused: "certificate", check: nothingSent},
		{name: "beside-basic", oddity: "a certificate that no method uses", document: func(z *zoo, h string) any {
			chain, key := z.pair("beside-basic")
			return doc{
				"token_endpoint": "https://" + h + "/token", "client_id": theID, "client_secret": theSecret, "token_endpoint_auth_method": "client_secret_basic",
				"certificate": chain, "private_key": key,
			}
		}, refused: "certificate", check: nothingSent},
		{name: "bound", oddity: "oidc-provider: a certificate offered beside a secret (RFC 8705 section 3)", document: func(z *zoo, h string) any {
			chain, key := z.pair("bound")
			return doc{
				"token_endpoint": "https://" + h + "/token", "client_id": theID, "client_secret": theSecret, "token_endpoint_auth_method": "client_secret_basic",
				"certificate": chain, "private_key": key, "certificate_bound": "allow",
			}
		}, check: func(v *outcome) error {
			if _, _, ok := basicAuth(v.requests[0]); !ok {
				return errors.New("the secret was not sent by HTTP Basic")
			}
			return shown(v, "bound")
		}},
		{name: "self-signed", oddity: "a server whose certificate is its own issuer and not a CA", document: fixed(func(h string) any {
			return doc{"token_endpoint": "https://" + h + "/token", "client_id": theID, "client_secret": theSecret, "ca_certificates": own}
		}), serve: behaviour{certificate: &pair}, check: sentTo("/token")},
		{name: "no-alert", oddity: "a server that ends a mutual-TLS connection without an alert", document: func(z *zoo, h string) any {
			chain, key := z.pair("no-alert")
			return mutual(h, chain, key)
		}, serve: behaviour{tls: func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, answer: dropShown}, refused: "certificate", check: func(v *outcome) error {
			if v.answers[0]["errorType"] != "server_error" {
				return fmt.Errorf("the error was %v, want server_error", v.answers[0]["errorType"])
			}
			return nil
		}},
	}
}

// dropShown ends the connection of a client that shows a certificate.
func dropShown(w http.ResponseWriter, r *http.Request) {
	if len(r.TLS.PeerCertificates) == 0 {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = connection.Close()
	}
}

// selfSigned returns a server's certificate that is its own issuer, and the same in PEM.
func (z *zoo) selfSigned(host string) (tls.Certificate, string) {
	issued, err := oauthtest.SelfSigned(oauthtest.Leaf{CommonName: host, Hosts: []string{host}})
	if err != nil {
		panic(err) // generating a key never fails
	}
	return issued.TLS(), oauthtest.CertificatePEM(issued.Chain...)
}

// serverOnly returns a certificate that may be a server's only, and its key, in PEM.
func serverOnly(commonName string) (chain, key string) {
	private, err := oauthtest.NewKey(oauthtest.P256)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: commonName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	text, err := oauthtest.KeyPEM(private)
	if err != nil {
		panic(err)
	}
	return oauthtest.CertificatePEM(certificate), text
}
