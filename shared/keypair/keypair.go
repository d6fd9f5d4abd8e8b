// Package keypair reads private keys and certificates as people store them: PEM, PKCS#8, JWK,
// also encrypted, and PKCS#12. Start with [ParseKey], [ParseJWK], [ParseChain] and
// [ParsePKCS12].
//
// The input may be secret or hostile. An error is a phrase that follows the name of what
// was read ("is not PEM"), and holds no part of the input. Sizes and iteration counts are
// checked before they cost anything. All functions are safe for concurrent use.
//
// The package imports the standard library, strictjson and a PKCS#12 decoder. It does not know
// where the input comes from.
package keypair

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Supported describes the keys that are accepted, for error texts.
const Supported = "RSA of 2048 to 8192 bits, EC on P-256, P-384 or P-521, or Ed25519"

// Describe names the kind and the size of a public key, such as RSA 2048 or EC P-256; empty if
// it is none of [Supported].
func Describe(public crypto.PublicKey) string {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return "RSA " + strconv.Itoa(k.N.BitLen())
	case *ecdsa.PublicKey:
		return "EC " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return ""
}

// Pair is a private key with its certificates.
type Pair struct {
	// Key is nil if there is no private key.
	Key crypto.Signer
	// Chain begins with the leaf, the certificate of Key. Each certificate is followed
	// by its issuer, as far as that is known. Empty if there is no certificate.
	Chain []*x509.Certificate
	// KeyID and Algorithm are the members kid and alg of a JWK; empty: it has none, or the key
	// is no JWK.
	KeyID, Algorithm string
}

// Password decrypts a private key or a PKCS#12 file.
type Password struct {
	// Name is how error texts refer to the password.
	Name string
	// Value is the password; empty if there is none.
	Value string
}

func (p Password) wrong(what string) error {
	if p.Value == "" {
		return errors.New("cannot be decrypted: " + p.Name + " is missing, or the " + what + " is damaged")
	}
	return errors.New("cannot be decrypted: " + p.Name + " is wrong, or the " + what + " is damaged")
}

// ParseKey reads one private key in PEM: PKCS#1, SEC1 or PKCS#8. A PKCS#8 key may be
// encrypted. Certificates beside it are ignored; [ParseChain] reads them. The key is one of
// [Supported].
func ParseKey(text string, password Password) (crypto.Signer, error) {
	blocks, err := parsePEM(text, maxBlocks)
	if err != nil {
		return nil, err
	}
	if keys := slices.DeleteFunc(slices.Clone(blocks), pemBlock.besideKey); len(keys) > 0 {
		blocks = keys
	}
	if len(blocks) > 1 {
		return nil, errors.New("must hold one private key, and certificates at most beside it")
	}
	key, err := parseKeyBlock(blocks[0], password)
	if err != nil {
		return nil, err
	}
	return checkKey(key)
}

func parseKeyBlock(b pemBlock, password Password) (key any, err error) {
	switch {
	case b.encrypted:
		return nil, errors.New("is encrypted in a way that is not supported" + convert)
	case b.label == "ENCRYPTED PRIVATE KEY":
		return parseEncryptedKey(b.der, password)
	case b.label == "DSA PRIVATE KEY":
		return nil, errors.New("is a DSA key, which is not supported: take " + Supported)
	case b.label == "OPENSSH PRIVATE KEY":
		return nil, errors.New("is in the format of OpenSSH; convert it with ssh-keygen -p -m PKCS8")
	case strings.HasSuffix(b.label, "PUBLIC KEY"):
		return nil, errors.New("is a public key")
	case strings.HasSuffix(b.label, "CERTIFICATE"):
		return nil, errors.New("holds a certificate, which does not belong there")
	case !slices.Contains([]string{"RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY"}, b.label):
		return nil, errors.New("holds a PEM block that is not a private key")
	}
	if key = parseDER(b.der); key == nil {
		return nil, errors.New("holds a private key that cannot be read")
	}
	return key, nil
}

// parseDER reads PKCS#8, PKCS#1 or SEC1 without regard to the label, because people
// exchange labels by hand. It returns nil if der is none of them.
func parseDER(der []byte) any {
	// crypto/x509 ignores trailing data.
	if !unmarshalAll(der, new(asn1.RawValue)) {
		return nil
	}
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

func parseEncryptedKey(der []byte, password Password) (key any, err error) {
	if password.Value == "" {
		return nil, errors.New("is encrypted, and " + password.Name + " is missing")
	}
	plain, err := decryptPKCS8(der, password.Value)
	if err != nil {
		return nil, err
	}
	// One wrong password in 256 leaves good padding.
	if key, err = x509.ParsePKCS8PrivateKey(plain); err != nil || !unmarshalAll(plain, new(asn1.RawValue)) {
		return nil, password.wrong("key")
	}
	return key, nil
}

// checkKey refuses keys that are too weak or too costly, or that no authentication
// method can use.
func checkKey(key any) (crypto.Signer, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if bits := k.N.BitLen(); bits < 2048 || bits > 8192 {
			return nil, errors.New("is an RSA key of a size that is not supported: take 2048 to 8192 bits")
		}
		return k, nil
	case *ecdsa.PrivateKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return nil, errors.New("is an EC key on a curve that is not supported: take P-256, P-384 or P-521")
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, errors.New("is a key of a kind that is not supported: take " + Supported)
}
