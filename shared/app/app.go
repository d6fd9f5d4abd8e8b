// Package app wires the parts together for the functions. It is the only reader
// of the environment, so that two functions cannot understand a variable
// differently, and beside awsapi the only importer of the AWS SDK.
package app

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/awsapi"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/metrics"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/token"
)

// App is what a function needs. It is safe for concurrent use.
type App struct {
	Environment Environment
	Vendor      *token.Vendor
	Log         *slog.Logger
	Metrics     *metrics.Metrics
	// Fleet is nil where the environments share nothing.
	Fleet *fleet.Fleet
	// AWS is for what only one function needs.
	AWS aws.Config
}

// Config is what New takes from the process.
type Config struct {
	// Getenv reads the environment; required.
	Getenv func(string) string
	// Output receives the log, one JSON object a line; required.
	Output io.Writer
	// Patience is how long the shared table may take to answer; 0: as long as callers
	// can wait.
	Patience time.Duration
}

// New reads the environment and wires everything. It calls no server. The error
// holds all problems, each naming its variable and never its value.
func New(ctx context.Context, cfg Config) (*App, error) {
	env, envErr := readEnvironment(cfg.Getenv)
	awsConfig, awsErr := awsapi.LoadConfig(ctx)
	if err := errors.Join(envErr, awsErr); err != nil {
		return nil, err
	}
	out := newOutput(cfg.Output)
	a := &App{
		Environment: env,
		AWS:         awsConfig,
		Log:         newLog(out, env.LogLevel),
		Metrics:     metrics.New(metrics.Config{Output: out, Namespace: env.MetricsNamespace}),
	}
	if env.CacheTable != "" {
		a.Fleet = fleet.New(fleet.Config{
			Table:    awsapi.NewTable(awsConfig, env.CacheTable),
			Keys:     awsapi.NewKeys(awsConfig, env.CacheKeyID, env.CacheTable),
			Count:    a.Metrics.Count,
			Patience: cfg.Patience,
			Warn:     func(err error) { a.Log.Warn("shared cache not used", "detail", err.Error()) },
		})
	}
	secrets := awsapi.NewSecrets(awsConfig)
	a.Vendor = token.New(token.Config{
		Clients: registry.New(registry.Config{
			Secrets:   secrets,
			Prefix:    env.ClientSecretPrefix,
			Addresses: env.Addresses,
			Keys:      awsapi.NewSigningKeys(awsConfig),
			Identity:  awsapi.NewWebIdentity(awsConfig),
			Audiences: env.WebIdentityAudiences,
		}),
		Exchanger: oauth.NewExchanger(oauth.ExchangerConfig{UserAgent: "token-vendor/" + version()}),
		Fleet:     a.Fleet,
		Policy:    policyReader(secrets, env.PolicySecretID),
		Audit:     audit.New(audit.Config{Output: out, Version: version()}).Write,
		Count:     a.Metrics.Count,
		Log:       a.Log,
	})
	return a, nil
}

// policyReader reads the policy from the secret of that name; nil without one.
func policyReader(secrets *awsapi.Secrets, name string) func(context.Context, bool) (*policy.Policy, error) {
	if name == "" {
		return nil
	}
	return func(ctx context.Context, once bool) (*policy.Policy, error) {
		secret, err := secrets.ReadSecret(ctx, name, once)
		if err != nil {
			return nil, err
		}
		return policy.Parse(secret.Text)
	}
}

// prefetchTime bounds Warm: Lambda gives a start ten seconds.
const prefetchTime = 6 * time.Second

// Warm does, while the function starts and has a whole processor, what the first
// request would wait for: it parses the trust store, opens the shared table, and
// fetches the tokens of the clients that the environment names. It never fails;
// what it could not do, the first request does.
func (a *App) Warm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, prefetchTime)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { a.Fleet.Open(ctx) })
	warmTrustStore()
	all.Wait()
	for _, name := range a.Environment.PrefetchClients {
		all.Go(func() {
			// What kept a token from coming stands in the audit line.
			_ = a.Vendor.Prefetch(ctx, name)
		})
	}
	all.Wait()
	a.Metrics.Flush()
}

// warmTrustStore parses the system's certificates: on a small function the first
// exchange would wait many times longer for it. The result is kept by crypto/x509.
func warmTrustStore() { _, _ = x509.SystemCertPool() }

// newLog writes the keys that Lambda's own JSON log lines have.
func newLog(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 {
				switch a.Key {
				case slog.TimeKey:
					a.Key = "timestamp"
				case slog.MessageKey:
					a.Key = "message"
				}
			}
			return a
		},
	}))
}

// version is the revision that the binary was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return s.Value[:12]
			}
		}
	}
	return "dev"
}
