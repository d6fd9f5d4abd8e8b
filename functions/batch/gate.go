package main

import (
	"context"
	"encoding/json"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/token"
)

// sourceOf returns the source whose events have this shape. Anybody can send one.
func sourceOf(members map[string]json.RawMessage) audit.Source {
	switch {
	case members["Records"] != nil:
		return audit.SQS
	case members["detail-type"] != nil:
		return audit.Bus
	case members["schedule"] != nil:
		return audit.Schedule
	case members["client"] != nil || members["requests"] != nil:
		return audit.Direct
	}
	return audit.Unknown
}

// gate decides whether an event is believed to come from where it looks like. Whoever
// invokes the function directly is to get claims. By a schedule of his own he would have
// any client's token in a secret that he reads, and by a message's id that message would
// be taken for done.
type gate struct {
	// alias must be the one that the function was invoked through by a queue, an event
	// or a schedule, and by nobody else, unless empty. Lambda sets it, not the caller.
	alias string
	// samLocal: on a developer's machine there are no aliases.
	samLocal bool
}

func (g gate) believes(ctx context.Context, source audit.Source) bool {
	if g.alias == "" || g.samLocal {
		return true
	}
	return (invocation.Alias(ctx) == g.alias) == (source != audit.Direct)
}

// forged records that an event was not believed. The alias is all that is known of who
// sent it; the event's own ids are his to choose.
func (h *handler) forged(ctx context.Context, source audit.Source) error {
	r := h.asked(ctx, source, "")
	r.Caller = invocation.DirectCaller(r.Origin.Alias)
	return h.vendor.Refuse(r, token.Forgery("an event through an alias that its source does not use"))
}
