package functions_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/app"
	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/radar"
)

// location is a heading in a Markdown file.
type location struct{ file, heading string }

// The tables that repeat the code.
var (
	errorTable     = location{"functions/token/README.md", "Errors"}
	memberTable    = location{"shared/registry/README.md", "Members"}
	policyTable    = location{"shared/policy/README.md", "Policy: which caller may get which token"}
	variableTable  = location{"shared/app/README.md", "Variables"}
	parameterTable = location{"shared/app/README.md", "Parameters"}
	fieldTable     = location{"shared/audit/README.md", "Fields"}
	metricTable    = location{"shared/audit/README.md", "Metrics"}
)

const kilobyte = 1 << 10

// sizes are the documents and how large they may be: a page must be readable at once.
var sizes = map[string]int{
	"README.md":                        10 * kilobyte,
	"functions/README.md":              13 * kilobyte,
	"functions/COSTS.md":               6 * kilobyte,
	"functions/REGIONS.md":             6 * kilobyte,
	"functions/token/README.md":        13 * kilobyte,
	"functions/batch/README.md":        9 * kilobyte,
	"shared/README.md":                 7 * kilobyte,
	"shared/app/README.md":             6*kilobyte + kilobyte/2,
	"shared/audit/README.md":           5 * kilobyte,
	"shared/policy/README.md":          3 * kilobyte,
	"shared/registry/README.md":        12 * kilobyte,
	"scripts/README.md":                8 * kilobyte,
	"scripts/bench/README.md":          4 * kilobyte,
	"scripts/vendctl/README.md":        8 * kilobyte,
	"scripts/vendctl/deploy/README.md": 4 * kilobyte,
	"scripts/examples/README.md":       3 * kilobyte,
	".github/CONTRIBUTING.md":          3 * kilobyte,
	".github/SECURITY.md":              2 * kilobyte,
}

func TestDocumentsAreShort(t *testing.T) {
	for name, most := range sizes {
		info, err := os.Stat(filepath.Join("..", filepath.FromSlash(name)))
		switch {
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case info.Size() > int64(most):
			t.Errorf("%s has %d bytes, want at most %d", name, info.Size(), most)
		}
	}
}

// rows returns the table below a heading.
func (l location) rows(t *testing.T) [][]string {
	t.Helper()
	return readPage(t, l.file).table(t, l.heading)
}

// compare reports names that are in one list only, and names that a table has twice.
func (l location) compare(t *testing.T, table, code []string) {
	t.Helper()
	if len(code) == 0 {
		t.Fatalf("%s, %s: the code has no such name", l.file, l.heading)
	}
	for i, name := range table {
		if !slices.Contains(code, name) {
			t.Errorf("%s, %s: got %s, which is not in the code", l.file, l.heading, name)
		}
		if slices.Contains(table[:i], name) {
			t.Errorf("%s, %s: got %s twice", l.file, l.heading, name)
		}
	}
	for _, name := range code {
		if !slices.Contains(table, name) {
			t.Errorf("%s, %s: got no %s, which is in the code", l.file, l.heading, name)
		}
	}
}

func TestErrorTable(t *testing.T) {
	var table, code []string
	for _, row := range errorTable.rows(t) {
		for status := range strings.SplitSeq(row[0], ",") {
			for _, name := range quoted(row[1]) {
				table = append(table, strings.TrimSpace(status)+" "+name)
			}
		}
	}
	for kind := fault.Internal; kind == fault.Internal || kind.Valid(); kind++ {
		answer := fmt.Sprint(kind.Status(), " ", kind.Code())
		if !slices.Contains(code, answer) {
			code = append(code, answer)
		}
	}
	errorTable.compare(t, table, code)
}

func TestMemberTable(t *testing.T) {
	var code []string
	for _, f := range inDir(t, "shared/registry") {
		for _, declaration := range f.syntax.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Name.Name == "nativeMembers" {
				code = append(code, literals(function)...)
			}
		}
	}
	memberTable.compare(t, column(memberTable.rows(t), 0), code)
}

func TestPolicyTable(t *testing.T) {
	var code []string
	for _, f := range inDir(t, "shared/policy") {
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			// r.known(members, names...)
			if call, ok := node.(*ast.CallExpr); ok && len(call.Args) > 1 {
				if method, ok := call.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "known" {
					for _, name := range call.Args[1:] {
						code = append(code, literals(name)...)
					}
				}
			}
			return true
		})
	}
	policyTable.compare(t, column(policyTable.rows(t), 0), code)
}

func TestMetricTable(t *testing.T) {
	code := radar.Types()
	for _, f := range product(t) {
		for name, value := range constants(f) {
			if strings.HasPrefix(strings.ToLower(name), "count") && !slices.Contains(code, value) {
				code = append(code, value)
			}
		}
	}
	metricTable.compare(t, column(metricTable.rows(t), 0), append(code, "DaysToExpiry"))
}

