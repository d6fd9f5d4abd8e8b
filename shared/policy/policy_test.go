package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
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
		{"S36 scope", Query{Caller: billing, Client: "billing", Scope: []string{"read", "admin"}}, Decision{Nearest: "billing", Failed: "scope"}},
		{"S36 resource", Query{Caller: billing, Client: "billing", Resource: []string{"urn:sap:a:b"}}, Decision{Nearest: "billing", Failed: "resource"}},
		{"client", Query{Caller: billing, Client: "payrol"}, Decision{Nearest: "billing", Failed: "client"}},
		{"caller", Query{Caller: "aws:111122223333:role/x", Client: "payroll"}, Decision{Nearest: "pinned", Failed: "caller"}},
		{"caller id", Query{Caller: "aws:111122223333:role/pay", CallerID: "AROAOTHER", Client: "payroll"}, Decision{Nearest: "pinned", Failed: "caller_id"}},
		{"caller id missing", Query{Caller: "aws:111122223333:role/pay", Client: "payroll"}, Decision{Nearest: "pinned", Failed: "caller_id"}},
		{"caller id right", Query{Caller: "aws:111122223333:role/pay", CallerID: "AROAPAY", Client: "payroll"}, Decision{Allowed: true, Rule: "pinned"}},
		{"no scope", Query{Caller: "direct:batch", Client: "billing"}, Decision{Allowed: true, Rule: "none"}},
		{"a scope of none", Query{Caller: "direct:batch", Client: "billing", Scope: []string{"read"}}, Decision{Nearest: "none", Failed: "scope"}},
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
	watch := parse(t, strings.Replace(teams, `{"rules"`, `{"effect": "audit", "rules"`, 1))
	if got := watch.Decide(Query{Caller: "direct", Client: "billing"}); got != (Decision{Allowed: true, WouldDeny: true, Nearest: "billing", Failed: "caller"}) || watch.Effect() != Audit {
		t.Errorf("a policy that watches decides %+v", got)
	}
	if got := watch.Decide(Query{Caller: billing, Client: "frozen"}); got != (Decision{Failed: "freeze"}) {
		t.Errorf("a policy that watches decides %+v about a frozen client", got)
	}
}

// TestS02SameNameElsewhere: an account is part of a name, and a session is none.
func TestS02SameNameElsewhere(t *testing.T) {
	p := parse(t, `{"rules": [{"name": "a", "callers": ["arn:aws:iam::111122223333:role/team/jobs/billing-job", "arn:aws:iam::111122223333:role/b*"], "clients": ["*"]}]}`)
	for _, partition := range []string{"aws", "aws-cn"} {
		for _, account := range []string{"111122223333", "444455556666"} {
			for _, name := range []string{"role/billing-job", "role/b", "role/xb", "user/billing-job", "federated-user/billing-job", "root", "role/b/billing-job"} {
				want := partition == "aws" && account == "111122223333" && (name == "role/billing-job" || name == "role/b")
				if got := p.Decide(Query{Caller: partition + ":" + account + ":" + name, Client: "c"}); got.Allowed != want {
					t.Errorf("%s %s %s: %+v", partition, account, name, got)
				}
			}
		}
	}
}

