package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

// bench is a vendor with everything real but Secrets Manager and the clock.
type bench struct {
	t      *testing.T
	server *oauthtest.Server
	vendor *token.Vendor
	reads  atomic.Int64

	mu      sync.Mutex
	offset  time.Duration            // the clock is ahead by this; guarded by mu
	secrets map[string]secret.Secret // by client name; guarded by mu
	readErr error                    // guarded by mu
	counts  map[string]int           // guarded by mu

	policy      string        // guarded by mu
	policyErr   error         // guarded by mu
	policyReads int           // guarded by mu
	events      []audit.Event // guarded by mu
	auditErr    error         // guarded by mu
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, server: oauthtest.NewServer(t, oauthtest.Config{}), secrets: make(map[string]secret.Secret), counts: make(map[string]int)}
	b.vendor = token.New(b.config())
	b.server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	b.put("billing", "v1", nil)
	return b
}

func (b *bench) config() token.Config {
	return token.Config{
		Clients:   registry.New(registry.Config{Secrets: b, Addresses: oauth.AddressPolicy{Private: true}}),
		Exchanger: oauth.NewExchanger(oauth.ExchangerConfig{Now: b.now, Rand: func() float64 { return 0 }}),
		Count:     b.count,
		Now:       b.now,
		Audit: func(e *audit.Event) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.events = append(b.events, *e)
			return b.auditErr
		},
	}
}

func (b *bench) now() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Now().Add(b.offset)
}

func (b *bench) count(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[name]++
}

func (b *bench) counted(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[name]
}

func (b *bench) setReadErr(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readErr = err
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offset += d
}

