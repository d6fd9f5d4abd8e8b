package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"tokenvendor/scripts/bench/cpushare"
)

// metric is something that is measured, in nanoseconds or bytes unless it says otherwise.
type metric string

const (
	hitP50     metric = "hit p50"
	hitP90     metric = "hit p90"
	hitP99     metric = "hit p99"
	hitCPU     metric = "hit CPU"
	missP50    metric = "miss of a new client"
	missCPU    metric = "miss CPU"
	coldFull   metric = "cold start, full core"
	coldCPU    metric = "cold CPU"
	coldShare  metric = "cold start, 256 MB"
	firstCPU   metric = "CPU after the first poll"
	peakMemory metric = "peak memory"
	binarySize metric = "binary"
	zippedSize metric = "zip"
	// Lambda bills whole milliseconds: these are the means of the milliseconds, rounded up.
	billedHit  metric = "billed hit"
	billedMiss metric = "billed miss"
	billedCold metric = "billed cold start, 256 MB"
)

// batchSize is the number of hits of one function before those of the next one. What a
// function prints meanwhile fits into its pipe.
const batchSize = 20

// round measures every candidate once, in random order. A start at a full core is one of a
// function of 1769 MB. All others have 256 MB, the default of template.yaml. Hits have no
// limit of CPU, because one at a time needs less than the quota.
func (s *speedRun) round(ctx context.Context) error {
	for _, i := range rand.Perm(len(s.candidates)) {
		if err := s.measureFullCore(ctx, s.candidates[i]); err != nil {
			return fmt.Errorf("%s: %w", s.candidates[i].name, err)
		}
	}
	for _, i := range rand.Perm(len(s.candidates)) {
		if err := s.measureShare(ctx, s.candidates[i]); err != nil {
			return fmt.Errorf("%s: %w", s.candidates[i].name, err)
		}
	}
	return s.measureWarm(ctx)
}

// measured is a process whose output goes to a pipe, as in Lambda. Nobody waits at the
// pipe's end while the process is measured.
type measured struct {
	*process
	output *os.File
	lines  int    // that the process has printed
	last   []byte // what it printed before the last call of drain
}

func (c *candidate) start(ctx context.Context, megabytes int) (*measured, error) {
	output, input, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	vars := append(slices.Clone(c.vars), fmt.Sprint("AWS_LAMBDA_FUNCTION_MEMORY_SIZE=", megabytes))
	p, err := spawn(ctx, c.binary, vars, input, c.args...)
	if err := errors.Join(err, input.Close()); err != nil {
		return nil, errors.Join(err, output.Close())
	}
	return &measured{process: p, output: output}, nil
}

func (i *measured) stop() error { return errors.Join(i.process.stop(), i.output.Close()) }

// drain empties the pipe. One reading returns all that a pipe holds.
func (i *measured) drain() error {
	if err := i.output.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return err
	}
	text := make([]byte, 64<<10)
	n, err := i.output.Read(text)
	i.last = text[:n]
	i.lines += bytes.Count(i.last, []byte("\n"))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// used returns the CPU time so far; 0 where it is unknown.
func (i *measured) used() time.Duration {
	d, _ := cpushare.Used(i.cmd.Process.Pid)
	return d
}

func (c *candidate) add(m metric, value time.Duration) {
	c.values[m] = append(c.values[m], float64(value))
}

// billed returns what Lambda bills.
func billed(d time.Duration) time.Duration {
	return time.Duration(math.Ceil(float64(d)/float64(time.Millisecond))) * time.Millisecond
}

// measureFullCore measures a start to the first answer with all that the machine has.
func (s *speedRun) measureFullCore(ctx context.Context, c *candidate) error {
	i, err := c.start(ctx, 1769)
	if err != nil {
		return err
	}
	took, err := i.call(s.event)
	if err == nil {
		c.add(coldFull, i.process.start+took)
		if used := i.used(); used > 0 {
			c.add(coldCPU, used)
		}
	}
	return errors.Join(err, i.stop())
}

// measureShare measures a start with the share of 256 MB. As in Lambda, the share begins
// with the first poll.
func (s *speedRun) measureShare(ctx context.Context, c *candidate) error {
	i, err := c.start(ctx, 256)
	if err != nil {
		return err
	}
	before := i.used()
	unlimit, err := cpushare.Limit(i.cmd.Process.Pid, cpushare.OfMemory(256))
	if err != nil {
		err = errors.Join(err, i.stop())
		if errors.Is(err, cpushare.ErrUnsupported) {
			return nil
		}
		return err
	}
	took, err := i.call(s.event)
	if err == nil {
		c.add(firstCPU, i.used()-before)
		c.add(coldShare, i.process.start+took)
		c.add(billedCold, billed(i.process.start+took))
	}
	return errors.Join(err, unlimit(), i.stop())
}

