package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tokenvendor/shared/strictjson"
)

const (
	// maxDocument is what Secrets Manager stores in one secret.
	maxDocument = 64 << 10
	maxRules    = 500
	maxItems    = 100
	maxItem     = 2048
	maxName     = 63
)

// DocumentError says everything that is wrong with a policy document. It holds names
// of members and never a value.
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
// A rule allows what all of its members match. In callers, clients, scopes and
// resources a * stands for any characters other than ':' and '/'. Without caller_ids,
// scopes or resources a rule does not look at them; an empty list of scopes or
// resources allows none. Members that are not known are errors. The error is a
// [*DocumentError].
func Parse(text []byte) (*Policy, error) {
	r := &reader{}
	p := r.policy(text)
	if len(r.problems) > 0 {
		slices.Sort(r.problems)
		return nil, &DocumentError{Problems: slices.Compact(r.problems)}
	}
	return p, nil
}

// reader collects the problems of a document.
type reader struct{ problems []string }

func (r *reader) add(member, problem string) { r.problems = append(r.problems, member+" "+problem) }

func (r *reader) policy(text []byte) *Policy {
	if len(text) > maxDocument {
		r.add("the policy", "is larger than 64 KiB")
		return nil
	}
	// Rules are judged one by one, so that one of them hides no problem of another.
	members, err := strictjson.Object(text, strictjson.Limits{Depth: 5, Members: 8 * maxRules, Outer: true})
	if err != nil {
		r.add("the policy", strictjson.Problem(err))
		return nil
	}
	r.known(members, "", "effect", "freeze", "rules")
	p := &Policy{effect: r.effect(members["effect"])}
	if raw, ok := members["freeze"]; ok {
		p.freeze = r.patterns(raw, "freeze", clientPattern)
	}
	var list []json.RawMessage
	raw, ok := members["rules"]
	switch {
	case !ok:
		r.add("rules", "is missing")
	case json.Unmarshal(raw, &list) != nil || list == nil:
		r.add("rules", "must be a list")
	case len(list) > maxRules:
		r.add("rules", "has more than 500 rules")
	default:
		p.rules = r.rules(list)
	}
	return p
}

// known notes the members that mean nothing: a mistyped "callers" must not widen or
// narrow a rule in silence.
func (r *reader) known(members map[string]json.RawMessage, path string, names ...string) {
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !slices.Contains(names, name) {
			r.add(path+strictjson.Quote(name), "is not known here")
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

func (r *reader) rules(list []json.RawMessage) []rule {
	rules, names := make([]rule, 0, len(list)), make(map[string]bool)
	for i, raw := range list {
		path := fmt.Sprintf("rules[%d].", i)
		members, err := strictjson.Object(raw, strictjson.Limits{})
		if err != nil {
			r.add(strings.TrimSuffix(path, "."), strictjson.Problem(err))
			continue
		}
		rule := r.rule(members, path)
		if names[rule.name] && rule.name != "" {
			r.add(path+"name", "is that of another rule too")
		}
		names[rule.name] = true
		rules = append(rules, rule)
	}
	return rules
}

func (r *reader) rule(members map[string]json.RawMessage, path string) rule {
	r.known(members, path, "name", "callers", "caller_ids", "clients", "scopes", "resources")
	out := rule{name: r.name(members["name"], path+"name")}
	for _, m := range []struct {
		name     string
		required bool
		to       *[]pattern
		free     *bool
		read     func(string) (pattern, string)
	}{
		{"callers", true, &out.callers, nil, callerPattern},
		{"clients", true, &out.clients, nil, clientPattern},
		{"scopes", false, &out.scopes, &out.anyScope, scopePattern},
		{"resources", false, &out.resources, &out.anyResource, resourcePattern},
	} {
		raw, ok := members[m.name]
		switch {
		case ok:
			*m.to = r.patterns(raw, path+m.name, m.read)
			if m.required && len(*m.to) == 0 {
				r.missing(path+m.name, "must name somebody")
			}
		case m.required:
			r.add(path+m.name, "is missing")
		default:
			*m.free = true
		}
	}
	if raw, ok := members["caller_ids"]; ok {
		for _, id := range r.patterns(raw, path+"caller_ids", callerID) {
			out.callerIDs = append(out.callerIDs, string(id))
		}
		if len(out.callerIDs) == 0 {
			r.missing(path+"caller_ids", "must name somebody")
		}
	}
	return out
}

// missing notes that a list is empty, unless that is because of another problem.
func (r *reader) missing(member, problem string) {
	for _, p := range r.problems {
		if strings.HasPrefix(p, member+" ") {
			return
		}
	}
	r.add(member, problem)
}

func (r *reader) name(raw json.RawMessage, member string) string {
	text, ok := "", false
	if raw != nil {
		text, ok = strictjson.String(raw)
	}
	const ends, grammar = letters + digits, letters + digits + "._-"
	if !ok || text == "" || len(text) > maxName || !only(text, grammar) || !only(text[:1]+text[len(text)-1:], ends) {
		r.add(member, "must be 1 to 63 of the characters a-z A-Z 0-9 . _ - and begin and end with a letter or digit")
		return ""
	}
	return text
}

// patterns reads a list of patterns, each by read, which returns what is wrong with
// one.
func (r *reader) patterns(raw json.RawMessage, member string, read func(string) (pattern, string)) []pattern {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || list == nil {
		r.add(member, "must be a list of strings")
		return nil
	}
	if len(list) > maxItems {
		r.add(member, "has more than 100 elements")
		return nil
	}
	patterns := make([]pattern, 0, len(list))
	for _, raw := range list {
		text, ok := strictjson.String(raw)
		var p pattern
		var problem string
		switch {
		case !ok:
			problem = "must be a list of strings"
		case text == "" || len(text) > maxItem:
			problem = "has an element that is empty or longer than 2048 bytes"
		case strings.Contains(text, "**"):
			problem = "has an element with **, which is no more than *: neither takes ':' or '/'"
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