// TestRunbook compares the alarms of the template with the paragraphs of the runbook, which have the
// meaning, the time that there is, and three commands each.
func TestRunbook(t *testing.T) {
	const file = "functions/README.md"
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	template := readTemplate(t).text
	var alarms []string
	for _, found := range regexp.MustCompile(`(?m)^  (\w+Alarm):\n    Type: AWS::CloudWatch::`).FindAllStringSubmatch(template, -1) {
		alarms = append(alarms, found[1])
	}
	paragraph := regexp.MustCompile("(?ms)^### (\\w+)\n\n(.*?)\n\n```sh\n((?:vendctl [^\n]+\n){3})```$")
	var described []string
	for _, found := range paragraph.FindAllStringSubmatch(string(text), -1) {
		described = append(described, found[1])
		if !strings.Contains(found[2], "**Time:**") {
			t.Errorf("%s: %s does not say how much time there is", file, found[1])
		}
		page := regexp.MustCompile(`(?ms)^  ` + found[1] + `:\n.*?AlarmActions: \[!Ref AlarmTopicArn\]`).FindString(template)
		if paged := page != "" && !strings.Contains(page, "\n\n"); paged != strings.Contains(found[2], "*Page.*") {
			t.Errorf("%s: %s: got page %t, want %t", file, found[1], !paged, paged)
		}
	}
	slices.Sort(alarms)
	slices.Sort(described)
	if len(alarms) < 20 || !slices.Equal(alarms, described) {
		t.Errorf("%s: got alarms %q, want those of template.yaml, %q", file, described, alarms)
	}
}

// TestCostOfAlarms computes what the alarms of the smallest and of the largest stack cost in a month. AWS bills each metric
// of an alarm.
func TestCostOfAlarms(t *testing.T) {
	const metric, composite = 10, 50 // cents
	least, most := 0, 0
	alarm := regexp.MustCompile(`(?m)^    Type: AWS::CloudWatch::(Composite)?Alarm\n    Condition: (\w+)\n(?:    .*\n)*`)
	for _, found := range alarm.FindAllStringSubmatch(readTemplate(t).text, -1) {
		cost := metric * strings.Count(found[0], "MetricName:")
		if found[1] != "" {
			cost = composite
		}
		most += cost
		if found[2] == "WithAlarms" {
			least += cost
		}
	}
	dollars := func(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
	for file, want := range map[string]string{
		"../template.yaml": "AlarmTopicArn " + dollars(least) + " to " + dollars(most) + " ", "README.md": ": " + dollars(least) + " to " + dollars(most) + " |",
		"REGIONS.md": "up to " + dollars(most) + " with alarms",
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("%s: got another price of alarms, want %q", file, want)
		}
	}
}

// TestFieldTable compares the table with a line that has every field, and the values of its
// texts with the constants.
func TestFieldTable(t *testing.T) {
	var e audit.Event
	fill(reflect.ValueOf(&e).Elem())
	var line bytes.Buffer
	if err := audit.New(audit.Config{Output: &line, Version: "v"}).Write(&e); err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(line.Bytes(), &fields); err != nil {
		t.Fatal(err)
	}
	var code []string
	for name := range fields {
		code = append(code, name)
	}
	rows := fieldTable.rows(t)
	fieldTable.compare(t, column(rows, 0), code)
	values := column(rows, 1)
	for _, typeName := range []string{"Type", "Source", "Outcome"} {
		list := typed(t, typeName)
		if len(list) < 3 {
			t.Errorf("found %d constants of type %s, want at least 3", len(list), typeName)
		}
		for _, value := range list {
			if !slices.Contains(values, value) {
				t.Errorf("%s, %s: got no value %s", fieldTable.file, fieldTable.heading, value)
			}
		}
	}
}

// fill sets every field of a struct to a value other than zero.
func fill(v reflect.Value) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(1795428930, 0)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(time.Minute))
	case reflect.Slice:
		v.Set(reflect.ValueOf([]string{"x"}))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"x": "x"}))
	default:
		panic("no value for the kind " + v.Kind().String())
	}
}

// inDir returns the product's files of one directory.
func inDir(t *testing.T, dir string) []source {
	t.Helper()
	return slices.DeleteFunc(product(t), func(f source) bool { return f.dir != dir })
}

// literals returns the string literals below node.
func literals(node ast.Node) []string {
	var all []string
	ast.Inspect(node, func(node ast.Node) bool {
		if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				all = append(all, text)
			}
		}
		return true
	})
	return all
}

// constants returns the constants of a file that are string literals, by name.
func constants(f source) map[string]string {
	all := make(map[string]string)
	for _, spec := range constantSpecs(f) {
		for i, name := range spec.Names {
			if i < len(spec.Values) {
				if list := literals(spec.Values[i]); len(list) == 1 {
					all[name.Name] = list[0]
				}
			}
		}
	}
	return all
}

// typed returns the values of the product's constants of a type that is declared in the same
// package.
func typed(t *testing.T, typeName string) []string {
	t.Helper()
	var all []string
	for _, f := range append(inDir(t, "shared/audit"), inDir(t, "shared/tokensource")...) {
		for _, spec := range constantSpecs(f) {
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == typeName {
				all = append(all, literals(spec.Values[0])...)
			}
		}
	}
	return all
}

