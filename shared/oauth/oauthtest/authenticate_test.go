package oauthtest_test

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"tokenvendor/shared/oauth/oauthtest"
)

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// clock is a settable Config.Now.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// TestBasicOfXSUAA: an id such as XSUAA's changes when it is encoded, which must
// not open another way in.
func TestBasicOfXSUAA(t *testing.T) {
	const id = "sb-shop!t1|x"
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	s.Register(oauthtest.Client{ID: id, Methods: []string{"client_secret_basic"}, Secrets: []string{awkward}, RawBasic: true, Path: oauthtest.XSUAAPath})
	raw, encoded := id+":"+awkward, url.QueryEscape(id)+":"+url.QueryEscape(awkward)
	for _, tt := range []struct {
		name, scheme, credentials, path, encoded string
		status                                   int
		code                                     any
	}{
		{"raw", "Basic", raw, oauthtest.XSUAAPath, "", 200, nil},
		{"lower-case scheme", "basic", raw, oauthtest.XSUAAPath, "", 200, nil},
		{"encoded without a word", "Basic", encoded, oauthtest.XSUAAPath, "", 401, "unauthorized"},
		{"encoded and said so", "Basic", encoded, oauthtest.XSUAAPath, "true", 200, nil},
		{"raw, but said to be encoded", "Basic", raw, oauthtest.XSUAAPath, "true", 401, "unauthorized"},
		{"other scheme", "Bearer", raw, oauthtest.XSUAAPath, "", 401, "unauthorized"},
		{"no colon", "Basic", id, oauthtest.XSUAAPath, "", 401, "unauthorized"},
		{"other path", "Basic", raw, oauthtest.TokenPath, "", 401, "invalid_client"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{"Authorization": {tt.scheme + " " + base64.StdEncoding.EncodeToString([]byte(tt.credentials))}}
			if tt.encoded != "" {
				header.Set("X-CF-ENCODED-CREDENTIALS", tt.encoded)
			}
			a, got := send(t, s, call{path: tt.path, header: header})
			a.want(t, tt.name, tt.status, tt.code)
			if (a.status == 401) != (got.Get("Www-Authenticate") != "") {
				t.Errorf("status %d with WWW-Authenticate %q", a.status, got.Get("Www-Authenticate"))
			}
		})
	}
	// The id means the same in both readings only where it is said to be encoded.
	if failed := s.FailedLogons(id); failed != 1 {
		t.Errorf("%d failed logons of a client that was named with a wrong secret once", failed)
	}
}

func TestLockEndsByItself(t *testing.T) {
	c := clock{now: time.Now()}
	s := oauthtest.NewServer(t, oauthtest.Config{Now: c.Now})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	s.Register(oauthtest.Client{ID: "d", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	logon := func(secret string) answer { return post(t, s, nil, "", "client_id", "c", "client_secret", secret) }
	for range 5 {
		logon("bad").want(t, "bad", 401, "invalid_client")
	}
	post(t, s, nil, "", "client_id", "d", "client_secret", "good").want(t, "another client", 200, nil)
	c.add(59 * time.Minute)
	logon("good").want(t, "locked", 401, "invalid_client")
	logon("bad").want(t, "locked", 401, "invalid_client")
	c.add(time.Minute)
	logon("bad").want(t, "after the lock", 401, "invalid_client")
	logon("good").want(t, "counted anew", 200, nil)

	never := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	never.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	for range 6 {
		post(t, never, nil, "", "client_id", "c", "client_secret", "bad").want(t, "bad", 401, "invalid_client")
	}
	post(t, never, nil, "", "client_id", "c", "client_secret", "good").want(t, "never locked", 200, nil)
}

// TestRotationUnderLoad: with the old and the new secret side by side nobody is
// refused, and what the caller does with its own slices later changes nothing.
func TestRotationUnderLoad(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	secrets := []string{"one"}
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: secrets})
	secrets[0] = "changed"
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 10 {
				post(t, s, nil, "", "client_id", "c", "client_secret", "one").want(t, "under load", 200, nil)
			}
		})
	}
	for range 20 {
		if err := s.SetSecrets("c", "one", "two"); err != nil {
			t.Error(err)
		}
		if err := s.Update("c", func(c *oauthtest.Client) { c.ID, c.Lifetime = "other", time.Minute }); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	if n := s.Exchanges(); n != 40 {
		t.Errorf("%d exchanges, want 40", n)
	}
	a := post(t, s, nil, "", "client_id", "c", "client_secret", "two")
	a.want(t, "new secret", 200, nil)
	if a.body["expires_in"] != 60.0 {
		t.Errorf("expires_in %v, want 60", a.body["expires_in"])
	}
	if s.Update("nobody", func(*oauthtest.Client) {}) == nil || s.SetSecrets("nobody") == nil {
		t.Error("a client that isn't there was changed")
	}
}

