// Package metrics writes counts in the CloudWatch embedded metric format: a line of JSON in
// the function's log, from which CloudWatch Logs creates metrics. It needs no call of an API.
//
// See docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
package metrics

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tokenvendor/shared/strictjson"
)

// Config configures a [Metrics].
type Config struct {
	// Output receives each line in one call of Write, which may have two lines; required.
	Output io.Writer
	// Namespace is the namespace of the metrics; required.
	Namespace string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Metrics collects counts until the next line. It is safe for concurrent use.
type Metrics struct {
	cfg Config
	// any means that counts is not empty. Flush reads it without the mutex, since most
	// invocations count nothing.
	any atomic.Bool

	mu     sync.Mutex
	counts map[string]int // guarded by mu
}

// New returns a Metrics without counts.
func New(cfg Config) *Metrics {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Metrics{cfg: cfg, counts: make(map[string]int)}
}

// Count adds one to the metric name.
func (m *Metrics) Count(name string) { m.add(name, 1) }

func (m *Metrics) add(name string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts[name] += n
	m.any.Store(true)
}

// Flush writes the counts since the last line, if there are any. If Output returns an error, the
// counts are part of the next line: a log that takes no lines is what operators must hear of.
func (m *Metrics) Flush() {
	_, _ = m.Write(nil)
}

// Write writes a line of another log. If there are counts, it is Flush too, and Output receives both
// lines in one call, which costs half the time of two. The error is that of Output: after one, the
// line may have been written.
func (m *Metrics) Write(line []byte) (int, error) {
	counts := m.take()
	switch {
	case len(counts) == 0 && len(line) == 0:
		return 0, nil
	case len(counts) == 0:
		return m.cfg.Output.Write(line)
	}
	n, err := m.cfg.Output.Write(m.appendLine(append(make([]byte, 0, len(line)+512), line...), counts))
	if err != nil {
		for name, n := range counts {
			m.add(name, n)
		}
	}
	return min(n, len(line)), err
}

// take returns the counts since the last line, which the caller writes.
func (m *Metrics) take() map[string]int {
	if !m.any.Load() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	counts := m.counts
	m.counts = make(map[string]int)
	m.any.Store(false)
	return counts
}

// definition is a MetricDefinition of the specification.
type definition struct {
	Name string
	Unit string
}

// directive is a MetricDirective of the specification.
type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []definition
}

// Gauge is a metric of which each line has one value.
type Gauge struct {
	Name  string
	Value int
	// Dimension is the name of a property, for each value of which there is a metric.
	Dimension string
	// Overall means that the value is also one of a metric without dimension.
	Overall bool
}

// Report writes one line with properties, which is also the metric g; nil: it is none. The name
// of a property must not be that of a metric.
func (m *Metrics) Report(g *Gauge, properties map[string]any) {
	line := maps.Clone(properties)
	var list []directive
	if g != nil {
		line[g.Name] = g.Value
		dimensions := [][]string{{g.Dimension}}
		if g.Overall {
			dimensions = append(dimensions, []string{})
		}
		list = []directive{{m.cfg.Namespace, dimensions, []definition{{Name: g.Name, Unit: "None"}}}}
	}
	_, _ = m.cfg.Output.Write(m.encode(line, list))
}

// appendLine appends a line of JSON with counts. It does not use encoding/json, because each exchange
// waits for a line.
func (m *Metrics) appendLine(line []byte, counts map[string]int) []byte {
	line = append(line, `{"_aws":{"Timestamp":`...)
	line = strconv.AppendInt(line, m.cfg.Now().UnixMilli(), 10)
	line = strictjson.AppendString(append(line, `,"CloudWatchMetrics":[{"Namespace":`...), []byte(m.cfg.Namespace))
	line = append(line, `,"Dimensions":[[]],"Metrics":[`...)
	var values []byte
	for i, name := range slices.Sorted(maps.Keys(counts)) {
		if i > 0 {
			line = append(line, ',')
		}
		line = strictjson.AppendString(append(line, `{"Name":`...), []byte(name))
		line = append(line, `,"Unit":"Count"}`...)
		values = strictjson.AppendString(append(values, ','), []byte(name))
		values = strconv.AppendInt(append(values, ':'), int64(counts[name]), 10)
	}
	return append(append(append(line, `]}]}`...), values...), '}', '\n')
}

// encode returns a line of JSON with the metrics of list; nil: there are none.
func (m *Metrics) encode(line map[string]any, list []directive) []byte {
	if list != nil {
		line["_aws"] = map[string]any{"Timestamp": m.cfg.Now().UnixMilli(), "CloudWatchMetrics": list}
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return append(text, '\n')
}
