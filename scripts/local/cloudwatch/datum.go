package cloudwatch

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// Datum is the values of one metric in one line.
type Datum struct {
	Metric Metric
	Values []float64
	At     time.Time
	// Line is the whole line.
	Line []byte
}

// ReadLines returns the metrics in a log. Other lines, and broken ones, have none.
func ReadLines(log []byte) []Datum {
	var all []Datum
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte(`"_aws"`)) {
			all = append(all, readLine(bytes.TrimSpace(line))...)
		}
	}
	return all
}

func readLine(line []byte) []Datum {
	var members map[string]json.RawMessage
	var metadata struct {
		Timestamp         int64
		CloudWatchMetrics []directive
	}
	if json.Unmarshal(line, &members) != nil || json.Unmarshal(members["_aws"], &metadata) != nil {
		return nil
	}
	var all []Datum
	for _, d := range metadata.CloudWatchMetrics {
		for _, names := range d.Dimensions {
			dimensions, ok := dimensionsOf(members, names)
			for _, metric := range d.Metrics {
				if values := valuesOf(members[metric.Name]); ok && len(values) > 0 {
					all = append(all, Datum{Metric{d.Namespace, metric.Name, dimensions}, values, time.UnixMilli(metadata.Timestamp), line})
				}
			}
		}
	}
	return all
}

// dimensionsOf returns the dimensions of these names; false: a line lacks one, so that it has no
// metric with them.
func dimensionsOf(members map[string]json.RawMessage, names []string) ([]Dimension, bool) {
	var all []Dimension
	for _, name := range names {
		var value string
		if json.Unmarshal(members[name], &value) != nil || value == "" {
			return nil, false
		}
		all = append(all, Dimension{name, value})
	}
	return all, true
}

// valuesOf reads a number or a list of numbers.
func valuesOf(raw json.RawMessage) []float64 {
	var list []float64
	var one float64
	if json.Unmarshal(raw, &one) == nil {
		return []float64{one}
	}
	_ = json.Unmarshal(raw, &list)
	return list
}

// matches reports whether a datum is one of a metric.
func (d *Datum) matches(m Metric) bool {
	if d.Metric.Namespace != m.Namespace || d.Metric.Name != m.Name || len(d.Metric.Dimensions) != len(m.Dimensions) {
		return false
	}
	for _, want := range m.Dimensions {
		if !slices.Contains(d.Metric.Dimensions, want) {
			return false
		}
	}
	return true
}
