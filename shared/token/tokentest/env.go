// Package tokentest is the one kit for tests of the core: a vendor with everything real but
// the network, Secrets Manager and the table, which are in memory. Its tests run in a
// testing/synctest bubble, so that hours pass at once.
package tokentest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
	"tokenvendor/shared/tokensource"
)

// Env is a vendor with its authorization server. The server knows the client "id" with the
// secret "good", and the vendor the client "billing" for it.
type Env struct {
	*testing.T
	Server *oauthtest.Server
	Vendor *token.Vendor

	network *network
	mu      sync.Mutex
	offset  time.Duration            // the clock is ahead by this; guarded by mu
	secrets map[string]secret.Secret // by client name; guarded by mu
	created time.Time                // of new versions; zero: that is not known; guarded by mu
	older   map[string]secret.Secret // the versions before; guarded by mu
	readErr error                    // guarded by mu
	onRead  func()                   // guarded by mu
	reads   []time.Time              // guarded by mu
	counts  map[string]int           // guarded by mu

	policy      string        // guarded by mu
	policyErr   error         // guarded by mu
	policyReads int           // guarded by mu
	events      []audit.Event // guarded by mu
	auditErr    error         // guarded by mu
}

// Run runs a test with an Env in a bubble of its own.
func Run(t *testing.T, test func(t *testing.T, e *Env)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, New(t)) })
}

// New returns an Env. t must be that of a bubble.
func New(t *testing.T) *Env {
	e := &Env{T: t, network: newNetwork(), secrets: make(map[string]secret.Secret), older: make(map[string]secret.Secret), counts: make(map[string]int)}
	// Loads have deadlines of their own, and may outlive the test's last request.
	t.Cleanup(func() { time.Sleep(time.Minute) })
	e.Server = oauthtest.NewServer(t, oauthtest.Config{Listener: e.network, Now: e.Now})
	e.Vendor = token.New(e.Config())
	e.Server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	e.Put("billing", "v1", nil)
	return e
}

// Config returns the configuration of the vendor.
func (e *Env) Config() token.Config {
	return token.Config{
		Clients:   registry.New(e.Registry()),
		Exchanger: oauth.NewExchanger(oauth.ExchangerConfig{Now: e.Now, Rand: func() float64 { return 0 }}),
		Count:     e.count,
		Now:       e.Now,
		Audit: func(event *audit.Event) error {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.events = append(e.events, *event)
			return e.auditErr
		},
	}
}

// Registry returns the configuration of the vendor's registry.
func (e *Env) Registry() registry.Config {
	return registry.Config{Secrets: e, Previous: secret.ReaderFunc(e.readPrevious), Addresses: oauth.AddressPolicy{Private: true, Dial: e.network.Dial}, Now: e.Now}
}

// Now is the clock of the vendor and of the server.
func (e *Env) Now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Now().Add(e.offset)
}

// Pass lets time pass on the wall clock only, as a frozen environment sees it.
func (e *Env) Pass(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.offset += d
}

func (e *Env) count(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.counts[name]++
}

// Counted returns how often a metric was counted.
func (e *Env) Counted(name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts[name]
}

// FailReads lets every read of a secret fail; nil: none.
func (e *Env) FailReads(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readErr = err
}

// Reads returns how often a secret was read.
func (e *Env) Reads() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.reads)
}

// ReadTimes returns when secrets were read, by the clock of [Env.Now].
func (e *Env) ReadTimes() []time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.reads)
}

// OnRead calls f before each read of a secret, which may take its time; nil: it does nothing.
func (e *Env) OnRead(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.onRead = f
}

func (e *Env) beforeRead() {
	e.mu.Lock()
	f := e.onRead
	e.mu.Unlock()
	if f != nil {
		f()
	}
}

// ReadSecret implements [secret.Reader].
func (e *Env) ReadSecret(_ context.Context, name string, _ secret.Want) (secret.Secret, error) {
	e.beforeRead()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reads = append(e.reads, time.Now().Add(e.offset))
	if e.readErr != nil {
		return secret.Secret{}, e.readErr
	}
	s, ok := e.secrets[name]
	if !ok {
		return s, secret.ErrNotFound
	}
	return s, nil
}

// DateVersions makes Secrets Manager say when new versions were written.
func (e *Env) DateVersions() {
	now := e.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.created = now
}

func (e *Env) readPrevious(_ context.Context, name string, _ secret.Want) (secret.Secret, error) {
	e.beforeRead()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reads = append(e.reads, time.Now().Add(e.offset))
	s, ok := e.older[name]
	switch {
	case e.readErr != nil:
		return secret.Secret{}, e.readErr
	case !ok:
		return s, secret.ErrNotFound
	}
	return s, nil
}

