package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// vendor is the core, as far as this function needs it.
type vendor interface {
	Vend(ctx context.Context, r token.Request) (token.Grant, error)
	Announce(ctx context.Context, r token.Request, o token.Order) (token.Announcement, error)
	Refuse(r token.Request, err error) *token.Error
}

// bus is where tokens are announced. An event that it did not accept may have been put
// all the same.
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
	// countJobsFailed: something that was to be done was not, this time or ever.
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
	// dead takes messages that can never be done; nil: they are left to the queue
	// they come from.
	dead queue
	// maxReceives is how often a message is received before it is such a message.
	maxReceives int
	count       func(name string)
	log         *slog.Logger
	flush       func()
	now         func() time.Time
}

// maxDepth is more than any source's events have.
const maxDepth = 32

// Invoke implements lambda.Handler. An error is what [invocation.Failure] returns.
func (h *handler) Invoke(ctx context.Context, payload []byte) (answer []byte, err error) {
	ctx, cancel := invocation.WithMargin(ctx)
	defer cancel()
	defer h.flush()
	defer func() { err = invocation.Failure(err) }()
	defer invocation.Rescue(h.log, invocation.RequestID(ctx), &err)
	members, err := strictjson.Object(payload, strictjson.Limits{Outer: true, Depth: maxDepth})
	if err != nil {
		return nil, h.refuse(ctx, audit.Unknown, malformed("the event is "+err.Error()))
	}
	source := sourceOf(members)
	if source != audit.Unknown && !h.gate.believes(ctx, source) {
		return nil, h.forged(ctx, source)
	}
	switch source {
	case audit.SQS:
		return h.messages(ctx, members["Records"])
	case audit.Bus:
		return nil, h.event(ctx, payload, members)
	case audit.Schedule:
		return h.schedule(ctx, members)
	case audit.Direct:
		return h.direct(ctx, payload)
	}
	return nil, h.refuse(ctx, audit.Unknown, malformed("the event is of no source that is known: no Records, detail-type, schedule, client or requests"))
}

// refuse records that an event was refused as a whole.
func (h *handler) refuse(ctx context.Context, source audit.Source, err error) error {
	h.count(countJobsFailed)
	return h.vendor.Refuse(h.asked(ctx, source, ""), err)
}

// asked is what is known of a request before it is read. Of the sender of a message or
// an event nothing is.
func (h *handler) asked(ctx context.Context, source audit.Source, messageID string) token.Request {
	r := token.Request{
		RequestID: invocation.RequestID(ctx), Caller: string(source),
		Origin: audit.Origin{Source: source, MessageID: messageID, Alias: invocation.Alias(ctx)},
	}
	if source == audit.Direct {
		r.Caller = invocation.DirectCaller(r.Origin.Alias)
	}
	return r
}

// direct answers {"client": …} with an announcement and {"requests": […]} with
// {"responses": […]}, one announcement or error document for each, in order. Whoever
// asks has the claim in the answer, so nothing is put on the bus.
func (h *handler) direct(ctx context.Context, payload []byte) ([]byte, error) {
	list, err := invocation.ParseList(payload)
	if err != nil {
		return nil, h.refuse(ctx, audit.Direct, err)
	}
	id := invocation.RequestID(ctx)
	one := func(i int, raw json.RawMessage) ([]byte, *token.Error) {
		announced, err := h.fetch(ctx, raw, h.asked(ctx, audit.Direct, ""), token.Order{ID: itemID(id, i), Time: h.now()})
		if err != nil {
			return nil, token.AsError(err)
		}
		return encode(announced), nil
	}
	if list.Requests != nil {
		return list.Answer(id, one), nil
	}
	answer, failure := one(0, payload)
	if failure != nil {
		return nil, failure
	}
	return answer, nil
}

func malformed(description string) error {
	return &token.Error{Kind: token.Malformed, Description: description}
}

// permanent reports whether the same would fail again for ever: it is about what was
// asked, not about the state that something is in.
func permanent(err error) bool {
	e := token.AsError(err)
	switch e.Kind {
	case token.Malformed, token.UnsupportedGrant, token.InvalidScope, token.InvalidTarget, token.Denied, token.TooLarge:
		return !e.Passing
	}
	return false
}

// encode encodes what is of our making, which cannot fail.
func encode(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return text
}
