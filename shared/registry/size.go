package registry

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
)

// Sizes in memory, in bytes, as Go allocates them on 64-bit systems.
const (
	clientSize      = 600
	shadowSize      = 160
	stringSize      = 16 // without the text
	mapSize         = 48
	certificateSize = 1500
	attributeSize   = 100
	extensionSize   = 64
	rsaKeySize      = 2300 // without the numbers
	otherKeySize    = 400
)

// Size returns the size of the client in memory, in bytes: what it adds to that of the other
// clients in use. Connections and authorities that it shares with them do not count.
func (c *Client) Size() int {
	size := clientSize + c.material + len(c.Name) + len(c.Version) + len(c.Terms) + len(c.Credential) + len(c.IssuerHost) +
		len(c.Defaults.Audience) + len(c.Defaults.TokenFormat) + len(c.discovered) + texts(c.Notes) + mapOf(c.Allow)
	size += texts(c.Defaults.Scope) + texts(c.Defaults.Resource) + len(c.Defaults.AppTID) + mapOf(c.Defaults.Parameters)
	for name, value := range c.Defaults.Parameters {
		size += len(name) + len(value)
	}
	if c.OAuth != nil {
		size += c.OAuth.Size()
	}
	if c.Shadow != nil {
		size += shadowSize + c.Shadow.material + len(c.Shadow.Problem) + len(c.Shadow.Credential)
		if c.Shadow.OAuth != nil {
			size += c.Shadow.OAuth.Size()
		}
	}
	return size
}

func texts(list []string) (size int) {
	for _, text := range list {
		size += stringSize + len(text)
	}
	return size
}

// mapOf returns the size of a map, which grows by groups of eight.
func mapOf[V any](m map[string]V) int {
	const slot = stringSize + stringSize
	return mapSize + (len(m)+7)/8*8*slot
}

// materialOf returns the size of the credential in memory: of the secret, the private key, and the
// certificates. Of a chain only the first one is kept parsed.
func materialOf(d *document) int {
	size := len(d.credential.secret.value) + keySize(d.pair.Key)
	for i, c := range d.pair.Chain {
		if i == 0 {
			size += sizeOf(c)
		} else if d.showsCertificate() {
			size += len(c.Raw)
		}
	}
	return size
}

// keySize returns the size of a private key; nil has none.
func keySize(key crypto.Signer) int {
	switch key := key.(type) {
	case nil:
		return 0
	case *rsa.PrivateKey:
		return rsaKeySize + 9*key.Size()
	}
	return otherKeySize
}

// sizeOf returns the size of parsed certificates.
func sizeOf(certificates ...*x509.Certificate) (size int) {
	for _, c := range certificates {
		names := len(c.DNSNames) + len(c.EmailAddresses) + len(c.IPAddresses) + len(c.URIs)
		size += certificateSize + len(c.Raw) + attributeSize*(len(c.Subject.Names)+len(c.Issuer.Names)) + extensionSize*len(c.Extensions) + 2*stringSize*names
	}
	return size
}
