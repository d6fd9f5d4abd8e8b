package keypair

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"
)

const (
	// maxChain is how many certificates a client may have, maxRoots how many certificate
	// authorities.
	maxChain = 10
	maxRoots = 100
)

// ErrMismatch is the error of [ParseChain] if no certificate belongs to the private key.
var ErrMismatch = errors.New("does not belong to the private key")

// ParseChain reads a client's certificates in PEM, leaf first, and puts them into the
// order of [Pair]. The leaf must be the certificate of key; nil means that there is no key
// to compare it with. A certificate that is not in the leaf's chain is an error that
// comes with the remaining chain, so that a caller can report all problems at once.
func ParseChain(text string, key crypto.Signer) ([]*x509.Certificate, error) {
	certificates, err := parseCertificates(text, maxChain)
	if err != nil {
		return nil, err
	}
	if key != nil {
		switch i := leafIndex(certificates, key); {
		case i < 0:
			return nil, ErrMismatch
		case i > 0:
			return nil, errors.New("must begin with the leaf, the certificate of the key")
		}
	}
	chain := issuingOrder(certificates)
	if len(chain) < len(certificates) {
		return chain, errors.New("holds a certificate that is not in the leaf's chain")
	}
	return chain, nil
}

// CheckLeaf returns what prevents a client from using the chain of a [Pair] at the time
// now. The chain must not be empty.
func CheckLeaf(chain []*x509.Certificate, now time.Time) []error {
	var errs []error
	leaf := chain[0]
	// openssl req -x509 marks every self-signed certificate as a CA. A single self-signed
	// certificate may therefore be a client's.
	if leaf.IsCA && (len(chain) > 1 || !bytes.Equal(leaf.RawSubject, leaf.RawIssuer)) {
		errs = append(errs, errors.New("begins with the certificate of a CA instead of the leaf"))
	}
	switch {
	case now.Before(leaf.NotBefore):
		errs = append(errs, errors.New("is not yet valid: it is valid from "+leaf.NotBefore.UTC().Format(time.RFC3339)))
	case now.After(leaf.NotAfter):
		errs = append(errs, errors.New("has expired: it was valid until "+leaf.NotAfter.UTC().Format(time.RFC3339)))
	}
	return errs
}

// ParseRoots reads the certificates of at most 100 certificate authorities, in one or
// several PEM texts.
func ParseRoots(texts []string) ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	left := maxRoots
	for _, text := range texts {
		certificates, err := parseCertificates(text, left)
		if err != nil {
			return nil, err
		}
		left -= len(certificates)
		for _, certificate := range certificates {
			if !certificate.IsCA {
				return nil, errors.New("holds a certificate that is not of a CA")
			}
		}
		roots = append(roots, certificates...)
	}
	return roots, nil
}

// SamePublicKey reports whether a and b are the same public key.
func SamePublicKey(a, b crypto.PublicKey) bool {
	known, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && known.Equal(b)
}

func parseCertificates(text string, limit int) ([]*x509.Certificate, error) {
	blocks, err := parsePEM(text, limit)
	if err != nil {
		return nil, err
	}
	var certificates []*x509.Certificate
	for _, b := range blocks {
		switch {
		case strings.HasSuffix(b.label, "PRIVATE KEY"):
			return nil, errors.New("holds a private key, which does not belong there")
		case b.label != "CERTIFICATE" && b.label != "X509 CERTIFICATE":
			return nil, errors.New("holds a PEM block that is not a certificate")
		}
		certificate, err := x509.ParseCertificate(b.der)
		if err != nil {
			return nil, errors.New("holds a certificate that cannot be read")
		}
		certificates = append(certificates, certificate)
	}
	return certificates, nil
}

// leafIndex returns the index of the certificate of key; -1 if there is none.
func leafIndex(certificates []*x509.Certificate, key crypto.Signer) int {
	return slices.IndexFunc(certificates, func(c *x509.Certificate) bool { return SamePublicKey(c.PublicKey, key.Public()) })
}

// issuingOrder returns the first certificate, its issuer, the issuer's issuer and so on,
// as TLS 1.2 requires (RFC 5246 section 7.4.2). Cross-signed certificates of the same name
// are all kept. Certificates that are not in the chain are left out.
func issuingOrder(certificates []*x509.Certificate) []*x509.Certificate {
	ordered := []*x509.Certificate{certificates[0]}
	taken := make([]bool, len(certificates))
	for next := 0; next < len(ordered); next++ {
		for i, candidate := range certificates[1:] {
			if !taken[i] && bytes.Equal(candidate.RawSubject, ordered[next].RawIssuer) {
				taken[i] = true
				ordered = append(ordered, candidate)
			}
		}
	}
	return ordered
}
