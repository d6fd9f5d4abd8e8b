package keypair

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
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
		{"not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "holds a certificate that cannot be used: certificate 1 cannot be read"},
		{"leaf last", chain(root, inter, leaf), "must begin with the leaf"},
		{"of another key", chain(m.Issue(m.EC256, nil)), ErrMismatch.Error()},
		{"a stranger in it", chain(leaf, inter, root, keypairtest.SelfSigned(m.EC384)), "holds a certificate that is not in the leaf's chain"},
		{"without the intermediate", chain(leaf, root), "holds a certificate that is not in the leaf's chain: an intermediate certificate is missing"},
		{"export without the intermediate", exported(m.PEM["rsa.key"], chain(leaf, root)), "holds a certificate that is not in the leaf's chain: an intermediate certificate is missing"},
		{"export of another key", exported(m.PEM["ec256.key"], chain(m.Issue(m.EC256, nil))), ErrMismatch.Error()},
		{"negative serial number", chain(leaf) + m.PEM["ca.negative"], "holds a certificate that cannot be used: certificate 2 has a negative serial number"},
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
		{"export", exported(m.PEM["rsa.key"], chain(leaf, inter, root)), ""},
		{"export with the leaf last and a stranger", chain(keypairtest.SelfSigned(m.EC384), root, inter, leaf) + m.PEM["rsa.key"], ""},
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
		{"nothing that can be read", []string{short, m.PEM["ca.negative"]}, "holds no certificate that can be used: certificate 1 cannot be read, certificate 2 has a negative serial number"},
		{"key", []string{ca + m.PEM["rsa.key"]}, "holds a private key"},
		{"a thousand", []string{strings.Repeat(short, 1000)}, "holds more than 100 PEM blocks"},
		{"a hundred and one in two texts", []string{strings.Repeat(ca, 60), strings.Repeat(ca, 41)}, "holds more than 40 PEM blocks"},
		{"leaf", []string{leaf}, "holds a certificate that is neither of a CA nor self-signed"},
		{"leaf in a list", []string{ca, leaf}, "holds a certificate that is neither of a CA nor self-signed"},
		{"one", []string{ca}, ""},
		{"two in one", []string{ca + ca}, ""},
		{"list", []string{ca, strings.ReplaceAll(ca, "\n", `\n`)}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			roots, _, err := ParseRoots(test.roots)
			checkError(t, err, test.want, strings.Join(test.roots, ""))
			if (roots == nil) != (test.want != "") {
				t.Errorf("got %d roots", len(roots))
			}
		})
	}
}

// Certificates of old authorities are skipped, so that the others of a bundle count.
func TestParseRootsSkipsWhatCannotBeRead(t *testing.T) {
	m := testMaterial()
	roots, skipped, err := ParseRoots([]string{m.PEM["ca"], m.PEM["ca.negative"] + m.PEM["ca"]})
	if err != nil || len(roots) != 2 || !slices.Equal(skipped, []string{"certificate 2 has a negative serial number"}) {
		t.Errorf("got %d roots, %q, %v, want two and the second named", len(roots), skipped, err)
	}
}

// A pinned server certificate is trusted as itself, and not as an issuer. Go would accept a
// certificate of version 1 as an issuer.
func TestTrustOnlyDoesNotMakeAnIssuer(t *testing.T) {
	m := testMaterial()
	server := func(c *x509.Certificate) { c.DNSNames = []string{"as.example.com"} }
	pinned := new(keypairtest.Material).Issue(m.EC256, server)
	old := *pinned
	old.Version, old.BasicConstraintsValid = 1, false
	other := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, m.Issue(m.RSA, func(c *x509.Certificate) {
		server(c)
		c.Subject.CommonName = "issued"
	}), pinned, m.RSA.Public(), m.EC256))))
	verify := func(c *x509.Certificate, roots ...*x509.Certificate) error {
		_, err := c.Verify(x509.VerifyOptions{DNSName: "as.example.com", Roots: TrustOnly(roots), CurrentTime: keypairtest.Now()})
		return err
	}
	roots, _, err := ParseRoots([]string{keypairtest.CertificatePEM(pinned)})
	if err != nil || verify(pinned, roots...) != nil {
		t.Errorf("got %v and %v for the certificate itself, want no error", err, verify(pinned, roots...))
	}
	for name, root := range map[string]*x509.Certificate{"version 3": pinned, "version 1": &old} {
		if verify(other, root) == nil {
			t.Errorf("%s: the certificate is trusted as an issuer", name)
		}
	}
}

func TestCheckClient(t *testing.T) {
	m := testMaterial()
	for name, test := range map[string]struct {
		usages []x509.ExtKeyUsage
		more   []asn1.ObjectIdentifier
		ok     bool
	}{
		"none":              {nil, nil, true},
		"client":            {[]x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil, true},
		"server and client": {[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, nil, true},
		"any":               {[]x509.ExtKeyUsage{x509.ExtKeyUsageAny}, nil, true},
		"server":            {[]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, nil, false},
		"mail":              {[]x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}, nil, false},
		"unknown":           {nil, []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 311, 10, 3, 12}}, false},
	} {
		leaf := m.Issue(m.EC256, func(c *x509.Certificate) { c.ExtKeyUsage, c.UnknownExtKeyUsage = test.usages, test.more })
		if err := CheckClient(leaf); (err == nil) != test.ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestHolds(t *testing.T) {
	m := testMaterial()
	for name, test := range map[string]struct {
		text             string
		key, certificate bool
	}{
		"nothing":       {keypairtest.Canary, false, false},
		"key":           {m.PEM["rsa.pkcs1.literal"], true, false},
		"encrypted key": {string(opensslFile(t, "pkcs8-aes-256-cbc-hmacWithSHA256.pem")), true, false},
		"chain":         {m.PEM["rsa.chain"], false, true},
		"export":        {exported(m.PEM["rsa.key"], m.PEM["rsa.chain"]), true, true},
		"many marks":    {strings.Repeat(beginMark, 20000), false, false},
	} {
		if key, certificate := Holds(test.text); key != test.key || certificate != test.certificate {
			t.Errorf("%s: got %t, %t, want %t, %t", name, key, certificate, test.key, test.certificate)
		}
	}
}

// exported is a key with its chain as openssl pkcs12 -nodes writes them, with the attributes
// of the bags.
func exported(key, chain string) string {
	attributes := "Bag Attributes\n    friendlyName: billing\n    localKeyID: 54 69\n"
	chain = strings.ReplaceAll(chain, "-----BEGIN", attributes+"subject=CN = test\n\nissuer=CN = test\n\n-----BEGIN")
	return attributes + "Key Attributes: <No Attributes>\n" + key + chain
}
