package kms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

const (
	// maxPlaintext is the longest plaintext in bytes, maxCiphertext the longest
	// ciphertext that Decrypt looks at.
	maxPlaintext  = 4096
	maxCiphertext = 6144
	// maxContext is the most bytes in an encryption context.
	maxContext = 8192
)

type encryptInput struct {
	keyInput
	Plaintext           []byte
	EncryptionContext   map[string]string
	EncryptionAlgorithm string
	options
}

func (s *Server) encrypt(in encryptInput) (any, *apiError) {
	switch {
	case len(in.Plaintext) == 0 || len(in.Plaintext) > maxPlaintext:
		return nil, fail(validation, "Plaintext must have 1 to 4096 bytes")
	case in.check() != nil:
		return nil, in.check()
	}
	k, failure := s.encrypting(in.KeyID, in.EncryptionAlgorithm, in.EncryptionContext)
	if failure != nil {
		return nil, failure
	}
	return map[string]any{"KeyId": s.keyARN(k), "CiphertextBlob": k.seal(in.Plaintext, in.EncryptionContext), "EncryptionAlgorithm": symmetricDefault}, nil
}

// encrypting returns the key of an operation that encrypts or decrypts.
func (s *Server) encrypting(id, algorithm string, context map[string]string) (*key, *apiError) {
	size := 0
	for name, value := range context {
		size += len(name) + len(value)
	}
	switch {
	case size > maxContext:
		return nil, fail(validation, "EncryptionContext has at most 8192 bytes")
	case algorithm != "" && !slices.Contains([]string{symmetricDefault, "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"}, algorithm):
		return nil, fail(validation, "there is no such EncryptionAlgorithm")
	}
	k, failure := s.usable(id, "ENCRYPT_DECRYPT")
	if failure == nil && algorithm != "" && algorithm != symmetricDefault {
		return nil, fail(invalidUsage, "the algorithm is incompatible with key spec "+k.spec)
	}
	return k, failure
}

// A ciphertext is a head, a nonce, and what AES-GCM makes of the rest. The head is
// a version, the 16 bytes of the key's id, and a checksum, which tells a changed
// ciphertext from one whose key is gone. The head is authenticated, and so is the
// context, of which the ciphertext holds nothing.
const (
	blobVersion    = 1
	idLength       = 16
	checksumLength = 4
	headLength     = 1 + idLength + checksumLength
)

// head returns the head of the ciphertexts of the key with those bytes as its id.
func head(id []byte) []byte {
	head := append([]byte{blobVersion}, id...)
	sum := sha256.Sum256(head)
	return append(head, sum[:checksumLength]...)
}

// isOurs reports whether a ciphertext has the head that it was given.
func isOurs(blob []byte) bool {
	return len(blob) >= headLength && bytes.Equal(blob[:headLength], head(blob[1:1+idLength]))
}

func (k *key) seal(plaintext []byte, context map[string]string) []byte {
	id, err := hex.DecodeString(strings.ReplaceAll(k.id, "-", ""))
	if err != nil || len(id) != idLength {
		panic("internal error: impossible id of a key")
	}
	blob := head(id)
	additional := bound(blob, context)
	aead := k.aead()
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	return aead.Seal(append(blob, nonce...), nonce, plaintext, additional)
}

func (k *key) aead() cipher.AEAD {
	block, err := aes.NewCipher(k.symmetric)
	if err != nil {
		panic("internal error: impossible length of a key")
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("internal error: impossible block of a cipher")
	}
	return aead
}

// bound returns what a ciphertext is bound to: its head, and the context's pairs
// in the order of their names, each part after its length.
func bound(head []byte, context map[string]string) []byte {
	out := slices.Clone(head)
	for _, name := range slices.Sorted(maps.Keys(context)) {
		for _, part := range []string{name, context[name]} {
			out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
			out = append(out, part...)
		}
	}
	return out
}

type decryptInput struct {
	keyInput
	CiphertextBlob      []byte
	EncryptionContext   map[string]string
	EncryptionAlgorithm string
	options
}

