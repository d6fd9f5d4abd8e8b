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

	"tokenvendor/shared/ask"
	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
	"tokenvendor/shared/tokensource"
)

// Bugs of other token caches and proxies, each with the place where it was reported. Each test
// is the shortest form of its bug.

// TestHitIsAuthorized: Authorization is skipped if the token is in memory
// (chinmina-bridge #358).
func TestHitIsAuthorized(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.UsePolicy(onlyA)
		env.MustVend(token.Request{Caller: teamA})
		env.WantKind(token.Request{Caller: teamB}, fault.Denied)
		env.WantCounts(1, 0)
		// Team B may only read: neither is what the document adds its to have, nor what the
		// server granted besides.
		const aWrites = `{"rules": [{"name": "a", "callers": ["` + teamA + `"], "clients": ["billing"], "scopes": ["read", "write"]},
		{"name": "b", "callers": ["` + teamB + `"], "clients": ["billing"], "scopes": ["read"]}]}`
		env = tokentest.New(t)
		env.UsePolicy(aWrites)
		env.Put("billing", "v1", map[string]any{"scope": "write"})
		env.MustVend(token.Request{Caller: teamA})
		env.WantKind(token.Request{Caller: teamB}, fault.Denied)
		env = tokentest.New(t)
		env.UsePolicy(aWrites)
		env.Server.Misbehave(oauthtest.Members(map[string]any{"scope": "read write"}))
		env.MustVend(token.Request{Caller: teamA, Ask: ask.Ask{Scope: []string{"read"}}})
		env.WantKind(token.Request{Caller: teamB, Ask: ask.Ask{Scope: []string{"read"}}}, fault.Denied)
	})
}

// TestConcurrentAsksGetTheirOwnTokens: Under concurrency a caller gets the token of
// another scope or tenant (Duende.AccessTokenManagement #634, #1396).
func TestConcurrentAsksGetTheirOwnTokens(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v1", map[string]any{"allow_parameters": []string{"app_tid"}})
		env.Put("orders", "v1", map[string]any{"client_id": "orders"})
		env.Server.Misbehave(func(w http.ResponseWriter, r *http.Request, _ http.Handler, _ <-chan struct{}) {
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
			{token.Request{Ask: ask.Ask{Scope: []string{"s"}}}, "id/s////"},
			{token.Request{Ask: ask.Ask{Scope: []string{"st"}}}, "id/st////"},
			{token.Request{Ask: ask.Ask{Scope: []string{"s"}, Audience: "t"}}, "id/s//t//"},
			{token.Request{Ask: ask.Ask{Scope: []string{"s"}, AppTID: "t1"}}, "id/s/t1///"},
			{token.Request{Ask: ask.Ask{Scope: []string{"s"}, AppTID: "t2"}}, "id/s/t2///"},
			{token.Request{Ask: ask.Ask{TokenFormat: "opaque"}}, "id////opaque/"},
			{token.Request{Ask: ask.Ask{Resource: []string{"urn:a"}}}, "id/////urn:a"},
			{token.Request{Ask: ask.Ask{Resource: []string{"urn:a", "urn:b"}}}, "id/////urn:a+urn:b"},
		}
		var callers sync.WaitGroup
		for i := range 200 {
			callers.Go(func() {
				asked := all[i%len(all)]
				grant, err := env.Vend(asked.request)
				if err != nil {
					t.Error(err)
				} else if got := grant.Token.AccessToken().Expose(); got != asked.want {
					t.Errorf("got %s instead of %s", got, asked.want)
				}
			})
		}
		callers.Wait()
	})
}

// TestExpiredTokenIsNeverHandedOut. While the issuer is down, an expired token is handed out
// (envoyproxy/envoy #44674).
func TestExpiredTokenIsNeverHandedOut(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.MustVend(token.Request{})
		env.Server.Misbehave(oauthtest.Answer(503, "text/html", "down"))
		for range 60 {
			env.Pass(2 * time.Minute)
			if grant, err := env.Vend(token.Request{}); err == nil && !grant.Token.Expiry().After(env.Now()) {
				t.Fatal("an expired token was vended")
			}
		}
		env.WantKind(token.Request{}, fault.Unavailable)
	})
}

