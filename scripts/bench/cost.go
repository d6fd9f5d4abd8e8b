package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tokenvendor/scripts/bench/bill"
	"tokenvendor/scripts/bench/clock"
	"tokenvendor/scripts/local/runtimeapi"
)

// cost measures what is billed for a vend, and prints what a million vends cost.
func cost(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("cost", flag.ContinueOnError)
	recorded := flags.Bool("recorded", false, "print the table of the recorded figures, without measuring")
	update := flags.Bool("update", false, "record the figures, and write the table to functions/COSTS.md")
	if err := flags.Parse(args); err != nil {
		return err
	}
	figures, err := bill.Recorded()
	if !*recorded {
		figures, err = measureCost(ctx)
	}
	if err != nil {
		return err
	}
	if *update {
		return bill.Update(figures)
	}
	_, err = io.WriteString(out, bill.Tables(figures))
	return err
}

// proof is the value of events/*.json.
const proof = "example-envelope-proof"

// costEnv is the function on a clock, with the settings of template.yaml that its lines
// depend on.
type costEnv struct {
	*env
	clock clock.File
	log   costLog
	// functions are the execution environments, which get events in turn.
	functions []*runtimeapi.Runtime
}

// costLog is what the functions wrote. It is safe for concurrent use.
type costLog struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (l *costLog) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, text...)
	return len(text), nil
}

// newCostEnv starts the servers. The caller must close the result.
func newCostEnv(ctx context.Context) (*costEnv, error) {
	e := &costEnv{}
	servers, err := newEnv(ctx, envConfig{life: time.Hour, table: true, now: func() time.Time { return e.clock.Now() }})
	if err != nil {
		return nil, err
	}
	e.env, e.clock = servers, clock.File(filepath.Join(servers.dir, "clock"))
	e.issuer.Misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
		w.Header().Set("Date", e.clock.Now().UTC().Format(http.TimeFormat))
		next.ServeHTTP(w, r)
	})
	e.vars = append(e.vars, clock.Variable+"="+string(e.clock), "HTTP_ALIAS=http", "URL_ALIAS=url", "ENVELOPE_PROOF="+proof, "METRICS_NAMESPACE=TokenVendor/token-vendor")
	// Each day of UTC has a key of its own: a run of a day that began at midnight would need one
	// less.
	const day = 24 * time.Hour
	untilNoon := time.Until(time.Now().Truncate(day).Add(day + day/2))
	if err := errors.Join(e.clock.Reset(), e.clock.Advance(untilNoon), buildOnClock(ctx, tokenPackage, e.binary)); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

func (e *costEnv) close() error {
	return errors.Join(e.stop(), e.env.close())
}

// start starts n execution environments with an empty log.
func (e *costEnv) start(n int, table bool) error {
	e.log.text = nil
	vars := e.vars
	if !table {
		vars = slices.DeleteFunc(slices.Clone(vars), func(v string) bool { return strings.HasPrefix(v, "CACHE_") })
	}
	for range n {
		function, err := e.startFunction(vars, 1, &e.log)
		if err != nil {
			return err
		}
		e.functions = append(e.functions, function)
	}
	return nil
}

// stop ends the execution environments, and returns when all that they wrote is in the log.
func (e *costEnv) stop() (err error) {
	for _, function := range e.functions {
		err = errors.Join(err, function.Close())
	}
	e.functions = nil
	return err
}

// gatewayID is the request id of events/rest-v1.json.
const gatewayID = "3f2b8c1d-0a4e-4d5f-9b6a-7c8d9e0f1a2b"

// vend sends an event, which must get a token, and returns the answer. The request id of a REST
// API is a new one, because equal ids would make the log smaller after gzip.
func (e *costEnv) vend(ctx context.Context, i int, alias string, event []byte) ([]byte, error) {
	function := e.functions[i%len(e.functions)]
	id := fmt.Sprintf("%08x-0a4e-4d5f-9b6a-%012x", rand.Uint32(), rand.Uint64()>>16) // #nosec G404 -- nothing depends on chance
	event = bytes.Replace(event, []byte(gatewayID), []byte(id), 1)
	result, err := function.Invoke(ctx, runtimeapi.Invocation{Payload: event, Qualifier: alias})
	if err != nil {
		return nil, err
	}
	if result.FunctionError != "" || !bytes.Contains(result.Payload, []byte("access_token")) {
		return nil, fmt.Errorf("cost: the function did not answer with a token")
	}
	return result.Payload, nil
}

