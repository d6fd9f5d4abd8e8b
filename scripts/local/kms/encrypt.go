package kms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
)

// maxCiphertext is the largest ciphertext in bytes that Decrypt accepts.
const maxCiphertext = 6144

// A ciphertext is the id of the key, the nonce, and the output of AES-GCM. The id and the
// encryption context are authenticated. The ciphertext does not contain the context.
const (
	idLength   = 36
	headLength = idLength + 12
)

func (k *key) seal(plaintext []byte, context map[string]string) []byte {
	nonce := make([]byte, k.aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return k.aead.Seal(append([]byte(k.id), nonce...), nonce, plaintext, k.additional(context))
}

func (k *key) open(ciphertext []byte, context map[string]string) ([]byte, error) {
	nonce, sealed := ciphertext[idLength:headLength], ciphertext[headLength:]
	return k.aead.Open(nil, nonce, sealed, k.additional(context))
}

// newAEAD returns AES-GCM with a key.
func newAEAD(material []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(material)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// additional returns the additional authenticated data: the key's id and the context as JSON,
// which has the names in order.
func (k *key) additional(context map[string]string) []byte {
	if len(context) == 0 {
		context = map[string]string{} // an empty context is the same as none
	}
	text, err := json.Marshal(context)
	if err != nil {
		panic("internal error: a context that cannot be encoded")
	}
	return append([]byte(k.id), text...)
}

// decrypt finds the key by the ciphertext. A KeyId is optional, and must then be this key's.
func (s *Server) decrypt(in struct {
	keyInput
	CiphertextBlob    []byte
	EncryptionContext map[string]string
}) (any, *apiError) {
	switch n := len(in.CiphertextBlob); {
	case n == 0 || n > maxCiphertext:
		return nil, fail(validation, "CiphertextBlob must have 1 to 6144 bytes")
	case n < headLength:
		return nil, fail(invalidText, "the ciphertext is not one of KMS")
	}
	k, failure := s.decrypting(in.KeyID, string(in.CiphertextBlob[:idLength]))
	if failure != nil {
		return nil, failure
	}
	plaintext, err := k.open(in.CiphertextBlob, in.EncryptionContext)
	if err != nil {
		return nil, fail(invalidText, "the ciphertext or its encryption context was changed")
	}
	return map[string]any{"KeyId": s.keyARN(k), "Plaintext": plaintext, "EncryptionAlgorithm": symmetricDefault}, nil
}

// decrypting returns the key with the id in a ciphertext. named is the key that the caller
// expects. Empty: any key.
func (s *Server) decrypting(named, id string) (*key, *apiError) {
	if named != "" {
		k, failure := s.usable(named, encryptDecrypt)
		if failure != nil {
			return nil, failure
		}
		named = k.id
	}
	k, failure := s.usable(id, encryptDecrypt)
	switch {
	case failure != nil && failure.Code == notFound, failure == nil && k.id != id:
		return nil, fail(invalidText, "the ciphertext is not one of KMS")
	case failure != nil:
		return nil, failure
	case named != "" && named != k.id:
		return nil, fail(incorrectKey, "KeyId is not the key of the ciphertext")
	}
	return k, nil
}

func (s *Server) generateDataKey(in struct {
	keyInput
	KeySpec           string
	EncryptionContext map[string]string
}) (any, *apiError) {
	if in.KeySpec != "AES_256" {
		return nil, fail(validation, "only the KeySpec AES_256 is supported")
	}
	k, failure := s.usable(in.KeyID, encryptDecrypt)
	if failure != nil {
		return nil, failure
	}
	data := make([]byte, 32)
	_, _ = rand.Read(data) // never fails
	return map[string]any{"KeyId": s.keyARN(k), "Plaintext": data, "CiphertextBlob": k.seal(data, in.EncryptionContext)}, nil
}
