// Command local runs the whole token vendor on one machine that needs nothing
// but Go: an API Gateway that verifies SigV4, a Lambda Runtime API that runs the
// real function binary, a Secrets Manager, and an authorization server that
// behaves like SAP Cloud Identity Services. It vends a first token through all
// of them, shows it, and then stays up until it is interrupted.
//
// Everything listens on loopback, keeps its state in memory and in a temporary
// directory, and is gone at the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.BoolVar(&o.once, "once", false, "end after the first tokens")
	flag.StringVar(&o.jsonFile, "json", "", "write addresses, CA file and demo credentials to this `file`")
	flag.StringVar(&o.policyFile, "policy", "", "decide by the policy in this `file`, too (POLICY_MODE=document)")
	flag.BoolVar(&o.verbose, "v", false, "show the function's log and the access log")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx = withGoRun(ctx)
	err := run(ctx, o, os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

// withGoRun ends the context with the "go run" that started this program. Go
// passes an interrupt on, but a go command that is terminated or killed leaves
// its program behind, and here that would be a whole stack.
func withGoRun(ctx context.Context) context.Context {
	executable, err := os.Executable()
	if err != nil || !strings.Contains(executable, "go-build") {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	parent := os.Getppid()
	go func() {
		defer cancel()
		for os.Getppid() == parent && ctx.Err() == nil {
			time.Sleep(200 * time.Millisecond)
		}
	}()
	return ctx
}

type options struct {
	once     bool
	jsonFile string
	// policyFile is empty where IAM alone decides.
	policyFile string
	verbose    bool
}

// run starts the stack, shows what it does and takes it down again.
func run(ctx context.Context, o options, out, errOut io.Writer) (err error) {
	log := io.Discard
	if o.verbose {
		log = errOut
	}
	s, err := start(ctx, o.policyFile, out, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.firstTokens(ctx, out); err != nil {
		return err
	}
	if o.jsonFile != "" {
		if err := s.writeJSON(o.jsonFile); err != nil {
			return err
		}
	}
	if o.once {
		return nil
	}
	if o.jsonFile != "" {
		// No program must take it for a stack that is up.
		defer func() { err = errors.Join(err, os.Remove(o.jsonFile)) }()
	}
	s.showCommands(out)
	<-ctx.Done()
	fmt.Fprintln(out, "\nstopping")
	return nil
}
