package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// badDocument is a document that must be refused without a call of the authorization server.
type badDocument struct {
	name string
	// members go into a document in the native format, which has a good client_secret unless
	// they have a credential.
	members map[string]any
	// text is the whole document, if it is not empty.
	text string
	// names is what the error must name.
	names string
}

type members = map[string]any

func badDocuments(t *testing.T, issuer *oauthtest.Server) (all []badDocument) {
	t.Helper()
	add := func(names string, list ...members) {
		for _, m := range list {
			all = append(all, badDocument{name: names, members: m, names: names})
		}
	}
	for _, url := range []string{
		"http://as.example.com/token", "ftp://as.example.com/token", "https:///x", "https:h/x", "//h/x", "https://cnry:cnry@h/x", "https://h/x#f", "https://h:0/x", "https://h:70000/x",
		"https://[::1%25lo]/", "https://h/a b", "https://h/\t", "https://h/" + strings.Repeat("a", 4096), "https://h\u0430.example/x",
	} {
		add("token_endpoint", members{"token_endpoint": url})
	}
	certificates(t, add)
	add("client_secret", members{"client_secret": ""}, members{"client_secret": "  "}, members{"client_secret": "cnry\n"}, members{"client_secret": strings.Repeat("c", 10_000)})
	add("token_endpoint_auth_method", members{"token_endpoint_auth_method": "cnry"}, members{"token_endpoint_auth_method": "none"}, members{"token_endpoint_auth_method": 1})
	add("parameters", members{"parameters": members{"client_id": "cnry"}}, members{"parameters": members{"client_secret": "cnry"}}, members{"parameters": members{"grant_type": "cnry"}}, members{"parameters": members{"client_assertion": "cnry"}})
	add("allow_parameters", members{"allow_parameters": []string{"client_id"}}, members{"allow_parameters": []string{"client_secret"}}, members{"allow_parameters": []string{"grant_type"}}, members{"allow_parameters": []string{"client_assertion"}})
	for _, alias := range []string{"1234abcd-12ab-34cd-56ef-1234567890ab", "arn:aws:kms:eu-central-1:111122223333:key/cnry", "alias/token-vendor/payroll", "arn:aws:kms:eu-central-1:444455556666:alias/token-vendor/x", "alias/aws/secretsmanager", "alias/token-vendor/*"} {
		add("kms_key_id", members{"kms_key_id": alias})
	}
	for _, lifetime := range []any{0, -1, 3601, "60", 1e9, 1.5, nil} {
		add("assertion_lifetime", members{"assertion_lifetime": lifetime})
	}
	leaf, err := issuer.CA().Issue(oauthtest.Leaf{CommonName: "leaf"})
	if err != nil {
		t.Fatal(err)
	}
	add("pkcs12", members{"pkcs12": "cnry not base64"}, members{"pkcs12": "Y25yeQ==", "pkcs12_password": "cnry"}, members{"pkcs12": "MIAGCSqGSIb3DQEHA6CAMIACAQAxAAAA"})
	add("ca_certificates", members{"ca_certificates": "cnry"}, members{"ca_certificates": oauthtest.CertificatePEM(leaf.Chain[0])}, members{"ca_certificates": []int{1}})
	return append(all,
		badDocument{name: "twice in VCAP_SERVICES", names: "VCAP_SERVICES", text: `{"VCAP_SERVICES":{"identity":[{"credentials":{"clientid":"cnry"}}],"xsuaa":[{"credentials":{"clientid":"cnry"}}]}}`},
		badDocument{name: "two of one service", names: "VCAP_SERVICES", text: `{"VCAP_SERVICES":{"identity":[{"credentials":{"clientid":"cnry"}},{"credentials":{"clientid":"cnry"}}]}}`},
		badDocument{name: "nested", names: "document", text: strings.Repeat(`{"credentials":`, 20) + `{"clientid":"cnry"}` + strings.Repeat("}", 20)},
		badDocument{name: "large", names: "document", text: `{"client_id":"` + strings.Repeat("c", 65_000) + `"}`},
	)
}

