package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
