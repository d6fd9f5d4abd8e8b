// Command stack is the local stack: an API Gateway that verifies SigV4, a Lambda Runtime API
// with the compiled functions, local doubles of the other AWS services, and an authorization
// server that behaves like SAP Cloud Identity Services. It vends a first token through all of
// them, prints it, and runs until it is interrupted. "go run ./scripts/local" compiles and
// runs it.
//
// All servers listen on loopback. Their state is in memory and in a temporary directory,
// and is deleted at the end.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"tokenvendor/scripts/local/options"
	"tokenvendor/scripts/local/workdir"
)

func main() {
	o, err := options.Parse(os.Args[1:], os.Stderr)
	if err != nil {
		os.Exit(2)
	}
	// A standard output that was closed ends the stack by the error of a write.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	dir := os.Getenv(workdir.Variable)
	if dir != "" {
		ctx = workdir.WithParent(ctx, os.Getppid()) // the launcher
	}
	err = run(ctx, o, dir, os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

// console is the output for people. Its first failed write ends the stack.
type console struct {
	io.Writer
	cancel context.CancelFunc
}

func (c console) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	if err != nil {
		c.cancel()
	}
	return n, err
}

// run starts the stack, prints its first tokens, waits for the end of ctx unless o.Once is
// set, and closes the stack. dir is the directory that the launcher made; empty: the stack
// makes one and compiles the functions.
func run(ctx context.Context, o options.Options, dir string, out, errOut io.Writer) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out = console{out, cancel}
	var verbose io.Writer
	if o.Verbose {
		verbose = errOut
	}
	s, err := start(ctx, config{policy: o.Policy, keep: o.Keep, dir: dir, verbose: verbose, out: out, errOut: errOut})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.firstTokens(ctx, out); err != nil {
		return err
	}
	if o.Once {
		return nil
	}
	for _, file := range []struct {
		path  string
		write func(path string) error
	}{{o.Env, s.writeEnv}, {o.JSON, s.writeJSON}, {filepath.Join(s.dir.Path(), workdir.DescriptionFile), s.writeJSON}} {
		if file.path == "" {
			continue
		}
		// Programs wait for the files, and they must not outlive the stack that they describe.
		if err := errors.Join(s.dir.OwnFiles(file.path), file.write(file.path)); err != nil {
			return err
		}
	}
	s.showCommands(out)
	<-ctx.Done()
	_, _ = fmt.Fprintln(out, "\nstopping")
	return nil
}
