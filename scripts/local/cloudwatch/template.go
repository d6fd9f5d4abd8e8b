package cloudwatch

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Template is a template of CloudFormation, as far as it is about metrics and logs.
type Template struct {
	Alarms     []Alarm
	Composites map[string]Composite
	// Filters, Rules and Queries are those of CloudWatch Logs and Contributor Insights.
	Filters []Filter
	Rules   []Rule
	Queries []Query
}

// Composite is an alarm that fires if one of Alarms does.
type Composite struct{ Alarms, Actions []string }

// Filter is a metric filter.
type Filter struct {
	Name, Pattern            string
	Namespace, Metric, Value string
	Dimensions               map[string]string
}

// Rule is a rule of Contributor Insights. Body is its JSON.
type Rule struct{ Name, Body string }

// Query is a saved query of CloudWatch Logs Insights.
type Query struct{ Name, Text string }

// Values are what the functions of a template return: by "Ref NAME", "GetAtt NAME.ATTRIBUTE", and
// parameters by their name.
type Values map[string]string

// ReadTemplate reads a template. Conditions count as true.
func ReadTemplate(text []byte, values Values) (*Template, error) {
	var root struct {
		Resources map[string]struct {
			Type       string    `yaml:"Type"`
			Properties yaml.Node `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("the template: %w", err)
	}
	t := &Template{Composites: make(map[string]Composite)}
	for name, resource := range root.Resources {
		r := reader{values}
		properties, _ := r.value(&resource.Properties).(map[string]any)
		switch resource.Type {
		case "AWS::CloudWatch::Alarm":
			t.Alarms = append(t.Alarms, alarmOf(name, properties))
		case "AWS::CloudWatch::CompositeAlarm":
			c := Composite{Actions: strs(properties["AlarmActions"])}
			for _, found := range regexp.MustCompile(`ALARM\("([^"]+)"\)`).FindAllStringSubmatch(str(properties["AlarmRule"]), -1) {
				c.Alarms = append(c.Alarms, found[1])
			}
			t.Composites[name] = c
		case "AWS::Logs::MetricFilter":
			t.Filters = append(t.Filters, filterOf(name, properties))
		case "AWS::CloudWatch::InsightRule":
			t.Rules = append(t.Rules, Rule{name, str(properties["RuleBody"])})
		case "AWS::Logs::QueryDefinition":
			t.Queries = append(t.Queries, Query{name, str(properties["QueryString"])})
		}
	}
	return t, nil
}

// reader evaluates the functions of a template.
type reader struct{ values Values }

var placeholder = regexp.MustCompile(`\$\{([\w:.]+)\}`)

// value returns a node as strings, lists and maps.
func (r reader) value(n *yaml.Node) any {
	switch n.Tag {
	case "!Ref":
		return r.get("Ref "+n.Value, n.Value)
	case "!GetAtt":
		return r.get("GetAtt "+n.Value, n.Value)
	case "!Sub":
		return r.sub(n)
	case "!If":
		return r.value(n.Content[1])
	}
	switch n.Kind {
	case yaml.SequenceNode:
		var list []any
		for _, one := range n.Content {
			list = append(list, r.value(one))
		}
		return list
	case yaml.MappingNode:
		object := make(map[string]any)
		for i := 0; i+1 < len(n.Content); i += 2 {
			object[n.Content[i].Value] = r.value(n.Content[i+1])
		}
		return object
	}
	return n.Value
}

func (r reader) get(name, otherwise string) string {
	if value, ok := r.values[name]; ok {
		return value
	}
	if value, ok := r.values[otherwise]; ok {
		return value
	}
	return otherwise
}

func (r reader) sub(n *yaml.Node) string {
	text, own := n.Value, map[string]any{}
	if n.Kind == yaml.SequenceNode {
		text = n.Content[0].Value
		own, _ = r.value(n.Content[1]).(map[string]any)
	}
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		name := found[2 : len(found)-1]
		if value, ok := own[name]; ok {
			return str(value)
		}
		return r.get("Ref "+name, name)
	})
}

func str(value any) string {
	text, _ := value.(string)
	return text
}

func strs(value any) []string {
	var all []string
	for _, one := range list(value) {
		all = append(all, str(one))
	}
	return all
}

func number(value any) float64 {
	n, _ := strconv.ParseFloat(str(value), 64)
	return n
}

// silence matches the expression of an alarm about a metric that has no value while another one has.
var silence = regexp.MustCompile(`^IF\(FILL\((\w+), 0\) > 0 AND FILL\(\w+, 0\) == 0, 1, 0\)$`)

func alarmOf(name string, p map[string]any) Alarm {
	a := Alarm{
		Name: name, Scale: 1, Metric: metricOf(p), Statistic: str(p["Statistic"]) + str(p["ExtendedStatistic"]),
		Period: int(number(p["Period"])), Periods: int(number(p["EvaluationPeriods"])), Threshold: number(p["Threshold"]),
		Less: str(p["ComparisonOperator"]) == "LessThanThreshold", Missing: str(p["TreatMissingData"]),
	}
	if a.Datapoints = int(number(p["DatapointsToAlarm"])); a.Datapoints == 0 {
		a.Datapoints = a.Periods
	}
	a.Actions = strs(p["AlarmActions"])
	busy := ""
	for _, one := range list(p["Metrics"]) {
		m := object(one)
		if scaled, ok := strings.CutPrefix(str(m["Expression"]), "100 * "); ok {
			// 100 * used / RESERVATION
			_, reservation, _ := strings.Cut(scaled, " / ")
			a.Scale = 100 / number(reservation)
		}
		if found := silence.FindStringSubmatch(str(m["Expression"])); found != nil {
			busy, a.Less, a.Missing = found[1], true, "breaching"
		}
		switch stat := object(m["MetricStat"]); {
		case stat != nil && str(m["Id"]) == busy:
			a.Busy = metricOf(object(stat["Metric"]))
		case stat != nil:
			a.Metric, a.Statistic, a.Period = metricOf(object(stat["Metric"])), str(stat["Stat"]), int(number(stat["Period"]))
		}
	}
	return a
}

func metricOf(p map[string]any) Metric {
	m := Metric{Namespace: str(p["Namespace"]), Name: str(p["MetricName"])}
	for _, one := range list(p["Dimensions"]) {
		m.Dimensions = append(m.Dimensions, Dimension{str(object(one)["Name"]), str(object(one)["Value"])})
	}
	return m
}

func filterOf(name string, p map[string]any) Filter {
	f := Filter{Name: name, Pattern: str(p["FilterPattern"]), Dimensions: make(map[string]string)}
	for _, one := range list(p["MetricTransformations"]) {
		m := object(one)
		f.Namespace, f.Metric, f.Value = str(m["MetricNamespace"]), str(m["MetricName"]), str(m["MetricValue"])
		for _, d := range list(m["Dimensions"]) {
			f.Dimensions[str(object(d)["Key"])] = str(object(d)["Value"])
		}
	}
	return f
}

func list(value any) []any {
	all, _ := value.([]any)
	return all
}

func object(value any) map[string]any {
	members, _ := value.(map[string]any)
	return members
}