// Put stores the document of a client with the right secret, changed by members.
func (e *Env) Put(name, version string, members map[string]any) {
	document := map[string]any{"token_endpoint": e.Server.TokenEndpoint(), "client_id": "id", "client_secret": "good", "ca_certificates": string(e.Server.CAPEM())}
	maps.Copy(document, members)
	text, err := json.Marshal(document)
	if err != nil {
		e.Fatal(err)
	}
	e.PutText(name, version, string(text))
}

// PutText stores a secret as it is; an empty text deletes it.
func (e *Env) PutText(name, version, text string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if old, ok := e.secrets[name]; ok && old.Version != version {
		e.older[name] = old
	}
	e.secrets[name] = secret.Secret{Text: []byte(text), Version: version, Created: e.created}
	if text == "" {
		delete(e.secrets, name)
		delete(e.older, name)
	}
}

// Ask asks a vendor for a token of a client, billing unless r names another, and gives it
// 20 seconds.
func (e *Env) Ask(v *token.Vendor, r token.Request) (token.Grant, error) {
	ctx, cancel := context.WithTimeout(e.Context(), 20*time.Second)
	defer cancel()
	if r.Client == "" {
		r.Client = "billing"
	}
	return v.Vend(ctx, Read(r))
}

// Read returns a function that reads r.
func Read(r token.Request) func(*token.Request) error {
	return func(read *token.Request) error {
		*read = r
		return nil
	}
}

// Explain makes a dry run and returns its answer.
func (e *Env) Explain(r token.Request) map[string]any {
	e.Helper()
	r.DryRun = true
	grant := e.MustVend(r)
	var got map[string]any
	if err := json.Unmarshal(grant.AppendJSON(nil, e.Now()), &got); err != nil {
		e.Fatal(err)
	}
	if line := e.Last(); line.Outcome != "explained" || !line.DryRun || line.TokenSHA256 != "" || line.Allowed != got["allowed"] {
		e.Errorf("the audit line is %+v", line)
	}
	return got
}

// Vend asks the vendor.
func (e *Env) Vend(r token.Request) (token.Grant, error) { return e.Ask(e.Vendor, r) }

// MustVend asks the vendor, which must have a token.
func (e *Env) MustVend(r token.Request) token.Grant {
	e.Helper()
	grant, err := e.Vend(r)
	if err != nil {
		e.Fatal(err)
	}
	return grant
}

// WantOutcome asks for the token of billing.
func (e *Env) WantOutcome(want tokensource.Outcome) token.Grant {
	e.Helper()
	grant := e.MustVend(token.Request{})
	if grant.Outcome != want {
		e.Errorf("got outcome %s, want %s", grant.Outcome, want)
	}
	return grant
}

// WantKind asks the vendor, which must answer with an error of that kind.
func (e *Env) WantKind(r token.Request, want fault.Kind) *fault.Error {
	e.Helper()
	_, err := e.Vend(r)
	var failure *fault.Error
	if !errors.As(err, &failure) || failure.Kind != want {
		e.Fatalf("got error %v, want kind %d", err, want)
	}
	return failure
}

// WantCounts checks what the authorization server counted.
func (e *Env) WantCounts(exchanges, failedLogons int) {
	e.Helper()
	if got, failed := e.Server.Exchanges(), e.Server.FailedLogons("id"); got != exchanges || failed != failedLogons {
		e.Errorf("got %d exchanges and %d failed logons, want %d and %d", got, failed, exchanges, failedLogons)
	}
}

// UsePolicy makes the vendor decide by a policy.
func (e *Env) UsePolicy(text string) {
	e.SetPolicy(text, nil)
	cfg := e.Config()
	cfg.Policy = func(context.Context, bool) (secret.Secret, error) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.policyReads++; e.policyErr != nil {
			return secret.Secret{}, e.policyErr
		}
		return PolicySecret(e.policy), nil
	}
	e.Vendor = token.New(cfg)
}

// PolicySecret returns a secret with a policy. Its version is a hash of the text.
func PolicySecret(text string) secret.Secret {
	return secret.Secret{Text: []byte(text), Version: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(text)))}
}

// SetPolicy replaces the policy, or the error of reading it.
func (e *Env) SetPolicy(text string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.policy, e.policyErr = text, err
}

// PolicyReads returns how often the policy was read.
func (e *Env) PolicyReads() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.policyReads
}

// FailAudit lets every audit line fail; nil: none.
func (e *Env) FailAudit(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.auditErr = err
}

// Events returns the audit lines.
func (e *Env) Events() []audit.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]audit.Event(nil), e.events...)
}

// Last returns the last audit line.
func (e *Env) Last() audit.Event {
	events := e.Events()
	return events[len(events)-1]
}
