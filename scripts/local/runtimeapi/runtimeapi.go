// Package runtimeapi is a local double of AWS Lambda for one function. It runs the
// compiled binary as a process, serves the Lambda Runtime API to it, and serves the
// public Invoke API.
//
// It behaves as Lambda where a function depends on it: the first event starts the
// process, and a new process starts only after the old one has exited. An event ends at
// its deadline and takes the process with it. A process that dies during an event fails
// that event only. One event is processed at a time, unless MaxConcurrency allows more.
//
// Neither API requires credentials here. Therefore both refuse requests that a browser
// could send: those with an Origin, and those for a Host that is not loopback. The Invoke
// API has synchronous invocations by the function's name. There are no extensions, no
// asynchronous invocations, no streamed responses and no logs.
//
// The package imports the standard library only.
//
// Sources: docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html,
// lambda-runtime-environment.html and configuration-envvars.html; the page Invoke of the
// API reference.
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

// ErrClosed is returned by Invoke after Close.
var ErrClosed = errors.New("runtimeapi: closed")

// ErrPayloadTooLarge is returned by Invoke, wrapped, for an event above Lambda's limit.
var ErrPayloadTooLarge = errors.New("runtimeapi: payload too large")

// ErrThrottled is returned by Invoke for an event that Config.Throttled turns away.
var ErrThrottled = errors.New("runtimeapi: throttled")

// Config configures a [Runtime].
type Config struct {
	// Binary is the executable. Its directory is the working directory and
	// LAMBDA_TASK_ROOT. Required.
	Binary string
	// Env is the function's own environment, as "NAME=value". It includes the AWS
	// credentials. It cannot replace variables that Lambda reserves, such as AWS_REGION.
	Env []string

	// FunctionName, Region and Account are part of the function's ARN. Required.
	FunctionName, Region, Account string
	// Alias is the qualifier of an Invocation without one. Empty: unqualified.
	Alias string
	// PrivateAliases are accepted by Runtime.Invoke only. The Invoke API answers as if
	// IAM had denied the call. In AWS the alias behind API Gateway is such an alias.
	PrivateAliases []string
	// MemoryMB is told to the function and not enforced. Zero: 128.
	MemoryMB int
	// Timeout is the longest duration of an event, counted from its delivery to the
	// process. Zero: 3 s, as in Lambda.
	Timeout time.Duration
	// MaxConcurrency is the number of events that the process may have at a time. Zero
	// and one mean one. More sets AWS_LAMBDA_MAX_CONCURRENCY (Lambda Managed Instances).
	MaxConcurrency int

	// Stdout and Stderr receive the output of the process. Nil: discarded. Two different
	// writers are written to concurrently.
	Stdout, Stderr io.Writer

	// Throttled reports whether an event is turned away, as one above the function's
	// concurrency; nil: none is.
	Throttled func() bool
	// Observe is told of each event when it has ended, and of one that was turned away; nil: it
	// is not.
	Observe func(Observation)

	// testOnlyInitTimeout is the longest time from the start of a process to its first
	// request for an event. Zero: 10 s, as in Lambda.
	testOnlyInitTimeout time.Duration
}

// Observation is what Lambda's own metrics say of an event.
type Observation struct {
	// ARN is the one that was invoked, with its alias, and Payload the function's answer.
	ARN     string
	Payload []byte
	// Duration is the time from its arrival to its result.
	Duration time.Duration
	// Failed means a function error, and Throttled that the function did not get it.
	Failed, Throttled bool
}

// Invocation is one event.
type Invocation struct {
	// Payload is the event, in JSON. Empty: "{}".
	Payload []byte
	// Qualifier is the alias or version of the invoked ARN. Empty: Config.Alias.
	Qualifier string
}

// Result is the result of an event.
type Result struct {
	// RequestID is the id that the function received.
	RequestID string
	// Payload is the function's response, or the error as JSON with errorMessage and
	// errorType.
	Payload []byte
	// FunctionError is empty for a response and "Unhandled" for an error.
	FunctionError string
}

