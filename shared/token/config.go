package token

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

// Clients loads clients by name; see [registry.Registry.Load],
// [registry.Registry.LoadPrevious], [registry.Registry.LoadOld] and [registry.Registry.Inspect].
type Clients interface {
	Load(ctx context.Context, name string, have registry.Have) (client *registry.Client, read time.Time, err error)
	LoadOld(ctx context.Context, name string) (*registry.Client, error)
	LoadPrevious(ctx context.Context, current *registry.Client) (*registry.Client, error)
	Inspect(ctx context.Context, name string) (*registry.Client, error)
}

// Config configures a [Vendor].
type Config struct {
	// Clients is required.
	Clients Clients
	// Exchanger is required.
	Exchanger *oauth.Exchanger
	// Fleet is what this environment shares with the others; nil: nothing.
	Fleet *fleet.Fleet
	// Environments is that of [tokensource.Config].
	Environments int
	// Rates are those of [tokensource.Config].
	Rates map[string]float64
	// NoteUse is that of [tokensource.Config].
	NoteUse bool
	// Policy reads the secret with the policy, as a [secret.Reader] does; nil: IAM has decided
	// already (mode iam). It is parsed when its version changes. once means that the policy in
	// memory can still be used.
	Policy func(ctx context.Context, once bool) (secret.Secret, error)
	// Audit records every decision before a token leaves; nil: nothing is recorded. It may
	// be called by several goroutines at once.
	Audit func(*audit.Event) error
	// Count is told of what operators should see, by the names of the Count constants here
	// and in tokensource; nil: nothing is counted.
	Count func(name string)
	// Log is told of panics, and why something was counted; nil: it is not.
	Log *slog.Logger
	// Go is that of cache.Config in package cache, for documents and tokens.
	Go func(load func())
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// clock is Now with its monotonic reading, for caches.
	clock func() time.Time
	// Rand returns a number in [0, 1) for jitter; nil means math/rand/v2.
	Rand func() float64
}

// The names that Config.Count is called with, beside those of tokensource.
const (
	// CountDocument: a document that worked is now broken, gone or forbidden.
	CountDocument = "DocumentsFailed"
	// CountPolicy: the policy is broken, gone or forbidden.
	CountPolicy = "PolicyFailed"
	// CountDenied: a request was refused by the policy or for the caller's identity.
	CountDenied = "Denied"
	// CountForged: an event was forged.
	CountForged = "ForgedEvents"
	// CountAudit: a decision could not be recorded, so that it had no effect.
	CountAudit = "AuditFailures"
)

// withDefaults returns cfg with its optional members set, but for Fleet and Policy.
func (cfg Config) withDefaults() Config {
	if cfg.clock = cfg.Now; cfg.clock == nil {
		cfg.clock = time.Now
	}
	// The monotonic clock stops while a function is frozen.
	cfg.Now = func() time.Time { return cfg.clock().Round(0) }
	if cfg.Rand == nil {
		cfg.Rand = rand.Float64
	}
	if cfg.Count == nil {
		cfg.Count = func(string) {}
	}
	if cfg.Audit == nil {
		cfg.Audit = func(*audit.Event) error { return nil }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// jitter returns a random part of d, at least the share least.
func (cfg *Config) jitter(d time.Duration, least float64) time.Duration {
	return time.Duration(float64(d) * (least + (1-least)*cfg.Rand()))
}
