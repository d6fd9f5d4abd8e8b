package main

import (
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
		{coldCPU, "CPU ms", ms, "%.1f"},
		{coldShare, "256 MB ms", ms, "%.1f"},
		{hitP50, "hit us", us, "%.0f"},
		{hitP90, "p90 us", us, "%.0f"},
		{hitP99, "p99 us", us, "%.0f"},
		{hitCPU, "CPU us", us, "%.0f"},
		{missP50, "miss us", us, "%.0f"},
		{missCPU, "CPU us", us, "%.0f"},
		{peakMemory, "peak MB", mb, "%.1f"},
		{binarySize, "binary MB", 1e6, "%.2f"},
		{zippedSize, "zip MB", 1e6, "%.2f"},
		{billedHit, "hit", ms, "%.2f"},
		{billedMiss, "miss", ms, "%.2f"},
		{billedCold, "cold", ms, "%.0f"},
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

// report prints the medians and the limits, and returns those that do not hold.
func (s *speedRun) report(out io.Writer) (failed []string) {
	fmt.Fprintf(out, "trust store: %s\n%d rounds, medians; the last three columns are billed milliseconds\n\n%-16s", s.trust, s.cfg.rounds, "")
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
	fmt.Fprintf(out, "\n\n%-22s %-18s %8s %8s %8s\n", "limit of token", "to", "ratio", "limit", "noise")
	for _, l := range s.limits() {
		verdict := ""
		if !l.holds() {
			verdict = "  does not hold"
			failed = append(failed, string(l.metric))
		}
		if l.to == "" {
			fmt.Fprintf(out, "%-22s %-18s %8.2f %8.2f %8s%s\n", l.metric, "MB", l.ratio/1e6, l.max/1e6, "-", verdict)
			continue
		}
		fmt.Fprintf(out, "%-22s %-18s %8.2f %8.2f %8.2f%s\n", l.metric, l.to, l.ratio, l.max, l.noise, verdict)
	}
	fmt.Fprintln(out, "\nnoise: the constant function compared with itself. Quote ratios: milliseconds are the machine's.")
	return failed
}
