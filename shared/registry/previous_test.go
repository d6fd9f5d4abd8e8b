package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
)

// versions are the documents of client "billing".
type versions struct {
	current []byte
	// previous is nil if there is none. If fail is set, reading it fails.
	previous []byte
	fail     error
	keys     *keyring
	// discovered counts the calls of Discover.
	discovered int
	// currentOnly says that there is no reader of previous versions.
	currentOnly bool
}

func (v *versions) registry() *Registry {
	cfg := Config{
		Secrets: anyClient(v.current), Now: keypairtest.Now,
		Discover: func(ctx context.Context, client *http.Client, issuer string) (oauth.Metadata, error) {
			v.discovered++
			return discoverExample(ctx, client, issuer)
		},
		Addresses: oauth.AddressPolicy{Private: true},
		Audiences: []string{"urn:sap"}, Identity: issuerFunc(nil),
	}
	if v.keys != nil {
		cfg.Keys = v.keys
	}
	if !v.currentOnly {
		cfg.Previous = secret.ReaderFunc(func(_ context.Context, name string, _ secret.Want) (secret.Secret, error) {
			switch {
			case v.fail != nil:
				return secret.Secret{}, v.fail
			case v.previous == nil || name != "billing":
				return secret.Secret{}, secret.ErrNotFound
			}
			return secret.Secret{Text: v.previous, Version: "v0"}, nil
		})
	}
	return New(cfg)
}

// load returns the current client and the one of the previous version.
func (v *versions) load(t *testing.T) (current, previous *Client, err error) {
	t.Helper()
	r := v.registry()
	current, _, err = r.Load(t.Context(), "billing", Have{})
	if err != nil {
		t.Fatal(err)
	}
	v.discovered = 0
	previous, err = r.LoadPrevious(t.Context(), current)
	return current, previous, err
}

// A wrong secret was pasted, with a narrower document. The credential before it obtains what
// the new document allows.
func TestExchangeWithPreviousVersion(t *testing.T) {
	var scope string
	server := authorizationServer(t, func(r *http.Request) bool {
		scope = r.PostForm.Get("scope")
		return r.PostForm.Get("client_secret") == testSecret
	})
	document := func(change members) []byte {
		m := members{"client_secret": testSecret, "token_endpoint": server.URL + "/token", "ca_certificates": keypairtest.CertificatePEM(server.Certificate())}
		maps.Copy(m, change)
		return native(m)
	}
	v := &versions{
		current: document(members{"client_secret": "wrong", "exchanges_per_second": 20, "scope": "read", "resource": "urn:x:y", "audience": "a", "token_format": "jwt",
			"parameters": members{"p": "1"}, "allow_parameters": "app_tid", "certificate_bound": "refuse", "shadow": members{"client_secret": "x"}}),
		// Its own authorities, terms and shadow do not count.
		previous: document(members{"exchanges_per_second": 30, "scope": "read write", "parameters": members{"p": "2", "q": "3"}, "allow_parameters": []string{"scope", "resource"},
			"ca_certificates": testMaterial().PEM["ca"], "previous": "never", "shadow": members{"client_secret": "x", "kms_key_id": "alias/payroll"}}),
	}
	current, previous, err := v.load(t)
	if err != nil {
		t.Fatal(err)
	}
	if previous.Version != "v0" || previous.Credential == current.Credential || previous.Shadow != nil {
		t.Errorf("got version %s, the same credential %t, shadow %v, want another credential of v0", previous.Version, previous.Credential == current.Credential, previous.Shadow)
	}
	if got, want := describeTerms(t, previous), describeTerms(t, current); got != want {
		t.Errorf("got %s, want the current terms %s", got, want)
	}
	x := oauth.NewExchanger(oauth.ExchangerConfig{Now: keypairtest.Now})
	request := oauth.Request{}
	request.Scope = previous.Defaults.Scope
	if _, err := x.Exchange(t.Context(), current.OAuth, request); err == nil {
		t.Error("got a token with the wrong secret")
	}
	if _, err := x.Exchange(t.Context(), previous.OAuth, request); err != nil || scope != "read" {
		t.Errorf("got %v with scope %q, want a token with scope read", err, scope)
	}
}

