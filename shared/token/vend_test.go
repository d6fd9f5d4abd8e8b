package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
	"tokenvendor/shared/tokensource"
)

func TestTokenIsCached(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		first := env.MustVend(token.Request{})
		env.Pass(30 * time.Minute)
		second := env.MustVend(token.Request{})
		if first.Outcome != tokensource.Exchanged || second.Outcome != tokensource.Hit || first.Token.Fingerprint() != second.Token.Fingerprint() {
			t.Errorf("outcomes %v, %v", first.Outcome, second.Outcome)
		}
		env.WantCounts(1, 0)
		env.Pass(29*time.Minute + 35*time.Second) // less than 30 s are left
		if third := env.MustVend(token.Request{}); third.Outcome == tokensource.Hit {
			t.Error("a token is given out at its very end")
		}
		env.WantCounts(2, 0)
	})
}

func TestParametersNeverShareAToken(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v1", map[string]any{"allow_parameters": []string{"x", "app_tid"}})
		env.Put("other", "v1", nil)
		requests := []token.Request{
			{}, {Client: "other"}, {Ask: ask.Ask{Scope: []string{"a"}}}, {Ask: ask.Ask{Scope: []string{"a", "b"}}}, {Ask: ask.Ask{Resource: []string{"urn:a"}}}, {Ask: ask.Ask{Resource: []string{"urn:a", "urn:b"}}},
			{Ask: ask.Ask{Audience: "a"}}, {Ask: ask.Ask{TokenFormat: "jwt"}}, {Ask: ask.Ask{TokenFormat: "opaque"}}, {Ask: ask.Ask{AppTID: "a"}}, {Ask: ask.Ask{Parameters: map[string]string{"x": "a"}}},
		}
		seen := make(map[string]int)
		for range 2 {
			for i, r := range requests {
				print := env.MustVend(r).Token.Fingerprint()
				if j, ok := seen[print]; ok && j != i {
					t.Errorf("requests %d and %d share a token", i, j)
				}
				seen[print] = i
			}
		}
		env.WantCounts(len(requests), 0)
	})
}

func TestMinTTLAndRejected(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		first := env.MustVend(token.Request{}).Token.Fingerprint()
		env.Pass(40 * time.Minute)
		env.MustVend(token.Request{MinTTL: 10 * time.Minute})
		env.WantCounts(1, 0)
		env.MustVend(token.Request{MinTTL: 30 * time.Minute}) // 20 are left
		env.WantCounts(2, 0)
		for range 10 { // more than the server ever grants: the newest token it is
			env.MustVend(token.Request{MinTTL: 2 * time.Hour})
		}
		env.WantCounts(2, 0)
		for range 10 { // the first is gone already
			env.MustVend(token.Request{Rejected: first})
		}
		env.WantCounts(2, 0)
		second := env.MustVend(token.Request{}).Token.Fingerprint()
		for range 10 {
			env.MustVend(token.Request{Rejected: second})
		}
		env.WantCounts(3, 0)
	})
}

// TestWrongSecretIsSentOnce: SAP locks a client for all callers after five failed
// logons.
func TestWrongSecretIsSentOnce(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v1", map[string]any{"client_secret": "bad"})
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				_, err := env.Vend(token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint("s", i%5)}}})
				if failure := fault.From(err); failure.Kind != fault.Misconfigured || failure.Upstream == nil || failure.Upstream.Code != "invalid_client" {
					t.Errorf("error is %v", err)
				}
			})
		}
		all.Wait()
		env.WantCounts(0, 1)
		env.Pass(9 * time.Minute)
		env.WantKind(token.Request{}, fault.Misconfigured)
		env.WantCounts(0, 1)
		env.Pass(2 * time.Minute) // remembered for ten
		env.WantKind(token.Request{}, fault.Misconfigured)
		env.WantCounts(0, 2)
		env.Put("billing", "v2", map[string]any{"client_secret": "bad too"})
		for range 5 {
			env.WantKind(token.Request{}, fault.Misconfigured)
		}
		env.WantCounts(0, 3)
		env.Put("billing", "v3", nil)
		env.MustVend(token.Request{})
		env.WantCounts(1, 3)
		env.Put("billing", "v2", map[string]any{"client_secret": "bad too"}) // the label moved back
		env.Pass(6 * time.Minute)
		env.WantOutcome(tokensource.Stale) // the third version's token is still good
		if grant := env.MustVend(token.Request{Ask: ask.Ask{Scope: []string{"new"}}}); !grant.OldCredential {
			t.Error("the second version obtained a token")
		}
		env.WantCounts(2, 3)
	})
}

