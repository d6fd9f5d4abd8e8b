package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

// maxEntries is how many entries a schedule may have.
const maxEntries = 100

// entry is one item of a schedule: an order, or a request whose token is delivered.
type entry struct {
	token.Order
	// delivery means that the token is delivered to the secret of the name target; else it
	// is announced.
	delivery bool
	target   string
}

// schedule does every entry of {"schedule": […]}, and answers with {"results": […]}, in order.
// A bad entry does not spoil the others. "id" names this run of this schedule, so that a run
// that comes twice has one effect: Scheduler's <aws.scheduler.execution-id> does not name it,
// since it is another when Scheduler tries again. "time" is when the run was due
// (<aws.scheduler.scheduled-time>), from which the lives of claims count.
func (w *deliverer) schedule(ctx context.Context, members map[string]json.RawMessage) ([]byte, error) {
	list, id, due, err := parseSchedule(members, invocation.RequestID(ctx))
	if err != nil {
		return nil, w.refuseEvent(ctx, audit.Schedule, err)
	}
	results := make([]json.RawMessage, len(list))
	requestID := invocation.RequestID(ctx)
	for i, err := range invocation.Each(w.log, requestID, len(list), func(i int) (err error) {
		results[i], err = w.entry(ctx, list[i], itemID(id, i), due)
		return err
	}) {
		if err != nil {
			results[i] = fault.From(err).AppendJSON(nil, requestID)
		}
	}
	return encode(map[string]any{"results": results}), nil
}

func parseSchedule(members map[string]json.RawMessage, requestID string) (list []json.RawMessage, id string, due time.Time, err error) {
	list, ok := strictjson.Elements(members["schedule"], maxEntries)
	if !ok {
		return nil, "", due, fault.Invalid("schedule must be a list of 1 to 100 entries")
	}
	id, due, err = parseTimes(members, "schedule", requestID)
	return list, id, due, err
}

// parseTimes reads id and time of an event whose only other member is main.
func parseTimes(members map[string]json.RawMessage, main, requestID string) (id string, due time.Time, err error) {
	id = requestID
	if raw, ok := members["id"]; ok {
		if id, _ = strictjson.String(raw); !validID(id) {
			return "", due, fault.Invalid("id must be a string of letters, digits and -_.:")
		}
	}
	if raw, ok := members["time"]; ok {
		text, _ := strictjson.String(raw)
		if due, err = time.Parse(time.RFC3339, text); err != nil {
			return "", due, fault.Invalid("time is not a time, such as 2026-11-23T10:15:30Z")
		}
	}
	for name := range members {
		if name != main && name != "id" && name != "time" {
			return "", due, fault.Invalid(strictjson.Quote(name) + " is no member of a schedule")
		}
	}
	return id, due, nil
}

// entry does one entry and returns its result.
func (w *deliverer) entry(ctx context.Context, raw []byte, id string, due time.Time) ([]byte, error) {
	r := w.asked(ctx, audit.Schedule, id, "")
	e := entry{Order: token.Order{Request: &r, ID: id, Time: due}}
	err := e.parse(raw, w.prefix)
	if e.delivery {
		state, err := w.deliver(ctx, &e, err)
		if err != nil {
			w.count(countDeliveriesFailed)
			return nil, err
		}
		return encode(state), nil
	}
	// What was announced before is announced as it was: the claim of an id is always the
	// same.
	announced, err := w.fetch(ctx, func(o *token.Order) error {
		*o.Request, o.ID, o.Time, o.For = r, id, due, e.For
		return err
	})
	if err != nil {
		return nil, err
	}
	err = w.once(ctx, "schedule "+id, func(confirm func() bool) error { return w.tell(ctx, announced, confirm) })
	return encode(announced), err
}

// parse reads an entry. prefix is that of [deliverer].
func (e *entry) parse(raw []byte, prefix string) error {
	members, err := strictjson.Object(raw, strictjson.Limits{Outer: true, Depth: maxDepth, Members: invocation.MaxMembers})
	if err != nil {
		return fault.Invalid("the entry " + strictjson.Problem(err, raw))
	}
	if text, ok := members["deliver_to"]; ok {
		e.delivery = true
		e.target, _ = strictjson.String(text)
		if !validTarget(prefix, e.target) {
			return fault.Invalid("deliver_to must be the name of a secret below " + prefix)
		}
		raw = without(members, "deliver_to")
	}
	if text, ok := strictjson.String(members["min_ttl"]); ok && strings.Trim(text, "0123456789") == "" && json.Valid([]byte(text)) {
		// Every member of the template's schedule is a string.
		members["min_ttl"] = json.RawMessage(text)
		raw = encode(members)
	}
	err = parseOrder(&e.Order, raw)
	switch {
	case err != nil:
		return err
	case e.delivery && e.For != "":
		return fault.Invalid("caller has no meaning beside deliver_to")
	case e.delivery && (e.DryRun || e.Claim != "" || e.Rejected != ""):
		return fault.Invalid("a token that is delivered has neither claim nor rejected nor dry_run")
	}
	return nil
}
