package registry

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"time"

	"tokenvendor/shared/oauth"
)

const (
	// maxChain bounds a client's certificates, maxRoots ca_certificates.
	maxChain = 10
	maxRoots = 100
)

// identity is a private key with the certificates that belong to it.
type identity struct {
	key crypto.Signer
	// chain begins with the leaf; each certificate is followed by its issuer.
	chain []*x509.Certificate
}

// readIdentity reads key and certificates, as far as they are given.
func (c credential) readIdentity(now time.Time, problems *report) identity {
	if c.pkcs12.given() {
		for _, other := range []text{c.certificate, c.key} {
			if other.given() {
				problems.add(other.name, "and "+c.pkcs12.name+" are both given")
			}
		}
		return c.readPKCS12(now, problems)
	}
	var id identity
	if c.key.given() {
		key, problem := parseKey(c.key.value, c.keyPassword)
		if problem != "" {
			problems.add(c.key.name, problem)
		}
		id.key = key
	}
	if !c.certificate.given() {
		return id
	}
	chain, problem := parseCertificates(c.certificate.value, maxChain)
	if problem != "" {
		problems.add(c.certificate.name, problem)
		return id
	}
	id.chain = c.arrange(chain, id.key, now, problems)
	return id
}

// arrange checks that the leaf comes first and fits the key, and puts the
// others into the order of issuing. key may be nil.
func (c credential) arrange(chain []*x509.Certificate, key crypto.Signer, now time.Time, problems *report) []*x509.Certificate {
	if key != nil {
		switch at := leafIndex(chain, key); {
		case at < 0:
			problems.add(c.certificate.name, "and "+c.key.name+" do not belong together")
			return nil
		case at > 0:
			problems.add(c.certificate.name, "must begin with the leaf, the certificate of the key")
			return nil
		}
	}
	ordered := issuingOrder(chain)
	if len(ordered) < len(chain) {
		problems.add(c.certificate.name, "holds a certificate that is not in the leaf's chain")
	}
	checkLeaf(c.certificate.name, ordered, now, problems)
	return ordered
}

// leafIndex returns which certificate is that of the key; -1: none.
func leafIndex(chain []*x509.Certificate, key crypto.Signer) int {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	for i, certificate := range chain {
		if ok && public.Equal(certificate.PublicKey) {
			return i
		}
	}
	return -1
}

// issuingOrder returns the leaf, its issuer, the issuer's issuer and so on, as
// TLS 1.2 asks. A cross-signed certificate stands beside the one of its name.
// Certificates that nothing leads to are left out.
func issuingOrder(chain []*x509.Certificate) []*x509.Certificate {
	ordered := []*x509.Certificate{chain[0]}
	taken := make([]bool, len(chain))
	for next := 0; next < len(ordered); next++ {
		for i, candidate := range chain[1:] {
			if !taken[i] && bytes.Equal(candidate.RawSubject, ordered[next].RawIssuer) {
				taken[i] = true
				ordered = append(ordered, candidate)
			}
		}
	}
	return ordered
}

func checkLeaf(member string, chain []*x509.Certificate, now time.Time, problems *report) {
	leaf := chain[0]
	// openssl req -x509 marks every self-signed certificate as a CA, so alone
	// and self-signed it may well be a client's.
	if leaf.IsCA && (len(chain) > 1 || !bytes.Equal(leaf.RawSubject, leaf.RawIssuer)) {
		problems.add(member, "begins with the certificate of a CA instead of the leaf")
	}
	switch {
	case now.Before(leaf.NotBefore):
		problems.add(member, "is not yet valid")
	case now.After(leaf.NotAfter):
		problems.add(member, "has expired")
	}
}

// needIdentity notes what the method needs and the document lacks, and makes
// the signer of assertions.
func (d *document) needIdentity(problems *report) {
	c := d.credential
	if !c.key.given() && !c.pkcs12.given() && !c.keyAlias.given() && d.method != "" {
		more := ""
		if d.place.service != "" {
			more = ": where SAP never had it (X509_PROVIDED), give it as private_key beside service_key"
		}
		problems.missing(c.key.name, more)
	}
	if !c.certificate.given() && !c.pkcs12.given() && d.method.MutualTLS() {
		problems.missing(c.certificate.name, "")
	}
	d.makeSigner(problems)
}

func (d *document) makeSigner(problems *report) {
	if d.method != oauth.PrivateKeyJWT || d.identity.key == nil {
		return
	}
	algorithm := d.options.assertion.algorithm
	signer, err := oauth.NewLocalSigner(d.identity.key, algorithm.value)
	if err != nil {
		// Keys were checked before, so that only alg is left.
		problems.add(algorithm.name, "does not fit the key")
		return
	}
	d.signer = signer
}

// rootsOf reads PEM texts of certificate authorities.
func rootsOf(texts []string, member string, problems *report) *x509.CertPool {
	pool, left := x509.NewCertPool(), maxRoots
	for _, t := range texts {
		certificates, problem := parseCertificates(t, left)
		left -= len(certificates)
		if problem != "" {
			problems.add(member, problem)
			return nil
		}
		for _, certificate := range certificates {
			if !certificate.IsCA {
				problems.add(member, "holds a certificate that is not of a CA")
				return nil
			}
			pool.AddCert(certificate)
		}
	}
	return pool
}
