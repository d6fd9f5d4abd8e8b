// Command bench measures the token vendor on this machine. Quote ratios: the
// milliseconds are the machine's.
//
//	go run ./scripts/bench speed [-only token,constant] [-trust small] [-strict] [-json FILE] [-svg FILE]
//
// compares the token function, over the Lambda Runtime API, with functions that do the same
// in Go with and without the AWS SDK, in Node and in Python, and with one that answers a
// constant. It prints the medians, and each ratio beside its limit.
//
//	go run ./scripts/bench cost [-recorded] [-update]
//
// counts what AWS bills for the vends of a client in several rhythms, and prints what a million
// of them cost by each way to the function. With -recorded it takes the figures in
// scripts/bench/bill instead. With -update it records the figures, and writes the tables to
// functions/COSTS.md.
//
//	go run ./scripts/bench fleet [-table=false] [-issuer-down | …]
//
// runs many processes of the token function on one table through a cold start and the
// expiry of their tokens, and counts the calls at the servers. Flags inject faults.
//
//	go run ./scripts/bench troubles [-only "half a body"]
//
// makes every kind of trouble in front of every server, one at a time. Each gets a
// process of its own, which is asked for a token during the trouble and after it.
//
//	go run ./scripts/bench faults [-requests 10000] [-concurrency 64] [-seed …]
//
// sends requests to some processes while all servers fail at random, mostly by TLS
// proxies in front of them. It fails on a wrong or expired token, on a secret in an
// output, and on a late answer.
//
//	go run ./scripts/bench soak [-for 10m]
//
// runs a fleet while credentials change, servers are down and tokens expire, and compares
// the memory, file descriptors and goroutines of the idle processes at the start and at
// the end.
//
//	go run ./scripts/bench crowd [-only wrong-secret,greedy] [-long]
//
// makes one party's mistakes in front of a pool of processes that behaves as Lambda, two
// authorization servers, and a table with DynamoDB's limits: a wrong secret, a right one
// during an outage, parameters that the server refuses, one client's 429, a caller with new
// scopes, a slow table, and the start of many processes. It fails if other callers or the
// servers suffer from it. In the drills of minutes and hours the processes follow a clock
// that is set ahead while they are idle; with -long those of secrets wait instead.
//
//	go run ./scripts/bench growth [-only clients,environments] [-small] [-strict]
//
// prints the cost against the number of clients, tokens, rules of the policy and processes,
// and of environments, up to 10 000, which it simulates on a virtual clock.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run runs the subcommand that args begin with.
func run(ctx context.Context, args []string, out io.Writer) error {
	subcommands := map[string]func(context.Context, []string, io.Writer) error{
		"cost":     cost,
		"crowd":    crowd,
		"faults":   faults,
		"fleet":    fleet,
		"growth":   growth,
		"soak":     soak,
		"speed":    speed,
		"troubles": troubles,
	}
	if len(args) == 0 || subcommands[args[0]] == nil {
		return errors.New("usage: bench speed | cost | fleet | troubles | faults | soak | crowd | growth [flags]; -h shows the flags")
	}
	return subcommands[args[0]](ctx, slices.Clone(args[1:]), out)
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
