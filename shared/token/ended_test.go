package token_test

import (
	"net/http"
	"testing"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
	"tokenvendor/shared/tokensource"
)

// TestTokenEndsBeforeItsAnswer: Work between the choice of a token and its answer takes longer than
// the rest of the token's life. The caller gets another token.
func TestTokenEndsBeforeItsAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		// prepare returns the vendor to ask, whose work lets life pass once.
		prepare func(env *tokentest.Fleet, life func()) *token.Vendor
		want    tokensource.Outcome
	}{
		"document":   {slowDocument, tokensource.Stale},
		"day of use": {slowNote, tokensource.Exchanged},
		"shadow":     {slowShadow, tokensource.Exchanged},
	} {
		t.Run(name, func(t *testing.T) {
			tokentest.RunFleet(t, 0, func(t *testing.T, env *tokentest.Fleet) {
				passed := false
				v := c.prepare(env, func() {
					if !passed {
						passed = true
						env.Pass(2 * time.Hour)
					}
				})
				before := env.Server.Exchanges()
				grant, err := env.Ask(v, token.Request{})
				switch {
				case err != nil:
					t.Error(err)
				case grant.Token.Ended(env.Now()) || grant.Outcome != c.want:
					t.Errorf("got a token that ends at %v at %v, outcome %s, want one that has not ended and outcome %s", grant.Token.End(), env.Now(), grant.Outcome, c.want)
				}
				if n := env.Server.Exchanges() - before; !passed || n == 0 {
					t.Errorf("passed %t, made %d exchanges", passed, n)
				}
			})
		})
	}
}

// slowDocument: The newest version is refused, so that its document is read again for a caller of
// the token that the version before obtained.
func slowDocument(env *tokentest.Fleet, life func()) *token.Vendor {
	v := env.Environment(nil)
	if _, err := env.Ask(v, token.Request{}); err != nil {
		env.Fatal(err)
	}
	env.Put("billing", "v2", map[string]any{"client_secret": "bad"})
	env.Pass(6 * time.Minute)
	for range 2 { // the first one finds the new version, the second one that it is refused
		if _, err := env.Ask(v, token.Request{}); err != nil {
			env.Fatal(err)
		}
	}
	time.Sleep(time.Minute) // the document may be read again
	env.OnRead(life)
	return v
}

// slowNote: The environment notes that the client is in use, which is all that it writes.
func slowNote(env *tokentest.Fleet, life func()) *token.Vendor {
	if _, err := env.Ask(env.Environment(nil), token.Request{}); err != nil {
		env.Fatal(err)
	}
	table := &hookedTable{Table: &env.Table, hook: func(fleet.Item, fleet.Condition) { life() }}
	return env.Environment(func(c *token.Config) {
		c.NoteUse = true
		c.Fleet = fleet.New(fleet.Config{Table: table, Keys: &env.Keys, Now: env.Now})
		c.Fleet.Open(env.Context())
	})
}

// slowShadow: The shadow's exchange follows that of the token.
func slowShadow(env *tokentest.Fleet, life func()) *token.Vendor {
	putShadow(env.Env, "good")
	v := env.Environment(nil)
	if _, err := env.Ask(v, token.Request{}); err != nil {
		env.Fatal(err)
	}
	env.Pass(55 * time.Minute)
	env.Server.Misbehave(onShadow(func(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
		life()
		next.ServeHTTP(w, r)
	}))
	return v
}
