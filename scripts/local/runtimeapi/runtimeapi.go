// Package runtimeapi is AWS Lambda for one function on one machine. It runs the
// real compiled binary as a process of its own, speaks the Lambda Runtime API to
// it, and offers the public Invoke API to everyone else.
//
// It keeps what a function relies on: the process is started by the first event
// and again only after the old one has exited; an event ends at its deadline and
// takes the process with it; a process that dies in an event fails that event and
// no other; one event at a time unless MaxConcurrency says otherwise.
//
// It refuses requests that a browser could send (an Origin, or a Host that is not
// loopback), because neither API asks for credentials here. It does not scale out,
// retry asynchronous events, stream answers or collect logs.
//
// It imports the standard library only, and nothing of this module.
//
// Sources: docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html,
// runtimes-extensions-api.html, lambda-runtime-environment.html and
// configuration-envvars.html; the Invoke page of the API reference.
package runtimeapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// ErrClosed is returned by Invoke once Close was called.
var ErrClosed = errors.New("runtimeapi: closed")

// ErrPayloadTooLarge is returned by Invoke, wrapped, for an event above the limit
// of its invocation type.
var ErrPayloadTooLarge = errors.New("runtimeapi: payload too large")

// Config says which function to run and how.
type Config struct {
	// Binary is the executable. Required.
	Binary string
	// Dir is the working directory and LAMBDA_TASK_ROOT. Empty: Binary's directory.
	Dir string
	// Env is the function's own environment, as "NAME=value". It cannot replace
	// what Lambda reserves (AWS_REGION, AWS_LAMBDA_*, ...). AWS credentials go here.
	Env []string

	// FunctionName, Region and Account make the function's ARN. Empty: "function",
	// "us-east-1", "000000000000".
	FunctionName, Region, Account string
	// Alias is the qualifier of an Invocation that names none. Empty: unqualified.
	Alias string
	// PrivateAliases may be used by Runtime.Invoke but not through the public
	// Invoke API, which answers as if IAM had denied it. In AWS the alias behind
	// API Gateway is such a one.
	PrivateAliases []string
	// MemoryMB is reported to the function, not enforced. Zero: 128.
	MemoryMB int
	// Timeout is the longest an event may take, counted from when the process
	// receives it. Zero: 3 s, Lambda's default.
	Timeout time.Duration
	// InitTimeout is the longest a process may take to ask for its first event.
	// Zero: 10 s, as in Lambda.
	InitTimeout time.Duration
	// MaxConcurrency is how many events one process may hold at a time. Zero and one
	// mean one; more sets AWS_LAMBDA_MAX_CONCURRENCY (Lambda Managed Instances).
	MaxConcurrency int

	// Stdout and Stderr receive what the process writes. Nil: discarded. They may
	// be the same writer; different writers are written to concurrently.
	Stdout, Stderr io.Writer
	// Listener serves the public Invoke API; Close closes it. Nil: a free port of
	// 127.0.0.1.
	Listener net.Listener
	// Now is the clock of deadlines told to the function. Nil: time.Now.
	Now func() time.Time
}

// Invocation is one event.
type Invocation struct {
	// Payload is the event, JSON. Empty: "{}".
	Payload []byte
	// Qualifier is the alias or version of the invoked ARN. Empty: Config.Alias.
	Qualifier string
	// ClientContext is the client context, JSON. Empty: none.
	ClientContext string
	// TraceID is the X-Ray header. Empty: a new one, not sampled.
	TraceID string
}

// Result is what became of an event.
type Result struct {
	// RequestID is the id that the function saw.
	RequestID string
	// Payload is the function's answer, or the error as JSON with errorMessage and
	// errorType.
	Payload []byte
	// FunctionError is empty for an answer and "Unhandled" for an error.
	FunctionError string
}

