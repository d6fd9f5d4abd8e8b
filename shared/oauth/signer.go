package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // crypto.SHA256 in NewSigner
	_ "crypto/sha512" // crypto.SHA384 in NewSigner
	"errors"
)

// A Signer signs with a private key that may live elsewhere.
type Signer interface {
	// Algorithm is the JWS name of the signature, such as RS256 (RFC 7518
	// section 3.1).
	Algorithm() string
	// Sign returns the signature of message in the form that JWS asks for; for
	// ECDSA that is r and s side by side (RFC 7518 section 3.4). It keeps the
	// deadline of ctx, because a key may be a network away.
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// SignDigest signs the digest of a message with one private key: PKCS #1 v1.5, PSS
// when opts is a [*rsa.PSSOptions], or ECDSA in DER. An error that wraps
// [ErrTemporary] may go away by itself; none holds a value.
type SignDigest func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)

// DefaultAlgorithm returns the JWS algorithm that a key signs with when nothing
// else is said: RS256 for RSA, as the one that SAP's servers are known to take,
// ES256 for P-256, ES384 for P-384; "" for another key.
func DefaultAlgorithm(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return "RS256"
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return "ES256"
		case elliptic.P384():
			return "ES384"
		}
	}
	return ""
}

// errOtherKey: what came is no signature of the key that belongs to the client's
// document. An alias may lead elsewhere by now.
var errOtherKey = errors.New("the signature is not of the key that the client's document named when it was read")

// digestSigner makes JWS signatures of what a SignDigest returns, and lets none pass
// that is not of its key: the authorization server would count a failed logon.
type digestSigner struct {
	public crypto.PublicKey
	sign   SignDigest
	alg    string
	opts   crypto.SignerOpts
	// size is the length of r and of s in bytes; zero for RSA.
	size int
}

// NewSigner returns a [Signer] for the private key that belongs to public and that
// sign signs with. alg is RS256, PS256, ES256 or ES384 and must fit the key; empty
// means [DefaultAlgorithm].
func NewSigner(public crypto.PublicKey, alg string, sign SignDigest) (Signer, error) {
	natural := DefaultAlgorithm(public)
	if alg == "" {
		alg = natural
	}
	s := &digestSigner{public: public, sign: sign, alg: alg, opts: crypto.SHA256}
	switch {
	case natural == "":
		return nil, errors.New("the key is neither RSA nor on the curve P-256 or P-384")
	case alg == "RS256" && natural == "RS256":
	case alg == "PS256" && natural == "RS256":
		// RFC 7518 section 3.5: the salt is as long as the hash.
		s.opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	case alg == "ES256" && natural == "ES256":
		s.size = 32
	case alg == "ES384" && natural == "ES384":
		s.opts, s.size = crypto.SHA384, 48
	default:
		return nil, errors.New("alg does not fit the key, or is not one of RS256, PS256, ES256, ES384")
	}
	return s, nil
}

// NewLocalSigner is [NewSigner] for a key in memory.
func NewLocalSigner(key crypto.Signer, alg string) (Signer, error) {
	return NewSigner(key.Public(), alg, func(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
		signature, err := key.Sign(rand.Reader, digest, opts)
		if err != nil {
			return nil, errors.New("the key failed to sign")
		}
		return signature, nil
	})
}

func (s *digestSigner) Algorithm() string { return s.alg }

// Sign implements [Signer]. A signature that is not of its key is an error.
func (s *digestSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	h := s.opts.HashFunc().New()
	h.Write(message)
	digest := h.Sum(nil)
	signature, err := s.sign(ctx, digest, s.opts)
	switch {
	case err != nil:
		return nil, err
	case !s.verifies(digest, signature):
		return nil, errOtherKey
	case s.size == 0:
		return signature, nil
	}
	return JoinECDSA(signature, s.size)
}

func (s *digestSigner) verifies(digest, signature []byte) bool {
	switch public := s.public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, digest, signature)
	case *rsa.PublicKey:
		if pss, ok := s.opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(public, pss.Hash, digest, signature, pss) == nil
		}
		return rsa.VerifyPKCS1v15(public, s.opts.HashFunc(), digest, signature) == nil
	}
	return false
}
