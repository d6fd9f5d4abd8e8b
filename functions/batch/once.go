package main

import (
	"context"
	"errors"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/token"
)

const (
	// jobMemory is how long it is known that something was done: longer than any source
	// delivers the same again by mistake.
	jobMemory = 23 * time.Hour
	// leaseMargin is what a lease must have left for one call.
	leaseMargin = 5 * time.Second
	// endTime is what the end of a task may take once the time for an answer is over.
	endTime = 300 * time.Millisecond
)

// errBusy: another environment does the same at this moment.
func errBusy() error {
	return &token.Error{Kind: token.Unavailable, Description: "another environment works on the same", RetryAfter: time.Second}
}

// task is work that one environment does at a time, and none once it is done. Without a
// table, or where it does not answer, every environment has every task.
type task struct {
	h     *handler
	id    string
	lease *fleet.Lease // nil: there is no table
	lost  bool         // another environment has taken over
}

// begin takes a task; nil: another environment has it, or it is done, as row says.
func (h *handler) begin(ctx context.Context, id string) (t *task, row *fleet.Row) {
	lease, row := h.fleet.Visit(ctx).Take(ctx, fleet.JobRow, id)
	if lease == nil && row != nil {
		return nil, row
	}
	return &task{h: h, id: id, lease: lease}, row
}

// mine is asked before what cannot be taken back; false: another environment has taken
// over. A lease that ended is no reason to stop if nobody else has taken it.
func (t *task) mine(ctx context.Context) bool {
	if t.lost || !t.lease.Held() || t.h.now().Before(t.lease.End.Add(-leaseMargin)) || t.lease.Renew(ctx) {
		return !t.lost
	}
	// The answer to that may be lost, and then the row is leased to ourselves.
	if t.lease.Renew(ctx) {
		return true
	}
	lease, row := t.h.fleet.Visit(ctx).Take(ctx, fleet.JobRow, t.id)
	if t.lost = lease == nil && row != nil; !t.lost {
		t.lease = lease
	}
	return !t.lost
}

// end says that the task is done until then; zero: that it is free, also for environments
// whose clocks are behind.
func (t *task) end(ctx context.Context, until time.Time) {
	rest := fleet.Rest{Until: until, Keep: until}
	if until.IsZero() {
		rest = fleet.Rest{Until: time.UnixMilli(1), Keep: t.h.now()}
	}
	ending := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ending, cancel = context.WithDeadline(ending, deadline.Add(endTime))
		defer cancel()
	}
	t.lease.Finish(ending, rest)
}

// once does work unless it was done before under this id, by whichever environment. It
// is best effort where the table does not answer, and a process that dies between the
// work and the note of it leaves the work to be done again: sources deliver at least
// once, and what is announced says the same each time.
//
// work gets a function that it calls before what cannot be taken back; see [task.mine].
func (h *handler) once(ctx context.Context, id string, work func(mine func() bool) error) error {
	t, row := h.begin(ctx, id)
	switch {
	case t == nil && row.Leased:
		return errBusy()
	case t == nil:
		return nil
	}
	err := errors.New("panic")
	defer func() {
		var until time.Time
		if err == nil {
			until = h.now().Add(jobMemory)
		}
		t.end(ctx, until)
	}()
	err = work(func() bool { return t.mine(ctx) })
	return err
}
