// Package cloudwatch is a local double of the part of Amazon CloudWatch that the template uses:
// the metrics of AWS's own services that the local stack stands for, and the alarms of a
// template.
//
// All metrics are lines of the embedded metric format in one log, those of the functions and
// those of a [Meter]. [ReadLines] reads them, and [Alarm.Fires] evaluates an alarm over them.
package cloudwatch

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Dimension names what a metric is about.
type Dimension struct{ Name, Value string }

// Meter collects values of metrics and writes them each second. It is safe for concurrent use.
// The zero value is not ready: set Output.
type Meter struct {
	// Output receives each line in one call of Write; required.
	Output io.Writer

	mu     sync.Mutex
	values map[string]*metricSet // guarded by mu
}

// metricSet has the metrics of one namespace and one set of dimensions.
type metricSet struct {
	namespace  string
	dimensions []Dimension
	values     map[string][]float64
}

// Add adds one value to a metric.
func (m *Meter) Add(namespace, metric string, value float64, dimensions ...Dimension) {
	key := namespace
	for _, d := range dimensions {
		key += "\x00" + d.Name + "\x00" + d.Value
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = make(map[string]*metricSet)
	}
	set := m.values[key]
	if set == nil {
		set = &metricSet{namespace, dimensions, make(map[string][]float64)}
		m.values[key] = set
	}
	set.values[metric] = append(set.values[metric], value)
}

// Flush writes what was added since the last line.
func (m *Meter) Flush() {
	m.mu.Lock()
	values := m.values
	m.values = nil
	m.mu.Unlock()
	for _, set := range values {
		_, _ = m.Output.Write(set.line(time.Now()))
	}
}

// Run calls sample and writes a line each second until stop is closed.
func (m *Meter) Run(stop <-chan struct{}, sample func()) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			sample()
			m.Flush()
		}
	}
}

// directive is a MetricDirective of the embedded metric format.
type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []struct{ Name string }
}

// line returns the line of a set: a metric with several values has a list of them.
//
// Source: docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
func (s *metricSet) line(now time.Time) []byte {
	d := directive{Namespace: s.namespace, Dimensions: [][]string{{}}}
	line := make(map[string]any)
	for _, one := range s.dimensions {
		d.Dimensions[0] = append(d.Dimensions[0], one.Name)
		line[one.Name] = one.Value
	}
	for name, values := range s.values {
		d.Metrics = append(d.Metrics, struct{ Name string }{name})
		line[name] = values
	}
	slices.SortFunc(d.Metrics, func(a, b struct{ Name string }) int { return strings.Compare(a.Name, b.Name) })
	line["_aws"] = map[string]any{"Timestamp": now.UnixMilli(), "CloudWatchMetrics": []directive{d}}
	text, err := json.Marshal(line)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return append(text, '\n')
}
