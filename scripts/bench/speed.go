package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// speedConfig is what the flags of bench speed say.
type speedConfig struct {
	rounds, calls, misses int
	only                  string // names of candidates with commas between them; empty: all
	trust                 string
	strict                bool
	json, svg             string // names of files; empty: none
}

// speed compares the token function with others that do the same, or nothing. The constant
// function is measured twice: the ratio of the two is the noise.
func speed(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("speed", flag.ContinueOnError)
	var cfg speedConfig
	flags.IntVar(&cfg.rounds, "rounds", 20, "rounds; each starts each function three times")
	flags.IntVar(&cfg.calls, "calls", 1000, "hits of each function in each round")
	flags.IntVar(&cfg.misses, "misses", 8, "misses of each function in each round")
	flags.StringVar(&cfg.only, "only", "", `functions, such as "token,constant,constant again"; empty: all`)
	flags.StringVar(&cfg.trust, "trust", trustAmazon, "trust store: small, bundle or amazon")
	flags.BoolVar(&cfg.strict, "strict", false, "fail if a limit does not hold")
	flags.StringVar(&cfg.json, "json", "", "write the medians to this file")
	flags.StringVar(&cfg.svg, "svg", "", "write a picture of the ratios to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if cfg.rounds < 1 || cfg.calls < 1 || cfg.misses < 1 {
		return errors.New("-rounds, -calls and -misses must be at least 1")
	}
	e, err := newEnv(ctx, envConfig{life: time.Hour})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	s, err := newSpeedRun(ctx, cfg, e, out)
	if err != nil {
		return err
	}
	// The collector of this process runs beside the functions.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for range cfg.rounds {
		if err := s.round(ctx); err != nil {
			return err
		}
	}
	failed := s.report(out)
	if cfg.json != "" {
		err = s.writeJSON(cfg.json)
	}
	if cfg.svg != "" {
		err = errors.Join(err, s.writeSVG(cfg.svg, time.Now()))
	}
	if cfg.strict && len(failed) > 0 {
		err = errors.Join(err, fmt.Errorf("limits that do not hold: %s", strings.Join(failed, ", ")))
	}
	return err
}

// speedRun is one comparison.
type speedRun struct {
	cfg        speedConfig
	env        *env
	candidates []*candidate
	trust      string   // how the trust store looks
	event      []byte   // of the client that every process knows
	others     [][]byte // one event of each client that a process asks for once
}

// newSpeedRun builds the candidates and registers the clients.
func newSpeedRun(ctx context.Context, cfg speedConfig, e *env, out io.Writer) (*speedRun, error) {
	s := &speedRun{cfg: cfg, env: e}
	// As in AWS, the calls of Secrets Manager need TLS.
	secrets, err := e.serveTLS(e.secrets)
	if err != nil {
		return nil, err
	}
	store, err := newTrustStore(e.dir, cfg.trust, e.issuer.CAPEM())
	if err != nil {
		return nil, err
	}
	s.trust = store.description
	if s.candidates, err = candidates(ctx, e, []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + secrets, "SECRET_PREFIX=token-vendor/clients/"}, store, cfg.only, out); err != nil {
		return nil, err
	}
	event, err := os.ReadFile("events/rest-v1.json")
	if err != nil {
		return nil, errors.New("events/rest-v1.json: run this in the repository")
	}
	s.event = event
	for i := range cfg.misses {
		name := fmt.Sprintf("client-%d", i)
		if err := e.addClient(withSecret, name, e.tokenEndpoint(), time.Hour); err != nil {
			return nil, err
		}
		// The client's name occurs in paths and as a value.
		s.others = append(s.others, []byte(strings.ReplaceAll(strings.ReplaceAll(string(event), `token/billing"`, `token/`+name+`"`), `"billing"`, `"`+name+`"`)))
	}
	return s, nil
}

// writeJSON writes the medians of all candidates, in nanoseconds and bytes, and the ratios.
func (s *speedRun) writeJSON(file string) error {
	type limitJSON struct {
		Metric, Of, To string
		Ratio, Limit   float64
		Holds          bool
	}
	document := struct {
		Trust   string
		Medians map[string]map[string]float64
		Limits  []limitJSON
	}{Trust: s.trust, Medians: make(map[string]map[string]float64)}
	for _, c := range s.candidates {
		document.Medians[c.name] = make(map[string]float64)
		for m, values := range c.values {
			document.Medians[c.name][string(m)] = median(values)
		}
	}
	for _, l := range s.limits() {
		document.Limits = append(document.Limits, limitJSON{string(l.metric), l.of, l.to, l.ratio, l.max, l.holds()})
	}
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}
