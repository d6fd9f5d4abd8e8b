package policy

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseNamesProblemButNoValue(t *testing.T) {
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
		{"", "the policy is not a JSON object: it is empty"},
		{"[]", "the policy is not a JSON object: it is a list"},
		{`{"rules": []} {}`, "the policy is not a JSON object: more text after the object, at line 1, column 15"},
		{`{"rules": [],}`, "the policy is not a JSON object: a comma before } or ] at line 1, column 14"},
		{`{"rules": [], "rules": []}`, "the policy is ambiguous: rules is given twice"},
		{`{"rules": [{"name":"a","name":"b"}]}`, "rules[0] is ambiguous: name is given twice"},
		{`{}`, "rules is missing"},
		{`{"rules": {}}`, "rules must be a list"},
		{`{"rules": null}`, "rules must be a list"},
		{`{"rules": ["cnry"]}`, "rules[0] is not a JSON object: it is a JSON string"},
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
		{with("callers", `[]`), "rules[0].callers must not be empty"},
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
		{with("clients", `[]`), "rules[0].clients must not be empty"},
		{with("clients", `["cnry/*"]`), "rules[0].clients has an element that is no client name"},
		{with("clients", `["cnry.*"]`), "rules[0].clients has an element that is no client name"},
		{with("clients", `["Cnry"]`), "rules[0].clients has an element that is no client name"},
		{with("scopes", `["a b"]`), "rules[0].scopes has an element that is no scope"},
		{with("scopes", `null`), "rules[0].scopes must be a list"},
		{with("resources", `["https://cnry/#f"]`), "rules[0].resources has an element that is no resource"},
		{with("caller_ids", `[]`), "rules[0].caller_ids must not be empty"},
		{with("caller_ids", `["AROA*"]`), "rules[0].caller_ids has an element that is no unique id"},
		{`{"rules": [` + strings.Trim(strings.Repeat(`{"name":"a","callers":["direct"],"clients":["c"]},`, 2), ",") + `]}`, "rules[1].name is the name of another rule too"},
	} {
		_, err := Parse([]byte(test.text))
		var document *DocumentError
		if !errors.As(err, &document) || !slices.ContainsFunc(document.Problems, func(p string) bool { return strings.HasPrefix(p, test.want) }) {
			t.Errorf("%.80s: got %v, want %q", test.text, err, test.want)
		} else if strings.Contains(strings.ToLower(err.Error()), "cnry") {
			t.Errorf("got error %v, want no value in it", err)
		}
	}
}

// TestParseLimits tests the largest sizes that Parse accepts, and one more of each.
func TestParseLimits(t *testing.T) {
	lists := func(client, scope string, scopes int) string {
		return `{"rules": [{"name": "a", "callers": ["direct"], "clients": ["` + client + `"], "scopes": ["x"` + strings.Repeat(`, "`+scope+`"`, scopes-1) + `]}]}`
	}
	for _, test := range []struct{ largest, larger, want string }{
		{lists(strings.Repeat("c", 63), "x", 1), lists(strings.Repeat("c", 64), "x", 1), "rules[0].clients has"},
		{lists("c", strings.Repeat("s", 2048), 2), lists("c", strings.Repeat("s", 2049), 2), "rules[0].scopes has an element that is empty or longer"},
		{lists("c", "x", 100), lists("c", "x", 101), "rules[0].scopes has more than 100"},
		{`{"rules": []}` + strings.Repeat(" ", maxDocument-13), `{"rules": []}` + strings.Repeat(" ", maxDocument-12), "the policy is larger"},
		{strings.Replace(lists("c", "x", 1), `"a"`, `"`+strings.Repeat("n", 63)+`"`, 1), strings.Replace(lists("c", "x", 1), `"a"`, `"`+strings.Repeat("n", 64)+`"`, 1), "rules[0].name must"},
	} {
		if _, err := Parse([]byte(test.largest)); err != nil {
			t.Errorf("%s: got error %v for the largest size, want none", test.want, err)
		}
		if _, err := Parse([]byte(test.larger)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("got error %v, want %q", err, test.want)
		}
	}
}

func TestParseReportsProblemsOfAllRules(t *testing.T) {
	_, err := Parse([]byte(`{"effect": "x", "rules": [{"name": "a", "name": "b"}, 1, {"name": "b_", "callers": [], "clients": ["^a"]}]}`))
	if err == nil {
		t.Fatal("got no error, want one")
	}
	for _, want := range []string{"effect must", "rules[0] is ambiguous: name is given twice", "rules[1] is not", "rules[2].name must", "rules[2].callers must", "rules[2].clients has"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want %q in it", err, want)
		}
	}
}

const canary = "CNRY9"

// marked returns v with the canary around every string.
func marked(v any) any {
	switch v := v.(type) {
	case string:
		return canary + v + canary
	case []any:
		for i := range v {
			v[i] = marked(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = marked(v[name])
		}
	}
	return v
}

// FuzzParseErrorHasNoValue puts a canary into all strings and looks for it in the error.
func FuzzParseErrorHasNoValue(f *testing.F) {
	f.Add([]byte(teams))
	f.Add([]byte(`{"effect": "audit", "freeze": ["a"], "rules": [{"name": "a", "callers": ["direct"], "caller_ids": ["A"], "clients": ["b"], "x": "y"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var v any
		if json.Unmarshal(text, &v) != nil {
			return
		}
		out, err := json.Marshal(marked(v))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Parse(out); err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("got error %v, want no value in it", err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(teams))
	f.Add([]byte(`{"effect": "audit", "rules": [{"name": "Cnry9cnry"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse(text)
		if (p == nil) != (err != nil) {
			t.Errorf("got policy %v and error %v, want one of them", p, err)
		}
		if err != nil && strings.Contains(err.Error(), "Cnry9cnry") {
			t.Errorf("got error %v, want no value in it", err)
		}
		p.Decide(Query{Caller: billing, Client: "billing", Scope: []string{"a"}})
	})
}