// Runtime runs one function. It is safe for concurrent use.
type Runtime struct {
	cfg    Config
	server *http.Server
	url    string
	names  *regexp.Regexp // the function's name, ARN or partial ARN, with or without a qualifier
	work   sync.WaitGroup // processes and servers

	mu     sync.Mutex // guards queue, proc, closed, and the changing members of processes and events
	queue  []*event
	proc   *process
	closed bool
}

// Start checks cfg and serves the Invoke API on a free port of 127.0.0.1. The first event
// starts the process. The caller must Close the Runtime.
func Start(cfg Config) (*Runtime, error) {
	cfg, err := withDefaults(cfg)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("runtimeapi: %w", err)
	}
	r := &Runtime{
		cfg: cfg, url: "http://" + listener.Addr().String(),
	}
	account := regexp.QuoteMeta(cfg.Account)
	r.names = regexp.MustCompile("^(?:(?:arn:aws:lambda:" + regexp.QuoteMeta(cfg.Region) + ":)?" + account + ":function:)?" +
		regexp.QuoteMeta(cfg.FunctionName) + `(?::([a-zA-Z0-9$_-]{1,128}))?$`)
	r.server = &http.Server{Handler: r.invokeAPI(), ReadHeaderTimeout: 10 * time.Second}
	r.work.Go(func() { _ = r.server.Serve(listener) })
	return r, nil
}

// URL returns the endpoint of the Invoke API, for --endpoint-url of the AWS CLI.
func (r *Runtime) URL() string { return r.url }

// PID returns the id of the running process; 0: there is none.
func (r *Runtime) PID() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.proc == nil {
		return 0
	}
	return r.proc.cmd.Process.Pid
}

// Invoke runs one event and waits for its result. A function error is a Result, not an
// error. The error is ErrClosed, ErrPayloadTooLarge, ErrThrottled or that of ctx. When ctx ends, an
// event that the process already has continues, as in Lambda; a queued one is dropped.
func (r *Runtime) Invoke(ctx context.Context, in Invocation) (Result, error) {
	if len(in.Payload) > maxPayload {
		return Result{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrPayloadTooLarge, len(in.Payload), maxPayload)
	}
	return r.run(ctx, r.newEvent(in))
}

// run queues an event and waits for its result.
func (r *Runtime) run(ctx context.Context, e *event) (result Result, err error) {
	if r.cfg.Throttled != nil && r.cfg.Throttled() {
		r.observe(Observation{ARN: e.arn, Throttled: true})
		return Result{}, ErrThrottled
	}
	began := time.Now()
	defer func() {
		if err == nil {
			r.observe(Observation{ARN: e.arn, Payload: result.Payload, Duration: time.Since(began), Failed: result.FunctionError != ""})
		}
	}()
	return r.wait(ctx, e)
}

func (r *Runtime) observe(o Observation) {
	if r.cfg.Observe != nil {
		r.cfg.Observe(o)
	}
}

// wait is run without Config.Throttled and Config.Observe.
func (r *Runtime) wait(ctx context.Context, e *event) (Result, error) {
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

// Close ends the process and all its children, fails the events in flight and returns
// after everything has ended. Further calls do nothing.
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
	if proc != nil {
		proc.draining = true
		proc.kill()
	}
	r.mu.Unlock()

	if proc != nil {
		<-proc.exited
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
	case cfg.Binary == "" || cfg.FunctionName == "" || cfg.Region == "" || cfg.Account == "":
		return cfg, errors.New("runtimeapi: Binary, FunctionName, Region and Account are required")
	case err != nil:
		return cfg, fmt.Errorf("runtimeapi: %w", err)
	case !info.Mode().IsRegular():
		return cfg, fmt.Errorf("runtimeapi: %s is not a file", cfg.Binary)
	}
	// The process has another working directory, where a relative path would be wrong.
	if cfg.Binary, err = filepath.Abs(cfg.Binary); err != nil {
		return cfg, fmt.Errorf("runtimeapi: %w", err)
	}
	cfg.MemoryMB = or(cfg.MemoryMB, 128)
	cfg.Timeout = or(cfg.Timeout, 3*time.Second)
	cfg.testOnlyInitTimeout = or(cfg.testOnlyInitTimeout, 10*time.Second)
	cfg.MaxConcurrency = max(cfg.MaxConcurrency, 1)
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
