package registry

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
)

// problemsOf loads a document that must be refused and checks that the refusal
// is silent about values.
func problemsOf(t *testing.T, document []byte) []string {
	t.Helper()
	_, err := load(t, document, nil)
	var bad *DocumentError
	if !errors.As(err, &bad) {
		t.Fatalf("got %v, want a DocumentError", err)
	}
	checkSilent(t, document, err.Error())
	return bad.Problems
}

// expectProblem fails unless the document has one problem, which begins with
// want.
func expectProblem(t *testing.T, document []byte, want string) {
	t.Helper()
	problems := problemsOf(t, document)
	if len(problems) != 1 || !strings.HasPrefix(problems[0], want) {
		t.Errorf("got %q, want %q", problems, want)
	}
}

// members is a shorthand for a document's members.
type members = map[string]any

func TestRefusedTexts(t *testing.T) {
	deep := strings.Repeat(`{"credentials":`, 20) + `{"clientid":"a"}` + strings.Repeat("}", 20)
	nested := strings.Repeat(`{"credentials":`, 8) + `{"clientid":"a"}` + strings.Repeat("}", 8)
	tests := []struct{ name, document, want string }{
		{"empty", "", "the document is not a JSON object"},
		{"plain text", testSecret, "the document is not a JSON object"},
		{"list", "[]", "the document is not a JSON object"},
		{"trailing", `{"client_id":"a"} {}`, "the document is not a JSON object"},
		{"not UTF-8", "{\"client_id\":\"\xff\"}", "the document is not a JSON object"},
		{"twice", `{"client_id":"a","client_id":"b"}`, "the document is ambiguous: client_id is given twice"},
		{"twice inside", `{"credentials":{"clientid":"a","clientid":"b"}}`, "the document is ambiguous: clientid is given twice"},
		{"large", `{"client_id":"` + strings.Repeat("a", maxDocument) + `"}`, "the document is larger than 64 KiB"},
		{"deep", deep, "the document is nested too deeply"},
		{"nested", nested, "the document has too many envelopes"},
		{"no members", "{}", "the document has none of the members"},
		{"envelope of text", `{"credentials":"` + keypairtest.Canary + `"}`, "credentials must be an object"},
		{"envelope of nothing", `{"credentials":{"x":1}}`, "credentials has none of the members"},
		{"wrapped native", `{"service_key":{"client_id":"a","client_secret":"b","token_endpoint":"https://a.example.com"}}`, "service_key must hold a key"},
		{"service key as text", `{"service_key":"{}"}`, "service_key must be an object"},
		{"no bindings", `{"VCAP_SERVICES":{}}`, "VCAP_SERVICES must hold exactly one binding"},
		{"bindings of another service", `{"redis":[{"credentials":{"host":"h"}}]}`, "VCAP_SERVICES must hold exactly one binding"},
		{"same client twice", `{"identity":[{"credentials":{"clientid":"a"}},{"credentials":{"clientid":"a"}}]}`, "VCAP_SERVICES must hold exactly one binding"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { expectProblem(t, []byte(test.document), test.want) })
	}
}

func TestByteOrderMark(t *testing.T) {
	if _, err := load(t, append([]byte("\xef\xbb\xbf"), native(members{"client_secret": "s"})...), nil); err != nil {
		t.Error(err)
	}
}

