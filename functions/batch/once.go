package main

import (
	"context"
	"errors"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
)

const (
	// jobMemory is how long it is remembered that a job was done: longer than any source
	// delivers the same again by mistake.
	jobMemory = 23 * time.Hour
	// endTime is what the end of a job may take once the time for an answer is over.
	endTime = 300 * time.Millisecond
)

// errBusy is the error of a job that another environment does at this moment.
func errBusy() error {
	return &fault.Error{Kind: fault.Unavailable, Description: "another environment works on the same", RetryAfter: time.Second}
}

// acquire takes the lease of a job, which one environment does at a time, and none once it is
// done. Without a table, or if that does not answer, every environment has every job.
func (h *handler) acquire(ctx context.Context, id string) fleet.Acquisition {
	return h.fleet.Session(ctx).Acquire(ctx, fleet.JobRow, id, fleet.Want{Cached: true})
}

// once does work unless it was done before under this id, by any environment. It is best
// effort if the table does not answer, and after a process that dies between the work and the
// note of it the work is done again: sources deliver at least once, and an announcement says
// the same each time.
//
// work gets a function that it calls before an effect that cannot be undone; it is
// [fleet.Lease.Confirm].
func (h *handler) once(ctx context.Context, id string, work func(confirm func() bool) error) error {
	a := h.acquire(ctx, id)
	switch a.State {
	case fleet.Busy:
		return errBusy()
	case fleet.Done, fleet.Failed:
		return nil
	}
	err := errors.New("panic")
	defer func() {
		var until time.Time
		if err == nil {
			until = h.now().Add(jobMemory)
		}
		end(ctx, a.Lease, until)
	}()
	err = work(func() bool { return a.Lease.Confirm(ctx) })
	return err
}

// end ends the lease of a job that is done until then; zero: it is not done. It may take some
// time of its own, because a lease that is not ended stops the other environments.
func end(ctx context.Context, lease *fleet.Lease, until time.Time) {
	ending := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ending, cancel = context.WithDeadline(ending, deadline.Add(endTime))
		defer cancel()
	}
	if until.IsZero() {
		lease.Release(ending)
		return
	}
	lease.Finish(ending, fleet.Result{Until: until})
}
