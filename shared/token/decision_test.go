package token_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/ask/asktest"
	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
	"tokenvendor/shared/tokensource"
)

const (
	teamA = "aws:111122223333:role/team-a"
	teamB = "aws:111122223333:role/team-b"
	// onlyA lets team A have billing with the scope read.
	onlyA = `{"rules": [{"name": "a", "callers": ["aws:111122223333:role/team-a"], "clients": ["billing"], "scopes": ["read"]}]}`
)

// TestPolicyDecidesHits: A denied caller costs no read of a document.
func TestPolicyDecidesHits(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.UsePolicy(onlyA)
		env.WantKind(token.Request{Caller: teamB}, fault.Denied)
		env.WantKind(token.Request{Caller: teamB, Client: "no-such-client"}, fault.Denied)
		if n := env.Reads(); n != 0 {
			t.Errorf("%d documents were read for a caller who is denied", n)
		}
		env.MustVend(token.Request{Caller: teamA})
		if grant := env.MustVend(token.Request{Caller: teamA}); grant.Outcome != tokensource.Hit {
			t.Errorf("outcome %s", grant.Outcome)
		}
		env.WantKind(token.Request{Caller: teamB}, fault.Denied)
		env.WantKind(token.Request{Caller: ""}, fault.Denied)
		if e := env.Last(); e.Allowed || e.Outcome != "denied" || e.Nearest != "a" || e.Failed != "caller" || e.Mode != "document" {
			t.Errorf("the line is %+v", e)
		}
		env.WantCounts(1, 0)
	})
}

// TestPolicyLimitsScopes: A scope may come from the caller, the document or the
// authorization server.
func TestPolicyLimitsScopes(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.UsePolicy(onlyA)
		env.MustVend(token.Request{Caller: teamA, Ask: ask.Ask{Scope: []string{"read"}}})
		env.WantKind(token.Request{Caller: teamA, Ask: ask.Ask{Scope: []string{"read", "write"}}}, fault.Denied)
		env.WantCounts(1, 0)
		env.Put("billing", "v2", map[string]any{"scope": "read write"})
		env.Pass(6 * time.Minute)
		env.WantKind(token.Request{Caller: teamA}, fault.Denied)
		env.MustVend(token.Request{Caller: teamA, Ask: ask.Ask{Scope: []string{"read"}}})
		env.WantCounts(2, 0)
	})
}

// TestGrantedScopeBeyondRuleIsDenied: The token may have been fetched for a caller that
// may have it.
func TestGrantedScopeBeyondRuleIsDenied(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.UsePolicy(`{"rules": [
		{"name": "a", "callers": ["aws:111122223333:role/team-a"], "clients": ["billing"], "scopes": ["read"]},
		{"name": "b", "callers": ["aws:111122223333:role/team-b"], "clients": ["billing"]}]}`)
		env.Server.Misbehave(oauthtest.Members(map[string]any{"scope": "read admin"}))
		env.MustVend(token.Request{Caller: teamB})
		env.WantKind(token.Request{Caller: teamA}, fault.Denied)
		env.WantCounts(1, 0)
		if e := env.Last(); e.Allowed || e.TokenSHA256 != "" || e.Failed != "scope" || strings.Join(e.GrantedScope, " ") != "read admin" {
			t.Errorf("the line is %+v", e)
		}
	})
}

// TestPolicyAllocatesNothingForCachedToken compares hits with and without a policy.
func TestPolicyAllocatesNothingForCachedToken(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		r := token.Request{Client: "billing", Caller: teamA}
		hit := func() float64 {
			env.MustVend(r)
			read := tokentest.Read(r)
			return testing.AllocsPerRun(100, func() {
				if g, err := env.Vendor.Vend(t.Context(), read); err != nil || g.Outcome != tokensource.Hit {
					t.Fatalf("got %v, error %v, want a hit", g.Outcome, err)
				}
			})
		}
		without := hit()
		env.UsePolicy(onlyA)
		if with := hit(); with > without {
			t.Errorf("got %v allocations with a policy and %v without, want no more", with, without)
		}
	})
}

