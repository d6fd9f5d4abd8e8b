package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/invocation"
	"tokenvendor/shared/metrics"
	"tokenvendor/shared/radar"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/strictjson"
	"tokenvendor/shared/token"
)

const (
	// probeReserve is what must be left of the run's time to try a credential, and
	// examineReserve to begin with a client at all: what needs no server is done for every
	// client, also if servers hang. answerReserve is what is left after a probe.
	probeReserve   = 6 * time.Second
	examineReserve = time.Second
	answerReserve  = 2 * time.Second
	// countNotExamined: a run of the radar had no time for a client, or no table.
	countNotExamined = "ClientsNotExamined"
	// countOpen: the policy allows a client to a caller that does not exist.
	countOpen = "PolicyOpen"
	// metricDays is the number of days that are left of a credential.
	metricDays = "DaysToExpiry"
)

// watch is the radar: it examines every client, and tells operators what they should know of
// its credential; see [radar.History.Observe].
type watch struct {
	orders
	// list returns the names of all clients.
	list func(ctx context.Context) ([]string, error)
	// report writes the line of a client; see [tokenvendor/shared/metrics.Metrics.Report].
	report func(g *metrics.Gauge, properties map[string]any)
	// identity means that this function can use documents with aws_web_identity.
	identity bool
}

// result is what one examination of a client found.
type result struct {
	Client string      `json:"client"`
	State  radar.State `json:"state"`
	// Days is how many are left of the credential; nil: it has no end, or that is not known.
	Days    *int     `json:"days_to_expiry,omitempty"`
	Problem string   `json:"problem,omitempty"`
	Events  []string `json:"events,omitempty"`
}

// run answers {"radar": true} for all clients and {"radar": ["billing"]} for some, with
// {"results": […]}. A schedule asks for all, and an operator for some, by a direct invoke: such a
// client is tried even if its credential was refused before. "id" and "time" are those of a
// schedule; "time" is also the time that all examinations count from.
func (w *watch) run(ctx context.Context, members map[string]json.RawMessage) ([]byte, error) {
	named, due, err := parseRun(members)
	if err != nil {
		return nil, w.refuseEvent(ctx, sourceOf(members), err)
	}
	names := named
	if named == nil {
		if names, err = w.clients(ctx); err != nil {
			w.count(countJobsFailed)
			w.log.Warn("clients not listed", "detail", err.Error())
			return nil, fault.New(fault.Unavailable, "the secrets cannot be listed")
		}
	}
	if due.IsZero() {
		due = w.now()
	}
	results := make([]result, len(names))
	requestID := invocation.RequestID(ctx)
	for i, err := range invocation.Each(w.log, requestID, len(names), func(i int) (err error) {
		results[i], err = w.examine(ctx, names[i], due, named != nil)
		return err
	}) {
		if err != nil {
			w.count(countNotExamined)
			results[i].Client, results[i].State, results[i].Problem = names[i], radar.Unknown, fault.From(err).Description
		}
	}
	if named == nil {
		w.count(countRadarRuns)
	}
	return encode(map[string]any{"results": results}), nil
}

func parseRun(members map[string]json.RawMessage) (named []string, due time.Time, err error) {
	if string(members["radar"]) == "true" {
		_, due, err = parseTimes(members, "radar", "")
		return nil, due, err
	}
	named, ok := strictjson.Strings(members["radar"])
	switch {
	case !ok || len(named) == 0 || len(named) > maxEntries || slices.ContainsFunc(named, func(name string) bool { return !registry.ValidName(name) }):
		err = fault.Invalid("radar must be true, or a list of 1 to 100 clients")
	case len(members) > 1:
		err = fault.Invalid("a list of clients in radar must be the only member")
	}
	return named, due, err
}

// clients returns the names of all clients in a new order each time, so that a run that has no
// time for all leaves out others than the run before.
func (w *watch) clients(ctx context.Context) ([]string, error) {
	names, err := w.list(ctx)
	names = slices.DeleteFunc(names, func(name string) bool { return !registry.ValidName(name) })
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] }) // #nosec G404 -- no secret
	return names, err
}

func historyRow(client string) string { return "radar\x00" + client }

// examine examines one client, and sends the events that follow. They are noted as pending before
// they are sent: a process that dies in between sends them at the next run. The error says that
// the client was not examined.
func (w *watch) examine(ctx context.Context, name string, due time.Time, named bool) (result, error) {
	if left(ctx) < examineReserve {
		return result{}, fault.New(fault.Timeout, "the run had no time for this client")
	}
	a := w.acquire(ctx, historyRow(name))
	if a.State != fleet.Acquired {
		return result{}, errBusy()
	}
	defer end(ctx, a.Lease, time.Time{})
	row, ok := w.fleet.Session(ctx).Read(ctx, fleet.HistoryRow, historyRow(name))
	if !ok {
		return result{}, errNoTable()
	}
	var h radar.History
	_ = json.Unmarshal(row.Note, &h) // a note that cannot be read counts as none
	x, err := w.probe(ctx, name, named, &h)
	if err != nil {
		return result{}, err
	}
	o := w.observation(name, due, &x)
	newDay := h.Observe(o)
	h.Begin()
	if !a.Lease.Confirm(ctx) {
		return result{}, errBusy()
	}
	if !w.note(ctx, name, h) {
		return result{}, errNoTable()
	}
	r := result{Client: name, State: h.State(o.State), Problem: o.Problem}
	if end := firstEnd(o); end != nil {
		days := end.Left(o.At)
		r.Days = &days
	}
	err = w.send(ctx, name, &h, &r)
	if x.Open {
		w.count(countOpen)
	}
	if newDay || len(r.Events) > 0 || named {
		w.write(o, &x, &h, r, newDay)
	}
	return r, err
}

