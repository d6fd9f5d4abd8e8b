package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"tokenvendor/scripts/bench/clock"
)

// maxStep is the longest step by which a drill sets the clock ahead.
const maxStep = 2 * time.Minute

// crowdOutput reads what all processes of a crowd print: the outcomes of their audit lines, and
// their metrics. It is safe for concurrent use.
type crowdOutput struct {
	clock clock.File

	mu       sync.Mutex
	outcomes map[string]map[string]int // by caller, by outcome; guarded by mu, as what follows
	metrics  map[string]int
	problem  string // the first one
}

func newCrowdOutput(file clock.File) *crowdOutput {
	return &crowdOutput{clock: file, outcomes: make(map[string]map[string]int), metrics: make(map[string]int)}
}

// writer returns a writer for the output of one process.
func (o *crowdOutput) writer() io.Writer { return &lineWriter{line: o.line} }

// lineWriter calls line for each line.
type lineWriter struct {
	line    func([]byte)
	partial []byte
}

func (w *lineWriter) Write(text []byte) (int, error) {
	w.partial = append(w.partial, text...)
	for {
		line, after, found := bytes.Cut(w.partial, []byte("\n"))
		if !found {
			return len(text), nil
		}
		w.line(line)
		w.partial = after
	}
}

// line reads one line: an audit line, metrics, or a line of the log.
func (o *crowdOutput) line(text []byte) {
	var members map[string]any
	err := json.Unmarshal(text, &members)
	o.mu.Lock()
	defer o.mu.Unlock()
	if containsAny(text, forbidden()) {
		o.problem = "a secret or a token was printed"
	}
	switch {
	case err != nil:
		o.problem = "a process printed a line that is not JSON"
	case members["type"] == "decision":
		o.decision(members)
	case members["_aws"] != nil:
		for name, value := range members {
			if n, ok := value.(float64); ok {
				o.metrics[name] += int(n)
			}
		}
	}
}

// decision counts an outcome. The line's time shows that the process follows the clock.
func (o *crowdOutput) decision(members map[string]any) {
	text, _ := members["time"].(string)
	at, err := time.Parse(time.RFC3339, text)
	// The clock may be set ahead before the line is read here.
	if late := o.clock.Now().Sub(at); err != nil || late.Abs() > maxStep+answerTime {
		o.problem = fmt.Sprintf("an audit line is %v late: the process does not follow the clock", late)
	}
	caller, _ := members["caller"].(string)
	caller = caller[strings.LastIndexByte(caller, '/')+1:]
	outcome, _ := members["outcome"].(string)
	if o.outcomes[caller] == nil {
		o.outcomes[caller] = make(map[string]int)
	}
	o.outcomes[caller][outcome]++
}

// metric returns the sum of a metric.
func (o *crowdOutput) metric(name string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.metrics[name]
}

// of returns the outcomes of a caller.
func (o *crowdOutput) of(caller string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return listing(o.outcomes[caller])
}

func (o *crowdOutput) allMetrics() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return listing(o.metrics)
}

// listing returns counts in the order of their names.
func listing(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
