package runtimeapi

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// pipeGrace is how long output is read after the process has exited, in case a child
// still has the pipe.
const pipeGrace = 500 * time.Millisecond

// process is one process of the function. Its Runtime API has an address of its own, so
// that a process that is about to die can neither take the events of its successor nor
// answer them.
type process struct {
	r      *Runtime
	cmd    *exec.Cmd
	server *http.Server
	exited chan struct{} // closed after the process has exited and its events have failed

	// Guarded by Runtime.mu.
	initTimer *time.Timer
	initError []byte            // the process's report of its failed start
	initLate  bool              // it was killed because it did not request an event in time
	ready     bool              // it has requested an event
	gone      bool              // it has exited; another process may have its id now
	draining  bool              // it gets no more events and is killed after the last one
	suspect   bool              // see finish
	polls     []chan *event     // its requests for the next event, oldest first
	running   map[string]*event // events that it has not answered yet
	returning []*event          // events that it has answered without requesting another
}

// startProcess starts the function. The caller holds r.mu.
func (r *Runtime) startProcess() (*process, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &process{r: r, exited: make(chan struct{}), running: make(map[string]*event)}
	p.server = &http.Server{Handler: p.api(), ReadHeaderTimeout: 10 * time.Second}
	p.cmd = exec.Command(r.cfg.Binary)
	p.cmd.Dir = filepath.Dir(r.cfg.Binary)
	p.cmd.Env = r.environment(listener.Addr().String())
	p.cmd.Stdout, p.cmd.Stderr = r.cfg.Stdout, r.cfg.Stderr
	p.cmd.WaitDelay = pipeGrace
	ownGroup(p.cmd)
	if err := p.cmd.Start(); err != nil {
		_ = listener.Close()
		return nil, err
	}
	p.initTimer = time.AfterFunc(r.cfg.testOnlyInitTimeout, p.initExpired)
	r.work.Go(func() { _ = p.server.Serve(listener) })
	r.work.Go(p.watch)
	return p, nil
}

// watch waits for the exit of the process and fails its events.
func (p *process) watch() {
	_ = p.cmd.Wait()
	killGroup(p.cmd) // children that the process left behind
	_ = p.server.Close()

	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.gone = true
	p.initTimer.Stop()
	p.failEvents()
	p.r.proc = nil
	close(p.exited)
	p.r.dispatch()
}

// failEvents ends the events of the process. An event that the process cannot have read
// returns to the queue instead. The caller holds r.mu.
func (p *process) failEvents() {
	reason := fmt.Sprintf("Runtime exited with error: %v", p.cmd.ProcessState)
	if p.cmd.ProcessState != nil && p.cmd.ProcessState.Success() {
		reason = "Runtime exited without providing a reason"
	}
	for _, e := range p.running {
		e.timer.Stop()
		if e.delivered {
			e.finish(e.failure("Runtime.ExitError", reason))
			continue
		}
		p.r.queue = slices.Insert(p.r.queue, 0, e)
	}
	for _, e := range p.returning {
		e.timer.Stop()
	}
	p.running, p.returning = nil, nil
	if !p.ready {
		// Every queued event would have the same failure. Starting a process for each
		// of them would only delay the last one.
		p.r.failQueue(func(e *event) Result { return p.initFailure(e, reason) })
	}
	if p.r.closed {
		p.r.failQueue(closedResult)
	}
}

// kill ends the process and its children. The caller holds r.mu.
func (p *process) kill() {
	if !p.gone {
		killGroup(p.cmd)
	}
}

func (p *process) initFailure(e *event, reason string) Result {
	switch {
	case p.initError != nil:
		return Result{RequestID: e.id, Payload: p.initError, FunctionError: unhandled}
	case p.initLate:
		return e.timedOut(p.r.cfg.testOnlyInitTimeout)
	}
	return e.failure("Runtime.ExitError", reason)
}

func (p *process) initExpired() {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	if !p.ready {
		p.initLate = true
		p.kill()
	}
}

// accepts reports whether the process may get an event now. The caller holds r.mu.
func (p *process) accepts() bool {
	return len(p.polls) > 0 && !p.draining && !p.suspect && len(p.running) < p.r.cfg.MaxConcurrency
}

// hand gives e to the oldest request for an event and starts its time. The caller holds
// r.mu.
func (p *process) hand(e *event) {
	poll := p.polls[0]
	p.polls = p.polls[1:]
	e.delivered = false
	e.deadline = time.Now().Add(p.r.cfg.Timeout)
	e.timer = time.AfterFunc(p.r.cfg.Timeout, func() { p.expire(e) })
	p.running[e.id] = e
	poll <- e
}

// setDelivered notes that the process may have read e.
func (p *process) setDelivered(e *event) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	e.delivered = true
}

// requeue reverts hand for an event that could not be delivered.
func (p *process) requeue(e *event) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	if p.running[e.id] != e {
		return
	}
	e.timer.Stop()
	delete(p.running, e.id)
	p.r.queue = slices.Insert(p.r.queue, 0, e)
	p.r.dispatch()
}

// addPoll adds a request for an event.
func (p *process) addPoll() chan *event {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.ready = true
	p.initTimer.Stop()
	if len(p.returning) > 0 {
		p.returning[0].timer.Stop()
		p.returning = p.returning[1:]
	}
	poll := make(chan *event, 1)
	p.polls = append(p.polls, poll)
	if len(p.polls)+len(p.running) >= p.r.cfg.MaxConcurrency {
		p.suspect = false
	}
	p.r.dispatch()
	return poll
}

// removePoll removes a request that ended, and returns the event that was handed to it
// meanwhile; nil: none.
func (p *process) removePoll(poll chan *event) *event {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.polls = slices.DeleteFunc(p.polls, func(c chan *event) bool { return c == poll })
	select {
	case e := <-poll:
		return e
	default:
		return nil
	}
}

// finish ends an event with the process's answer. It returns false if the process has no
// such event, for example because its deadline has passed.
//
// fatal says that the process may be about to exit. aws-lambda-go exits after a panic;
// with several events in flight it first lets the others end, while its requests for
// more are still open. The process then gets no event until all its loops have sent a
// new request, which a dying process never does. An event that was handed over just
// before is lost with the process and ends as Runtime.ExitError.
func (p *process) finish(id string, fatal bool, result func(*event) Result) bool {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	e, ok := p.running[id]
	if !ok {
		return false
	}
	delete(p.running, id)
	p.returning = append(p.returning, e)
	p.suspect = p.suspect || fatal && p.r.cfg.MaxConcurrency > 1
	e.finish(result(e))
	p.killIfDrained()
	return true
}

// expire ends an event at its deadline, and the process after the other events have
// ended. An answered event expires if the process does not request another one: it hangs.
func (p *process) expire(e *event) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	_, running := p.running[e.id]
	if !running && !slices.Contains(p.returning, e) {
		return
	}
	delete(p.running, e.id)
	e.finish(e.timedOut(p.r.cfg.Timeout))
	p.draining = true
	p.killIfDrained()
}

// killIfDrained kills a draining process that has no more events. The caller holds r.mu.
func (p *process) killIfDrained() {
	if p.draining && len(p.running) == 0 {
		p.kill()
	}
}
