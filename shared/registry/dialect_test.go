package registry

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
)

// arrived is what a token endpoint got.
type arrived struct {
	header http.Header
	body   string
	hello  *tls.ClientHelloInfo
	state  tls.ConnectionState
}

// exchangeAt loads a document for a TLS server of its own, and fetches a token there.
func exchangeAt(t *testing.T, document members, configure func(*tls.Config)) (got arrived, token *oauth.Token, err error) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got.header, got.body, got.state = r.Header, string(body), *r.TLS
		_, _ = io.WriteString(w, `{"access_token":"tok","token_type":"Bearer"}`)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		got.hello = hello
		return nil, nil
	}}
	if configure != nil {
		configure(server.TLS)
	}
	server.StartTLS()
	defer server.Close()
	all := members{"token_endpoint": server.URL + "/token", "ca_certificates": keypairtest.CertificatePEM(server.Certificate())}
	maps.Copy(all, document)
	client, err := loadAs(t, "billing", native(all), func(c *Config) {
		c.Addresses = oauth.AddressPolicy{Private: true}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.OAuth.Close()
	token, err = oauth.NewExchanger(oauth.ExchangerConfig{}).Exchange(t.Context(), client.OAuth, oauth.Request{Ask: client.Defaults, MaxAttempts: 1})
	return got, token, err
}

func TestDialectArrivesAtServer(t *testing.T) {
	basic := members{"client_secret": "s", "token_endpoint_auth_method": "client_secret_basic"}
	for name, test := range map[string]struct {
		more      members
		wantBody  string
		wantType  string
		wantZone  string
		wantLives time.Duration
	}{
		"default":           {nil, "client_id=billing&grant_type=client_credentials", "application/x-www-form-urlencoded", "", 0},
		"client_id_in_body": {members{"client_id_in_body": "false"}, "grant_type=client_credentials", "application/x-www-form-urlencoded", "", 0},
		"grant_type":        {members{"grant_type": "openapi_2lo"}, "client_id=billing&grant_type=openapi_2lo", "application/x-www-form-urlencoded", "", 0},
		"several": {
			members{"headers": members{"x-zid": "zone"}, "request_format": "json", "assume_expires_in": "900", "attempt_timeout": 9, "resource": []string{"urn:x:a", "urn:x:b"}},
			`{"client_id":"billing","grant_type":"client_credentials","resource":["urn:x:a","urn:x:b"]}`, "application/json", "zone", 15 * time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			document := maps.Clone(basic)
			maps.Copy(document, test.more)
			got, token, err := exchangeAt(t, document, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.body != test.wantBody || got.header.Get("Content-Type") != test.wantType || got.header.Get("X-Zid") != test.wantZone {
				t.Errorf("got %s as %s with zone %q", got.body, got.header.Get("Content-Type"), got.header.Get("X-Zid"))
			}
			lives := time.Duration(0)
			if !token.Expiry().IsZero() {
				lives = token.Expiry().Sub(token.Issued())
			}
			if lives != test.wantLives {
				t.Errorf("got a life of %s, want %s", lives, test.wantLives)
			}
		})
	}
}

func TestTLSMembersArriveAtServer(t *testing.T) {
	secret := members{"client_secret": "s"}
	oldServer := func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
	}
	if _, _, err := exchangeAt(t, secret, oldServer); err == nil {
		t.Error("a server without forward secrecy is accepted by default")
	}
	secret["tls"] = members{"rsa_key_exchange": true}
	if _, _, err := exchangeAt(t, secret, oldServer); err != nil {
		t.Errorf("rsa_key_exchange: %v", err)
	}
	secret["tls"] = members{"max_version": "1.2"}
	if got, _, err := exchangeAt(t, secret, nil); err != nil || got.state.Version != tls.VersionTLS12 {
		t.Errorf("max_version: got version %x, %v", got.state.Version, err)
	}
	for _, postQuantum := range []bool{true, false} {
		secret["tls"] = members{"post_quantum": postQuantum}
		got, _, err := exchangeAt(t, secret, nil)
		if err != nil || got.state.Version != tls.VersionTLS13 {
			t.Fatalf("post_quantum: got version %x, %v", got.state.Version, err)
		}
		offered := false
		for _, curve := range got.hello.SupportedCurves {
			offered = offered || curve == tls.X25519MLKEM768
		}
		if offered != postQuantum {
			t.Errorf("post_quantum %t: offered: %t", postQuantum, offered)
		}
	}
}