// TestRotationDuringCall: The old secret ends when the new one becomes current. The call
// succeeds at the price of one failed logon.
func TestRotationDuringCall(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.MustVend(token.Request{})
		if err := env.Server.SetSecrets("id", "new"); err != nil {
			t.Fatal(err)
		}
		env.Put("billing", "v2", map[string]any{"client_secret": "new"})
		env.MustVend(token.Request{Ask: ask.Ask{Scope: []string{"a"}}})
		env.WantCounts(2, 1)
	})
}

func TestCorrectedDocumentIsUsedAtOnce(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v1", map[string]any{"token_endpoint": env.Server.URL() + "/oauth/wrong"})
		failure := env.WantKind(token.Request{}, fault.Misconfigured)
		if failure.Upstream == nil || failure.Upstream.Status != 404 {
			t.Errorf("upstream is %v", failure.Upstream)
		}
		env.Put("billing", "v2", nil)
		env.MustVend(token.Request{})
	})
}

func TestDocumentErrors(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		if failure := env.WantKind(token.Request{Client: "nobody"}, fault.Denied); !strings.HasPrefix(failure.Detail, "no such client: ") {
			t.Errorf("detail is %q", failure.Detail)
		}
		env.Put("bad", "v1", map[string]any{"client_secret": "Hunter2\n", "surprise": "Hunter2", "token_endpoint": "http://as.test/Hunter2"})
		failure := env.WantKind(token.Request{Client: "bad"}, fault.Misconfigured)
		for _, member := range []string{"client_secret", "surprise", "token_endpoint"} {
			if !strings.Contains(failure.Description, member) {
				t.Errorf("%s is not named in: %s", member, failure.Description)
			}
		}
		if strings.Contains(failure.Description+failure.Detail, "Hunter2") {
			t.Error("a value is repeated")
		}
		for err, want := range map[error]fault.Kind{
			secret.ErrDenied: fault.Misconfigured, secret.ErrUnavailable: fault.Unavailable, context.DeadlineExceeded: fault.Timeout, errors.New("?"): fault.Internal,
		} {
			env.FailReads(err)
			env.Pass(10 * time.Minute) // what failed rests
			env.WantKind(token.Request{Client: "fresh"}, want)
		}
		env.WantCounts(0, 0)
	})
}