// TestS37NothingMeansNo: a policy that isn't there, or isn't one, denies.
func TestS37NothingMeansNo(t *testing.T) {
	for name, p := range map[string]*Policy{"nil": nil, "zero": {}, "no rules": parse(t, `{"rules": []}`)} {
		if d := p.Decide(Query{Caller: billing, Client: "billing"}); d.Allowed || d.Rule != "" {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// TestB154 are the documents that are refused, by what names the problem.
func TestB154(t *testing.T) {
	rule := func(members string) string {
		return `{"rules": [{"name": "a", "callers": ["direct"], "clients": ["cnry"]` + members + `}]}`
	}
	with := func(member, value string) string {
		text := rule("")
		for _, pair := range [][2]string{{"name", `"a"`}, {"callers", `["direct"]`}, {"clients", `["cnry"]`}} {
			if pair[0] == member {
				return strings.Replace(text, `"`+member+`": `+pair[1], `"`+member+`": `+value, 1)
			}
		}
		return rule(`, "` + member + `": ` + value)
	}
	for _, test := range []struct{ text, want string }{
		{"", "the policy is not a JSON object"},
		{"[]", "the policy is not a JSON object"},
		{`{"rules": []} {}`, "the policy is not a JSON object"},
		{`{"rules": [], "rules": []}`, "the policy is ambiguous: rules is given twice"},
		{`{"rules": [{"name":"a","name":"b"}]}`, "rules[0] is ambiguous: name is given twice"},
		{`{}`, "rules is missing"},
		{`{"rules": {}}`, "rules must be a list"},
		{`{"rules": null}`, "rules must be a list"},
		{`{"rules": ["cnry"]}`, "rules[0] is not a JSON object"},
		{`{"rules": [], "effect": "cnry"}`, "effect must be enforce or audit"},
		{`{"rules": [], "effect": null}`, "effect must be enforce or audit"},
		{`{"rules": [], "Effect": "audit"}`, "a member is not known here"},
		{`{"rules": [], "deny": []}`, "deny is not known here"},
		{`{"rules": [], "freeze": "cnry"}`, "freeze must be a list"},
		{`{"rules": [], "freeze": ["CNRY"]}`, "freeze has an element that is no client name"},
		{`{"rules": [` + strings.Repeat("{},", 500) + `{}]}`, "rules has more than 500 rules"},
		{strings.Repeat(" ", maxDocument+1), "the policy is larger than 64 KiB"},
		{rule(`, "scope": ["cnry"]`), "rules[0].scope is not known here"},
		{with("name", `""`), "rules[0].name must be"},
		{with("name", `1`), "rules[0].name must be"},
		{with("callers", `[]`), "rules[0].callers must name somebody"},
		{with("callers", `"direct"`), "rules[0].callers must be a list of strings"},
		{with("callers", `[1]`), "rules[0].callers must be a list of strings"},
		{with("callers", `[""]`), "rules[0].callers has an element that is empty"},
		{with("callers", `["cnry-job"]`), "rules[0].callers has an element that matches no caller"},
		{with("callers", `["role/cnry"]`), "rules[0].callers has an element that matches no caller"},
		{with("callers", `["aws:111122223333:role/a/cnry"]`), "rules[0].callers has an element that matches no caller"},
		{with("callers", `["^aws:.*:role/cnry$"]`), "rules[0].callers has an element that is no caller"},
		{with("callers", `["aws:(1|2):role/cnry"]`), "rules[0].callers has an element that is no caller"},
		{with("callers", `["**"]`), "rules[0].callers has an element with **"},
		{with("callers", `["arn:aws:sts::111122223333:assumed-role/cnry/session"]`), "rules[0].callers has an element that names a session"},
		{with("callers", `["arn:aws:iam::111122223333:role/team/cnry-*"]`), "rules[0].callers has an element with both a path and a *"},
		{with("callers", `["arn:aws:iam::111122223333:role/*/cnry"]`), "rules[0].callers has an element with both a path and a *"},
		{with("callers", `["arn:aws:iam::111122223333:group/cnry"]`), "rules[0].callers has an element that is no ARN"},
		{with("callers", `["arn:aws:s3:::cnry"]`), "rules[0].callers has an element that is no ARN"},
		{with("clients", `[]`), "rules[0].clients must name somebody"},
		{with("clients", `["cnry/*"]`), "rules[0].clients has an element that is no client name"},
		{with("clients", `["cnry.*"]`), "rules[0].clients has an element that is no client name"},
		{with("clients", `["Cnry"]`), "rules[0].clients has an element that is no client name"},
		{with("scopes", `["a b"]`), "rules[0].scopes has an element that is no scope"},
		{with("scopes", `null`), "rules[0].scopes must be a list"},
		{with("resources", `["https://cnry/#f"]`), "rules[0].resources has an element that is no resource"},
		{with("caller_ids", `[]`), "rules[0].caller_ids must name somebody"},
		{with("caller_ids", `["AROA*"]`), "rules[0].caller_ids has an element that is no unique id"},
		{`{"rules": [` + strings.Trim(strings.Repeat(`{"name":"a","callers":["direct"],"clients":["c"]},`, 2), ",") + `]}`, "rules[1].name is that of another rule too"},
	} {
		_, err := Parse([]byte(test.text))
		var document *DocumentError
		if !errors.As(err, &document) || !slices.ContainsFunc(document.Problems, func(p string) bool { return strings.HasPrefix(p, test.want) }) {
			t.Errorf("%.80s: got %v, want %q", test.text, err, test.want)
		} else if strings.Contains(strings.ToLower(err.Error()), "cnry") {
			t.Errorf("the error holds a value: %v", err)
		}
	}
}

// slowMatch says what matching means, by somebody else's matcher.
func slowMatch(pattern, text string) bool {
	quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `[^:/]*`)
	return text != "" && regexp.MustCompile(`(?s)\A(?:`+quoted+`)\z`).MatchString(text)
}

// TestS38Borders: no star takes ':' or '/', and a pattern matches all of a text.
func TestS38Borders(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "a", true}, {"*", "a:b", false}, {"*", "a/b", false}, {"a*", "a", true}, {"a*c", "abc", true}, {"a*c", "abcd", false},
		{"*a/*b", "xa/yb", true}, {"*a/*b", "xa/ya/yb", false}, {"*ab", "aab", true}, {"*aab", "aaaab", true}, {"a*a*a", "aa", false},
		{"urn:sap:*", "urn:sap:", true}, {"urn:sap:*", "urn:sap:a:b", false}, {"a", "", false}, {"*", "", false}, {"a*", "xa", false},
	} {
		if got := pattern(test.pattern).matches(test.text); got != test.want || got != slowMatch(test.pattern, test.text) {
			t.Errorf("%q on %q: %t", test.pattern, test.text, got)
		}
	}
	// Many stars cost no time.
	begin := time.Now()
	p, text := pattern(strings.Repeat("a*", 500)+"b"), strings.Repeat("a", 2000)
	if p.matches(text) {
		t.Error("a match that is none")
	}
	if d := time.Since(begin); d > time.Second {
		t.Errorf("a pattern with 500 stars took %v", d)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a*b", "axb")
	f.Add("*a/*b", "xa/yb")
	f.Fuzz(func(t *testing.T, p, text string) {
		if !strings.ContainsFunc(p+text, func(r rune) bool { return r > '~' }) && pattern(p).matches(text) != slowMatch(p, text) {
			t.Errorf("%q on %q: %t", p, text, !slowMatch(p, text))
		}
	})
}

// slowMatchURI is slowMatch for resources: nothing that ends a host or leads up a path
// is in the place of a star.
func slowMatchURI(pattern, text string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == text && text != ""
	}
	quoted := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `[^:/?#@%\\]*`)
	return text != "" && regexp.MustCompile(`(?s)\A(?:`+quoted+`)\z`).MatchString(text) && !slices.Contains(strings.Split(text, "/"), "..")
}

