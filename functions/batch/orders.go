package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// The event that announces a token.
const (
	eventSource     = "token-vendor"
	eventTokenReady = "TokenReady"
)

// What is counted, beside what the core counts.
const (
	countAnnounced    = "Announced"
	countDelivered    = "Delivered"
	countDeadLettered = "DeadLettered"
	// countRuns: a schedule called, so that its clock has not stopped.
	countRuns = "ScheduleRuns"
	// countRadarRuns is the same for the radar.
	countRadarRuns = "RadarRuns"
	// countJobsFailed: a job was not done, this time or ever.
	countJobsFailed = "JobsFailed"
	// countDeliveriesFailed: a secret does not hold the token that it should.
	countDeliveriesFailed = "DeliveriesFailed"
)

// maxDepth is more than any source's events have.
const maxDepth = 32

const (
	// jobMemory is how long it is remembered that a job was done: longer than any source
	// delivers the same again by mistake.
	jobMemory = 23 * time.Hour
	// endTime is what the end of a job may take once the time for an answer is over.
	endTime = 300 * time.Millisecond
)

// vendor is the core, as far as this function needs it.
type vendor interface {
	Vend(ctx context.Context, read func(*token.Request) error) (token.Grant, error)
	Announce(ctx context.Context, read func(*token.Order) error) (token.Announcement, error)
	Examine(ctx context.Context, name string, p token.Probe) (token.Examination, bool)
}

// bus takes the announcements. If Put fails, the event may have been put all the same.
type bus interface {
	Put(ctx context.Context, source, detailType string, detail []byte) error
}

// orders carries out the orders of all sources: it fetches tokens ahead, announces them, and
// does so once for each order. It is safe for concurrent use.
type orders struct {
	vendor vendor
	fleet  *fleet.Fleet
	bus    bus
	count  func(name string)
	log    *slog.Logger
	now    func() time.Time
	gate   gate
}

// refuseEvent records that an event was refused as a whole.
func (w *orders) refuseEvent(ctx context.Context, source audit.Source, refusal error) error {
	return w.refuse(ctx, w.asked(ctx, source, "", ""), refusal)
}

// asked is what is known of a request before it is read. The sender of a message or an event
// is not known; what the policy may name instead is its source, such as source:bus, if only
// the source can have invoked the function. queue is the name of a queue.
func (w *orders) asked(ctx context.Context, source audit.Source, messageID, queue string) token.Request {
	r := invocation.Request(ctx, source)
	r.Origin.MessageID = messageID
	switch {
	case r.Caller != "":
	case !w.gate.closed():
		r.Caller = string(source)
	case source == audit.SQS:
		r.Caller = "source:queue/" + queue
	case source == audit.Bus:
		r.Caller = "source:bus"
	default:
		r.Caller = "source:" + string(source)
	}
	return r
}

// itemID names one of the requests that came under one id. No id holds a "#", so that it
// cannot be taken for an item of another.
func itemID(id string, i int) string {
	if i == 0 {
		return id
	}
	return id + "#" + strconv.Itoa(i)
}

// fetch fetches a token ahead, as read orders it.
func (w *orders) fetch(ctx context.Context, read func(*token.Order) error) (token.Announcement, error) {
	announced, err := w.vendor.Announce(ctx, read)
	if err != nil {
		w.count(countJobsFailed)
	}
	return announced, err
}

// refuse records that a request was refused, and counts that.
func (w *orders) refuse(ctx context.Context, r token.Request, refusal error) error {
	w.count(countJobsFailed)
	return w.record(ctx, r, refusal)
}

// record records that a request was refused.
func (w *orders) record(ctx context.Context, r token.Request, refusal error) error {
	_, err := w.vendor.Vend(ctx, func(asked *token.Request) error {
		*asked = r
		return refusal
	})
	return err
}

// announce fetches a token ahead, and tells the bus. confirm is that of once.
func (w *orders) announce(ctx context.Context, read func(*token.Order) error, confirm func() bool) error {
	announced, err := w.fetch(ctx, read)
	if err != nil {
		return err
	}
	return w.tell(ctx, announced, confirm)
}

func (w *orders) tell(ctx context.Context, announced token.Announcement, confirm func() bool) error {
	if !confirm() {
		return errBusy()
	}
	if err := w.bus.Put(ctx, eventSource, eventTokenReady, encode(announced)); err != nil {
		w.count(countJobsFailed)
		w.log.Warn("not announced", "client", announced.Client, "id", announced.ID, "detail", err.Error())
		return fault.New(fault.Unavailable, "the event bus did not take the announcement")
	}
	w.count(countAnnounced)
	return nil
}

// parseOrder reads a request, and the caller that alone may redeem its claim.
func parseOrder(o *token.Order, raw []byte) error {
	if len(raw) > token.MaxBody {
		return fault.New(fault.TooLarge, "the request is larger than 8 KiB")
	}
	members, err := strictjson.Object(raw, strictjson.Limits{Outer: true, Depth: maxDepth, Members: invocation.MaxMembers})
	if err != nil {
		return fault.Invalid("the request " + strictjson.Problem(err, raw))
	}
	if text, ok := members["caller"]; ok {
		name, _ := strictjson.String(text)
		if o.For, err = policy.Caller(name); err != nil {
			return fault.Invalid("caller " + err.Error())
		}
		raw = without(members, "caller")
	}
	return o.ParseJSON(raw)
}

// without returns an object without some of its members.
func without(members map[string]json.RawMessage, names ...string) []byte {
	for _, name := range names {
		delete(members, name)
	}
	return encode(members)
}

// validID reports whether id can be that of an event, a message or a run.
func validID(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:", r)
	})
}

// permanent reports whether the same request would always fail: the error is about what was
// asked, and not about a state that may change.
func permanent(err error) bool {
	switch fault.From(err).Kind {
	case fault.Malformed, fault.UnsupportedGrant, fault.InvalidScope, fault.InvalidTarget, fault.Denied, fault.TooLarge:
		return true
	}
	return false
}

// encode encodes a value of our own, which cannot fail.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return text
}

// errBusy is the error of a job that another environment does at this moment.
func errBusy() error {
	return &fault.Error{Kind: fault.Unavailable, Description: "another environment works on the same", RetryAfter: time.Second}
}

// acquire takes the lease of a job, which one environment does at a time, and none once it is
// done. Without a table, or if that does not answer, every environment has every job.
func (w *orders) acquire(ctx context.Context, id string) fleet.Acquisition {
	return w.fleet.Session(ctx).Acquire(ctx, fleet.JobRow, id, fleet.Want{Cached: true})
}

// once does work unless it was done before under this id, by any environment. It is best
// effort if the table does not answer, and after a process that dies between the work and the
// note of it the work is done again: sources deliver at least once, and an announcement says
// the same each time.
//
// work gets a function that it calls before an effect that cannot be undone; it is
// [fleet.Lease.Confirm].
func (w *orders) once(ctx context.Context, id string, work func(confirm func() bool) error) error {
	a := w.acquire(ctx, id)
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
			until = w.now().Add(jobMemory)
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
