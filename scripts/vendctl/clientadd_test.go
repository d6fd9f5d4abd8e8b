package main

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"tokenvendor/shared/oauth/oauthtest"
)

const (
	documents = "../../shared/registry/testdata/documents/"
	sapSecret = `cnry-secret]:?/=.+%2 &ü_-:`
)

// sapProducts are the golden service keys of SAP, and the products that they are of.
var sapProducts = map[string]string{
	"agent-gateway": "agent-gateway", "aicore-both": "xsuaa", "aicore-secret": "ai-core", "aicore-x509": "ai-core", "camelcase": "api-management",
	"datasphere-wrapped-basic": "datasphere", "destination": "destination", "envelope-credentials": "xsuaa", "envelope-uaa": "process-automation",
	"event-mesh": "event-mesh", "event-mesh-part": "event-mesh", "identity-both": "identity", "identity-custom-domain": "identity",
	"identity-none-wrapped-jwt": "identity", "identity-provided-wrapped": "identity", "identity-secret": "identity", "identity-token-url": "identity",
	"identity-wrapped-basic": "identity", "identity-x509": "identity", "integration-suite": "integration-suite", "integration-suite-x509": "integration-suite",
	"kubernetes": "xsuaa", "kubernetes-credentials": "xsuaa", "kubernetes-file": "process-automation", "vcap": "identity", "vcap-aicore": "service-manager",
	"vcap-bare": "ai-core", "vcap-oauth": "integration-suite", "wrapped-bound": "xsuaa", "xsuaa-custom-domain": "process-automation", "xsuaa-secret": "xsuaa",
	"xsuaa-wrapped-basic": "xsuaa", "xsuaa-x509": "xsuaa", "xsuaa-x509-certificate-host": "xsuaa",
}

// golden is a document of the registry's tests, and what it must become.
type golden struct {
	name, text string
	members    map[string]string // of the golden file
}

func (g golden) host() string { return g.members["host"] }

// readGolden returns the documents of a pattern, filled by fill.
func readGolden(t *testing.T, pattern string, fill func(string) string) (all []golden) {
	t.Helper()
	files, err := filepath.Glob(documents + pattern + ".json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		template, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		g := golden{strings.TrimSuffix(filepath.Base(file), ".json"), fill(string(template)), make(map[string]string)}
		for line := range strings.Lines(string(want)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			g.members[name] = value
		}
		// The test's server has the paths of SAP's servers only.
		if g.name == "destination" {
			g.text, g.members["endpoint"] = strings.ReplaceAll(g.text, "example.com/token", "example.com/oauth2/token"), "https://as.example.com/oauth2/token"
		}
		all = append(all, g)
	}
	return all
}

// tenants are the servers of the golden documents, behind a proxy that knows where they are: one
// authorization server with all of their names.
type tenants struct {
	*operated
	issued *oauthtest.Issued
	// key is that of issued, and second another one.
	key, second crypto.Signer
	ca          string
}