// TestResourcePatterns: a star in a resource stays in its host and in its folder.
func TestResourcePatterns(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"https://*.corp.example/api", "https://a.corp.example/api", true},
		{"https://*.corp.example/api", "https://a.b.corp.example/api", true},
		{"https://*.corp.example/api", "https://evil.example?.corp.example/api", false},
		{"https://*.corp.example/api", "https://evil.example@x.corp.example/api", false},
		{"https://*.corp.example/api", "https://evil.example#.corp.example/api", false},
		{"https://*.corp.example/api", `https://evil.example\.corp.example/api`, false},
		{"https://*.corp.example/api?x", "https://evil.example?.corp.example/api?x", false},
		{"https://*.corp.example/api?x", "https://a.corp.example/api?x", true},
		{"https://api.corp.example/*", "https://api.corp.example/x", true},
		{"https://api.corp.example/*", "https://api.corp.example/..", false},
		{"https://api.corp.example/*/x", "https://api.corp.example/../x", false},
		{"https://api.corp.example/*", "https://api.corp.example/%2e%2e%2fadmin", false},
		{"https://api.corp.example/a%20b", "https://api.corp.example/a%20b", true},
		{"urn:sap:identity:*", "urn:sap:identity:x", true}, {"*", "", false}, {"", "", false},
	} {
		if got := pattern(test.pattern).matchesURI(test.text); got != test.want || got != slowMatchURI(test.pattern, test.text) {
			t.Errorf("%q on %q: %t", test.pattern, test.text, got)
		}
	}
}

// slowRule and slowPolicy are a document as a test reads it.
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

func someMatch(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return slowMatch(p, text) })
}

func (p slowPolicy) decide(q Query) Decision {
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
		case !all(r.Scopes, q.Scope, slowMatch):
			failed = "scope"
		case !all(r.Resources, q.Resource, slowMatchURI):
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

// random makes policies and queries that meet often.
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

// TestS06Reference: 10 000 random policies decide as a slow one that is written as
// plainly as possible.
func TestS06Reference(t *testing.T) {
	seed := rand.Uint64()
	r := random{rand.New(rand.NewPCG(seed, 0))}
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
			got, want := fast.Decide(q), slow.decide(q)
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
		t.Errorf("%d allowed and %d denied: the random policies are of one kind", allowed, denied)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(teams))
	f.Add([]byte(`{"effect": "audit", "rules": [{"name": "Cnry9cnry"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if (p == nil) != (err != nil) {
			t.Errorf("got %v and %v", p, err)
		}
		if err != nil && strings.Contains(err.Error(), "Cnry9cnry") {
			t.Errorf("the error holds a value: %v", err)
		}
		p.Decide(Query{Caller: billing, Client: "billing", Scope: []string{"a"}})
	})
}

// TestDecideAllocates: a decision costs no memory.
func TestDecideAllocates(t *testing.T) {
	p := parse(t, teams)
	q := Query{Caller: "direct:batch", Client: "billing"}
	if n := testing.AllocsPerRun(100, func() { p.Decide(q) }); n > 0 {
		t.Errorf("%v allocations", n)
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
