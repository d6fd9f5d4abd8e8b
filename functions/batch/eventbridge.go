package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// eventTokenRequested is the detail-type of an event that orders tokens.
const eventTokenRequested = "TokenRequested"

// event announces the tokens that an event of EventBridge orders: its detail is a request, or
// a list of requests. After an error Lambda delivers the event again, and at last puts it
// into the dead-letter queue with the error's text. What was done by then is not done again.
func (w *orders) event(ctx context.Context, members map[string]json.RawMessage) error {
	id, _ := strictjson.String(members["id"])
	if !validID(id) {
		return w.refuseEvent(ctx, audit.Bus, fault.Invalid("id is not that of an event"))
	}
	r := w.asked(ctx, audit.Bus, id, "")
	if kind, _ := strictjson.String(members["detail-type"]); kind != eventTokenRequested {
		return w.refuse(ctx, r, fault.Invalid("detail-type is not "+eventTokenRequested))
	}
	detail := members["detail"]
	if len(detail) == 0 || detail[0] != '{' {
		return w.refuse(ctx, r, fault.Invalid("detail is not an object"))
	}
	list, err := invocation.ParseList(detail)
	if err != nil {
		return w.refuse(ctx, r, err)
	}
	if list.Requests == nil {
		list.Requests = []json.RawMessage{detail}
	}
	when, _ := strictjson.String(members["time"])
	ordered, _ := time.Parse(time.RFC3339, when)
	return first(invocation.Each(w.log, r.RequestID, len(list.Requests), func(i int) error {
		id := itemID(id, i)
		return w.once(ctx, "event "+id, func(confirm func() bool) error {
			return w.announce(ctx, func(o *token.Order) error {
				*o.Request, o.ID, o.Time = r, id, ordered
				return parseOrder(o, list.Requests[i])
			}, confirm)
		})
	}))
}

// first returns the first error of several requests, with the number of errors. One that may
// pass by itself comes before one that may not.
func first(errs []error) error {
	failed, first := 0, -1
	for i, err := range errs {
		if err == nil {
			continue
		}
		if failed++; first < 0 || permanent(errs[first]) && !permanent(err) {
			first = i
		}
	}
	if failed == 0 || len(errs) == 1 {
		return errs[0]
	}
	e := *fault.From(errs[first])
	e.Description = fmt.Sprintf("%d of %d requests failed; requests[%d]: %s", failed, len(errs), first, e.Description)
	return &e
}
