package policy_test

import (
	"errors"
	"fmt"

	"tokenvendor/shared/policy"
)

// A policy allows what one of its rules allows, and denies everything else.
func Example() {
	p, err := policy.Parse([]byte(`{
		"freeze": ["payroll-old"],
		"rules": [{
			"name":      "billing-team",
			"callers":   ["aws:111122223333:role/billing-*"],
			"clients":   ["billing"],
			"scopes":    ["read", "invoice.*"]
		}, {
			"name":      "payroll-job",
			"callers":   ["arn:aws:iam::111122223333:role/payroll-job"],
			"clients":   ["payroll", "payroll-*"],
			"resources": ["https://*.payroll.example/api"]
		}]
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, q := range []policy.Query{
		{Caller: "aws:111122223333:role/billing-job", Client: "billing", Scope: []string{"read", "invoice.write"}},
		{Caller: "aws:111122223333:role/payroll-job", Client: "payroll", Resource: []string{"https://eu.payroll.example/api"}},
		{Caller: "aws:111122223333:role/payroll-job", Client: "payroll-old"},
	} {
		d := p.Decide(q)
		fmt.Printf("%s: allowed: %t, rule: %q, failed: %q\n", q.Client, d.Allowed, d.Rule, d.Failed)
	}
	// Output:
	// billing: allowed: true, rule: "billing-team", failed: ""
	// payroll: allowed: true, rule: "payroll-job", failed: ""
	// payroll-old: allowed: false, rule: "", failed: "freeze"
}

// If no rule allows a request, the decision names the rule that came nearest to allowing it
// and the field that did not match, so that an operator sees what to change.
func ExamplePolicy_Decide_nearestRule() {
	p, err := policy.Parse([]byte(`{"rules": [
		{"name": "billing-team", "callers": ["aws:111122223333:role/billing-*"], "clients": ["billing"], "scopes": ["read"]},
		{"name": "auditors", "callers": ["aws:444455556666:role/audit"], "clients": ["*"]}
	]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, q := range []policy.Query{
		{Caller: "aws:111122223333:role/billing-job", Client: "billing", Scope: []string{"read", "admin"}},
		{Caller: "aws:111122223333:role/billing-job", Client: "payroll"},
	} {
		d := p.Decide(q)
		fmt.Printf("%s: allowed: %t, nearest: %s, failed: %s\n", q.Client, d.Allowed, d.Nearest, d.Failed)
	}
	// Output:
	// billing: allowed: false, nearest: billing-team, failed: scope
	// payroll: allowed: false, nearest: auditors, failed: caller
}

// With the effect audit, requests that no rule allows are allowed, and WouldDeny is set. An
// operator can so test rules before they are enforced.
func ExampleEffect_audit() {
	p, err := policy.Parse([]byte(`{"effect": "audit", "rules": [
		{"name": "billing-team", "callers": ["aws:111122223333:role/billing-*"], "clients": ["billing"]}
	]}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	d := p.Decide(policy.Query{Caller: "aws:111122223333:role/report-job", Client: "billing"})
	fmt.Println("allowed:", d.Allowed)
	fmt.Println("would deny:", d.WouldDeny)
	fmt.Println("nearest:", d.Nearest, d.Failed)
	// Output:
	// allowed: true
	// would deny: true
	// nearest: billing-team caller
}

// Parse reports all problems of a document at once. Problems name members but contain no
// values.
func ExampleDocumentError() {
	_, err := policy.Parse([]byte(`{"rules": [
		{"name": "billing-team", "callers": ["billing-job"], "clients": ["billing"], "scope": ["read"]},
		{"name": "billing-team", "callers": ["direct:batch"], "clients": []}
	]}`))
	if bad, ok := errors.AsType[*policy.DocumentError](err); ok {
		for _, problem := range bad.Problems {
			fmt.Println(problem)
		}
	}
	// Output:
	// rules[0].callers has an element that matches no caller; write aws:111122223333:role/NAME, arn:aws:iam::111122223333:role/NAME, direct:ALIAS, deliver:SECRET, source:queue/NAME, source:bus or source:schedule
	// rules[0].scope is not known here
	// rules[1].clients must not be empty
	// rules[1].name is the name of another rule too
}