// TestFrozenClientEndsWithinAMinute: This holds for an idle environment too. The client
// works again as fast.
func TestFrozenClientEndsWithinAMinute(t *testing.T) {
	for _, idle := range []time.Duration{time.Minute, 50 * time.Minute} {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			env.UsePolicy(onlyA)
			env.MustVend(token.Request{Caller: teamA})
			env.SetPolicy(`{"effect": "audit", "rules": [], "freeze": ["bill*"]}`, nil)
			env.Pass(idle)
			failed := together(20, 10*time.Second, func(int) { env.WantKind(token.Request{Caller: teamA}, fault.Suspended) })
			if failed != 0 || env.Last().Failed != "freeze" {
				t.Errorf("the line is %+v", env.Last())
			}
			if err := env.Vendor.Prefetch(t.Context(), "billing"); fault.From(err).Kind != fault.Suspended {
				t.Errorf("a frozen client was fetched ahead: %v", err)
			}
			env.SetPolicy(onlyA, nil)
			env.Pass(time.Minute)
			env.MustVend(token.Request{Caller: teamA})
			if env.PolicyReads() != 3 {
				t.Errorf("the policy was read %d times, want 3", env.PolicyReads())
			}
		})
	}
}

func TestUnreadablePolicy(t *testing.T) {
	for _, test := range []struct {
		name string
		// text and err are what is read.
		text string
		err  error
		// keep is how long the old policy decides; cold is the error without one.
		keep time.Duration
		cold fault.Kind
	}{
		{"missing", "", secret.ErrNotFound, 0, fault.Suspended},
		{"broken", "{", nil, time.Hour, fault.Suspended},
		{"denied", "", secret.ErrDenied, 15 * time.Minute, fault.Suspended},
		{"unavailable", "", secret.ErrUnavailable, time.Hour, fault.Unavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
				env.UsePolicy(onlyA)
				env.SetPolicy(test.text, test.err)
				env.WantKind(token.Request{Caller: teamA}, test.cold)
				if env.Reads() != 0 {
					t.Error("a client was read without a policy")
				}
				env.SetPolicy(onlyA, nil)
				env.Pass(6 * time.Second)
				env.MustVend(token.Request{Caller: teamA})
				env.SetPolicy(test.text, test.err)
				for age := time.Minute; age < 2*time.Hour; age += time.Minute {
					env.Pass(time.Minute)
					_, err := env.Vend(token.Request{Caller: teamA})
					if (err == nil) != (age < test.keep) {
						t.Fatalf("after %v: %v", age, err)
					}
					env.WantKind(token.Request{Caller: teamB}, map[bool]fault.Kind{true: fault.Denied, false: test.cold}[age < test.keep])
				}
				if n := env.Counted(token.CountPolicy); (n > 0) != (test.name != "unavailable") {
					t.Errorf("counted %d times", n)
				}
			})
		})
	}
}

func TestAuditPolicyOnlyReports(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.UsePolicy(strings.Replace(onlyA, "{", `{"effect": "audit", `, 1))
		env.MustVend(token.Request{Caller: teamB})
		if e := env.Last(); !e.Allowed || !e.WouldDeny || e.Mode != "audit" || e.Failed != "caller" || e.TokenSHA256 == "" {
			t.Errorf("the line is %+v", e)
		}
		env.MustVend(token.Request{Caller: teamA})
		if e := env.Last(); !e.Allowed || e.WouldDeny || e.Rule != "a" {
			t.Errorf("the line is %+v", e)
		}
	})
}

