// Package policy decides which caller may have which token. A policy is a document of rules
// that allow; what no rule allows is denied, and so is everything if the document is missing
// or invalid. [Parse] describes the document, and [Policy.Decide] the decision.
//
// The package does no I/O and has no state. It imports only the standard library,
// strictjson and index.
package policy

import "tokenvendor/shared/policy/index"

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
	freeze index.Index
	// names are those of the rules, in the document's order; all has all rules.
	names []string
	all   index.Set
	// fields have the members of all rules, in the order in which they are compared.
	fields [len(fields)]field
}

// field is one member of all rules. A rule without patterns allows nothing, unless it is open.
type field struct {
	patterns index.Index
	// open are the rules in which the member is missing and restricts nothing.
	open index.Set
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
// [Decision].Failed. Decide does not allocate, and takes hardly longer with many rules than
// with few.
func (p *Policy) Decide(q Query) Decision {
	if p == nil || p.effect == "" {
		return Decision{}
	}
	var frozen index.Set
	if p.freeze.Search(q.Client, &frozen); frozen != (index.Set{}) {
		return Decision{Failed: "freeze"}
	}
	candidates := p.all
	for i, texts := range [len(fields)][]string{{q.Client}, {q.Caller}, {q.CallerID}, q.Scope, q.Resource} {
		left := p.fields[i].allowing(texts, candidates)
		if left == (index.Set{}) {
			return p.refusal(candidates, fields[i])
		}
		candidates = left
	}
	first, _ := candidates.First()
	return Decision{Allowed: true, Rule: p.names[first]}
}

// allowing returns those of candidates that allow all texts.
func (f *field) allowing(texts []string, candidates index.Set) index.Set {
	if candidates.Within(&f.open) {
		return candidates
	}
	for _, text := range texts {
		found := f.open
		f.patterns.Search(text, &found)
		candidates.Intersect(&found)
	}
	return candidates
}

// refusal returns the decision about a query that no rule allows. nearest are the rules that
// matched all fields before failed.
func (p *Policy) refusal(nearest index.Set, failed string) Decision {
	d := Decision{Allowed: p.effect == Audit, WouldDeny: p.effect == Audit}
	if rule, ok := nearest.First(); ok {
		d.Nearest, d.Failed = p.names[rule], failed
	}
	return d
}