// left returns how much time the run has left.
func left(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return time.Until(deadline)
	}
	return time.Hour
}

// probe examines a client, and tries its credential if there is time for it.
func (w *watch) probe(ctx context.Context, name string, named bool, h *radar.History) (token.Examination, error) {
	cut, cancel := context.WithTimeout(ctx, left(ctx)-answerReserve/2)
	defer cancel()
	p := token.Probe{RequestID: invocation.RequestID(ctx), May: func(version string, refused bool) bool {
		return left(ctx) >= probeReserve && (named || !refused && h.MayProbe(version))
	}}
	if named {
		p.Caller = invocation.DirectCaller(invocation.Alias(ctx))
	}
	x, ok := w.vendor.Examine(cut, name, p)
	switch {
	case !ok:
		return x, errNoTable()
	case cut.Err() != nil && x.Probed && x.Err != nil:
		return x, fault.New(fault.Timeout, "the run had no time for this client")
	}
	return x, nil
}

// send sends the events that are pending. What the bus does not take stays pending.
func (w *watch) send(ctx context.Context, name string, h *radar.History, r *result) error {
	if len(h.Pending) == 0 {
		return nil
	}
	var failed error
	for len(h.Pending) > 0 && failed == nil {
		e := h.Pending[0]
		if err := w.bus.Put(ctx, eventSource, e.Type, encode(e.Detail)); err != nil {
			w.log.Warn("event not sent", "client", name, "detail", err.Error())
			failed = fault.New(fault.Unavailable, "the event bus did not take the event")
			h.Refused()
			break
		}
		w.count(e.Type)
		r.Events, h.Pending = append(r.Events, e.Type), h.Pending[1:]
	}
	if !w.note(ctx, name, *h) && failed == nil {
		failed = errNoTable()
	}
	return failed
}

func errNoTable() error { return fault.New(fault.Unavailable, "the shared table cannot be used now") }

// noteTime is how long a history is written again while another environment writes it.
const noteTime = time.Second

// note writes a history. It returns false if that is not known to have succeeded.
func (w *watch) note(ctx context.Context, name string, h radar.History) bool {
	text := encode(h)
	_, ok := w.fleet.Session(ctx).Change(ctx, noteTime, fleet.HistoryRow, historyRow(name), nil, func([]byte) []byte { return text })
	return ok
}

// firstEnd returns what ends first; nil: nothing does.
func firstEnd(o radar.Observation) *radar.Term {
	var first *radar.Term
	for _, t := range []radar.Term{o.Certificate, o.Secret} {
		if !t.To.IsZero() && (first == nil || t.To.Before(first.To)) {
			first = &t
		}
	}
	return first
}

// write writes the report of a client. The metric is part of it once a day.
func (w *watch) write(o radar.Observation, x *token.Examination, h *radar.History, l result, newDay bool) {
	report := map[string]any{
		"type": "credential", "time": o.At.UTC().Format(time.RFC3339), "client": o.Client, "Client": o.Client, "state": string(l.State),
		"candidate": !x.Proven && x.Client != nil,
	}
	add := func(name, value string) {
		if value != "" {
			report[name] = value
		}
	}
	date := func(name string, t time.Time) {
		if !t.IsZero() && t.Unix() > 0 {
			report[name] = t.UTC().Format(time.RFC3339)
		}
	}
	add("secret_version", o.Version)
	add("method", o.Method)
	add("issuer_host", o.IssuerHost)
	add("problem", o.Problem)
	add("certificate_sha256", o.Certificate.ID)
	date("certificate_not_after", o.Certificate.To)
	date("expires", o.Secret.To)
	date("proven", time.Unix(h.Proven, 0))
	date("used", time.Unix(h.Used, 0))
	if c := x.Client; c != nil {
		add("key", c.Key)
		if !c.Created.IsZero() {
			report["age_days"] = int(o.At.Sub(c.Created) / (24 * time.Hour))
		}
	}
	if x.Previous != nil {
		report["previous_version"] = x.Previous.Version
	}
	if x.Err != nil {
		date("fuse_until", x.Err.Fuse)
	}
	if len(l.Events) > 0 {
		report["events"] = l.Events
	}
	if x.Open {
		report["policy_open"] = true
	}
	var gauge *metrics.Gauge
	if l.Days != nil {
		report["days_to_expiry"] = *l.Days
		if newDay {
			gauge = &metrics.Gauge{Name: metricDays, Value: *l.Days, Dimension: "Client", Overall: firstEnd(o).Due(o.At)}
		}
	}
	w.report(gauge, report)
}
