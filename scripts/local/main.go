// Command local runs the token vendor on one machine that needs Go only: an API Gateway
// that verifies SigV4, a Lambda Runtime API with the compiled functions, local doubles of
// the other AWS services, and an authorization server that behaves like SAP Cloud Identity
// Services. It vends a first token through all of them, prints it, and runs until it is
// interrupted.
//
// All servers listen on loopback. Their state is in memory and in a temporary directory,
// and is deleted at the end.
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
	flag.BoolVar(&o.once, "once", false, "stop after the first tokens")
	flag.StringVar(&o.jsonFile, "json", "", "write addresses, CA file and demo credentials to this `file`")
	flag.StringVar(&o.policyFile, "policy", "", "also apply the policy in this `file` (POLICY_MODE=document)")
	flag.BoolVar(&o.verbose, "v", false, "print the functions' log and the access log")
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

// withGoRun returns a context that ends with the "go run" that started this program. The
// go command passes an interrupt on, but if it is terminated or killed, its program
// continues.
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
	// policyFile is empty if only IAM decides.
	policyFile string
	verbose    bool
}

// run starts the stack, prints its first tokens, waits for the end of ctx unless o.once is
// set, and closes the stack.
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
		// The file must not outlive the stack that it describes.
		defer func() { err = errors.Join(err, os.Remove(o.jsonFile)) }()
	}
	s.showCommands(out)
	<-ctx.Done()
	fmt.Fprintln(out, "\nstopping")
	return nil
}
