package token_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

const (
	teamA = "aws:111122223333:role/team-a"
	teamB = "aws:111122223333:role/team-b"
	// onlyA lets team A have billing with the scope read.
	onlyA = `{"rules": [{"name": "a", "callers": ["aws:111122223333:role/team-a"], "clients": ["billing"], "scopes": ["read"]}]}`
)

// newPolicyBench is a bench whose vendor decides by a policy.
func newPolicyBench(t *testing.T, text string) *bench {
	b := newBench(t)
	b.policy = text
	cfg := b.config()
	cfg.Policy = func(context.Context, bool) (*policy.Policy, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.policyReads++; b.policyErr != nil {
			return nil, b.policyErr
		}
		return policy.Parse([]byte(b.policy))
	}
	b.vendor = token.New(cfg)
	return b
}

func (b *bench) setPolicy(text string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.policy, b.policyErr = text, err
}

// last returns the line about the last decision.
func (b *bench) last() audit.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.events[len(b.events)-1]
}

// TestSp07HitsAreDecided: a token in memory is no shortcut around the policy, and who
// is denied costs no look at a client.
func TestSp07HitsAreDecided(t *testing.T) {
	b := newPolicyBench(t, onlyA)
	b.wantKind(token.Request{Caller: teamB}, token.Denied)
	b.wantKind(token.Request{Caller: teamB, Client: "no-such-client"}, token.Denied)
	if n := b.reads.Load(); n != 0 {
		t.Errorf("%d documents were read for a caller who is denied", n)
	}
	b.mustVend(token.Request{Caller: teamA})
	if grant := b.mustVend(token.Request{Caller: teamA}); grant.Outcome != token.Hit {
		t.Errorf("outcome %s", grant.Outcome)
	}
	b.wantKind(token.Request{Caller: teamB}, token.Denied)
	b.wantKind(token.Request{Caller: ""}, token.Denied)
	if e := b.last(); e.Allowed || e.Outcome != "denied" || e.Nearest != "a" || e.Failed != "caller" || e.Mode != "document" {
		t.Errorf("the line is %+v", e)
	}
	b.wantCounts(1, 0)
}

// TestS36Scopes: asked by the caller, added by the document, or granted by the server,
// a scope must be within the rule.
func TestS36Scopes(t *testing.T) {
	b := newPolicyBench(t, onlyA)
	b.mustVend(token.Request{Caller: teamA, Scope: []string{"read"}})
	b.wantKind(token.Request{Caller: teamA, Scope: []string{"read", "write"}}, token.Denied)
	b.wantCounts(1, 0)
	b.put("billing", "v2", map[string]any{"scope": "read write"})
	b.pass(6 * time.Minute)
	b.wantKind(token.Request{Caller: teamA}, token.Denied)
	b.mustVend(token.Request{Caller: teamA, Scope: []string{"read"}})
	b.wantCounts(2, 0)
}

// TestB098GrantedScope: a token that the server made wider than the rule stays here,
// also when it was fetched for somebody who may have it.
func TestB098GrantedScope(t *testing.T) {
	b := newPolicyBench(t, `{"rules": [
		{"name": "a", "callers": ["aws:111122223333:role/team-a"], "clients": ["billing"], "scopes": ["read"]},
		{"name": "b", "callers": ["aws:111122223333:role/team-b"], "clients": ["billing"]}]}`)
	b.server.Misbehave(oauthtest.Members(map[string]any{"scope": "read admin"}))
	b.mustVend(token.Request{Caller: teamB})
	b.wantKind(token.Request{Caller: teamA}, token.Denied)
	b.wantCounts(1, 0)
	if e := b.last(); e.Allowed || e.TokenSHA256 != "" || e.Failed != "scope" || strings.Join(e.GrantedScope, " ") != "read admin" {
		t.Errorf("the line is %+v", e)
	}
}

// TestFreeze: within a minute nobody gets a frozen client's token, however idle the
// environment was, and it works again as fast.
func TestFreeze(t *testing.T) {
	for _, idle := range []time.Duration{time.Minute, 50 * time.Minute} {
		b := newPolicyBench(t, onlyA)
		b.mustVend(token.Request{Caller: teamA})
		b.setPolicy(`{"effect": "audit", "rules": [], "freeze": ["bill*"]}`, nil)
		b.pass(idle)
		failed := together(20, 10*time.Second, func(int) { b.wantKind(token.Request{Caller: teamA}, token.Denied) })
		if failed != 0 || b.last().Failed != "freeze" {
			t.Errorf("the line is %+v", b.last())
		}
		if err := b.vendor.Prefetch(t.Context(), "billing"); token.AsError(err).Kind != token.Denied {
			t.Errorf("a frozen client was fetched ahead: %v", err)
		}
		b.setPolicy(onlyA, nil)
		b.pass(time.Minute)
		b.mustVend(token.Request{Caller: teamA})
		if b.policyReads != 3 {
			t.Errorf("the policy was read %d times, want 3", b.policyReads)
		}
	}
}