// describeTerms describes all of a client but the credential.
func describeTerms(t *testing.T, c *Client) string {
	t.Helper()
	text, err := json.Marshal([]any{
		c.Name, c.Terms, c.NoPrevious, c.Defaults, c.Allow, c.CertificateBound, c.IssuerHost, c.OAuth.TokenEndpoint(), c.Rate,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLoadPreviousTakesAnyMethod(t *testing.T) {
	m := testMaterial()
	certified := members{"certificate": m.PEM["rsa.chain"], "private_key": m.PEM["rsa.key"]}
	issuer := members{"token_endpoint": "", "issuer": "https://as.example.com/realm"}
	with := func(list ...members) []byte {
		all := members{}
		for _, m := range list {
			maps.Copy(all, m)
		}
		return native(all)
	}
	secretOf := func(s string) members { return members{"client_secret": s} }
	key := func(change members) []byte {
		key := members{"clientid": "c", "clientsecret": "s", "url": "https://acme.accounts.ondemand.com", "app_tid": "t"}
		maps.Copy(key, change)
		return must(json.Marshal(key))
	}
	for _, test := range []struct {
		name              string
		current, previous []byte
		method            oauth.Method
		version           string
		discovered        int
	}{
		{"secret", with(secretOf("b")), with(secretOf("a")), oauth.ClientSecretPost, "v0", 0},
		{"the same secret by another method", with(secretOf("a"), members{"token_endpoint_auth_method": "client_secret_basic"}), with(secretOf("a")), oauth.ClientSecretPost, "v0", 0},
		{"certificate", with(secretOf("b")), with(certified), oauth.TLSClientAuth, "v0", 0},
		{"key", with(certified), with(members{"private_key": m.PEM["ec256.key"]}), oauth.PrivateKeyJWT, "v0", 0},
		{"key in KMS", with(secretOf("b")), with(members{"kms_key_id": "alias/token-vendor/billing"}), oauth.PrivateKeyJWT, "v0+", 0},
		{"another alias", with(members{"kms_key_id": "alias/token-vendor/billing-next"}), with(members{"kms_key_id": "alias/token-vendor/billing"}), oauth.PrivateKeyJWT, "v0+", 0},
		{"web identity", with(secretOf("b")), with(members{"token_endpoint_auth_method": "aws_web_identity", "assertion_audience": "urn:sap"}), oauth.AWSWebIdentity, "v0", 0},
		{"host in another form", with(secretOf("b")), with(secretOf("a"), members{"token_endpoint": "https://AS.example.com.:443/token"}), oauth.ClientSecretPost, "v0", 0},
		{"the same issuer", with(secretOf("b"), issuer), with(secretOf("a"), issuer), oauth.ClientSecretPost, "v0", 0},
		{"issuer before endpoint", with(secretOf("b"), members{"token_endpoint": "https://as.example.com/realm/token"}), with(secretOf("a"), issuer), oauth.ClientSecretPost, "v0", 1},
		{"endpoint before issuer", with(secretOf("b"), issuer), with(secretOf("a"), members{"token_endpoint": "https://as.example.com/realm/token"}), oauth.ClientSecretPost, "v0", 0},
		{"service key", key(nil), key(members{"clientsecret": "a"}), oauth.ClientSecretPost, "v0", 0},
		{"service key before certificate", key(members{"clientsecret": "", "certificate": m.PEM["rsa.chain"], "key": m.PEM["rsa.key"]}), key(nil), oauth.ClientSecretPost, "v0", 0},
		{"service key before native", must(json.Marshal(members{"client_id": "c", "client_secret": "b", "issuer": "https://acme.accounts.ondemand.com"})), key(nil), oauth.ClientSecretPost, "v0", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := &versions{current: test.current, previous: test.previous, keys: newKeyring()}
			current, previous, err := v.load(t)
			if err != nil {
				t.Fatal(err)
			}
			if previous.Method != test.method || !strings.HasPrefix(previous.Version, test.version) || v.discovered != test.discovered {
				t.Errorf("got %s of %s, discovered %d times, want %s of %s, %d times", previous.Method, previous.Version, v.discovered, test.method, test.version, test.discovered)
			}
			if got, want := describeTerms(t, previous), describeTerms(t, current); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if certified := !previous.CertificateNotAfter.IsZero(); certified != test.method.MutualTLS() {
				t.Errorf("got the end of a certificate: %t", certified)
			}
		})
	}
}

func TestLoadPreviousRefuses(t *testing.T) {
	m := testMaterial()
	with := func(change members) []byte {
		all := members{"client_secret": "b"}
		maps.Copy(all, change)
		return native(all)
	}
	issuer := members{"token_endpoint": "", "issuer": "https://as.example.com/realm"}
	xsuaa := func(change members) []byte {
		key := members{"clientid": "c", "xsappname": "x", "url": "https://x.example.com", "certurl": "https://x.cert.example.com"}
		maps.Copy(key, change)
		return must(json.Marshal(key))
	}
	alias := members{"client_secret": "", "kms_key_id": "alias/token-vendor/billing"}
	for _, test := range []struct {
		name              string
		current, previous []byte
		want              string
	}{
		{"no version", with(nil), nil, "there is none"},
		{"forbidden", with(members{"previous": "never"}), with(members{"client_secret": "a"}), "the current one says previous: never"},
		{"forbidden beside a service key", must(json.Marshal(members{"previous": "never", "service_key": members{"clientid": "c", "clientsecret": "s", "url": "https://acme.accounts.ondemand.com"}})),
			with(members{"client_secret": "a"}), "the current one says previous: never"},
		{"not a document", with(nil), []byte(testSecret), "version v0: the document is not a JSON object: it does not begin with { at line 1, column 1"},
		{"several problems", with(nil), with(members{"client_secret": "a\n", keypairtest.Canary: "x"}), "version v0: a member is not known here; client_secret ends in a newline"},
		{"expired", with(nil), with(members{"client_secret": "", "certificate": m.PEM["expired"], "private_key": m.PEM["rsa.key"]}), "version v0: certificate has expired: it was valid until 2027-01-15T11:59:59Z"},
		{"client_id", with(nil), with(members{"client_secret": "a", "client_id": "Billing"}), "version v0: client_id is not that of the current version"},
		{"client_id of a service key", with(nil), xsuaa(members{"clientsecret": "a"}), "version v0: clientid is not that of the current version"},
		{"host", with(nil), with(members{"client_secret": "a", "token_endpoint": "https://as2.example.com/token"}), "version v0: the token endpoint is not that of the current version"},
		{"port", with(nil), with(members{"client_secret": "a", "token_endpoint": "https://as.example.com:444/token"}), "version v0: the token endpoint is not that of the current version"},
		{"path", with(nil), with(members{"client_secret": "a", "token_endpoint": "https://as.example.com/Token"}), "version v0: the token endpoint is not that of the current version"},
		{"query", with(nil), with(members{"client_secret": "a", "token_endpoint": "https://as.example.com/token?x"}), "version v0: the token endpoint is not that of the current version"},
		{"discovered endpoint", with(nil), with(members{"client_secret": "a", "token_endpoint": "", "issuer": "https://as.example.com/realm"}), "version v0: the token endpoint is not that of the current version"},
		// The metadata has another endpoint for certificates.
		{"endpoint for certificates", with(issuer), with(members{"client_secret": "", "certificate": m.PEM["rsa.chain"], "private_key": m.PEM["rsa.key"], "token_endpoint": "", "issuer": issuer["issuer"]}),
			"version v0: the token endpoint is not that of the current version"},
		{"issuer without metadata", with(nil), with(members{"client_secret": "a", "token_endpoint": "", "issuer": "https://as.example.com"}), "version v0: issuer cannot be used: issuer has no metadata: status 404"},
		{"XSUAA from secret to certificate", xsuaa(members{"certificate": m.PEM["rsa.chain"], "key": m.PEM["rsa.key"]}), xsuaa(members{"clientsecret": "a"}), "version v0: the token endpoint is not that of the current version"},
		{"same credential", with(members{"scope": "read"}), with(members{"scope": "read write", "client_secret": "b"}), "version v0: the credential is that of the current version"},
		// The alias may have moved to another key, but both versions sign with that one.
		{"same alias", with(alias), with(alias), "version v0: the credential is that of the current version"},
		{"alias of another client", with(nil), with(members{"client_secret": "", "kms_key_id": "alias/token-vendor/payroll"}), "version v0: kms_key_id must be alias/token-vendor/ and the client's own name, or that and -next"},
		{"no such key", with(nil), with(members{"client_secret": "", "kms_key_id": "alias/token-vendor/billing-next"}), "version v0: kms_key_id names no key that signs: it must be an asymmetric KMS key of the usage SIGN_VERIFY"},
		{"audience of web identity", with(nil), with(members{"client_secret": "", "token_endpoint_auth_method": "aws_web_identity"}), "version v0: assertion_audience is not one that the operator allows (WEB_IDENTITY_AUDIENCES)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			keys := newKeyring()
			delete(keys.keys, "alias/token-vendor/billing-next")
			v := &versions{current: test.current, previous: test.previous, keys: keys}
			_, previous, err := v.load(t)
			var document *DocumentError
			if previous != nil || !errors.Is(err, ErrNoPrevious) || errors.As(err, &document) {
				t.Fatalf("got %v, %v, want %v", previous, err, ErrNoPrevious)
			}
			if got, want := err.Error(), "client billing: no usable previous version: "+test.want; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			checkSilent(t, test.previous, err.Error())
		})
	}
	v := &versions{current: with(nil), previous: with(members{"client_secret": "a"}), currentOnly: true}
	if _, _, err := v.load(t); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("no reader: got %v, want %v", err, ErrNoPrevious)
	}
}

