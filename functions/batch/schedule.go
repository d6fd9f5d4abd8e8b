package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// maxEntries is how many entries a schedule may have.
const maxEntries = 100

// entry is one line of a schedule: a request with two members more.
type entry struct {
	request token.Request
	caller  string
	// delivery: the token is delivered to the secret of the name target; else it is
	// announced.
	delivery bool
	target   string
}

// schedule does every entry of {"schedule": […]}, and answers with {"results": […]}, in
// order. A bad entry does not spoil the others. "id" names this run of this schedule, so
// that one that comes twice has one effect: Scheduler's <aws.scheduler.execution-id> does
// not, since it is another when Scheduler tries again. "time" is when it was due
// (<aws.scheduler.scheduled-time>), from which the lives of claims count.
func (h *handler) schedule(ctx context.Context, members map[string]json.RawMessage) ([]byte, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(members["schedule"], &list); err != nil || len(list) == 0 || len(list) > maxEntries {
		return nil, h.refuse(ctx, audit.Schedule, malformed("schedule must be a list of 1 to 100 entries"))
	}
	id := invocation.RequestID(ctx)
	if raw, ok := members["id"]; ok {
		if id, ok = strictjson.String(raw); !ok || id == "" || len(id) > 128 || strings.ContainsFunc(id, notIDByte) {
			return nil, h.refuse(ctx, audit.Schedule, malformed("id must be a string of letters, digits and -_.:"))
		}
	}
	var due time.Time
	if raw, ok := members["time"]; ok {
		text, _ := strictjson.String(raw)
		var err error
		if due, err = time.Parse(time.RFC3339, text); err != nil {
			return nil, h.refuse(ctx, audit.Schedule, malformed("time is not a time, such as 2026-11-23T10:15:30Z"))
		}
	}
	for name := range members {
		if name != "schedule" && name != "id" && name != "time" {
			return nil, h.refuse(ctx, audit.Schedule, malformed(strictjson.Quote(name)+" is no member of a schedule"))
		}
	}
	results := make([]json.RawMessage, len(list))
	invocation.Each(len(list), func(i int) { results[i] = h.entry(ctx, list[i], token.Order{ID: itemID(id, i), Time: due}) })
	return encode(map[string]any{"results": results}), nil
}

// entry does one entry and returns its result, an error document if it failed.
func (h *handler) entry(ctx context.Context, raw []byte, o token.Order) (result []byte) {
	asked := h.asked(ctx, audit.Schedule, o.ID)
	var err error
	func() {
		defer invocation.Rescue(h.log, asked.RequestID, &err)
		result, err = h.do(ctx, raw, asked, o)
	}()
	if err != nil {
		return token.AsError(err).AppendJSON(nil, asked.RequestID)
	}
	return result
}

func (h *handler) do(ctx context.Context, raw []byte, asked token.Request, o token.Order) (result []byte, err error) {
	e, err := parseEntry(raw)
	if err != nil {
		if e.delivery {
			h.count(countDeliveriesFailed)
		}
		return nil, h.failed(asked, err)
	}
	if e.delivery {
		state, err := h.deliver(ctx, e, asked)
		if err != nil {
			h.count(countDeliveriesFailed)
			return nil, err
		}
		return encode(state), nil
	}
	// What was announced before is announced as it was: the claim of an id is always
	// the same.
	o.Caller = e.caller
	announced, err := h.announce(ctx, e.request, asked, o)
	if err != nil {
		return nil, err
	}
	err = h.once(ctx, "schedule "+o.ID, func(mine func() bool) error { return h.tell(ctx, announced, mine) })
	return encode(announced), err
}

func parseEntry(raw []byte) (e entry, err error) {
	members, err := strictjson.Object(raw, strictjson.Limits{Outer: true, Depth: maxDepth})
	if err != nil {
		return e, malformed("the entry is " + err.Error())
	}
	if text, ok := members["deliver_to"]; ok {
		e.delivery = true
		e.target, _ = strictjson.String(text)
		if !validTarget(e.target) {
			return e, malformed("deliver_to must be the name of a secret below " + targetPrefix)
		}
		raw = without(members, "deliver_to")
	}
	e.request, e.caller, err = parseOrder(raw)
	switch {
	case err != nil:
		return e, err
	case e.delivery && e.caller != "":
		return e, malformed("caller has no meaning beside deliver_to")
	case e.delivery && (e.request.DryRun || e.request.Claim != "" || e.request.Rejected != ""):
		return e, malformed("what is delivered has neither claim nor rejected nor dry_run")
	}
	return e, nil
}
