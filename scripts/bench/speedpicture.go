package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"tokenvendor/scripts/bench/chart"
)

// writeSVG writes a picture with a panel for each limit.
func (s *speedRun) writeSVG(file string, now time.Time) error {
	picture := chart.Chart{Title: "The token function and others, over the Lambda Runtime API", Notes: []string{
		fmt.Sprintf("%s; %s; %s", now.Format(time.DateOnly), machine(), s.versions()),
		fmt.Sprintf("Bars: medians of the ratios in %d rounds. Dashed: the limit of “token”. A bar with a gap is longer than the axis.", s.cfg.rounds),
		"256 MB: 256/1769 of a core from the first poll on. Trust store: " + s.cfg.trust + ".",
		"“prefetch” is “token” with PREFETCH_CLIENTS. “constant again” is the same function as “constant” and shows the noise.",
	}}
	for _, l := range s.limits() {
		picture.Panels = append(picture.Panels, s.panel(l))
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(picture.Write(out), out.Close())
}

// panel returns the bars of all functions beside a limit.
func (s *speedRun) panel(l limit) chart.Panel {
	verdict := "holds"
	if !l.holds() {
		verdict = "does not hold"
	}
	title := strings.ToUpper(string(l.metric[:1])) + string(l.metric[1:])
	p := chart.Panel{Title: title, Limit: l.max, Detail: fmt.Sprintf("ratio to %s; limit %.2f %s", l.to, l.max, verdict)}
	if l.to == "" {
		p.Limit, p.Detail = 1, fmt.Sprintf("ratio to the limit of %s, which %s", amount(l.metric, l.max), verdict)
	}
	for _, c := range s.candidates {
		values := c.values[l.metric]
		if len(values) == 0 {
			continue
		}
		row := chart.Row{Name: c.name, Value: amount(l.metric, median(values)), Subject: c.name == l.of}
		if l.to == "" {
			row.Ratio = values[0] / l.max
		} else {
			row.Ratio = ratio(values, s.values(l.to, l.metric))
		}
		p.Rows = append(p.Rows, row)
	}
	return p
}

// amount returns a value with a unit.
func amount(m metric, value float64) string {
	switch {
	case m == peakMemory:
		return fmt.Sprintf("%.1f MB", value/(1<<20))
	case m == binarySize || m == zippedSize:
		return fmt.Sprintf("%.2f MB", value/1e6)
	case value < float64(time.Millisecond):
		return fmt.Sprintf("%.0f µs", value/float64(time.Microsecond))
	case value < 10*float64(time.Millisecond):
		return fmt.Sprintf("%.1f ms", value/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.0f ms", value/float64(time.Millisecond))
}

// machine describes this machine.
func machine() string {
	name := runtime.GOARCH
	text, _ := os.ReadFile("/proc/cpuinfo") // other systems than Linux have none
	if _, after, ok := strings.Cut(string(text), "model name"); ok {
		line, _, _ := strings.Cut(after, "\n")
		name = strings.Trim(line, "\t :")
	}
	return fmt.Sprintf("%d cores of %s", runtime.NumCPU(), name)
}

// versions returns those of the languages.
func (s *speedRun) versions() string {
	all := []string{"Go " + strings.TrimPrefix(runtime.Version(), "go")}
	for _, c := range s.candidates {
		if c.version != "" {
			all = append(all, c.name+" "+strings.TrimPrefix(c.version, "v"))
		}
	}
	return strings.Join(all, ", ")
}
