package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	// faultScopes is the number of different tokens, and faultLife their life: most of the
	// time some of them are being fetched.
	faultScopes = 40
	faultLife   = 6 * time.Second
	// answerTime is the function's timeout in Lambda.
	answerTime = 25 * time.Second
	// unresolved is a client whose authorization server has a name that no DNS resolves
	// (RFC 6761).
	unresolved = "unresolved"
	// kmsClient is a client with a key in KMS, stsClient one with a web identity token. Their
	// credentials are always right.
	kmsClient, stsClient = "kms-client", "sts-client"
)

// clientOf returns the client of a scope. Half of the scopes belong to the first client,
// so that every server is called all the time.
func clientOf(scope string) string {
	number, err := strconv.Atoi(strings.TrimPrefix(scope, "s"))
	switch {
	case err != nil:
		return unresolved
	case number%4 == 1:
		return kmsClient
	case number%4 == 3:
		return stsClient
	}
	return "billing"
}

// faultConfig is what the flags of the subcommands faults and soak say.
type faultConfig struct {
	processes, concurrency int
	seed                   uint64
	keepAlive              bool
}

func faultFlags(flags *flag.FlagSet, processes int) *faultConfig {
	var cfg faultConfig
	flags.IntVar(&cfg.processes, "processes", processes, "processes of the function")
	flags.IntVar(&cfg.concurrency, "concurrency", 1, "how many events a process takes at a time")
	flags.Uint64Var(&cfg.seed, "seed", uint64(time.Now().UnixNano()), "seed of the random numbers; the same seed makes about the same faults") // #nosec G115 -- any number will do
	return &cfg
}

// faultRun is a fleet whose servers fail, with the checks of its answers.
type faultRun struct {
	env         *env
	fleet       []*runtimeapi.Runtime
	concurrency int
	checks      *checker
	rotated     bool // the second secret is the right one
	outages     int  // how many there have been

	mu       sync.Mutex
	random   *rand.Rand     // guarded by mu
	injected map[string]int // faults by the server's name, or "process"; guarded by mu
}

// newFaultRun starts servers, proxies and the fleet. The caller must stop it.
func newFaultRun(ctx context.Context, cfg faultConfig) (*faultRun, error) {
	if cfg.processes < 1 || cfg.concurrency < 1 {
		return nil, errors.New("-processes and -concurrency must be at least 1")
	}
	e, err := newEnv(ctx, envConfig{life: faultLife, table: true, proxied: true, keepAlive: cfg.keepAlive})
	if err != nil {
		return nil, err
	}
	r := &faultRun{
		env: e, concurrency: cfg.concurrency, checks: newChecker(cfg.processes), injected: make(map[string]int),
		random: rand.New(rand.NewPCG(cfg.seed, 1)), // #nosec G404 -- faults are no secrets
	}
	if err := r.start(cfg); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

func (r *faultRun) start(cfg faultConfig) error {
	if err := errors.Join(
		r.env.addClient(withSecret, unresolved, "https://token-vendor.invalid/token", faultLife),
		r.env.addClient(withKey, kmsClient, r.env.issuerURL+oauthtest.TokenPath, faultLife),
		r.env.addClient(withRole, stsClient, r.env.issuerURL+oauthtest.TokenPath, faultLife),
	); err != nil {
		return err
	}
	for i := range cfg.processes {
		function, err := r.env.startFunction(append([]string{"GOTRACEBACK=all"}, r.env.vars...), cfg.concurrency, &outputScanner{checker: r.checks, process: i})
		if err != nil {
			return err
		}
		r.fleet = append(r.fleet, function)
	}
	return nil
}

func (r *faultRun) stop() error {
	var errs []error
	for _, function := range r.fleet {
		errs = append(errs, function.Close())
	}
	return errors.Join(append(errs, r.env.close())...)
}

// callers returns how many requests the fleet takes at once.
func (r *faultRun) callers() int { return len(r.fleet) * r.concurrency }

// pick returns a random number below n.
func (r *faultRun) pick(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.random.IntN(n)
}

// nextScope returns a random scope, and now and then the client whose server's name is
// not resolved.
func (r *faultRun) nextScope() string {
	if r.pick(200) == 0 {
		return unresolved
	}
	return fmt.Sprint("s", r.pick(faultScopes))
}

// pause waits for a random number of milliseconds and reports whether ctx is still alive.
func (r *faultRun) pause(ctx context.Context, least, most int) bool {
	return sleep(ctx, time.Duration(least+r.pick(most-least))*time.Millisecond)
}

// ask sends one request to one process and checks the answer. The scope may be
// unresolved.
func (r *faultRun) ask(ctx context.Context, i int, scope string) (granted bool) {
	payload := `{"client":"` + clientOf(scope) + `","scope":"` + scope + `"}`
	begin := time.Now()
	result, err := r.fleet[i].Invoke(ctx, runtimeapi.Invocation{Payload: []byte(payload)})
	if err != nil {
		if ctx.Err() == nil {
			r.checks.problem("a request had no answer: %v", err)
		}
		return false
	}
	granted, _ = r.checks.checkAnswer(result.Payload, result.FunctionError != "", scope, time.Since(begin))
	return granted
}

// report prints the counts, and fails if there are problems or more failed logons than
// logons. It takes no locks, since everything that counts has ended.
func (r *faultRun) report(out io.Writer, logons int) error {
	c, checks := r.env.counts(), r.checks
	all := 0
	for _, n := range r.injected {
		all += n
	}
	fmt.Fprintf(out, "  %-23s %d\n", "faults", all)
	for _, server := range slices.Sorted(maps.Keys(r.injected)) {
		fmt.Fprintf(out, "    %-21s %d", server, r.injected[server])
		if proxy := r.env.proxies[server]; proxy != nil {
			// The proxy does not see connections that are refused.
			fmt.Fprintf(out, ", met %d times", proxy.Met())
			if proxy.Strayed() > 0 {
				checks.problem("a redirect was followed")
			}
		}
		fmt.Fprintln(out)
	}
	// The function cannot respect a refusal that it does not receive.
	hidden := r.env.proxies["authorization server"].Hidden()
	for _, row := range []struct {
		what  string
		value any
	}{
		{"tokens", checks.granted}, {"temporarily_unavailable", checks.errors["temporarily_unavailable"]}, {"server_error", checks.errors["server_error"]},
		{"different tokens", len(checks.tokens)}, {"token requests", c.requests}, {"table calls", c.table}, {"failed logons", c.failedLogons},
		{"  answers to them lost", hidden}, {"slowest answer", checks.slowest.Round(time.Millisecond)},
	} {
		fmt.Fprintf(out, "  %-23s %v\n", row.what, row.value)
	}
	if c.failedLogons > logons+hidden {
		checks.problem("%d failed logons, more than the lockout allows (%d)", c.failedLogons, logons+hidden)
	}
	if r.env.issuer.FailedLogons(kmsClient)+r.env.issuer.FailedLogons(stsClient) > 0 {
		checks.problem("a logon with a right credential failed")
	}
	if err := checks.err(); err != nil {
		return err
	}
	fmt.Fprintln(out, "  no wrong or expired token, no secret in any output, an answer to every request")
	return nil
}
