package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
)

// loadBilling loads a document that may have any method.
func loadBilling(t *testing.T, document []byte) *Client {
	t.Helper()
	client, err := loadAs(t, "billing", document, func(c *Config) {
		c.Keys, c.Audiences = newKeyring(), []string{"https://as.example.com/token", "urn:sap"}
		c.Identity = issuerFunc(func(WebIdentityRequest) (oauth.Secret, error) { return oauth.NewSecret(""), errors.New("not here") })
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Each member of a native document belongs to the terms, to the credential, or to neither. A
// new member must be added here.
func TestEachMemberBelongsToTermsOrCredential(t *testing.T) {
	type group string
	const terms, credential, neither group = "terms", "credential", "neither"
	m := testMaterial()
	secret := members{"client_secret": "s"}
	basic := members{"client_secret": "s", "token_endpoint_auth_method": "client_secret_basic"}
	jwt := members{"private_key": m.PEM["rsa.key"]}
	certified := members{"private_key": m.PEM["rsa.key"], "certificate": m.PEM["rsa.chain"]}
	p12 := base64.StdEncoding.EncodeToString(opensslFile(t, "p12-openssl3-chain.p12"))
	table := map[string]struct {
		base members
		// value replaces the member; more, others that it needs.
		value any
		more  members
		want  group
	}{
		"client_id":        {secret, "other", nil, terms},
		"token_endpoint":   {secret, "https://as.example.com/other", nil, terms},
		"scope":            {secret, "read", nil, terms},
		"resource":         {secret, "urn:x:y", nil, terms},
		"audience":         {secret, "api", nil, terms},
		"token_format":     {secret, "jwt", nil, terms},
		"parameters":       {secret, members{"app_tid": "t"}, nil, terms},
		"allow_parameters": {secret, "app_tid", nil, terms},
		// It says what a caller may get.
		"certificate_bound": {certified, "refuse", nil, terms},
		// It says which server may get the credential.
		"ca_certificates": {secret, m.PEM["ca"], nil, terms},
		"headers":         {secret, members{"X-zid": "t"}, nil, terms},
		// A token is not kept for longer than the document says.
		"assume_expires_in":          {secret, 600, nil, terms},
		"grant_type":                 {secret, "openapi_2lo", nil, terms},
		"client_id_in_body":          {basic, false, nil, credential},
		"request_format":             {secret, "json", nil, credential},
		"tls":                        {secret, members{"max_version": "1.2"}, nil, credential},
		"assertion_thumbprint":       {members{"private_key": m.PEM["rsa.key"], "certificate": m.PEM["rsa.chain"], "token_endpoint_auth_method": "private_key_jwt"}, "x5t", nil, credential},
		"attempt_timeout":            {secret, 8, nil, neither},
		"exchanges_per_second":       {secret, 100, nil, neither},
		"single_token":               {secret, true, nil, neither}, // the token is the same
		"client_secret":              {secret, "S", nil, credential},
		"token_endpoint_auth_method": {secret, "client_secret_basic", nil, credential},
		"basic_encoding":             {basic, "raw", nil, credential},
		"certificate":                {certified, keypairtest.CertificatePEM(m.Issue(m.RSA, nil)), nil, credential},
		"private_key":                {members{"private_key": m.PEM["ec256.key"]}, keypairtest.KeyPEM(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))), nil, credential},
		"pkcs12":                     {certified, p12, members{"pkcs12_password": "test-only", "private_key": "", "certificate": ""}, credential},
		"kms_key_id":                 {members{"kms_key_id": "alias/token-vendor/billing"}, "alias/token-vendor/billing-next", nil, credential},
		"kid":                        {jwt, "k", nil, credential},
		"alg":                        {jwt, "PS256", nil, credential},
		"assertion_audience":         {jwt, "https://as.example.com", nil, credential},
		"assertion_type_header":      {jwt, "client-authentication+jwt", nil, credential},
		"assertion_lifetime":         {jwt, 30, nil, credential},
		// Beside token_endpoint, the issuer is only the audience of the assertion.
		"issuer":               {jwt, "https://as.example.com/realm", nil, credential},
		"private_key_password": {jwt, "p", nil, neither},
		"pkcs12_password":      {jwt, "p", nil, neither},
		"shadow":               {secret, members{"client_secret": "t"}, nil, neither},
		"previous":             {secret, "never", nil, neither},
		"expires":              {secret, "2027-01-31", nil, neither},
	}
	for _, name := range nativeMembers() {
		test, ok := table[name]
		if !ok {
			t.Errorf("%s: belongs to no group", name)
			continue
		}
		changed := maps.Clone(test.base)
		changed[name] = test.value
		maps.Copy(changed, test.more)
		a, b := loadBilling(t, native(test.base)), loadBilling(t, native(changed))
		if got := a.Terms != b.Terms; got != (test.want == terms) {
			t.Errorf("%s: got other terms: %t, want it in %s", name, got, test.want)
		}
		if got := a.Credential != b.Credential; got != (test.want == credential) {
			t.Errorf("%s: got another credential: %t, want it in %s", name, got, test.want)
		}
		if len(a.Terms) != 43 || len(a.Credential) != 43 {
			t.Errorf("%s: got %d and %d characters, want 43", name, len(a.Terms), len(a.Credential))
		}
	}
}

// The documents of a test mean the same.
func TestTermsAndCredentialDoNotDependOnForm(t *testing.T) {
	m := testMaterial()
	second := keypairtest.CertificatePEM(m.Intermediate.Certificate)
	key := func(change members) []byte {
		key := members{"clientid": "c", "clientsecret": "s", "url": "https://acme.accounts.ondemand.com", "app_tid": "t"}
		maps.Copy(key, change)
		return must(json.Marshal(key))
	}
	envelope := func(name string, inner []byte) []byte {
		return must(json.Marshal(map[string]json.RawMessage{name: inner}))
	}
	secret := func(change members) []byte {
		document := members{"client_secret": "s"}
		maps.Copy(document, change)
		return native(document)
	}
	for name, documents := range map[string][][]byte{
		"order of scope":            {secret(members{"scope": "a b"}), secret(members{"scope": "b  a b"})},
		"order of resource":         {secret(members{"resource": []string{"urn:x:a", "urn:x:b"}}), secret(members{"resource": []string{"urn:x:b", "urn:x:a"}})},
		"order of allow_parameters": {secret(members{"allow_parameters": []string{"a", "b"}}), secret(members{"allow_parameters": []string{"b", "a"}})},
		"order of ca_certificates": {
			secret(members{"ca_certificates": []string{m.PEM["ca"], second}}), secret(members{"ca_certificates": second + m.PEM["ca"]}),
			secret(members{"ca_certificates": strings.ReplaceAll(m.PEM["ca"]+second+second, "\n", `\n`)}),
		},
		"host": {
			secret(nil), secret(members{"token_endpoint": "https://AS.Example.com/token"}),
			secret(members{"token_endpoint": "https://as.example.com:443/token"}), secret(members{"token_endpoint": "https://as.example.com./token"}),
		},
		"no path":   {secret(members{"token_endpoint": "https://as.example.com"}), secret(members{"token_endpoint": "https://as.example.com/"})},
		"default":   {secret(nil), secret(members{"certificate_bound": "warn", "previous": "allow", "parameters": members{}, "token_endpoint_auth_method": "client_secret_post"})},
		"empty":     {secret(nil), secret(members{"scope": "", "resource": []string{}, "parameters": members{"a": ""}, "ca_certificates": ""})},
		"discovery": {secret(members{"token_endpoint": "", "issuer": "https://as.example.com/realm"}), secret(members{"token_endpoint": "https://as.example.com/realm/token"})},
		"service key": {
			key(nil), key(members{"domain": "accounts.ondemand.com", "new-member": members{"x": 1}}), key(members{"credential-type": "SECRET"}),
			envelope("credentials", key(nil)), envelope("service_key", key(nil)),
			must(json.Marshal(members{"client_id": "c", "client_secret": "s", "issuer": "https://acme.accounts.ondemand.com", "parameters": members{"app_tid": "t"}})),
		},
		"PEM": {
			native(members{"private_key": m.PEM["rsa.key"], "certificate": m.PEM["rsa.chain"]}),
			native(members{"private_key": m.PEM["rsa.pkcs1.literal"], "certificate": m.PEM["rsa.chain.literal"]}),
		},
		"encrypted key": {
			native(members{"private_key": string(opensslFile(t, "pkcs8-aes-128-cbc-hmacWithSHA1.pem")), "private_key_password": "test-only"}),
			native(members{"private_key": string(opensslFile(t, "pkcs8-des3-hmacWithSHA1.pem")), "pkcs12_password": "test-only"}),
		},
		"same key as PKCS#12": {
			native(members{"private_key": string(opensslFile(t, "pkcs8-des3-hmacWithSHA1.pem")), "private_key_password": "test-only",
				"certificate": string(opensslFile(t, "leaf.pem")) + string(opensslFile(t, "inter.pem")) + string(opensslFile(t, "root.pem"))}),
			native(members{"pkcs12": base64.StdEncoding.EncodeToString(opensslFile(t, "p12-openssl3-chain.p12")), "pkcs12_password": "test-only"}),
		},
		"same key in KMS": {
			native(members{"private_key": m.PEM["rsa.key"]}), native(members{"kms_key_id": "alias/token-vendor/billing"}),
		},
		"a secret that does not count": {
			key(members{"certificate": m.PEM["rsa.chain"], "key": m.PEM["rsa.key"], "credential-type": "X509_GENERATED"}),
			key(members{"certificate": m.PEM["rsa.chain"], "key": m.PEM["rsa.key"], "credential-type": "X509_GENERATED", "clientsecret": "t"}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := loadBilling(t, documents[0])
			for i, document := range documents[1:] {
				got := loadBilling(t, document)
				if got.Terms != want.Terms || got.Credential != want.Credential || got.IssuerHost != want.IssuerHost {
					t.Errorf("document %d: got the same terms: %t, the same credential: %t, at %s", i+1, got.Terms == want.Terms, got.Credential == want.Credential, got.IssuerHost)
				}
			}
		})
	}
}

// A wrapped document differs in its terms only if more than members of the credential differ.
func TestTermsOfServiceKeys(t *testing.T) {
	m := testMaterial()
	wrap := func(change members) []byte {
		key := members{
			"clientid": "c", "clientsecret": "s", "xsappname": "x",
			"url": "https://x.authentication.eu10.hana.ondemand.com", "certurl": "https://x.authentication.cert.eu10.hana.ondemand.com",
		}
		maps.Copy(key, change)
		return must(json.Marshal(members{"service_key": key, "scope": "x.read"}))
	}
	certificate := members{"clientsecret": "", "certificate": m.PEM["rsa.chain"], "key": m.PEM["rsa.key"], "credential-type": "x509"}
	renewed := maps.Clone(certificate)
	renewed["certificate"] = keypairtest.CertificatePEM(m.Issue(m.RSA, nil))
	// All credentials of SAP Cloud Identity Services have the same endpoint.
	ias := members{"xsappname": nil, "url": "https://acme.accounts.ondemand.com", "certurl": nil}
	iasCertificate := maps.Clone(certificate)
	maps.Copy(iasCertificate, ias)
	for _, test := range []struct {
		name               string
		before, after      members
		terms, credentials bool // whether they are the same
	}{
		{"a new secret", nil, members{"clientsecret": "S"}, true, false},
		{"a new certificate", certificate, renewed, true, false},
		{"members that SAP added", nil, members{"tenantmode": "dedicated", "sburl": "https://internal.example", "subaccountid": members{}}, true, true},
		// The certificate is presented at certurl.
		{"XSUAA from secret to certificate", nil, certificate, false, false},
		{"IAS from secret to certificate", ias, iasCertificate, true, false},
		{"another client", nil, members{"clientid": "d"}, false, true},
		{"another tenant", nil, members{"url": "https://y.authentication.eu10.hana.ondemand.com"}, false, true},
		{"another app_tid of IAS", ias, members{"xsappname": nil, "certurl": nil, "url": "https://acme.accounts.ondemand.com", "app_tid": "t"}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, after := loadBilling(t, wrap(test.before)), loadBilling(t, wrap(test.after))
			if got := before.Terms == after.Terms; got != test.terms {
				t.Errorf("got the same terms: %t, want %t", got, test.terms)
			}
			if got := before.Credential == after.Credential; got != test.credentials {
				t.Errorf("got the same credential: %t, want %t", got, test.credentials)
			}
		})
	}
}

