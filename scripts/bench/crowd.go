package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// drill is one mistake of one party, while others call.
type drill struct {
	name, title string
	// alone: it measures times, so that no other drill runs meanwhile.
	alone bool
	run   func(context.Context, crowdRun, *crowdReport) error
}

func drills() []drill {
	return []drill{
		{"wrong-secret", "a wrong secret is pasted while tokens live", false, wrongSecret},
		{"revoked-secret", "the same, and the secret before it is refused too", false, wrongSecretRevoked},
		{"wiped-table", "the same, and all rows of the table are deleted", false, wrongSecretWiped},
		{"wrong-secret-alone", "the same without the table", false, wrongSecretAlone},
		{"good-rotation", "a right secret is pasted while the server answers 503", false, goodRotation},
		{"parameters", "a caller sends parameters that the server refuses", false, refusedParameters},
		{"one-429", "one client is told not to call for 300 s", false, oneClientThrottled},
		{"greedy", "a caller asks for one client with a new scope each time", true, greedyCaller},
		{"slow-table", "the table is slow, then gone", true, slowTable},
		{"cold-start", "many environments start at the same moment", true, coldStart},
	}
}

// crowdRun is what all drills share.
type crowdRun struct {
	binary string // follows the clock of its environment
	plain  string // the function as it is; empty unless long
	long   bool
}

// env starts the environment of a drill.
func (r crowdRun) env(reserved int, table bool) (*crowdEnv, error) {
	return newCrowdEnv(crowdConfig{binary: r.binary, reserved: reserved, table: table, clock: true})
}

// envInTime is env, and with -long the function as it is, for which time passes by waiting.
func (r crowdRun) envInTime(reserved int, table bool) (*crowdEnv, error) {
	if !r.long {
		return r.env(reserved, table)
	}
	return newCrowdEnv(crowdConfig{binary: r.plain, reserved: reserved, table: table})
}

// crowd makes one party's mistakes and fails if another party suffers from them.
func crowd(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("crowd", flag.ContinueOnError)
	only := flags.String("only", "", "the names of some drills, with commas between them; empty: all")
	long := flags.Bool("long", false, "wait for the time that the secrets' drills need (12 minutes), with the function as it is, and measure the others for longer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(drills(), func(d drill) string { return d.name }, *only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "token-vendor-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := crowdRun{binary: filepath.Join(dir, "on-clock"), long: *long}
	if err := buildOnClock(ctx, tokenPackage, r.binary); err != nil {
		return err
	}
	if r.long {
		r.plain = filepath.Join(dir, "token")
		if err := build(ctx, tokenPackage, r.plain); err != nil {
			return err
		}
	}
	return r.runAll(ctx, chosen, out)
}

// choose returns the members of all with these names, which have commas between them; all if only
// is empty.
func choose[T any](all []T, name func(T) string, only string) ([]T, error) {
	if only == "" {
		return all, nil
	}
	var chosen []T
	for wanted := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(one T) bool { return name(one) == wanted })
		if i < 0 {
			return nil, fmt.Errorf("-only: there is no %q", wanted)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// runAll runs the drills that measure times one after the other, and before them the others
// together. It prints them in the order of the list.
func (r crowdRun) runAll(ctx context.Context, chosen []drill, out io.Writer) error {
	reports := make([]*crowdReport, len(chosen))
	var together sync.WaitGroup
	for i, d := range chosen {
		reports[i] = &crowdReport{}
		if !d.alone {
			together.Go(func() { reports[i].run(ctx, r, d) })
		}
	}
	together.Wait()
	var problems []string
	for i, d := range chosen {
		if d.alone {
			reports[i].run(ctx, r, d)
		}
		_, _ = reports[i].text.WriteTo(out)
		problems = append(problems, reports[i].problems...)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(problems) > 0 {
		return errors.New("crowd:\n  " + strings.Join(problems, "\n  "))
	}
	return nil
}

// crowdReport is what one drill prints, and what it found wrong.
type crowdReport struct {
	name     string
	text     bytes.Buffer
	problems []string
	// slow: environments gave up on a table that answers at once, or answers came late. The
	// processes may have got no processor.
	slow bool
}

// run runs a drill, up to twice again if its problems may be those of a slow machine.
func (r *crowdReport) run(ctx context.Context, all crowdRun, d drill) {
	r.name = d.name
	fmt.Fprintf(&r.text, "\n%s: %s\n", d.name, d.title)
	for attempt := 1; ; attempt++ {
		if r.attempt(ctx, all, d); len(r.problems) == 0 || !r.slow || attempt == 3 || all.long || ctx.Err() != nil {
			return
		}
		fmt.Fprintf(&r.text, "  again, because this machine may have been too slow\n")
	}
}

func (r *crowdReport) attempt(ctx context.Context, all crowdRun, d drill) {
	r.problems, r.slow = nil, false
	begin := time.Now()
	if err := d.run(ctx, all, r); err != nil {
		r.require(false, "%v", err)
	}
	result := "as it must be"
	if len(r.problems) > 0 {
		result = "NOT OK"
	}
	r.figure("result", "%s, after %.1f s", result, time.Since(begin).Seconds())
}

func (r *crowdReport) figure(name, format string, args ...any) {
	fmt.Fprintf(&r.text, "  %-32s %s\n", name, fmt.Sprintf(format, args...))
}

// require adds a problem if ok is false.
func (r *crowdReport) require(ok bool, format string, args ...any) {
	if ok {
		return
	}
	problem := fmt.Sprintf(format, args...)
	r.problems = append(r.problems, r.name+": "+problem)
	fmt.Fprintf(&r.text, "  NOT OK: %s\n", problem)
}

// party prints what a party experienced.
func (r *crowdReport) party(what string, p *party) {
	calls, failed := p.calls(), p.failed()
	r.figure(what, "%d calls, %d failed; in a new environment %d, %d failed; %d tokens, p50 %v, p99 %v", calls, failed, p.cold, p.coldLost, len(p.tokens),
		p.percentile(0.5).Round(10*time.Microsecond), p.percentile(0.99).Round(10*time.Microsecond))
	r.figure("  outcomes", "%s", p.env.output.of(p.name))
	if len(p.warnings) > 0 {
		r.figure("  warnings", "%s", listing(p.warnings))
	}
	for text, n := range p.failures {
		r.figure("  failed", "%d times %s", n, text)
	}
}

// lost is the requirement that no call of a party fails.
func (r *crowdReport) lost(what string, p *party) {
	r.require(p.failed() == 0, "%s: %d of %d calls failed", what, p.failed(), p.calls())
}

// finish prints what all processes reported, and requires that it is sound.
func (r *crowdReport) finish(e *crowdEnv) {
	started, most := e.pool.counts()
	r.figure("environments", "%d started, %d at most at a time", started, most)
	r.figure("metrics", "%s", e.output.allMetrics())
	r.figure("table calls throttled", "%d", e.table.Throttled())
	r.slow = r.slow || e.cfg.table && e.output.metric("TableFailed") > 0 && e.table.Throttled() == 0
	r.require(e.output.problem == "", "%s", e.output.problem)
}
