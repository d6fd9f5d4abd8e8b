package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"
)

// shape makes policies of many rules. The query of rule i is allowed by that rule, and for an i
// behind the last rule by none.
type shape struct {
	name  string
	rule  func(i int) slowRule
	query func(i int) Query
}

const role = "aws:111122223333:role/"

// shapes are the ways to write many rules: what differs between two rules is exact, or before,
// between or after the stars, in one field or in several.
func shapes() []shape {
	pair := func(name, caller, client string) shape {
		return shape{name,
			func(i int) slowRule {
				n := fmt.Sprintf("%03d", i)
				return slowRule{Callers: []string{strings.ReplaceAll(caller, "N", n)}, Clients: []string{strings.ReplaceAll(client, "N", n)}}
			},
			func(i int) Query {
				n := fmt.Sprintf("%03d", i)
				fill := strings.NewReplacer("N", n, "aws:*", "aws:111122223333", "*", "data")
				return Query{Caller: fill.Replace(caller), Client: fill.Replace(client)}
			}}
	}
	lists := func(name string, change func(r *slowRule, q *Query, list []string)) shape {
		return shape{name,
			func(i int) slowRule {
				r := slowRule{Callers: []string{role + "*"}, Clients: []string{"*"}}
				change(&r, nil, []string{fmt.Sprintf("urn:app:%03d.*", i)})
				return r
			},
			func(i int) Query {
				q := Query{Caller: role + "job", Client: "billing"}
				change(nil, &q, []string{fmt.Sprintf("urn:app:%03d.read", i), fmt.Sprintf("urn:app:%03d.write", i)})
				return q
			}}
	}
	set := func(to *[]string, list []string) { *to = list }
	return []shape{
		pair("exact", role+"team-N", "client-N"),
		pair("exact-client", role+"*", "client-N"),
		pair("exact-caller", role+"team-N", "*"),
		pair("prefix", role+"team-N-*", "client-N-*"),
		pair("suffix", "aws:*:role/*-N", "*-N"),
		pair("between", "aws:*:role/*-N-*", "*-N-*"),
		pair("common-prefix", role+"team-*-N-*", "client-*-N"),
		lists("scopes", func(r *slowRule, q *Query, list []string) {
			if r != nil {
				r.Scopes = &list
			} else {
				set(&q.Scope, list)
			}
		}),
		lists("resources", func(r *slowRule, q *Query, list []string) {
			if r != nil {
				r.Resources = &list
			} else {
				set(&q.Resource, list)
			}
		}),
		{"caller-ids",
			func(i int) slowRule {
				return slowRule{Callers: []string{role + "*"}, CallerIDs: []string{fmt.Sprintf("AROA%03d", i)}, Clients: []string{"*"}}
			},
			func(i int) Query {
				return Query{Caller: role + "job", CallerID: fmt.Sprintf("AROA%03d", i), Client: "billing"}
			}},
	}
}

// document returns a policy of so many rules.
func (s shape) document(t testing.TB, rules int) string {
	t.Helper()
	slow := slowPolicy{Rules: make([]slowRule, rules)}
	for i := range slow.Rules {
		slow.Rules[i] = s.rule(i)
		slow.Rules[i].Name = fmt.Sprint("rule", i)
	}
	text, err := json.Marshal(slow)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func BenchmarkDecision(b *testing.B) {
	for _, s := range shapes() {
		for _, rules := range []int{10, 100, maxRules} {
			p := parse(b, s.document(b, rules))
			for _, position := range []struct {
				name string
				rule int
			}{{"first", 0}, {"last", rules - 1}, {"none", rules}} {
				q := s.query(position.rule)
				b.Run(fmt.Sprintf("%s/%d/%s", s.name, rules, position.name), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						p.Decide(q)
					}
				})
			}
		}
	}
}

