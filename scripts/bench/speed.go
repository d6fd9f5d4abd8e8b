package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// variant is one function that is measured.
type variant struct {
	name, pkg string
	cold      []time.Duration // spawn to first answer, by round
	warm      []time.Duration // median round trip, by round
	peak      []int64
}

// speed compares the token function with the constant one and the plain one. The constant
// is measured twice: the ratio of the two is the noise.
func speed(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("speed", flag.ContinueOnError)
	rounds := flags.Int("rounds", 20, "cold starts of each function")
	calls := flags.Int("calls", 500, "warm calls in each round")
	if err := flags.Parse(args); err != nil {
		return err
	}
	e, err := newEnv(ctx, envConfig{life: time.Hour})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	variants := []*variant{
		{name: "token", pkg: "functions/token"},
		{name: "constant", pkg: "scripts/bench/constant"},
		{name: "constant again", pkg: "scripts/bench/constant"},
		{name: "plain", pkg: "scripts/bench/plain"},
	}
	for _, v := range variants[1:] { // newEnv has built the first
		if err := build(ctx, v.pkg, filepath.Join(e.dir, v.name)); err != nil {
			return err
		}
	}
	event, err := os.ReadFile(filepath.Join("events", "rest-v1.json"))
	if err != nil {
		return errors.New("events/rest-v1.json: run this in the repository")
	}
	for range *rounds {
		if err := round(ctx, e, variants, event, *calls); err != nil {
			return err
		}
	}
	report(out, variants)
	return nil
}

// round measures every variant once. Starts and warm calls alternate between the variants
// in random order, so that a drift of the machine affects all of them alike.
func round(ctx context.Context, e *env, variants []*variant, event []byte, calls int) (err error) {
	// The plain function reads the secret's name there.
	vars := append(slices.Clone(e.vars), "SECRET_ID="+secretName)
	processes := make([]*process, len(variants))
	defer func() {
		for _, p := range processes {
			if p != nil {
				err = errors.Join(err, p.stop())
			}
		}
	}()
	for _, i := range rand.Perm(len(variants)) {
		begin := time.Now()
		if processes[i], err = spawn(ctx, filepath.Join(e.dir, variants[i].name), vars, nil); err != nil {
			return err
		}
		if _, err := processes[i].call(event); err != nil {
			return fmt.Errorf("%s: %w", variants[i].name, err)
		}
		variants[i].cold = append(variants[i].cold, time.Since(begin))
	}
	took := make([][]time.Duration, len(variants))
	for range calls {
		for _, i := range rand.Perm(len(variants)) {
			d, err := processes[i].call(event)
			if err != nil {
				return fmt.Errorf("%s: %w", variants[i].name, err)
			}
			took[i] = append(took[i], d)
		}
	}
	for i, v := range variants {
		v.warm = append(v.warm, median(took[i]))
		v.peak = append(v.peak, memory(processes[i].cmd.Process.Pid, "VmHWM"))
	}
	return nil
}

func median[T time.Duration | int64 | float64](list []T) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

// ratio returns the median of the rounds' ratios.
func ratio(a, b []time.Duration) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = float64(a[i]) / float64(b[i])
	}
	return median(ratios)
}

func report(out io.Writer, variants []*variant) {
	token, constant, again, plain := variants[0], variants[1], variants[2], variants[3]
	fmt.Fprintf(out, "%-15s %12s %12s %10s\n", "medians", "cold", "warm", "peak MB")
	for _, v := range variants {
		fmt.Fprintf(out, "%-15s %12v %12v %10.1f\n", v.name, median(v.cold).Round(10*time.Microsecond), median(v.warm).Round(time.Microsecond), float64(median(v.peak))/(1<<20))
	}
	fmt.Fprintf(out, "\nwarm, token / constant  %.2f   (the constant to itself %.2f)\n", ratio(token.warm, constant.warm), ratio(again.warm, constant.warm))
	fmt.Fprintf(out, "cold, token / plain     %.2f\n", ratio(token.cold, plain.cold))
}
