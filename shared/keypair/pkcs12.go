package keypair

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"

	"software.sslmate.com/src/go-pkcs12"

	"tokenvendor/shared/nowait"
)

// ParsePKCS12 reads a PKCS#12 file in base64, which must hold one private key and its
// certificates. The certificates of such a file have no order of their own; those that
// are not in the chain of the key's certificate are left out.
func ParsePKCS12(text string, password Password) (Pair, error) {
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return Pair{}, errors.New("is not base64")
	}
	parsed, certificates, err := openPKCS12(der, password)
	if err != nil {
		return Pair{}, err
	}
	key, err := checkKey(parsed)
	if err != nil {
		return Pair{}, err
	}
	i := leafIndex(certificates, key)
	if i < 0 {
		return Pair{}, errors.New("does not hold the certificate of its key")
	}
	certificates[0], certificates[i] = certificates[i], certificates[0]
	chain := issuingOrder(certificates)
	if len(chain) > maxChain {
		return Pair{}, errors.New("holds more than 10 certificates")
	}
	return Pair{Key: key, Chain: chain}, nil
}

// openPKCS12 decrypts a PKCS#12 file. It checks the cost first.
func openPKCS12(der []byte, password Password) (key any, certificates []*x509.Certificate, err error) {
	contents, mac, err := parseFrame(der)
	if err != nil {
		return nil, nil, err
	}
	nowait.WakeMonitor() // deriving the keys may take seconds
	if mac {
		// DecodeTrustStore verifies the MAC before it looks for a trust store, and never
		// decrypts a key.
		if _, err := pkcs12.DecodeTrustStore(der, password.Value); errors.Is(err, pkcs12.ErrIncorrectPassword) {
			return nil, nil, password.wrong("file")
		}
	}
	if der, err = buildFrame(contents, password.Value); err != nil {
		return nil, nil, errUnreadable
	}
	key, leaf, others, err := pkcs12.DecodeChain(der, password.Value)
	switch {
	case err != nil && strings.Contains(err.Error(), pkcs12.ErrDecryption.Error()):
		return nil, nil, password.wrong("file")
	case err != nil:
		return nil, nil, errUnreadable
	}
	return key, append([]*x509.Certificate{leaf}, others...), nil
}