// TestServerFaults: Each misbehaviour of an authorization server has its kind of error,
// and its number of requests.
func TestServerFaults(t *testing.T) {
	tooBig := strings.Repeat("a", 70<<10)
	for _, tt := range []struct {
		name   string
		inject oauthtest.Fault
		want   fault.Kind
		asked  int
	}{
		{"HTML 429 without Retry-After", oauthtest.HTML429(""), fault.Throttled, 3},
		{"HTML 429 for long", oauthtest.HTML429("86400"), fault.Throttled, 1},
		{"429 with a senseless Retry-After", oauthtest.HTML429("banana"), fault.Throttled, 3},
		{"502", oauthtest.Answer(502, "text/html", "<html>"), fault.Unavailable, 3},
		{"503", oauthtest.Answer(503, "", ""), fault.Unavailable, 3},
		{"500", oauthtest.Answer(500, "application/json", `{"error":"server_error"}`), fault.Unavailable, 1},
		{"reset before an answer", oauthtest.Reset, fault.Unavailable, 3},
		{"302", oauthtest.Redirect(302, "https://127.0.0.1:1/"), fault.Misconfigured, 1},
		{"307", oauthtest.Redirect(307, "https://127.0.0.1:1/"), fault.Misconfigured, 1},
		{"404 HTML", oauthtest.Answer(404, "text/html", "<html>"), fault.Misconfigured, 1},
		{"empty 200", oauthtest.Answer(200, "", ""), fault.Misconfigured, 1},
		{"HTML 200", oauthtest.Answer(200, "text/html", "<html>"), fault.Misconfigured, 1},
		{"truncated", oauthtest.Truncated, fault.Misconfigured, 1},
		{"2 MB", oauthtest.Huge(200, 2<<20), fault.Misconfigured, 1},
		{"gzip bomb", oauthtest.Bomb(50 << 20), fault.Misconfigured, 1},
		{"2 MB header", oauthtest.HugeHeader(2 << 20), fault.Misconfigured, 1},
		{"error beside the token", oauthtest.Members(map[string]any{"error": "x"}), fault.Misconfigured, 1},
		{"token with a line break", oauthtest.Members(map[string]any{"access_token": "a\r\nX: y"}), fault.Misconfigured, 1},
		{"token of 70 KiB", oauthtest.Members(map[string]any{"access_token": tooBig}), fault.Misconfigured, 1},
		{"DPoP token", oauthtest.Members(map[string]any{"token_type": "DPoP"}), fault.Misconfigured, 1},
		{"invalid_scope", oauthtest.RefuseWith(400, "invalid_scope", "no"), fault.InvalidScope, 1},
		{"invalid_target", oauthtest.RefuseWith(400, "invalid_target", "no"), fault.InvalidTarget, 1},
		{"unauthorized_client", oauthtest.RefuseWith(400, "unauthorized_client", "no"), fault.Misconfigured, 1},
		{"invalid_client as 400", oauthtest.RefuseWith(400, "invalid_client", "no"), fault.Misconfigured, 1},
		{"401 without JSON", oauthtest.Answer(401, "text/html", "<html>"), fault.Misconfigured, 1},
		{"403", oauthtest.Answer(403, "", ""), fault.Misconfigured, 1},
		{"2 MB error body", oauthtest.Huge(400, 2<<20), fault.Misconfigured, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
				env.Server.Misbehave(tt.inject)
				failure := env.WantKind(token.Request{}, tt.want)
				if got := len(env.Server.Requests()); got != tt.asked {
					t.Errorf("asked %d times, want %d", got, tt.asked)
				}
				if tt.want == fault.Throttled && failure.RetryAfter <= 0 {
					t.Error("no Retry-After")
				}
				if strings.Contains(failure.Description+failure.Detail, "html") {
					t.Error("the server's body is in the error")
				}
				env.Server.Behave()
				env.Put("billing", "v2", nil) // what was refused stays refused
				env.Pass(10 * time.Minute)    // what failed rests
				env.MustVend(token.Request{})
			})
		})
	}
}

// TestServerOddities: These answers must work.
func TestServerOddities(t *testing.T) {
	for _, tt := range []struct {
		name   string
		inject oauthtest.Fault
		kept   bool
	}{
		{"good JSON as text/html", oauthtest.WrongContentType, true},
		{"expires_in as a string", oauthtest.Members(map[string]any{"expires_in": "3600"}), true},
		{"no expires_in", oauthtest.Members(map[string]any{"access_token": "opaque", "expires_in": nil}), false},
		{"no expires_in, a JWT", oauthtest.Members(map[string]any{"expires_in": nil}), true},
		{"expires_in -1", oauthtest.Members(map[string]any{"access_token": "opaque", "expires_in": -1}), false},
		{"expires_in is a date", oauthtest.Members(map[string]any{"access_token": "opaque", "expires_in": "2026-11-28"}), false},
		{"list of scopes", oauthtest.Members(map[string]any{"scope": []string{"a", "b"}}), true},
		{"error is empty", oauthtest.Members(map[string]any{"error": ""}), true},
		{"expires_in of a century", oauthtest.Members(map[string]any{"expires_in": 3.2e9}), true},
		{"token_type of Apigee", oauthtest.Members(map[string]any{"token_type": "BearerToken"}), true},
		{"lower-case token_type", oauthtest.Members(map[string]any{"token_type": "bearer"}), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
				env.Server.Misbehave(tt.inject)
				env.MustVend(token.Request{})
				want := 2
				if tt.kept {
					want = 1
				}
				env.MustVend(token.Request{})
				env.WantCounts(want, 0)
			})
		})
	}
}

