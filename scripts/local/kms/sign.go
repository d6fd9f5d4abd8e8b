package kms

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // of the algorithms, with SHA-384 in crypto/sha512
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
		return []string{"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PSS_SHA_256"}
	case spec == "ECC_NIST_P256":
		return []string{"ECDSA_SHA_256"}
	case spec == "ECC_NIST_P384":
		return []string{"ECDSA_SHA_384"}
	}
	return nil
}

// signerOpts returns the options of a signing algorithm. Nil: it is not supported. The salt of
// PSS is as long as the hash, which RFC 7518 section 3.5 requires too.
func signerOpts(algorithm string) crypto.SignerOpts {
	switch algorithm {
	case "RSASSA_PSS_SHA_256":
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	case "RSASSA_PKCS1_V1_5_SHA_256", "ECDSA_SHA_256":
		return crypto.SHA256
	case "ECDSA_SHA_384":
		return crypto.SHA384
	}
	return nil
}

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
	case in.MessageType != "DIGEST":
		return nil, fail(validation, "only the MessageType DIGEST is supported")
	}
	k, failure := s.usable(in.KeyID, signVerify)
	switch {
	case failure != nil:
		return nil, failure
	case !slices.Contains(algorithms(k.spec), in.SigningAlgorithm):
		return nil, fail(invalidUsage, "Algorithm "+in.SigningAlgorithm+" is incompatible with key spec "+k.spec+".")
	case len(in.Message) != opts.HashFunc().Size():
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
