package main

import (
	"cmp"
	"fmt"
	"io"
	"time"
)

// column is a metric as the table of medians shows it.
type column struct {
	metric metric
	title  string
	unit   float64
	format string
}

func columns() []column {
	const ms, us, mb = float64(time.Millisecond), float64(time.Microsecond), float64(1 << 20)
	return []column{
		{coldFull, "cold ms", ms, "%.1f"},
		{coldCPU, "its CPU", ms, "%.1f"},
		{coldShare, "256 MB ms", ms, "%.1f"},
		{firstCPU, "its CPU", ms, "%.1f"},
		{hitP50, "hit us", us, "%.0f"},
		{hitP90, "its p90", us, "%.0f"},
		{hitP99, "its p99", us, "%.0f"},
		{hitCPU, "its CPU", us, "%.0f"},
		{missP50, "miss us", us, "%.0f"},
		{missCPU, "its CPU", us, "%.0f"},
		{peakMemory, "peak MB", mb, "%.1f"},
		{binarySize, "binary MB", 1e6, "%.2f"},
		{zippedSize, "zip MB", 1e6, "%.2f"},
		{billedHit, "billed", ms, "%.2f"},
		{billedMiss, "its miss", ms, "%.2f"},
		{billedCold, "its cold", ms, "%.0f"},
	}
}

// limit is the most that a ratio may be.
type limit struct {
	metric metric
	of, to string // candidates; an empty to: the limit is a size in bytes
	max    float64

	ratio float64 // the median of the rounds' ratios; or the size
	noise float64 // the ratio of the constant function to itself
}

func (l limit) holds() bool { return l.ratio <= l.max }

// limits returns the limits whose candidates were measured.
func (s *speedRun) limits() []limit {
	var found []limit
	for _, l := range []limit{
		{metric: hitP50, of: tokenName, to: constantName, max: 1.00},
		{metric: hitCPU, of: tokenName, to: constantName, max: 1.00},
		{metric: hitP99, of: tokenName, to: constantName, max: 1.25},
		{metric: missP50, of: tokenName, to: plainName, max: 0.95},
		{metric: coldFull, of: tokenName, to: bareName, max: 1.15},
		{metric: coldShare, of: tokenName, to: plainName, max: 0.14},
		{metric: peakMemory, of: tokenName, to: constantName, max: 1.5},
		{metric: zippedSize, of: tokenName, max: 4.5e6},
	} {
		of := s.values(l.of, l.metric)
		if l.to == "" && len(of) > 0 {
			l.ratio = of[0]
			found = append(found, l)
			continue
		}
		if to := s.values(l.to, l.metric); len(of) > 0 && len(to) > 0 {
			l.ratio = ratio(of, to)
			if again, constant := s.values(againName, l.metric), s.values(constantName, l.metric); len(again) > 0 && len(constant) > 0 {
				l.noise = ratio(again, constant)
			}
			found = append(found, l)
		}
	}
	return found
}

// values returns what was measured of a candidate, by round.
func (s *speedRun) values(name string, m metric) []float64 {
	for _, c := range s.candidates {
		if c.name == name {
			return c.values[m]
		}
	}
	return nil
}

// ratio returns the median of the rounds' ratios.
func ratio(a, b []float64) float64 {
	ratios := make([]float64, len(a))
	for i := range a {
		ratios[i] = a[i] / b[i]
	}
	return median(ratios)
}

// legend says what the figures of the report are.
const legend = `
Medians of the rounds; a ratio is the median of the rounds' ratios. Milliseconds are the machine's: quote ratios.
noise: the constant function compared with itself. Where it is far from 1.00, so may be the ratio. prefetch: the token
function with PREFETCH_CLIENTS.
cold: from the start of the process to its first answer, with all cores and 1769 MB. 256 MB: with 256/1769 of a core from
the first poll on; its CPU is what runs with that share. hit and miss: from the event to its answer, with 256 MB and all
cores. A miss is the first token of a client. CPU: of all threads; that of a hit includes the poll after it. billed: the
mean of the milliseconds, rounded up. zip: by Go's compress/flate; zlib, which the SAM CLI uses, makes it 2 % smaller.
AWS's caching library for Go is not compared, because this module does not depend on it. It keeps secrets, not tokens.
`

// report prints the medians and the limits, and returns those that do not hold.
func (s *speedRun) report(out io.Writer) (failed []string) {
	fmt.Fprintf(out, "%d rounds on %s; %s\ntrust store: %s\n\n%-16s", s.cfg.rounds, machine(), s.versions(), s.trust, "")
	for _, c := range columns() {
		fmt.Fprintf(out, " %9s", c.title)
	}
	for _, candidate := range s.candidates {
		fmt.Fprintf(out, "\n%-16s", candidate.name)
		for _, c := range columns() {
			text := "-"
			if values := candidate.values[c.metric]; len(values) > 0 {
				text = fmt.Sprintf(c.format, median(values)/c.unit)
			}
			fmt.Fprintf(out, " %9s", text)
		}
	}
	fmt.Fprintf(out, "\n\n%-22s %-10s %8s %8s %8s\n", "limit of token", "to", "ratio", "limit", "noise")
	for _, l := range s.limits() {
		ratio, most, noise, verdict := l.ratio, l.max, "-", ""
		if l.to == "" {
			ratio, most = ratio/1e6, most/1e6
		}
		if l.noise > 0 {
			noise = fmt.Sprintf("%.2f", l.noise)
		}
		if !l.holds() {
			verdict = "  does not hold"
			failed = append(failed, string(l.metric))
		}
		fmt.Fprintf(out, "%-22s %-10s %8.2f %8.2f %8s%s\n", l.metric, cmp.Or(l.to, "MB"), ratio, most, noise, verdict)
	}
	fmt.Fprint(out, legend)
	return failed
}
