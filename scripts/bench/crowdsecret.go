package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

const (
	crowdClient  = "billing"
	crowdReserve = 8 // environments of the drills of one client
	crowdWarm    = 4 // of them serve each wave

	// correctionTime is how soon a right secret must have brought a token, by the function's
	// clock: new environments read it at once, and the document of a client that fails is read
	// again after 10 s.
	correctionTime = 30 * time.Second
)

func wrongSecret(ctx context.Context, run crowdRun, r *crowdReport) error {
	return pasteWrong(ctx, run, r, secretDrill{table: true})
}

func wrongSecretWiped(ctx context.Context, run crowdRun, r *crowdReport) error {
	return pasteWrong(ctx, run, r, secretDrill{table: true, wipe: true})
}

func wrongSecretRevoked(ctx context.Context, run crowdRun, r *crowdReport) error {
	return pasteWrong(ctx, run, r, secretDrill{table: true, revoke: true})
}

func wrongSecretAlone(ctx context.Context, run crowdRun, r *crowdReport) error {
	return pasteWrong(ctx, run, r, secretDrill{})
}

// secretDrill is a form of the drill of a wrong secret.
type secretDrill struct {
	table bool // the function shares a table
	wipe  bool // the table loses its rows after five minutes
	// revoke: the server refuses the secret before it, too, so that new scopes fail. Callers
	// ask for some of them at the same moment.
	revoke bool
}

// failedLogons returns how many there may be if so many environments saw the wrong secret.
func (d secretDrill) failedLogons(environments int) int {
	switch {
	case d.wipe:
		// A new environment that comes before one that knows better tries once more.
		return 3
	case d.table:
		return 2
	}
	// Each environment finds out for itself, with one failed logon of the new version.
	return environments
}

// warmUp lets ten minutes pass in which callers get tokens that live an hour: 50 minutes are
// left. With -long it makes one wave only.
func warmUp(ctx context.Context, e *crowdEnv, p *party) error {
	length := 10 * time.Minute
	if !e.cfg.clock {
		length = time.Second
	}
	return e.pass(ctx, length, min(length, 2*time.Minute), func(int) error {
		p.wave(ctx, crowdWarm, crowdClient, noForm)
		return nil
	})
}

func noForm(int) string { return "" }

// waves is the load of a step: one environment is replaced, and every environment gets calls.
func waves(ctx context.Context, e *crowdEnv, p *party) error {
	err := e.pool.retire(1)
	for range 3 {
		p.wave(ctx, crowdWarm, crowdClient, noForm)
	}
	return err
}

func pasteWrong(ctx context.Context, run crowdRun, r *crowdReport, d secretDrill) (err error) {
	e, err := run.envInTime(crowdReserve, d.table)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	before, innocent, newScope := e.party("before"), e.party("innocent"), e.party("another")
	if err := errors.Join(e.addClient(e.a, crowdClient, time.Hour), warmUp(ctx, e, before)); err != nil {
		return err
	}
	pasted, started := time.Now(), envsStarted(e)
	if d.revoke {
		if err := e.a.SetSecrets(crowdClient, secondSecret); err != nil {
			return err
		}
	}
	err = errors.Join(e.paste(e.a, crowdClient, "wrong"), e.pass(ctx, 10*time.Minute, 30*time.Second, func(i int) error {
		if i == 10 && d.wipe {
			e.table.Clear(tableName)
		}
		switch {
		case d.revoke:
			newScope.wave(ctx, crowdWarm, crowdClient, func(n int) string { return fmt.Sprintf("scope=reports%d-%d", i%4, n) })
		case i == 10:
			newScope.ask(ctx, crowdClient, "scope=reports")
		}
		return waves(ctx, e, innocent)
	}))
	if err != nil {
		return err
	}
	r.lost("before the paste", before)
	r.party("10 minutes after the paste", innocent)
	r.lost("after the paste", innocent)
	r.party("a new scope in this time", newScope)
	if d.revoke {
		r.require(newScope.failed() == newScope.calls(), "%d tokens by refused secrets", newScope.calls()-newScope.failed())
	} else {
		r.lost("a new scope after the paste", newScope)
	}
	failed := len(e.a.seen(pasted, tokenRequest.failedLogon))
	most := d.failedLogons(crowdWarm + envsStarted(e) - started)
	r.figure("failed logons", "%d, at most %d", failed, most)
	r.require(failed <= most, "%d failed logons, want at most %d", failed, most)
	if err := pasteRight(ctx, e, r); err != nil {
		return err
	}
	if d.wipe {
		r.require(e.output.metric("TableRowsLost") > 0, "no lost row was counted")
	}
	r.finish(e)
	return nil
}

