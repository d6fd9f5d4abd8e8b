// Command bench measures the token vendor on this machine. Quote ratios: the
// milliseconds are the machine's.
//
//	go run ./scripts/bench speed
//
// compares the token function with a function that answers a constant (warm)
// and with plain Go that uses the AWS SDK and golang.org/x/oauth2 (cold).
//
//	go run ./scripts/bench fleet [-table=false] [-issuer-down | …]
//
// runs many processes of the token function as one fleet, lets them start cold and
// their tokens expire, and counts at the servers what they did; flags make things
// break meanwhile.
//
//	go run ./scripts/bench troubles [-only "half a body"]
//
// makes every kind of trouble before every server, one at a time, each for a process of
// its own, and asks for a token meanwhile and afterwards.
//
//	go run ./scripts/bench faults [-requests 10000] [-concurrency 64] [-seed …]
//
// sends requests to some processes while everything around them fails at random, mostly
// in TLS proxies before every server, and looks for what must not be: wrong and expired
// tokens, secrets, late answers.
//
//	go run ./scripts/bench soak [-for 10m]
//
// lets a fleet work while credentials change, servers are down and tokens expire, and
// compares memory, file descriptors and goroutines at rest: early and at the end.
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
		"faults":   faults,
		"fleet":    fleet,
		"soak":     soak,
		"speed":    speed,
		"troubles": troubles,
	}
	if len(args) == 0 || subcommands[args[0]] == nil {
		return errors.New("usage: bench speed | fleet | troubles | faults | soak [flags]; -h shows the flags")
	}
	return subcommands[args[0]](ctx, slices.Clone(args[1:]), out)
}