// TestDryRunExplains: It calls no authorization server.
func TestDryRunExplains(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.UsePolicy(onlyA)
		for _, test := range []struct {
			name string
			r    token.Request
			want map[string]any
		}{
			{"allowed", token.Request{Caller: teamA}, map[string]any{"allowed": true, "rule": "a", "mode": "document"}},
			{"caller", token.Request{Caller: teamB}, map[string]any{"allowed": false, "nearest_rule": "a", "failed": "caller", "error": "access_denied"}},
			{"client", token.Request{Caller: teamA, Client: "payroll"}, map[string]any{"allowed": false, "nearest_rule": "a", "failed": "client", "error": "access_denied"}},
			{"scope", token.Request{Caller: teamA, Ask: ask.Ask{Scope: []string{"write"}}}, map[string]any{"allowed": false, "nearest_rule": "a", "failed": "scope"}},
			{"document", token.Request{Caller: teamA, Ask: ask.Ask{Parameters: map[string]string{"x": "y"}}}, map[string]any{"allowed": false, "rule": "a", "error": "invalid_request"}},
		} {
			got := env.Explain(test.r)
			for name, value := range test.want {
				if got[name] != value {
					t.Errorf("%s: %s is %v, want %v", test.name, name, got[name], value)
				}
			}
			if got["dry_run"] != true || got["access_token"] != nil {
				t.Errorf("%s: got %v", test.name, got)
			}
		}
		if n := len(env.Server.Requests()); n != 0 {
			t.Errorf("the authorization server was asked %d times", n)
		}
		env.PutText("billing", "v1", "") // so that no version before stands in
		env.Put("billing", "v2", map[string]any{"client_secret": "wrong"})
		env.Pass(6 * time.Minute)
		env.WantKind(token.Request{Caller: teamA}, fault.Misconfigured)
		if got := env.Explain(token.Request{Caller: teamA}); got["allowed"] != false || got["error"] != "server_error" {
			t.Errorf("with a blown fuse: %v", got)
		}
		env.WantCounts(0, 1)
		iam := tokentest.New(t)
		if got := iam.Explain(token.Request{}); got["allowed"] != true || got["mode"] != "iam" || got["rule"] != nil {
			t.Errorf("without a policy: %v", got)
		}
		if got := iam.Explain(token.Request{Client: "none"}); got["allowed"] != false || got["error"] != "access_denied" {
			t.Errorf("an unknown client: %v", got)
		}
	})
}

func TestNoTokenWithoutAuditLine(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.FailAudit(errors.New("the pipe is full"))
		for range 3 {
			failure := env.WantKind(token.Request{}, fault.Internal)
			if strings.Contains(failure.Description, "pipe") {
				t.Errorf("the description is %q", failure.Description)
			}
		}
		env.WantKind(token.Request{Client: "none"}, fault.Denied)
		if n := env.Counted(token.CountAudit); n != 4 {
			t.Errorf("counted %d times, want 4", n)
		}
		env.FailAudit(nil)
		if grant := env.MustVend(token.Request{}); grant.Outcome != tokensource.Hit {
			t.Errorf("outcome %s: what was fetched should be there", grant.Outcome)
		}
		env.WantCounts(1, 0)
	})
}

// TestRefusedReadIsRecorded: what read has filled in before its error is recorded.
func TestRefusedReadIsRecorded(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		_, err := env.Vendor.Vend(t.Context(), func(r *token.Request) error {
			r.RequestID, r.Origin = "r", audit.Origin{Source: audit.REST, Forged: true}
			return fault.Refusal(fault.Denied, "no proof")
		})
		if fault.From(err).Kind != fault.Denied {
			t.Errorf("got error %v", err)
		}
		if e := env.Last(); e.Type != audit.Forged || e.Allowed || e.Outcome != "denied" || e.Status != 403 || e.RequestID != "r" || env.Counted(token.CountForged) != 1 {
			t.Errorf("the audit line is %+v", e)
		}
	})
}

// TestRefusedAskIsNotRecorded: the ask of a refused caller is foreign text.
func TestRefusedAskIsNotRecorded(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		_, err := env.Vend(token.Request{Client: "none", Ask: asktest.Full(t)})
		if e := env.Last(); err == nil || e.Allowed || !e.IsZero() {
			t.Errorf("error %v; the audit line is %+v", err, e)
		}
	})
}

