package kms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // of the algorithms, with SHA-384 and SHA-512
	_ "crypto/sha512"
	"crypto/x509"
	"slices"
	"strings"
)

// algorithms are the signing algorithms of a key's spec
// (symm-asymm-choose-key-spec.html in the developer guide).
func algorithms(spec string) []string {
	switch {
	case strings.HasPrefix(spec, "RSA_"):
		return []string{"RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512", "RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512"}
	case spec == "ECC_NIST_P256":
		return []string{"ECDSA_SHA_256"}
	case spec == "ECC_NIST_P384":
		return []string{"ECDSA_SHA_384"}
	}
	return nil
}

// hash returns the hash of an algorithm; 0: there is no such algorithm here.
func hash(algorithm string) crypto.Hash {
	if !slices.Contains(append(algorithms("RSA_2048"), "ECDSA_SHA_256", "ECDSA_SHA_384", "ECDSA_SHA_512"), algorithm) {
		return 0
	}
	switch algorithm[len(algorithm)-3:] {
	case "256":
		return crypto.SHA256
	case "384":
		return crypto.SHA384
	}
	return crypto.SHA512
}

// maxMessage is the longest message in bytes; who has a longer one sends its
// digest.
const maxMessage = 4096

// signInput is of Sign and Verify.
type signInput struct {
	keyInput
	Message          []byte
	MessageType      string
	SigningAlgorithm string
	Signature        []byte // of Verify
	options
}

// digest checks an input, and returns its key and what is signed.
func (s *Server) digest(in signInput) (k *key, digest []byte, failure *apiError) {
	h := hash(in.SigningAlgorithm)
	switch {
	case h == 0:
		return nil, nil, fail(validation, "there is no such SigningAlgorithm")
	case len(in.Message) == 0 || len(in.Message) > maxMessage:
		return nil, nil, fail(validation, "Message must have 1 to 4096 bytes")
	case in.MessageType != "" && in.MessageType != "RAW" && in.MessageType != "DIGEST":
		return nil, nil, fail(validation, "MessageType must be RAW or DIGEST")
	case in.check() != nil:
		return nil, nil, in.check()
	}
	k, failure = s.usable(in.KeyID, "SIGN_VERIFY")
	switch {
	case failure != nil:
		return nil, nil, failure
	case !slices.Contains(algorithms(k.spec), in.SigningAlgorithm):
		return nil, nil, fail(invalidUsage, "Algorithm "+in.SigningAlgorithm+" is incompatible with key spec "+k.spec+".")
	case in.MessageType == "DIGEST" && len(in.Message) != h.Size():
		return nil, nil, fail(validation, "Digest is invalid length for algorithm "+in.SigningAlgorithm+".")
	case in.MessageType == "DIGEST":
		return k, in.Message, nil
	}
	sum := h.New()
	_, _ = sum.Write(in.Message) // never fails
	return k, sum.Sum(nil), nil
}

// signerOpts: the salt of PSS is as long as the hash (RFC 7518, section 3.5, asks
// for the same).
func signerOpts(algorithm string) crypto.SignerOpts {
	if strings.HasPrefix(algorithm, "RSASSA_PSS_") {
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash(algorithm)}
	}
	return hash(algorithm)
}

func (s *Server) sign(in signInput) (any, *apiError) {
	k, digest, failure := s.digest(in)
	if failure != nil {
		return nil, failure
	}
	signature, err := k.signer.Sign(rand.Reader, digest, signerOpts(in.SigningAlgorithm))
	if err != nil {
		return nil, fail("KMSInternalException", "the message could not be signed")
	}
	return map[string]any{"KeyId": s.keyARN(k), "Signature": signature, "SigningAlgorithm": in.SigningAlgorithm}, nil
}

func (s *Server) verify(in signInput) (any, *apiError) {
	if len(in.Signature) == 0 || len(in.Signature) > 6144 {
		return nil, fail(validation, "Signature must have 1 to 6144 bytes")
	}
	k, digest, failure := s.digest(in)
	if failure != nil {
		return nil, failure
	}
	if !fits(k.signer.Public(), digest, in.Signature, signerOpts(in.SigningAlgorithm)) {
		return nil, fail(invalidSignature, "the signature is not one of this message by this key")
	}
	return map[string]any{"KeyId": s.keyARN(k), "SignatureValid": true, "SigningAlgorithm": in.SigningAlgorithm}, nil
}

// fits reports whether a signature is one of the digest.
func fits(public crypto.PublicKey, digest, signature []byte, opts crypto.SignerOpts) bool {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, digest, signature)
	case *rsa.PublicKey:
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(public, pss.Hash, digest, signature, pss) == nil
		}
		return rsa.VerifyPKCS1v15(public, opts.HashFunc(), digest, signature) == nil
	}
	return false
}

// Public returns the public key of a signing key, by id, ARN or alias, for those who
// need no client to have it.
func (s *Server) Public(id string) (crypto.PublicKey, error) {
	k, failure := s.usable(id, "SIGN_VERIFY")
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
		return nil, fail("KMSInternalException", "the public key could not be written")
	}
	return map[string]any{
		"KeyId": s.keyARN(k), "PublicKey": der, "KeySpec": k.spec, "CustomerMasterKeySpec": k.spec,
		"KeyUsage": k.usage(), "SigningAlgorithms": algorithms(k.spec),
	}, nil
}
