// Command peers puts other people's authorization servers in front of the compiled
// function: for each way to authenticate it asks for a token twice, through API
// Gateway's event and directly, and counts at the server what that cost; and once with
// a wrong credential. It prints a matrix and fails if anything is not as it must be.
//
// A server is described by a file (see peer), so that another one needs no change here.
// scripts/conformance installs what the servers need and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	binary := flag.String("function", "", "the compiled function; required")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *binary, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// run tries the servers that the files describe, one after the other.
func run(ctx context.Context, out io.Writer, binary string, files []string) error {
	if binary == "" || len(files) == 0 {
		return errors.New("usage: peers -function BINARY DESCRIPTION…")
	}
	var failed []error
	for _, file := range files {
		p, err := readPeer(file)
		if err != nil {
			return err
		}
		begin := time.Now()
		results, err := try(ctx, binary, p)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p.Name, err))
		}
		printMatrix(out, p.Name+" "+p.version(), results)
		bad := 0
		for _, r := range results {
			if r.problem != "" {
				bad++
			}
		}
		fmt.Fprintf(out, "%d rows, %d not as they must be, %d s\n\n", len(results), bad, int(time.Since(begin).Seconds()))
		if bad > 0 {
			failed = append(failed, fmt.Errorf("%s: %d rows are not as they must be", p.Name, bad))
		}
	}
	return errors.Join(failed...)
}

// try starts one server with the clients of all rows, and asks for their tokens.
func try(ctx context.Context, binary string, p *peer) (results []result, err error) {
	g, err := newGround(binary)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	rows, err := g.rows(p)
	if err != nil {
		return nil, err
	}
	server, err := p.start(ctx, g, rows)
	if err != nil {
		return nil, err
	}
	defer server.stop()
	for _, r := range rows {
		if ctx.Err() != nil {
			return results, ctx.Err()
		}
		results = append(results, g.ask(ctx, server, r))
	}
	for _, r := range results {
		if r.problem != "" {
			return results, fmt.Errorf("the server said: %s", server.errors())
		}
	}
	return results, nil
}
