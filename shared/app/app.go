// Package app wires the other packages together for the functions. Only app reads the
// environment, so that a variable has one meaning for all functions. Apart from awsapi, only
// app imports the AWS SDK.
package app

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/awsapi"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/metrics"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/reading"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

// App has what all functions need. It is safe for concurrent use.
type App struct {
	Environment Environment
	Vendor      *token.Vendor
	Log         *slog.Logger
	Metrics     *metrics.Metrics
	// Fleet is nil if CACHE_TABLE is not set; then the environments share nothing.
	Fleet *fleet.Fleet
	// AWS is the configuration for clients that only one function needs.
	AWS aws.Config

	// connect opens the connection to Secrets Manager.
	connect func(context.Context)
}

// Config configures [New] with what belongs to the process.
type Config struct {
	// Getenv reads the environment; required.
	Getenv func(string) string
	// Output receives the log, with one JSON object on each line; required.
	Output io.Writer
	// Patience limits the response time of the shared table; zero: the limit for functions
	// whose callers wait.
	Patience time.Duration
}

// New reads the environment and wires the packages. It calls no server. The error contains
// all problems. Each names its variable but not the value.
func New(cfg Config) (*App, error) {
	tuneProcess(cfg.Getenv)
	env, envErr := readEnvironment(cfg.Getenv)
	awsConfig, awsErr := awsapi.LoadConfig()
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
	a.connect = secrets.Connect
	a.Vendor = token.New(token.Config{
		Clients: registry.New(registry.Config{
			Secrets:    reading.New(reading.Config{Secrets: secrets, Fleet: a.Fleet, Count: a.Metrics.Count, Now: time.Now}),
			Previous:   secrets.Previous(),
			Prefix:     env.ClientSecretPrefix,
			Addresses:  env.Addresses,
			Keys:       awsapi.NewSigningKeys(awsConfig),
			KeyAliases: "alias/" + env.NamePrefix + "/",
			Identity:   awsapi.NewWebIdentity(awsConfig),
			Audiences:  env.WebIdentityAudiences,
		}),
		Exchanger: oauth.NewExchanger(oauth.ExchangerConfig{UserAgent: "token-vendor/" + version()}),
		Fleet:     a.Fleet,
		// The environments of batch use the same budgets.
		Environments: env.environments(),
		Rates:        env.ExchangeRates,
		NoteUse:      env.NoteUse,
		Policy:       policyReader(secrets, env.PolicySecretID),
		Go:           newWorkers().run,
		Audit:        audit.New(audit.Config{Output: a.Metrics, Version: version()}).Write,
		Count:        a.Metrics.Count,
		Log:          a.Log,
	})
	return a, nil
}

// policyReader returns a function that reads the policy from the secret; nil if name is empty.
func policyReader(secrets *awsapi.Secrets, name string) func(context.Context, bool) (secret.Secret, error) {
	if name == "" {
		return nil
	}
	return func(ctx context.Context, once bool) (secret.Secret, error) {
		return secrets.ReadSecret(ctx, name, secret.Want{Once: once})
	}
}

// warmTime limits Warm. Lambda allows ten seconds for the initialization.
const warmTime = 6 * time.Second

// Warm does work that the first requests would wait for: it parses the trust store, opens the
// connections to Secrets Manager and to the shared table, and fetches the tokens of
// PrefetchClients. Call it during the initialization, when Lambda gives the function a whole
// processor. Failures have no consequence, because the first request does the work again.
func (a *App) Warm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, warmTime)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { a.Fleet.Open(ctx) })
	all.Go(func() { a.connect(ctx) })
	// crypto/x509 keeps the parsed certificates. On a function with little memory, parsing
	// takes many times longer after the initialization.
	_, _ = x509.SystemCertPool()
	all.Wait()
	for _, name := range a.Environment.PrefetchClients {
		all.Go(func() { _ = a.Vendor.Prefetch(ctx, name) }) // the audit line has the error
	}
	all.Wait()
	a.Metrics.Flush()
}

// FailInit reports err to the Lambda Runtime API, so that an operator sees the reason and not
// only the exit of the process. The text of err must not contain a secret. The caller must
// exit afterwards. Outside of Lambda, FailInit does nothing.
func FailInit(getenv func(string) string, err error) {
	host := getenv("AWS_LAMBDA_RUNTIME_API")
	if host == "" {
		return
	}
	body, _ := json.Marshal(map[string]any{"errorType": "Runtime.InvalidEnvironment", "errorMessage": err.Error(), "stackTrace": []string{}})
	// The path is that of "Initialization error" in the API.
	request, requestErr := http.NewRequest(http.MethodPost, "http://"+host+"/2018-06-01/runtime/init/error", bytes.NewReader(body))
	if requestErr != nil {
		return
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Lambda-Runtime-Function-Error-Type", "Runtime.InvalidEnvironment")
	// This transport uses no proxy, because the Runtime API is local.
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{}}
	if response, doErr := client.Do(request); doErr == nil {
		_ = response.Body.Close()
	}
}

// newLog returns a logger that uses the keys of Lambda's own JSON log lines. Main makes it that of
// package log, too.
func newLog(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			switch {
			case len(groups) > 0:
			case a.Key == slog.TimeKey:
				a.Key = "timestamp"
			case a.Key == slog.MessageKey:
				a.Key = "message"
				if strings.HasPrefix(a.Value.String(), oauth.UnsolicitedResponse) {
					a.Value = slog.StringValue(oauth.UnsolicitedResponse)
				}
			}
			return a
		},
	}))
}

// version returns the revision that the binary was built from, or dev.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return s.Value[:12]
			}
		}
	}
	return "dev"
}