// measureWarm measures hits and misses.
func (s *speedRun) measureWarm(ctx context.Context) (err error) {
	instances := make([]*measured, len(s.candidates))
	defer func() {
		for _, i := range instances {
			if i != nil {
				err = errors.Join(err, i.stop())
			}
		}
	}()
	for n, c := range s.candidates {
		if instances[n], err = c.start(ctx, 256); err != nil {
			return err
		}
		if _, err := instances[n].call(s.event); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	hits, used := make([][]time.Duration, len(s.candidates)), make([]time.Duration, len(s.candidates))
	for n, i := range instances {
		used[n] = i.used()
	}
	exchangesBefore, readsBefore := s.calls()
	for done := 0; done < s.cfg.calls; done += batchSize {
		for _, n := range rand.Perm(len(s.candidates)) {
			took, err := instances[n].callEach(slices.Repeat([][]byte{s.event}, min(batchSize, s.cfg.calls-done)))
			if err != nil {
				return fmt.Errorf("%s: %w", s.candidates[n].name, err)
			}
			hits[n] = append(hits[n], took...)
		}
	}
	if exchanges, reads := s.calls(); exchanges != exchangesBefore || reads != readsBefore {
		return fmt.Errorf("the hits made %d exchanges and %d calls of Secrets Manager", exchanges-exchangesBefore, reads-readsBefore)
	}
	for n, c := range s.candidates {
		if c.audits() && instances[n].lines < s.cfg.calls {
			return fmt.Errorf("%s printed %d lines for %d hits", c.name, instances[n].lines, s.cfg.calls)
		}
		c.addHits(hits[n], instances[n].used()-used[n])
		c.values[peakMemory] = append(c.values[peakMemory], float64(memory(instances[n].cmd.Process.Pid, "VmHWM")))
	}
	return s.measureMisses(instances)
}

// callEach sends the events one after the other.
func (i *measured) callEach(events [][]byte) (took []time.Duration, err error) {
	for _, event := range events {
		d, err := i.call(event)
		if err != nil {
			return nil, err
		}
		took = append(took, d)
	}
	return took, i.drain()
}

func (c *candidate) addHits(took []time.Duration, used time.Duration) {
	c.add(hitP50, percentile(took, 50))
	c.add(hitP90, percentile(took, 90))
	c.add(hitP99, percentile(took, 99))
	c.add(billedHit, meanBilled(took))
	if used > 0 {
		c.add(hitCPU, used/time.Duration(len(took)))
	}
}

// measureMisses asks each process for the token of each other client.
func (s *speedRun) measureMisses(instances []*measured) error {
	misses, used := make([][]time.Duration, len(instances)), make([][]time.Duration, len(instances))
	exchangesBefore, readsBefore := s.calls()
	want := 0
	for _, event := range s.others {
		for _, n := range rand.Perm(len(instances)) {
			before := instances[n].used()
			took, err := instances[n].callEach([][]byte{event})
			if err != nil {
				return fmt.Errorf("%s: %w", s.candidates[n].name, err)
			}
			misses[n], used[n] = append(misses[n], took...), append(used[n], instances[n].used()-before)
		}
	}
	for n, c := range s.candidates {
		if c.vends() {
			want += len(s.others)
		}
		c.add(missP50, median(misses[n]))
		c.add(billedMiss, meanBilled(misses[n]))
		if d := median(used[n]); d > 0 {
			c.add(missCPU, d)
		}
	}
	if exchanges, reads := s.calls(); exchanges-exchangesBefore != want || reads-readsBefore != want {
		return fmt.Errorf("%d misses made %d exchanges and %d calls of Secrets Manager", want, exchanges-exchangesBefore, reads-readsBefore)
	}
	return nil
}

// percentile returns the value that p per cent of the list do not exceed.
func percentile(list []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

func median[T time.Duration | int64 | float64](list []T) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}

func meanBilled(list []time.Duration) (mean time.Duration) {
	for _, d := range list {
		mean += billed(d)
	}
	return mean / time.Duration(len(list))
}
