package registry

import (
	"crypto"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

const unreadablePKCS12 = "is not a PKCS#12 file that can be read: it must be DER with one private key and its certificates"

// readPKCS12 reads pkcs12, a PKCS#12 file in base64.
func (c credential) readPKCS12(now time.Time, problems *report) identity {
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(c.pkcs12.value), ""))
	if err != nil {
		problems.add(c.pkcs12.name, "is not base64")
		return identity{}
	}
	parsed, chain, problem := openPKCS12(der, c.pkcs12Password)
	if problem != "" {
		problems.add(c.pkcs12.name, problem)
		return identity{}
	}
	key, problem := checkKey(parsed)
	if problem != "" {
		problems.add(c.pkcs12.name, problem)
		return identity{}
	}
	chain = leafFirst(chain, key)
	switch {
	case chain == nil:
		problems.add(c.pkcs12.name, "does not hold the certificate of its key")
		return identity{}
	case len(chain) > maxChain:
		problems.add(c.pkcs12.name, "holds more than 10 certificates")
		return identity{}
	}
	checkLeaf(c.pkcs12.name, chain, now, problems)
	return identity{key: key, chain: chain}
}

// leafFirst orders the certificates of a file, which have no order of their
// own. Those that don't belong to the leaf are left out.
func leafFirst(certificates []*x509.Certificate, key crypto.Signer) []*x509.Certificate {
	at := leafIndex(certificates, key)
	if at < 0 {
		return nil
	}
	certificates[0], certificates[at] = certificates[at], certificates[0]
	return issuingOrder(certificates)
}

// openPKCS12 decrypts a PKCS#12 file, after looking at what that will cost.
func openPKCS12(der []byte, password text) (key any, chain []*x509.Certificate, problem string) {
	contents, mac, problem := frame(der)
	if problem != "" {
		return nil, nil, problem
	}
	if mac {
		// The call verifies the MAC before it wants a trust store, and never
		// decrypts a key.
		_, err := pkcs12.DecodeTrustStore(der, password.value)
		if errors.Is(err, pkcs12.ErrIncorrectPassword) {
			return nil, nil, wrongPassword(password)
		}
	}
	der, ok := reframe(contents, password.value)
	if !ok {
		return nil, nil, unreadablePKCS12
	}
	key, leaf, chain, err := pkcs12.DecodeChain(der, password.value)
	switch {
	case err != nil && strings.Contains(err.Error(), pkcs12.ErrDecryption.Error()):
		return nil, nil, wrongPassword(password)
	case err != nil:
		return nil, nil, unreadablePKCS12
	}
	return key, append([]*x509.Certificate{leaf}, chain...), ""
}

func wrongPassword(password text) string {
	return "cannot be decrypted: " + password.name + " is wrong, or the file is damaged"
}

// reframe writes the file again with the contents in their new order: the
// decoder now meets the key that frame has seen before any that an encrypted
// content may hide behind a billion iterations, and stops at the second. Such a
// file needs a MAC again, since the decoder takes none without only for empty
// passwords.
func reframe(contents []asn1.RawValue, password string) (der []byte, ok bool) {
	authSafe, err := asn1.Marshal(contents)
	if err != nil {
		return nil, false
	}
	data, err := asn1.Marshal(authSafe)
	if err != nil {
		return nil, false
	}
	file := pfx{Version: 3, AuthSafe: content{
		Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1},
		Data: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: data},
	}}
	file.MAC, err = newMAC(authSafe, password)
	if err != nil {
		return nil, false
	}
	der, err = asn1.Marshal(file)
	return der, err == nil
}

// newMAC is PBMAC1 (RFC 9579) with one iteration: it never leaves the process,
// so it has nothing to protect.
func newMAC(authSafe []byte, password string) (mac pfxMAC, err error) {
	salt := []byte("in memory")
	key, err := pbkdf2.Key(sha256.New, password, salt, 1, sha256.Size)
	if err != nil {
		return mac, err
	}
	sum := hmac.New(sha256.New, key)
	sum.Write(authSafe)
	hmacSHA256 := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}}
	kdf, err := asn1.Marshal(pbkdf2Parameters{
		Salt:       asn1.RawValue{Tag: asn1.TagOctetString, Bytes: salt},
		Iterations: 1, KeyLength: sha256.Size, PRF: hmacSHA256,
	})
	if err != nil {
		return mac, err
	}
	parameters, err := asn1.Marshal(pbes2{
		KDF: pkix.AlgorithmIdentifier{
			Algorithm:  asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12},
			Parameters: asn1.RawValue{FullBytes: kdf},
		},
		Cipher: hmacSHA256,
	})
	mac.Digest.Algorithm = pkix.AlgorithmIdentifier{
		Algorithm:  asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14},
		Parameters: asn1.RawValue{FullBytes: parameters},
	}
	mac.Digest.Value, mac.Salt, mac.Iterations = sum.Sum(nil), salt, 1
	return mac, err
}
