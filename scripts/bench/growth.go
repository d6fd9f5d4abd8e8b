package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"tokenvendor/scripts/bench/simulation"
)

// growthPart measures the cost against one thing that grows.
type growthPart struct {
	name, title string
	run         func(context.Context, growthRun, *growthReport) error
}

func growthParts() []growthPart {
	return []growthPart{
		{"rules", "rules of the policy, the last of which allows", growRules},
		{"clients", "clients in one environment, the compiled function over the Runtime API", growClients},
		{"tokens", "tokens in one environment, the same", growTokens},
		{"processes", "processes of the compiled function with one table", growProcesses},
		{"environments", "environments, the real code on a virtual clock", growEnvironments},
	}
}

// growthRun is what all parts need.
type growthRun struct {
	dir   string
	small bool
}

// sizes returns the sizes of a part; the small ones are those of a quick run.
func (g growthRun) sizes(small []int, more ...int) []int {
	if g.small {
		return small
	}
	return append(small, more...)
}

// growth prints the cost against the number of clients, tokens, rules, processes and environments,
// as ratios between sizes.
func growth(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("growth", flag.ContinueOnError)
	only := flags.String("only", "", "the names of some parts, with commas between them: rules, clients, tokens, processes, environments; empty: all")
	strict := flags.Bool("strict", false, "fail if a cost grows, or a limit is exceeded")
	small := flags.Bool("small", false, "the small sizes only")
	if err := flags.Parse(args); err != nil {
		return err
	}
	parts, err := choose(growthParts(), func(p growthPart) string { return p.name }, *only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "token-vendor-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &growthReport{table: tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight), out: out}
	for _, part := range parts {
		fmt.Fprintf(out, "\n%s: %s\n", part.name, part.title)
		if err := part.run(ctx, growthRun{dir: dir, small: *small}, r); err != nil {
			return fmt.Errorf("growth: %s: %w", part.name, err)
		}
		r.finish()
	}
	if *strict && len(r.problems) > 0 {
		return errors.New("growth:\n  " + strings.Join(r.problems, "\n  "))
	}
	return nil
}

// growthReport prints a table, and keeps what is wrong.
type growthReport struct {
	table    *tabwriter.Writer
	out      io.Writer
	shown    int // problems that are printed
	problems []string
}

// row prints a row of a table. A number is a float64.
func (r *growthReport) row(cells ...any) {
	for _, cell := range cells {
		format := "%v\t"
		if _, ok := cell.(float64); ok {
			format = "%.2f\t"
		}
		fmt.Fprintf(r.table, format, cell)
	}
	fmt.Fprintln(r.table)
}

// require notes a problem if ok is false.
func (r *growthReport) require(ok bool, format string, args ...any) {
	if !ok {
		r.problems = append(r.problems, fmt.Sprintf(format, args...))
	}
}

// timesOf returns the median of the rounds' ratios.
func timesOf(took, first []time.Duration) float64 {
	ratios := make([]float64, len(took))
	for i := range took {
		ratios[i] = float64(took[i]) / float64(first[i])
	}
	return median(ratios)
}

// section ends a table that another one follows.
func (r *growthReport) section() {
	_ = r.table.Flush()
	fmt.Fprintln(r.out)
}

// finish ends a table and says whether the part is as it must be.
func (r *growthReport) finish() {
	_ = r.table.Flush()
	if r.shown == len(r.problems) {
		fmt.Fprintln(r.out, "as it must be")
	}
	for ; r.shown < len(r.problems); r.shown++ {
		fmt.Fprintln(r.out, "NOT OK: "+r.problems[r.shown])
	}
}

// growEnvironments runs the simulation, which is a test because the virtual clock is that of
// testing/synctest.
func growEnvironments(ctx context.Context, g growthRun, r *growthReport) error {
	binary, file := filepath.Join(g.dir, "simulation.test"), filepath.Join(g.dir, "results.json")
	if output, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "tokenvendor/scripts/bench/simulation").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	var all []simulation.Result
	for _, n := range g.sizes([]int{10, 100}, 1000, 10_000) {
		cmd := exec.CommandContext(ctx, binary, "-test.run=^TestGrowth$", "-test.timeout=1h", fmt.Sprint("-environments=", n), "-results="+file)
		cmd.Env = append(os.Environ(), "GOGC=200") // it has memory enough
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, output)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var one []simulation.Result
		if err := json.Unmarshal(text, &one); err != nil {
			return err
		}
		all = append(all, one...)
	}
	costRows(r, all)
	limitRows(r, all)
	rushRows(r, all)
	for _, problem := range simulation.Problems(all) {
		r.require(false, "%s", problem)
	}
	return nil
}

// costRows prints the calls of one environment, and their growth from one size to the next.
func costRows(r *growthReport, all []simulation.Result) {
	r.row("", "at the start", "", "", "in an hour", "", "", "", "", "")
	r.row("environments", "table calls", "secrets", "KMS", "vends", "table calls", "read units", "write units", "secrets", "KMS")
	for i := range all {
		s := &all[i]
		r.row(s.Environments, s.PerStart(s.Start.TableCalls), s.PerStart(s.Start.Secrets), s.PerStart(s.Start.Keys), s.PerHour(s.Steady.Vends),
			s.PerHour(s.Steady.TableCalls), s.PerHour(int(s.Steady.Reads)), s.PerHour(int(s.Steady.Writes)), s.PerHour(s.Steady.Secrets), s.PerHour(s.Steady.Keys))
	}
	for i := range all[1:] {
		before, now := all[i].Costs(), all[i+1].Costs()
		growth := func(name string) float64 { return now[name] / before[name] }
		r.row(fmt.Sprintf("%d / %d", all[i+1].Environments, all[i].Environments), growth(simulation.TableAtStart), growth(simulation.SecretsAtStart), growth(simulation.KeysAtStart),
			"", growth(simulation.TablePerHour), "", "", growth(simulation.SecretsPerHour), growth(simulation.KeysPerHour))
	}
	r.section()
}

// limitRows prints what the fleet asked of the servers at most.
func limitRows(r *growthReport, all []simulation.Result) {
	r.row("", "exchanges per token", "exchanges in", "units of one item in a second", "", "largest", "throttled", "in a second", "", "failed", "memory")
	r.row("environments", "and lifetime", "a minute", "read", "write", "item", "calls", "secrets", "KMS", "vends", "MB")
	for i := range all {
		s := &all[i]
		peak := s.Peak()
		r.row(s.Environments, s.Exchanges(), s.BusiestMinute, int(peak.Reads), int(peak.Writes), s.Largest, s.Throttled, s.BusiestSecrets, s.BusiestKeys, s.FailedVends(), s.Memory>>20)
	}
	r.section()
}

// rushRows prints what happened when all environments asked for one token at once.
func rushRows(r *growthReport, all []simulation.Result) {
	r.row("all at once", "exchanges", "failed vends", "throttled calls", "slowest vend")
	for i := range all {
		s := &all[i]
		r.row(s.Environments, s.Rush.Exchanges, s.Rush.Failed, s.Rush.Throttled, s.Rush.Slowest.Round(time.Millisecond))
	}
}