// The metadata is on the same old server.
func TestTLSMembersApplyToDiscovery(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_ = json.NewEncoder(w).Encode(members{"issuer": server.URL, "token_endpoint": server.URL + "/token"})
			return
		}
		_, _ = io.WriteString(w, `{"access_token":"tok","token_type":"Bearer"}`)
	})
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}
	server.StartTLS()
	defer server.Close()
	for _, loosened := range []bool{false, true} {
		document := members{
			"token_endpoint": "", "issuer": server.URL, "client_secret": "s", "ca_certificates": keypairtest.CertificatePEM(server.Certificate()),
			"tls": members{"rsa_key_exchange": loosened},
		}
		client, err := loadAs(t, "billing", native(document), func(c *Config) {
			c.Addresses, c.Discover = oauth.AddressPolicy{Private: true}, nil
		})
		if (err == nil) != loosened {
			t.Fatalf("rsa_key_exchange %t: got error %v", loosened, err)
		}
		if err != nil {
			continue
		}
		defer client.OAuth.Close()
		if _, err := oauth.NewExchanger(oauth.ExchangerConfig{}).Exchange(t.Context(), client.OAuth, oauth.Request{}); err != nil {
			t.Error(err)
		}
	}
}

func TestThumbprintAndAlgorithmArriveAtServer(t *testing.T) {
	m := testMaterial()
	for thumbprint, want := range map[string]string{"": "x5t#S256", "x5t#S256": "x5t#S256", "x5t": "x5t", "none": ""} {
		for _, alg := range []string{"RS384", "RS512", "PS384", "PS512"} {
			got, _, err := exchangeAt(t, members{
				"private_key": m.PEM["rsa.key"], "certificate": m.PEM["rsa.chain"], "token_endpoint_auth_method": "private_key_jwt",
				"assertion_thumbprint": thumbprint, "alg": alg,
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, assertion, _ := strings.Cut(got.body, "client_assertion=")
			text, _ := base64.RawURLEncoding.DecodeString(strings.Split(assertion, ".")[0])
			var header map[string]string
			if err := json.Unmarshal(text, &header); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"x5t", "x5t#S256"} {
				if (header[name] != "") != (name == want) {
					t.Errorf("%q: got %s in the header: %t", thumbprint, name, header[name] != "")
				}
			}
			if header["alg"] != alg {
				t.Errorf("got alg %s, want %s", header["alg"], alg)
			}
		}
	}
}

func TestOwnHeadersAreRefused(t *testing.T) {
	for _, name := range []string{"Authorization", "proxy-x", "content-length", "Cookie", "te", "host", "Transfer-Encoding"} {
		document := native(members{"client_secret": "s", "headers": members{name: keypairtest.Canary}})
		_, err := load(t, document, nil)
		problems := problemsIn(t, err)
		if !strings.HasPrefix(problems, "headers must not hold") {
			t.Errorf("%s: got %q", name, problems)
		}
		checkSilent(t, document, problems)
	}
}

func TestDialectProblems(t *testing.T) {
	for want, more := range map[string]members{
		"headers.a member must be printable":         {"headers": members{"X-A": keypairtest.Canary + "\n"}},
		"headers must be an object":                  {"headers": keypairtest.Canary},
		"grant_type must be":                         {"grant_type": "password"},
		"request_format must be":                     {"request_format": keypairtest.Canary},
		"attempt_timeout must be a whole number":     {"attempt_timeout": 13},
		"exchanges_per_second must be a number from": {"exchanges_per_second": keypairtest.Canary},
		"assume_expires_in must be a whole number":   {"assume_expires_in": 0},
		"client_id_in_body must be true or false":    {"client_id_in_body": keypairtest.Canary},
		"client_id_in_body must be true with":        {"client_id_in_body": false},
		"assertion_thumbprint is not used by":        {"assertion_thumbprint": "none"},
		"tls.max_version must be":                    {"tls": members{"max_version": keypairtest.Canary}},
		"single_token must be true or false":         {"single_token": 1},
		"shadow cannot be used beside single_token":  {"single_token": true, "shadow": members{"client_secret": "t"}},
		"tls.insecure is not known here":             {"tls": members{"insecure": true}},
		"tls.rsa_key_exchange must be true or false": {"tls": members{"rsa_key_exchange": 1}},
	} {
		document := members{"client_secret": "s"}
		maps.Copy(document, more)
		_, err := load(t, native(document), nil)
		problems := problemsIn(t, err)
		if !strings.Contains(problems, want) {
			t.Errorf("got %q, want %q", problems, want)
		}
		checkSilent(t, native(document), problems)
	}
}

// Each member means the same beside a service key as in a native document.
func TestMembersInWrappedForm(t *testing.T) {
	secret, key := "clientsecret", members{"private_key": testMaterial().PEM["rsa.key"]}
	for _, test := range []struct {
		members members
		secret  string
	}{
		{members{"headers": members{"X-Zid": "zone"}, "client_id_in_body": "false", "token_endpoint_auth_method": "client_secret_basic"}, secret},
		{members{"exchanges_per_second": 2.5, "assume_expires_in": "900", "attempt_timeout": 9, "grant_type": "openapi_2lo", "request_format": "json"}, secret},
		{members{"single_token": "true", "resource": "2ff814a6-1111-2222-3333-cd0e6f879c1d", "tls": `{"max_version": "1.2", "post_quantum": "false"}`}, secret},
		{members{"alg": "PS512", "assertion_thumbprint": "none", "private_key": key["private_key"]}, ""},
		{members{"private_key": jwkOf(t, testMaterial().EC256, "w", "ES256")}, ""},
	} {
		wrapped := members{"service_key": members{"clientid": "billing", "url": "https://tenant.accounts.ondemand.com", test.secret: "s"}}
		plain := members{"client_id": "billing", "issuer": "https://tenant.accounts.ondemand.com"}
		if test.secret == "" {
			delete(wrapped["service_key"].(members), "")
		} else {
			plain["client_secret"] = "s"
		}
		maps.Copy(wrapped, test.members)
		maps.Copy(plain, test.members)
		got, err := load(t, must(json.Marshal(wrapped)), nil)
		if err != nil {
			t.Fatalf("wrapped: %v", err)
		}
		want, err := load(t, must(json.Marshal(plain)), nil)
		if err != nil {
			t.Fatalf("native: %v", err)
		}
		// The algorithms and the dialect are part of Terms and Credential.
		if got.Terms != want.Terms || got.Credential != want.Credential || got.SingleToken != want.SingleToken || got.Rate != want.Rate ||
			got.OAuth.AttemptTimeout() != want.OAuth.AttemptTimeout() || !slices.Equal(got.Defaults.Resource, want.Defaults.Resource) {
			t.Errorf("%v: the wrapped form means something else", slices.Sorted(maps.Keys(test.members)))
		}
	}
}

// A shadow speaks to the same server as its client does, and to another one without the headers,
// which are secrets of the first.
func TestShadowInheritsDialectOfItsServer(t *testing.T) {
	for endpoint, inherits := range map[string]bool{"": true, "https://other.example.com/token": false} {
		var problems report
		d := parse("billing", native(members{
			"client_secret": "s", "headers": members{"X-Api-Key": keypairtest.Canary}, "request_format": "json", "tls": members{"max_version": "1.2"},
			"shadow": members{"client_secret": "t", "token_endpoint": endpoint},
		}), Config{Now: keypairtest.Now}, &problems)
		if !problems.empty() {
			t.Fatal(problems.problems)
		}
		o := d.shadow.options
		if (len(o.dialect.Headers) == 1) != inherits || o.dialect.JSON != inherits || o.tls.AtMost12 != inherits {
			t.Errorf("endpoint %q: got %d headers, JSON %t, at most 1.2 %t, want them inherited: %t", endpoint, len(o.dialect.Headers), o.dialect.JSON, o.tls.AtMost12, inherits)
		}
	}
}
