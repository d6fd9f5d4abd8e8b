package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	// faultScopes are so many different tokens, which live for faultLife, so that most of
	// the time some of them are being fetched.
	faultScopes = 40
	faultLife   = 6 * time.Second
	// answerTime is what Lambda gives the function.
	answerTime = 25 * time.Second
	// nowhere is a client whose authorization server's name no DNS knows (RFC 6761).
	nowhere = "nowhere"
	// keyed is a client with a key in KMS, vouched one that STS vouches for. Their
	// credentials are always right.
	keyed, vouched = "keyed", "vouched"
)

// clientOf is whose scope it is: half of them are the first client's, so that every
// server is needed all the time.
func clientOf(scope string) string {
	number, err := strconv.Atoi(strings.TrimPrefix(scope, "s"))
	switch {
	case err != nil:
		return nowhere
	case number%4 == 1:
		return keyed
	case number%4 == 3:
		return vouched
	}
	return "billing"
}

// stormConfig is what the flags say.
type stormConfig struct {
	processes, concurrency int
	seed                   uint64
	keepAlive              bool
}

func stormFlags(flags *flag.FlagSet, processes int) *stormConfig {
	var cfg stormConfig
	flags.IntVar(&cfg.processes, "processes", processes, "processes of the function")
	flags.IntVar(&cfg.concurrency, "concurrency", 1, "how many events a process holds at a time")
	flags.Uint64Var(&cfg.seed, "seed", uint64(time.Now().UnixNano()), "of the random numbers; the same seed makes about the same faults") // #nosec G115 -- any number will do
	return &cfg
}

// storm is a fleet whose servers fail, and what came of it.
type storm struct {
	ground      *ground
	fleet       []*runtimeapi.Runtime
	concurrency int

	mu       sync.Mutex
	random   *rand.Rand        // guarded by mu
	tokens   map[string]string // scope by token; guarded by mu
	errors   map[string]int    // by code; guarded by mu
	problems []string          // what must not be; guarded by mu
	made     map[string]int    // faults by their place; guarded by mu
	slowest  time.Duration     // guarded by mu
	granted  int               // guarded by mu
	stacks   []int             // that each process printed; guarded by mu
	rotated  bool              // the second secret is the right one
	outages  int               // that there have been
}

// newStorm builds the function and starts servers, proxies and the fleet.
func newStorm(ctx context.Context, cfg stormConfig) (s *storm, stop func() error, err error) {
	if cfg.processes < 1 || cfg.concurrency < 1 {
		return nil, nil, errors.New("-processes and -concurrency must be at least 1")
	}
	dir, err := os.MkdirTemp("", "token-vendor-bench-")
	if err != nil {
		return nil, nil, err
	}
	s = &storm{
		concurrency: cfg.concurrency, random: rand.New(rand.NewPCG(cfg.seed, 1)), // #nosec G404 -- faults are no secrets
		tokens: make(map[string]string), errors: make(map[string]int), made: make(map[string]int),
	}
	stop = func() error {
		var errs []error
		for _, function := range s.fleet {
			errs = append(errs, function.Close())
		}
		if s.ground != nil {
			s.ground.stop()
		}
		return errors.Join(append(errs, os.RemoveAll(dir))...)
	}
	if err := s.start(ctx, dir, cfg); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return s, stop, nil
}

func (s *storm) start(ctx context.Context, dir string, cfg stormConfig) (err error) {
	if err := build(ctx, dir, &candidate{name: "token", pkg: "functions/token"}); err != nil {
		return err
	}
	if s.ground, err = newGround(dir, drill{life: faultLife, table: true, proxied: true, keepAlive: cfg.keepAlive}); err != nil {
		return err
	}
	if err := errors.Join(
		s.ground.admit(withSecret, nowhere, "https://token-vendor.invalid/token", faultLife),
		s.ground.admit(withKey, keyed, s.ground.issuerURL+oauthtest.TokenPath, faultLife),
		s.ground.admit(withRole, vouched, s.ground.issuerURL+oauthtest.TokenPath, faultLife),
	); err != nil {
		return err
	}
	s.stacks = make([]int, cfg.processes)
	for i := range cfg.processes {
		w := &watcher{storm: s, process: i}
		function, err := runtimeapi.Start(runtimeapi.Config{
			Binary: filepath.Join(dir, "token"), FunctionName: "bench", Region: region, Account: account, MemoryMB: 256,
			Timeout: answerTime, MaxConcurrency: cfg.concurrency, Stdout: w, Stderr: w,
			Env: append([]string{"GOTRACEBACK=all"}, s.ground.env...),
		})
		if err != nil {
			return err
		}
		s.fleet = append(s.fleet, function)
	}
	return nil
}

