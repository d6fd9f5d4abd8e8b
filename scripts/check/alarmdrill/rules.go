package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"tokenvendor/scripts/local/cloudwatch"
)

// line is a line of the log.
type line map[string]any

func (l line) text(field string) string {
	text, _ := l[strings.TrimPrefix(field, "$.")].(string)
	return text
}

func (l line) has(field string) bool { _, ok := l[strings.TrimPrefix(field, "$.")]; return ok }

// readLog runs the metric filters, rules and queries of the template over the log of all drills.
// Each must select lines, which have the fields that it names.
func (r *runner) readLog() error {
	// A caller that the saved queries name, and one that is refused by a rule's member.
	for _, form := range []string{"scope=read", "scope=write"} {
		if _, _, err := r.ask(1, "demo", form); err != nil {
			return err
		}
	}
	if err := errors.Join(r.vend("billing", ""), r.staleAnswer()); err != nil {
		return err
	}
	text, err := r.log(0)
	if err != nil {
		return err
	}
	var lines []line
	for raw := range bytes.Lines(text) {
		var l line
		if json.Unmarshal(raw, &l) == nil {
			lines = append(lines, l)
		}
	}
	var errs []error
	report := func(kind, name string, selected int, err error) {
		if err == nil && selected == 0 {
			err = errors.New("it selects no line")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", kind, name, err))
			return
		}
		fmt.Printf("ok: %s %s selects %d lines\n", kind, name, selected)
	}
	for _, f := range r.template.Filters {
		n, err := filter(f, lines)
		report("metric filter", f.Name, n, err)
	}
	for _, rule := range r.template.Rules {
		n, err := contributors(rule, lines)
		report("rule", rule.Name, n, err)
	}
	for _, q := range r.template.Queries {
		n, err := query(q, lines)
		report("query", q.Name, n, err)
	}
	return errors.Join(errs...)
}

// staleAnswer gets an old token for a client whose server has gone.
func (r *runner) staleAnswer() error {
	server, err := r.client("stale", nil)
	if err := errors.Join(err, r.vend("stale", "")); err != nil {
		return err
	}
	if err := r.document("stale", server, map[string]any{"client_secret": wrong}); err != nil {
		return err
	}
	return errors.Join(r.restart(), r.vendAnother("stale"), r.vend("stale", ""))
}

// filter returns how many lines a metric filter selects, all of which must have its value and its
// dimensions.
func filter(f cloudwatch.Filter, lines []line) (selected int, err error) {
	body, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimSpace(f.Pattern), "}"), "{")
	if !ok {
		return 0, errors.New("the pattern is not one of JSON")
	}
	for _, l := range lines {
		matches, err := condition(strings.TrimSpace(body), l)
		if err != nil {
			return 0, err
		}
		if !matches {
			continue
		}
		selected++
		for _, field := range f.Dimensions {
			if l.text(field) == "" {
				return 0, fmt.Errorf("a line has no %s", field)
			}
		}
		if _, number := l[strings.TrimPrefix(f.Value, "$.")].(float64); strings.HasPrefix(f.Value, "$.") && !number && l["duration_ms"] != nil {
			return 0, fmt.Errorf("%s is no number", f.Value)
		}
	}
	return selected, nil
}

var comparison = regexp.MustCompile(`^(\$\.\w+) = "([^"]*)"$`)

// condition evaluates a pattern of a metric filter: comparisons with && and ||, in parentheses where
// both are used.
func condition(text string, l line) (bool, error) {
	for _, operator := range []string{"&&", "||"} {
		parts := split(text, operator)
		if len(parts) < 2 {
			continue
		}
		result := operator == "&&"
		for _, part := range parts {
			one, err := condition(part, l)
			if err != nil {
				return false, err
			}
			if result = one && result || operator == "||" && (one || result); operator == "&&" && !result {
				return false, nil
			}
		}
		return result, nil
	}
	if inner, ok := strings.CutPrefix(text, "("); ok {
		return condition(strings.TrimSpace(strings.TrimSuffix(inner, ")")), l)
	}
	found := comparison.FindStringSubmatch(text)
	if found == nil {
		return false, fmt.Errorf("this program does not know the condition %s", text)
	}
	return l.text(found[1]) == found[2], nil
}