// ReadSecret implements secret.Reader.
func (b *bench) ReadSecret(_ context.Context, name string, _ bool) (secret.Secret, error) {
	b.reads.Add(1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.readErr != nil {
		return secret.Secret{}, b.readErr
	}
	s, ok := b.secrets[name]
	if !ok {
		return s, secret.ErrNotFound
	}
	return s, nil
}

// put stores a document with the right secret, changed by members.
func (b *bench) put(name, version string, members map[string]any) {
	document := map[string]any{"token_endpoint": b.server.TokenEndpoint(), "client_id": "id", "client_secret": "good", "ca_certificates": string(b.server.CAPEM())}
	for k, v := range members {
		document[k] = v
	}
	text, err := json.Marshal(document)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.secrets[name] = secret.Secret{Text: text, Version: version}
}

func (b *bench) vend(r token.Request) (token.Grant, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	if r.Client == "" {
		r.Client = "billing"
	}
	return b.vendor.Vend(ctx, r)
}

func (b *bench) mustVend(r token.Request) token.Grant {
	b.t.Helper()
	grant, err := b.vend(r)
	if err != nil {
		b.t.Fatal(err)
	}
	return grant
}

func (b *bench) wantKind(r token.Request, want token.Kind) *token.Error {
	b.t.Helper()
	_, err := b.vend(r)
	var failure *token.Error
	if !errors.As(err, &failure) || failure.Kind != want {
		b.t.Fatalf("error is %v, want kind %d", err, want)
	}
	return failure
}

func (b *bench) wantCounts(exchanges, failed int) {
	b.t.Helper()
	if e, f := b.server.Exchanges(), b.server.FailedLogons("id"); e != exchanges || f != failed {
		b.t.Errorf("%d exchanges and %d failed logons, want %d and %d", e, f, exchanges, failed)
	}
}

func TestTokenIsKept(t *testing.T) {
	b := newBench(t)
	first := b.mustVend(token.Request{})
	b.pass(30 * time.Minute)
	second := b.mustVend(token.Request{})
	if first.Outcome != token.Exchanged || second.Outcome != token.Hit || token.Fingerprint(first.Token) != token.Fingerprint(second.Token) {
		t.Errorf("outcomes %v, %v", first.Outcome, second.Outcome)
	}
	b.wantCounts(1, 0)
	b.pass(29*time.Minute + 35*time.Second) // less than 30 s are left
	if third := b.mustVend(token.Request{}); third.Outcome == token.Hit {
		t.Error("a token is given out at its very end")
	}
	b.wantCounts(2, 0)
}

func TestParametersNeverShareAToken(t *testing.T) {
	b := newBench(t)
	b.put("billing", "v1", map[string]any{"allow_parameters": []string{"x"}})
	b.put("other", "v1", nil)
	requests := []token.Request{
		{}, {Client: "other"}, {Scope: []string{"a"}}, {Scope: []string{"a", "b"}}, {Resource: []string{"urn:a"}}, {Resource: []string{"urn:a", "urn:b"}},
		{Audience: "a"}, {TokenFormat: "jwt"}, {TokenFormat: "opaque"}, {AppTID: "a"}, {Parameters: map[string]string{"x": "a"}},
	}
	seen := make(map[string]int)
	for range 2 {
		for i, r := range requests {
			print := token.Fingerprint(b.mustVend(r).Token)
			if j, ok := seen[print]; ok && j != i {
				t.Errorf("requests %d and %d share a token", i, j)
			}
			seen[print] = i
		}
	}
	b.wantCounts(len(requests), 0)
}

func TestMinTTLAndRejected(t *testing.T) {
	b := newBench(t)
	first := token.Fingerprint(b.mustVend(token.Request{}).Token)
	b.pass(40 * time.Minute)
	b.mustVend(token.Request{MinTTL: 10 * time.Minute})
	b.wantCounts(1, 0)
	b.mustVend(token.Request{MinTTL: 30 * time.Minute}) // 20 are left
	b.wantCounts(2, 0)
	for range 10 { // more than the server ever grants: the newest token it is
		b.mustVend(token.Request{MinTTL: 2 * time.Hour})
	}
	b.wantCounts(2, 0)
	for range 10 { // the first is gone already
		b.mustVend(token.Request{Rejected: first})
	}
	b.wantCounts(2, 0)
	second := token.Fingerprint(b.mustVend(token.Request{}).Token)
	for range 10 {
		b.mustVend(token.Request{Rejected: second})
	}
	b.wantCounts(3, 0)
}

// TestWrongSecretIsSentOnce is the lock rule: SAP locks a client for everybody
// after five failed logons.
func TestWrongSecretIsSentOnce(t *testing.T) {
	b := newBench(t)
	b.put("billing", "v1", map[string]any{"client_secret": "bad"})
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			_, err := b.vend(token.Request{Scope: []string{fmt.Sprint("s", i%5)}})
			if failure := token.AsError(err); failure.Kind != token.Misconfigured || failure.Upstream == nil || failure.Upstream.Code != "invalid_client" {
				t.Errorf("error is %v", err)
			}
		})
	}
	all.Wait()
	b.wantCounts(0, 1)
	b.pass(9 * time.Minute)
	b.wantKind(token.Request{}, token.Misconfigured)
	b.wantCounts(0, 1)
	b.pass(2 * time.Minute) // remembered for ten
	b.wantKind(token.Request{}, token.Misconfigured)
	b.wantCounts(0, 2)
	b.put("billing", "v2", map[string]any{"client_secret": "bad too"})
	for range 5 {
		b.wantKind(token.Request{}, token.Misconfigured)
	}
	b.wantCounts(0, 3)
	b.put("billing", "v3", nil)
	b.mustVend(token.Request{})
	b.wantCounts(1, 3)
	b.put("billing", "v2", map[string]any{"client_secret": "bad too"}) // the label moved back
	b.pass(6 * time.Minute)
	b.wantKind(token.Request{}, token.Misconfigured)
	b.wantCounts(1, 3)
}

// TestRotationUnderway: the old secret dies as the new one becomes current. The
// call that met it succeeds, at the price of one failed logon.
func TestRotationUnderway(t *testing.T) {
	b := newBench(t)
	b.mustVend(token.Request{})
	if err := b.server.SetSecrets("id", "new"); err != nil {
		t.Fatal(err)
	}
	b.put("billing", "v2", map[string]any{"client_secret": "new"})
	b.mustVend(token.Request{Scope: []string{"a"}})
	b.wantCounts(2, 1)
}

// TestCorrectedDocumentCountsAtOnce: not only secrets can be wrong.
func TestCorrectedDocumentCountsAtOnce(t *testing.T) {
	b := newBench(t)
	b.put("billing", "v1", map[string]any{"token_endpoint": b.server.URL() + "/oauth/wrong"})
	failure := b.wantKind(token.Request{}, token.Misconfigured)
	if failure.Upstream == nil || failure.Upstream.Status != 404 {
		t.Errorf("upstream is %v", failure.Upstream)
	}
	b.put("billing", "v2", nil)
	b.mustVend(token.Request{})
}