// callers is how many requests the fleet holds at once.
func (s *storm) callers() int { return len(s.fleet) * s.concurrency }

func (s *storm) pick(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

// next is what is asked for next: a scope, and now and then the client that has no
// server.
func (s *storm) next() string {
	if s.pick(200) == 0 {
		return nowhere
	}
	return fmt.Sprint("s", s.pick(faultScopes))
}

func (s *storm) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(format, args...)
}

// note must be called with mu held.
func (s *storm) note(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(s.problems) < 20 && !slices.Contains(s.problems, text) {
		s.problems = append(s.problems, text)
	}
}

// trouble makes things fail until ctx ends: before every server a proxy makes trouble for
// a while, then not; AWS's calls throttle; and processes freeze.
func (s *storm) trouble(ctx context.Context) {
	var all sync.WaitGroup
	kinds := oauthtest.Troubles()
	for place, proxy := range s.ground.proxies {
		all.Go(func() {
			least, most := 50, 400
			if place == "DynamoDB" {
				// After two failures in a row a process leaves the table alone for 30 seconds,
				// and then nothing can happen to it there.
				least, most = 800, 2500
			}
			for s.pause(ctx, least, most) {
				met := proxy.Met()
				s.meets(place, proxy.Make(kinds[s.pick(len(kinds))]))
				for end := time.Now().Add(time.Duration(20+s.pick(230)) * time.Millisecond); time.Now().Before(end) && s.pause(ctx, 2, 5); {
					if place == "DynamoDB" && proxy.Met() > met {
						break
					}
				}
				s.meets("", proxy.Make(oauthtest.Trouble{}))
			}
		})
	}
	all.Go(func() { s.upsetServers(ctx) })
	all.Go(func() {
		for s.pause(ctx, 200, 1500) {
			function := s.fleet[s.pick(len(s.fleet))]
			if err := function.Freeze(); err != nil {
				continue // it does not run yet, or can't be frozen here
			}
			s.meets("process", nil)
			s.pause(ctx, 20, 600)
			s.meets("", function.Thaw())
		}
	})
	all.Wait()
}

// pause waits for a random number of milliseconds, and reports whether ctx goes on.
func (s *storm) pause(ctx context.Context, least, most int) bool {
	select {
	case <-time.After(time.Duration(least+s.pick(most-least)) * time.Millisecond):
		return true
	case <-ctx.Done():
		return false
	}
}

// meets counts a fault of a place; "" is none.
func (s *storm) meets(place string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.note("the drill failed: %v", err)
	}
	if place != "" {
		s.made[place]++
	}
}

// ask sends one request to one process and looks at the answer. The scope may be
// nowhere.
func (s *storm) ask(ctx context.Context, i int, scope string) (granted bool) {
	payload := `{"client":"` + clientOf(scope) + `","scope":"` + scope + `"}`
	begin := time.Now()
	result, err := s.fleet[i].Invoke(ctx, runtimeapi.Invocation{Payload: []byte(payload)})
	if err != nil {
		if ctx.Err() == nil {
			s.problem("a request had no answer: %v", err)
		}
		return false
	}
	return s.look(result.Payload, result.FunctionError != "", scope, time.Since(begin))
}

