package registry

import (
	"crypto/x509"
	"errors"
	"time"

	"tokenvendor/shared/keypair"
	"tokenvendor/shared/oauth"
)

// readPair reads the private key and the certificates, as far as they are given.
func (c credential) readPair(now time.Time, problems *report) keypair.Pair {
	var pair keypair.Pair
	member := c.certificate
	switch {
	case c.pkcs12.given():
		for _, other := range []text{c.certificate, c.key} {
			if other.given() {
				problems.add(other.name, "and "+c.pkcs12.name+" are both given")
			}
		}
		var err error
		pair, err = keypair.ParsePKCS12(c.pkcs12.value, keypair.Password{Name: c.pkcs12Password.name, Value: c.pkcs12Password.value})
		if err != nil {
			problems.add(c.pkcs12.name, err.Error())
		}
		member = c.pkcs12
	default:
		pair = c.readPEM(problems)
	}
	if len(pair.Chain) > 0 {
		for _, err := range keypair.CheckLeaf(pair.Chain, now) {
			problems.add(member.name, err.Error())
		}
	}
	return pair
}

func (c credential) readPEM(problems *report) (pair keypair.Pair) {
	var err error
	if c.key.given() {
		pair.Key, err = keypair.ParseKey(c.key.value, keypair.Password{Name: c.keyPassword.name, Value: c.keyPassword.value})
		if err != nil {
			problems.add(c.key.name, err.Error())
		}
	}
	if c.certificate.given() {
		pair.Chain, err = keypair.ParseChain(c.certificate.value, pair.Key)
		switch {
		case errors.Is(err, keypair.ErrMismatch):
			problems.add(c.certificate.name, "and "+c.key.name+" do not belong together")
		case err != nil:
			problems.add(c.certificate.name, err.Error())
		}
	}
	return pair
}

// needPair reports what the method needs and the document lacks, and makes the signer
// of assertions.
func (d *document) needPair(problems *report) {
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
	if d.method != oauth.PrivateKeyJWT || d.pair.Key == nil {
		return
	}
	algorithm := d.options.assertion.algorithm
	signer, err := oauth.NewLocalSigner(d.pair.Key, algorithm.value)
	if err != nil {
		// The key was checked before, so the reason can only be alg.
		problems.add(algorithm.name, "does not fit the key")
		return
	}
	d.signer = signer
}

// readRoots reads ca_certificates, which replace the system's roots.
func readRoots(o object) *x509.CertPool {
	list := o.strings("ca_certificates")
	if len(list) == 0 {
		return nil
	}
	roots, err := keypair.ParseRoots(list)
	if err != nil {
		o.report.add(o.path+"ca_certificates", err.Error())
		return nil
	}
	return roots
}