func newKey(t *testing.T, kind oauthtest.KeyKind) crypto.Signer {
	t.Helper()
	key, err := oauthtest.NewKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAssertionAlgorithms(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	rsa, p256, p384 := newKey(t, oauthtest.RSA2048), newKey(t, oauthtest.P256), newKey(t, oauthtest.P384)
	public, err := x509.MarshalPKIXPublicKey(rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{
		"rsa": rsa.Public(), "p256": p256.Public(), "p384": p384.Public(),
	}})
	for _, tt := range []struct {
		name, kid string
		alg       jose.SignatureAlgorithm
		key       any
		ok        bool
	}{
		{"RS256", "rsa", jose.RS256, rsa, true},
		{"PS256", "rsa", jose.PS256, rsa, true},
		{"ES256", "p256", jose.ES256, p256, true},
		{"ES384", "p384", jose.ES384, p384, true},
		{"RS512", "rsa", jose.RS512, rsa, false},
		{"public key as HMAC key", "rsa", jose.HS256, public, false},
		{"other key's kid", "p256", jose.ES384, p384, false},
		{"unknown kid", "nobody", jose.ES256, p256, false},
		{"no kid", "", jose.ES256, p256, false},
	} {
		text := assertion(t, tt.alg, tt.kid, tt.key, claimsFor(s))
		if a := post(t, s, nil, "", "client_id", "c", "client_assertion", text, "client_assertion_type", jwtBearer); (a.status == 200) != tt.ok {
			t.Errorf("%s: status %d", tt.name, a.status)
		}
	}
	text, err := json.Marshal(claimsFor(s))
	if err != nil {
		t.Fatal(err)
	}
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"p256"}`))
	unsigned := header + "." + base64.RawURLEncoding.EncodeToString(text) + "."
	post(t, s, nil, "", "client_id", "c", "client_assertion", unsigned, "client_assertion_type", jwtBearer).want(t, "none", 401, "invalid_client")
}

func TestAssertionParameters(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	key := newKey(t, oauthtest.P256)
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{"": key.Public()}})
	good := func() string { return assertion(t, jose.ES256, "", key, claimsFor(s)) }
	for name, form := range map[string][]string{
		"no type":        {"client_id", "c", "client_assertion", good()},
		"other type":     {"client_id", "c", "client_assertion", good(), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"},
		"no assertion":   {"client_id", "c", "client_assertion_type", jwtBearer},
		"no client_id":   {"client_assertion", good(), "client_assertion_type", jwtBearer},
		"not an instant": {"client_id", "c", "client_assertion", "a.b.c", "client_assertion_type", jwtBearer},
	} {
		post(t, s, nil, "", form...).want(t, name, 401, "invalid_client")
	}
	for _, tt := range []struct {
		name, claim string
		value       any
		ok          bool
	}{
		{"token endpoint as audience", "aud", s.TokenEndpoint(), true},
		{"audience in an array", "aud", []string{s.Issuer()}, false},
		{"audience of another path", "aud", s.URL() + oauthtest.XSUAAPath, false},
		{"nbf now", "nbf", time.Now().Unix(), true},
		{"nbf in an hour", "nbf", time.Now().Add(time.Hour).Unix(), false},
		{"iat in an hour", "iat", time.Now().Add(time.Hour).Unix(), false},
		{"exp as text", "exp", "9999999999", false},
	} {
		claims := claimsFor(s)
		claims[tt.claim] = tt.value
		text := assertion(t, jose.ES256, "", key, claims)
		if a := post(t, s, nil, "", "client_id", "c", "client_assertion", text, "client_assertion_type", jwtBearer); (a.status == 200) != tt.ok {
			t.Errorf("%s: status %d", tt.name, a.status)
		}
	}
	if err := s.Update("c", func(c *oauthtest.Client) { c.Audiences = []string{"urn:a"} }); err != nil {
		t.Fatal(err)
	}
	post(t, s, nil, "", "client_id", "c", "client_assertion", good(), "client_assertion_type", jwtBearer).want(t, "not the registered audience", 401, "invalid_client")
}

func claimsFor(s *oauthtest.Server) map[string]any {
	now := time.Now()
	return map[string]any{"iss": "c", "sub": "c", "aud": s.Issuer(), "jti": fmt.Sprint(now.UnixNano()), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
}

func assertion(t *testing.T, alg jose.SignatureAlgorithm, kid string, key any, claims map[string]any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCertificateChains(t *testing.T) {
	foreign, err := oauthtest.NewCA("clients")
	if err != nil {
		t.Fatal(err)
	}
	below, err := foreign.Intermediate("below")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(foreign.Certificate)
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true, ClientCAs: pool})
	issue := func(leaf oauthtest.Leaf) tls.Certificate {
		issued, err := below.Issue(leaf)
		if err != nil {
			t.Fatal(err)
		}
		return issued.TLS()
	}
	good, later := issue(oauthtest.Leaf{CommonName: "c", Key: newKey(t, oauthtest.P384)}), issue(oauthtest.Leaf{CommonName: "c", NotBefore: time.Now().Add(time.Hour)})
	alone := good
	alone.Certificate = alone.Certificate[:1]
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"tls_client_auth"}, SubjectDN: good.Leaf.Subject.String()})
	s.Register(oauthtest.Client{ID: "anybody", Methods: []string{"tls_client_auth"}})
	selfSigned := func(notBefore, notAfter time.Time) tls.Certificate {
		issued, err := oauthtest.SelfSigned(oauthtest.Leaf{CommonName: "c", NotBefore: notBefore, NotAfter: notAfter})
		if err != nil {
			t.Fatal(err)
		}
		s.Register(oauthtest.Client{ID: issued.Chain[0].SerialNumber.String(), Methods: []string{"tls_client_auth", "self_signed_tls_client_auth"}, Thumbprint: oauthtest.Thumbprint(issued.Chain[0])})
		return issued.TLS()
	}
	now := time.Now()
	valid, expired, early := selfSigned(time.Time{}, time.Time{}), selfSigned(time.Time{}, now.Add(-time.Minute)), selfSigned(now.Add(time.Hour), now.Add(2*time.Hour))
	for _, tt := range []struct {
		name, id    string
		certificate tls.Certificate
		ok          bool
	}{
		{"through an intermediate", "c", good, true},
		{"leaf alone", "c", alone, false},
		{"not yet valid", "c", later, false},
		{"no subject registered", "anybody", good, false},
		{"self-signed", valid.Leaf.SerialNumber.String(), valid, true},
		{"self-signed, expired", expired.Leaf.SerialNumber.String(), expired, false},
		{"self-signed, not yet valid", early.Leaf.SerialNumber.String(), early, false},
	} {
		if a := post(t, s, &tt.certificate, "", "client_id", tt.id); (a.status == 200) != tt.ok {
			t.Errorf("%s: status %d", tt.name, a.status)
		}
	}
}

// TestNothingIsPrinted: a test that prints what it got prints no secret.
func TestNothingIsPrinted(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{})
	c := oauthtest.Client{ID: "c", Methods: []string{"client_secret_post"}, Secrets: []string{"s3cr3t"}}
	s.Register(c)
	post(t, s, nil, "", "client_id", "c", "client_secret", "s3cr3t").want(t, "good", 200, nil)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if strings.Contains(fmt.Sprintf(format, c), "s3cr3t") || strings.Contains(fmt.Sprintf(format, s.Requests()), "s3cr3t") {
			t.Errorf("%s prints a secret", format)
		}
	}
}
