package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
	"tokenvendor/shared/tokensource"
)

// alias leads to one key at a time, as an alias of AWS KMS does.
type alias struct {
	key atomic.Pointer[ecdsa.PrivateKey]
}

func (a *alias) Public(context.Context, string) (crypto.PublicKey, []string, error) {
	return a.key.Load().Public(), nil, nil
}

func (a *alias) Sign(_ context.Context, _, _ string, digest []byte) ([]byte, error) {
	return a.key.Load().Sign(rand.Reader, digest, crypto.SHA256)
}

// TestKeyBehindAliasChanges: The key changes between two readings of the document. The
// new key is used at once. A wrong key is refused once, and does not count against the
// right one.
func TestKeyBehindAliasChanges(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		keys := make([]*ecdsa.PrivateKey, 3)
		for i := range keys {
			var err error
			if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
				t.Fatal(err)
			}
		}
		a := &alias{}
		a.key.Store(keys[0])
		cfg := env.Config()
		clients := env.Registry()
		clients.Keys = a
		cfg.Clients = registry.New(clients)
		env.Vendor = token.New(cfg)
		env.Server.Register(oauthtest.Client{ID: "id", Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{"": keys[0].Public()}})
		env.Put("billing", "v1", map[string]any{"client_secret": "", "kms_key_id": "alias/token-vendor/billing"})
		fresh := func() (token.Grant, error) { // one that cannot come out of memory
			env.Pass(20 * time.Second)
			return env.Vend(token.Request{Ask: ask.Ask{Scope: []string{"s" + env.Now().Format("150405")}}})
		}
		if _, err := fresh(); err != nil {
			t.Fatal(err)
		}
		a.key.Store(keys[1]) // a mistake
		if _, err := fresh(); fault.From(err).Kind != fault.Misconfigured {
			t.Errorf("with the wrong key: %v", err)
		}
		a.key.Store(keys[0]) // put right
		if _, err := fresh(); err != nil {
			t.Errorf("the right key: %v", err)
		}
		if n := env.Counted(tokensource.CountFailedLogon); n != 1 {
			t.Errorf("%d failed logons, want 1", n)
		}
		a.key.Store(keys[2]) // a change as it should be
		if err := env.Server.Update("id", func(c *oauthtest.Client) { c.Keys = map[string]crypto.PublicKey{"": keys[2].Public()} }); err != nil {
			t.Fatal(err)
		}
		if _, err := fresh(); err != nil {
			t.Errorf("the new key: %v", err)
		}
		if n := env.Counted(tokensource.CountFailedLogon); n != 1 {
			t.Errorf("%d failed logons, want 1", n)
		}
	})
}