// split splits a condition at an operator outside of parentheses.
func split(text, operator string) []string {
	var parts []string
	depth, from := 0, 0
	for i := range len(text) {
		switch {
		case text[i] == '(':
			depth++
		case text[i] == ')':
			depth--
		case depth == 0 && strings.HasPrefix(text[i:], operator):
			parts = append(parts, strings.TrimSpace(text[from:i]))
			from = i + len(operator)
		}
	}
	return append(parts, strings.TrimSpace(text[from:]))
}

// contributionFilter is a filter of a rule.
type contributionFilter struct {
	Match     string
	In        []string
	IsPresent *bool
}

func (f contributionFilter) selects(l line) bool {
	return (f.IsPresent == nil || *f.IsPresent == l.has(f.Match)) && (f.In == nil || slices.Contains(f.In, l.text(f.Match)))
}

// contributors returns how many lines a rule of Contributor Insights counts. A line without one of
// its keys is not counted.
//
// Source: docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/ContributorInsights-RuleSyntax.html
func contributors(rule cloudwatch.Rule, lines []line) (counted int, err error) {
	var body struct {
		Schema       struct{ Name string }
		LogFormat    string
		AggregateOn  string
		Contribution struct {
			Keys    []string
			Filters []contributionFilter
		}
	}
	if err := json.Unmarshal([]byte(rule.Body), &body); err != nil {
		return 0, err
	}
	if body.Schema.Name != "CloudWatchLogRule" || body.LogFormat != "JSON" || body.AggregateOn != "Count" || len(body.Contribution.Filters) > 4 || len(body.Contribution.Keys) > 4 {
		return 0, errors.New("it is not a rule of Contributor Insights")
	}
	for _, l := range lines {
		selected := true
		for _, f := range body.Contribution.Filters {
			selected = selected && f.selects(l)
		}
		for _, key := range body.Contribution.Keys {
			selected = selected && l.text(key) != ""
		}
		if selected {
			counted++
		}
	}
	return counted, nil
}

var (
	comment = regexp.MustCompile(`(?m)^\s*#.*$`)
	quoted  = regexp.MustCompile(`"[^"]*"`)
	word    = regexp.MustCompile(`[a-z_][a-z_0-9A-Z]*`)
	alias   = regexp.MustCompile(`\bas (\w+)`)
)

// language is the words of CloudWatch Logs Insights that the queries use.
const language = "filter fields stats sort display by as desc asc and not like ispresent ahead now max latest count count_distinct fromMillis "

// query returns how many lines the filter of a query selects. Every other name in it must be a field
// of one of them.
func query(q cloudwatch.Query, lines []line) (selected int, err error) {
	text := comment.ReplaceAllString(q.Text, "")
	commands := strings.Split(text, "|")
	conditions, ok := strings.CutPrefix(strings.TrimSpace(commands[0]), "filter ")
	if !ok {
		return 0, errors.New("it does not begin with filter")
	}
	fields := make(map[string]bool)
	for _, l := range lines {
		matches := true
		for _, one := range strings.Split(conditions, " and ") {
			holds, err := selects(strings.TrimSpace(one), l)
			if err != nil {
				return 0, err
			}
			matches = matches && holds
		}
		if !matches {
			continue
		}
		selected++
		for name := range l {
			fields[name] = true
		}
	}
	for _, found := range alias.FindAllStringSubmatch(text, -1) {
		fields[found[1]] = true
	}
	for _, name := range word.FindAllString(quoted.ReplaceAllString(text, ""), -1) {
		if !fields[name] && !strings.Contains(language, name+" ") {
			return 0, fmt.Errorf("no line that it selects has a field %s", name)
		}
	}
	return selected, nil
}

var (
	equals  = regexp.MustCompile(`^(\w+) = "([^"]*)"$`)
	like    = regexp.MustCompile(`^(\w+) like "([^"]*)"$`)
	present = regexp.MustCompile(`^(not )?ispresent\((\w+)\)$`)
)

// selects evaluates one condition of a query.
func selects(text string, l line) (bool, error) {
	if found := equals.FindStringSubmatch(text); found != nil {
		return l.text(found[1]) == found[2], nil
	}
	if found := like.FindStringSubmatch(text); found != nil {
		return strings.Contains(l.text(found[1]), found[2]), nil
	}
	if found := present.FindStringSubmatch(text); found != nil {
		return l.has(found[2]) == (found[1] == ""), nil
	}
	if field, ok := strings.CutSuffix(text, " > now()"); ok {
		value, _ := l[field].(float64)
		return value > float64(time.Now().Unix()), nil
	}
	return false, fmt.Errorf("this program does not know the condition %s", text)
}