func TestTermsTellParametersApart(t *testing.T) {
	seen := map[string]any{}
	for _, parameters := range []members{{}, {"a": "1"}, {"b": "1"}, {"a": "2"}, {"a": "1", "b": "2"}, {"a": "2", "b": "1"}} {
		terms := loadBilling(t, native(members{"client_secret": "s", "parameters": parameters})).Terms
		if other := seen[terms]; other != nil {
			t.Errorf("%v: got the terms of %v", parameters, other)
		}
		seen[terms] = parameters
	}
}

// A server may have been told one of the two methods of mutual TLS.
func TestCredentialDependsOnMethod(t *testing.T) {
	document := members{"certificate": testMaterial().PEM["ec256.selfsigned"], "private_key": testMaterial().PEM["ec256.key"]}
	a := loadBilling(t, native(document))
	document["token_endpoint_auth_method"] = "self_signed_tls_client_auth"
	if b := loadBilling(t, native(document)); a.Terms != b.Terms || a.Credential == b.Credential {
		t.Errorf("got the same terms: %t, the same credential: %t, want the terms only", a.Terms == b.Terms, a.Credential == b.Credential)
	}
}

func TestCredentialOfWebIdentity(t *testing.T) {
	seen := map[string]string{}
	for name, change := range map[string]members{
		"default": nil, "audience": {"assertion_audience": "urn:sap"}, "algorithm": {"alg": "ES384"}, "lifetime": {"assertion_lifetime": 120},
	} {
		document := members{"token_endpoint_auth_method": "aws_web_identity"}
		maps.Copy(document, change)
		credential := loadBilling(t, native(document)).Credential
		if other := seen[credential]; other != "" {
			t.Errorf("%s: got the credential of %s", name, other)
		}
		seen[credential] = name
	}
}