// TestS37PolicyTrouble: what becomes of a policy that cannot be read or used.
func TestS37PolicyTrouble(t *testing.T) {
	_, broken := policy.Parse([]byte("{"))
	for _, test := range []struct {
		name string
		err  error
		// keep is how long the old policy decides; cold is the error without one.
		keep time.Duration
		cold token.Kind
	}{
		{"missing", secret.ErrNotFound, 0, token.Denied},
		{"broken", broken, time.Hour, token.Denied},
		{"denied", secret.ErrDenied, 15 * time.Minute, token.Denied},
		{"unavailable", secret.ErrUnavailable, time.Hour, token.Unavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newPolicyBench(t, onlyA)
			b.setPolicy("", test.err)
			b.wantKind(token.Request{Caller: teamA}, test.cold)
			if b.reads.Load() != 0 {
				t.Error("a client was read without a policy")
			}
			b.setPolicy(onlyA, nil)
			b.pass(6 * time.Second)
			b.mustVend(token.Request{Caller: teamA})
			b.setPolicy("", test.err)
			for age := time.Minute; age < 2*time.Hour; age += time.Minute {
				b.pass(time.Minute)
				_, err := b.vend(token.Request{Caller: teamA})
				if (err == nil) != (age < test.keep) {
					t.Fatalf("after %v: %v", age, err)
				}
				b.wantKind(token.Request{Caller: teamB}, map[bool]token.Kind{true: token.Denied, false: test.cold}[age < test.keep])
			}
			if n := b.counted(token.CountPolicy); (n > 0) != (test.name != "unavailable") {
				t.Errorf("counted %d times", n)
			}
		})
	}
}

// TestWatching: a policy that only watches says what it would refuse.
func TestWatching(t *testing.T) {
	b := newPolicyBench(t, strings.Replace(onlyA, "{", `{"effect": "audit", `, 1))
	b.mustVend(token.Request{Caller: teamB})
	if e := b.last(); !e.Allowed || !e.WouldDeny || e.Mode != "audit" || e.Failed != "caller" || e.TokenSHA256 == "" {
		t.Errorf("the line is %+v", e)
	}
	b.mustVend(token.Request{Caller: teamA})
	if e := b.last(); !e.Allowed || e.WouldDeny || e.Rule != "a" {
		t.Errorf("the line is %+v", e)
	}
}

// explain makes a dry run and returns its answer.
func (b *bench) explain(r token.Request) map[string]any {
	b.t.Helper()
	r.DryRun = true
	grant := b.mustVend(r)
	var got map[string]any
	if err := json.Unmarshal(grant.AppendJSON(nil, b.now()), &got); err != nil {
		b.t.Fatal(err)
	}
	if e := b.last(); e.Outcome != "explained" || !e.DryRun || e.TokenSHA256 != "" || e.Allowed != got["allowed"] {
		b.t.Errorf("the line is %+v", e)
	}
	return got
}

