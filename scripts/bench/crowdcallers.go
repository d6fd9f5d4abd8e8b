package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// refuseParameters is a server that refuses parameters that begin with "bad": it answers as if
// the credential were wrong. It refuses the scope invalid_client with a page that repeats it.
func refuseParameters(form url.Values) oauthtest.Fault {
	switch {
	case badParameters(form):
		return oauthtest.RefuseWith(401, "invalid_client", "Client authentication failed")
	case form.Get("scope") == "invalid_client":
		return oauthtest.Answer(400, "text/html", "<html><body>Bad Request: scope invalid_client is unknown</body></html>")
	}
	return nil
}

func badParameters(form url.Values) bool {
	for _, name := range []string{"scope", "resource", "app_tid"} {
		if strings.HasPrefix(form.Get(name), "bad") {
			return true
		}
	}
	return false
}

// refusedParameters lets an hour pass in which a caller sends parameters that the server
// refuses, and others need new tokens.
func refusedParameters(ctx context.Context, run crowdRun, r *crowdReport) (err error) {
	e, err := run.env(crowdReserve, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	if err := e.addClient(e.a, crowdClient, 10*time.Minute); err != nil {
		return err
	}
	e.a.setRule(refuseParameters)
	innocent, other, attacker := e.party("innocent"), e.party("other"), e.party("attacker")
	hour := func(i int) error {
		attacker.ask(ctx, crowdClient, "scope=invalid_client")
		for _, form := range []string{"scope=bad%d", "resource=bad:%d", "app_tid=bad%d"} {
			attacker.ask(ctx, crowdClient, fmt.Sprintf(form, i))
		}
		var err error
		if i%10 == 0 {
			err = e.pool.retire(1)
		}
		for range 4 {
			innocent.wave(ctx, crowdWarm, crowdClient, noForm)
			other.ask(ctx, crowdClient, "scope=reports")
		}
		return err
	}
	// The tokens of the others exist before the mistake.
	innocent.wave(ctx, crowdWarm, crowdClient, noForm)
	other.ask(ctx, crowdClient, "scope=reports")
	if err := e.pass(ctx, time.Hour, time.Minute, hour); err != nil {
		return err
	}
	r.party("other callers, in an hour", innocent)
	r.lost("other callers", innocent)
	r.party("another scope", other)
	r.lost("another scope", other)
	calls := innocent.calls() + other.calls()
	r.require(calls >= 1000, "%d calls, want 1000", calls)
	r.party("the caller with the parameters", attacker)
	failed := len(e.a.seen(time.Time{}, tokenRequest.failedLogon))
	r.figure("failed logons by parameters", "%d in an hour, at most 2", failed)
	r.require(failed <= 2, "%d failed logons by parameters in an hour, want at most 2", failed)
	pages := len(e.a.seen(time.Time{}, func(q tokenRequest) bool { return q.status == 400 }))
	r.figure("pages with invalid_client", "%d", pages)
	r.require(pages > 0, "the server was never asked for the scope invalid_client")
	r.finish(e)
	return nil
}

const (
	greedyReserve = 50
	// Innocent calls each second: of a client of another server, and for known scopes of the
	// client that the attacker asks for.
	travelRate, knownRate = 60, 40
	// p99Floor is a p99 that is always accepted: less is the scheduler's and not the vendor's.
	p99Floor = 15 * time.Millisecond
)

// greedyCaller measures what others experience without and with a caller that asks for one
// client with a new scope each time.
func greedyCaller(ctx context.Context, run crowdRun, r *crowdReport) (err error) {
	e, err := run.env(greedyReserve, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	if err := errors.Join(e.addClient(e.a, crowdClient, time.Hour), e.addClient(e.b, "travel", time.Hour)); err != nil {
		return err
	}
	// All environments are started and have the tokens of the innocent callers, so that both
	// measurements meet the same pool.
	warm := e.party("warm")
	for range 2 {
		warm.waveOf(ctx, greedyReserve, 2, "travel", noForm)
		for n := range 3 {
			warm.waveOf(ctx, greedyReserve, 2, crowdClient, func(int) string { return knownScope(n) })
		}
	}
	r.lost("before the measurement", warm)
	e.a.setLate(500 * time.Millisecond)
	length := 5 * time.Second
	if run.long {
		length = time.Minute
	}
	travel, known := e.innocents(ctx, length, nil, 0)
	baseTravel, baseKnown := travel.percentile(0.99), known.percentile(0.99)
	r.party("without it, another server", travel)
	r.party("without it, known scopes", known)
	for _, rate := range []int{12, 5} {
		attacker, fresh := e.party(fmt.Sprint("attacker", rate)), e.party(fmt.Sprint("fresh", rate))
		begin := time.Now()
		var other sync.WaitGroup
		other.Go(func() {
			if sleep(ctx, length/2) {
				fresh.ask(ctx, crowdClient, fmt.Sprint("scope=fresh", rate))
			}
		})
		travel, known := e.innocents(ctx, length, attacker, rate)
		other.Wait()
		r.figure(fmt.Sprintf("with %d new scopes a second", rate), "%d exchanges", len(e.a.seen(begin, nil)))
		r.party("another server", travel)
		r.party("known scopes", known)
		r.party("a new scope of another caller", fresh)
		r.party("the greedy caller", attacker)
		r.answered(rate, "another server", travel, baseTravel)
		r.answered(rate, "known scopes", known, baseKnown)
		// What the attacker used up comes back.
		if err := e.clock.Advance(maxStep); err != nil {
			return err
		}
	}
	r.finish(e)
	return nil
}

func knownScope(n int) string { return fmt.Sprintf("scope=known%d", n%3) }

// answered requires that 99.5 % of the calls are answered, with a p99 within three times of
// what it is without the attacker.
func (r *crowdReport) answered(rate int, what string, p *party, base time.Duration) {
	r.require(200*p.failed() <= p.calls(), "%d new scopes a second, %s: %d of %d calls failed, want at most 0.5 %%", rate, what, p.failed(), p.calls())
	limit := max(3*base, p99Floor)
	r.slow = r.slow || p.percentile(0.99) > limit // other programs of this machine may have begun to work
	r.require(p.percentile(0.99) <= limit, "%d new scopes a second, %s: p99 %v, want at most %v", rate, what,
		p.percentile(0.99).Round(time.Millisecond), limit.Round(time.Millisecond))
}

// innocents makes the calls of two innocent callers for a time, and rate calls a second of an
// attacker; nil: there is none.
func (e *crowdEnv) innocents(ctx context.Context, length time.Duration, attacker *party, rate int) (travel, known *party) {
	travel, known = e.party("travel"), e.party("known")
	var all sync.WaitGroup
	all.Go(func() { travel.callAtRate(ctx, length, travelRate, "travel", noForm) })
	all.Go(func() { known.callAtRate(ctx, length, knownRate, crowdClient, knownScope) })
	if attacker != nil {
		all.Go(func() {
			attacker.callAtRate(ctx, length, rate, crowdClient, func(i int) string { return fmt.Sprintf("scope=new%d-%d", rate, i) })
		})
	}
	all.Wait()
	return travel, known
}

// callAtRate makes rate calls a second, also while earlier ones are not answered.
func (p *party) callAtRate(ctx context.Context, length time.Duration, rate int, client string, form func(i int) string) {
	var all sync.WaitGroup
	begin := time.Now()
	for i := range int(length.Seconds() * float64(rate)) {
		if !sleep(ctx, time.Until(begin.Add(time.Duration(i)*time.Second/time.Duration(rate)))) {
			break
		}
		all.Go(func() { p.ask(ctx, client, form(i)) })
	}
	all.Wait()
}

// oneClientThrottled tells one client not to call for 300 s. The server counts by client.
func oneClientThrottled(ctx context.Context, run crowdRun, r *crowdReport) (err error) {
	e, err := run.env(crowdReserve, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	clients := []string{"one", "two", "three"}
	for _, client := range append(clients, crowdClient) {
		if err := e.addClient(e.a, client, 2*time.Minute); err != nil {
			return err
		}
	}
	throttled, innocent := e.party("throttled"), e.party("innocent")
	e.a.setRule(func(form url.Values) oauthtest.Fault {
		if form.Get("client_id") == crowdClient {
			return oauthtest.HTML429("300")
		}
		return nil
	})
	begin := time.Now()
	err = e.pass(ctx, 290*time.Second, 10*time.Second, func(i int) error {
		throttled.wave(ctx, crowdWarm, crowdClient, noForm)
		for _, client := range clients {
			innocent.wave(ctx, crowdWarm, client, noForm)
		}
		if i%5 == 4 {
			return e.pool.retire(1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.party("other clients of the server", innocent)
	r.lost("other clients of the server", innocent)
	exchanges := e.a.seen(begin, func(q tokenRequest) bool { return q.client != crowdClient })
	r.figure("their exchanges in 290 s", "%d", len(exchanges))
	r.require(len(exchanges) > len(clients), "the other clients made %d exchanges, so that nothing was tested", len(exchanges))
	r.party("the client with the 429", throttled)
	asked := len(e.a.seen(begin, func(q tokenRequest) bool { return q.client == crowdClient }))
	r.figure("its requests in 290 s", "%d, at most 1", asked)
	r.require(asked <= 1, "the client asked the server %d times although it was told to wait, want 1", asked)
	r.finish(e)
	return nil
}