func newTenants(t *testing.T, hosts []string) *tenants {
	t.Helper()
	ca, err := oauthtest.NewCA("tenants")
	if err != nil {
		t.Fatal(err)
	}
	server, err := ca.Issue(oauthtest.Leaf{CommonName: "tenants", Hosts: append(hosts, "127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	certificate := server.TLS()
	issuer := oauthtest.NewServer(t, oauthtest.Config{CA: ca, Certificate: &certificate, NeverLock: true})
	proxy := &oauthtest.ConnectProxy{Addresses: make(map[string]string)}
	for _, host := range hosts {
		proxy.Addresses[net.JoinHostPort(host, "443")] = strings.TrimPrefix(issuer.URL(), "https://")
	}
	listener := httptest.NewServer(proxy)
	t.Cleanup(listener.Close)
	n := &tenants{operated: newOperated(t)}
	n.issuer.Close()
	n.issuer = issuer
	t.Setenv("EGRESS_PROXY", listener.URL)
	if n.key, err = oauthtest.NewKey(oauthtest.RSA2048); err != nil {
		t.Fatal(err)
	}
	if n.second, err = oauthtest.NewKey(oauthtest.P256); err != nil {
		t.Fatal(err)
	}
	if n.issued, err = ca.Issue(oauthtest.Leaf{CommonName: "client", Key: n.key}); err != nil {
		t.Fatal(err)
	}
	n.ca = n.file(t, "ca.pem", string(issuer.CAPEM()))
	return n
}

// fill replaces the placeholders of a template by credentials that are valid now.
func (n *tenants) fill(t *testing.T) func(template string) string {
	t.Helper()
	keyPEM, err := oauthtest.KeyPEM(n.key)
	if err != nil {
		t.Fatal(err)
	}
	second, err := oauthtest.KeyPEM(n.second)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(n.key.(*rsa.PrivateKey))}))
	expired, err := n.issuer.CA().Issue(oauthtest.Leaf{CommonName: "client", Key: n.key, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	chain := oauthtest.CertificatePEM(n.issued.Chain...)
	values := map[string]string{
		"rsa.chain": chain, "rsa.chain.literal": strings.ReplaceAll(chain, "\n", `\n`), "rsa.key": keyPEM, "rsa.pkcs1": pkcs1, "rsa.pkcs1.literal": strings.ReplaceAll(pkcs1, "\n", `\r\n`),
		"ec256.key": second, "expired": oauthtest.CertificatePEM(expired.Chain...), "secret": sapSecret, "canary": "cnry-canary",
	}
	return func(template string) string {
		return regexp.MustCompile(`\$\{([^}]+)\}`).ReplaceAllStringFunc(template, func(mark string) string {
			quoted, err := json.Marshal(values[mark[2:len(mark)-1]])
			if err != nil {
				t.Fatal(err)
			}
			return string(quoted[1 : len(quoted)-1])
		})
	}
}

// register registers the client of a golden document.
func (n *tenants) register(g golden) {
	c := oauthtest.Client{
		ID: g.members["client_id"], Methods: []string{g.members["method"]}, RawBasic: g.members["basic"] == "raw", SubjectDN: n.issued.Chain[0].Subject.String(),
		Secrets: []string{sapSecret, "s"}, Keys: map[string]crypto.PublicKey{"1": n.second.Public()}, Audiences: []string{"https://" + g.host()},
	}
	n.issuer.Register(c)
}

// tables returns the golden keys of SAP's products and their servers.
func tables(t *testing.T) (names, hosts []string) {
	t.Helper()
	for _, g := range readGolden(t, "*", strings.Clone) {
		if sapProducts[g.name] != "" {
			names, hosts = append(names, g.name), append(hosts, g.host())
		} else if !regexp.MustCompile("^(bad|native|salesforce|databricks)").MatchString(g.name) {
			t.Errorf("%s is of no product: add it to sapProducts", g.name)
		}
	}
	slices.Sort(hosts)
	if len(names) != len(sapProducts) {
		t.Fatalf("found %d golden keys, want %d", len(names), len(sapProducts))
	}
	return names, slices.Compact(hosts)
}

// run runs a command, and checks that it prints no part of a credential.
func (n *tenants) run(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	out, errs, code = n.operated.run(t, args...)
	for _, secret := range []string{sapSecret, "BEGIN ", "MII", "p4ss"} {
		if strings.Contains(out+errs, secret) {
			t.Errorf("%v prints a credential", args)
		}
	}
	return out, errs, code
}

// created returns how many secrets were created.
func (n *tenants) created() int { return n.secrets.Calls("CreateSecret") }

// Every golden key of SAP is added as it is, after one exchange at the server that it names.
func TestEverySAPKeyIsAdded(t *testing.T) {
	names, hosts := tables(t)
	n := newTenants(t, hosts)
	for _, g := range readGolden(t, "*", n.fill(t)) {
		if !slices.Contains(names, g.name) {
			continue
		}
		t.Run(g.name, func(t *testing.T) {
			n.register(g)
			// Names must not end in a hyphen and six characters.
			name, file, exchanges, created := strings.ReplaceAll(g.name, "-", "")+"0", n.file(t, g.name+".json", g.text), n.issuer.Exchanges(), n.created()
			other := "identity"
			if g.name == "agent-gateway" || sapProducts[g.name] == other {
				other = "integration-suite"
			}
			// A key of another product is not even tried.
			if _, errs, code := n.run(t, "client", "add", name, "--service-key", file, "--sap", other, "--ca", n.ca); code != exitCredential || !regexp.MustCompile(`\n  (url|tokenurl) is missing`).MatchString(errs) {
				t.Errorf("--sap %s: got %d, %q", other, code, errs)
			}
			if n.issuer.Exchanges() != exchanges || n.created() != created {
				t.Fatal("a key of another product was tried or stored")
			}
			out, errs, code := n.run(t, "client", "add", name, "--service-key", file, "--sap", sapProducts[g.name], "--ca", n.ca)
			if code != 0 || n.created() != created+1 || !strings.Contains(out, g.members["method"]) || !strings.Contains(out, g.host()) {
				t.Fatalf("got %d, %q, %q", code, out, errs)
			}
			requests := n.issuer.Requests()
			if path := requests[len(requests)-1].Path; "https://"+g.host()+path != g.members["endpoint"] {
				t.Errorf("the exchange was at %s, want %s", path, g.members["endpoint"])
			}
			if _, errs, code := n.run(t, "client", "add", name, file); code != exitFailed || !strings.Contains(errs, "exists already") || len(n.issuer.Requests()) != len(requests) {
				t.Errorf("the same name again: got %d, %q", code, errs)
			}
			if _, errs, code := n.run(t, "client", "check", name, "--exchange"); code != 0 {
				t.Errorf("what was stored: got %d, %q", code, errs)
			}
		})
	}
}

// A key with an odd client, credential and server shows the three problems, and nothing is called.
func TestEveryBrokenSAPKeyShowsAllProblems(t *testing.T) {
	names, hosts := tables(t)
	n := newTenants(t, hosts)
	broken := strings.NewReplacer("${rsa.chain}", "cnry-certificate", "${rsa.chain.literal}", "cnry-certificate", "${ec256.key}", "cnry-key", "https://", "http://cnry-")
	id := regexp.MustCompile(`(\\?"client[iI]d\\?": ?\\?")[^"\\]*`)
	proof := regexp.MustCompile(`(\\?"(?:client[sS]ecret|secret)\\?": ?\\?")[^"\\]*`)
	fill := n.fill(t)
	for _, g := range readGolden(t, "*", func(template string) string {
		return fill(proof.ReplaceAllString(id.ReplaceAllString(broken.Replace(template), "${1}cnry-id "), "${1}   "))
	}) {
		if !slices.Contains(names, g.name) {
			continue
		}
		_, errs, code := n.run(t, "client", "add", "broken", "--ca", n.ca, "--service-key", n.file(t, g.name+".json", g.text))
		credential := `\n  \S*(client[sS]ecret|secret) is blank\n`
		switch g.members["method"] {
		case "tls_client_auth":
			credential = `\n  \S*certificate `
		case "private_key_jwt":
			credential = `\n  private_key `
		}
		for _, want := range []string{`\n  \S*client[iI]d begins or ends with a blank\n`, credential, `\n  \S* is not usable: not an https URL\n`} {
			if code != exitCredential || !regexp.MustCompile(want).MatchString(errs) {
				t.Errorf("%s: got %d, %q, want %q in it", g.name, code, errs, want)
			}
		}
	}
	// The registry's own broken documents show what its golden files say.
	// Times differ, and so does what says that no key of KMS is at hand.
	other := regexp.MustCompile(`until \S+|kms_key_id (cannot be used|must be alias).*\n`)
	for _, g := range readGolden(t, "bad-*", fill) {
		want, err := os.ReadFile(documents + g.name + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		_, errs, code := n.run(t, "client", "add", "broken", n.file(t, g.name+".json", g.text))
		got := strings.ReplaceAll(strings.TrimPrefix(errs, "vendctl: the document is not valid:\n"), "  ", "")
		if code != exitCredential || other.ReplaceAllString("problems\n"+got, "") != other.ReplaceAllString(string(want), "") {
			t.Errorf("%s: got %d, %q, want %q", g.name, code, errs, want)
		}
	}
	if n.issuer.Connections() != 0 || n.created() != 0 {
		t.Errorf("got %d connections and %d secrets, want none", n.issuer.Connections(), n.created())
	}
}

// partsOf are the files of a client with a certificate.
type partsOf struct{ chain, key, p12, p12Password, secret string }

func (n *tenants) parts(t *testing.T) partsOf {
	t.Helper()
	keyPEM, err := oauthtest.KeyPEM(n.key)
	if err != nil {
		t.Fatal(err)
	}
	store, err := pkcs12.Modern.Encode(n.key, n.issued.Chain[0], n.issued.Chain[1:], "cnry-p4ss")
	if err != nil {
		t.Fatal(err)
	}
	return partsOf{
		chain: n.file(t, "chain.pem", oauthtest.CertificatePEM(n.issued.Chain...)), key: n.file(t, "key.pem", keyPEM),
		p12: n.file(t, "store.p12", string(store)), p12Password: n.file(t, "p12.password", "cnry-p4ss\n"), secret: n.file(t, "secret", sapSecret+"\r\n"),
	}
}

// The flags become a native document that the registry reads, and that gets a token.
func TestClientIsAddedFromItsParts(t *testing.T) {
	const ias, xsuaa, s4 = "acme.accounts.ondemand.com", "acme.authentication.cert.eu10.hana.ondemand.com", "login.example.com"
	n := newTenants(t, []string{ias, xsuaa, s4})
	p := n.parts(t)
	n.issuer.Register(oauthtest.Client{
		ID: "shop", Methods: methods(), Secrets: []string{sapSecret}, SubjectDN: n.issued.Chain[0].Subject.String(), Thumbprint: oauthtest.Thumbprint(n.issued.Chain[0]),
		Keys: map[string]crypto.PublicKey{"": n.key.Public()}, Audiences: []string{"https://" + ias, n.issuer.TokenEndpoint()},
	})
	store, err := os.ReadFile(p.p12)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want map[string]any // of the document
	}{
		"pem":      {[]string{"--pem", p.chain, "--key", p.key, "--issuer", "https://" + ias}, map[string]any{"issuer": "https://" + ias}},
		"pem-jwt":  {[]string{"--pem", p.chain, "--key", p.key, "--issuer", "https://" + ias, "--method", "private_key_jwt"}, map[string]any{"token_endpoint_auth_method": "private_key_jwt"}},
		"key":      {[]string{"--key", p.key, "--token-url", n.issuer.TokenEndpoint(), "--scope", "read", "--scope", "write"}, map[string]any{"scope": "read write"}},
		"p12":      {[]string{"--p12", p.p12, "--p12-password-file", p.p12Password, "--issuer", "https://" + ias}, map[string]any{"pkcs12": base64.StdEncoding.EncodeToString(store), "pkcs12_password": "cnry-p4ss"}},
		"p12-jwt":  {[]string{"--p12", p.p12, "--p12-password-file", "-", "--issuer", "https://" + ias, "--method", "private_key_jwt", "--resource", "urn:a", "--resource", "urn:b"}, map[string]any{"resource": []any{"urn:a", "urn:b"}}},
		"secret":   {[]string{"--secret-file", p.secret, "--token-url", "https://" + s4 + "/oauth2/token", "--audience", "a"}, map[string]any{"client_secret": sapSecret, "audience": "a"}},
		"tenant":   {[]string{"--secret-file", p.secret, "--sap", "identity", "--tenant", ias}, map[string]any{"issuer": "https://" + ias, "token_endpoint": "https://" + ias + "/oauth2/token"}},
		"own":      {[]string{"--secret-file", p.secret, "--sap", "identity", "--tenant", s4}, map[string]any{"token_endpoint": "https://" + s4 + "/oauth2/token"}},
		"tenant-p": {[]string{"--pem", p.chain, "--key", p.key, "--sap", "identity", "--tenant", ias, "--method", "private_key_jwt"}, map[string]any{"issuer": "https://" + ias}},
		"xsuaa":    {[]string{"--pem", p.chain, "--key", p.key, "--sap", "xsuaa", "--tenant", xsuaa}, map[string]any{"token_endpoint": "https://" + xsuaa + "/oauth/token"}},
	} {
		args := append([]string{"--local", n.stack, "client", "add", name, "--client-id", "shop", "--ca", n.ca}, test.args...)
		var out bytes.Buffer
		root := newRoot()
		root.SetArgs(args)
		root.SetIn(strings.NewReader("cnry-p4ss\n"))
		root.SetOut(&out)
		if err := root.ExecuteContext(t.Context()); err != nil || strings.Contains(out.String(), "cnry-") {
			t.Errorf("%s: got %v, %q", name, err, out.String())
			continue
		}
		got := n.stored(t, name)
		for member, want := range test.want {
			if text, _ := json.Marshal(got[member]); !bytes.Equal(text, must(json.Marshal(want))) {
				t.Errorf("%s: got another %s in the document", name, member)
			}
		}
		if got["client_id"] != "shop" {
			t.Errorf("%s: got the client %v", name, got["client_id"])
		}
	}
}

func must(text []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return text
}

// stored returns the document of a client.
func (n *tenants) stored(t *testing.T, name string) (members map[string]any) {
	t.Helper()
	v, err := (&access{local: n.stack}).openVault(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := v.read(t.Context(), name)
	if err != nil || json.Unmarshal(s.Text, &members) != nil {
		t.Fatalf("%s: got no document: %v", name, err)
	}
	return members
}

// All problems are printed together, one a line. Mistakes of the command line are found before a
// file is read or a server called.
func TestClientAddRefuses(t *testing.T) {
	n := newTenants(t, []string{"acme.accounts.ondemand.com"})
	p := n.parts(t)
	binary, empty := n.file(t, "binary", "cnry-\xff\xfe"), n.file(t, "empty", " \n")
	document := n.file(t, "document.json", n.document(t, nil))
	locked := n.file(t, "locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for _, test := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--pem", p.chain}, exitCredential, []string{"client_id is missing", "private_key is missing", "token_endpoint is missing, and so is issuer"}},
		{[]string{"--pem", p.key, "--key", p.chain, "--issuer", "http://cnry-host"}, exitCredential, []string{"client_id is missing", "issuer is not usable"}},
		{[]string{"--pem", binary, "--key", binary, "--secret-file", binary}, exitCredential, []string{"certificate is not text", "private_key is not text", "client_secret is not text", "client_id is missing", "token_endpoint is missing"}},
		// Without its certificate the client would have another method, or trust more servers.
		{[]string{"--client-id", "c", "--pem", empty, "--key", p.key, "--ca", empty, "--token-url", "https://as.test/token"}, exitCredential, []string{"certificate is empty", "ca_certificates is empty"}},
		{[]string{"--client-id", "c", "--key", os.DevNull, "--token-url", "https://as.test/token"}, exitCredential, []string{"private_key is empty"}},
		{[]string{"--client-id", "c", "--p12", empty, "--token-url", "https://as.test/token"}, exitCredential, []string{"pkcs12 is empty"}},
		{[]string{"--p12", binary, "--p12-password-file", p.p12Password, "--client-id", "cnry-id "}, exitCredential, []string{"pkcs12 ", "client_id begins or ends", "token_endpoint is missing"}},
		{[]string{"--p12", p.p12, "--p12-password-file", p.secret, "--client-id", "a", "--method", "tls"}, exitCredential, []string{"pkcs12 ", "token_endpoint_auth_method must be", "token_endpoint is missing"}},
		{[]string{"--p12", p.p12, "--client-id", "a", "--token-url", "https://as.test/token"}, exitCredential, []string{"pkcs12 cannot be decrypted: pkcs12_password is missing, or the file is damaged; give the password by --p12-password-file"}},
		{[]string{"--key", locked, "--client-id", "a", "--issuer", "https://acme.accounts.ondemand.com"}, exitCredential, []string{"private_key is encrypted, and private_key_password is missing; give the password by --key-password-file"}},
		{[]string{"--secret-file", p.secret, "--pem", p.chain, "--key", p.key, "--client-id", "a"}, exitCredential, []string{"client_secret is ambiguous", "token_endpoint is missing"}},
		{[]string{document, "--scope", "cnry-scope", "--client-id", "cnry-id"}, exitCredential, []string{"scope is given by a flag and in the file", "client_id is given by a flag and in the file"}},
		{[]string{document, "--sap", "event-mesh"}, exitCredential, []string{"oa2 is missing", "tokenendpoint is missing"}},
		{[]string{document, "--sap", "agent-gateway"}, exitCredential, []string{"certificate is missing", "privateKey or key is missing", "tokenServiceUrl is missing", "gatewayUrl is missing"}},
		{[]string{"--pem", p.chain + ".none", "--key", p.key + ".none"}, exitNotFound, []string{"--pem: ", "--key: "}},
		{[]string{}, exitUsage, nil},
		{[]string{"--client-id", "a"}, exitUsage, nil},
		{[]string{document, "--service-key", document}, exitUsage, nil},
		{[]string{document, document}, exitUsage, nil},
		{[]string{"--pem", "-", "--key", "-"}, exitUsage, nil},
		{[]string{document, "--sap", "unknown"}, exitUsage, []string{"identity, xsuaa"}},
		{[]string{document, "--sap", "ariba"}, exitUsage, nil},
		{[]string{"--secret-file", p.secret, "--sap", "event-mesh"}, exitUsage, nil},
		{[]string{"--secret-file", p.secret, "--sap", "identity"}, exitUsage, nil},
		{[]string{"--secret-file", p.secret, "--tenant", "a.example"}, exitUsage, nil},
		{[]string{"--secret-file", p.secret, "--sap", "identity", "--tenant", "https://a.example"}, exitUsage, nil},
		{[]string{"--secret-file", p.secret, "--sap", "identity", "--tenant", "a.example", "--token-url", "https://b.example"}, exitUsage, nil},
		{[]string{"--pem", p.chain, "--key", p.key, "--sap", "xsuaa", "--tenant", "a.authentication.eu10.hana.ondemand.com"}, exitUsage, []string{"authentication.cert."}},
	} {
		out, errs, code := n.run(t, append([]string{"client", "add", "refused"}, test.args...)...)
		if code != test.code || out != "" {
			t.Errorf("%v: got %d, %q, %q, want %d", test.args, code, out, errs, test.code)
		}
		for _, want := range test.want {
			if !strings.Contains(errs, want) || test.code == exitCredential && !strings.Contains(errs, "\n  "+want) {
				t.Errorf("%v: got %q, want a line %q", test.args, errs, want)
			}
		}
	}
	if n.issuer.Connections() != 0 || n.created() != 0 {
		t.Errorf("got %d connections and %d secrets, want none", n.issuer.Connections(), n.created())
	}
	t.Setenv("EGRESS_PROXY", "cnry-proxy")
	if _, errs, code := n.run(t, "client", "add", "refused", document); code != exitUsage || !strings.Contains(errs, "EGRESS_PROXY") {
		t.Errorf("a bad proxy: got %d, %q", code, errs)
	}
}

// A client that somebody else creates during the exchange is not changed.
func TestClientThatExistsMeanwhileIsNotChanged(t *testing.T) {
	o := newOperated(t)
	o.issuer.Register(oauthtest.Client{ID: "shop", Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}})
	file := o.file(t, "document.json", o.document(t, nil))
	o.secrets.Fail("CreateSecret", 1, "ResourceExistsException")
	if _, errs, code := o.run(t, "client", "add", "billing", file); code != exitFailed || !strings.Contains(errs, "client billing exists already") {
		t.Errorf("got %d, %q", code, errs)
	}
}

// The golden documents name the members of S/4HANA and Ariba, for which there is no key.
func TestServersOfProductsWithoutKeys(t *testing.T) {
	for _, test := range []struct{ sap, tenant, want string }{
		{"s4hana", "my1-api.s4hana.cloud.sap", "https://my1-api.s4hana.cloud.sap/sap/bc/sec/oauth2/token"}, {"ariba", "", "https://api.ariba.com/v2/oauth/token"},
	} {
		p := parts{sap: test.sap, tenant: test.tenant, secret: "file"}
		members := make(map[string]any)
		if err := p.check(); err != nil {
			t.Errorf("%s: %v", test.sap, err)
		}
		if p.addMembers(members); members["token_endpoint"] != test.want || members["token_endpoint_auth_method"] != "client_secret_basic" {
			t.Errorf("%s: got %v", test.sap, members)
		}
	}
}
