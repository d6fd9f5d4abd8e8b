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
	"slices"
	"strings"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
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
	flags.IntVar(&cfg.misses, "misses", 48, "misses of each function in each round")
	flags.StringVar(&cfg.only, "only", "", `functions, such as "token,constant,constant again"; empty: all`)
	flags.StringVar(&cfg.trust, "trust", trustAmazon, "trust store: small, bundle or amazon")
	flags.BoolVar(&cfg.strict, "strict", false, "fail if a limit does not hold")
	flags.StringVar(&cfg.json, "json", "", "write the medians to this file")
	flags.StringVar(&cfg.svg, "svg", "", "write a picture of the ratios to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !slices.Contains([]string{trustSmall, trustBundle, trustAmazon}, cfg.trust) {
		return fmt.Errorf("-trust: %q is not small, bundle or amazon", cfg.trust)
	}
	if cfg.rounds < 1 || cfg.calls < 1 || cfg.misses < 1 {
		return errors.New("-rounds, -calls and -misses must be at least 1")
	}
	s := &speedRun{cfg: cfg}
	if s.candidates, err = chosenCandidates(cfg.only); err != nil {
		return err
	}
	e, err := newEnv(ctx, envConfig{life: time.Hour})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	s.env = e
	defer s.close()
	if err := s.prepare(ctx, out); err != nil {
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
	servers    []*oauthtest.Server // of the clients that a process asks for once
	candidates []*candidate
	trust      string   // how the trust store looks
	event      []byte   // of the client that every process knows
	others     [][]byte // one event of each client that a process asks for once
}

// prepare builds the candidates and registers the clients.
func (s *speedRun) prepare(ctx context.Context, out io.Writer) error {
	// As in AWS, the calls of Secrets Manager need TLS.
	secrets, err := s.env.serveTLS(s.env.secrets)
	if err != nil {
		return err
	}
	store, err := newTrustStore(s.env.dir, s.cfg.trust, s.env.issuer.CAPEM())
	if err != nil {
		return err
	}
	s.trust = store.description
	if s.candidates, err = prepared(ctx, s.candidates, s.env.dir, out); err != nil {
		return err
	}
	for _, c := range s.candidates {
		c.setVars(slices.Concat(s.env.vars, []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + secrets, "SECRET_PREFIX=token-vendor/clients/"}), store)
	}
	if s.event, err = os.ReadFile("events/rest-v1.json"); err != nil {
		return errors.New("events/rest-v1.json: run this in the repository")
	}
	return s.addClients()
}

// clientsOfServer is less than the exchanges that the token function makes with a server
// without a wait.
const clientsOfServer = 8

// addClients registers the clients that a process asks for once.
func (s *speedRun) addClients() error {
	for i := range s.cfg.misses {
		if i%clientsOfServer == 0 {
			server, err := oauthtest.Start(oauthtest.Config{CA: s.env.issuer.CA()})
			if err != nil {
				return err
			}
			s.servers = append(s.servers, server)
		}
		name, server := fmt.Sprintf("client-%d", i), s.servers[len(s.servers)-1]
		server.Register(oauthtest.Client{ID: name, Methods: []string{"client_secret_post"}, Secrets: []string{firstSecret}, Lifetime: time.Hour})
		document := fmt.Sprintf(`{"token_endpoint":%q,"client_id":%q,"client_secret":%q}`, server.URL()+oauthtest.TokenPath, name, firstSecret)
		if _, err := s.env.secrets.Seed("token-vendor/clients/"+name, document); err != nil {
			return err
		}
		// The client's name occurs in paths and as a value.
		s.others = append(s.others, []byte(strings.NewReplacer(`token/billing"`, `token/`+name+`"`, `"billing"`, `"`+name+`"`).Replace(string(s.event))))
	}
	return nil
}

// calls returns the exchanges and the calls of Secrets Manager so far.
func (s *speedRun) calls() (exchanges, reads int) {
	c := s.env.counts()
	for _, server := range s.servers {
		c.exchanges += server.Exchanges()
	}
	return c.exchanges, c.reads
}

// close stops the servers of the clients.
func (s *speedRun) close() {
	for _, server := range s.servers {
		server.Close()
	}
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