// TestPanicIsRecordedOnce: a panic in read has its line, and its value stays out of it.
func TestPanicIsRecordedOnce(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		_, err := env.Vendor.Vend(t.Context(), func(r *token.Request) error {
			r.RequestID = "r"
			panic("cnry-value")
		})
		e := env.Last()
		if fault.From(err).Kind != fault.Internal || len(env.Events()) != 1 || e.RequestID != "r" || e.Status != 500 || strings.Contains(fmt.Sprintf("%v %+v", err, e), "cnry") {
			t.Errorf("error %v; the audit line is %+v", err, e)
		}
	})
}

// frozen freezes the client that onlyA lets team A have.
const frozen = `{"rules": [], "freeze": ["billing"]}`

// TestClockJumpsDoNotRefreshPolicy: The clock may be set back, or the process frozen
// while it reads the policy or makes an exchange.
func TestClockJumpsDoNotRefreshPolicy(t *testing.T) {
	t.Run("clock", func(t *testing.T) {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			env.UsePolicy(onlyA)
			env.Pass(2 * time.Hour)
			env.MustVend(token.Request{Caller: teamA})
			env.Pass(-2 * time.Hour)
			env.SetPolicy(frozen, nil)
			env.WantKind(token.Request{Caller: teamA}, fault.Suspended)
		})
	})
	t.Run("outage", func(t *testing.T) {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			env.UsePolicy(onlyA)
			env.MustVend(token.Request{Caller: teamA})
			env.SetPolicy("", secret.ErrUnavailable)
			env.Pass(30 * time.Minute)
			env.MustVend(token.Request{Caller: teamA})
			env.Pass(-2 * time.Hour) // how old the policy is cannot be said
			env.WantKind(token.Request{Caller: teamA}, fault.Unavailable)
		})
	})
	t.Run("read", func(t *testing.T) {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			env.UsePolicy(onlyA)
			cfg, first := env.Config(), true
			cfg.Policy = func(context.Context, bool) (secret.Secret, error) {
				text := onlyA
				if first {
					first = false
					env.SetPolicy(frozen, nil)
					env.Pass(50 * time.Minute) // the answer was made, and the process stood still
				} else {
					text = frozen
				}
				return tokentest.PolicySecret(text), nil
			}
			env.Vendor = token.New(cfg)
			env.WantKind(token.Request{Caller: teamA}, fault.Suspended)
			env.WantKind(token.Request{Caller: teamA}, fault.Suspended)
		})
	})
	t.Run("exchange", func(t *testing.T) {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			env.UsePolicy(onlyA)
			env.Server.Misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
				env.SetPolicy(frozen, nil)
				env.Pass(70 * time.Second)
				next.ServeHTTP(w, r)
			})
			env.WantKind(token.Request{Caller: teamA}, fault.Suspended)
			env.WantCounts(1, 0)
		})
	})
}

// TestPolicyTreatsAudienceAsResource: To servers without resource indicators an audience
// means the same.
func TestPolicyTreatsAudienceAsResource(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.UsePolicy(`{"rules": [{"name": "a", "callers": ["` + teamA + `"], "clients": ["billing"], "resources": ["https://billing", "https://billing/*"]}]}`)
		env.WantKind(token.Request{Caller: teamA, Ask: ask.Ask{Audience: "https://payroll"}}, fault.Denied)
		env.WantCounts(0, 0)
		env.MustVend(token.Request{Caller: teamA, Ask: ask.Ask{Audience: "https://billing"}})
		env.WantKind(token.Request{Caller: teamA, Ask: ask.Ask{Audience: "https://billing/a payroll"}}, fault.Denied)
		env.Put("billing", "v2", map[string]any{"audience": "https://payroll"})
		env.Pass(6 * time.Minute)
		env.WantKind(token.Request{Caller: teamA}, fault.Denied)
	})
}