// A caller may try again soon after another error.
func TestLoadPreviousWrapsOtherErrors(t *testing.T) {
	current, previous := native(members{"client_secret": "b"}), native(members{"client_secret": "a"})
	for _, want := range []error{secret.ErrUnavailable, secret.ErrDenied, context.DeadlineExceeded} {
		v := &versions{current: current, previous: previous, fail: fmt.Errorf("secretsmanager: %w", want)}
		if _, _, err := v.load(t); !errors.Is(err, want) || errors.Is(err, ErrNoPrevious) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	v := &versions{current: current, previous: native(members{"kms_key_id": "alias/token-vendor/billing"}), keys: newKeyring()}
	v.keys.fail = secret.ErrUnavailable
	if _, _, err := v.load(t); !errors.Is(err, secret.ErrUnavailable) || errors.Is(err, ErrNoPrevious) {
		t.Errorf("KMS is down: got %v, want %v", err, secret.ErrUnavailable)
	}
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Close()
	v = &versions{current: current, previous: native(members{"client_secret": "a", "token_endpoint": "", "issuer": server.URL})}
	r := v.registry()
	r.cfg.Discover = oauth.Discover
	client, _, err := r.Load(t.Context(), "billing", Have{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.LoadPrevious(t.Context(), client); !errors.Is(err, secret.ErrUnavailable) || errors.Is(err, ErrNoPrevious) {
		t.Errorf("the issuer is down: got %v, want %v", err, secret.ErrUnavailable)
	}
}

// The secret is read with retries, because no older version is in memory.
func TestLoadPreviousReadsSecretOfClient(t *testing.T) {
	var read []string
	previous := secret.ReaderFunc(func(_ context.Context, name string, want secret.Want) (secret.Secret, error) {
		read = append(read, fmt.Sprint(name, " ", want.Once))
		return secret.Secret{}, secret.ErrNotFound
	})
	r := New(Config{Secrets: documentReader(native(members{"client_secret": "b"})), Previous: previous, Prefix: "token-vendor/clients/"})
	client, _, err := r.Load(t.Context(), "billing", Have{})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = r.LoadPrevious(t.Context(), client)
	if want := []string{"token-vendor/clients/billing false"}; !slices.Equal(read, want) {
		t.Errorf("got the reads %q, want %q", read, want)
	}
}
