package keypair

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"hash"

	"tokenvendor/shared/nowait"
)

// maxIterations limits key derivation, whose cost the input chooses. OpenSSL and Java
// write 2048 to 10000 iterations, OWASP recommends 600000.
const maxIterations = 1_000_000

// convert is the advice for keys that are encrypted in another way.
const convert = "; convert it with openssl pkcs8 -topk8 -v2 aes-256-cbc"

// The algorithms of RFC 8018 and RFC 7914 by their object identifiers.
const (
	oidPBES2  = "1.2.840.113549.1.5.13"
	oidPBKDF2 = "1.2.840.113549.1.5.12"
	oidPBMAC1 = "1.2.840.113549.1.5.14"
	oidScrypt = "1.3.6.1.4.1.11591.4.11"
)

var errBroken = errors.New("holds an encrypted private key that cannot be read")

// encryptedKey is EncryptedPrivateKeyInfo (RFC 5958 section 3).
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

// pbes2 is PBES2-params, pbkdf2Parameters PBKDF2-params (RFC 8018 appendix A).
type pbes2 struct {
	KDF, Cipher pkix.AlgorithmIdentifier
}

type pbkdf2Parameters struct {
	Salt       asn1.RawValue
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

// decryptPKCS8 decrypts an encrypted PKCS#8 key: PBES2 with PBKDF2 and AES or 3DES in CBC,
// which is what OpenSSL has written since version 1.1. plain is nil if the padding is
// wrong, which means a wrong password or a damaged key.
func decryptPKCS8(der []byte, password string) (plain []byte, err error) {
	var info encryptedKey
	var scheme pbes2
	if !unmarshalAll(der, &info) {
		return nil, errBroken
	}
	if info.Algorithm.Algorithm.String() != oidPBES2 {
		return nil, errors.New("is encrypted in a way that is not supported (PBES1)" + convert)
	}
	if !unmarshalAll(info.Algorithm.Parameters.FullBytes, &scheme) {
		return nil, errBroken
	}
	derive, err := keyDerivation(scheme.KDF)
	if err != nil {
		return nil, err
	}
	size, newBlock := blockCipher(scheme.Cipher.Algorithm)
	if newBlock == nil {
		return nil, errors.New("is encrypted with a cipher that is not supported" + convert)
	}
	key, err := derive(password, size)
	if err != nil {
		return nil, errBroken
	}
	return decryptCBC(newBlock, key, scheme.Cipher.Parameters, info.Data)
}

// unmarshalAll reads der, which must be one value with nothing behind it.
func unmarshalAll(der []byte, value any) bool {
	trailing, err := asn1.Unmarshal(der, value)
	return err == nil && len(trailing) == 0
}

// keyDerivation returns PBKDF2 with the given parameters. It checks the cost first.
func keyDerivation(kdf pkix.AlgorithmIdentifier) (derive func(password string, size int) ([]byte, error), err error) {
	switch kdf.Algorithm.String() {
	case oidPBKDF2:
	case oidScrypt:
		return nil, errors.New("is encrypted with scrypt, which is not supported" + convert)
	default:
		return nil, errors.New("is encrypted in a way that is not supported" + convert)
	}
	var p pbkdf2Parameters
	if !unmarshalAll(kdf.Parameters.FullBytes, &p) || p.Salt.Class != asn1.ClassUniversal || p.Salt.Tag != asn1.TagOctetString {
		return nil, errBroken
	}
	if p.Iterations < 1 || p.Iterations > maxIterations {
		return nil, errors.New("is encrypted with more than 1000000 iterations" + convert)
	}
	newHash := prf(p.PRF.Algorithm)
	if newHash == nil {
		return nil, errors.New("is encrypted with a hash that is not supported" + convert)
	}
	return func(password string, size int) ([]byte, error) {
		nowait.WakeMonitor() // deriving the key may take a second
		return pbkdf2.Key(newHash, password, p.Salt.Bytes, p.Iterations, size)
	}, nil
}

// prf returns the hash of PBKDF2's HMAC; nil if it is not supported. SHA-1 is the default
// of RFC 8018, and HMAC with it is not broken.
func prf(algorithm asn1.ObjectIdentifier) func() hash.Hash {
	return map[string]func() hash.Hash{
		"":                    sha1.New,
		"1.2.840.113549.2.7":  sha1.New,
		"1.2.840.113549.2.8":  sha256.New224,
		"1.2.840.113549.2.9":  sha256.New,
		"1.2.840.113549.2.10": sha512.New384,
		"1.2.840.113549.2.11": sha512.New,
	}[algorithm.String()]
}

// blockCipher returns the length of the key in bytes and the cipher; nil if it is not
// supported. Old files have 3DES, which is only decrypted here.
func blockCipher(algorithm asn1.ObjectIdentifier) (size int, newBlock func(key []byte) (cipher.Block, error)) {
	switch algorithm.String() {
	case "2.16.840.1.101.3.4.1.2":
		return 16, aes.NewCipher
	case "2.16.840.1.101.3.4.1.22":
		return 24, aes.NewCipher
	case "2.16.840.1.101.3.4.1.42":
		return 32, aes.NewCipher
	case "1.2.840.113549.3.7":
		return 24, des.NewTripleDESCipher
	}
	return 0, nil
}

// decryptCBC decrypts and removes the padding. plain is nil if the padding is wrong; the error
// is for data that no password can decrypt.
func decryptCBC(newBlock func([]byte) (cipher.Block, error), key []byte, iv asn1.RawValue, data []byte) (plain []byte, err error) {
	block, err := newBlock(key)
	if err != nil || len(iv.Bytes) != block.BlockSize() || len(data) == 0 || len(data)%block.BlockSize() != 0 {
		return nil, errBroken
	}
	plain = make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv.Bytes).CryptBlocks(plain, data)
	n := int(plain[len(plain)-1])
	if n < 1 || n > block.BlockSize() || n == len(plain) ||
		!bytes.Equal(plain[len(plain)-n:], bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, nil
	}
	return plain[:len(plain)-n], nil
}
