package token_test

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

// The bugs of others in the same trade, each with the place where it was reported. Each
// test is the shortest form of its bug; longer ones stand with the code.

// TestMuseum01CacheHit: authorization is skipped where the token is in memory
// (chinmina-bridge #358).
func TestMuseum01CacheHit(t *testing.T) {
	b := newPolicyBench(t, onlyA)
	b.mustVend(token.Request{Caller: teamA})
	b.wantKind(token.Request{Caller: teamB}, token.Denied)
	b.wantCounts(1, 0)
	// Team B may only read: neither is what the document adds its to have, nor what the
	// server granted besides.
	const aWrites = `{"rules": [{"name": "a", "callers": ["` + teamA + `"], "clients": ["billing"], "scopes": ["read", "write"]},
		{"name": "b", "callers": ["` + teamB + `"], "clients": ["billing"], "scopes": ["read"]}]}`
	b = newPolicyBench(t, aWrites)
	b.put("billing", "v1", map[string]any{"scope": "write"})
	b.mustVend(token.Request{Caller: teamA})
	b.wantKind(token.Request{Caller: teamB}, token.Denied)
	b = newPolicyBench(t, aWrites)
	b.server.Misbehave(oauthtest.Members(map[string]any{"scope": "read write"}))
	b.mustVend(token.Request{Caller: teamA, Scope: []string{"read"}})
	b.wantKind(token.Request{Caller: teamB, Scope: []string{"read"}}, token.Denied)
}

// TestMuseum02OtherScope: under concurrency one caller gets the token of another's scope,
// or of another tenant (Duende.AccessTokenManagement #634, #1396).
func TestMuseum02OtherScope(t *testing.T) {
	b := newBench(t)
	b.put("billing", "v1", map[string]any{"allow_parameters": []string{"app_tid"}})
	b.put("orders", "v1", map[string]any{"client_id": "orders"})
	b.server.Misbehave(func(w http.ResponseWriter, r *http.Request, _ http.Handler, _ <-chan struct{}) {
		_ = r.ParseForm()
		w.Header().Set("Content-Type", "application/json")
		// The token says what it was asked for with.
		_, _ = fmt.Fprintf(w, `{"access_token":"%s","token_type":"Bearer","expires_in":3600}`, strings.Join([]string{
			r.Form.Get("client_id"), r.Form.Get("scope"), r.Form.Get("app_tid"), r.Form.Get("audience"), r.Form.Get("token_format"), strings.Join(r.Form["resource"], "+"),
		}, "/"))
	})
	// Each differs from another in one member, or by where one ends.
	all := []struct {
		request token.Request
		want    string
	}{
		{token.Request{}, "id/////"},
		{token.Request{Client: "orders"}, "orders/////"},
		{token.Request{Scope: []string{"s"}}, "id/s////"},
		{token.Request{Scope: []string{"st"}}, "id/st////"},
		{token.Request{Scope: []string{"s"}, Audience: "t"}, "id/s//t//"},
		{token.Request{Scope: []string{"s"}, AppTID: "t1"}, "id/s/t1///"},
		{token.Request{Scope: []string{"s"}, AppTID: "t2"}, "id/s/t2///"},
		{token.Request{TokenFormat: "opaque"}, "id////opaque/"},
		{token.Request{Resource: []string{"urn:a"}}, "id/////urn:a"},
		{token.Request{Resource: []string{"urn:a", "urn:b"}}, "id/////urn:a+urn:b"},
	}
	var callers sync.WaitGroup
	for i := range 200 {
		callers.Go(func() {
			asked := all[i%len(all)]
			grant, err := b.vend(asked.request)
			if err != nil {
				t.Error(err)
			} else if got := grant.Token.AccessToken().Expose(); got != asked.want {
				t.Errorf("got %s instead of %s", got, asked.want)
			}
		})
	}
	callers.Wait()
}

// TestMuseum03ExpiredToken: while the issuer is down an expired token is served
// (envoyproxy/envoy #44674).
func TestMuseum03ExpiredToken(t *testing.T) {
	b := newBench(t)
	b.mustVend(token.Request{})
	b.server.Misbehave(oauthtest.Answer(503, "text/html", "down"))
	for range 60 {
		b.pass(2 * time.Minute)
		if grant, err := b.vend(token.Request{}); err == nil && !grant.Token.Expiry().After(b.now()) {
			t.Fatal("an expired token was vended")
		}
	}
	b.wantKind(token.Request{}, token.Unavailable)
}