// Runtime runs one function. It is safe for concurrent use.
type Runtime struct {
	cfg    Config
	server *http.Server
	url    string
	names  *regexp.Regexp // what the Invoke API takes for this function's name
	work   sync.WaitGroup // processes and servers

	mu     sync.Mutex // guards queue, proc, closed, and everything of a process and an event that changes
	queue  []*event
	proc   *process
	closed bool
}

// Start checks cfg and serves the Invoke API. The process is started by the first
// event. The caller must Close the Runtime.
func Start(cfg Config) (*Runtime, error) {
	cfg, err := withDefaults(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Listener == nil {
		cfg.Listener, err = net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("runtimeapi: %w", err)
		}
	}
	r := &Runtime{cfg: cfg, url: "http://" + cfg.Listener.Addr().String(), names: namePattern(cfg)}
	r.server = &http.Server{Handler: r.invokeAPI(), ReadHeaderTimeout: 10 * time.Second}
	r.work.Go(func() { _ = r.server.Serve(cfg.Listener) })
	return r, nil
}

// URL is the endpoint of the Invoke API, for --endpoint-url of the AWS CLI.
func (r *Runtime) URL() string { return r.url }

// PID is the id of the process that takes events now; 0 if none runs.
func (r *Runtime) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proc == nil {
		return 0
	}
	return r.proc.cmd.Process.Pid
}

// Invoke runs one event and waits for its end. An error of the function is a
// Result, not an error. The error is ErrClosed, ErrPayloadTooLarge or that of ctx.
// When ctx ends, an event that the process already has runs on without a reader,
// as in Lambda; one that still waits is dropped.
func (r *Runtime) Invoke(ctx context.Context, in Invocation) (Result, error) {
	e, err := r.newEvent(in, maxPayload)
	if err != nil {
		return Result{}, err
	}
	if err := r.enqueue(e); err != nil {
		return Result{}, err
	}
	select {
	case result := <-e.done:
		return result, nil
	case <-ctx.Done():
		r.withdraw(e)
		return Result{}, ctx.Err()
	}
}

// Close ends the process and everything it started, fails the events in flight and
// waits until all is gone. A process that registered an extension first gets
// SIGTERM and 500 ms, as in Lambda. Further calls do nothing.
func (r *Runtime) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		r.work.Wait()
		return nil
	}
	r.closed = true
	r.failQueue(closedResult)
	proc := r.proc
	r.mu.Unlock()

	if proc != nil {
		proc.shutdown()
	}
	err := r.server.Close()
	r.work.Wait()
	if err != nil {
		return fmt.Errorf("runtimeapi: %w", err)
	}
	return nil
}

func withDefaults(cfg Config) (Config, error) {
	info, err := os.Stat(cfg.Binary)
	switch {
	case cfg.Binary == "":
		return cfg, errors.New("runtimeapi: no binary")
	case err != nil:
		return cfg, fmt.Errorf("runtimeapi: %w", err)
	case !info.Mode().IsRegular():
		return cfg, fmt.Errorf("runtimeapi: %s is not a file", cfg.Binary)
	}
	// The process runs in Dir: a relative path would be looked for there.
	if cfg.Binary, err = filepath.Abs(cfg.Binary); err != nil {
		return cfg, fmt.Errorf("runtimeapi: %w", err)
	}
	cfg.Dir = or(cfg.Dir, filepath.Dir(cfg.Binary))
	cfg.FunctionName = or(cfg.FunctionName, "function")
	cfg.Region = or(cfg.Region, "us-east-1")
	cfg.Account = or(cfg.Account, "000000000000")
	cfg.MemoryMB = or(cfg.MemoryMB, 128)
	cfg.Timeout = or(cfg.Timeout, 3*time.Second)
	cfg.InitTimeout = or(cfg.InitTimeout, 10*time.Second)
	cfg.MaxConcurrency = max(cfg.MaxConcurrency, 1)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return cfg, nil
}

// or returns value, or fallback if value is zero.
func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}
