// Package policy decides which caller may have which token. A policy is a document of rules
// that allow; what no rule allows is denied, and so is everything if the document is missing
// or invalid. [Parse] describes the document, and [Policy.Decide] the decision.
//
// The package does no I/O and has no state. It imports only the standard library and
// strictjson.
package policy

import "slices"

// Effect is what a policy does with requests that no rule allows.
type Effect string

const (
	// Enforce denies them.
	Enforce Effect = "enforce"
	// Audit allows them and sets Decision.WouldDeny, so that rules can be tested before
	// they are enforced. Frozen clients are denied nevertheless.
	Audit Effect = "audit"
)

// Policy is a parsed policy document. It is immutable and safe for concurrent use. A nil
// Policy and the zero Policy deny everything.
type Policy struct {
	effect Effect
	freeze []pattern
	rules  []rule
}

// rule allows queries that match all of its fields.
type rule struct {
	name                                           string
	clients, callers, callerIDs, scopes, resources []pattern
	// An optional field restricts nothing only if its flag is set, so that the zero value
	// allows nothing.
	anyCallerID, anyScope, anyResource bool
}

// Query is a request for a token. No character of its texts has a special meaning, because
// callers choose them.
type Query struct {
	// Caller is the normalized principal, such as aws:111122223333:role/billing-job.
	// CallerID is the unique id of its role or user; empty if it has none.
	Caller, CallerID string
	// Client is the client's name.
	Client string
	// Scope and Resource are all scopes and resources that are requested or granted.
	Scope, Resource []string
}

// Decision is the answer to a [Query].
type Decision struct {
	// Allowed means that the caller may have the token.
	Allowed bool
	// Rule is the name of the rule that allows it; empty if there is none.
	Rule string
	// WouldDeny means that no rule allows it, but the policy's effect is [Audit].
	WouldDeny bool
	// If no rule allows the query, Nearest is the name of the rule that came nearest, and
	// Failed is the field that did not match: client, caller, caller_id, scope or
	// resource. For a frozen client, Nearest is empty and Failed is freeze.
	Nearest, Failed string
}

// fields are the values of Decision.Failed for rules, in the order in which a rule's fields
// are compared.
var fields = [...]string{"client", "caller", "caller_id", "scope", "resource"}

// Effect returns the effect of the policy; [Enforce] for the zero Policy.
func (p *Policy) Effect() Effect {
	if p == nil || p.effect == "" {
		return Enforce
	}
	return p.effect
}

// Decide returns the decision about q. The first rule that matches all of q allows it. The
// nearest rule is the first of those that matched the most fields in the order of
// [Decision].Failed.
func (p *Policy) Decide(q Query) Decision {
	if p == nil || p.effect == "" {
		return Decision{}
	}
	if anyMatches(p.freeze, q.Client) {
		return Decision{Failed: "freeze"}
	}
	nearest, most := -1, -1
	for i := range p.rules {
		matched := p.rules[i].matched(q)
		if matched == len(fields) {
			return Decision{Allowed: true, Rule: p.rules[i].name}
		}
		if matched > most {
			nearest, most = i, matched
		}
	}
	d := Decision{Allowed: p.effect == Audit, WouldDeny: p.effect == Audit}
	if nearest >= 0 {
		d.Nearest, d.Failed = p.rules[nearest].name, fields[most]
	}
	return d
}

// matched returns how many of the fields match, up to the first that does not.
func (r *rule) matched(q Query) int {
	switch {
	case !anyMatches(r.clients, q.Client):
		return 0
	case !anyMatches(r.callers, q.Caller):
		return 1
	case !r.anyCallerID && !anyMatches(r.callerIDs, q.CallerID):
		return 2
	case !r.anyScope && !allMatch(r.scopes, q.Scope, pattern.matches):
		return 3
	case !r.anyResource && !allMatch(r.resources, q.Resource, pattern.matchesURI):
		return 4
	}
	return len(fields)
}

func anyMatches(patterns []pattern, text string) bool {
	for _, p := range patterns {
		if p.matches(text) {
			return true
		}
	}
	return false
}

func allMatch(patterns []pattern, texts []string, matches func(pattern, string) bool) bool {
	for _, text := range texts {
		if !slices.ContainsFunc(patterns, func(p pattern) bool { return matches(p, text) }) {
			return false
		}
	}
	return true
}