func TestDocumentErrors(t *testing.T) {
	b := newBench(t)
	if failure := b.wantKind(token.Request{Client: "nobody"}, token.Denied); failure.Detail != "no such client" {
		t.Errorf("detail is %q", failure.Detail)
	}
	b.put("bad", "v1", map[string]any{"client_secret": "Hunter2\n", "surprise": "Hunter2", "token_endpoint": "http://as.test/Hunter2"})
	failure := b.wantKind(token.Request{Client: "bad"}, token.Misconfigured)
	for _, member := range []string{"client_secret", "surprise", "token_endpoint"} {
		if !strings.Contains(failure.Description, member) {
			t.Errorf("%s is not named in: %s", member, failure.Description)
		}
	}
	if strings.Contains(failure.Description+failure.Detail, "Hunter2") {
		t.Error("a value is repeated")
	}
	for err, want := range map[error]token.Kind{
		secret.ErrDenied: token.Misconfigured, secret.ErrUnavailable: token.Unavailable, context.DeadlineExceeded: token.Timeout, errors.New("?"): token.Internal,
	} {
		b.readErr = err
		b.pass(10 * time.Minute) // what failed rests
		b.wantKind(token.Request{Client: "fresh"}, want)
	}
	b.wantCounts(0, 0)
}

// TestServerFaults drives every misbehaviour of an authorization server through
// the vendor: the kind of the answer, and how often the server was asked.
func TestServerFaults(t *testing.T) {
	tooBig := strings.Repeat("a", 70<<10)
	for _, tt := range []struct {
		name  string
		fault oauthtest.Fault
		want  token.Kind
		asked int
	}{
		{"HTML 429 without Retry-After", oauthtest.HTML429(""), token.Throttled, 3},
		{"HTML 429 for long", oauthtest.HTML429("86400"), token.Throttled, 1},
		{"429 with a senseless Retry-After", oauthtest.HTML429("banana"), token.Throttled, 3},
		{"502", oauthtest.Answer(502, "text/html", "<html>"), token.Unavailable, 3},
		{"503", oauthtest.Answer(503, "", ""), token.Unavailable, 3},
		{"500", oauthtest.Answer(500, "application/json", `{"error":"server_error"}`), token.Unavailable, 1},
		{"reset before an answer", oauthtest.Reset, token.Unavailable, 3},
		{"302", oauthtest.Redirect(302, "https://127.0.0.1:1/"), token.Misconfigured, 1},
		{"307", oauthtest.Redirect(307, "https://127.0.0.1:1/"), token.Misconfigured, 1},
		{"404 HTML", oauthtest.Answer(404, "text/html", "<html>"), token.Misconfigured, 1},
		{"empty 200", oauthtest.Answer(200, "", ""), token.Misconfigured, 1},
		{"HTML 200", oauthtest.Answer(200, "text/html", "<html>"), token.Misconfigured, 1},
		{"truncated", oauthtest.Truncated, token.Misconfigured, 1},
		{"2 MB", oauthtest.Huge(200, 2<<20), token.Misconfigured, 1},
		{"gzip bomb", oauthtest.Bomb(50 << 20), token.Misconfigured, 1},
		{"2 MB header", oauthtest.HugeHeader(2 << 20), token.Misconfigured, 1},
		{"error beside the token", oauthtest.Members(map[string]any{"error": "x"}), token.Misconfigured, 1},
		{"token with a line break", oauthtest.Members(map[string]any{"access_token": "a\r\nX: y"}), token.Misconfigured, 1},
		{"token of 70 KiB", oauthtest.Members(map[string]any{"access_token": tooBig}), token.Misconfigured, 1},
		{"DPoP token", oauthtest.Members(map[string]any{"token_type": "DPoP"}), token.Misconfigured, 1},
		{"already expired", oauthtest.Members(map[string]any{"expires_in": -1}), token.Misconfigured, 1},
		{"invalid_scope", oauthtest.RefuseWith(400, "invalid_scope", "no"), token.InvalidScope, 1},
		{"invalid_target", oauthtest.RefuseWith(400, "invalid_target", "no"), token.InvalidTarget, 1},
		{"unauthorized_client", oauthtest.RefuseWith(400, "unauthorized_client", "no"), token.Misconfigured, 1},
		{"invalid_client as 400", oauthtest.RefuseWith(400, "invalid_client", "no"), token.Misconfigured, 1},
		{"401 without JSON", oauthtest.Answer(401, "text/html", "<html>"), token.Misconfigured, 1},
		{"403", oauthtest.Answer(403, "", ""), token.Misconfigured, 1},
		{"2 MB error body", oauthtest.Huge(400, 2<<20), token.Misconfigured, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.server.Misbehave(tt.fault)
			failure := b.wantKind(token.Request{}, tt.want)
			if got := len(b.server.Requests()); got != tt.asked {
				t.Errorf("asked %d times, want %d", got, tt.asked)
			}
			if tt.want == token.Throttled && failure.RetryAfter <= 0 {
				t.Error("no Retry-After")
			}
			if strings.Contains(failure.Description+failure.Detail, "html") {
				t.Error("the server's body is in the error")
			}
			b.server.Behave()
			b.put("billing", "v2", nil) // what was refused stays refused
			b.pass(10 * time.Minute)    // what failed rests
			b.mustVend(token.Request{})
		})
	}
}

