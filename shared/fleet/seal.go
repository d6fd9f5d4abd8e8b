package fleet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
)

const (
	// keyBytes is the length of a data key.
	keyBytes = 32
	// maxSealed bounds what is opened: DynamoDB's items end at 400 KB, a token
	// at 64 KiB.
	maxSealed = 128 << 10
)

// seal is an epoch's key at work. It is immutable.
type seal struct {
	names      []byte // key of the rows' names
	signatures []byte // key of what is signed
	aead       cipher.AEAD
}

// newSeal makes three keys of one: AES-256 for what rows say, HMAC-SHA-256 for their
// names and for what is signed (NIST SP 800-108 by way of RFC 5869).
func newSeal(key []byte) (*seal, error) {
	if len(key) != keyBytes {
		return nil, errors.New("the data key is not 32 bytes long")
	}
	names, err := hkdf.Expand(sha256.New, key, "token vendor: names", sha256.Size)
	if err != nil {
		return nil, err
	}
	signatures, err := hkdf.Expand(sha256.New, key, "token vendor: signatures", sha256.Size)
	if err != nil {
		return nil, err
	}
	contents, err := hkdf.Expand(sha256.New, key, "token vendor: contents", keyBytes)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(contents)
	if err != nil {
		return nil, err
	}
	// A random nonce is safe for 2^32 messages under one key (NIST SP 800-38D
	// section 8.3); an epoch is a day.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &seal{names: names, signatures: signatures, aead: aead}, err
}

// name is the name of the row for id: whoever reads it can't guess the client or
// the scope, and can't tell a token's row from another.
func (s *seal) name(kind Kind, id string) string {
	mac := hmac.New(sha256.New, s.names)
	mac.Write([]byte{byte(kind)})
	mac.Write([]byte(id))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// The places in a row, part of what is authenticated.
const (
	placeState = "state"
	placeValue = "value"
)

func (s *seal) close(row, place string, plain []byte) []byte {
	// #nosec G407 -- the AEAD makes a random nonce itself and wants none.
	return s.aead.Seal(nil, nil, plain, []byte(place+" "+row))
}

func (s *seal) open(row, place string, sealed []byte) ([]byte, bool) {
	if len(sealed) < s.aead.Overhead() || len(sealed) > maxSealed {
		return nil, false
	}
	plain, err := s.aead.Open(nil, nil, sealed, []byte(place+" "+row))
	return plain, err == nil
}
