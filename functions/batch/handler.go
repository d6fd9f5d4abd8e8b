package main

import (
	"context"
	"encoding/json"
	"time"

	"tokenvendor/shared/app"
	"tokenvendor/shared/app/jobs"
	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/metrics"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// handler answers events. It is safe for concurrent use.
type handler struct {
	orders
	targets targets
	// targetPrefix is that of [deliverer].
	targetPrefix string
	// dead and maxReceives are those of [queueEvent].
	dead        queue
	maxReceives int
	// flush writes the metrics. It is called after each event.
	flush func()
	// list, report and identity are those of [watch].
	list     func(context.Context) ([]string, error)
	report   func(g *metrics.Gauge, properties map[string]any)
	identity bool
}

// newHandler returns the handler of a function.
func newHandler(a *app.App, j *jobs.Jobs) *handler {
	h := &handler{
		orders: orders{
			vendor: a.Vendor, fleet: a.Fleet, bus: j.Bus, count: a.Metrics.Count, log: a.Log, now: time.Now,
			gate: gate{sources: a.Environment.SourceAliases, samLocal: a.Environment.SAMLocal},
		},
		targets: j.Targets, targetPrefix: a.Environment.NamePrefix + "/tokens/",
		maxReceives: a.Environment.MaxReceives, flush: a.Metrics.Flush,
		list: j.Clients, report: a.Metrics.Report, identity: len(a.Environment.WebIdentityAudiences) > 0,
	}
	if j.DeadLetters != nil {
		h.dead = j.DeadLetters
	}
	return h
}

// Invoke implements lambda.Handler. An error is that of [invocation.Run].
func (h *handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	defer h.flush()
	return invocation.Run(ctx, h.log, func(ctx context.Context) ([]byte, error) { return h.dispatch(ctx, payload) })
}

func (h *handler) dispatch(ctx context.Context, payload []byte) ([]byte, error) {
	members, err := strictjson.Object(payload, strictjson.Limits{Outer: true, Depth: maxDepth, Members: invocation.MaxMembers})
	source := sourceOf(members)
	switch {
	case !h.gate.believes(ctx, source):
		return nil, h.forged(ctx, source)
	case err != nil:
		return nil, h.refuseEvent(ctx, audit.Unknown, fault.Invalid("the event "+strictjson.Problem(err, payload)))
	}
	switch source {
	case audit.SQS:
		q := queueEvent{h.orders, h.dead, h.maxReceives}
		return q.all(ctx, members["Records"])
	case audit.Bus:
		return nil, h.event(ctx, members)
	case audit.Schedule:
		if members["radar"] != nil {
			return h.watch().run(ctx, members)
		}
		h.count(countRuns)
		d := deliverer{h.orders, h.targets, h.targetPrefix}
		return d.schedule(ctx, members)
	case audit.Direct:
		if members["radar"] != nil {
			return h.watch().run(ctx, members)
		}
		return h.direct(ctx, payload)
	}
	return nil, h.refuseEvent(ctx, audit.Unknown, fault.Invalid("the event is of no source that is known: no Records, detail-type, schedule, client or requests"))
}

func (h *handler) watch() *watch { return &watch{h.orders, h.list, h.report, h.identity} }

// direct answers {"client": …} with an announcement and {"requests": […]} with
// {"responses": […]}, one announcement or error document for each, in order. The caller has
// the claim in the answer, so nothing is put on the bus.
func (h *handler) direct(ctx context.Context, payload []byte) ([]byte, error) {
	list, err := invocation.ParseList(payload)
	if err != nil {
		return nil, h.refuseEvent(ctx, audit.Direct, err)
	}
	id := invocation.RequestID(ctx)
	announced := make([]token.Announcement, max(1, len(list.Requests)))
	work := func(i int, raw json.RawMessage) (err error) {
		announced[i], err = h.fetch(ctx, func(o *token.Order) error {
			*o.Request, o.ID, o.Time = h.asked(ctx, audit.Direct, "", ""), itemID(id, i), h.now()
			return parseOrder(o, raw)
		})
		return err
	}
	if list.Requests == nil {
		if err := work(0, payload); err != nil {
			return nil, err
		}
		return encode(announced[0]), nil
	}
	return list.Answer(h.log, id, work, func(i int) ([]byte, error) { return encode(announced[i]), nil }), nil
}

// forged records that an event is not believed. Only the alias is known of its sender; the
// event's own ids are the sender's choice.
func (h *handler) forged(ctx context.Context, source audit.Source) error {
	r := h.asked(ctx, source, "", "")
	r.Caller, r.Origin.Forged = invocation.DirectCaller(r.Origin.Alias), true
	return h.record(ctx, r, fault.Refusal(fault.Denied, "an event through an alias that its source does not use"))
}
