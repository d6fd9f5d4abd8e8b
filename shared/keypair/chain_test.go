package keypair

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/keypair/keypairtest"
)

func TestParseChain(t *testing.T) {
	m := testMaterial()
	leaf := m.Issue(m.RSA, nil)
	inter, root := m.Intermediate.Certificate, m.Root.Certificate
	cross := *root
	chain := func(certificates ...*x509.Certificate) string { return keypairtest.CertificatePEM(certificates...) }
	tests := []struct{ name, certificate, want string }{
		{"eleven", chain(slices.Repeat([]*x509.Certificate{leaf}, 11)...), "holds more than 10"},
		{"only begin", strings.Repeat("-----BEGIN ", 3000), "has a PEM block with a broken first line"},
		{"many begins", strings.Repeat("-----BEGIN CERTIFICATE-----", 2000), "has a PEM block without an end"},
		{"no end line", strings.TrimSuffix(chain(leaf), "-----END CERTIFICATE-----\n"), "has a PEM block without an end"},
		{"not PEM", keypairtest.Canary, "is not PEM"},
		{"not base64", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----", "has a PEM block that is not base64"},
		{"not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "holds a certificate that cannot be read"},
		{"leaf last", chain(root, inter, leaf), "must begin with the leaf"},
		{"of another key", chain(m.Issue(m.EC256, nil)), ErrMismatch.Error()},
		{"a stranger in it", chain(leaf, inter, keypairtest.SelfSigned(m.EC384)), "holds a certificate that is not in the leaf's chain"},
		{"CA as leaf", chain(m.Issue(m.RSA, func(c *x509.Certificate) { c.IsCA = true }), inter), "begins with the certificate of a CA"},
		{"CA as leaf, alone", chain(m.Issue(m.RSA, func(c *x509.Certificate) { c.IsCA = true; c.Subject.CommonName = "CA" })), "begins with the certificate of a CA"},
		{"expired", chain(m.Issue(m.RSA, func(c *x509.Certificate) { c.NotAfter = keypairtest.Now().Add(-time.Second) })), "has expired: it was valid until 2027-01-15T11:59:59Z"},
		{"not yet valid", chain(m.Issue(m.RSA, func(c *x509.Certificate) { c.NotBefore = keypairtest.Now().Add(time.Second) })), "is not yet valid: it is valid from 2027-01-15T12:00:01Z"},
		{"key in it", m.PEM["rsa.key"], "holds a private key"},
		{"something behind", chain(leaf) + keypairtest.Canary, "has something behind"},

		{"with CRLF", strings.ReplaceAll(chain(leaf, inter), "\n", "\r\n"), ""},
		{"with literal newlines", strings.ReplaceAll(chain(leaf, inter), "\n", `\n`), ""},
		{"on one line", strings.ReplaceAll(chain(leaf, inter), "\n", " "), ""},
		{"without last newline", strings.TrimSpace(chain(leaf, inter)), ""},
		{"indented", "  \n\t" + strings.ReplaceAll(chain(leaf, inter), "\n", "\n    ") + "  ", ""},
		{"with attributes", "Bag Attributes\n    localKeyID: 01\nsubject=CN = a\n" + chain(leaf) + "issuer=x\n" + chain(inter), ""},
		{"shuffled", chain(leaf, root, inter), ""},
		{"issuer twice", chain(leaf, inter, root, &cross), ""},
		{"alone", chain(leaf), ""},
		{"self-signed", chain(keypairtest.SelfSigned(m.RSA)), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			chain, err := ParseChain(test.certificate, m.RSA)
			if err == nil {
				if errs := CheckLeaf(chain, keypairtest.Now()); len(errs) > 0 {
					err = errs[0]
				}
			}
			checkError(t, err, test.want, test.certificate)
			if test.want == "" && len(chain) == 0 {
				t.Error("got no certificate")
			}
		})
	}
}

func TestChainAndLeafProblemsAreReportedTogether(t *testing.T) {
	m := testMaterial()
	expired := m.Issue(m.RSA, func(c *x509.Certificate) { c.NotAfter = keypairtest.Now().Add(-time.Second) })
	chain, err := ParseChain(keypairtest.CertificatePEM(expired, keypairtest.SelfSigned(m.EC384)), m.RSA)
	if err == nil || len(chain) != 1 || len(CheckLeaf(chain, keypairtest.Now())) != 1 {
		t.Errorf("got %d certificates and %v, want the leaf and an error", len(chain), err)
	}
}

func TestParseChainWithoutKey(t *testing.T) {
	m := testMaterial()
	if chain, err := ParseChain(m.PEM["rsa.chain"], nil); err != nil || len(chain) != 3 {
		t.Errorf("got %d certificates, %v, want 3", len(chain), err)
	}
}

func TestIssuingOrderPutsIssuerAfterSubject(t *testing.T) {
	m := testMaterial()
	leaf := m.Issue(m.RSA, nil)
	want := []*x509.Certificate{leaf, m.Intermediate.Certificate, m.Root.Certificate}
	if got := issuingOrder([]*x509.Certificate{want[0], want[2], want[1]}); !slices.Equal(got, want) {
		t.Error("got another order, want leaf, intermediate, root")
	}
}

func TestParseRoots(t *testing.T) {
	m := testMaterial()
	ca := keypairtest.CertificatePEM(m.Root.Certificate)
	leaf := keypairtest.CertificatePEM(m.Issue(m.RSA, nil))
	short := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	tests := []struct {
		name  string
		roots []string
		want  string
	}{
		{"rubbish", []string{keypairtest.Canary}, "is not PEM"},
		{"a thousand", []string{strings.Repeat(short, 1000)}, "holds more than 100 PEM blocks"},
		{"a hundred and one in two texts", []string{strings.Repeat(ca, 60), strings.Repeat(ca, 41)}, "holds more than 40 PEM blocks"},
		{"leaf", []string{leaf}, "holds a certificate that is not of a CA"},
		{"leaf in a list", []string{ca, leaf}, "holds a certificate that is not of a CA"},
		{"one", []string{ca}, ""},
		{"two in one", []string{ca + ca}, ""},
		{"list", []string{ca, strings.ReplaceAll(ca, "\n", `\n`)}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			roots, err := ParseRoots(test.roots)
			checkError(t, err, test.want, strings.Join(test.roots, ""))
			if (roots == nil) != (test.want != "") {
				t.Errorf("got %d roots", len(roots))
			}
		})
	}
}