// certificates adds documents with bad certificates and keys.
func certificates(t *testing.T, add func(names string, list ...members)) {
	t.Helper()
	ca, err := oauthtest.NewCA("clients")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(leaf oauthtest.Leaf) *oauthtest.Issued {
		issued, err := ca.Issue(leaf)
		if err != nil {
			t.Fatal(err)
		}
		return issued
	}
	keyText := func(i *oauthtest.Issued) string {
		text, err := oauthtest.KeyPEM(i.Key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	good := issue(oauthtest.Leaf{CommonName: "client"})
	leaf, key, root := oauthtest.CertificatePEM(good.Chain...), keyText(good), oauthtest.CertificatePEM(ca.Certificate)
	expired := issue(oauthtest.Leaf{CommonName: "client", NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)})
	early := issue(oauthtest.Leaf{CommonName: "client", NotBefore: time.Now().Add(time.Hour)})
	for _, text := range []string{
		strings.Repeat(leaf, 11), root + leaf, root, strings.ReplaceAll(leaf, "-----END CERTIFICATE-----", ""), strings.Repeat("-----BEGIN ", 5000), "cnry",
	} {
		add("certificate", members{"certificate": text, "private_key": key})
	}
	add("certificate",
		members{"certificate": oauthtest.CertificatePEM(expired.Chain...), "private_key": keyText(expired)},
		members{"certificate": oauthtest.CertificatePEM(early.Chain...), "private_key": keyText(early)},
		members{"certificate": leaf, "private_key": keyText(issue(oauthtest.Leaf{CommonName: "other"}))})
	for _, alg := range []string{"none", "HS256", "RS256", "ES384", "cnry"} {
		add("alg", members{"private_key": key, "alg": alg})
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strange, err := oauthtest.KeyPEM(p224)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(good.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		strange, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), key + key, leaf, "cnry",
		"-----BEGIN ENCRYPTED PRIVATE KEY-----\nY25yeQ==\n-----END ENCRYPTED PRIVATE KEY-----\n", "-----BEGIN DSA PRIVATE KEY-----\nY25yeQ==\n-----END DSA PRIVATE KEY-----\n",
	} {
		add("private_key", members{"private_key": text})
	}
	for _, jwk := range []members{{}, {"kty": "EC", "crv": "P-256", "x": "cnry", "y": "cnry"}, {"kty": "oct", "k": "cnry"}, {"kty": "OKP", "crv": "Ed25519", "x": "cnry", "d": "cnry"}} {
		add("private_key", members{"private_key": jwk})
	}
}

// The error names what is wrong about the document, and repeats no value of it.
func TestBinaryRefusesBadDocuments(t *testing.T) {
	a := newStack(t)
	documents := badDocuments(t, a.issuer)
	for i, d := range documents {
		t.Run(d.name, func(t *testing.T) {
			name := fmt.Sprintf("bad-%d", i)
			if d.text != "" {
				a.store("token-vendor/clients/"+name, d.text)
			} else {
				if !slices.ContainsFunc([]string{"client_secret", "private_key", "certificate", "pkcs12", "kms_key_id"}, func(credential string) bool { return d.members[credential] != nil }) {
					d.members["client_secret"] = "cnry-secret"
				}
				a.client(name, oauthtest.Client{}, d.members)
			}
			before := len(a.answers.String())
			if a.ask(name) {
				t.Fatal("got a token")
			}
			answer := a.answers.String()[before:]
			if !strings.Contains(answer, `"errorType":"server_error"`) || !strings.Contains(answer, d.names) {
				t.Errorf("got %.300s, want server_error that names %s", answer, d.names)
			}
			checkCanaries(t, "the answer", answer)
		})
	}
	if n := len(a.issuer.Requests()); n != 0 {
		t.Errorf("got %d requests to the authorization server, want none", n)
	}
	checkCanaries(t, "the output", a.logs.String())
	if len(documents) < 60 {
		t.Errorf("got %d documents, want at least 60", len(documents))
	}
}

// Addresses that only the function can reach are not called. With ALLOW_PRIVATE_ENDPOINTS those
// of the cloud are still not called.
func TestBinaryRefusesPrivateAddresses(t *testing.T) {
	always := []string{"169.254.169.254", "[::ffff:169.254.169.254]", "169.254.170.2", "[fd00:ec2::254]", "[fe80::1]", "0.0.0.0", "[::]"}
	private := []string{
		"localhost", "LOCALHOST", "x.localhost", "127.0.0.1", "127.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "192.168.0.1", "172.16.0.1", "[fd12::1]",
		"100.64.0.1", "192.0.0.192", "198.18.0.1", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
	}
	for setting, hosts := range map[string][]string{"false": append(always, private...), "true": always} {
		t.Run(setting, func(t *testing.T) {
			a := newStack(t, "ALLOW_PRIVATE_ENDPOINTS="+setting)
			for i, host := range hosts {
				name := fmt.Sprintf("host-%d", i)
				a.client(name, oauthtest.Client{}, members{"client_secret": "cnry-secret", "token_endpoint": "https://" + host + "/token"})
				before := len(a.answers.String())
				a.ask(name)
				if answer := a.answers.String()[before:]; !strings.Contains(answer, `"errorType":"server_error"`) || !strings.Contains(answer, "token_endpoint") && !strings.Contains(answer, "address") {
					t.Errorf("%s: got %.300s, want server_error about the address", host, answer)
				}
			}
			// A name with such an address is refused when it is dialled.
			if setting == "false" {
				a.client("named", oauthtest.Client{}, members{"client_secret": "cnry-secret"})
				if a.ask("named") || len(a.issuer.Requests()) > 0 {
					t.Error("an authorization server on loopback was called")
				}
			}
		})
	}
}

// Tokens that no header can hold, of types other than Bearer, and with lives that are no numbers
// reach no caller.
func TestBinaryRefusesUnusableTokens(t *testing.T) {
	a := newStack(t)
	answer := func(members string) oauthtest.Fault { return oauthtest.Answer(200, "application/json", members) }
	for i, fault := range []oauthtest.Fault{
		answer(`{"access_token":"cnry\r\nX: y","token_type":"Bearer"}`), answer(`{"access_token":"cnry x","token_type":"Bearer"}`),
		answer(`{"access_token":"cnryü","token_type":"Bearer"}`), answer(`{"access_token":"` + strings.Repeat("c", 65<<10) + `","token_type":"Bearer"}`),
		answer(`{"access_token":"cnry","token_type":"MAC"}`), answer(`{"access_token":"cnry","token_type":"DPoP"}`), answer(`{"access_token":"cnry","token_type":"N_A"}`),
		answer(`{"access_token":"cnry","token_type":"Bearer","scope":"a\u0000b"}`), answer(`{"access_token":"cnry","token_type":"Bearer","expires_in":NaN}`),
		answer(`{"access_token":"cnry","access_token":"other","token_type":"Bearer"}`), answer(`{"access_token":"cnry","token_type":"Bearer"} {}`),
		answer(`{"access_token":"cnry","token_type":"Bearer","error":"invalid_scope"}`), answer(`{"access_token":["cnry"],"token_type":"Bearer"}`), answer(``),
	} {
		name := fmt.Sprintf("answer-%d", i)
		a.client(name, oauthtest.Client{}, members{"client_secret": "cnry-secret-" + name})
		a.issuer.Misbehave(fault)
		before := len(a.answers.String())
		if a.ask(name) || !strings.Contains(a.answers.String()[before:], `"errorType":"server_error"`) {
			t.Errorf("answer %d: got %.300s, want server_error", i, a.answers.String()[before:])
		}
		a.issuer.Behave()
	}
	for i, after := range []string{"-1", "+5", "1e3", "99999999999999999999", "Fri, 31 Dec 2099 23:59:59 GMT", "banana", ""} {
		name := fmt.Sprintf("later-%d", i)
		a.client(name, oauthtest.Client{}, members{"client_secret": "cnry-secret-" + name, "token_endpoint": a.issuer.TokenEndpoint()})
		a.issuer.Misbehave(oauthtest.HTML429(after))
		before := len(a.answers.String())
		if a.ask(name) || !strings.Contains(a.answers.String()[before:], `"errorType":"temporarily_unavailable"`) {
			t.Errorf("Retry-After %q: got %.300s, want temporarily_unavailable", after, a.answers.String()[before:])
		}
		a.issuer.Behave()
	}
	checkCanaries(t, "the answers", a.answers.String())
	checkCanaries(t, "the output", a.logs.String())
}