// TestMuseum04StrangeAnswers: an empty 200, HTML with 200 or 429 is taken for a token, or
// crashes (envoyproxy/envoy #42009, SAP/cloud-sdk-js #6143).
func TestMuseum04StrangeAnswers(t *testing.T) {
	for name, f := range map[string]oauthtest.Fault{
		"empty": oauthtest.Answer(200, "application/json", ""), "HTML": oauthtest.Answer(200, "text/html", "<html>login</html>"),
		"HTML 429": oauthtest.HTML429("1"), "null": oauthtest.Answer(200, "application/json", "null"), "list": oauthtest.Answer(200, "application/json", "[]"),
		"empty token": oauthtest.Answer(200, "application/json", `{"access_token":"","token_type":"Bearer"}`),
	} {
		b := newBench(t)
		b.server.Misbehave(f)
		if grant, err := b.vend(token.Request{}); err == nil {
			t.Errorf("%s: a token of %d bytes", name, grant.Size())
		} else if token.AsError(err).Kind == token.Internal {
			t.Errorf("%s: %v", name, err)
		}
		b.server.Behave()
		b.pass(time.Minute)
		b.mustVend(token.Request{})
	}
}

// TestMuseum05Throttled: everybody answers a 429 by trying again (MSAL.NET #4196).
func TestMuseum05Throttled(t *testing.T) {
	b := newBench(t)
	b.server.Misbehave(oauthtest.HTML429("60"))
	for round := range 5 {
		together(50, 30*time.Second, func(i int) {
			_, err := b.vend(token.Request{Scope: []string{fmt.Sprint("s", i)}})
			if e := token.AsError(err); e.Kind != token.Throttled || e.RetryAfter <= 0 {
				t.Errorf("round %d: %v", round, err)
			}
		})
		b.pass(5 * time.Second)
	}
	// Exchanges of one client follow one another, so that none is on its way when the first
	// is turned away.
	if n := len(b.server.Requests()); n != 1 {
		t.Errorf("%d requests to a server that asks to be left alone", n)
	}
}

// TestMuseum06CacheDown: the store of the cache is down, and nobody gets a token
// (Duende.AccessTokenManagement #684).
func TestMuseum06CacheDown(t *testing.T) {
	a := newArmada(t, 3)
	a.table.Misbehave(func(context.Context) error { return errors.New("down") })
	if _, failures := a.all(3, token.Request{}); len(failures) != 0 {
		t.Errorf("%v", failures)
	}
}

// TestMuseum07Rebuilt: what was learned is lost with its holder, which is made for each
// call (Duende.AccessTokenManagement #298). Here a document that is read again, the same,
// keeps its tokens.
func TestMuseum07Rebuilt(t *testing.T) {
	b := newBench(t)
	for range 8 {
		b.mustVend(token.Request{})
		b.pass(5 * time.Minute)
	}
	if n := b.reads.Load(); n < 2 {
		t.Errorf("the document was read %d times: the test shows nothing", n)
	}
	b.wantCounts(1, 0)
}

// TestMuseum08FirstContext: the context of the first call is kept, and dead when a later
// one needs it (golang/oauth2 #388, cloudfoundry-community/go-cfclient #445).
func TestMuseum08FirstContext(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := b.vendor.Vend(ctx, token.Request{Client: "billing"}); err != nil {
		t.Fatal(err)
	}
	cancel()
	b.pass(2 * time.Hour)
	b.mustVend(token.Request{})
	b.wantCounts(2, 0)
	// Nor does a load that others wait for end with the one who began it.
	b = newBench(t)
	begun, going := make(chan struct{}), make(chan struct{})
	b.server.MisbehaveNext(1, func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		close(begun)
		select {
		case <-going:
		case <-done:
		}
		next.ServeHTTP(w, r)
	})
	ctx, cancel = context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := b.vendor.Vend(ctx, token.Request{Client: "billing"})
		left <- err
	}()
	<-begun
	cancel()
	if err := <-left; err == nil {
		t.Error("a token for somebody who left")
	}
	time.AfterFunc(50*time.Millisecond, func() { close(going) })
	b.mustVend(token.Request{})
	b.wantCounts(1, 0)
}

