package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"tokenvendor/shared/policy/index"
	"tokenvendor/shared/strictjson"
)

const (
	// maxDocument is the size limit of a secret in Secrets Manager, in bytes.
	maxDocument = 64 << 10
	maxRules    = 500
	maxItems    = 100
	maxItem     = 2048
	maxName     = 63
)

// A rule's position fits into an index.Set.
const _ = uint(index.SetSize - maxRules)

// DocumentError lists all problems of a policy document, sorted. It contains names of
// members but no values.
type DocumentError struct{ Problems []string }

// Error implements error.
func (e *DocumentError) Error() string { return "bad policy: " + strings.Join(e.Problems, "; ") }

// Parse reads a policy document:
//
//	{"effect": "enforce", "freeze": ["payroll"],
//	 "rules": [{"name": "billing-team",
//	            "callers": ["aws:111122223333:role/billing-*"], "caller_ids": ["AROAEXAMPLEID"],
//	            "clients": ["billing"], "scopes": ["read"], "resources": ["urn:sap:*"]}]}
//
// A rule allows requests that match all of its members. In callers, clients, scopes and
// resources, a * matches any characters except ':' and '/'. The members caller_ids, scopes
// and resources are optional: a rule without scopes allows all scopes, and a rule with an
// empty list of scopes allows none; the same applies to resources. Clients in freeze are
// always denied. Unknown members are errors. The error is a [*DocumentError].
func Parse(text []byte) (*Policy, error) {
	r := &reader{rule: -1}
	r.policy.fields[len(fields)-1].patterns.URI = true
	if r.document(text); len(r.problems) > 0 {
		slices.Sort(r.problems)
		return nil, &DocumentError{Problems: slices.Compact(r.problems)}
	}
	return &r.policy, nil
}

// reader reads a document into policy and collects its problems.
type reader struct {
	policy   Policy
	problems []string
	// rule is the rule that is read; -1: none.
	rule int
}

func (r *reader) add(member, problem string) {
	if r.rule >= 0 {
		member = fmt.Sprintf("rules[%d].%s", r.rule, member)
	}
	r.problems = append(r.problems, member+" "+problem)
}

func (r *reader) document(text []byte) {
	if len(text) > maxDocument {
		r.add("the policy", "is larger than 64 KiB")
		return
	}
	// Rules are parsed one by one, so that an error in one does not hide those of others.
	members, err := strictjson.Object(text, strictjson.Limits{Depth: 5, Members: 8 * maxRules, Outer: true})
	if err != nil {
		r.add("the policy", strictjson.Problem(err, text))
		return
	}
	r.known(members, "effect", "freeze", "rules")
	r.policy.effect = r.effect(members["effect"])
	if raw, ok := members["freeze"]; ok {
		for _, p := range r.patterns(raw, "freeze", true, clientPattern) {
			r.policy.freeze.Add(p, 0)
		}
		r.policy.freeze.Sort()
	}
	raw, ok := members["rules"]
	switch list, short := elements(raw, maxRules); {
	case !ok:
		r.add("rules", "is missing")
	case !isList(raw):
		r.add("rules", "must be a list")
	case !short:
		r.add("rules", "has more than 500 rules")
	default:
		r.rules(list)
	}
}

func isList(value json.RawMessage) bool { return len(value) > 0 && value[0] == '[' }

// elements returns the elements of a list; short means that they are at most so many.
func elements(value json.RawMessage, most int) (list []json.RawMessage, short bool) {
	if isList(value) && len(bytes.TrimSpace(value[1:len(value)-1])) == 0 {
		return nil, true
	}
	return strictjson.Elements(value, most)
}

// known reports unknown members: a misspelled member would change what the rule allows
// without an error.
func (r *reader) known(members map[string]json.RawMessage, names ...string) {
	for name := range members {
		if !slices.Contains(names, name) {
			r.add(strictjson.Quote(name), "is not known here")
		}
	}
}

func (r *reader) effect(raw json.RawMessage) Effect {
	if raw == nil {
		return Enforce
	}
	text, ok := strictjson.String(raw)
	if effect := Effect(text); ok && (effect == Enforce || effect == Audit) {
		return effect
	}
	r.add("effect", "must be enforce or audit")
	return Enforce
}

func (r *reader) rules(list []json.RawMessage) {
	names := make(map[string]bool)
	r.policy.names = make([]string, len(list))
	for i, raw := range list {
		// A nested object is refused as the value of any member.
		members, err := strictjson.Object(raw, strictjson.Limits{Outer: true})
		if err != nil {
			r.add(fmt.Sprintf("rules[%d]", i), strictjson.Problem(err, raw))
			continue
		}
		r.rule = i
		name := r.name(members["name"])
		if names[name] && name != "" {
			r.add("name", "is the name of another rule too")
		}
		names[name], r.policy.names[i] = true, name
		r.policy.all.Add(i)
		r.members(members)
		r.rule = -1
	}
	for i := range r.policy.fields {
		r.policy.fields[i].patterns.Sort()
	}
}

// members reads the members of the rule except its name.
func (r *reader) members(members map[string]json.RawMessage) {
	r.known(members, "name", "callers", "caller_ids", "clients", "scopes", "resources")
	for i, m := range [len(fields)]struct {
		name     string
		read     func(string) (pattern, problem string)
		required bool
		empty    bool // the list may be empty
	}{
		{name: "clients", read: clientPattern, required: true},
		{name: "callers", read: callerPattern, required: true},
		{name: "caller_ids", read: callerID},
		{name: "scopes", read: scopePattern, empty: true},
		{name: "resources", read: resourcePattern, empty: true},
	} {
		raw, ok := members[m.name]
		field := &r.policy.fields[i]
		switch {
		case ok:
			for _, p := range r.patterns(raw, m.name, m.empty, m.read) {
				field.patterns.Add(p, r.rule)
			}
		case m.required:
			r.add(m.name, "is missing")
		default:
			field.open.Add(r.rule)
		}
	}
}

func (r *reader) name(raw json.RawMessage) string {
	text, ok := "", false
	if raw != nil {
		text, ok = strictjson.String(raw)
	}
	const ends, grammar = letters + digits, letters + digits + "._-"
	if !ok || text == "" || len(text) > maxName || !only(text, grammar) || !only(text[:1], ends) || !only(text[len(text)-1:], ends) {
		r.add("name", "must be 1 to 63 of the characters a-z A-Z 0-9 . _ - and begin and end with a letter or digit")
		return ""
	}
	return text
}

// patterns reads a list of patterns. read parses one of them and returns its problem, or "".
func (r *reader) patterns(raw json.RawMessage, member string, empty bool, read func(string) (pattern, problem string)) []string {
	list, short := elements(raw, maxItems)
	switch {
	case !isList(raw):
		r.add(member, "must be a list of strings")
	case !short:
		r.add(member, "has more than 100 elements")
	case len(list) == 0 && !empty:
		r.add(member, "must not be empty")
	}
	patterns := make([]string, 0, len(list))
	for _, raw := range list {
		text, ok := strictjson.String(raw)
		var p, problem string
		switch {
		case !ok:
			problem = "must be a list of strings"
		case text == "" || len(text) > maxItem:
			problem = "has an element that is empty or longer than 2048 bytes"
		case strings.Contains(text, "**"):
			problem = "has an element with **, which means the same as *: neither matches ':' or '/'"
		default:
			p, problem = read(text)
		}
		if problem != "" {
			r.add(member, problem)
			continue
		}
		patterns = append(patterns, p)
	}
	return patterns
}
