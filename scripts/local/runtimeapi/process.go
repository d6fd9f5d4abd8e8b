package runtimeapi

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"time"
)

const (
	// shutdownGrace is what Lambda gives a process with an internal extension
	// between SIGTERM and SIGKILL.
	shutdownGrace = 500 * time.Millisecond
	// pipeGrace is how long output is read on after the process has exited, when
	// something that it started still holds the pipe.
	pipeGrace = 500 * time.Millisecond
)

// process is one life of the function. It has a Runtime API address of its own, so
// that a dying predecessor can neither take its events nor answer them.
type process struct {
	r      *Runtime
	cmd    *exec.Cmd
	server *http.Server
	exited chan struct{} // closed after the process has gone and its events were failed

	// Guarded by Runtime.mu.
	initTimer *time.Timer
	initError []byte            // what the process said about its failed start
	initLate  bool              // killed because it did not ask for an event in time
	ready     bool              // it has asked for an event
	gone      bool              // it has exited; its process id may be another's by now
	extension bool              // it registered one, so it gets SIGTERM
	draining  bool              // it gets no more events and dies with the last one
	suspect   bool              // see reported
	polls     []chan *event     // requests for the next event, oldest first
	running   map[string]*event // events it has and has not answered
	returning []*event          // events it has answered without asking for another
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
	p.cmd.Dir = r.cfg.Dir
	p.cmd.Env = r.environment(listener.Addr().String())
	p.cmd.Stdout, p.cmd.Stderr = r.cfg.Stdout, r.cfg.Stderr
	p.cmd.WaitDelay = pipeGrace
	ownGroup(p.cmd)
	if err := p.cmd.Start(); err != nil {
		_ = listener.Close()
		return nil, err
	}
	p.initTimer = time.AfterFunc(r.cfg.InitTimeout, p.initExpired)
	r.work.Go(func() { _ = p.server.Serve(listener) })
	r.work.Go(p.watch)
	return p, nil
}

// watch waits for the end of the process and tells everyone who waits for it.
func (p *process) watch() {
	_ = p.cmd.Wait()
	killGroup(p.cmd) // what the process started and left behind
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

// failEvents ends what the process held. An event that it cannot have seen goes
// back to the queue instead. The caller holds r.mu.
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
		// Every waiting event would meet the same failure; starting again for
		// each of them would only make the last one wait.
		p.r.failQueue(func(e *event) Result { return p.initFailure(e, reason) })
	}
	if p.r.closed {
		p.r.failQueue(closedResult)
	}
}

// kill ends the process and its children at once. The caller holds r.mu.
func (p *process) kill() {
	if !p.gone {
		killGroup(p.cmd)
	}
}

func (p *process) initFailure(e *event, reason string) Result {
	switch {
	case p.initError != nil:
		return Result{RequestID: e.id, Payload: p.initError, FunctionError: "Unhandled"}
	case p.initLate:
		return e.timedOut(p.r.cfg.Now(), p.r.cfg.InitTimeout)
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

// takes reports whether an event may be given to the process now. The caller holds
// r.mu.
func (p *process) takes() bool {
	return len(p.polls) > 0 && !p.draining && !p.suspect && len(p.running) < p.r.cfg.MaxConcurrency
}

// hand gives e to the oldest request for an event; its time starts. The caller
// holds r.mu.
func (p *process) hand(e *event) {
	poll := p.polls[0]
	p.polls = p.polls[1:]
	e.delivered = false
	e.deadline = p.r.cfg.Now().Add(p.r.cfg.Timeout)
	e.timer = time.AfterFunc(p.r.cfg.Timeout, func() { p.expire(e) })
	p.running[e.id] = e
	poll <- e
}

// takeBack undoes hand for an event that could not be delivered.
func (p *process) takeBack(e *event) {
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

// asked notes a request for an event.
func (p *process) asked() chan *event {
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

// left notes that a request for an event ended without one. It returns the event
// if there was one after all.
func (p *process) left(poll chan *event) *event {
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

// reported ends an event with the process's answer. It is false if the process has
// no such event, for example because its deadline has passed.
//
// fatal says that the process may be about to exit: aws-lambda-go does so after a
// panic, and with several events in flight it first lets the others end, while its
// requests for more are still open. It then gets no event until all its loops have
// asked again, which a dying process never does. An event given in the instant
// before is lost with the process and ends as Runtime.ExitError.
func (p *process) reported(id string, fatal bool, result func(*event) Result) bool {
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

// expire ends an event at its deadline and the process with it, once the events
// beside it have ended. An answered event expires when the process does not ask
// for another: it hangs.
func (p *process) expire(e *event) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	_, running := p.running[e.id]
	if !running && !slices.Contains(p.returning, e) {
		return
	}
	delete(p.running, e.id)
	e.finish(e.timedOut(p.r.cfg.Now(), p.r.cfg.Timeout))
	p.draining = true
	p.killIfDrained()
}

// killIfDrained ends a draining process when it holds no more events. The caller
// holds r.mu.
func (p *process) killIfDrained() {
	if p.draining && len(p.running) == 0 {
		p.kill()
	}
}

// shutdown ends the process and waits until it has gone.
func (p *process) shutdown() {
	p.r.mu.Lock()
	polite := p.extension
	p.draining = true
	p.r.mu.Unlock()
	if polite && terminate(p.cmd) == nil {
		select {
		case <-p.exited:
			return
		case <-time.After(shutdownGrace):
		}
	}
	p.r.mu.Lock()
	p.kill()
	p.r.mu.Unlock()
	<-p.exited
}