// TestMuseum09Asleep: a clock that stands still while the process sleeps, or a timer that
// fires late, keeps a token alive (rapid7/awsaml #211; every frozen Lambda function).
func TestMuseum09Asleep(t *testing.T) {
	b := newBench(t)
	first := b.mustVend(token.Request{})
	// Only the wall clock moves: no time passes that a timer could measure.
	b.pass(50*24*time.Hour + time.Second)
	if second := b.mustVend(token.Request{}); token.Fingerprint(first.Token) == token.Fingerprint(second.Token) || !second.Token.Expiry().After(b.now()) {
		t.Error("the token of before")
	}
	// Nor is it there when there is no other.
	b.server.Misbehave(oauthtest.Answer(503, "text/html", "down"))
	b.pass(50*24*time.Hour + time.Second)
	b.wantKind(token.Request{}, token.Unavailable)
	// One that lives too short to be replaced before its end.
	b = newBench(t)
	b.server.Misbehave(oauthtest.Members(map[string]any{"expires_in": 60}))
	b.mustVend(token.Request{})
	b.pass(time.Hour)
	if grant := b.mustVend(token.Request{}); !grant.Token.Expiry().After(b.now()) {
		t.Error("the token of an hour before")
	}
	// A moment that has a reading of the clock that stands still would be compared by it.
	for _, moment := range []time.Time{first.Token.Issued(), first.Token.Expiry()} {
		if strings.Contains(moment.String(), " m=") {
			t.Error("a moment of the monotonic clock:", moment)
		}
	}
}

// TestMuseum10NoLife: a token without expires_in counts as one for ever (golang/oauth2),
// or for an hour (BerriAI/litellm #32259).
func TestMuseum10NoLife(t *testing.T) {
	b := newBench(t)
	b.server.Misbehave(oauthtest.Members(map[string]any{"expires_in": nil}))
	grant := b.mustVend(token.Request{})
	var answer map[string]any
	if err := json.Unmarshal(grant.AppendJSON(nil, b.now()), &answer); err != nil || answer["expires_in"] != nil || answer["expires_at"] != nil {
		t.Errorf("the answer says %v, %v", answer, err)
	}
	for range 3 {
		b.mustVend(token.Request{})
		b.pass(15 * time.Minute)
	}
	if n := b.server.Exchanges(); n != 4 {
		t.Errorf("%d exchanges for four requests", n)
	}
}

// TestMuseum11EmptySecret: an empty client_secret is sent beside another method
// (NangoHQ/nango #6919, SAP/cloud-sdk-js #3719).
func TestMuseum11EmptySecret(t *testing.T) {
	basic := map[string]any{"token_endpoint_auth_method": "client_secret_basic"}
	withKey, withCertificate := map[string]any{"client_secret": ""}, map[string]any{"client_secret": ""}
	for name, members := range map[string]map[string]any{"client_secret_basic": basic, "private_key_jwt": withKey, "tls_client_auth": withCertificate} {
		b := newBench(t)
		client := oauthtest.Client{ID: "id", Methods: []string{name}, Secrets: []string{"good"}}
		if name != "client_secret_basic" {
			issued, err := b.server.CA().Issue(oauthtest.Leaf{CommonName: "vendor"})
			if err != nil {
				t.Fatal(err)
			}
			key, err := oauthtest.KeyPEM(issued.Key)
			if err != nil {
				t.Fatal(err)
			}
			client.Keys, client.SubjectDN = map[string]crypto.PublicKey{"": issued.Key.Public()}, issued.Chain[0].Subject.String()
			if members["private_key"] = key; name == "tls_client_auth" {
				members["certificate"] = oauthtest.CertificatePEM(issued.Chain...)
			}
		}
		b.server.Register(client)
		b.put("billing", "v1", members)
		b.mustVend(token.Request{})
		for _, r := range b.server.Requests() {
			if r.Form.Has("client_secret") || r.Form.Has("client_assertion") != (name == "private_key_jwt") {
				t.Errorf("%s: two ways to authenticate in one request", name)
			}
		}
	}
}

// TestMuseum12Probing: trying one way of authentication after the other makes two failed
// logons of one wrong secret (oauth2-proxy #3483).
func TestMuseum12Probing(t *testing.T) {
	for _, method := range []string{"", "client_secret_basic"} {
		b := newBench(t)
		b.server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post", "client_secret_basic"}, Secrets: []string{"good"}})
		members := map[string]any{"client_secret": "wrong"}
		if method != "" {
			members["token_endpoint_auth_method"] = method
		}
		b.put("billing", "v1", members)
		for range 10 {
			b.wantKind(token.Request{}, token.Misconfigured)
		}
		b.wantCounts(0, 1)
	}
}