// TestServerOddities are answers that must work.
func TestServerOddities(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault oauthtest.Fault
		kept  bool
	}{
		{"good JSON as text/html", oauthtest.WrongContentType, true},
		{"expires_in as a string", oauthtest.Members(map[string]any{"expires_in": "3600"}), true},
		{"no expires_in", oauthtest.Members(map[string]any{"expires_in": nil}), false},
		{"expires_in of a century", oauthtest.Members(map[string]any{"expires_in": 3.2e9}), true},
		{"lower-case token_type", oauthtest.Members(map[string]any{"token_type": "bearer"}), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.server.Misbehave(tt.fault)
			b.mustVend(token.Request{})
			want := 2
			if tt.kept {
				want = 1
			}
			b.mustVend(token.Request{})
			b.wantCounts(want, 0)
		})
	}
}

// TestOneFaultIsSurvived: what a retry heals, the caller never sees.
func TestOneFaultIsSurvived(t *testing.T) {
	for name, fault := range map[string]oauthtest.Fault{
		"reset": oauthtest.Reset, "answer lost": oauthtest.Lost, "503": oauthtest.Answer(503, "", ""), "429 for a second": oauthtest.HTML429("1"),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.server.MisbehaveNext(1, fault)
			b.mustVend(token.Request{})
			if got := len(b.server.Requests()); got != 2 {
				t.Errorf("asked %d times, want 2", got)
			}
			if b.server.FailedLogons("id") != 0 {
				t.Error("a retry counted as a failed logon")
			}
		})
	}
}

func TestCallersDeadline(t *testing.T) {
	b := newBench(t)
	b.server.Misbehave(oauthtest.Hang)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := b.vendor.Vend(ctx, token.Request{Client: "billing"})
	if failure := token.AsError(err); failure.Kind != token.Timeout {
		t.Errorf("error is %v", err)
	}
}

// TestEchoedCredential: a server that repeats the secret must not make us do so.
func TestEchoedCredential(t *testing.T) {
	b := newBench(t)
	b.put("billing", "v1", map[string]any{"client_secret": "cnry-8d2f"})
	b.server.Misbehave(oauthtest.Echo(400, "invalid_request"))
	failure := b.wantKind(token.Request{}, token.Misconfigured)
	if strings.Contains(failure.Description+failure.Detail, "cnry-8d2f") {
		t.Error("the secret is in the error")
	}
}

func TestCertificateBoundTokens(t *testing.T) {
	for policy, want := range map[string]struct {
		kind token.Kind
		warn bool
	}{"": {0, true}, "warn": {0, true}, "allow": {0, false}, "refuse": {token.Misconfigured, false}} {
		t.Run("policy "+policy, func(t *testing.T) {
			b := newBench(t)
			issued, err := b.server.CA().Issue(oauthtest.Leaf{CommonName: "billing"})
			if err != nil {
				t.Fatal(err)
			}
			key, err := oauthtest.KeyPEM(issued.Key)
			if err != nil {
				t.Fatal(err)
			}
			b.server.Register(oauthtest.Client{ID: "id", Methods: []string{"tls_client_auth"}, SubjectDN: issued.Chain[0].Subject.String()})
			b.put("billing", "v1", map[string]any{"client_secret": "", "certificate": oauthtest.CertificatePEM(issued.Chain...), "private_key": key, "certificate_bound": policy})
			if want.kind != 0 {
				b.wantKind(token.Request{}, want.kind)
				return
			}
			if grant := b.mustVend(token.Request{}); grant.CertificateBound != want.warn {
				t.Errorf("warning is %v, want %v", grant.CertificateBound, want.warn)
			}
		})
	}
}