func TestOneFaultIsRetried(t *testing.T) {
	for name, inject := range map[string]oauthtest.Fault{
		"reset": oauthtest.Reset, "answer lost": oauthtest.Lost, "503": oauthtest.Answer(503, "", ""), "429 for a second": oauthtest.HTML429("1"),
	} {
		t.Run(name, func(t *testing.T) {
			tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
				env.Server.MisbehaveNext(1, inject)
				env.MustVend(token.Request{})
				if got := len(env.Server.Requests()); got != 2 {
					t.Errorf("asked %d times, want 2", got)
				}
				if env.Server.FailedLogons("id") != 0 {
					t.Error("a retry counted as a failed logon")
				}
			})
		})
	}
}

func TestCallersDeadline(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Server.Misbehave(oauthtest.Hang)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := env.Vendor.Vend(ctx, tokentest.Read(token.Request{Client: "billing"}))
		if failure := fault.From(err); failure.Kind != fault.Timeout {
			t.Errorf("error is %v", err)
		}
	})
}

func TestEchoedCredentialIsNotRepeated(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v1", map[string]any{"client_secret": "cnry-8d2f"})
		env.Server.Misbehave(oauthtest.Echo(400, "invalid_request"))
		failure := env.WantKind(token.Request{}, fault.Misconfigured)
		if strings.Contains(failure.Description+failure.Detail, "cnry-8d2f") {
			t.Error("the secret is in the error")
		}
	})
}

func TestCertificateBoundTokens(t *testing.T) {
	for policy, want := range map[string]struct {
		kind fault.Kind
		warn bool
	}{"": {0, true}, "warn": {0, true}, "allow": {0, false}, "refuse": {fault.Misconfigured, false}} {
		t.Run("policy "+policy, func(t *testing.T) {
			tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
				issued, err := env.Server.CA().Issue(oauthtest.Leaf{CommonName: "billing"})
				if err != nil {
					t.Fatal(err)
				}
				key, err := oauthtest.KeyPEM(issued.Key)
				if err != nil {
					t.Fatal(err)
				}
				env.Server.Register(oauthtest.Client{ID: "id", Methods: []string{"tls_client_auth"}, SubjectDN: issued.Chain[0].Subject.String()})
				env.Put("billing", "v1", map[string]any{"client_secret": "", "certificate": oauthtest.CertificatePEM(issued.Chain...), "private_key": key, "certificate_bound": policy})
				if want.kind != 0 {
					env.WantKind(token.Request{}, want.kind)
					return
				}
				if grant := env.MustVend(token.Request{}); grant.CertificateBound != want.warn {
					t.Errorf("warning is %v, want %v", grant.CertificateBound, want.warn)
				}
			})
		})
	}
}

