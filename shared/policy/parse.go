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
	// maxDocument is the size limit of a secret in Secrets Manager, in bytes.
	maxDocument = 64 << 10
	maxRules    = 500
	maxItems    = 100
	maxItem     = 2048
	maxName     = 63
)

// DocumentError lists all problems of a policy document, sorted. It contains names of
// members but no values.
type DocumentError struct {
	Problems []string
	// Version is the version of the secret that holds the document; empty: not known. Parse does
	// not set it.
	Version string
}

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
	r := &reader{}
	p := r.policy(text)
	if len(r.problems) > 0 {
		slices.Sort(r.problems)
		return nil, &DocumentError{Problems: slices.Compact(r.problems)}
	}
	return p, nil
}

// reader reads a document and collects its problems.
type reader struct{ problems []string }

func (r *reader) add(member, problem string) { r.problems = append(r.problems, member+" "+problem) }

func (r *reader) policy(text []byte) *Policy {
	if len(text) > maxDocument {
		r.add("the policy", "is larger than 64 KiB")
		return nil
	}
	// Rules are parsed one by one, so that an error in one does not hide those of others.
	members, err := strictjson.Object(text, strictjson.Limits{Depth: 5, Members: 8 * maxRules, Outer: true})
	if err != nil {
		r.add("the policy", strictjson.Problem(err, text))
		return nil
	}
	r.known(members, "", "effect", "freeze", "rules")
	p := &Policy{effect: r.effect(members["effect"])}
	if raw, ok := members["freeze"]; ok {
		p.freeze = r.patterns(raw, "freeze", true, clientPattern)
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

// known reports unknown members: a misspelled member would change what the rule allows
// without an error.
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
			r.add(strings.TrimSuffix(path, "."), strictjson.Problem(err, raw))
			continue
		}
		rule := r.rule(members, path)
		if names[rule.name] && rule.name != "" {
			r.add(path+"name", "is the name of another rule too")
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
		name  string
		to    *[]pattern
		any   *bool // set if the member is missing; nil: the member is required
		empty bool  // the list may be empty
		read  func(string) (pattern, string)
	}{
		{"callers", &out.callers, nil, false, callerPattern},
		{"caller_ids", &out.callerIDs, &out.anyCallerID, false, callerID},
		{"clients", &out.clients, nil, false, clientPattern},
		{"scopes", &out.scopes, &out.anyScope, true, scopePattern},
		{"resources", &out.resources, &out.anyResource, true, resourcePattern},
	} {
		raw, ok := members[m.name]
		switch {
		case ok:
			*m.to = r.patterns(raw, path+m.name, m.empty, m.read)
		case m.any != nil:
			*m.any = true
		default:
			r.add(path+m.name, "is missing")
		}
	}
	return out
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

// patterns reads a list of patterns. read parses one of them and returns its problem, or "".
func (r *reader) patterns(raw json.RawMessage, member string, empty bool, read func(string) (pattern, string)) []pattern {
	var list []json.RawMessage
	switch err := json.Unmarshal(raw, &list); {
	case err != nil || list == nil:
		r.add(member, "must be a list of strings")
		return nil
	case len(list) == 0 && !empty:
		r.add(member, "must not be empty")
	case len(list) > maxItems:
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
