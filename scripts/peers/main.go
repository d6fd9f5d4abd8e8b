// Command peers puts other people's authorization servers in front of the compiled
// function: for each way to authenticate it asks for a token twice through API
// Gateway's event and twice directly, and counts at the server what that cost; and the
// same with a wrong credential. Tokens are verified or introspected. It prints a matrix
// and fails if anything is not as it must be.
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
	"slices"
	"syscall"
	"time"
)

// maxTime bounds what one server may take.
const maxTime = 150 * time.Second

func main() {
	binary := flag.String("function", "", "the compiled function; required")
	var place place
	flag.StringVar(&place.aws, "aws", "", "URL of somebody else's Secrets Manager, KMS and DynamoDB; empty: those of the local stack, without a table")
	flag.StringVar(&place.tables, "dynamodb", "", "URL of another DynamoDB than that of -aws")
	flag.StringVar(&place.batch, "batch", "", "the compiled batch function, with -aws, whose SQS and EventBridge it works between; empty: no jobs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *binary, place, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// place is where AWS is, and the function that works between its queues.
type place struct{ aws, tables, batch string }

// run tries the servers that the files describe, one after the other.
func run(ctx context.Context, out io.Writer, binary string, place place, files []string) error {
	if binary == "" || len(files) == 0 || place.aws == "" && place.batch != "" {
		return errors.New("usage: peers -function BINARY [-aws URL [-dynamodb URL] [-batch BINARY]] DESCRIPTION…")
	}
	peers := make([]*peer, 0, len(files))
	for _, file := range files {
		p, err := readPeer(file)
		if err != nil {
			return err
		}
		peers = append(peers, p)
	}
	var failed []error
	for _, p := range peers {
		if err := runPeer(ctx, out, binary, place, p); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p.Name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

func runPeer(ctx context.Context, out io.Writer, binary string, place place, p *peer) error {
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	begin := time.Now()
	if program := p.missing(); program != "" {
		_, _ = fmt.Fprintf(out, "not run: %s is not installed\n\n", program)
		if os.Getenv("CI") == "true" {
			return errors.New("not run")
		}
		return nil
	}
	version, err := p.version(ctx)
	if err != nil {
		return err
	}
	o, err := try(ctx, out, binary, place, p)
	bad := printMatrix(out, p.Name, version, o.results, time.Since(begin))
	if bad += printTroubles(out, p.Name, o.troubles) + printJobs(out, p.Name, o.jobs); bad > 0 {
		err = errors.Join(err, fmt.Errorf("%d rows are not as they must be", bad))
	}
	if err != nil && o.log != "" {
		_, _ = fmt.Fprintf(out, "what %s said:\n%s\n", p.Name, o.log)
	}
	return err
}

// outcome is what came of everything that was tried with one server.
type outcome struct {
	results  []result
	troubles []troubled
	jobs     []job
	log      string // what the server said, without credentials
}

// try starts one server with the clients of all rows, and asks for their tokens, at last
// for those of clients in trouble and of jobs.
func try(ctx context.Context, out io.Writer, binary string, place place, p *peer) (o outcome, err error) {
	g, err := newGround(binary, place.aws, place.tables)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	if !g.aws.signs() {
		_, _ = fmt.Fprintln(out, "left out: keys in KMS, since this KMS signs a digest as if it were a message")
	}
	rows, err := g.rows(p)
	if err != nil {
		return o, err
	}
	if len(rows) == 0 {
		return o, errors.New("no row is for what the server takes")
	}
	inspector := g.secretRow("inspector", "client_secret_basic", "")
	if place.aws == "" {
		// What happens on the way to p does not depend on whose AWS it is.
		o.troubles = g.troubles(p)
	}
	working := g.workers(p, place.batch)
	server, err := p.start(ctx, g, registrations(p, inspector, rows, o.troubles, working))
	if server != nil {
		defer func() { o.log = g.redact(server.said()) }()
	}
	if err != nil {
		return o, err
	}
	defer server.stop()
	o.results, err = g.askAll(ctx, server, inspector, rows, o.troubles)
	if err == nil && len(working) > 0 {
		o.jobs, err = g.work(ctx, server, place.batch, working)
	}
	// Whatever they have said is counted once both have ended.
	err = errors.Join(err, server.alive(), g.endFunction())
	server.stop()
	for i := range o.results {
		r := &o.results[i]
		r.tally, r.hits = server.counted(r.id()), g.hits(r.client)
		r.problem = r.judge()
	}
	for i := range o.troubles {
		o.troubles[i].tally = server.counted(o.troubles[i].id())
	}
	if len(working) > 0 {
		o.jobs = append(o.jobs, cost(server.counted(working[0].id())))
	}
	return o, errors.Join(err, server.sound())
}

// registrations are those of all clients.
func registrations(p *peer, inspector row, rows []row, troubles []troubled, working []row) (clients []map[string]any) {
	if p.has("introspection") {
		clients = append(clients, inspector.register)
	}
	for _, r := range slices.Concat(rows, working) {
		clients = append(clients, r.register)
	}
	for _, t := range troubles {
		clients = append(clients, t.register)
	}
	return clients
}

func (g *ground) askAll(ctx context.Context, s *server, inspector row, rows []row, troubles []troubled) (results []result, err error) {
	authority, err := s.authority(ctx, g, inspector)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if ctx.Err() != nil {
			return results, ctx.Err()
		}
		results = append(results, g.ask(ctx, s, authority, r))
	}
	g.suffer(ctx, s, authority, troubles)
	return results, nil
}