func TestEndpoints(t *testing.T) {
	refused := []string{
		"http://as.example.com/token", "ftp://as.example.com/", "https:///x", "https:h/x", "//h/x", "as.example.com/token",
		"https://user:pw@as.example.com/", "https://accounts.ondemand.com@evil.test/", "https://as.example.com/#f",
		"https://as.example.com:0/", "https://as.example.com:70000/", "https://as.example.com:/", "https://[::1%25lo]/",
		"https://as.example .com/", "https://as.example.com/\t", "https://as.example.com/" + strings.Repeat("a", 4096),
		"https://аs.example.com/", "https://*.example.com/", "https://./",
		"https://localhost/", "https://x.localhost:8443/", "https://LOCALHOST./", "https://127.0.0.1/", "https://127.1/",
		"https://0x7f.1/", "https://2130706433/", "https://127.0.0.1./", "https://0.0.0.0/", "https://[::]/", "https://[::1]/",
		"https://[::ffff:127.0.0.1]/", "https://169.254.169.254/", "https://169.254.170.2/", "https://[fd00:ec2::254]/",
		"https://100.64.0.1/", "https://192.0.0.192/", "https://198.18.0.1/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/",
		"https://10.0.0.1/", "https://192.168.1.1/",
	}
	for _, url := range refused {
		t.Run(url[:min(len(url), 40)], func(t *testing.T) {
			expectProblem(t, native(members{"client_secret": "s", "token_endpoint": url}), "token_endpoint ")
			expectProblem(t, native(members{"client_secret": "s", "issuer": url}), "issuer ")
		})
	}
	private := func(cfg *Config) {
		cfg.Addresses = oauth.AddressPolicy{Private: true, Prefixes: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/16")}}
	}
	for _, url := range []string{"https://localhost:8443/t", "https://127.0.0.1:8443/t", "https://100.64.0.1/t"} {
		if _, err := load(t, native(members{"client_secret": "s", "token_endpoint": url}), private); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestS09SAPHosts(t *testing.T) {
	tests := []struct {
		issuer string
		want   bool
	}{
		{"https://acme.accounts.ondemand.com", true},
		{"https://acme.accounts.ondemand.com/", true},
		{"https://ACME.Accounts.OnDemand.Com", true},
		{"https://acme.accounts.cloud.sap", true},
		{"https://acme.accounts.sapcloud.cn", true},
		{"https://acme.trial-accounts.ondemand.com", true},
		{"https://acme.accounts400.ondemand.com", true},
		{"https://acme.accounts.ondemand.com:8443", true},
		{"https://accounts.ondemand.com", false},
		{"https://.accounts.ondemand.com", false},
		{"https://evilaccounts.ondemand.com", false},
		{"https://x.evilaccounts.ondemand.com", false},
		{"https://x.accounts.ondemand.com.evil.test", false},
		{"https://x.accounts.ondemand.com.", false},
		{"https://x-accounts.ondemand.com", false},
		{"https://accounts.ondemand.com@evil.test", false},
		{"https://evil.test/x.accounts.ondemand.com", false},
		{"https://evil.test?x.accounts.ondemand.com", false},
		{"https://evil.test#.accounts.ondemand.com", false},
		{"https://acme.accounts.ondemand.co", false},
		{"https://acme.accounts.sap", false},
	}
	for _, test := range tests {
		if got := isSAP(test.issuer); got != test.want {
			t.Errorf("%s: %t", test.issuer, got)
		}
	}
}

func TestMembers(t *testing.T) {
	keyed := func(more members) members {
		m := members{"private_key": testMaterial().PEM["rsa.key"]}
		for name, value := range more {
			m[name] = value
		}
		return m
	}
	ec256, many := testMaterial().PEM["ec256.key"], make([]string, 65)
	for i := range many {
		many[i] = "urn:x:" + strings.Repeat("a", i+1)
	}
	tests := []struct {
		name    string
		members members
		want    string
	}{
		{"secret blank", members{"client_secret": "   "}, "client_secret is blank"},
		{"secret newline", members{"client_secret": "s\n"}, "client_secret ends in a newline"},
		{"secret CRLF", members{"client_secret": "s\r\n"}, "client_secret ends in a newline"},
		{"secret long", members{"client_secret": strings.Repeat("s", 4097)}, "client_secret is too long"},
		{"secret number", members{"client_secret": 12345678}, "client_secret must be a string"},
		{"secret null", members{"client_secret": nil}, "client_secret must be a string"},
		{"id blank end", members{"client_secret": "s", "client_id": "a "}, "client_id begins or ends with a blank"},
		{"id control", members{"client_secret": "s", "client_id": "a\u0000b"}, "client_id must not hold control"},
		{"id colon in raw Basic", members{"client_secret": "s", "client_id": "a:b", "token_endpoint_auth_method": "client_secret_basic", "basic_encoding": "raw"}, "client_id holds a colon"},
		{"method unknown", members{"client_secret": "s", "token_endpoint_auth_method": "tls"}, "token_endpoint_auth_method must be"},
		{"method none", members{"client_secret": "s", "token_endpoint_auth_method": "none"}, "token_endpoint_auth_method must be"},
		{"method number", members{"client_secret": "s", "token_endpoint_auth_method": 1}, "token_endpoint_auth_method must be a string"},
		{"method without secret", keyed(members{"token_endpoint_auth_method": "client_secret_basic"}), "client_secret is missing"},
		{"method without certificate", keyed(members{"token_endpoint_auth_method": "tls_client_auth"}), "certificate is missing"},
		{"method without key", members{"client_secret": "s", "token_endpoint_auth_method": "private_key_jwt"}, "private_key is missing"},
		{"secret and key", keyed(members{"client_secret": "s"}), "client_secret is ambiguous"},
		{"certificate without key", members{"certificate": testMaterial().PEM["rsa.chain"]}, "private_key is missing"},
		{"alg none", keyed(members{"alg": "none"}), "alg must be"},
		{"alg HS256", keyed(members{"alg": "HS256"}), "alg must be"},
		{"alg of EC", keyed(members{"alg": "ES256"}), "alg does not fit"},
		{"alg of P-384", members{"private_key": ec256, "alg": "ES384"}, "alg does not fit"},
		{"alg of RSA", members{"private_key": ec256, "alg": "PS256"}, "alg does not fit"},
		{"lifetime 0", keyed(members{"assertion_lifetime": 0}), "assertion_lifetime must be"},
		{"lifetime -1", keyed(members{"assertion_lifetime": -1}), "assertion_lifetime must be"},
		{"lifetime 3601", keyed(members{"assertion_lifetime": 3601}), "assertion_lifetime must be"},
		{"lifetime text", keyed(members{"assertion_lifetime": "60"}), "assertion_lifetime must be"},
		{"lifetime 1e9", keyed(members{"assertion_lifetime": 1e9}), "assertion_lifetime must be"},
		{"lifetime fraction", keyed(members{"assertion_lifetime": 1.5}), "assertion_lifetime must be"},
		{"typ", keyed(members{"assertion_type_header": "JWT {}"}), "assertion_type_header must be"},
		{"kid", keyed(members{"kid": strings.Repeat("k", 257)}), "kid is too long"},
		{"kms without KMS", members{"kms_key_id": "alias/token-vendor/billing"}, "kms_key_id cannot be used: there is no KMS here"},
		{"web identity", members{"token_endpoint_auth_method": "aws_web_identity"}, "token_endpoint_auth_method is aws_web_identity, for which the operator allows no audience"},
		{"scope quote", members{"client_secret": "s", "scope": `a "b"`}, "scope must be"},
		{"scope tab", members{"client_secret": "s", "scope": "a\tb"}, "scope must be"},
		{"scope list", members{"client_secret": "s", "scope": []string{"a"}}, "scope must be a string"},
		{"resource relative", members{"client_secret": "s", "resource": "api"}, "resource must be"},
		{"resource fragment", members{"client_secret": "s", "resource": []string{"https://a.example.com/#"}}, "resource must be"},
		{"resource object", members{"client_secret": "s", "resource": members{"a": "b"}}, "resource must be a string or a list"},
		{"resource many", members{"client_secret": "s", "resource": many}, "resource has too many"},
		{"audience", members{"client_secret": "s", "audience": "a\nb"}, "audience must not hold control"},
		{"token format", members{"client_secret": "s", "token_format": "JWT"}, "token_format must be jwt or opaque"},
		{"parameters text", members{"client_secret": "s", "parameters": "a=b"}, "parameters must be an object"},
		{"parameters nested", members{"client_secret": "s", "parameters": members{"a": members{}}}, "parameters.a must be a string"},
		{"parameters control", members{"client_secret": "s", "parameters": members{"a": "\r\n"}}, "parameters.a must not hold control"},
		{"allow text", members{"client_secret": "s", "allow_parameters": 1}, "allow_parameters must be"},
		{"allow many", members{"client_secret": "s", "allow_parameters": many}, "allow_parameters has too many"},
		{"unknown", members{"client_secret": "s", "scopes": "a"}, "scopes is not known here: scope is meant?"},
		{"wrong case", members{"client_secret": "s", "Scope": "a"}, "a member is not known here"},
		{"certificate_bound", members{"client_secret": "s", "certificate_bound": true}, "certificate_bound must be a string"},
		{"issuer query", members{"client_secret": "s", "issuer": "https://as.example.com?a=b"}, "issuer must not have a query"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { expectProblem(t, native(test.members), test.want) })
	}
}

func TestReservedParameters(t *testing.T) {
	credentials := []string{"client_id", "client_secret", "client_assertion", "client_assertion_type", "assertion", "grant_type",
		"username", "password", "code", "refresh_token", "subject_token", "actor_token", "code_verifier", "redirect_uri", "Client_Secret"}
	for _, name := range append(credentials, "", "a b", "ä", "a=b", strings.Repeat("a", 65)) {
		t.Run(name, func(t *testing.T) {
			expectProblem(t, native(members{"client_secret": "s", "parameters": members{name: "x"}}), "parameters")
			if name != "" {
				expectProblem(t, native(members{"client_secret": "s", "allow_parameters": []string{name}}), "allow_parameters ")
			}
		})
	}
	own := []string{"scope", "resource", "audience", "token_format"}
	for _, name := range own {
		expectProblem(t, native(members{"client_secret": "s", "parameters": members{name: "x"}}), "parameters."+name)
	}
	client, err := load(t, native(members{"client_secret": "s", "allow_parameters": append(own, "app_tid")}), nil)
	if err != nil || len(client.Allow) != 5 {
		t.Errorf("%v, %v", client, err)
	}
}

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
		{"expired certificate", members{"private_key": m.PEM["rsa.key"], "certificate": m.PEM["expired"]}, "certificate has expired"},
		{"pkcs12", members{"pkcs12": keypairtest.Canary}, "pkcs12 is not base64"},
		{"pkcs12 with the wrong password", members{"pkcs12": p12, "pkcs12_password": "test-wrong"}, "pkcs12 cannot be decrypted: pkcs12_password is wrong"},
		{"pkcs12 beside a key", members{"pkcs12": p12, "pkcs12_password": "test-only", "private_key": m.PEM["ec256.key"]}, "private_key and pkcs12 are both given"},
		{"pkcs12", members{"pkcs12": p12, "pkcs12_password": "test-only"}, ""},
		{"root", members{"client_secret": "s", "ca_certificates": keypairtest.Canary}, "ca_certificates is not PEM"},
		{"roots of another type", members{"client_secret": "s", "ca_certificates": 1}, "ca_certificates must be a string or a list"},
		{"leaf as root", members{"client_secret": "s", "ca_certificates": []string{ca, leaf}}, "ca_certificates holds a certificate that is not of a CA"},
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
			if client.CertificateNotAfter.IsZero() == (test.members["pkcs12"] != nil) {
				t.Errorf("got CertificateNotAfter %v", client.CertificateNotAfter)
			}
		})
	}
}

func TestEachProblemOfCertificateIsReported(t *testing.T) {
	m := testMaterial()
	expired := m.Issue(m.RSA, func(c *x509.Certificate) { c.NotAfter = keypairtest.Now().Add(-time.Second) })
	got := problemsOf(t, native(members{"private_key": m.PEM["rsa.key"], "certificate": keypairtest.CertificatePEM(expired, keypairtest.SelfSigned(m.EC384))}))
	if want := []string{"certificate has expired", "certificate holds a certificate that is not in the leaf's chain"}; !slices.Equal(got, want) {
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
