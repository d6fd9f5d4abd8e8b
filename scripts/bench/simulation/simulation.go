// Package simulation runs a fleet of thousands of environments on a virtual clock, with the
// vendor's real code: package token with everything below it, the table's sealing and the
// exchanges over TLS included. The table, KMS, Secrets Manager and the authorization server
// are doubles in memory, with the latencies and the limits of the real ones.
//
// The virtual clock is that of testing/synctest, which exists in a test only. The package's test
// therefore is the program: `bench growth` compiles and runs it.
package simulation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

const (
	// Lambda starts so many environments of one function at once, and as many again each
	// burstInterval (docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html, "Concurrency
	// scaling rate").
	burst         = 1000
	burstInterval = 10 * time.Second
	// The environments of a burst do not take equally long to start.
	startJitter = 200 * time.Millisecond
	// startTime is how long after the last start the fleet counts as started.
	startTime = time.Minute
	// An environment calls at random times, on average every shortPause to longPause; the
	// average differs by environment.
	shortPause, longPause = 20 * time.Second, 20 * time.Minute
)

// Config configures [Run].
type Config struct {
	Environments int
	// Clients of one authorization server. Each environment vends the first one and one of
	// the others.
	Clients int
	// Life is that of a token. The run takes Lives of them. At its middle the secret of
	// the first client is replaced, and a new day of UTC begins.
	Life  time.Duration
	Lives int
}

// Calls are counts of calls.
type Calls struct {
	Vends, Exchanges, Secrets, Keys int
	// TableCalls are those of the table, and Reads and Writes their units.
	TableCalls    int
	Reads, Writes float64
}

func (c Calls) minus(d Calls) Calls {
	return Calls{
		c.Vends - d.Vends, c.Exchanges - d.Exchanges, c.Secrets - d.Secrets, c.Keys - d.Keys, c.TableCalls - d.TableCalls, c.Reads - d.Reads, c.Writes - d.Writes,
	}
}

// Result is what [Run] counted.
type Result struct {
	Environments int
	// Start are the calls until all environments had started, and Steady those of the time
	// after it, Hours.
	Start, Steady Calls
	Hours         float64
	// Lifetimes are the exchanges that were due: the first one of a client, and one when a
	// token was due to be replaced, or the secret had been.
	Lifetimes int
	// Failed are the vends without a token, by their errors.
	Failed map[string]int
	// FailedLogons is that of the authorization server.
	FailedLogons int
	// Peaks are the most units of one item in one second, by what the item is for, Largest is
	// the size of the largest item in bytes, and Throttled how many calls of the table were
	// throttled.
	Peaks     map[string]fleettest.Peak
	Largest   int
	Throttled int
	// BusiestMinute is the greatest number of exchanges in one minute, and BusiestSecond of
	// the reads of secrets and of the calls of KMS in one second.
	BusiestMinute               int
	BusiestSecrets, BusiestKeys int
	// Rush is what happened when, after all of that, every environment asked for one more
	// client's token within a second. No table bears that without throttling.
	Rush Rush
	// Counted are the metrics of the vendors.
	Counted map[string]int
	// Slowest is the longest time of a vend.
	Slowest time.Duration
	// Memory is that of the process in bytes, the authorization server's included.
	Memory uint64
}

// Rush is the result of calls that all environments make at once.
type Rush struct {
	Exchanges, Failed, Throttled int
	Slowest                      time.Duration
}

// Exchanges returns the exchanges per token and lifetime.
func (r *Result) Exchanges() float64 {
	return float64(r.Start.Exchanges+r.Steady.Exchanges) / float64(max(1, r.Lifetimes))
}

// FailedVends returns how many vends brought no token.
func (r *Result) FailedVends() int { return total(r.Failed) }

// PerStart returns calls at the start per environment, and PerHour the later ones per
// environment and hour.
func (r *Result) PerStart(calls int) float64 { return float64(calls) / float64(r.Environments) }

func (r *Result) PerHour(calls int) float64 { return r.PerStart(calls) / r.Hours }

// Peak returns the most units of one item in one second.
func (r *Result) Peak() (hottest fleettest.Peak) {
	for _, peak := range r.Peaks {
		hottest = fleettest.Peak{Reads: max(hottest.Reads, peak.Reads), Writes: max(hottest.Writes, peak.Writes)}
	}
	return hottest
}

// Costs are the calls per environment that must not grow with the fleet, by their names.
func (r *Result) Costs() map[string]float64 {
	return map[string]float64{
		"table calls at the start": r.PerStart(r.Start.TableCalls), "table calls an hour": r.PerHour(r.Steady.TableCalls),
		"reads of secrets at the start": r.PerStart(r.Start.Secrets), "reads of secrets an hour": r.PerHour(r.Steady.Secrets),
		"KMS calls at the start": r.PerStart(r.Start.Keys), "KMS calls an hour": r.PerHour(r.Steady.Keys),
	}
}

// flat is how much a cost per environment may differ between two fleets of different sizes by
// chance.
const flat = 1.1