// BenchmarkParse parses rules that have most members.
func BenchmarkParse(b *testing.B) {
	full := shape{rule: func(i int) slowRule {
		client := fmt.Sprintf("app-%d", i)
		return slowRule{
			Callers: []string{"aws:111122223333:role/" + client + "-*", "direct:" + client}, Clients: []string{client},
			Scopes: &[]string{"read", "x.*"}, Resources: &[]string{"urn:" + client + ":*"},
		}
	}}
	for _, rules := range []int{10, 400} {
		b.Run(fmt.Sprint(rules), func(b *testing.B) {
			text := []byte(full.document(b, rules))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func TestDecideDoesNotAllocate(t *testing.T) {
	for _, s := range shapes() {
		p := parse(t, s.document(t, maxRules))
		for _, rule := range []int{0, maxRules - 1, maxRules} {
			q := s.query(rule)
			if got := p.Decide(q); got.Allowed != (rule < maxRules) || got.Allowed && got.Rule != fmt.Sprint("rule", rule) {
				t.Errorf("%s: got %+v for rule %d", s.name, got, rule)
			}
			if n := testing.AllocsPerRun(100, func() { p.Decide(q) }); n > 0 {
				t.Errorf("%s: got %v allocations, want none", s.name, n)
			}
		}
	}
}

// TestDecideTakesLittleLongerWithManyRules compares 500 rules with 10, for each shape and the
// last rule. A comparison rule by rule takes 50 times as long.
func TestDecideTakesLittleLongerWithManyRules(t *testing.T) {
	for _, s := range shapes() {
		var policies [2]*Policy
		var queries [2]Query
		for i, rules := range []int{10, maxRules} {
			policies[i], queries[i] = parse(t, s.document(t, rules)), s.query(rules-1)
		}
		// The shortest of several interleaved measurements is the one without interruptions.
		shortest := [2]time.Duration{math.MaxInt64, math.MaxInt64}
		for range 50 {
			for i, p := range policies {
				begin := time.Now()
				for range 20 {
					p.Decide(queries[i])
				}
				shortest[i] = min(shortest[i], time.Since(begin))
			}
		}
		if shortest[1] > 5*shortest[0] {
			t.Errorf("%s: got %v for 10 rules and %v for 500, want at most 5 times as long", s.name, shortest[0], shortest[1])
		}
	}
}

// largest returns documents that fill the size limit with one kind of pattern, and a query that
// many of these match or nearly match.
func largest() map[string]largestDocument {
	characters := func(numbers ...int) string {
		const set = lower + digits
		text := ""
		for _, n := range numbers {
			text += set[n%len(set):][:1] + set[n/len(set)%len(set):][:1]
		}
		return text
	}
	square := len(lower+digits) * len(lower+digits)
	name := strings.Repeat("ab", 31)
	return map[string]largestDocument{
		"between": {Query{Client: name}, func(i int) string { return "*" + characters(i) + "*" + characters(i/square) + "*" }},
		"suffix":  {Query{Client: name}, func(i int) string { return "*" + characters(i, i/square) }},
		"exact":   {Query{Client: name}, func(i int) string { return characters(i, i/square) }},
		"matching": {Query{Client: name}, func(i int) string {
			return strings.Repeat("ab", 1+i%15) + "*" + strings.Repeat("ab", 1+i/15%15)
		}},
		"segments": {Query{Scope: []string{"aa" + strings.Repeat(":a", 50)}}, func(i int) string { return characters(i) + strings.Repeat(":*", 50) }},
	}
}

type largestDocument struct {
	query   Query
	pattern func(i int) string
}

// text returns the document.
func (l largestDocument) text(t testing.TB) string {
	t.Helper()
	var rules []string
	for size, i := 0, 0; ; {
		r := slowRule{Name: fmt.Sprint("rule", len(rules)), Callers: []string{"direct"}, Clients: []string{"*"}}
		list := make([]string, maxItems)
		for j := range list {
			list[j], i = l.pattern(i), i+1
		}
		if l.query.Client != "" {
			r.Clients = list
		} else {
			r.Scopes = &list
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if size += len(text) + 1; size+len(`{"rules":[]}`) > maxDocument {
			return `{"rules":[` + strings.Join(rules, ",") + `]}`
		}
		rules = append(rules, string(text))
	}
}

// TestLargestDocumentsTakeLittleMemory: a parsed document stays in memory, and the functions
// have 128 MB or more.
func TestLargestDocumentsTakeLittleMemory(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for name, test := range largest() {
		text := test.text(t)
		before := heap()
		p := parse(t, text)
		if after := heap(); after > before+8<<20 {
			t.Errorf("%s: got %d bytes for a document of %d, want at most 8 MB", name, after-before, len(text))
		}
		runtime.KeepAlive(p)
	}
}

func BenchmarkDecisionOfLargestDocuments(b *testing.B) {
	for name, test := range largest() {
		p, q := parse(b, test.text(b)), test.query
		if q.Caller = "direct"; q.Client == "" {
			q.Client = "billing"
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(q)
			}
		})
	}
}
