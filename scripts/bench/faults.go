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

// faults sends requests while all servers of the function fail at random, and fails if a
// check of the answers does.
func faults(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	requests := flags.Int("requests", 10_000, "how many requests are sent")
	cfg := faultFlags(flags, 8)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *requests < 2 {
		return errors.New("faults: -requests must be at least 2")
	}
	r, err := newFaultRun(ctx, *cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	fmt.Fprintf(out, "%d requests, %d processes with %d events each, -seed %d\n", *requests, cfg.processes, cfg.concurrency, cfg.seed)
	r.sendRequests(ctx, *requests)
	r.recover(ctx, 1)
	// Two versions of the secret are refused: a wrong one, and one that worked before, which
	// costs a second failed logon to find out that a caller's scope is not at fault. With the
	// table that costs the fleet three, and without it, which happens here, each process.
	return r.report(out, 3*cfg.processes)
}

// sendRequests sends the requests while faults are injected. In the middle the secret is
// rotated, and for an eighth of the requests the stored one is wrong.
func (r *faultRun) sendRequests(ctx context.Context, requests int) {
	// Every other process starts before the faults, so that it gets the table's key: a
	// process without it does not use the table for 30 seconds. They get every token: as new
	// asks of one caller, so many that fail would be refused for minutes.
	r.recover(ctx, 2)
	injecting, cancel := context.WithCancel(ctx)
	var injection, callers sync.WaitGroup
	injection.Go(func() { r.inject(injecting) })
	var sent atomic.Int64
	for i := range r.callers() {
		callers.Go(func() {
			for n := sent.Add(1); n <= int64(requests) && ctx.Err() == nil; n = sent.Add(1) {
				var err error
				switch n {
				case int64(requests+1) / 2:
					err = errors.Join(r.env.issuer.SetSecrets("bench", secondSecret), r.env.storeSecret("wrong"))
				case int64(requests+1)/2 + int64(requests+7)/8:
					err = r.env.storeSecret(secondSecret)
				}
				if err != nil {
					r.checks.problem("the secret was not changed: %v", err)
				}
				r.ask(ctx, i%len(r.fleet), r.nextScope())
				// Without a pause all requests would be answered before many faults.
				r.pause(ctx, r.concurrency, 30*r.concurrency)
			}
		})
	}
	callers.Wait()
	cancel()
	injection.Wait()
}

// recover asks every process, or each step-th, for every token until it gets them. It must be
// called without faults.
func (r *faultRun) recover(ctx context.Context, step int) {
	var all sync.WaitGroup
	for i := 0; i < len(r.fleet); i += step {
		all.Go(func() {
			for n := range faultScopes {
				end := time.Now().Add(time.Minute)
				for !r.ask(ctx, i, fmt.Sprint("s", n)) {
					if time.Now().After(end) || ctx.Err() != nil {
						r.checks.problem("no token in a minute without faults")
						return
					}
					time.Sleep(200 * time.Millisecond)
				}
			}
		})
	}
	all.Wait()
}
