package oauthtest_test

import (
	"crypto/tls"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

func TestCertificatesAreVerified(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	foreign, err := oauthtest.NewCA("foreign")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(by func(oauthtest.Leaf) (*oauthtest.Issued, error), leaf oauthtest.Leaf) *oauthtest.Issued {
		issued, err := by(leaf)
		if err != nil {
			t.Fatal(err)
		}
		return issued
	}
	own := issue(s.CA().Issue, oauthtest.Leaf{CommonName: "c"})
	self := issue(oauthtest.SelfSigned, oauthtest.Leaf{CommonName: "self"})
	s.Register(oauthtest.Client{ID: "c", Methods: []string{"tls_client_auth"}, SubjectDN: own.Chain[0].Subject.String()})
	s.Register(oauthtest.Client{ID: "self", Methods: []string{"self_signed_tls_client_auth"}, Thumbprint: oauthtest.Thumbprint(self.Chain[0])})
	for _, tt := range []struct {
		name, id string
		issued   *oauthtest.Issued
		ok       bool
	}{
		{"good", "c", own, true},
		{"self-signed", "self", self, true},
		{"other subject", "c", issue(s.CA().Issue, oauthtest.Leaf{CommonName: "d"}), false},
		{"foreign authority", "c", issue(foreign.Issue, oauthtest.Leaf{CommonName: "c"}), false},
		{"expired", "c", issue(s.CA().Issue, oauthtest.Leaf{CommonName: "c", NotAfter: time.Now().Add(-time.Minute)}), false},
		{"same subject, other thumbprint", "self", issue(oauthtest.SelfSigned, oauthtest.Leaf{CommonName: "self"}), false},
		{"another client's", "self", own, false},
	} {
		certificate := tt.issued.TLS()
		a := post(t, s, &certificate, "", "client_id", tt.id)
		if (a.status == 200) != tt.ok {
			t.Errorf("%s: got status %d, want success: %v", tt.name, a.status, tt.ok)
		}
		if tt.ok && !strings.Contains(claimsOf(t, a), `"cnf":{"x5t#S256":`) {
			t.Errorf("%s: the token is not bound", tt.name)
		}
	}
	post(t, s, nil, "", "client_id", "c").want(t, "no certificate", 401, "invalid_client")
	s.Register(oauthtest.Client{ID: "secret", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	certificate := own.TLS()
	if claims := claimsOf(t, post(t, s, &certificate, "", "client_id", "secret", "client_secret", "good")); strings.Contains(claims, "cnf") {
		t.Errorf("got claims %s for a client authenticated by secret, want no cnf", claims)
	}
}

func claimsOf(t *testing.T, a answer) string {
	t.Helper()
	token, _ := a.body["access_token"].(string)
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(claims)
}

func TestCertificateChainsAreVerified(t *testing.T) {
	s := oauthtest.NewServer(t, oauthtest.Config{NeverLock: true})
	below, err := s.CA().Intermediate("below")
	if err != nil {
		t.Fatal(err)
	}
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
	s.Register(oauthtest.Client{ID: "without subject", Methods: []string{"tls_client_auth"}})
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
		{"no subject registered", "without subject", good, false},
		{"self-signed", valid.Leaf.SerialNumber.String(), valid, true},
		{"self-signed, expired", expired.Leaf.SerialNumber.String(), expired, false},
		{"self-signed, not yet valid", early.Leaf.SerialNumber.String(), early, false},
	} {
		if a := post(t, s, &tt.certificate, "", "client_id", tt.id); (a.status == 200) != tt.ok {
			t.Errorf("%s: got status %d, want success: %v", tt.name, a.status, tt.ok)
		}
	}
}