func envsStarted(e *crowdEnv) int {
	started, _ := e.pool.counts()
	return started
}

// pasteRight measures how long it takes until a right secret brings a token.
func pasteRight(ctx context.Context, e *crowdEnv, r *crowdReport) error {
	caller, begin := e.party("after"), e.clock.Now()
	used := time.Duration(-1)
	err := e.paste(e.a, crowdClient, secondSecret)
	if err != nil {
		return err
	}
	err = e.pass(ctx, 2*time.Minute, 5*time.Second, func(int) error {
		if used >= 0 {
			return nil
		}
		err := waves(ctx, e, caller)
		if len(e.a.seen(time.Time{}, func(q tokenRequest) bool { return q.secret == secondSecret && q.status == 200 })) > 0 {
			used = e.clock.Now().Sub(begin)
		}
		return err
	})
	r.party("after the right secret", caller)
	r.lost("after the right secret", caller)
	if used < 0 {
		r.require(false, "the right secret was not used for 2 minutes")
		return err
	}
	r.figure("first token by the right secret", "%.1f s after the paste, by the function's clock", used.Seconds())
	r.require(used <= correctionTime, "the right secret was used after %v, want %v", used.Round(time.Second), correctionTime)
	return err
}

// goodRotation pastes a right secret during an outage of the server that is shorter than the
// tokens live.
func goodRotation(ctx context.Context, run crowdRun, r *crowdReport) (err error) {
	e, err := run.envInTime(crowdReserve, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	life, outage, step := time.Hour, 48*time.Minute, time.Minute
	if !e.cfg.clock {
		life, outage = 15*time.Minute, 11*time.Minute
	}
	before, innocent, after := e.party("before"), e.party("innocent"), e.party("after")
	if err := errors.Join(e.addClient(e.a, crowdClient, life), e.pass(ctx, step, step, func(int) error { return waves(ctx, e, before) })); err != nil {
		return err
	}
	e.a.setRule(func(url.Values) oauthtest.Fault { return oauthtest.RefuseWith(503, "temporarily_unavailable", "down") })
	began := time.Now()
	load := func(p *party) func(int) error {
		return func(i int) error {
			if i%4 == 0 {
				return waves(ctx, e, p)
			}
			p.wave(ctx, crowdWarm, crowdClient, noForm)
			return nil
		}
	}
	if err := errors.Join(e.paste(e.a, crowdClient, secondSecret), e.pass(ctx, outage, step, load(innocent))); err != nil {
		return err
	}
	requests := e.a.seen(began, nil)
	e.a.setRule(nil)
	if err := e.pass(ctx, life-outage-step, step, load(after)); err != nil {
		return err
	}
	r.lost("before the rotation", before)
	r.figure("outage", "%v, with tokens that live %v", outage, life)
	r.party("during the outage", innocent)
	r.lost("during the outage", innocent)
	r.figure("requests during the outage", "%d", len(requests))
	r.party("after it, to the tokens' end", after)
	r.lost("after the outage", after)
	proven := len(e.a.seen(began, func(q tokenRequest) bool { return q.secret == secondSecret && q.status == 200 }))
	r.figure("tokens by the new secret", "%d", proven)
	r.require(proven > 0, "the new secret brought no token after the outage")
	r.finish(e)
	return nil
}
