package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// eventTokenRequested is the detail-type of an event that orders tokens.
const eventTokenRequested = "TokenRequested"

// event announces what an event of EventBridge orders: its detail is a request, or a
// list of requests. An error makes Lambda deliver it again, and then put it into the
// dead-letter queue with the error's text; what was done by then is not done again.
func (h *handler) event(ctx context.Context, payload []byte, members map[string]json.RawMessage) error {
	id, _ := strictjson.String(members["id"])
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, notIDByte) {
		return h.refuse(ctx, audit.Bus, malformed("id is not that of an event"))
	}
	asked := h.asked(ctx, audit.Bus, id)
	if kind, _ := strictjson.String(members["detail-type"]); kind != eventTokenRequested {
		return h.failed(asked, malformed("detail-type is not "+eventTokenRequested))
	}
	detail := members["detail"]
	if len(detail) == 0 || detail[0] != '{' {
		return h.failed(asked, malformed("detail is not an object"))
	}
	list, err := invocation.ParseList(detail)
	if err != nil {
		return h.failed(asked, err)
	}
	if list.Requests == nil {
		list.Requests = []json.RawMessage{detail}
	}
	when, _ := strictjson.String(members["time"])
	ordered, _ := time.Parse(time.RFC3339, when)
	return h.each(ctx, len(list.Requests), func(i int) error {
		one := itemID(id, i)
		return h.once(ctx, "event "+one, func(mine func() bool) error {
			return h.announceAll(ctx, list.Requests[i], asked, token.Order{ID: one, Time: ordered}, mine)
		})
	})
}

// each does all of n, and returns the first error with the number of errors. One that
// may go away by itself counts more than one that may not.
func (h *handler) each(ctx context.Context, n int, do func(i int) error) error {
	errs := make([]error, n)
	invocation.Each(n, func(i int) {
		defer invocation.Rescue(h.log, invocation.RequestID(ctx), &errs[i])
		errs[i] = do(i)
	})
	failed, first := 0, -1
	for i, err := range errs {
		if err == nil {
			continue
		}
		if failed++; first < 0 || permanent(errs[first]) && !permanent(err) {
			first = i
		}
	}
	if failed == 0 || n == 1 {
		return errs[0]
	}
	e := *token.AsError(errs[first])
	e.Description = fmt.Sprintf("%d of %d requests failed; requests[%d]: %s", failed, n, first, e.Description)
	return &e
}
