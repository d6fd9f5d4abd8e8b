package keypair

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"slices"
	"strconv"
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
//
// A text that also holds the private key is an exported key store, such as the output of
// openssl pkcs12 -nodes. As in PKCS#12, its certificates may have any order, and those that
// are not in the leaf's complete chain are left out.
func ParseChain(text string, key crypto.Signer) ([]*x509.Certificate, error) {
	certificates, exported, err := parseClientCertificates(text)
	if err != nil {
		return nil, err
	}
	if key != nil {
		switch i := leafIndex(certificates, key); {
		case i < 0:
			return nil, ErrMismatch
		case i > 0 && !exported:
			return nil, errors.New("must begin with the leaf, the certificate of the key")
		default:
			certificates[0], certificates[i] = certificates[i], certificates[0]
		}
	}
	chain := issuingOrder(certificates)
	switch complete := slices.ContainsFunc(chain, isSelfIssued); {
	case len(chain) == len(certificates), exported && complete:
		return chain, nil
	case complete:
		return chain, errors.New("holds a certificate that is not in the leaf's chain")
	}
	return chain, errors.New("holds a certificate that is not in the leaf's chain: " +
		"an intermediate certificate is missing, or that certificate is of another chain")
}

// parseClientCertificates reads the certificates of a client. exported says that the private
// key is among them.
func parseClientCertificates(text string) (certificates []*x509.Certificate, exported bool, err error) {
	blocks, err := parsePEM(text, maxBlocks)
	if err != nil {
		return nil, false, err
	}
	others := slices.DeleteFunc(slices.Clone(blocks), func(b pemBlock) bool { return b.isKey() || b.label == "EC PARAMETERS" })
	exported = len(others) > 0 && slices.ContainsFunc(blocks, pemBlock.isKey)
	if exported {
		blocks = others
	}
	if len(blocks) > maxChain {
		return nil, false, errors.New("holds more than " + strconv.Itoa(maxChain) + " certificates")
	}
	certificates, skipped, err := parseCertificates(blocks)
	if err == nil && len(skipped) > 0 {
		err = errors.New("holds a certificate that cannot be used: " + skipped[0])
	}
	return certificates, exported, err
}

// CheckClient returns why a server may refuse the leaf as a client's certificate, whatever
// its key: an extended key usage without clientAuth (RFC 5280 section 4.2.1.12), as that of a
// server's certificate.
func CheckClient(leaf *x509.Certificate) error {
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return nil
	}
	return errors.New("may not be a client's: its extended key usage is without clientAuth")
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
// several PEM texts. A self-signed certificate of a server is accepted too; see [TrustOnly].
//
// Old authorities have certificates that crypto/x509 refuses, for example with a negative
// serial number. They are skipped if another one is left; skipped says which, with their
// number in all texts together.
func ParseRoots(texts []string) (roots []*x509.Certificate, skipped []string, err error) {
	var blocks []pemBlock
	for _, text := range texts {
		more, err := parsePEM(text, maxRoots-len(blocks))
		if err != nil {
			return nil, nil, err
		}
		blocks = append(blocks, more...)
	}
	roots, skipped, err = parseCertificates(blocks)
	switch {
	case err != nil:
		return nil, nil, err
	case len(roots) == 0:
		return nil, nil, errors.New("holds no certificate that can be used: " + strings.Join(skipped, ", "))
	case slices.ContainsFunc(roots, func(c *x509.Certificate) bool { return !c.IsCA && !isSelfIssued(c) }):
		return nil, nil, errors.New("holds a certificate that is neither of a CA nor self-signed")
	}
	return roots, skipped, nil
}

// TrustOnly returns a pool of the roots of [ParseRoots]. One that is not of a CA is trusted if
// a server has this certificate itself, and not as an issuer: crypto/x509 would accept one of
// version 1 as an issuer, because that version has no extensions.
func TrustOnly(roots []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, root := range roots {
		if root.IsCA {
			pool.AddCert(root)
			continue
		}
		pool.AddCertWithConstraint(root, func([]*x509.Certificate) error { return errors.New("it is not of a CA") })
	}
	return pool
}

func isSelfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

// SamePublicKey reports whether a and b are the same public key.
func SamePublicKey(a, b crypto.PublicKey) bool {
	known, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && known.Equal(b)
}

// parseCertificates reads blocks as certificates. skipped describes those that crypto/x509
// refuses.
func parseCertificates(blocks []pemBlock) (certificates []*x509.Certificate, skipped []string, err error) {
	for i, b := range blocks {
		switch {
		case b.isKey():
			return nil, nil, errors.New("holds a private key, which does not belong there")
		case b.label != "CERTIFICATE" && b.label != "X509 CERTIFICATE":
			return nil, nil, errors.New("holds a PEM block that is not a certificate")
		}
		certificate, err := x509.ParseCertificate(b.der)
		switch {
		case err == nil:
			certificates = append(certificates, certificate)
		case strings.Contains(err.Error(), "negative serial number"):
			skipped = append(skipped, "certificate "+strconv.Itoa(i+1)+" has a negative serial number")
		default:
			skipped = append(skipped, "certificate "+strconv.Itoa(i+1)+" cannot be read")
		}
	}
	return certificates, skipped, nil
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
