package kms

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // of the algorithms, with SHA-384 and SHA-512 in crypto/sha512
	_ "crypto/sha512"
	"crypto/x509"
	"slices"
	"strings"
)

// algorithms returns the supported signing algorithms of a spec
// (symm-asymm-choose-key-spec.html in the developer guide).
func algorithms(spec string) []string {
	switch {
	case strings.HasPrefix(spec, "RSA_"):
		return []string{
			"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
			"RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512",
		}
	case spec == "ECC_NIST_P256":
		return []string{"ECDSA_SHA_256"}
	case spec == "ECC_NIST_P384":
		return []string{"ECDSA_SHA_384"}
	case spec == "ECC_NIST_P521":
		return []string{"ECDSA_SHA_512"}
	case spec == "ECC_NIST_EDWARDS25519":
		return []string{"ED25519_SHA_512"}
	}
	return nil
}

// signerOpts returns the options of a signing algorithm. Nil: it is not supported. The salt of
// PSS is as long as the hash, which RFC 7518 section 3.5 requires too. ED25519_SHA_512 hashes
// the message itself, so that its options have no hash.
func signerOpts(algorithm string) crypto.SignerOpts {
	if algorithm == "ED25519_SHA_512" {
		return crypto.Hash(0)
	}
	kind, size, _ := strings.Cut(algorithm, "_SHA_")
	hash, ok := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[size]
	switch {
	case !ok:
		return nil
	case kind == "RSASSA_PSS":
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	case kind == "RSASSA_PKCS1_V1_5" || kind == "ECDSA":
		return hash
	}
	return nil
}

// maxMessage is the longest message of the type RAW, in bytes.
const maxMessage = 4096

func (s *Server) sign(in struct {
	keyInput
	Message          []byte
	MessageType      string
	SigningAlgorithm string
}) (any, *apiError) {
	opts := signerOpts(in.SigningAlgorithm)
	switch {
	case opts == nil:
		return nil, fail(validation, "the SigningAlgorithm "+in.SigningAlgorithm+" is not supported")
	case opts.HashFunc() == 0 && in.MessageType != "RAW":
		return nil, fail(validation, "the MessageType of "+in.SigningAlgorithm+" must be RAW")
	case opts.HashFunc() != 0 && in.MessageType != "DIGEST":
		return nil, fail(validation, "only the MessageType DIGEST is supported for "+in.SigningAlgorithm)
	}
	k, failure := s.usable(in.KeyID, signVerify)
	switch {
	case failure != nil:
		return nil, failure
	case !slices.Contains(algorithms(k.spec), in.SigningAlgorithm):
		return nil, fail(invalidUsage, "Algorithm "+in.SigningAlgorithm+" is incompatible with key spec "+k.spec+".")
	case opts.HashFunc() == 0 && (len(in.Message) == 0 || len(in.Message) > maxMessage):
		return nil, fail(validation, "Message must have 1 to 4096 bytes")
	case opts.HashFunc() != 0 && len(in.Message) != opts.HashFunc().Size():
		return nil, fail(validation, "Digest is invalid length for algorithm "+in.SigningAlgorithm+".")
	}
	signature, err := k.signer.Sign(rand.Reader, in.Message, opts)
	if err != nil {
		return nil, fail(internal, "the message could not be signed")
	}
	return map[string]any{"KeyId": s.keyARN(k), "Signature": signature, "SigningAlgorithm": in.SigningAlgorithm}, nil
}

// Public returns the public key of a signing key by its id, ARN or alias.
func (s *Server) Public(id string) (crypto.PublicKey, error) {
	k, failure := s.usable(id, signVerify)
	if failure != nil {
		return nil, failure
	}
	return k.signer.Public(), nil
}

func (s *Server) getPublicKey(in keyInput) (any, *apiError) {
	k, failure := s.usable(in.KeyID, "")
	switch {
	case failure != nil:
		return nil, failure
	case k.signer == nil:
		return nil, fail(unsupported, "a symmetric key has no public key")
	}
	der, err := x509.MarshalPKIXPublicKey(k.signer.Public())
	if err != nil {
		return nil, fail(internal, "the public key could not be encoded")
	}
	return map[string]any{
		"KeyId": s.keyARN(k), "PublicKey": der, "KeySpec": k.spec, "KeyUsage": signVerify, "SigningAlgorithms": algorithms(k.spec),
	}, nil
}