// TestStrangeAnswersAreErrors. An empty 200, or HTML with 200 or 429, is taken for a token, or
// ends the process (envoyproxy/envoy #42009, SAP/cloud-sdk-js #6143).
func TestStrangeAnswersAreErrors(t *testing.T) {
	for name, f := range map[string]oauthtest.Fault{
		"empty": oauthtest.Answer(200, "application/json", ""), "HTML": oauthtest.Answer(200, "text/html", "<html>login</html>"),
		"HTML 429": oauthtest.HTML429("1"), "null": oauthtest.Answer(200, "application/json", "null"), "list": oauthtest.Answer(200, "application/json", "[]"),
		"empty token": oauthtest.Answer(200, "application/json", `{"access_token":"","token_type":"Bearer"}`),
	} {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			env.Server.Misbehave(f)
			if grant, err := env.Vend(token.Request{}); err == nil {
				t.Errorf("%s: a token of %d bytes", name, grant.Size())
			} else if fault.From(err).Kind == fault.Internal {
				t.Errorf("%s: %v", name, err)
			}
			env.Server.Behave()
			env.Pass(time.Minute)
			env.MustVend(token.Request{})
		})
	}
}

// TestThrottledTokenIsNotAskedForAgain. All callers answer a 429 by trying again
// (MSAL.NET #4196).
func TestThrottledTokenIsNotAskedForAgain(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Server.Misbehave(oauthtest.HTML429("60"))
		for round := range 5 {
			together(50, 30*time.Second, func(i int) {
				_, err := env.Vend(token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint("s", i)}}})
				if e := fault.From(err); e.Kind != fault.Throttled || e.RetryAfter <= 0 {
					t.Errorf("round %d: %v", round, err)
				}
			})
			env.Pass(5 * time.Second)
		}
		// Exchanges of one client follow one another, so that none is on its way when the first
		// is turned away.
		if n := len(env.Server.Requests()); n != 1 {
			t.Errorf("%d requests to a server that asks to be left alone", n)
		}
	})
}

// TestTokensWhenTheCacheIsDown. The store of the cache is down, and no caller gets a token
// (Duende.AccessTokenManagement #684).
func TestTokensWhenTheCacheIsDown(t *testing.T) {
	tokentest.RunFleet(t, 3, func(t *testing.T, env *tokentest.Fleet) {
		env.Table.Misbehave(func(context.Context) error { return errors.New("down") })
		if _, failures := env.All(3, token.Request{}); len(failures) != 0 {
			t.Errorf("%v", failures)
		}
	})
}

// TestUnchangedDocumentKeepsItsTokens: the cache is lost with its owner, which is made anew for each
// call (Duende.AccessTokenManagement #298). Here a document that is read again keeps its tokens
// if it has not changed.
func TestUnchangedDocumentKeepsItsTokens(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		for range 8 {
			env.MustVend(token.Request{})
			env.Pass(5 * time.Minute)
		}
		if n := env.Reads(); n < 2 {
			t.Errorf("the document was read %d times: the test shows nothing", n)
		}
		env.WantCounts(1, 0)
	})
}

// TestEndedContextDoesNotEndTheLoad. The context of the first call is kept, and has ended when a
// later one needs it (golang/oauth2 #388, cloudfoundry-community/go-cfclient #445).
func TestEndedContextDoesNotEndTheLoad(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := env.Vendor.Vend(ctx, tokentest.Read(token.Request{Client: "billing"})); err != nil {
			t.Fatal(err)
		}
		cancel()
		env.Pass(2 * time.Hour)
		env.MustVend(token.Request{})
		env.WantCounts(2, 0)
		// Nor does a load that others wait for end with the one who began it.
		env = tokentest.New(t)
		begun, going := make(chan struct{}), make(chan struct{})
		env.Server.MisbehaveNext(1, func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
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
			_, err := env.Vendor.Vend(ctx, tokentest.Read(token.Request{Client: "billing"}))
			left <- err
		}()
		<-begun
		cancel()
		if err := <-left; err == nil {
			t.Error("a token for somebody who left")
		}
		time.AfterFunc(50*time.Millisecond, func() { close(going) })
		env.MustVend(token.Request{})
		env.WantCounts(1, 0)
	})
}

