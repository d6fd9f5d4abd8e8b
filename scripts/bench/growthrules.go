package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"tokenvendor/shared/policy"
)

const (
	// decisionTime is the longest time of a decision over 500 rules.
	decisionTime = 2 * time.Microsecond
	decisions    = 500
)

// growRules measures decisions of policies of growing sizes in turn.
func growRules(_ context.Context, g growthRun, r *growthReport) error {
	sizes := g.sizes([]int{10, 100}, 500)
	policies := make([]*policy.Policy, len(sizes))
	for i, n := range sizes {
		var err error
		if policies[i], err = policyOf(n); err != nil {
			return err
		}
	}
	took := make([][]time.Duration, len(sizes))
	for range 101 {
		for i, p := range policies {
			query := policy.Query{Caller: ruleCaller(sizes[i] - 1), Client: ruleClient(sizes[i] - 1), Scope: []string{"read"}}
			begin := time.Now()
			for range decisions {
				if !p.Decide(query).Allowed {
					return fmt.Errorf("a policy of %d rules denied what its last rule allows", sizes[i])
				}
			}
			took[i] = append(took[i], time.Since(begin))
		}
	}
	r.row("rules", "decision", "ratio to 10 rules")
	for i, n := range sizes {
		one := median(took[i]) / decisions
		r.row(n, one, timesOf(took[i], took[0]))
		r.require(one < decisionTime, "%d rules: a decision takes %v, want less than %v", n, one, decisionTime)
	}
	return nil
}

func ruleCaller(i int) string { return fmt.Sprintf("aws:111122223333:role/job-%d", i) }
func ruleClient(i int) string { return fmt.Sprint("client-", i) }

// policyOf returns a policy with one rule for each client.
func policyOf(n int) (*policy.Policy, error) {
	type rule struct {
		Name    string   `json:"name"`
		Callers []string `json:"callers"`
		Clients []string `json:"clients"`
		Scopes  []string `json:"scopes"`
	}
	var document struct {
		Rules []rule `json:"rules"`
	}
	for i := range n {
		document.Rules = append(document.Rules, rule{fmt.Sprint("rule-", i), []string{ruleCaller(i)}, []string{ruleClient(i)}, []string{"read", "write.*"}})
	}
	text, err := json.Marshal(document)
	if err != nil {
		return nil, err
	}
	return policy.Parse(text)
}
