package functions_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// template is what the documents repeat of template.yaml.
type template struct {
	text string
	// parameters are the defaults by name.
	parameters map[string]string
	// conditions are the expressions by name.
	conditions map[string]string
	// variables are the expressions of the functions' environment variables, by name.
	variables map[string]string
}

var (
	topKey      = regexp.MustCompile(`^(\w+):`)
	secondKey   = regexp.MustCompile(`^  (\w+):\s*(.*)$`)
	defaultKey  = regexp.MustCompile(`^    Default: (.*)$`)
	variableKey = regexp.MustCompile(`^          ([A-Z][A-Z0-9_]+): (.*)$`)
	word        = regexp.MustCompile(`\w+`)
)

// readTemplate reads template.yaml by its indentation.
func readTemplate(t *testing.T) template {
	t.Helper()
	text, err := os.ReadFile("../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out := template{string(text), make(map[string]string), make(map[string]string), make(map[string]string)}
	section, name := "", ""
	for line := range strings.Lines(out.text) {
		line = strings.TrimRight(line, "\n")
		if found := topKey.FindStringSubmatch(line); found != nil {
			section = found[1]
			continue
		}
		if found := variableKey.FindStringSubmatch(line); found != nil && section == "Resources" {
			// Both functions may have the variable.
			out.variables[found[1]] += found[2] + "\n"
		}
		if found := secondKey.FindStringSubmatch(line); found != nil {
			name = found[1]
			switch section {
			case "Parameters":
				out.parameters[name] = ""
			case "Conditions":
				out.conditions[name] = found[2]
			}
		} else if found := defaultKey.FindStringSubmatch(line); found != nil && section == "Parameters" {
			out.parameters[name] = strings.Trim(found[1], `"'`)
		} else if section == "Conditions" {
			out.conditions[name] += " " + line
		}
	}
	if len(out.parameters) < 20 || len(out.conditions) < 10 || len(out.variables) < 10 {
		t.Fatalf("template.yaml: found %d parameters, %d conditions and %d variables", len(out.parameters), len(out.conditions), len(out.variables))
	}
	return out
}

// parametersIn returns the parameters that an expression names, itself or by a condition.
func (t template) parametersIn(expression string) []string {
	var all []string
	for _, name := range word.FindAllString(expression, -1) {
		found := []string{name}
		if condition, ok := t.conditions[name]; ok {
			found = t.parametersIn(condition)
		} else if _, ok := t.parameters[name]; !ok {
			continue
		}
		for _, parameter := range found {
			if !slices.Contains(all, parameter) {
				all = append(all, parameter)
			}
		}
	}
	return all
}
