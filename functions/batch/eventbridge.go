package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
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
func (h *handler) event(ctx context.Context, members map[string]json.RawMessage) error {
	id, _ := strictjson.String(members["id"])
	if !validID(id) {
		return h.refuseEvent(ctx, audit.Bus, fault.Invalid("id is not that of an event"))
	}
	r := asked(ctx, audit.Bus, id)
	if kind, _ := strictjson.String(members["detail-type"]); kind != eventTokenRequested {
		return h.refuse(ctx, r, fault.Invalid("detail-type is not "+eventTokenRequested))
	}
	detail := members["detail"]
	if len(detail) == 0 || detail[0] != '{' {
		return h.refuse(ctx, r, fault.Invalid("detail is not an object"))
	}
	list, err := invocation.ParseList(detail)
	if err != nil {
		return h.refuse(ctx, r, err)
	}
	if list.Requests == nil {
		list.Requests = []json.RawMessage{detail}
	}
	when, _ := strictjson.String(members["time"])
	ordered, _ := time.Parse(time.RFC3339, when)
	return first(invocation.Each(h.log, r.RequestID, len(list.Requests), func(i int) error {
		id := itemID(id, i)
		return h.once(ctx, "event "+id, func(confirm func() bool) error {
			return h.announce(ctx, func(o *token.Order) error {
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

// validID reports whether id can be that of an event, a message or a run.
func validID(id string) bool {
	return id != "" && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:", r)
	})
}
