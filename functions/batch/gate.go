package main

import (
	"context"
	"encoding/json"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/invocation"
)

// sourceOf returns the source whose events have this shape. Any invoker can send one.
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

// gate decides whether an event is believed to come from the source that its shape says. A
// principal that invokes the function directly gets claims only. A forged schedule could
// deliver any client's token into a secret that the attacker reads, and a forged message
// could mark a real one as done.
type gate struct {
	// alias, unless empty, is the one through which queues, events and schedules invoke the
	// function, and nothing else does. Lambda sets it, not the caller.
	alias string
	// samLocal means a developer's machine, where there are no aliases.
	samLocal bool
}

func (g gate) believes(ctx context.Context, source audit.Source) bool {
	if g.alias == "" || g.samLocal {
		return true
	}
	return (invocation.Alias(ctx) == g.alias) == (source != audit.Direct)
}
