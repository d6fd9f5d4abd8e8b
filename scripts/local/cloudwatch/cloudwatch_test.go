package cloudwatch

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A meter's lines are read as they were added.
func TestMeterLinesAreRead(t *testing.T) {
	var out bytes.Buffer
	m := Meter{Output: &out}
	m.Flush()
	function := Dimension{"FunctionName", "f"}
	m.Add("AWS/Lambda", "Errors", 0, function)
	m.Add("AWS/Lambda", "Errors", 1, function)
	m.Add("AWS/Lambda", "Errors", 5, Dimension{"FunctionName", "g"})
	m.Flush()
	data := ReadLines(append([]byte("no JSON\n{\"_aws\":1}\n{\"a\":\"\\\"_aws\\\"\"}\n"), out.Bytes()...))
	if len(data) != 2 {
		t.Fatalf("got %d metrics, want 2", len(data))
	}
	for _, d := range data {
		if d.matches(Metric{"AWS/Lambda", "Errors", []Dimension{function}}) != (len(d.Values) == 2) || d.matches(Metric{"AWS/Lambda", "Errors", nil}) || d.At.IsZero() {
			t.Errorf("got %+v", d)
		}
	}
}

// A line without one of its dimensions has no metric with it.
func TestLineWithSeveralDimensions(t *testing.T) {
	const line = `{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"N","Dimensions":[[],["Client"],["Other"]],"Metrics":[{"Name":"D"}]}]},"D":-1,"Client":"c"}`
	var got []string
	for _, d := range ReadLines([]byte(line)) {
		got = append(got, fmt.Sprint(d.Metric, d.Values))
	}
	if want := []string{"{N D []} [-1]", "{N D [{Client c}]} [-1]"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFires(t *testing.T) {
	data := func(values ...float64) []Datum {
		if values == nil {
			return nil
		}
		return []Datum{{Metric: Metric{"N", "M", nil}, Values: values, Line: []byte("line")}}
	}
	busy := func(calls float64, lines ...float64) []Datum {
		return append(data(lines...), Datum{Metric: Metric{"N", "Calls", nil}, Values: []float64{calls}})
	}
	silent := Alarm{Statistic: "Sum", Threshold: 1, Periods: 2, Less: true, Missing: "breaching", Busy: Metric{"N", "Calls", nil}}
	for name, test := range map[string]struct {
		alarm   Alarm
		periods [][]Datum
		want    bool
	}{
		"sum":                     {Alarm{Statistic: "Sum", Threshold: 5, Periods: 1}, [][]Datum{data(2, 3)}, true},
		"sum below":               {Alarm{Statistic: "Sum", Threshold: 5, Periods: 1}, [][]Datum{data(2, 2)}, false},
		"only the last periods":   {Alarm{Statistic: "Sum", Threshold: 1, Periods: 1}, [][]Datum{data(9), data(0)}, false},
		"sustained":               {Alarm{Statistic: "Sum", Threshold: 1, Periods: 3}, [][]Datum{data(1), data(1), data(2)}, true},
		"once":                    {Alarm{Statistic: "Sum", Threshold: 1, Periods: 3}, [][]Datum{data(1), data(0), data(2)}, false},
		"too few periods":         {Alarm{Statistic: "Sum", Threshold: 1, Periods: 3}, [][]Datum{data(1)}, false},
		"missing":                 {Alarm{Statistic: "Sum", Threshold: 1, Periods: 1, Less: true, Missing: "breaching"}, [][]Datum{nil}, true},
		"missing is not breaking": {Alarm{Statistic: "Sum", Threshold: 1, Periods: 1, Less: true, Missing: "ignore"}, [][]Datum{nil}, false},
		"one of two":              {Alarm{Statistic: "Sum", Threshold: 1, Periods: 2, Datapoints: 1}, [][]Datum{data(1), nil}, true},
		"none of two":             {Alarm{Statistic: "Sum", Threshold: 1, Periods: 2, Datapoints: 1}, [][]Datum{data(0), nil}, false},
		"minimum":                 {Alarm{Statistic: "Minimum", Threshold: 3, Periods: 1, Less: true}, [][]Datum{data(9, 2)}, true},
		"percentile":              {Alarm{Statistic: "p99", Threshold: 9, Periods: 1}, [][]Datum{data(1, 9)}, true},
		"share":                   {Alarm{Statistic: "Maximum", Threshold: 80, Periods: 1, Scale: 10}, [][]Datum{data(8)}, true},
		"silent":                  {silent, [][]Datum{busy(1), busy(2, 0)}, true},
		"silent once":             {silent, [][]Datum{busy(1), busy(2, 1)}, false},
		"silent without calls":    {silent, [][]Datum{busy(1), busy(0)}, false},
		"silent and missing":      {silent, [][]Datum{busy(1), nil}, false},
		"unknown statistic":       {Alarm{Statistic: "TM(1%)", Threshold: 0, Periods: 1}, [][]Datum{data(8)}, false},
	} {
		a := test.alarm
		a.Metric = Metric{"N", "M", nil}
		if a.Datapoints == 0 {
			a.Datapoints = a.Periods
		}
		if a.Scale == 0 {
			a.Scale = 1
		}
		if got, cause := a.Fires(test.periods); got != test.want || got && a.Missing == "" && string(cause) != "line" {
			t.Errorf("%s: got %t (%s), want %t", name, got, cause, test.want)
		}
	}
}

func TestReadTemplate(t *testing.T) {
	got, err := ReadTemplate([]byte(`
Resources:
  Errors:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Namespace: !Sub N/${AWS::StackName}
      MetricName: M
      Dimensions: [{Name: F, Value: !Ref Function}]
      Statistic: Sum
      Period: 60
      EvaluationPeriods: !Ref Minutes
      Threshold: 2
      ComparisonOperator: LessThanThreshold
      TreatMissingData: breaching
      AlarmActions: [!If [Choice, !Ref Topic, !Ref Other]]
  Share:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Metrics:
        - {Id: a, Expression: !Sub "100 * used / ${Minutes}"}
        - {Id: used, MetricStat: {Metric: {Namespace: N, MetricName: M}, Stat: Maximum, Period: 300}}
  Silent:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Metrics:
        - {Id: a, Expression: "IF(FILL(calls, 0) > 0 AND FILL(lines, 0) == 0, 1, 0)"}
        - {Id: calls, MetricStat: {Metric: {Namespace: N, MetricName: C}, Stat: Sum, Period: 60}}
        - {Id: lines, MetricStat: {Metric: {Namespace: N, MetricName: L}, Stat: Sum, Period: 60}}
      Threshold: 1
      TreatMissingData: notBreaching
  Both:
    Type: AWS::CloudWatch::CompositeAlarm
    Properties: {AlarmRule: !Sub 'ALARM("${Errors}") OR ALARM("${Share}")'}
  Filter:
    Type: AWS::Logs::MetricFilter
    Properties: {FilterPattern: "{ $.a = 1 }", MetricTransformations: [{MetricName: M, MetricValue: $.b, Dimensions: [{Key: K, Value: $.c}]}]}
`), Values{"AWS::StackName": "s", "Function": "f", "Minutes": "5", "Topic": "t"})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got.Alarms, func(a, b Alarm) int { return strings.Compare(a.Name, b.Name) })
	want := "[{Errors [t] {N/s M [{F f}]} {  []} Sum 1 60 5 5 2 true breaching} {Share [] {N M []} {  []} Maximum 20 300 0 0 0 false }" +
		" {Silent [] {N L []} {N C []} Sum 1 60 0 0 1 true breaching}]"
	if fmt.Sprint(got.Alarms) != want {
		t.Errorf("got alarms %v, want %s", got.Alarms, want)
	}
	if text := fmt.Sprint(got.Composites, got.Filters); text != "map[Both:{[Errors Share] []}] [{Filter { $.a = 1 }  M $.b map[K:$.c]}]" {
		t.Errorf("got %s", text)
	}
	if _, err := ReadTemplate([]byte("a: ["), nil); err == nil {
		t.Error("no error for a broken template")
	}
}
