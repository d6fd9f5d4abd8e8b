package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// vendor is the core, as far as this function needs it.
type vendor interface {
	Vend(ctx context.Context, read func(*token.Request) error) (token.Grant, error)
	Announce(ctx context.Context, read func(*token.Order) error) (token.Announcement, error)
}

// bus takes the announcements. If Put fails, the event may have been put all the same.
type bus interface {
	Put(ctx context.Context, source, detailType string, detail []byte) error
}

// queue takes messages. Attributes must not be empty.
type queue interface {
	Send(ctx context.Context, body string, attributes map[string]string) error
}

// What is counted, beside what the core counts.
const (
	countAnnounced    = "Announced"
	countDelivered    = "Delivered"
	countDeadLettered = "DeadLettered"
	// countJobsFailed: a job was not done, this time or ever.
	countJobsFailed = "JobsFailed"
	// countDeliveriesFailed: a secret does not hold the token that it should.
	countDeliveriesFailed = "DeliveriesFailed"
)

// handler answers events. It is safe for concurrent use.
type handler struct {
	vendor  vendor
	gate    gate
	fleet   *fleet.Fleet
	bus     bus
	targets targets
	// dead takes messages that can never be done; nil: they are left to their own queue.
	dead queue
	// maxReceives is how often a message is received before it counts as such.
	maxReceives int
	count       func(name string)
	log         *slog.Logger
	flush       func()
	now         func() time.Time
}

// maxDepth is more than any source's events have.
const maxDepth = 32

// Invoke implements lambda.Handler. An error is that of [invocation.Run].
func (h *handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	defer h.flush()
	return invocation.Run(ctx, h.log, func(ctx context.Context) ([]byte, error) { return h.dispatch(ctx, payload) })
}

func (h *handler) dispatch(ctx context.Context, payload []byte) ([]byte, error) {
	members, err := strictjson.Object(payload, strictjson.Limits{Outer: true, Depth: maxDepth})
	if err != nil {
		return nil, h.refuseEvent(ctx, audit.Unknown, fault.Invalid("the event is "+err.Error()))
	}
	source := sourceOf(members)
	if source != audit.Unknown && !h.gate.believes(ctx, source) {
		return nil, h.forged(ctx, source)
	}
	switch source {
	case audit.SQS:
		return h.messages(ctx, members["Records"])
	case audit.Bus:
		return nil, h.event(ctx, members)
	case audit.Schedule:
		return h.schedule(ctx, members)
	case audit.Direct:
		return h.direct(ctx, payload)
	}
	return nil, h.refuseEvent(ctx, audit.Unknown, fault.Invalid("the event is of no source that is known: no Records, detail-type, schedule, client or requests"))
}

// refuseEvent records that an event was refused as a whole.
func (h *handler) refuseEvent(ctx context.Context, source audit.Source, refusal error) error {
	return h.refuse(ctx, asked(ctx, source, ""), refusal)
}

// asked is what is known of a request before it is read. The sender of a message or an event
// is not known.
func asked(ctx context.Context, source audit.Source, messageID string) token.Request {
	r := invocation.Request(ctx, source)
	r.Origin.MessageID = messageID
	if r.Caller == "" {
		r.Caller = string(source)
	}
	return r
}

// direct answers {"client": …} with an announcement and {"requests": […]} with
// {"responses": […]}, one announcement or error document for each, in order. The caller has
// the claim in the answer, so nothing is put on the bus.
func (h *handler) direct(ctx context.Context, payload []byte) ([]byte, error) {
	list, err := invocation.ParseList(payload)
	if err != nil {
		return nil, h.refuseEvent(ctx, audit.Direct, err)
	}
	id := invocation.RequestID(ctx)
	one := func(i int, raw json.RawMessage) ([]byte, error) {
		announced, err := h.fetch(ctx, func(o *token.Order) error {
			*o.Request, o.ID, o.Time = asked(ctx, audit.Direct, ""), itemID(id, i), h.now()
			return parseOrder(o, raw)
		})
		if err != nil {
			return nil, err
		}
		return encode(announced), nil
	}
	if list.Requests == nil {
		return one(0, payload)
	}
	return list.Answer(h.log, id, one), nil
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
