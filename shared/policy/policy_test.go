package policy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	billing = "aws:111122223333:role/billing-job"
	teams   = `{"rules": [
		{"name": "billing", "callers": ["aws:111122223333:role/billing-*"], "clients": ["billing", "bill-*"], "scopes": ["read", "app.*"], "resources": ["urn:sap:*"]},
		{"name": "pinned", "callers": ["aws:111122223333:role/pay"], "caller_ids": ["AROAPAY"], "clients": ["payroll"]},
		{"name": "none", "callers": ["direct:batch"], "clients": ["billing"], "scopes": [], "resources": []}],
		"freeze": ["froz*"]}`
)

func TestDecide(t *testing.T) {
	p := parse(t, teams)
	for _, test := range []struct {
		name string
		q    Query
		want Decision
	}{
		{"allowed", Query{Caller: billing, Client: "billing"}, Decision{Allowed: true, Rule: "billing"}},
		{"pattern", Query{Caller: billing, Client: "bill-x"}, Decision{Allowed: true, Rule: "billing"}},
		{"scopes", Query{Caller: billing, Client: "billing", Scope: []string{"read", "app.write"}}, Decision{Allowed: true, Rule: "billing"}},
		{"other scope", Query{Caller: billing, Client: "billing", Scope: []string{"read", "admin"}}, Decision{Nearest: "billing", Failed: "scope"}},
		{"other resource", Query{Caller: billing, Client: "billing", Resource: []string{"urn:sap:a:b"}}, Decision{Nearest: "billing", Failed: "resource"}},
		{"client", Query{Caller: billing, Client: "payrol"}, Decision{Nearest: "billing", Failed: "client"}},
		{"caller", Query{Caller: "aws:111122223333:role/x", Client: "payroll"}, Decision{Nearest: "pinned", Failed: "caller"}},
		{"caller id", Query{Caller: "aws:111122223333:role/pay", CallerID: "AROAOTHER", Client: "payroll"}, Decision{Nearest: "pinned", Failed: "caller_id"}},
		{"caller id missing", Query{Caller: "aws:111122223333:role/pay", Client: "payroll"}, Decision{Nearest: "pinned", Failed: "caller_id"}},
		{"caller id right", Query{Caller: "aws:111122223333:role/pay", CallerID: "AROAPAY", Client: "payroll"}, Decision{Allowed: true, Rule: "pinned"}},
		{"no scope", Query{Caller: "direct:batch", Client: "billing"}, Decision{Allowed: true, Rule: "none"}},
		{"scope of an empty list", Query{Caller: "direct:batch", Client: "billing", Scope: []string{"read"}}, Decision{Nearest: "none", Failed: "scope"}},
		{"frozen", Query{Caller: billing, Client: "frozen"}, Decision{Failed: "freeze"}},
		{"empty caller", Query{Client: "billing"}, Decision{Nearest: "billing", Failed: "caller"}},
		{"empty client", Query{Caller: billing}, Decision{Nearest: "billing", Failed: "client"}},
		{"a caller's star", Query{Caller: "aws:111122223333:role/*", Client: "billing"}, Decision{Nearest: "billing", Failed: "caller"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := p.Decide(test.q); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	audit := parse(t, strings.Replace(teams, `{"rules"`, `{"effect": "audit", "rules"`, 1))
	if got := audit.Decide(Query{Caller: "direct", Client: "billing"}); got != (Decision{Allowed: true, WouldDeny: true, Nearest: "billing", Failed: "caller"}) || audit.Effect() != Audit {
		t.Errorf("effect audit: got %+v, want it allowed and WouldDeny set", got)
	}
	if got := audit.Decide(Query{Caller: billing, Client: "frozen"}); got != (Decision{Failed: "freeze"}) {
		t.Errorf("effect audit: got %+v for a frozen client, want it denied", got)
	}
}

// TestSameNameInOtherAccountIsDenied proves that partition, account and kind are part of a
// caller's name.
func TestSameNameInOtherAccountIsDenied(t *testing.T) {
	p := parse(t, `{"rules": [{"name": "a", "callers": ["arn:aws:iam::111122223333:role/team/jobs/billing-job", "arn:aws:iam::111122223333:role/b*"], "clients": ["*"]}]}`)
	for _, partition := range []string{"aws", "aws-cn"} {
		for _, account := range []string{"111122223333", "444455556666"} {
			for _, name := range []string{"role/billing-job", "role/b", "role/xb", "user/billing-job", "federated-user/billing-job", "root", "role/b/billing-job"} {
				want := partition == "aws" && account == "111122223333" && (name == "role/billing-job" || name == "role/b")
				if got := p.Decide(Query{Caller: partition + ":" + account + ":" + name, Client: "c"}); got.Allowed != want {
					t.Errorf("%s %s %s: got %+v, want allowed %t", partition, account, name, got, want)
				}
			}
		}
	}
}

func TestMissingAndEmptyPoliciesDeny(t *testing.T) {
	for name, p := range map[string]*Policy{"nil": nil, "zero": {}, "no rules": parse(t, `{"rules": []}`)} {
		if d := p.Decide(Query{Caller: billing, Client: "billing"}); d.Allowed || d.Rule != "" {
			t.Errorf("%s: got %+v, want it denied", name, d)
		}
	}
}

// slowRule and slowPolicy are a document and the plainest implementation of its decision.
type slowRule struct {
	Name      string    `json:"name"`
	Callers   []string  `json:"callers"`
	CallerIDs []string  `json:"caller_ids,omitempty"`
	Clients   []string  `json:"clients"`
	Scopes    *[]string `json:"scopes,omitempty"`
	Resources *[]string `json:"resources,omitempty"`
}

type slowPolicy struct {
	Effect string     `json:"effect,omitempty"`
	Freeze []string   `json:"freeze,omitempty"`
	Rules  []slowRule `json:"rules"`
}

func (p slowPolicy) decide(q Query, m slowMatcher) Decision {
	someMatch := func(patterns []string, text string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return m.matches(p, text) })
	}
	if someMatch(p.Freeze, q.Client) {
		return Decision{Failed: "freeze"}
	}
	none := Decision{Allowed: p.Effect == "audit", WouldDeny: p.Effect == "audit"}
	order := []string{"", "client", "caller", "caller_id", "scope", "resource"}
	for _, r := range p.Rules {
		all := func(patterns *[]string, texts []string, match func(p, s string) bool) bool {
			return patterns == nil || !slices.ContainsFunc(texts, func(s string) bool {
				return !slices.ContainsFunc(*patterns, func(p string) bool { return match(p, s) })
			})
		}
		var failed string
		switch {
		case !someMatch(r.Clients, q.Client):
			failed = "client"
		case !someMatch(r.Callers, q.Caller):
			failed = "caller"
		case len(r.CallerIDs) > 0 && !slices.Contains(r.CallerIDs, q.CallerID):
			failed = "caller_id"
		case !all(r.Scopes, q.Scope, m.matches):
			failed = "scope"
		case !all(r.Resources, q.Resource, m.matchesURI):
			failed = "resource"
		default:
			return Decision{Allowed: true, Rule: r.Name}
		}
		if slices.Index(order, failed) > slices.Index(order, none.Failed) {
			none.Nearest, none.Failed = r.Name, failed
		}
	}
	return none
}

// random returns policies and queries that match often.
type random struct{ *rand.Rand }

func (r random) of(list ...string) string { return list[r.IntN(len(list))] }

func (r random) some(least int, list ...string) []string {
	out := make([]string, 0, 3)
	for range least + r.IntN(3-least) {
		out = append(out, r.of(list...))
	}
	return out
}

func (r random) policy() slowPolicy {
	p := slowPolicy{Effect: r.of("", "enforce", "audit"), Rules: []slowRule{}}
	if r.IntN(4) == 0 {
		p.Freeze = r.some(1, "billing", "pay*", "*-x")
	}
	for i := range r.IntN(5) {
		rule := slowRule{
			Name:    fmt.Sprint("rule", i),
			Callers: r.some(1, "aws:111122223333:role/a", "aws:111122223333:role/*", "aws:*:role/a", "aws:*:*/a*", "direct", "direct:*", "*:*:user/b"),
			Clients: r.some(1, "billing", "b*", "*", "pay*", "*-x", "payroll"),
		}
		if r.IntN(5) == 0 {
			rule.CallerIDs = r.some(1, "AROA1", "AROA2")
		}
		if r.IntN(2) == 0 {
			list := r.some(0, "read", "write", "r*", "app:*", "*")
			rule.Scopes = &list
		}
		if r.IntN(2) == 0 {
			list := r.some(0, "urn:sap:*", "https://h/*", "*:*:*", "urn:sap:a")
			rule.Resources = &list
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}

func (r random) query() Query {
	return Query{
		Caller:   r.of("aws:111122223333:role/a", "aws:111122223333:role/ab", "aws:444455556666:role/a", "aws:111122223333:user/b", "direct", "direct:x", "aws:111122223333:role/*", ""),
		CallerID: r.of("AROA1", "AROA2", ""),
		Client:   r.of("billing", "b", "payroll", "pay-x", "c"),
		Scope:    r.some(0, "read", "write", "app:a", "app:a:b", "*"),
		Resource: r.some(0, "urn:sap:a", "urn:sap:a:b", "https://h/a", "https://h/a/b", "https://h/..", "https://h/a?b"),
	}
}

// TestDecideAgreesWithSlowPolicy compares the decisions of 10 000 random policies with those
// of slowPolicy.
func TestDecideAgreesWithSlowPolicy(t *testing.T) {
	seed := rand.Uint64()
	r := random{rand.New(rand.NewPCG(seed, 0))}
	m := slowMatcher{}
	allowed, denied := 0, 0
	for range 10_000 {
		slow := r.policy()
		text, err := json.Marshal(slow)
		if err != nil {
			t.Fatal(err)
		}
		fast := parse(t, string(text))
		for range 5 {
			q := r.query()
			got, want := fast.Decide(q), slow.decide(q, m)
			if got != want {
				t.Fatalf("seed %d: %s on %+v: got %+v, want %+v", seed, text, q, got, want)
			}
			if got.Allowed {
				allowed++
			} else {
				denied++
			}
		}
	}
	if allowed < 1000 || denied < 1000 {
		t.Errorf("got %d allowed and %d denied, want at least 1000 of each", allowed, denied)
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	p := parse(t, teams)
	q := Query{Caller: "direct:batch", Client: "billing"}
	if n := testing.AllocsPerRun(100, func() { p.Decide(q) }); n > 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	slow := slowPolicy{}
	for i := range 200 {
		slow.Rules = append(slow.Rules, slowRule{Name: fmt.Sprint(i), Callers: []string{fmt.Sprintf("aws:111122223333:role/team-%d-*", i)}, Clients: []string{fmt.Sprintf("c-%d-*", i)}})
	}
	text, err := json.Marshal(slow)
	if err != nil {
		b.Fatal(err)
	}
	p := parse(b, string(text))
	b.ReportAllocs()
	for b.Loop() {
		p.Decide(Query{Caller: "aws:111122223333:role/team-199-x", Client: "c-199-x"})
	}
}
