package registry

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/keypair/keypairtest"
)

// The phrases of package keypair follow the name of the member that was read.
func TestKeyMembers(t *testing.T) {
	m := testMaterial()
	ca, leaf := keypairtest.CertificatePEM(m.Root.Certificate), keypairtest.CertificatePEM(m.Issue(m.RSA, nil))
	encrypted := string(opensslFile(t, "pkcs8-aes-256-cbc-hmacWithSHA256.pem"))
	p12 := base64.StdEncoding.EncodeToString(opensslFile(t, "p12-openssl3-chain.p12"))
	for _, test := range []struct {
		name    string
		members members
		want    string
	}{
		{"key", members{"private_key": keypairtest.Canary}, "private_key is not PEM"},
		{"key without password", members{"private_key": encrypted}, "private_key is encrypted, and private_key_password is missing"},
		{"key with the wrong password", members{"private_key": encrypted, "private_key_password": "test-wrong"}, "private_key cannot be decrypted: private_key_password is wrong"},
		{"key", members{"private_key": encrypted, "private_key_password": "test-only"}, ""},
		{"key with the only password under another name", members{"private_key": encrypted, "pkcs12_password": "test-only"}, ""},
		{"certificate", members{"private_key": m.PEM["rsa.key"], "certificate": keypairtest.Canary}, "certificate is not PEM"},
		{"certificate of another key", members{"private_key": m.PEM["ec256.key"], "certificate": leaf}, "certificate and private_key do not belong together"},
		{"expired certificate", members{"private_key": m.PEM["rsa.key"], "certificate": m.PEM["expired"]}, "certificate has expired: it was valid until 2027-01-15T11:59:59Z"},
		{"pkcs12", members{"pkcs12": keypairtest.Canary}, "pkcs12 is not base64"},
		{"pkcs12 with the wrong password", members{"pkcs12": p12, "pkcs12_password": "test-wrong"}, "pkcs12 cannot be decrypted: pkcs12_password is wrong"},
		{"pkcs12 beside a key", members{"pkcs12": p12, "pkcs12_password": "test-only", "private_key": m.PEM["ec256.key"]}, "private_key and pkcs12 are both given"},
		{"pkcs12", members{"pkcs12": p12, "pkcs12_password": "test-only"}, ""},
		{"root", members{"client_secret": "s", "ca_certificates": keypairtest.Canary}, "ca_certificates is not PEM"},
		{"roots of another type", members{"client_secret": "s", "ca_certificates": 1}, "ca_certificates must be a string or a list"},
		{"leaf as root", members{"client_secret": "s", "ca_certificates": []string{ca, leaf}}, "ca_certificates holds a certificate that is neither of a CA nor self-signed"},
		{"no roots", members{"client_secret": "s", "ca_certificates": ""}, ""},
		{"roots", members{"client_secret": "s", "ca_certificates": []string{ca, ca}}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			document := native(test.members)
			if test.want != "" {
				expectProblem(t, document, test.want)
				return
			}
			client, err := load(t, document, nil)
			if err != nil {
				t.Fatal(err)
			}
			if certified := !client.CertificateNotAfter.IsZero(); certified != (test.members["pkcs12"] != nil) {
				t.Errorf("got a certificate: %t, want %t", certified, !certified)
			}
		})
	}
}

func TestEachProblemOfCertificateIsReported(t *testing.T) {
	m := testMaterial()
	expired := m.Issue(m.RSA, func(c *x509.Certificate) { c.NotAfter = keypairtest.Now().Add(-time.Second) })
	got := problemsOf(t, native(members{"private_key": m.PEM["rsa.key"], "certificate": keypairtest.CertificatePEM(expired, m.Intermediate.Certificate, m.Root.Certificate, keypairtest.SelfSigned(m.EC384))}))
	if want := []string{"certificate has expired: it was valid until 2027-01-15T11:59:59Z", "certificate holds a certificate that is not in the leaf's chain"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPasswordOfKeyInServiceKey(t *testing.T) {
	key := members{
		"clientid": "a", "url": "https://acme.accounts.ondemand.com",
		"key": string(opensslFile(t, "pkcs8-aes-256-cbc-hmacWithSHA256.pem")), "certificate": string(opensslFile(t, "leaf.pem")),
	}
	bare, wrapped := members{"credentials": key}, members{"service_key": key, "private_key_password": "test-only"}
	if _, err := load(t, must(json.Marshal(wrapped)), nil); err != nil {
		t.Error(err)
	}
	expectProblem(t, must(json.Marshal(bare)), "credentials.key is encrypted, and private_key_password beside service_key is missing")
}

// An old authority in a bundle does not make the others useless.
func TestAuthorityThatCannotBeReadIsNoted(t *testing.T) {
	m := testMaterial()
	negative := m.PEM["ca.negative"]
	client, err := load(t, native(members{"client_secret": "s", "ca_certificates": negative + m.PEM["ca"]}), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"ca_certificates: certificate 1 has a negative serial number and is not used"}; !slices.Equal(client.Notes, want) || len(client.roots) != 1 {
		t.Errorf("got %q and %d authorities, want %q and 1", client.Notes, len(client.roots), want)
	}
	expectProblem(t, native(members{"client_secret": "s", "ca_certificates": negative}), "ca_certificates holds no certificate that can be used: certificate 1 has a negative serial number")
}

// What a server would refuse is found before a logon is spent.
func TestCertificateOfServerOrWithoutIntermediate(t *testing.T) {
	m := testMaterial()
	server := m.Issue(m.RSA, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	document := func(method string, more members, chain ...*x509.Certificate) []byte {
		document := members{"private_key": m.PEM["rsa.key"], "certificate": keypairtest.CertificatePEM(chain...), "token_endpoint_auth_method": method}
		maps.Copy(document, more)
		return native(document)
	}
	bound := members{"client_secret": "s", "certificate_bound": "allow"}
	for _, test := range []struct {
		name, want string
		document   []byte
	}{
		{"server", "certificate may not be a client's", document("tls_client_auth", nil, server, m.Intermediate.Certificate)},
		{"server, offered", "certificate may not be a client's", document("client_secret_post", bound, server, m.Intermediate.Certificate)},
		{"no intermediate", "certificate holds a certificate that is not in the leaf's chain: an intermediate certificate is missing", document("tls_client_auth", nil, server, m.Root.Certificate)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := strings.Join(problemsOf(t, test.document), "; "); !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if _, err := load(t, document("private_key_jwt", nil, server, m.Intermediate.Certificate), nil); err != nil {
		t.Errorf("private_key_jwt, which only names the certificate: %v", err)
	}
}
