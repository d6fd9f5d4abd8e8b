package oauth

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // crypto.SHA256 in NewSigner
	_ "crypto/sha512" // crypto.SHA384 and crypto.SHA512 in NewSigner
	"encoding/asn1"
	"errors"
	"math/big"
)

// A Signer signs with a private key, which may be in a remote service.
type Signer interface {
	// Algorithm returns the JWS name of the signature, such as RS256 (RFC 7518 section
	// 3.1).
	Algorithm() string
	// Sign returns the signature of message in the form of JWS; for ECDSA that is r
	// followed by s (RFC 7518 section 3.4). It respects the deadline of ctx.
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// SignDigest signs a digest with one private key: PKCS #1 v1.5, PSS if opts is a
// [*rsa.PSSOptions], or ECDSA in DER. For Ed25519, which signs the message itself, digest is
// the message. Its error wraps [ErrTemporary] if a later call may succeed, and contains no
// secret.
type SignDigest func(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error)

// Algorithms returns the JWS algorithms of [NewSigner] (RFC 7518 section 3.1, RFC 8037 section
// 3.1).
func Algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// DefaultAlgorithm returns the JWS algorithm of a key for which none is configured: RS256
// for RSA, which SAP's servers are known to accept, ES256 for P-256, ES384 for P-384, ES512
// for P-521, EdDSA for Ed25519, and "" for another key.
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
		case elliptic.P521():
			return "ES512"
		}
	case ed25519.PublicKey:
		return "EdDSA"
	}
	return ""
}

// errOtherKey says that the signature is not of the client's key. The KMS alias may name
// another key by now.
var errOtherKey = errors.New("the signature is not of the key that the client's document named when it was read")

// digestSigner converts the signatures of a SignDigest to JWS. It refuses a signature that
// its public key does not verify, because the authorization server would count a failed
// logon.
type digestSigner struct {
	public crypto.PublicKey
	sign   SignDigest
	alg    string
	opts   crypto.SignerOpts
	// size is the length of r and of s in bytes; zero if it is not ECDSA.
	size int
}

// NewSigner returns a [Signer] that signs with sign, whose public key is public. alg is one of
// [Algorithms] and must fit the key; empty: [DefaultAlgorithm].
func NewSigner(public crypto.PublicKey, alg string, sign SignDigest) (Signer, error) {
	natural := DefaultAlgorithm(public)
	s := &digestSigner{public: public, sign: sign, alg: cmp.Or(alg, natural)}
	hash := rsaHash(s.alg)
	switch {
	case natural == "":
		return nil, errors.New("the key is neither RSA nor Ed25519 nor on the curve P-256, P-384 or P-521")
	case natural == "RS256" && hash != 0:
		s.opts = hash
		if s.alg[0] == 'P' {
			// RFC 7518 section 3.5: the salt is as long as the hash.
			s.opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		}
	case s.alg != natural:
		return nil, errors.New("alg does not fit the key, or is not supported")
	case natural == "ES256":
		s.opts, s.size = crypto.SHA256, 32
	case natural == "ES384":
		s.opts, s.size = crypto.SHA384, 48
	case natural == "ES512":
		s.opts, s.size = crypto.SHA512, 66
	default:
		s.opts = crypto.Hash(0) // Ed25519 signs the message itself
	}
	return s, nil
}

// rsaHash returns the hash of an RSA algorithm (RFC 7518 section 3.1); zero: it is another.
func rsaHash(alg string) crypto.Hash {
	return map[string]crypto.Hash{
		"RS256": crypto.SHA256, "RS384": crypto.SHA384, "RS512": crypto.SHA512,
		"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512,
	}[alg]
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

// Sign implements [Signer].
func (s *digestSigner) Sign(ctx context.Context, message []byte) ([]byte, error) {
	digest := message
	if hash := s.opts.HashFunc(); hash != 0 {
		h := hash.New()
		h.Write(message)
		digest = h.Sum(nil)
	}
	signature, err := s.sign(ctx, digest, s.opts)
	switch {
	case err != nil:
		return nil, err
	case !s.verifies(digest, signature):
		return nil, errOtherKey
	case s.size == 0:
		return signature, nil
	}
	return joinECDSA(signature, s.size)
}

func (s *digestSigner) verifies(digest, signature []byte) bool {
	switch public := s.public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, digest, signature)
	case ed25519.PublicKey:
		return len(public) == ed25519.PublicKeySize && ed25519.Verify(public, digest, signature)
	case *rsa.PublicKey:
		if pss, ok := s.opts.(*rsa.PSSOptions); ok {
			return rsa.VerifyPSS(public, pss.Hash, digest, signature, pss) == nil
		}
		return rsa.VerifyPKCS1v15(public, s.opts.HashFunc(), digest, signature) == nil
	}
	return false
}

// joinECDSA converts an ECDSA signature from DER, the form of package crypto and AWS KMS,
// to the form of JWS: r and s, size bytes each (RFC 7518 section 3.4).
func joinECDSA(der []byte, size int) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	trailing, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(trailing) > 0 || sig.R.Sign() <= 0 || sig.S.Sign() <= 0 ||
		sig.R.BitLen() > 8*size || sig.S.BitLen() > 8*size {
		return nil, errors.New("not an ECDSA signature of this size")
	}
	joined := make([]byte, 2*size)
	sig.R.FillBytes(joined[:size])
	sig.S.FillBytes(joined[size:])
	return joined, nil
}