// TestExplain: a dry run says by which rule, or what failed, and asks no server.
func TestExplain(t *testing.T) {
	b := newPolicyBench(t, onlyA)
	for _, test := range []struct {
		name string
		r    token.Request
		want map[string]any
	}{
		{"allowed", token.Request{Caller: teamA}, map[string]any{"allowed": true, "rule": "a", "mode": "document"}},
		{"caller", token.Request{Caller: teamB}, map[string]any{"allowed": false, "nearest_rule": "a", "failed": "caller", "error": "access_denied"}},
		{"client", token.Request{Caller: teamA, Client: "payroll"}, map[string]any{"allowed": false, "nearest_rule": "a", "failed": "client", "error": "access_denied"}},
		{"scope", token.Request{Caller: teamA, Scope: []string{"write"}}, map[string]any{"allowed": false, "nearest_rule": "a", "failed": "scope"}},
		{"document", token.Request{Caller: teamA, Parameters: map[string]string{"x": "y"}}, map[string]any{"allowed": false, "rule": "a", "error": "invalid_request"}},
	} {
		got := b.explain(test.r)
		for name, value := range test.want {
			if got[name] != value {
				t.Errorf("%s: %s is %v, want %v", test.name, name, got[name], value)
			}
		}
		if got["dry_run"] != true || got["access_token"] != nil {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
	if n := len(b.server.Requests()); n != 0 {
		t.Errorf("the authorization server was asked %d times", n)
	}
	b.put("billing", "v2", map[string]any{"client_secret": "wrong"})
	b.pass(6 * time.Minute)
	b.wantKind(token.Request{Caller: teamA}, token.Misconfigured)
	if got := b.explain(token.Request{Caller: teamA}); got["allowed"] != false || got["error"] != "server_error" {
		t.Errorf("with a blown fuse: %v", got)
	}
	b.wantCounts(0, 1)
	iam := newBench(t)
	if got := iam.explain(token.Request{}); got["allowed"] != true || got["mode"] != "iam" || got["rule"] != nil {
		t.Errorf("without a policy: %v", got)
	}
	if got := iam.explain(token.Request{Client: "none"}); got["allowed"] != false || got["error"] != "access_denied" {
		t.Errorf("an unknown client: %v", got)
	}
}

// TestU01NoTokenWithoutItsLine.
func TestU01NoTokenWithoutItsLine(t *testing.T) {
	b := newBench(t)
	b.auditErr = errors.New("the pipe is full")
	for range 3 {
		failure := b.wantKind(token.Request{}, token.Internal)
		if strings.Contains(failure.Description, "pipe") {
			t.Errorf("the description is %q", failure.Description)
		}
	}
	b.wantKind(token.Request{Client: "none"}, token.Denied)
	if n := b.counted(token.CountAudit); n != 4 {
		t.Errorf("counted %d times, want 4", n)
	}
	b.mu.Lock()
	b.auditErr = nil
	b.mu.Unlock()
	if grant := b.mustVend(token.Request{}); grant.Outcome != token.Hit {
		t.Errorf("outcome %s: what was fetched should be there", grant.Outcome)
	}
	b.wantCounts(1, 0)
}

// TestRefuse: what a function refuses gets its line, and what Vend refused gets no
// second one.
func TestRefuse(t *testing.T) {
	b := newBench(t)
	b.vendor.Refuse(token.Request{RequestID: "r", Origin: audit.Origin{Source: audit.REST}}, token.Forgery("no proof"))
	if e := b.last(); e.Type != audit.Forged || e.Allowed || e.Outcome != "denied" || e.Status != 403 || e.RequestID != "r" || b.counted(token.CountForged) != 1 {
		t.Errorf("the line is %+v", e)
	}
	_, err := b.vend(token.Request{Client: "none"})
	before := len(b.events)
	if failure := b.vendor.Refuse(token.Request{Client: "none"}, err); failure.Kind != token.Denied || len(b.events) != before {
		t.Errorf("%d lines about one decision", 1+len(b.events)-before)
	}
}

// frozen freezes the client that onlyA lets team A have.
const frozen = `{"rules": [], "freeze": ["billing"]}`

// TestFreezeWhenClocksJump: neither a clock that was set back nor a process that stood
// still while it read the policy makes an old policy a fresh one.
func TestFreezeWhenClocksJump(t *testing.T) {
	t.Run("clock", func(t *testing.T) {
		b := newPolicyBench(t, onlyA)
		b.pass(2 * time.Hour)
		b.mustVend(token.Request{Caller: teamA})
		b.pass(-2 * time.Hour)
		b.setPolicy(frozen, nil)
		b.wantKind(token.Request{Caller: teamA}, token.Denied)
	})
	t.Run("read", func(t *testing.T) {
		b := newPolicyBench(t, onlyA)
		cfg, first := b.config(), true
		cfg.Policy = func(context.Context, bool) (*policy.Policy, error) {
			b.mu.Lock()
			text := b.policy
			b.mu.Unlock()
			if first {
				first = false
				b.setPolicy(frozen, nil)
				b.pass(50 * time.Minute) // the answer was made, and the process stood still
			}
			return policy.Parse([]byte(text))
		}
		b.vendor = token.New(cfg)
		b.wantKind(token.Request{Caller: teamA}, token.Denied)
		b.wantKind(token.Request{Caller: teamA}, token.Denied)
	})
	t.Run("exchange", func(t *testing.T) {
		b := newPolicyBench(t, onlyA)
		b.server.Misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
			b.setPolicy(frozen, nil)
			b.pass(70 * time.Second)
			next.ServeHTTP(w, r)
		})
		b.wantKind(token.Request{Caller: teamA}, token.Denied)
		b.wantCounts(1, 0)
	})
}