func constantSpecs(f source) []*ast.ValueSpec {
	var all []*ast.ValueSpec
	for _, declaration := range f.syntax.Decls {
		if d, ok := declaration.(*ast.GenDecl); ok && d.Tok == token.CONST {
			for _, spec := range d.Specs {
				all = append(all, spec.(*ast.ValueSpec))
			}
		}
	}
	return all
}

// notDocumented are variables without a row, and the reason.
var notDocumented = map[string]string{
	"AWS_SAM_LOCAL":                   "SAM CLI sets it",
	"AWS_LAMBDA_RUNTIME_API":          "Lambda sets it",
	"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "Lambda sets it",
	"AWS_LAMBDA_MAX_CONCURRENCY":      "Lambda sets it",
	"SOURCES_ALIAS":                   "it is refused",
	"SSL_CERT_DIR":                    "crypto/x509 reads it",
	"AWS_ENDPOINT_URL":                "the AWS SDK reads it",
}

// variableName matches the names of environment variables, all of which have two words.
var variableName = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$`)

func TestVariableTable(t *testing.T) {
	rows := variableTable.rows(t)
	documented := column(rows, 0)
	var code []string
	for _, f := range inDir(t, "shared/app") {
		for _, text := range literals(f.syntax) {
			if variableName.MatchString(text) && notDocumented[text] == "" && !slices.Contains(code, text) {
				code = append(code, text)
			}
		}
	}
	variableTable.compare(t, documented, code)

	template := readTemplate(t)
	for name := range template.variables {
		if notDocumented[name] == "" && !slices.Contains(documented, name) {
			t.Errorf("%s: got no %s, which the template sets", variableTable.file, name)
		}
	}
	for _, row := range rows {
		checkParameters(t, template, row)
	}
}

// checkParameters compares the parameters of a row with those that the template uses for the
// row's variables.
func checkParameters(t *testing.T, template template, row []string) {
	t.Helper()
	var used []string
	for _, name := range quoted(row[0]) {
		if template.variables[name] == "" {
			t.Errorf("the template does not set %s", name)
		}
		used = append(used, template.parametersIn(template.variables[name])...)
	}
	named := quoted(row[1])
	if len(used) > 0 && len(named) == 0 {
		t.Errorf("%s: %s has no parameter, want one of %v", variableTable.file, row[0], used)
	}
	for _, parameter := range named {
		if !slices.Contains(used, parameter) {
			t.Errorf("%s: %s: got the parameter %s, want one of %v", variableTable.file, row[0], parameter, used)
		}
	}
}

// TestVariableDefaults compares the defaults in the table with those of an empty environment.
func TestVariableDefaults(t *testing.T) {
	t.Setenv("AWS_REGION", "eu-central-1")
	environment := func(variables map[string]string) app.Environment {
		a, err := app.New(app.Config{Getenv: func(name string) string { return variables[name] }, Output: &bytes.Buffer{}})
		if err != nil {
			t.Fatal(err)
		}
		return a.Environment
	}
	env := environment(nil)
	mode := "document"
	if env.PolicySecretID == "" {
		mode = "iam"
	}
	defaults := map[string]string{
		"NAME_PREFIX":             env.NamePrefix,
		"CLIENT_SECRET_PREFIX":    env.ClientSecretPrefix,
		"POLICY_MODE":             mode,
		"POLICY_SECRET_ID":        environment(map[string]string{"POLICY_MODE": "document"}).PolicySecretID,
		"ALLOW_PRIVATE_ENDPOINTS": fmt.Sprint(env.Addresses.Private),
		"MAX_RECEIVES":            strconv.Itoa(env.MaxReceives),
		"RESERVED_CONCURRENCY":    strconv.Itoa(env.ReservedConcurrency),
		"METRICS_NAMESPACE":       env.MetricsNamespace,
		"NOTE_USE":                strconv.FormatBool(env.NoteUse),
		"LOG_LEVEL":               strings.ToLower(env.LogLevel.String()),
	}
	for _, row := range variableTable.rows(t) {
		for _, name := range quoted(row[0]) {
			if got, want := strings.Trim(row[2], "`"), defaults[name]; got != want {
				t.Errorf("%s: %s has the default %q in the table, and %q in the code", variableTable.file, name, got, want)
			}
		}
	}
}

func TestParameterTable(t *testing.T) {
	template := readTemplate(t)
	var code []string
	for name := range template.parameters {
		code = append(code, name)
	}
	rows := parameterTable.rows(t)
	parameterTable.compare(t, column(rows, 0), code)
	for _, row := range rows {
		for _, name := range quoted(row[0]) {
			if got, want := strings.Trim(row[1], "`"), template.parameters[name]; got != want {
				t.Errorf("%s: %s has the default %q in the table, and %q in the template", parameterTable.file, name, got, want)
			}
		}
	}
}
