// Package simulation runs a fleet of thousands of environments on a virtual clock, with the
// vendor's real code: package token with everything below it, the table's sealing and the
// exchanges over TLS included. The table, KMS, Secrets Manager and the authorization server
// are doubles in memory, with the latencies and the limits of the real ones.
//
// The virtual clock is that of testing/synctest, which exists in a test only. The package's test
// therefore is the program: `bench growth` compiles and runs it.
package simulation

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// run is one simulation.
type run struct {
	cfg     Config
	fleet   *tokentest.Fleet
	server  *server
	secrets rate
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
	r.connect()
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
	v := r.fleet.Environment(func(cfg *token.Config) { cfg.NoteUse = true })
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

func (r *run) calls() Calls {
	used := r.fleet.Table.Usage()
	return Calls{
		Vends: int(r.vends.Load()), Exchanges: r.server.exchanges(), Secrets: r.fleet.Reads(), Keys: r.fleet.Keys.Calls(),
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