// TestFrozenProcessUsesWallClock. A clock that stops while the process sleeps, or a timer that
// fires late, keeps a token alive (rapid7/awsaml #211; every frozen Lambda function).
func TestFrozenProcessUsesWallClock(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		first := env.MustVend(token.Request{})
		// Only the wall clock moves: no time passes that a timer could measure.
		env.Pass(50*24*time.Hour + time.Second)
		if second := env.MustVend(token.Request{}); first.Token.Fingerprint() == second.Token.Fingerprint() || !second.Token.Expiry().After(env.Now()) {
			t.Error("the token of before")
		}
		// Nor is it there when there is no other.
		env.Server.Misbehave(oauthtest.Answer(503, "text/html", "down"))
		env.Pass(50*24*time.Hour + time.Second)
		env.WantKind(token.Request{}, fault.Unavailable)
		// One that lives too short to be replaced before its end.
		env = tokentest.New(t)
		env.Server.Misbehave(oauthtest.Members(map[string]any{"expires_in": 60}))
		env.MustVend(token.Request{})
		env.Pass(time.Hour)
		if grant := env.MustVend(token.Request{}); !grant.Token.Expiry().After(env.Now()) {
			t.Error("the token of an hour before")
		}
		// A moment that has a reading of the clock that stands still would be compared by it.
		for _, moment := range []time.Time{first.Token.Issued(), first.Token.Expiry()} {
			if strings.Contains(moment.String(), " m=") {
				t.Error("a moment of the monotonic clock:", moment)
			}
		}
	})
}

// TestTokenWithoutExpiresInIsNotCached: A token without expires_in counts as one that
// never expires (golang/oauth2), or as one for an hour (BerriAI/litellm #32259).
func TestTokenWithoutExpiresInIsNotCached(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Server.Misbehave(oauthtest.Members(map[string]any{"access_token": "opaque", "expires_in": nil}))
		grant := env.MustVend(token.Request{})
		var answer map[string]any
		if err := json.Unmarshal(grant.AppendJSON(nil, env.Now()), &answer); err != nil || answer["expires_in"] != nil || answer["expires_at"] != nil {
			t.Errorf("the answer says %v, %v", answer, err)
		}
		for range 3 {
			env.MustVend(token.Request{})
			env.Pass(15 * time.Minute)
		}
		if n := env.Server.Exchanges(); n != 4 {
			t.Errorf("%d exchanges for four requests", n)
		}
	})
}

// TestEmptySecretIsNotSent: An empty client_secret is sent beside another method
// (NangoHQ/nango #6919, SAP/cloud-sdk-js #3719).
func TestEmptySecretIsNotSent(t *testing.T) {
	basic := map[string]any{"token_endpoint_auth_method": "client_secret_basic"}
	withKey, withCertificate := map[string]any{"client_secret": ""}, map[string]any{"client_secret": ""}
	for name, members := range map[string]map[string]any{"client_secret_basic": basic, "private_key_jwt": withKey, "tls_client_auth": withCertificate} {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			client := oauthtest.Client{ID: "id", Methods: []string{name}, Secrets: []string{"good"}}
			if name != "client_secret_basic" {
				issued, err := env.Server.CA().Issue(oauthtest.Leaf{CommonName: "vendor"})
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
			env.Server.Register(client)
			env.Put("billing", "v1", members)
			env.MustVend(token.Request{})
			for _, r := range env.Server.Requests() {
				if r.Form.Has("client_secret") || r.Form.Has("client_assertion") != (name == "private_key_jwt") {
					t.Errorf("%s: two ways to authenticate in one request", name)
				}
			}
		})
	}
}

// TestWrongSecretIsTriedByOneMethod: Trying one authentication method after the other
// makes two failed logons of one wrong secret (oauth2-proxy #3483).
func TestWrongSecretIsTriedByOneMethod(t *testing.T) {
	for _, method := range []string{"", "client_secret_basic"} {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			env.Server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post", "client_secret_basic"}, Secrets: []string{"good"}})
			members := map[string]any{"client_secret": "wrong"}
			if method != "" {
				members["token_endpoint_auth_method"] = method
			}
			env.Put("billing", "v1", members)
			for range 10 {
				env.WantKind(token.Request{}, fault.Misconfigured)
			}
			env.WantCounts(0, 1)
		})
	}
}