// TestMuseum13NamesOfRows: a token or a secret is part of a key of the cache, or of a log
// line (github-aws-runners #4899).
func TestMuseum13NamesOfRows(t *testing.T) {
	a := newArmada(t, 0)
	var lines []string
	v := a.environmentWith(func(cfg *token.Config) {
		cfg.Audit = func(e *audit.Event) error {
			lines = append(lines, fmt.Sprintf("%+v", *e))
			return nil
		}
	})
	grant, err := a.ask(v, token.Request{Scope: []string{"cnry-scope"}})
	if err != nil {
		t.Fatal(err)
	}
	secret := grant.Token.AccessToken().Expose()
	for _, item := range a.table.Items() {
		row := fmt.Sprintf("%s %s %s %q", item.Name, item.State, item.Value, item.Owner)
		for _, never := range []string{"billing", "good", "cnry-scope", secret, secret[:20], token.Fingerprint(grant.Token)} {
			if strings.Contains(row, never) {
				t.Errorf("a row holds %.20s", never)
			}
		}
	}
	if all := strings.Join(lines, "\n"); len(lines) == 0 || strings.Contains(all, "good") || strings.Contains(all, secret[:20]) {
		t.Error("the audit line holds a secret or a token, or there is none")
	}
}

// TestMuseum14Opaque: a token that is no JWT is refused, or breaks what reads it
// (aws/bedrock-agentcore-sdk-python #109, SAP/cloud-sdk-java #1111).
func TestMuseum14Opaque(t *testing.T) {
	for _, opaque := range []string{"opaque", "a.b.c", "x", strings.Repeat("~+/=-._a", 1000)} {
		b := newBench(t)
		b.server.Misbehave(oauthtest.Members(map[string]any{"access_token": opaque}))
		if grant := b.mustVend(token.Request{}); grant.Token.AccessToken().Expose() != opaque {
			t.Errorf("%.10s came as another", opaque)
		}
	}
}

// TestMuseum15NoScope: a scope is demanded where the authorization server has none
// (dapr/dapr #7710).
func TestMuseum15NoScope(t *testing.T) {
	b := newBench(t)
	b.server.Misbehave(oauthtest.Members(map[string]any{"scope": nil}))
	b.mustVend(token.Request{})
	if r := b.server.Requests()[0]; r.Form.Has("scope") {
		t.Error("a scope was sent that nobody asked for")
	}
}

// TestMuseum16NoPolicy: a policy that isn't there, after a rename, reads as "all is
// allowed" (octo-sts).
func TestMuseum16NoPolicy(t *testing.T) {
	b := newPolicyBench(t, "")
	for _, missing := range []struct {
		err  error
		kind token.Kind
	}{{secret.ErrNotFound, token.Denied}, {secret.ErrDenied, token.Denied}, {secret.ErrUnavailable, token.Unavailable}} {
		b.setPolicy("", missing.err)
		b.wantKind(token.Request{Caller: teamA}, missing.kind)
		b.pass(10 * time.Second)
	}
	for _, text := range []string{"", "{}", "null", `{"rules": []}`, `{"rule": []}`} {
		b.setPolicy(text, nil)
		b.pass(10 * time.Second)
		b.wantKind(token.Request{Caller: teamA}, token.Denied)
	}
	b.wantCounts(0, 0)
	// After a rename there was one before.
	for _, gone := range []struct {
		err   error
		after time.Duration
	}{{secret.ErrNotFound, time.Minute}, {secret.ErrDenied, 16 * time.Minute}} {
		b.setPolicy(onlyA, nil)
		b.pass(time.Minute)
		b.mustVend(token.Request{Caller: teamA})
		b.setPolicy("", gone.err)
		b.pass(gone.after)
		b.wantKind(token.Request{Caller: teamA}, token.Denied)
	}
}

// TestMuseum17RealToken: a health check says ok for months because nobody asks for a real
// token (linuxarena/control-tower #1504). What counts as healthy here is an exchange: a
// credential that is refused shows in the metrics and in every answer, and costs one logon.
func TestMuseum17RealToken(t *testing.T) {
	b := newBench(t)
	b.put("billing", "v1", map[string]any{"client_secret": "wrong"})
	var kinds []token.Kind
	for range 5 {
		err := b.vendor.Prefetch(t.Context(), "billing")
		kinds = append(kinds, token.AsError(err).Kind)
	}
	if slices.ContainsFunc(kinds, func(k token.Kind) bool { return k != token.Misconfigured }) || b.counted(token.CountFailedLogon) != 1 {
		t.Errorf("kinds %v, %d failed logons counted", kinds, b.counted(token.CountFailedLogon))
	}
	b.wantCounts(0, 1)
	b.put("billing", "v2", nil)
	b.pass(time.Minute)
	if err := b.vendor.Prefetch(t.Context(), "billing"); err != nil {
		t.Error(err)
	}
}
