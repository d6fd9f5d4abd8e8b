package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// faults sends requests while everything that the function stands on fails at random,
// and counts what must not be.
func faults(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	requests := flags.Int("requests", 10_000, "how many requests are sent")
	cfg := stormFlags(flags, 8)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *requests < 2 {
		return errors.New("faults: -requests must be at least 2")
	}
	s, stop, err := newStorm(ctx, *cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	fmt.Fprintf(out, "%d requests, %d processes with %d events each, -seed %d\n", *requests, cfg.processes, cfg.concurrency, cfg.seed)
	s.blow(ctx, *requests)
	s.calm(ctx)
	// With the table one for the fleet and each of the two versions that are refused; without
	// it, which happens here, one a process.
	return s.report(out, 2*cfg.processes)
}

// blow sends the requests. In the middle the secret is rotated, and for an eighth of the
// requests what is stored is wrong before it is right.
func (s *storm) blow(ctx context.Context, requests int) {
	// Every other process begins before the storm, with the table's key: without it a process
	// leaves the table alone for 30 seconds.
	for i := 0; i < len(s.fleet); i += 2 {
		s.ask(ctx, i, "s0")
	}
	blowing, cancel := context.WithCancel(ctx)
	var troubles, callers sync.WaitGroup
	troubles.Go(func() { s.trouble(blowing) })
	var sent atomic.Int64
	for i := range s.callers() {
		callers.Go(func() {
			for n := sent.Add(1); n <= int64(requests) && ctx.Err() == nil; n = sent.Add(1) {
				var err error
				switch n {
				case int64(requests+1) / 2:
					err = errors.Join(s.ground.issuer.SetSecrets("bench", secondSecret), s.ground.put("wrong"))
				case int64(requests+1)/2 + int64(requests+7)/8:
					err = s.ground.put(secondSecret)
				}
				if err != nil {
					s.problem("the secret was not changed: %v", err)
				}
				s.ask(ctx, i%len(s.fleet), s.next())
				// Or all of them would be answered before much could happen.
				s.pause(ctx, s.concurrency, 30*s.concurrency)
			}
		})
	}
	callers.Wait()
	cancel()
	troubles.Wait()
}

// calm waits until every token can be had again from every process.
func (s *storm) calm(ctx context.Context) {
	var all sync.WaitGroup
	for i := range s.fleet {
		all.Go(func() {
			for n := range faultScopes {
				end := time.Now().Add(time.Minute)
				for !s.ask(ctx, i, fmt.Sprint("s", n)) {
					if time.Now().After(end) || ctx.Err() != nil {
						s.problem("no token a minute after the last fault")
						return
					}
					time.Sleep(200 * time.Millisecond)
				}
			}
		})
	}
	all.Wait()
}
