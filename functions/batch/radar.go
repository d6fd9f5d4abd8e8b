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
	// examineTime is how long one client may take, and examineReserve what must be left of the
	// run's time to begin with it.
	examineTime    = 10 * time.Second
	examineReserve = 4 * time.Second
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
			results[i] = result{Client: names[i], State: radar.Unknown, Problem: fault.From(err).Description}
		}
	}
	return encode(map[string]any{"results": results}), nil
}

func parseRun(members map[string]json.RawMessage) (named []string, due time.Time, err error) {
	list, ok := strictjson.Strings(members["radar"])
	switch {
	case string(members["radar"]) == "true":
	case !ok || len(list) == 0 || len(list) > maxEntries || slices.ContainsFunc(list, func(name string) bool { return !registry.ValidName(name) }):
		return nil, due, fault.Invalid("radar must be true, or a list of 1 to 100 clients")
	default:
		named = list
	}
	_, due, err = parseTimes(members, "radar", "")
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

// look results at one client, and sends the events that follow, before it notes that they are
// sent: a process that dies in between sends them again. The error says that there was no look.
func (w *watch) examine(ctx context.Context, name string, due time.Time, named bool) (result, error) {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < examineReserve {
		return result{}, fault.New(fault.Timeout, "the run had no time for this client")
	}
	ctx, cancel := context.WithTimeout(ctx, examineTime)
	defer cancel()
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
	x, ok := w.vendor.Examine(ctx, name, invocation.RequestID(ctx), func(version string, refused bool) bool {
		return named || !refused && h.MayProbe(version)
	})
	if !ok {
		return result{}, errNoTable()
	}
	o := w.observation(name, due, &x)
	events, newDay := h.Observe(o)
	if !a.Lease.Confirm(ctx) {
		return result{}, errBusy()
	}
	l := result{Client: name, State: o.State, Problem: o.Problem}
	if end := firstEnd(o); end != nil {
		days := end.Left(o.At)
		l.Days = &days
	}
	for _, e := range events {
		if err := w.bus.Put(ctx, eventSource, e.Type, encode(e.Detail)); err != nil {
			w.log.Warn("event not sent", "client", name, "detail", err.Error())
			return result{}, fault.New(fault.Unavailable, "the event bus did not take the event")
		}
		w.count(e.Type)
		l.Events = append(l.Events, e.Type)
	}
	if x.Open {
		w.count(countOpen)
	}
	if newDay || len(events) > 0 || named {
		w.write(o, &x, l, newDay)
	}
	w.note(ctx, name, h)
	return l, nil
}

func errNoTable() error { return fault.New(fault.Unavailable, "the shared table cannot be used now") }

// noteTime is how long a history is written again while another environment writes it.
const noteTime = time.Second

func (w *watch) note(ctx context.Context, name string, h radar.History) {
	text := encode(h)
	w.fleet.Session(ctx).Change(ctx, noteTime, fleet.HistoryRow, historyRow(name), nil, func([]byte) []byte { return text })
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
func (w *watch) write(o radar.Observation, x *token.Examination, l result, newDay bool) {
	report := map[string]any{
		"type": "credential", "time": o.At.UTC().Format(time.RFC3339), "client": o.Client, "Client": o.Client, "state": string(o.State),
		"candidate": !x.Proven && x.Client != nil,
	}
	add := func(name, value string) {
		if value != "" {
			report[name] = value
		}
	}
	date := func(name string, t time.Time) {
		if !t.IsZero() {
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
	date("proven", o.Proven)
	date("used", o.Used)
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
