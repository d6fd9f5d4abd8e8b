package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

const (
	// hitGrowth is how much longer a hit may take with the most clients than with the fewest.
	hitGrowth = 1.3
	// functionMemory is the memory of the function, in bytes.
	functionMemory = 256 << 20
	// clientTokens is how many tokens of one client an environment keeps.
	clientTokens = 64
	// An environment makes one exchange with a server each exchangeInterval, and one for
	// parameters that are new to a client each askInterval.
	exchangeInterval = time.Second / 10
	askInterval      = 7500 * time.Millisecond
	// documentLife is how long a document is not read again, at most.
	documentLife = 5 * time.Minute
	// tokenLife is that of tokens that are not replaced during a run.
	tokenLife               = 12 * time.Hour
	hitRounds, hitsPerRound = 20, 200
)

// stock is one process with some clients, each with some tokens.
type stock struct {
	clients, tokens int // tokens of one client
	p               *measured
	events          [][]byte
	next            int // event
	took            []time.Duration
	hits, reads     int
}

// growClients measures hits of environments with more and more clients.
func growClients(ctx context.Context, g growthRun, r *growthReport) error {
	var stocks []*stock
	for _, n := range g.sizes([]int{10, 100}, 1000, 10_000) {
		stocks = append(stocks, &stock{clients: n, tokens: 1})
	}
	return growStocks(ctx, g, r, stocks)
}

// growTokens measures hits of environments with more and more tokens of a client, and with as
// many tokens as an environment keeps.
func growTokens(ctx context.Context, g growthRun, r *growthReport) error {
	var stocks []*stock
	for _, n := range g.sizes([]int{1, 4, 16}, clientTokens) {
		stocks = append(stocks, &stock{clients: 1, tokens: n})
	}
	if !g.small {
		stocks = append(stocks, &stock{clients: 10_000 / clientTokens, tokens: clientTokens})
	}
	return growStocks(ctx, g, r, stocks)
}

// growStocks fills one process for each stock and measures hits of all of them in turn.
func growStocks(ctx context.Context, g growthRun, r *growthReport, stocks []*stock) (err error) {
	binary := filepath.Join(g.dir, "on-clock")
	if err := buildOnClock(ctx, tokenPackage, binary); err != nil {
		return err
	}
	e, err := newCrowdEnv(crowdConfig{binary: binary, clock: true})
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range stocks {
			if s.p != nil {
				err = errors.Join(err, s.p.stop())
			}
		}
		err = errors.Join(err, e.close())
	}()
	most := 0
	for _, s := range stocks {
		for ; most < s.clients; most++ {
			if err := e.addClient(e.a, ruleClient(most), tokenLife); err != nil {
				return err
			}
		}
	}
	for _, s := range stocks {
		if err := s.fill(ctx, e); err != nil {
			return fmt.Errorf("%d clients with %d tokens each: %w", s.clients, s.tokens, err)
		}
	}
	if err := measureHits(e, stocks); err != nil {
		return err
	}
	reportStocks(r, stocks)
	return nil
}

// measureHits measures hits of all stocks in turn.
func measureHits(e *crowdEnv, stocks []*stock) error {
	// All documents are due, and the first round reads them. The clock is not set ahead after it.
	if err := e.clock.Advance(documentLife); err != nil {
		return err
	}
	for _, s := range stocks {
		if err := s.hit(e, len(s.events)); err != nil {
			return err
		}
	}
	for range hitRounds {
		for _, s := range stocks {
			before := e.secrets.Calls("GetSecretValue")
			s.took = append(s.took, 0)
			if err := s.hit(e, hitsPerRound); err != nil {
				return err
			}
			s.hits, s.reads = s.hits+hitsPerRound, s.reads+e.secrets.Calls("GetSecretValue")-before
		}
	}
	return nil
}

// fill gets each token once. The clock moves on so that the environment's limits withhold none:
// those of exchanges with a server and of new parameters of a client.
func (s *stock) fill(ctx context.Context, e *crowdEnv) (err error) {
	if s.p, err = (&candidate{binary: e.cfg.binary, vars: e.vars}).start(ctx, functionMemory>>20); err != nil {
		return err
	}
	interval, owed := max(exchangeInterval, askInterval/time.Duration(s.clients)), time.Duration(0)
	for token := range s.tokens {
		for client := range s.clients {
			event := e.request("caller", ruleClient(client), fmt.Sprint("grant_type=client_credentials&scope=s", token))
			s.events = append(s.events, event)
			if _, err := s.p.callEach([][]byte{event}); err != nil {
				return s.failed(err)
			}
			// The clock is in whole seconds.
			owed += interval
			if err := e.clock.Advance(owed); err != nil {
				return err
			}
			owed %= time.Second
		}
	}
	return ctx.Err()
}