// measureCost makes all measurements. It takes about a minute.
func measureCost(ctx context.Context) (figures bill.Figures, err error) {
	figures = bill.Figures{Measured: time.Now().UTC().Format(time.DateOnly)}
	e, err := newCostEnv(ctx)
	if err != nil {
		return figures, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	if err := e.measureLines(ctx, &figures); err != nil {
		return figures, err
	}
	if figures.Served, err = e.measureRhythm(ctx, costRun{gap: time.Minute, vends: 1440, keep: true}); err != nil {
		return figures, err
	}
	for _, table := range []bool{false, true} {
		for _, gap := range []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, time.Hour} {
			r, err := e.measureRhythm(ctx, costRun{gap: gap, vends: min(int(24*time.Hour/gap), 1440), table: table})
			if err != nil {
				return figures, err
			}
			figures.Rhythms = append(figures.Rhythms, r)
		}
	}
	return figures, nil
}

// costRun is how one client is used.
type costRun struct {
	gap   time.Duration // between two vends
	vends int
	table bool // the environments share a table
	keep  bool // the caller keeps a token until refresh_after
}

// measureRhythm counts what the vends of a run cost, after the first call of each environment,
// which starts it.
func (e *costEnv) measureRhythm(ctx context.Context, r costRun) (bill.Rhythm, error) {
	const environments = 2
	event, err := sample("rest-v1.json")
	if err != nil {
		return bill.Rhythm{}, err
	}
	e.table.Clear(tableName)
	if err := e.start(environments, r.table); err != nil {
		return bill.Rhythm{}, err
	}
	for i := range environments {
		if _, err := e.vend(ctx, i, "http", event); err != nil {
			return bill.Rhythm{}, err
		}
	}
	before, reads := e.counts(), e.table.Calls("GetItem")
	calls, err := e.vendAll(ctx, r, event)
	if err := errors.Join(err, e.stop()); err != nil {
		return bill.Rhythm{}, err
	}
	n := e.counts().minus(before)
	reads = e.table.Calls("GetItem") - reads
	logged, lines := 0, 0
	for line := range bytes.Lines(e.log.text) {
		// The first lines are those of the start.
		if lines++; lines > environments {
			logged += len(deployed(line))
		}
	}
	each := func(count int) float64 { return float64(count) / float64(r.vends) }
	return bill.Rhythm{
		Seconds: int(r.gap / time.Second), Table: r.table, Calls: each(calls), Exchanges: each(n.exchanges), SecretReads: each(n.reads),
		TableReads: each(reads), TableWrites: each(n.table - reads), KeyCalls: each(n.keys), LogBytes: each(logged),
	}, nil
}

// vendAll makes the vends of a run, and returns how often the function was called.
func (e *costEnv) vendAll(ctx context.Context, r costRun, event []byte) (calls int, err error) {
	var kept time.Time
	for range r.vends {
		if err := e.clock.Advance(r.gap); err != nil {
			return calls, err
		}
		if e.clock.Now().Before(kept) {
			continue
		}
		answer, err := e.vend(ctx, calls, "http", event)
		if err != nil {
			return calls, err
		}
		calls++
		if r.keep {
			kept = e.clock.Now().Add(refreshAfter(answer))
		}
	}
	return calls, nil
}

// refreshAfter returns how long a caller may keep the token of an answer.
func refreshAfter(answer []byte) time.Duration {
	var http struct{ Body string }
	var token struct {
		RefreshAfter int `json:"refresh_after"`
	}
	if json.Unmarshal(answer, &http) != nil || json.Unmarshal([]byte(http.Body), &token) != nil {
		return 0
	}
	return time.Duration(token.RefreshAfter) * time.Second
}
