// Command peers tests the compiled function with authorization servers that are not part
// of this project. For each way to authenticate it asks for a token twice by an event of
// API Gateway and twice by a direct invoke, with a right and a wrong credential, and
// counts the token requests in the server's output. Tokens are verified or introspected.
// It prints a matrix, and fails if a row does.
//
// A file describes each server (see peer), so that another server needs no change here.
// scripts/conformance installs what the servers need and runs this command.
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

// maxTime bounds the test of one server.
const maxTime = 150 * time.Second

func main() {
	binary := flag.String("function", "", "the compiled function; required")
	var opts options
	flag.StringVar(&opts.aws, "aws", "", "URL of an external Secrets Manager, KMS and DynamoDB; empty: those of the local stack, without a table")
	flag.StringVar(&opts.dynamodb, "dynamodb", "", "URL of the DynamoDB, if it is not that of -aws")
	flag.StringVar(&opts.batch, "batch", "", "the compiled batch function, which uses the SQS and EventBridge of -aws; empty: no jobs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *binary, opts, flag.Args())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// options are the flags of the same names.
type options struct{ aws, dynamodb, batch string }

// run tests the servers that the files describe, one after the other.
func run(ctx context.Context, out io.Writer, binary string, opts options, files []string) error {
	if binary == "" || len(files) == 0 || opts.aws == "" && opts.batch != "" {
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
		if err := runPeer(ctx, out, binary, opts, p); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p.Name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

func runPeer(ctx context.Context, out io.Writer, binary string, opts options, p *peer) error {
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
	o, err := try(ctx, out, binary, opts, p)
	bad := printMatrix(out, p.Name, version, o.results, time.Since(begin))
	if bad += printTroubles(out, p.Name, o.troubles) + printJobs(out, p.Name, o.jobs); bad > 0 {
		err = errors.Join(err, fmt.Errorf("%d rows failed", bad))
	}
	if err != nil && o.log != "" {
		_, _ = fmt.Fprintf(out, "output of %s:\n%s\n", p.Name, o.log)
	}
	return err
}

// outcome has the results of one server.
type outcome struct {
	results  []result
	troubles []troubleCase
	jobs     []job
	log      string // the end of the server's output, without credentials
}

// try starts one server with all clients and asks for the tokens of the rows, then for
// those of the troubles and of the jobs.
func try(ctx context.Context, out io.Writer, binary string, opts options, p *peer) (o outcome, err error) {
	e, err := newEnv(binary, opts.aws, opts.dynamodb)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	if !e.aws.signsDigests() {
		_, _ = fmt.Fprintln(out, "left out: keys in KMS, since this KMS hashes a digest as if it were a message")
	}
	rows, err := e.rows(p)
	if err != nil {
		return o, err
	}
	if len(rows) == 0 {
		return o, errors.New("the server takes none of the methods of the rows")
	}
	inspector := e.secretRow("inspector", "client_secret_basic", "")
	if opts.aws == "" {
		// Trouble on the way to the server does not depend on AWS: once is enough.
		o.troubles = e.troubles(p)
	}
	jobClients := e.jobClients(p, opts.batch)
	server, err := p.start(ctx, e, registrations(p, inspector, rows, o.troubles, jobClients))
	if server != nil {
		defer func() { o.log = e.redact(server.output()) }()
	}
	if err != nil {
		return o, err
	}
	defer server.stop()
	o.results, err = e.askAll(ctx, server, inspector, rows, o.troubles)
	if err == nil && len(jobClients) > 0 {
		o.jobs, err = e.runJobs(ctx, server, opts.batch, jobClients)
	}
	// All output has been counted once both have ended.
	err = errors.Join(err, server.running(), e.endFunction())
	server.stop()
	for i := range o.results {
		r := &o.results[i]
		r.tally, r.hits = server.counted(r.id()), e.hitsOf(r.client)
		r.problem = r.check()
	}
	for i := range o.troubles {
		o.troubles[i].tally = server.counted(o.troubles[i].id())
	}
	if len(jobClients) > 0 {
		o.jobs = append(o.jobs, checkCost(server.counted(jobClients[0].id())))
	}
	return o, errors.Join(err, server.failure())
}

// registrations returns the registrations of all clients.
func registrations(p *peer, inspector row, rows []row, troubles []troubleCase, jobClients []row) (clients []map[string]any) {
	if p.has("introspection") {
		clients = append(clients, inspector.register)
	}
	for _, r := range slices.Concat(rows, jobClients) {
		clients = append(clients, r.register)
	}
	for _, t := range troubles {
		clients = append(clients, t.register)
	}
	return clients
}

func (e *env) askAll(ctx context.Context, s *server, inspector row, rows []row, troubles []troubleCase) (results []result, err error) {
	verifier, err := s.newVerifier(ctx, e, inspector)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if ctx.Err() != nil {
			return results, ctx.Err()
		}
		results = append(results, e.ask(ctx, s, verifier, r))
	}
	e.askInTrouble(ctx, s, verifier, troubles)
	return results, nil
}