// TestExpiredCertificateIsNotSent: The document is read again.
func TestExpiredCertificateIsNotSent(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		issued, err := env.Server.CA().Issue(oauthtest.Leaf{CommonName: "billing", NotAfter: time.Now().Add(1500 * time.Millisecond)})
		if err != nil {
			t.Fatal(err)
		}
		key, err := oauthtest.KeyPEM(issued.Key)
		if err != nil {
			t.Fatal(err)
		}
		env.Server.Register(oauthtest.Client{ID: "id", Methods: []string{"tls_client_auth"}, SubjectDN: issued.Chain[0].Subject.String()})
		env.Put("billing", "v1", map[string]any{"client_secret": "", "certificate": oauthtest.CertificatePEM(issued.Chain...), "private_key": key})
		env.MustVend(token.Request{})
		time.Sleep(time.Until(issued.Chain[0].NotAfter) + 10*time.Millisecond)
		failure := env.WantKind(token.Request{Ask: ask.Ask{Scope: []string{"a"}}}, fault.Misconfigured)
		if !strings.Contains(failure.Description, "expired") {
			t.Errorf("description is %q", failure.Description)
		}
		if got := len(env.Server.Requests()); got != 1 {
			t.Errorf("asked %d times, want 1", got)
		}
	})
}

func TestBounds(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v1", map[string]any{"scope": "a b", "resource": "urn:a", "audience": "aud", "token_format": "jwt", "parameters": map[string]string{"x": "1"}})
		env.MustVend(token.Request{})
		form := env.Server.Requests()[0].Form
		for name, want := range map[string]string{"scope": "a b", "resource": "urn:a", "audience": "aud", "token_format": "jwt", "x": "1", "client_id": "id"} {
			if got := form.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		env.MustVend(token.Request{Ask: ask.Ask{Scope: []string{"a"}}})
		for kind, r := range map[fault.Kind]token.Request{
			fault.InvalidScope: {Ask: ask.Ask{Scope: []string{"a", "c"}}}, fault.InvalidTarget: {Ask: ask.Ask{Resource: []string{"urn:b"}}}, fault.Malformed: {Ask: ask.Ask{Parameters: map[string]string{"x": "2"}}},
		} {
			env.WantKind(r, kind)
		}
		env.WantCounts(2, 0)
	})
}

// TestLockedOutClientCallsNoServer: The metadata is read again only when the document
// is.
func TestLockedOutClientCallsNoServer(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		discovered := func(version, password string) {
			text, err := json.Marshal(map[string]string{"issuer": env.Server.Issuer(), "client_id": "id", "client_secret": password, "ca_certificates": string(env.Server.CAPEM())})
			if err != nil {
				t.Fatal(err)
			}
			env.PutText("billing", version, string(text))
		}
		asked := func(want int) {
			t.Helper()
			if got := env.Server.MetadataRequests(); got != want {
				t.Errorf("the metadata was asked for %d times, not %d", got, want)
			}
		}
		discovered("v1", "wrong")
		for range 8 {
			env.WantKind(token.Request{}, fault.Misconfigured)
		}
		asked(1)
		env.WantCounts(0, 1)
		// Half-way it is too early, and that the document is read there changes nothing.
		for i, metadata := range []int{1, 2} {
			env.Pass(150*time.Second + time.Duration(i)*time.Second)
			for range 8 {
				env.WantKind(token.Request{}, fault.Misconfigured)
			}
			asked(metadata)
		}
		discovered("v2", "good")
		env.MustVend(token.Request{})
		asked(3)
		env.WantCounts(1, 1)
	})
}

func TestMissingEndpointIsDiscoveredAgain(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		text, err := json.Marshal(map[string]string{"issuer": env.Server.Issuer(), "client_id": "id", "client_secret": "good", "ca_certificates": string(env.Server.CAPEM())})
		if err != nil {
			t.Fatal(err)
		}
		env.PutText("billing", "v1", string(text))
		env.MustVend(token.Request{})
		before := env.Server.MetadataRequests()
		env.Server.Misbehave(oauthtest.Answer(404, "text/html", "gone"))
		env.WantKind(token.Request{Ask: ask.Ask{Scope: []string{"read"}}}, fault.Misconfigured)
		if env.Server.MetadataRequests() == before {
			t.Error("nobody asks where the token endpoint is now")
		}
	})
}
