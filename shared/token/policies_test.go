package token

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/policy"
	"tokenvendor/shared/secret"
)

// TestPolicyIsParsedWhenItsVersionChanges reads a policy 10 times, also after errors. A parsed
// document is a new *policy.Policy.
func TestPolicyIsParsedWhenItsVersionChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		allow := func(client string) string {
			return `{"rules": [{"name": "a", "callers": ["direct"], "clients": ["` + client + `"]}]}`
		}
		reads, document, failure := 0, secret.Secret{Text: []byte(allow("billing")), Version: "v1"}, error(nil)
		cfg := Config{Policy: func(context.Context, bool) (secret.Secret, error) {
			if reads++; failure != nil {
				return secret.Secret{}, failure
			}
			return document, nil
		}}
		p := newPolicies(cfg.withDefaults())
		next := func(client string) *policy.Policy {
			t.Helper()
			time.Sleep(policyFresh)
			r, err := p.current(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if d := r.policy.Decide(policy.Query{Caller: "direct", Client: client}); !d.Allowed {
				t.Errorf("version %s: got %+v for %s, want it allowed", document.Version, d, client)
			}
			return r.policy
		}
		first := next("billing")
		for i := range 9 {
			switch i {
			case 3:
				failure = secret.ErrUnavailable
			case 4:
				failure = nil
			case 5:
				document = secret.Secret{Text: []byte(`{`), Version: "broken"}
			case 6:
				document = secret.Secret{Text: []byte(allow("billing")), Version: "v1"}
			}
			if next("billing") != first {
				t.Errorf("reading %d: the policy was parsed again, want it parsed once", i+2)
			}
		}
		if reads != 10 {
			t.Errorf("got %d readings, want 10", reads)
		}
		document = secret.Secret{Text: []byte(allow("payroll")), Version: "v2"}
		second := next("payroll")
		if d := second.Decide(policy.Query{Caller: "direct", Client: "billing"}); d.Allowed {
			t.Errorf("version v2: got %+v for billing, want it denied", d)
		}
		// Without a version, only the text could tell that it is the same.
		document.Version = ""
		if third := next("payroll"); third == second || next("payroll") == third {
			t.Error("a policy without a version was not parsed again")
		}
	})
}