func TestDigestDependsOnBordersOfFields(t *testing.T) {
	set := func(list ...[]string) (f fields) {
		for _, l := range list {
			f.addSet(l)
		}
		return f
	}
	seen := map[string]int{}
	for i, f := range []fields{
		{}, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"ab", ""}, {"", "ab"},
		set(nil, []string{"a"}), set(nil, []string{"0", "a"}), set([]string{"0"}, []string{"a"}), set(nil, nil, []string{"a"}), set([]string{"a"}, nil), set([]string{"a", "b"}), set([]string{"a"}, []string{"b"}),
	} {
		digest := f.digest()
		if other, ok := seen[digest]; ok {
			t.Errorf("fields %d and %d have the same digest", other, i)
		}
		seen[digest] = i
	}
}

// An alias of KMS that moves brings another credential on the same terms.
func TestCredentialOfMovedAlias(t *testing.T) {
	keys := newKeyring()
	loadKey := func() *Client {
		client, err := loadAs(t, "billing", native(members{"kms_key_id": "alias/token-vendor/billing"}), func(c *Config) { c.Keys = keys })
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	before := loadKey()
	keys.keys["alias/token-vendor/billing"] = must(rsa.GenerateKey(rand.Reader, 2048))
	if after := loadKey(); after.Terms != before.Terms || after.Credential == before.Credential || after.Version == before.Version {
		t.Errorf("got the same terms: %t, the same credential: %t, version %s", after.Terms == before.Terms, after.Credential == before.Credential, after.Version)
	}
}

// A deployment with aliases of its own refuses those of another deployment.
func TestKeyAliasOfAnotherDeployment(t *testing.T) {
	keys := newKeyring()
	keys.keys["alias/stack-2/billing"] = must(rsa.GenerateKey(rand.Reader, 2048))
	for alias, ok := range map[string]bool{"alias/stack-2/billing": true, "alias/token-vendor/billing": false} {
		_, err := loadAs(t, "billing", native(members{"kms_key_id": alias}), func(c *Config) { c.Keys, c.KeyAliases = keys, "alias/stack-2/" })
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "must be alias/stack-2/ and") {
			t.Errorf("%s: got %v, want an error: %t", alias, err, !ok)
		}
	}
}

// Inspect does not know an endpoint that must be discovered.
func TestTermsOfInspectedClient(t *testing.T) {
	for _, test := range []struct {
		members members
		known   bool
	}{
		{members{"client_secret": "s"}, true},
		{members{"client_secret": "s", "token_endpoint": "", "issuer": "https://as.example.com/realm"}, false},
	} {
		client, err := New(Config{Secrets: anyClient(native(test.members)), Now: keypairtest.Now}).Inspect(t.Context(), "billing")
		if err != nil || (client.Terms != "") != test.known || client.Credential == "" {
			t.Errorf("got %d characters of terms, %v, want terms: %t", len(client.Terms), err, test.known)
		}
	}
}