// TestCertificateExpiresWhileCached: it is not sent, the document is read again.
func TestCertificateExpiresWhileCached(t *testing.T) {
	b := newBench(t)
	issued, err := b.server.CA().Issue(oauthtest.Leaf{CommonName: "billing", NotAfter: time.Now().Add(1500 * time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	key, err := oauthtest.KeyPEM(issued.Key)
	if err != nil {
		t.Fatal(err)
	}
	b.server.Register(oauthtest.Client{ID: "id", Methods: []string{"tls_client_auth"}, SubjectDN: issued.Chain[0].Subject.String()})
	b.put("billing", "v1", map[string]any{"client_secret": "", "certificate": oauthtest.CertificatePEM(issued.Chain...), "private_key": key})
	b.mustVend(token.Request{})
	time.Sleep(time.Until(issued.Chain[0].NotAfter) + 10*time.Millisecond)
	failure := b.wantKind(token.Request{Scope: []string{"a"}}, token.Misconfigured)
	if !strings.Contains(failure.Description, "expired") {
		t.Errorf("description is %q", failure.Description)
	}
	if got := len(b.server.Requests()); got != 1 {
		t.Errorf("asked %d times, want 1", got)
	}
}

func TestBounds(t *testing.T) {
	b := newBench(t)
	b.put("billing", "v1", map[string]any{"scope": "a b", "resource": "urn:a", "audience": "aud", "token_format": "jwt", "parameters": map[string]string{"x": "1"}})
	b.mustVend(token.Request{})
	form := b.server.Requests()[0].Form
	for name, want := range map[string]string{"scope": "a b", "resource": "urn:a", "audience": "aud", "token_format": "jwt", "x": "1", "client_id": "id"} {
		if got := form.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	b.mustVend(token.Request{Scope: []string{"a"}})
	for kind, r := range map[token.Kind]token.Request{
		token.InvalidScope: {Scope: []string{"a", "c"}}, token.InvalidTarget: {Resource: []string{"urn:b"}}, token.Malformed: {Parameters: map[string]string{"x": "2"}},
	} {
		b.wantKind(r, kind)
	}
	b.wantCounts(2, 0)
}

// TestRefusedIsNotLookedUp: while a version of a credential is refused, the authorization
// server hears nothing at all of its client, not even a question for the metadata; whether
// it has moved is asked when the document is read again in any case.
func TestRefusedIsNotLookedUp(t *testing.T) {
	b := newBench(t)
	discovered := func(version, password string) {
		text, err := json.Marshal(map[string]string{"issuer": b.server.Issuer(), "client_id": "id", "client_secret": password, "ca_certificates": string(b.server.CAPEM())})
		if err != nil {
			t.Fatal(err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.secrets["billing"] = secret.Secret{Text: text, Version: version}
	}
	asked := func(want int) {
		t.Helper()
		if got := b.server.MetadataRequests(); got != want {
			t.Errorf("the metadata was asked for %d times, not %d", got, want)
		}
	}
	discovered("v1", "wrong")
	for range 8 {
		b.wantKind(token.Request{}, token.Misconfigured)
	}
	asked(1)
	b.wantCounts(0, 1)
	// Half-way it is too early, and that the document is read there changes nothing.
	for i, metadata := range []int{1, 2} {
		b.pass(150*time.Second + time.Duration(i)*time.Second)
		for range 8 {
			b.wantKind(token.Request{}, token.Misconfigured)
		}
		asked(metadata)
	}
	discovered("v2", "good")
	b.mustVend(token.Request{})
	asked(3)
	b.wantCounts(1, 1)
}

// TestMovedEndpoint: a token endpoint that is no more is looked for at once.
func TestMovedEndpoint(t *testing.T) {
	b := newBench(t)
	text, err := json.Marshal(map[string]string{"issuer": b.server.Issuer(), "client_id": "id", "client_secret": "good", "ca_certificates": string(b.server.CAPEM())})
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.secrets["billing"] = secret.Secret{Text: text, Version: "v1"}
	b.mu.Unlock()
	b.mustVend(token.Request{})
	before := b.server.MetadataRequests()
	b.server.Misbehave(oauthtest.Answer(404, "text/html", "gone"))
	b.wantKind(token.Request{Scope: []string{"read"}}, token.Misconfigured)
	if b.server.MetadataRequests() == before {
		t.Error("nobody asks where the token endpoint is now")
	}
}
