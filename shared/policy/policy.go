// Package policy decides who may have which token: by a document of rules that only
// allow. Nothing that matches means no, and so does a document that is missing or
// broken; see [Parse] for the document and [Policy.Decide] for the decision.
//
// It reads nothing and keeps nothing. It imports the standard library and the strict
// JSON reader.
package policy

import "slices"

// Effect is what becomes of a decision.
type Effect string

const (
	// Enforce: what no rule allows is denied.
	Enforce Effect = "enforce"
	// Audit: what no rule allows is allowed and said, so that rules can be tried
	// before they count. Frozen clients are denied all the same.
	Audit Effect = "audit"
)

// Policy is a policy document that was read. It is immutable and safe for concurrent
// use. A nil Policy and the zero Policy deny everything.
type Policy struct {
	effect Effect
	freeze []pattern
	rules  []rule
}

// rule allows what matches all of its members.
type rule struct {
	name      string
	callers   []pattern
	callerIDs []string
	clients   []pattern
	// scopes and resources are restricted unless these say that they are free.
	scopes, resources     []pattern
	anyScope, anyResource bool
}

// Query is what is to be decided. Its texts are strangers': none of their characters
// is special.
type Query struct {
	// Caller is the normalised principal, "aws:111122223333:role/billing-job";
	// CallerID the unique id of its role or user.
	Caller, CallerID string
	// Client is the client's name.
	Client string
	// Scope and Resource are all that the token is asked for, or holds.
	Scope, Resource []string
}

// Decision is the answer to a [Query].
type Decision struct {
	// Allowed: the token may be given.
	Allowed bool
	// Rule is the name of the rule that allows it; empty: none does.
	Rule string
	// WouldDeny: no rule allows it, and the policy only watches.
	WouldDeny bool
	// Nearest is, if no rule allows it, the one that came nearest, and Failed what
	// failed in it: client, caller, caller_id, scope or resource. A frozen client
	// fails by freeze.
	Nearest, Failed string
}

// What may fail in a rule, in the order in which it is looked at.
const (
	failedFreeze = "freeze"
	passed       = 5
)

var fields = [...]string{"client", "caller", "caller_id", "scope", "resource"}

// Effect returns what becomes of the policy's decisions.
func (p *Policy) Effect() Effect {
	if p == nil || p.effect == "" {
		return Enforce
	}
	return p.effect
}

// Decide decides q. One rule must cover all of it; of several, the first does. The
// nearest rule is the one that failed last in the order of its members, and the
// first of equals.
func (p *Policy) Decide(q Query) Decision {
	if p == nil || p.effect == "" {
		return Decision{}
	}
	if anyMatches(p.freeze, q.Client) {
		return Decision{Failed: failedFreeze}
	}
	nearest, best := -1, -1
	for i := range p.rules {
		reached := p.rules[i].reaches(q)
		if reached == passed {
			return Decision{Allowed: true, Rule: p.rules[i].name}
		}
		if reached > best {
			nearest, best = i, reached
		}
	}
	d := Decision{Allowed: p.effect == Audit, WouldDeny: p.effect == Audit}
	if nearest >= 0 {
		d.Nearest, d.Failed = p.rules[nearest].name, fields[best]
	}
	return d
}

// reaches returns which of the fields fails first; passed: none does.
func (r *rule) reaches(q Query) int {
	switch {
	case !anyMatches(r.clients, q.Client):
		return 0
	case !anyMatches(r.callers, q.Caller):
		return 1
	case len(r.callerIDs) > 0 && !contains(r.callerIDs, q.CallerID):
		return 2
	case !r.anyScope && !allMatch(r.scopes, q.Scope, pattern.matches):
		return 3
	case !r.anyResource && !allMatch(r.resources, q.Resource, pattern.matchesURI):
		return 4
	}
	return passed
}

func contains(list []string, text string) bool {
	for _, item := range list {
		if item == text && text != "" {
			return true
		}
	}
	return false
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
