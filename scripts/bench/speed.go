package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"tokenvendor/scripts/local/secretsmanager"
	"tokenvendor/shared/oauth/oauthtest"
)

// candidate is one function that is measured.
type candidate struct {
	name, pkg string
	cold      []time.Duration // spawn to first answer, by round
	warm      []time.Duration // median round trip, by round
	peak      []int64
}

// speed compares the token function with the constant one and the plain one.
// The constant is measured twice: how far it is from itself is the noise.
func speed(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("speed", flag.ContinueOnError)
	rounds := flags.Int("rounds", 20, "cold starts of each function")
	calls := flags.Int("calls", 500, "warm calls in each round")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "token-vendor-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	candidates := []*candidate{
		{name: "token", pkg: "functions/token"},
		{name: "constant", pkg: "scripts/bench/constant"},
		{name: "constant again", pkg: "scripts/bench/constant"},
		{name: "plain", pkg: "scripts/bench/plain"},
	}
	for _, c := range candidates {
		if err := build(ctx, dir, c); err != nil {
			return err
		}
	}
	env, stop, err := servers(dir)
	if err != nil {
		return err
	}
	defer stop()
	event, err := proxyEvent()
	if err != nil {
		return err
	}
	for range *rounds {
		if err := round(ctx, dir, candidates, env, event, *calls); err != nil {
			return err
		}
	}
	report(out, candidates)
	return nil
}

// build compiles as scripts/build does. The linker's file is copied, since a
// fresh one starts slower than its copy.
func build(ctx context.Context, dir string, c *candidate) error {
	fresh := filepath.Join(dir, "fresh")
	// #nosec G204 -- fixed arguments but for names of our own.
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags", "-s -w", "-o", fresh, "tokenvendor/"+c.pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	binary, err := os.ReadFile(fresh)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, c.name), binary, 0o700) // #nosec G306 -- it must be executable
}

// servers starts what the functions call, and returns their environment.
func servers(dir string) (env []string, stop func(), err error) {
	issuer, err := oauthtest.Start(oauthtest.Config{})
	if err != nil {
		return nil, nil, err
	}
	issuer.Register(oauthtest.Client{ID: "bench", Methods: []string{"client_secret_post"}, Secrets: []string{"bench"}})
	store := secretsmanager.New(secretsmanager.Config{Region: "eu-central-1", Account: "123456789012"})
	endpoint := httptest.NewServer(store)
	stop = func() { endpoint.Close(); issuer.Close() }
	document, err := json.Marshal(map[string]string{"token_endpoint": issuer.TokenEndpoint(), "client_id": "bench", "client_secret": "bench"})
	if err == nil {
		_, err = store.Seed("token-vendor/clients/billing", string(document))
	}
	ca := filepath.Join(dir, "ca.pem")
	err = errors.Join(err, os.WriteFile(ca, issuer.CAPEM(), 0o600))
	return []string{
		"AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench", "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + endpoint.URL,
		"SSL_CERT_FILE=" + ca, "SSL_CERT_DIR=" + filepath.Join(dir, "none"), "ALLOW_PRIVATE_ENDPOINTS=true",
		"SECRET_ID=token-vendor/clients/billing",
	}, stop, err
}

// proxyEvent returns the sample event of a REST API.
func proxyEvent() ([]byte, error) {
	event, err := os.ReadFile(filepath.Join("events", "rest-v1.json"))
	if err != nil {
		return nil, errors.New("events/rest-v1.json: run this in the repository")
	}
	return event, nil
}

// round measures every candidate once, the warm calls in turn, all in random
// order, so that the machine's drift hits all alike.
func round(ctx context.Context, dir string, candidates []*candidate, env []string, event []byte, calls int) (err error) {
	processes := make([]*process, len(candidates))
	defer func() {
		for _, p := range processes {
			if p != nil {
				err = errors.Join(err, p.stop())
			}
		}
	}()
	for _, i := range rand.Perm(len(candidates)) {
		begin := time.Now()
		if processes[i], err = spawn(ctx, filepath.Join(dir, candidates[i].name), env, nil); err != nil {
			return err
		}
		if _, err := processes[i].call(event); err != nil {
			return fmt.Errorf("%s: %w", candidates[i].name, err)
		}
		candidates[i].cold = append(candidates[i].cold, time.Since(begin))
	}
	took := make([][]time.Duration, len(candidates))
	for range calls {
		for _, i := range rand.Perm(len(candidates)) {
			d, err := processes[i].call(event)
			if err != nil {
				return fmt.Errorf("%s: %w", candidates[i].name, err)
			}
			took[i] = append(took[i], d)
		}
	}
	for i, c := range candidates {
		c.warm = append(c.warm, median(took[i]))
		c.peak = append(c.peak, peak(processes[i].cmd.Process.Pid))
	}
	return nil
}

func median[T time.Duration | int64 | float64](list []T) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// ratio is the median of the rounds' ratios.
func ratio(a, b []time.Duration) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = float64(a[i]) / float64(b[i])
	}
	return median(ratios)
}

func report(out io.Writer, candidates []*candidate) {
	token, constant, again, plain := candidates[0], candidates[1], candidates[2], candidates[3]
	fmt.Fprintf(out, "%-15s %12s %12s %10s\n", "medians", "cold", "warm", "peak MB")
	for _, c := range candidates {
		fmt.Fprintf(out, "%-15s %12v %12v %10.1f\n", c.name, median(c.cold).Round(10*time.Microsecond), median(c.warm).Round(time.Microsecond), float64(median(c.peak))/(1<<20))
	}
	fmt.Fprintf(out, "\nwarm, token / constant  %.2f   (the constant to itself %.2f)\n", ratio(token.warm, constant.warm), ratio(again.warm, constant.warm))
	fmt.Fprintf(out, "cold, token / plain     %.2f\n", ratio(token.cold, plain.cold))
}