// TestKeysAndLogShowNoSecret: A token or a secret is part of a cache key or of a log
// line (github-aws-runners #4899).
func TestKeysAndLogShowNoSecret(t *testing.T) {
	tokentest.RunFleet(t, 0, func(t *testing.T, env *tokentest.Fleet) {
		var lines []string
		v := env.Environment(func(cfg *token.Config) {
			cfg.Audit = func(e *audit.Event) error {
				lines = append(lines, fmt.Sprintf("%+v", *e))
				return nil
			}
		})
		grant, err := env.Ask(v, token.Request{Ask: ask.Ask{Scope: []string{"cnry-scope"}}})
		if err != nil {
			t.Fatal(err)
		}
		secret := grant.Token.AccessToken().Expose()
		for _, item := range env.Table.Items() {
			row := fmt.Sprintf("%s %s %s %q", item.Name, item.State, item.Value, item.Owner)
			for _, never := range []string{"billing", "good", "cnry-scope", secret, secret[:20], grant.Token.Fingerprint()} {
				if strings.Contains(row, never) {
					t.Errorf("a row holds %.20s", never)
				}
			}
		}
		if all := strings.Join(lines, "\n"); len(lines) == 0 || strings.Contains(all, "good") || strings.Contains(all, secret[:20]) {
			t.Error("the audit line holds a secret or a token, or there is none")
		}
	})
}

// TestOpaqueTokenIsHandedOut: A token that is not a JWT is refused, or breaks its reader
// (aws/bedrock-agentcore-sdk-python #109, SAP/cloud-sdk-java #1111).
func TestOpaqueTokenIsHandedOut(t *testing.T) {
	for _, opaque := range []string{"opaque", "a.b.c", "x", strings.Repeat("~+/=-._a", 1000)} {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			env.Server.Misbehave(oauthtest.Members(map[string]any{"access_token": opaque}))
			if grant := env.MustVend(token.Request{}); grant.Token.AccessToken().Expose() != opaque {
				t.Errorf("%.10s came as another", opaque)
			}
		})
	}
}

// TestScopeIsOptional: A scope is required although the authorization server has none
// (dapr/dapr #7710).
func TestScopeIsOptional(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Server.Misbehave(oauthtest.Members(map[string]any{"scope": nil}))
		env.MustVend(token.Request{})
		if r := env.Server.Requests()[0]; r.Form.Has("scope") {
			t.Error("a scope was sent that nobody asked for")
		}
	})
}

// TestMissingPolicyDenies: A policy that is missing after a rename reads as "all is
// allowed" (octo-sts).
func TestMissingPolicyDenies(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.UsePolicy("")
		for _, missing := range []struct {
			err  error
			kind fault.Kind
		}{{secret.ErrNotFound, fault.Suspended}, {secret.ErrDenied, fault.Suspended}, {secret.ErrUnavailable, fault.Unavailable}} {
			env.SetPolicy("", missing.err)
			env.WantKind(token.Request{Caller: teamA}, missing.kind)
			env.Pass(10 * time.Second)
		}
		for _, text := range []string{"", "{}", "null", `{"rules": []}`, `{"rule": []}`} {
			env.SetPolicy(text, nil)
			env.Pass(10 * time.Second)
			if _, err := env.Vend(token.Request{Caller: teamA}); fault.From(err).Kind.Status() != 403 {
				t.Errorf("policy %q: got %v", text, err)
			}
		}
		env.WantCounts(0, 0)
		// After a rename there was one before.
		for _, gone := range []struct {
			err   error
			after time.Duration
		}{{secret.ErrNotFound, time.Minute}, {secret.ErrDenied, 16 * time.Minute}} {
			env.SetPolicy(onlyA, nil)
			env.Pass(time.Minute)
			env.MustVend(token.Request{Caller: teamA})
			env.SetPolicy("", gone.err)
			env.Pass(gone.after)
			env.WantKind(token.Request{Caller: teamA}, fault.Suspended)
		}
	})
}

// TestRefusedCredentialIsVisible: A health check succeeds for months although nothing
// fetches a real token (linuxarena/control-tower #1504). Here a refused credential shows
// in the metrics and in every answer, and costs one logon.
func TestRefusedCredentialIsVisible(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v1", map[string]any{"client_secret": "wrong"})
		var kinds []fault.Kind
		for range 5 {
			err := env.Vendor.Prefetch(t.Context(), "billing")
			kinds = append(kinds, fault.From(err).Kind)
		}
		if slices.ContainsFunc(kinds, func(k fault.Kind) bool { return k != fault.Misconfigured }) || env.Counted(tokensource.CountFailedLogon) != 1 {
			t.Errorf("kinds %v, %d failed logons counted", kinds, env.Counted(tokensource.CountFailedLogon))
		}
		env.WantCounts(0, 1)
		env.Put("billing", "v2", nil)
		env.Pass(time.Minute)
		if err := env.Vendor.Prefetch(t.Context(), "billing"); err != nil {
			t.Error(err)
		}
	})
}
