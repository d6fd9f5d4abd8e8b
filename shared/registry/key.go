package registry

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"strings"
)

const wantedKeys = "RSA of 2048 to 8192 bits, or EC on P-256 or P-384"

// parseKey reads one private key in PEM: PKCS#1, SEC1 or PKCS#8, the latter
// also encrypted. problem is empty, or says what is wrong.
func parseKey(pem string, password text) (key crypto.Signer, problem string) {
	blocks, problem := parsePEM(pem, maxChain)
	if problem != "" {
		return nil, problem
	}
	// openssl ecparam -genkey writes the curve into a block of its own.
	if len(blocks) > 1 && blocks[0].label == "EC PARAMETERS" {
		blocks = blocks[1:]
	}
	if len(blocks) > 1 {
		return nil, "must hold one private key and nothing else"
	}
	parsed, problem := parseKeyBlock(blocks[0], password)
	if problem != "" {
		return nil, problem
	}
	return checkKey(parsed)
}

func parseKeyBlock(b block, password text) (key any, problem string) {
	const unreadable = "holds a private key that cannot be read"
	switch {
	case b.encrypted:
		return nil, "is encrypted in a way that is not supported" + convert
	case b.label == "ENCRYPTED PRIVATE KEY":
		return parseEncryptedKey(b.der, password)
	case b.label == "DSA PRIVATE KEY":
		return nil, "is a DSA key, which is not supported: take " + wantedKeys
	case b.label == "OPENSSH PRIVATE KEY":
		return nil, "is in the format of OpenSSH; convert it with ssh-keygen -p -m PKCS8"
	case strings.HasSuffix(b.label, "PUBLIC KEY"):
		return nil, "is a public key"
	case strings.HasSuffix(b.label, "CERTIFICATE"):
		return nil, "holds a certificate, which does not belong there"
	}
	switch b.label {
	case "RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY":
	default:
		return nil, "holds a PEM block that is not a private key"
	}
	if key = readKey(b.der); key == nil || hasTrailer(b.der) {
		return nil, unreadable
	}
	return key, ""
}

// readKey reads PKCS#8, PKCS#1 or SEC1, whichever it is: labels are known to be
// exchanged by hand. nil: none of them.
func readKey(der []byte) any {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}

func parseEncryptedKey(der []byte, password text) (key any, problem string) {
	if !password.given() {
		return nil, "is encrypted, and " + password.name + " is missing"
	}
	plain, problem := decryptPKCS8(der, password)
	if problem != "" {
		return nil, problem
	}
	key, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil || hasTrailer(plain) {
		// One wrong password in 256 leaves good padding.
		return nil, "cannot be decrypted: " + password.name + " is wrong, or the key is damaged"
	}
	return key, ""
}

// hasTrailer reports whether something follows the key, which crypto/x509 lets
// pass.
func hasTrailer(der []byte) bool {
	var whole asn1.RawValue
	rest, err := asn1.Unmarshal(der, &whole)
	return err != nil || len(rest) > 0
}

// checkKey refuses keys that are too weak, too costly, or that no method here
// can use.
func checkKey(key any) (crypto.Signer, string) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < 2048 || bits > 8192 {
			return nil, "is an RSA key of a size that is not supported: take 2048 to 8192 bits"
		}
		return k, ""
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return nil, "is an EC key on a curve that is not supported: take P-256 or P-384"
		}
		return k, ""
	case ed25519.PrivateKey:
		return nil, "is an Ed25519 key, which is not supported: take " + wantedKeys
	}
	return nil, "is a key of a kind that is not supported: take " + wantedKeys
}