// TestS36Audience: to servers without resource indicators an audience is what a
// resource is to others.
func TestS36Audience(t *testing.T) {
	b := newPolicyBench(t, `{"rules": [{"name": "a", "callers": ["`+teamA+`"], "clients": ["billing"], "resources": ["https://billing"]}]}`)
	b.wantKind(token.Request{Caller: teamA, Audience: "https://payroll"}, token.Denied)
	b.wantCounts(0, 0)
	b.mustVend(token.Request{Caller: teamA, Audience: "https://billing"})
	b.put("billing", "v2", map[string]any{"audience": "https://payroll"})
	b.pass(6 * time.Minute)
	b.wantKind(token.Request{Caller: teamA}, token.Denied)
}

// TestExplainCallsNobody: not even for the metadata that says where the token endpoint
// is.
func TestExplainCallsNobody(t *testing.T) {
	b, calls := newBench(t), 0
	text, err := json.Marshal(map[string]any{"issuer": "https://as.example.com", "client_id": "id", "client_secret": "good", "scope": "read"})
	if err != nil {
		t.Fatal(err)
	}
	b.secrets["billing"] = secret.Secret{Text: text, Version: "v1"}
	b.vendor = discovering(b, &calls)
	if got := b.explain(token.Request{}); got["allowed"] != true {
		t.Errorf("got %v", got)
	}
	if got := b.explain(token.Request{Parameters: map[string]string{"x": "y"}}); got["error"] != "invalid_request" {
		t.Errorf("got %v", got)
	}
	if calls != 0 {
		t.Errorf("the authorization server was asked %d times", calls)
	}
	b.wantKind(token.Request{}, token.Unavailable)
	if calls == 0 {
		t.Error("the test asks nobody")
	}
}

// discovering is b's vendor where no authorization server has metadata.
func discovering(b *bench, calls *int) *token.Vendor {
	cfg := b.config()
	cfg.Clients = registry.New(registry.Config{
		Secrets: b, Addresses: oauth.AddressPolicy{Private: true},
		Discover: func(context.Context, *x509.CertPool, *tls.Certificate, string) (oauth.Metadata, error) {
			*calls++
			return oauth.Metadata{}, oauth.ErrDiscovery
		},
	})
	return token.New(cfg)
}

// TestExplainHidesClients: two dry runs that are denied after the policy has allowed
// them don't tell whether there is such a client.
func TestExplainHidesClients(t *testing.T) {
	b := newPolicyBench(t, `{"rules": [{"name": "a", "callers": ["`+teamA+`"], "clients": ["*"], "scopes": ["read"]}]}`)
	b.put("payroll", "v1", map[string]any{"scope": "admin"})
	there, none := b.explain(token.Request{Caller: teamA, Client: "payroll"}), b.explain(token.Request{Caller: teamA, Client: "nothing"})
	if !reflect.DeepEqual(there, none) || there["allowed"] != false {
		t.Errorf("they differ:\n%v\n%v", there, none)
	}
}

// TestStrangersTextStaysOutOfTheLog: what the authorization server says is the
// caller's to read, and is not written down.
func TestStrangersTextStaysOutOfTheLog(t *testing.T) {
	for _, code := range []string{"invalid_scope", "arn:aws:iam::111122223333:role/x", "two words"} {
		b := newBench(t)
		b.server.Misbehave(oauthtest.RefuseWith(400, code, "see arn:aws:iam::111122223333:role/cnry-text"))
		_, err := b.vend(token.Request{Scope: []string{"read"}})
		if !strings.Contains(token.AsError(err).Description, "cnry-text") {
			t.Errorf("the caller reads %v", token.AsError(err).Description)
		}
		e := b.last()
		if text := fmt.Sprintf("%+v", e); strings.Contains(text, "cnry-text") || strings.Contains(text, "arn:") || e.UpstreamStatus != 400 {
			t.Errorf("the line is %s", text)
		}
		if e.UpstreamError != "" && e.UpstreamError != "invalid_scope" {
			t.Errorf("the code is %q", e.UpstreamError)
		}
	}
}
