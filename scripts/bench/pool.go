package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// sandbox is an execution environment of the function. It has one event at a time.
type sandbox interface {
	// handle returns the answer to an event. failed means that it is a function error.
	handle(event []byte, id string) (answer []byte, failed bool, err error)
	stop() error
}

// errThrottled is Lambda's answer to an event for which there is no environment: the status
// is 429.
var errThrottled = errors.New("throttled: all environments are busy")

// pool runs a function as Lambda does: each environment has one event at a time. If all are
// busy, an event starts another one, and if there are as many as the reserved concurrency
// allows, the event is throttled. The environment that has been idle longest gets the next
// event. It is safe for concurrent use.
//
// Source: docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
type pool struct {
	start    func(context.Context) (sandbox, error)
	reserved int
	// starting bounds the environments that start at a time: in Lambda they do not share a
	// processor.
	starting chan struct{}

	mu      sync.Mutex
	idle    []sandbox // the longest idle first; guarded by mu, as what follows
	open    int       // environments, those that start included
	started int
	most    int // of open
	events  int
}

func newPool(reserved int, start func(context.Context) (sandbox, error)) *pool {
	return &pool{start: start, reserved: reserved, starting: make(chan struct{}, 4)}
}

// lease is an environment with one event.
type lease struct {
	p    *pool
	s    sandbox
	id   string
	cold bool
}

// acquire returns an environment for one event, and starts it if all are busy. The error is
// errThrottled, or the environment did not start.
func (p *pool) acquire(ctx context.Context) (*lease, error) {
	p.mu.Lock()
	p.events++
	l := &lease{p: p, id: fmt.Sprint("event-", p.events)}
	if len(p.idle) > 0 {
		l.s, p.idle = p.idle[0], p.idle[1:]
		p.mu.Unlock()
		return l, nil
	}
	if p.open >= p.reserved {
		p.mu.Unlock()
		return nil, errThrottled
	}
	p.open++
	p.started++
	p.most = max(p.most, p.open)
	p.mu.Unlock()
	p.starting <- struct{}{}
	defer func() { <-p.starting }()
	var err error
	if l.s, err = p.start(ctx); err != nil {
		p.closed()
		return nil, err
	}
	l.cold = true
	return l, nil
}

func (p *pool) closed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
}

// run sends the event and gives the environment back. An environment that fails is replaced by
// the next event, as a process that has exited.
func (l *lease) run(event []byte) (answer []byte, failed bool, err error) {
	answer, failed, err = l.s.handle(event, l.id)
	if err != nil {
		l.p.closed()
		return nil, true, errors.Join(err, l.s.stop())
	}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.p.idle = append(l.p.idle, l.s)
	return answer, failed, nil
}

// retire ends up to n of the idle environments, as Lambda does from time to time.
func (p *pool) retire(n int) error {
	p.mu.Lock()
	n = min(n, len(p.idle))
	ended := p.idle[:n]
	p.idle = p.idle[n:]
	p.open -= n
	p.mu.Unlock()
	var errs []error
	for _, s := range ended {
		errs = append(errs, s.stop())
	}
	return errors.Join(errs...)
}

// counts returns how many environments were started, and how many there were at most.
func (p *pool) counts() (started, most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started, p.most
}
