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
	case members["schedule"] != nil, string(members["radar"]) == "true":
		return audit.Schedule
	case members["client"] != nil || members["requests"] != nil || members["radar"] != nil:
		return audit.Direct
	}
	return audit.Unknown
}

// gate decides whether an event is believed to come from the source that its shape says. A
// principal that invokes the function directly gets claims only. A forged schedule could
// deliver any client's token into a secret that the attacker reads, and a forged message
// could mark a real one as done.
type gate struct {
	// sources has the alias through which each source invokes the function, and nothing else
	// does. Lambda sets the invoked alias, not the caller. If it is empty, every event is
	// believed.
	sources map[audit.Source]string
	// samLocal means a developer's machine, where there are no aliases.
	samLocal bool
}

// closed reports whether events of sources are believed through their aliases only.
func (g gate) closed() bool { return len(g.sources) > 0 && !g.samLocal }

// believes reports whether an event of this shape is believed. A source without an alias is
// not used, so its events are forged. A direct invoke, and what is neither, has any alias but
// theirs.
func (g gate) believes(ctx context.Context, source audit.Source) bool {
	if !g.closed() {
		return true
	}
	alias := invocation.Alias(ctx)
	if source != audit.Direct && source != audit.Unknown {
		return g.sources[source] != "" && g.sources[source] == alias
	}
	for _, reserved := range g.sources {
		if reserved == alias {
			return false
		}
	}
	return true
}
