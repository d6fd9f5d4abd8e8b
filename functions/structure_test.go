package functions_test

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// Limits of a package of functions/ or shared/. Those of arrows hold where a package has at
// least minFiles files that declare something: fewer files can be read in any order.
const (
	minFiles   = 4
	maxUpwards = 5  // and at most half of the possible arrows may exist at all
	maxMethods = 20 // of a type; test kits, whose names end in test, may have more
)

// Limits of a function and of a file, also in scripts/.
const (
	maxComplexity    = 15
	maxFunctionLines = 80
	maxFileLines     = 350
	// Half and nine tenths of the product's functions have at most so many lines.
	medianFunctionLines = 12
	mostFunctionLines   = 45
)

// What is measured, as the messages name it.
const (
	arrows          = "arrows"
	upwardArrows    = "upward arrows"
	typeMethods     = "methods"
	branches        = "complexity"
	functionLines   = "function lines"
	fileLines       = "file lines"
	deferredResults = "deferred results"
	terms           = "terms"
	testNames       = "test names"
)

// violation is one place that breaks a limit or a rule.
type violation struct{ measure, text string }

// report fails the test for each violation.
func report(t *testing.T, found []violation) {
	t.Helper()
	for _, v := range found {
		t.Error(v.text)
	}
}

// figures are the measures of one package. The figures of files and types leave out its
// tests; those of functions include them, except in scripts/.
type figures struct {
	dir        string
	files      int
	arrows     int
	possible   int
	upwards    int
	tangled    bool // a cycle has too many files for upwards to be computed
	methods    named
	complexity named
	lines      named
}

// TestStructure holds every package to the limits. With -v it prints a table of all figures.
func TestStructure(t *testing.T) {
	byDir := make(map[string]*figures)
	var all []*figures
	var found []violation
	for _, f := range everything(t) {
		if byDir[f.dir] == nil {
			byDir[f.dir] = &figures{dir: f.dir}
			all = append(all, byDir[f.dir])
		}
		found = append(found, byDir[f.dir].addFile(f)...)
	}
	for _, p := range typeChecked(t) {
		figures := byDir[p.dir]
		figures.addPackage(p)
		found = append(found, figures.violations()...)
	}
	t.Log(table(all))
	report(t, found)
}

// addFile adds the functions of a file, and returns those above a limit.
func (p *figures) addFile(f source) []violation {
	var found []violation
	if f.scripts() && f.test {
		return nil
	}
	if n := f.set.File(f.syntax.Pos()).LineCount(); n > maxFileLines && !f.test {
		found = append(found, violation{fileLines, fmt.Sprintf("%s has %d lines, want at most %d", f.name, n, maxFileLines)})
	}
	for _, declaration := range f.syntax.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := function.Name.Name
		branching, lines := named{name, complexity(function)}, named{name, f.lines(function)}
		p.complexity, p.lines = largest([]named{p.complexity, branching}), largest([]named{p.lines, lines})
		if branching.n > maxComplexity {
			found = append(found, violation{branches, fmt.Sprintf("%s: %s has a cyclomatic complexity of %d, want at most %d", f.at(function), name, branching.n, maxComplexity)})
		}
		if lines.n > maxFunctionLines {
			found = append(found, violation{functionLines, fmt.Sprintf("%s: %s has %d lines, want at most %d", f.at(function), name, lines.n, maxFunctionLines)})
		}
	}
	return found
}

// addPackage adds the arrows between the files of a package, and the methods of its types.
func (p *figures) addPackage(c checked) {
	g := fileGraph(c.set, c.files, c.pkg, c.uses)
	p.files, p.arrows, p.possible = len(g.files), g.arrows(), g.possible()
	upwards, ok := g.upwards()
	p.upwards, p.tangled = upwards, !ok
	p.methods = largest(methods(c.files))
}

// violations returns the limits of a package that p exceeds.
func (p *figures) violations() []violation {
	var found []violation
	add := func(measure, format string, args ...any) {
		found = append(found, violation{measure, p.dir + ": " + fmt.Sprintf(format, args...)})
	}
	if p.methods.n > maxMethods && !strings.HasSuffix(p.dir, "test") {
		add(typeMethods, "%s has %d methods, want at most %d", p.methods.name, p.methods.n, maxMethods)
	}
	if p.files < minFiles {
		return found
	}
	if 2*p.arrows > p.possible {
		add(arrows, "%d files have %d arrows between them, want at most half of the possible %d", p.files, p.arrows, p.possible)
	}
	if p.tangled {
		add(upwardArrows, "more than %d files depend on each other, want at most %d upward arrows", maxCycle, maxUpwards)
	}
	if p.upwards > maxUpwards {
		add(upwardArrows, "%d arrows run upwards in the best order of the files, want at most %d", p.upwards, maxUpwards)
	}
	return found
}

// table returns the figures in Markdown.
func table(all []*figures) string {
	var b strings.Builder
	b.WriteString("\n| package | files | arrows | possible | upwards | methods of the largest type | highest complexity | longest function |\n|---|---|---|---|---|---|---|---|\n")
	for _, p := range all {
		if p.files > 0 {
			fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |", p.dir, p.files, p.arrows, p.possible, p.upwards)
		} else {
			fmt.Fprintf(&b, "| %s | | | | |", p.dir)
		}
		for _, most := range []named{p.methods, p.complexity, p.lines} {
			fmt.Fprintf(&b, " %s |", most)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestMostFunctionsAreShort: the longest functions have a limit each in TestStructure.
func TestMostFunctionsAreShort(t *testing.T) {
	var lengths []int
	for _, f := range product(t) {
		for _, declaration := range f.syntax.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok {
				lengths = append(lengths, f.lines(function))
			}
		}
	}
	slices.Sort(lengths)
	median, most := lengths[len(lengths)/2], lengths[len(lengths)*9/10]
	t.Logf("%d functions: the median has %d lines, nine of ten have at most %d", len(lengths), median, most)
	if median > medianFunctionLines || most > mostFunctionLines {
		t.Errorf("the median function has %d lines and nine of ten have at most %d, want %d and %d", median, most, medianFunctionLines, mostFunctionLines)
	}
}
