package cloudwatch

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Metric names a metric.
type Metric struct {
	Namespace, Name string
	Dimensions      []Dimension
}

// Alarm is an alarm of a template on one metric.
type Alarm struct {
	Name string
	// Actions are the topics that it notifies.
	Actions []string
	Metric  Metric
	// Busy is a metric that is above zero in a period that breaches; without a name, there is none.
	Busy Metric
	// Statistic is Sum, Minimum, Maximum, Average, SampleCount, or a percentile such as p99.
	Statistic string
	// Scale multiplies the statistic, for an alarm on a share. It is 1 for others.
	Scale float64
	// Period is in seconds. Of the last Periods, so many as Datapoints must be above or below.
	Period, Periods, Datapoints int
	Threshold                   float64
	// Less: it fires below the threshold; else at it and above.
	Less bool
	// Missing is what a period without data counts as: breaching, notBreaching or ignore.
	Missing string
}

// Fires reports whether the alarm fires if its last periods have these data, the oldest first.
// cause is a line that made it fire; nil: the lack of one.
//
// Source: docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
func (a *Alarm) Fires(periods [][]Datum) (fires bool, cause []byte) {
	if len(periods) < a.Periods {
		return false, nil
	}
	breaching := 0
	for _, data := range periods[len(periods)-a.Periods:] {
		values, line := a.values(data)
		switch {
		case a.Busy.Name != "" && !a.Busy.positive(data):
		case len(values) == 0 && a.Missing == "breaching":
			breaching++
		case len(values) > 0 && a.breaches(values):
			breaching++
			cause = line
		}
	}
	return breaching >= a.Datapoints, cause
}

// values returns the values of the alarm's metric, and the line with one that breaches, if there
// is one.
func (a *Alarm) values(data []Datum) (values []float64, line []byte) {
	for _, d := range data {
		if d.matches(a.Metric) {
			values = append(values, d.Values...)
			if line == nil || a.breaches(d.Values) {
				line = d.Line
			}
		}
	}
	return values, line
}

// positive reports whether the sum of the metric is above zero.
func (m Metric) positive(data []Datum) bool {
	var values []float64
	for _, d := range data {
		if d.matches(m) {
			values = append(values, d.Values...)
		}
	}
	return statistic("Sum", append(values, 0)) > 0
}

func (a *Alarm) breaches(values []float64) bool {
	value := statistic(a.Statistic, values) * a.Scale
	if a.Less {
		return value < a.Threshold
	}
	return value >= a.Threshold
}

// statistic computes a statistic of values, of which there is one at least.
func statistic(name string, values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	sorted := slices.Sorted(slices.Values(values))
	switch name {
	case "Sum":
		return sum
	case "Average":
		return sum / float64(len(values))
	case "SampleCount":
		return float64(len(values))
	case "Minimum":
		return sorted[0]
	case "Maximum":
		return sorted[len(sorted)-1]
	}
	if p, err := strconv.ParseFloat(strings.TrimPrefix(name, "p"), 64); err == nil {
		return sorted[max(0, int(math.Ceil(p/100*float64(len(sorted))))-1)]
	}
	return math.NaN() // fires never, and a test says so
}