// look judges an answer.
func (s *storm) look(answer []byte, failed bool, scope string, took time.Duration) (granted bool) {
	var a struct {
		AccessToken string `json:"access_token"`
		Scope       string `json:"scope"`
		ExpiresIn   int64  `json:"expires_in"`
		ErrorType   string `json:"errorType"`
		Message     string `json:"errorMessage"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := json.Unmarshal(answer, &a); err != nil {
		s.note("an answer is not JSON")
		return false
	}
	s.slowest = max(s.slowest, took)
	if failed {
		for _, secret := range never() {
			if bytes.Contains(answer, []byte(secret)) {
				s.note("an error holds a secret or a token")
			}
		}
		// Lambda's own, that the time was over or the process dead, are no answers.
		if a.ErrorType != "temporarily_unavailable" && a.ErrorType != "server_error" {
			s.note("the error %s", a.ErrorType)
		}
		// No trouble of a server is a mistake of the function's.
		if a.Message == "internal error" {
			s.note("an internal error")
		}
		s.errors[a.ErrorType]++
		return false
	}
	for _, secret := range secrets() {
		if bytes.Contains(answer, []byte(secret)) {
			s.note("a secret beside a token")
		}
	}
	if problem := expired(a.AccessToken, a.ExpiresIn); problem != "" || a.ExpiresIn < 0 {
		s.note("%s, %d seconds left", problem, a.ExpiresIn)
	}
	if first, seen := s.tokens[a.AccessToken]; seen && first != scope || a.Scope != scope {
		s.note("a token of another scope")
	}
	s.tokens[a.AccessToken] = scope
	s.granted++
	return true
}

// expired says what is wrong with a token of oauthtest's, of whose life so many seconds
// are said to be left; empty: nothing.
func expired(token string, left int64) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "not a token of the authorization server"
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp int64 `json:"exp"`
	}
	// The server's exp is in whole seconds, and so up to one early.
	now := time.Now().Unix()
	switch {
	case err != nil || json.Unmarshal(text, &claims) != nil || claims.Exp < now:
		return "an expired token"
	case left > claims.Exp+3-now: // it was said a moment ago
		return "a token that ends before it is said to"
	}
	return ""
}

// report prints the counts, and fails if anything was as it must not be.
func (s *storm) report(out io.Writer, logons int) error {
	c := s.ground.counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := 0
	for _, n := range s.made {
		all += n
	}
	fmt.Fprintf(out, "  %-23s %d\n", "faults", all)
	for _, place := range slices.Sorted(maps.Keys(s.made)) {
		fmt.Fprintf(out, "    %-21s %d", place, s.made[place])
		if proxy := s.ground.proxies[place]; proxy != nil {
			// Who was refused is not seen.
			fmt.Fprintf(out, ", met %d times", proxy.Met())
			if proxy.Strayed() > 0 {
				s.note("a redirect was followed")
			}
		}
		fmt.Fprintln(out)
	}
	for _, row := range []struct {
		what  string
		value any
	}{
		{"tokens", s.granted}, {"temporarily_unavailable", s.errors["temporarily_unavailable"]}, {"server_error", s.errors["server_error"]},
		{"different tokens", len(s.tokens)}, {"token requests", c.asked}, {"table calls", c.table}, {"failed logons", c.failedLogons}, {"slowest answer", s.slowest.Round(time.Millisecond)},
	} {
		fmt.Fprintf(out, "  %-23s %v\n", row.what, row.value)
	}
	// Who does not learn of a refusal cannot heed it.
	hidden := s.ground.proxies["authorization server"].Hidden()
	fmt.Fprintf(out, "  %-23s %d\n", "  their answers lost", hidden)
	if c.failedLogons > logons+hidden {
		s.note("more failed logons than the fuse allows")
	}
	if s.ground.issuer.FailedLogons(keyed)+s.ground.issuer.FailedLogons(vouched) > 0 {
		s.note("a right credential failed")
	}
	if len(s.problems) > 0 {
		return errors.New(strings.Join(s.problems, "; "))
	}
	fmt.Fprintln(out, "  no wrong token, no expired one, no secret in any output, an answer to everybody")
	return nil
}