// Problems returns what is wrong with fleets of growing sizes.
func Problems(results []Result) (problems []string) {
	require := func(ok bool, r *Result, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Sprintf("%d environments: ", r.Environments)+fmt.Sprintf(format, args...))
		}
	}
	for i := range results {
		r := &results[i]
		peak := r.Peak()
		require(r.Exchanges() == 1, r, "%.2f exchanges per token and lifetime, want 1", r.Exchanges())
		require(len(r.Failed) == 0, r, "vends failed: %v", r.Failed)
		require(r.Throttled == 0 && peak.Reads <= fleettest.ReadUnits && peak.Writes <= fleettest.WriteUnits, r,
			"%d calls of the table were throttled; an item was asked for %.0f read and %.0f write units in a second", r.Throttled, peak.Reads, peak.Writes)
		require(r.Largest <= fleettest.MaxItem, r, "an item has %d bytes", r.Largest)
		require(r.BusiestMinute <= serverMinute, r, "%d exchanges in a minute", r.BusiestMinute)
		require(r.Rush.Exchanges == 1 && r.Rush.Failed == 0, r, "%d exchanges for one token that all want at once, and %d failed vends", r.Rush.Exchanges, r.Rush.Failed)
		if i == 0 {
			continue
		}
		for name, before := range results[i-1].Costs() {
			now := r.Costs()[name]
			require(now <= before*flat, r, "%.2f %s per environment, %.2f with %d environments", now, name, before, results[i-1].Environments)
		}
	}
	slices.Sort(problems)
	return problems
}

// run is one simulation.
type run struct {
	cfg     Config
	fleet   *tokentest.Fleet
	server  *server
	secrets *readers
	keys    rate
	begin   time.Time
	vends   atomic.Int64
	vendors []*token.Vendor // each is written once, before all are read

	mu      sync.Mutex
	failed  map[string]int // guarded by mu
	slowest time.Duration  // guarded by mu
}

// Run simulates a fleet. t must be the test of a testing/synctest bubble.
func Run(t *testing.T, cfg Config) Result {
	r := &run{cfg: cfg, fleet: tokentest.NewFleet(t, 0), vendors: make([]*token.Vendor, cfg.Environments), failed: make(map[string]int)}
	length := time.Duration(cfg.Lives) * cfg.Life
	// NewFleet begins an hour after midnight.
	r.fleet.Pass(23*time.Hour - length/2)
	r.begin = time.Now()
	r.server = newServer(r.fleet.Server, cfg.Life)
	for i := range cfg.Clients {
		r.addClient(i)
	}
	r.secrets = newReaders(r.fleet.Registry())
	r.fleet.Table.Limit()
	r.fleet.Table.Misbehave(latency(3*time.Millisecond, 2*time.Millisecond))
	r.fleet.Keys.Misbehave(r.keys.counted(latency(6*time.Millisecond, 4*time.Millisecond)))
	var all sync.WaitGroup
	for i := range cfg.Environments {
		all.Go(func() { r.environment(i, length) })
	}
	started := time.Duration(cfg.Environments/burst)*burstInterval + startTime
	time.Sleep(started)
	start := r.calls()
	time.Sleep(length/2 - started)
	r.rotate()
	all.Wait()
	result := r.result(start, length-started)
	result.Rush = r.rush()
	return result
}

// environment is the life of one execution environment.
func (r *run) environment(i int, length time.Duration) {
	time.Sleep(time.Duration(i/burst)*burstInterval + rand.N(startJitter))
	clients := [...]int{0, 1 + i%(r.cfg.Clients-1)}
	v := r.fleet.Environment(func(cfg *token.Config) {
		cfg.Clients = r.secrets.registry()
		cfg.NoteUse = true
	})
	r.vendors[i] = v
	for _, c := range clients {
		r.vend(v, c)
	}
	_, share := math.Modf(float64(i) * math.Phi) // spread evenly, for any number of environments
	mean := float64(shortPause) * math.Pow(float64(longPause)/float64(shortPause), share)
	for {
		time.Sleep(time.Duration(mean * rand.ExpFloat64()))
		if time.Since(r.begin) >= length {
			return
		}
		r.vend(v, clients[rand.IntN(len(clients))])
	}
}

func (r *run) vend(v *token.Vendor, client int) {
	begin := time.Now()
	_, err := r.fleet.Ask(v, token.Request{Client: clientName(client), Caller: "caller"})
	took := time.Since(begin)
	r.vends.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.slowest = max(r.slowest, took); err != nil {
		r.failed[err.Error()]++
	}
}

// rush lets every environment ask within a second for a token that none has.
func (r *run) rush() Rush {
	last := r.cfg.Clients
	r.addClient(last)
	exchanges, throttled := r.server.exchanges(), r.fleet.Table.Throttled()
	r.failed, r.slowest = make(map[string]int), 0
	var all sync.WaitGroup
	for _, v := range r.vendors {
		all.Go(func() {
			time.Sleep(rand.N(time.Second))
			r.vend(v, last)
		})
	}
	all.Wait()
	return Rush{r.server.exchanges() - exchanges, total(r.failed), r.fleet.Table.Throttled() - throttled, r.slowest}
}

func total(failed map[string]int) (n int) {
	for _, times := range failed {
		n += times
	}
	return n
}

func (r *run) calls() Calls {
	used := r.fleet.Table.Usage()
	return Calls{
		Vends: int(r.vends.Load()), Exchanges: r.server.exchanges(), Secrets: r.secrets.total(), Keys: r.fleet.Keys.Calls(),
		TableCalls: r.fleet.Table.Calls(), Reads: used.Reads, Writes: used.Writes,
	}
}

func (r *run) result(start Calls, steady time.Duration) Result {
	used := r.fleet.Table.Usage()
	result := Result{
		Environments: r.cfg.Environments, Start: start, Steady: r.calls().minus(start), Hours: steady.Hours(),
		Lifetimes: r.server.lifetimes(), Failed: r.failed, FailedLogons: r.server.failedLogons(r.cfg.Clients), Peaks: r.peaks(used), Largest: used.Largest, Throttled: used.Throttled,
		BusiestMinute: r.server.busiestMinute(), BusiestSecrets: r.secrets.busiest(), BusiestKeys: r.keys.busiest(),
		Slowest: r.slowest, Counted: make(map[string]int),
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	result.Memory = memory.Sys
	for _, name := range countedNames() {
		if n := r.fleet.Counted(name); n > 0 {
			result.Counted[name] = n
		}
	}
	return result
}
