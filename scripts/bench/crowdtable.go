package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

const (
	coldReserve  = 50
	tableReserve = 20
	tableClients = 10
	// The fleet makes fewer than minuteLimit exchanges a minute. For a shorter window the limit
	// is what may come at once while the table goes or comes back, and the window's part of the
	// rest.
	minuteLimit = 600
	burstLimit  = 100
	// silenceGrace is how long after an answer with 429 requests may still arrive that were
	// admitted before it.
	silenceGrace = time.Second
	// tokenSize is that of a token at the cold start, in bytes: a write of its row costs nine
	// units.
	tokenSize = 8 << 10
)

// budget returns how many exchanges a window may have.
func budget(window time.Duration) int {
	return burstLimit + int(float64(minuteLimit-burstLimit)*window.Minutes())
}

// slowTable measures how often the server is called by environments that always need new
// tokens, at several latencies of the table.
func slowTable(ctx context.Context, run crowdRun, r *crowdReport) (err error) {
	e, err := run.env(tableReserve, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	for i := range tableClients {
		if err := e.addClient(e.a, fmt.Sprint("client-", i), time.Hour); err != nil {
			return err
		}
	}
	// All environments have the table's key before the table is slow.
	warm := e.party("warm")
	for range 2 {
		warm.waveOf(ctx, tableReserve, 2, "client-0", noForm)
	}
	r.lost("before the measurement", warm)
	// A token without expires_in that is no JWT is not kept, so that each call needs an exchange.
	unknownLife := oauthtest.Members(map[string]any{"expires_in": nil, "access_token": "opaque-token-of-the-slow-table"})
	e.a.setRule(func(url.Values) oauthtest.Fault { return unknownLife })
	window, latencies := 3*time.Second, []time.Duration{0, 30 * time.Millisecond, 500 * time.Millisecond, -1}
	if run.long {
		window, latencies = time.Minute, []time.Duration{0, 15 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, -1}
	}
	begin := time.Now()
	for _, latency := range latencies {
		e.measureBudget(ctx, r, latency, window)
	}
	length := time.Since(begin)
	all := len(e.a.seen(begin, nil))
	r.figure("all of it", "%d exchanges in %.0f s, fewer than %d; at most %d in a minute", all, length.Seconds(), budget(length), e.a.busiest(begin, time.Minute))
	r.require(all < budget(length), "%d exchanges in %.0f s, want fewer than %d", all, length.Seconds(), budget(length))
	r.require(e.output.metric("BudgetAlone") > 0, "no exchange without the table was counted")
	if err := e.measureSilence(ctx, r); err != nil {
		return err
	}
	r.finish(e)
	return nil
}

// measureBudget calls from all environments for a time. A negative latency means that the table
// is gone.
func (e *crowdEnv) measureBudget(ctx context.Context, r *crowdReport, latency, window time.Duration) {
	what := fmt.Sprintf("table calls take %v longer", latency)
	if e.slowTable(latency); latency < 0 {
		what = "the table is gone"
		e.cutTable()
	}
	p := e.party("hungry")
	begin := time.Now()
	e.hunger(ctx, p, window)
	n, length := len(e.a.seen(begin, nil)), time.Since(begin)
	r.figure(what, "%d exchanges in %.1f s, fewer than %d; %d of %d calls got a token", n, length.Seconds(), budget(length), p.calls()-p.failed(), p.calls())
	r.require(n < budget(length), "%s: %d exchanges in %.1f s, want fewer than %d", what, n, length.Seconds(), budget(length))
	r.require(n > 0, "%s: no exchange was made", what)
}

// hunger lets every environment ask for tokens for a time.
func (e *crowdEnv) hunger(ctx context.Context, p *party, length time.Duration) {
	end := time.Now().Add(length)
	var all sync.WaitGroup
	for i := range tableReserve {
		all.Go(func() {
			for n := i; time.Now().Before(end) && ctx.Err() == nil; n++ {
				p.ask(ctx, fmt.Sprint("client-", n%tableClients), "")
				// Without it, refused calls would take all of this machine's time.
				time.Sleep(40 * time.Millisecond)
			}
		})
	}
	all.Wait()
}

// measureSilence lets the server ask for a silence of a minute, and counts the calls during
// that minute and after it. The table is slow.
func (e *crowdEnv) measureSilence(ctx context.Context, r *crowdReport) error {
	e.slowTable(30 * time.Millisecond)
	// The environments notice that the table is back.
	if err := e.clock.Advance(2 * time.Minute); err != nil {
		return err
	}
	e.hunger(ctx, e.party("hungry"), time.Second)
	e.a.setRule(func(url.Values) oauthtest.Fault { return oauthtest.HTML429("60") })
	begin := time.Now()
	e.hunger(ctx, e.party("hungry"), 3*time.Second)
	all := e.a.seen(begin, func(q tokenRequest) bool { return q.status == http.StatusTooManyRequests })
	late := e.a.seen(silentFrom(all).Add(silenceGrace), nil)
	r.figure("a silence of 60 s", "%d requests, %d of them more than %v after it began, want none", len(all), len(late), silenceGrace)
	r.require(len(all) > 0, "the server was never called, so that no silence was tested")
	r.require(len(late) == 0, "%d requests during a silence, want none", len(late))
	if err := e.clock.Advance(62 * time.Second); err != nil {
		return err
	}
	begin = time.Now()
	e.hunger(ctx, e.party("hungry"), 3*time.Second)
	probes := len(e.a.seen(begin, nil))
	r.figure("after it", "%d requests, want 1 probe, which is told to wait again", probes)
	r.require(probes == 1, "%d requests after a silence, want 1 probe", probes)
	return nil
}

// silentFrom returns when a server is silent that answers all with 429: the first client's 429
// silences that client, the second one's silences the server.
func silentFrom(all []tokenRequest) time.Time {
	for _, q := range all {
		if q.client != all[0].client {
			return q.answered
		}
	}
	return time.Now()
}

// coldStart starts many environments at the same moment, first with a right secret and then
// with a wrong one.
func coldStart(ctx context.Context, run crowdRun, r *crowdReport) (err error) {
	// A machine with few processors is too slow for the table with more.
	environments := min(coldReserve, 12*runtime.NumCPU())
	for _, right := range []bool{true, false} {
		if err := coldCrowd(ctx, run, r, environments, right); err != nil {
			return err
		}
	}
	return nil
}

func coldCrowd(ctx context.Context, run crowdRun, r *crowdReport, environments int, right bool) (err error) {
	e, err := run.env(environments, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	if err := e.addClient(e.a, crowdClient, maxStep); err != nil {
		return err
	}
	if right {
		// The row has a token that has ended.
		e.a.setRule(func(url.Values) oauthtest.Fault {
			return oauthtest.Members(map[string]any{"padding": strings.Repeat("x", tokenSize)})
		})
		e.party("before").ask(ctx, crowdClient, "")
		if err := errors.Join(e.pool.retire(1), e.clock.Advance(maxStep)); err != nil {
			return err
		}
	}
	begin := time.Now()
	e.a.setLate(2 * time.Second)
	if !right {
		if err := e.a.SetSecrets(crowdClient, "another"); err != nil {
			return err
		}
	}
	p := e.party("innocent")
	p.wave(ctx, environments, crowdClient, noForm)
	requests, failed := len(e.a.seen(begin, nil)), len(e.a.seen(begin, tokenRequest.failedLogon))
	if right {
		r.party(fmt.Sprintf("%d environments", environments), p)
		r.lost("cold start", p)
		r.figure("exchanges", "%d, want 1", requests)
		r.require(requests == 1, "%d exchanges, want 1", requests)
	} else {
		r.party("the same with a wrong secret", p)
		r.require(p.failed() == environments, "%d tokens by a wrong secret", environments-p.failed())
		r.figure("failed logons", "%d, want 1", failed)
		r.require(failed == 1, "%d failed logons, want 1", failed)
	}
	r.finish(e)
	return nil
}