// hit asks for n tokens of the stock, one after the other, and keeps the median time of them.
func (s *stock) hit(e *crowdEnv, n int) error {
	var took []time.Duration
	for len(took) < n {
		batch := make([][]byte, min(batchSize, n-len(took)))
		for i := range batch {
			batch[i] = s.events[s.next]
			s.next = (s.next + 1) % len(s.events)
		}
		d, err := s.p.callEach(batch)
		if err != nil {
			return s.failed(err)
		}
		took = append(took, d...)
	}
	if len(s.took) > 0 {
		s.took[len(s.took)-1] = median(took)
	}
	return nil
}

// failed returns the error of a call with the answer and what the process has logged last.
func (s *stock) failed(err error) error {
	err = errors.Join(err, s.p.drain())
	return fmt.Errorf("%w: %.300s\n%s", err, s.p.answer.Bytes(), s.p.last)
}

func reportStocks(r *growthReport, stocks []*stock) {
	r.row("clients", "tokens", "hit, p50", "ratio to the first", "reads of secrets per hit", "memory MB")
	for _, s := range stocks {
		bytes := memory(s.p.cmd.Process.Pid, "VmHWM")
		reads, times := float64(s.reads)/float64(s.hits), timesOf(s.took, stocks[0].took)
		r.row(s.clients, len(s.events), median(s.took).Round(time.Microsecond), times, reads, bytes>>20)
		r.require(reads == 0, "%d clients with %d tokens: %.2f reads of secrets per hit", s.clients, len(s.events), reads)
		r.require(times <= hitGrowth, "%d clients with %d tokens: a hit takes %.2f of the time with the fewest, want at most %.1f", s.clients, len(s.events), times, hitGrowth)
		r.require(bytes <= functionMemory, "%d clients with %d tokens: %d MB", s.clients, len(s.events), bytes>>20)
	}
}

// processLife is the life of the tokens that processes share; two of them are measured.
const processLife = 5 * time.Second

// growProcesses counts calls of fleets of growing sizes.
func growProcesses(ctx context.Context, g growthRun, r *growthReport) error {
	r.row("", "per process", "", "", "", "", "")
	r.row("processes", "calls", "table calls", "reads of secrets", "KMS calls", "exchanges of all", "failed calls")
	var first counts
	for i, n := range g.sizes([]int{1, 2, 4}, 8, 16, 32) {
		c, log, err := measureProcesses(ctx, n)
		if err != nil {
			return err
		}
		failed := log.deaths
		for _, times := range log.errors {
			failed += times
		}
		if i == 0 {
			first = c
		}
		per := func(calls int) float64 { return float64(calls) / float64(n) }
		r.row(n, per(len(log.waited)), per(c.table), per(c.reads), per(c.keys), c.exchanges, failed)
		r.require(failed == 0, "%d processes: %d calls failed", n, failed)
		r.require(c.exchanges <= first.exchanges+1, "%d processes make %d exchanges, one makes %d", n, c.exchanges, first.exchanges)
		r.require(per(c.table) <= float64(first.table), "%d processes make %.1f calls of the table each, one makes %d", n, per(c.table), first.table)
		r.require(per(c.reads) <= float64(first.reads), "%d processes read %.1f secrets each, one reads %d", n, per(c.reads), first.reads)
	}
	return nil
}

// measureProcesses takes n processes through a cold start and two lives of their tokens.
func measureProcesses(ctx context.Context, n int) (c counts, log *callLog, err error) {
	cfg := fleetConfig{envConfig: envConfig{life: processLife, table: true}, processes: n, callers: 4 * n, lives: 2}
	e, err := newEnv(ctx, cfg.envConfig)
	if err != nil {
		return c, nil, err
	}
	f := &fleetRun{env: e, cfg: cfg, out: io.Discard}
	defer func() { err = errors.Join(err, f.stop(), e.close()) }()
	if err := f.start(ctx); err != nil {
		return c, nil, err
	}
	log = &callLog{tokens: make(map[string]bool), errors: make(map[string]int)}
	f.callAtOnce(log)
	f.callRepeatedly(ctx, log, time.Duration(cfg.lives)*cfg.life)
	return e.counts(), log, ctx.Err()
}
