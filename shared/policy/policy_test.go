package policy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
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

// slowMatcher matches patterns with package regexp. It keeps the compiled patterns.
type slowMatcher map[string]*regexp.Regexp

// match matches with a regular expression for each star.
func (m slowMatcher) match(pattern, star, text string) bool {
	key := star + pattern
	if m[key] == nil {
		quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, star)
		m[key] = regexp.MustCompile(`(?s)\A(?:` + quoted + `)\z`)
	}
	return text != "" && m[key].MatchString(text)
}

func (m slowMatcher) matches(pattern, text string) bool { return m.match(pattern, `[^:/]*`, text) }

func (m slowMatcher) matchesURI(pattern, text string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == text && text != ""
	}
	return m.match(pattern, `[^:/?#@%\\]*`, text) && !slices.Contains(strings.Split(text, "/"), "..")
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

func (r random) policy(rules int) slowPolicy {
	p := slowPolicy{Effect: r.of("", "enforce", "audit"), Rules: []slowRule{}}
	if r.IntN(4) == 0 {
		p.Freeze = r.some(1, "billing", "pay*", "*-x")
	}
	for i := range rules {
		rule := slowRule{
			Name:    fmt.Sprint("rule", i),
			Callers: r.some(1, "aws:111122223333:role/a", "aws:111122223333:role/*", "aws:*:role/a", "aws:*:*/a*", "direct", "direct:*", "*:*:user/b"),
			Clients: r.some(1, "billing", "b*", "*", "pay*", "*-x", "payroll"),
		}
		if rules > 4 {
			rule.Callers, rule.Clients = []string{"aws:*:role/" + r.starred()}, []string{r.starred()}
		}
		if r.IntN(5) == 0 {
			rule.CallerIDs = r.some(1, "AROA1", "AROA2")
		}
		if r.IntN(2) == 0 {
			list := r.some(0, "read", "write", "r*", "app:*", "*", "app:"+r.starred())
			rule.Scopes = &list
		}
		if r.IntN(2) == 0 {
			list := r.some(0, "urn:sap:*", "https://h/*", "*:*:*", "urn:sap:a", "https://h/"+r.starred())
			rule.Resources = &list
		}
		p.Rules = append(p.Rules, rule)
	}
	return p
}

// name returns one of 64 names, and starred a name with stars in the place of some of its parts.
func (r random) name() string {
	return r.of("a", "b", "c", "d") + r.of("-", "x") + r.of("pay", "job", "a", "b") + r.of("", "-x")
}

func (r random) starred() string {
	text := ""
	for _, part := range []string{r.of("a", "b", "c", "d"), r.of("-", "x"), r.of("pay", "job", "a", "b"), r.of("", "-x")} {
		if r.IntN(3) == 0 {
			part = "*"
		}
		text += part
	}
	return strings.ReplaceAll(strings.ReplaceAll(text, "**", "*"), "**", "*")
}

func (r random) query() Query {
	return Query{
		Caller:   r.of("aws:444455556666:role/"+r.name(), "aws:111122223333:role/a", "aws:111122223333:role/ab", "aws:444455556666:role/a", "aws:111122223333:user/b", "direct", "direct:x", "aws:111122223333:role/*", ""),
		CallerID: r.of("AROA1", "AROA2", ""),
		Client:   r.of(r.name(), "billing", "b", "payroll", "pay-x", "c"),
		Scope:    r.some(0, "app:"+r.name(), "read", "write", "app:a", "app:a:b", "*"),
		Resource: r.some(0, "https://h/"+r.name(), "urn:sap:a", "urn:sap:a:b", "https://h/a", "https://h/a/b", "https://h/..", "https://h/a?b"),
	}
}

// TestDecideAgreesWithSlowPolicy compares the decisions of 5000 random policies with those
// of slowPolicy, which compares rule by rule. Every hundredth has up to 500 rules.
func TestDecideAgreesWithSlowPolicy(t *testing.T) {
	seed := rand.Uint64()
	r := random{rand.New(rand.NewPCG(seed, 0))}
	m := slowMatcher{}
	outcomes := make(map[string]int)
	for i := range 5_000 {
		rules := r.IntN(5)
		if i%100 == 0 {
			rules = 5 + r.IntN(maxRules-4)
		}
		slow := r.policy(rules)
		text, err := json.Marshal(slow)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > maxDocument {
			continue
		}
		fast := parse(t, string(text))
		for range 5 {
			q := r.query()
			got, want := fast.Decide(q), slow.decide(q, m)
			if got != want {
				t.Fatalf("seed %d: %s on %+v: got %+v, want %+v", seed, text, q, got, want)
			}
			outcomes[fmt.Sprintf("%t %s", rules > 4, got.Failed)]++
		}
	}
	for _, many := range []bool{false, true} {
		for _, failed := range append(fields[:], "", "freeze") {
			if n := outcomes[fmt.Sprintf("%t %s", many, failed)]; n == 0 && !(many && failed == "client") {
				t.Errorf("many rules %t: got no decision that failed for %q, want some", many, failed)
			}
		}
	}
}