// decrypt finds the key in the ciphertext. A KeyId is not needed, but if it is
// there, it must be that key's.
func (s *Server) decrypt(in decryptInput) (any, *apiError) {
	switch {
	case len(in.CiphertextBlob) == 0 || len(in.CiphertextBlob) > maxCiphertext:
		return nil, fail(validation, "CiphertextBlob must have 1 to 6144 bytes")
	case in.check() != nil:
		return nil, in.check()
	case !isOurs(in.CiphertextBlob):
		return nil, fail(invalidText, "the ciphertext is not one of KMS, or was changed")
	}
	if in.KeyID != "" {
		if failure := s.checkKey(in); failure != nil {
			return nil, failure
		}
	}
	k, failure := s.encrypting(keyIn(in.CiphertextBlob), in.EncryptionAlgorithm, in.EncryptionContext)
	if failure != nil && failure.Code == notFound {
		// So AWS says it: a stranger is not to learn which keys there are.
		return nil, fail("AccessDeniedException", "the ciphertext refers to a key that does not exist, or that you are not allowed to access")
	}
	if failure != nil {
		return nil, failure
	}
	plaintext, ok := k.open(in.CiphertextBlob, in.EncryptionContext)
	if !ok {
		return nil, fail(invalidText, "the ciphertext or its encryption context is not as it was")
	}
	return map[string]any{"KeyId": s.keyARN(k), "Plaintext": plaintext, "EncryptionAlgorithm": symmetricDefault}, nil
}

// keyIn returns the id that a ciphertext holds.
func keyIn(blob []byte) string {
	id := hex.EncodeToString(blob[1 : 1+idLength])
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// checkKey compares the key that a caller names with the one in the ciphertext.
func (s *Server) checkKey(in decryptInput) *apiError {
	k, failure := s.usable(in.KeyID, "ENCRYPT_DECRYPT")
	if failure == nil && k.id != keyIn(in.CiphertextBlob) {
		return fail(incorrectKey, "the key ID in the request does not identify a key that can perform this operation")
	}
	return failure
}

func (k *key) open(blob []byte, context map[string]string) (plaintext []byte, ok bool) {
	aead := k.aead()
	if len(blob) < headLength+aead.NonceSize() {
		return nil, false
	}
	nonce, sealed := blob[headLength:headLength+aead.NonceSize()], blob[headLength+aead.NonceSize():]
	plaintext, err := aead.Open(nil, nonce, sealed, bound(blob[:headLength], context))
	return plaintext, err == nil
}

type dataKeyInput struct {
	keyInput
	KeySpec           string
	NumberOfBytes     *int
	EncryptionContext map[string]string
	options
}

func (s *Server) generateDataKey(in dataKeyInput) (any, *apiError) {
	size, failure := in.size()
	if failure == nil {
		failure = in.check()
	}
	if failure != nil {
		return nil, failure
	}
	k, failure := s.encrypting(in.KeyID, "", in.EncryptionContext)
	if failure != nil {
		return nil, failure
	}
	data := make([]byte, size)
	_, _ = rand.Read(data) // never fails
	return map[string]any{"KeyId": s.keyARN(k), "Plaintext": data, "CiphertextBlob": k.seal(data, in.EncryptionContext)}, nil
}

func (s *Server) generateDataKeyWithoutPlaintext(in dataKeyInput) (any, *apiError) {
	out, failure := s.generateDataKey(in)
	if failure != nil {
		return nil, failure
	}
	delete(out.(map[string]any), "Plaintext")
	return out, nil
}

// size is that of the data key in bytes.
func (in dataKeyInput) size() (int, *apiError) {
	switch {
	case (in.KeySpec == "") == (in.NumberOfBytes == nil):
		return 0, fail(validation, "Please specify either number of bytes or key spec.")
	case in.KeySpec == "AES_256":
		return 32, nil
	case in.KeySpec == "AES_128":
		return 16, nil
	case in.KeySpec != "":
		return 0, fail(validation, "KeySpec must be AES_256 or AES_128")
	case *in.NumberOfBytes < 1 || *in.NumberOfBytes > 1024:
		return 0, fail(validation, "NumberOfBytes must be 1 to 1024")
	}
	return *in.NumberOfBytes, nil
}
