package token_test

import (
	"testing"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// TestLineNamesBothVersions: The line of a token has the version of the credential that
// obtained it, and that of the document only if it is another.
func TestLineNamesBothVersions(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		var last audit.Event
		v := env.Environment(func(cfg *token.Config) {
			cfg.Audit = func(e *audit.Event) error { last = *e; return nil }
		})
		want := func(version, document string) {
			t.Helper()
			if _, err := env.Ask(v, token.Request{}); err != nil {
				t.Fatal(err)
			}
			if !last.Allowed || last.SecretVersion != version || last.DocumentVersion != document {
				t.Errorf("got versions %q and %q, want %q and %q", last.SecretVersion, last.DocumentVersion, version, document)
			}
		}
		want("v1", "")
		want("v1", "")
		env.Put("billing", "v2", map[string]any{"client_secret": "pasted wrong"})
		env.Pass(6 * time.Minute)
		// The first call may get the document that is due for a refresh.
		if _, err := env.Ask(v, token.Request{}); err != nil {
			t.Fatal(err)
		}
		want("v1", "v2")
		// The new version replaces the token at its refresh.
		env.Put("billing", "v3", nil)
		env.Pass(time.Hour)
		want("v3", "")
	})
}