// TestDryRunCallsNoServer: It does not ask for metadata either.
func TestDryRunCallsNoServer(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		calls := 0
		text, err := json.Marshal(map[string]any{"issuer": "https://as.example.com", "client_id": "id", "client_secret": "good", "scope": "read"})
		if err != nil {
			t.Fatal(err)
		}
		env.PutText("billing", "v1", string(text))
		env.Vendor = discovering(env, &calls)
		if got := env.Explain(token.Request{}); got["allowed"] != true {
			t.Errorf("got %v", got)
		}
		if got := env.Explain(token.Request{Ask: ask.Ask{Parameters: map[string]string{"x": "y"}}}); got["error"] != "invalid_request" {
			t.Errorf("got %v", got)
		}
		if calls != 0 {
			t.Errorf("the authorization server was asked %d times", calls)
		}
		env.WantKind(token.Request{}, fault.Unavailable)
		if calls == 0 {
			t.Error("the test asks nobody")
		}
	})
}

// discovering is b's vendor where no authorization server has metadata.
func discovering(env *tokentest.Env, calls *int) *token.Vendor {
	cfg := env.Config()
	clients := env.Registry()
	clients.Discover = func(context.Context, *http.Client, string) (oauth.Metadata, error) {
		*calls++
		return oauth.Metadata{}, oauth.ErrDiscovery
	}
	cfg.Clients = registry.New(clients)
	return token.New(cfg)
}

// TestDryRunHidesClients: Two dry runs that are denied after the policy has allowed them
// do not tell whether there is such a client.
func TestDryRunHidesClients(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.UsePolicy(`{"rules": [{"name": "a", "callers": ["` + teamA + `"], "clients": ["*"], "scopes": ["read"]}]}`)
		env.Put("payroll", "v1", map[string]any{"scope": "admin"})
		there, none := env.Explain(token.Request{Caller: teamA, Client: "payroll"}), env.Explain(token.Request{Caller: teamA, Client: "nothing"})
		if !reflect.DeepEqual(there, none) || there["allowed"] != false {
			t.Errorf("they differ:\n%v\n%v", there, none)
		}
	})
}

// TestServersTextIsNotLogged: Only the caller reads it.
func TestServersTextIsNotLogged(t *testing.T) {
	for _, code := range []string{"invalid_scope", "arn:aws:iam::111122223333:role/x", "two words"} {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			env.Server.Misbehave(oauthtest.RefuseWith(400, code, "see arn:aws:iam::111122223333:role/cnry-text"))
			_, err := env.Vend(token.Request{Ask: ask.Ask{Scope: []string{"read"}}})
			if !strings.Contains(fault.From(err).Description, "cnry-text") {
				t.Errorf("the caller reads %v", fault.From(err).Description)
			}
			e := env.Last()
			if text := fmt.Sprintf("%+v", e); strings.Contains(text, "cnry-text") || strings.Contains(text, "arn:") || e.UpstreamStatus != 400 {
				t.Errorf("the line is %s", text)
			}
			if e.UpstreamError != "" && e.UpstreamError != "invalid_scope" {
				t.Errorf("the code is %q", e.UpstreamError)
			}
		})
	}
}

// TestDryRunsReadSecretsOnce: A dry run reads the document of a name as rarely as a request
// does, also that of an unknown client.
func TestDryRunsReadSecretsOnce(t *testing.T) {
	for name, most := range map[string]int{"billing": 1, "nothing": 3} {
		tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
			cfg := env.Config()
			counted := &countedClients{Clients: cfg.Clients}
			cfg.Clients = counted
			env.Vendor = token.New(cfg)
			for range 50 {
				if got := env.Explain(token.Request{Client: name}); got["allowed"] != (name == "billing") {
					t.Fatalf("%s: got %v", name, got)
				}
			}
			if counted.inspected != most {
				t.Errorf("%s: got %d reads for 50 dry runs, want %d", name, counted.inspected, most)
			}
			env.Pass(11 * time.Second)
			env.Explain(token.Request{Client: name})
			if counted.inspected != most+1 {
				t.Errorf("%s: got %d reads after the backoff, want %d", name, counted.inspected, most+1)
			}
		})
	}
}

type countedClients struct {
	token.Clients
	inspected int
}

func (c *countedClients) Inspect(ctx context.Context, name string) (*registry.Client, error) {
	c.inspected++
	return c.Clients.Inspect(ctx, name)
}
