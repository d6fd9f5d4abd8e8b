package functions_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// The tests of this file prove that the checks can fail: they measure small sources whose
// figures are known.

// parse parses files by name, sorted. A file is the text after its package clause.
func parse(t *testing.T, texts map[string]string) (*token.FileSet, []*ast.File) {
	t.Helper()
	set := token.NewFileSet()
	var names []string
	for name := range texts {
		names = append(names, name)
	}
	slices.Sort(names)
	var files []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(set, name, "package p\n"+texts[name], 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return set, files
}

func graphOf(t *testing.T, texts map[string]string) graph {
	t.Helper()
	set, files := parse(t, texts)
	c := check(t, set, "p", files, nil)
	return fileGraph(set, files, c.pkg, c.uses)
}

// cycle is a package of n files, each of which depends on the next one.
func cycle(n int) map[string]string {
	texts := make(map[string]string)
	for i := range n {
		name, next := string(rune('a'+i)), string(rune('a'+(i+1)%n))
		texts[name+".go"] = "func " + name + "() { " + next + "() }"
	}
	return texts
}

// everyPair is a package of n files, each of which depends on all others.
func everyPair(n int) map[string]string {
	texts := make(map[string]string)
	for i := range n {
		name := string(rune('a' + i))
		texts[name+".go"] = "func " + name + "() {"
		for j := range n {
			texts[name+".go"] += " " + string(rune('a'+j)) + "();"
		}
		texts[name+".go"] += " }"
	}
	return texts
}

func TestArrowsBetweenFiles(t *testing.T) {
	for _, test := range []struct {
		name            string
		texts           map[string]string
		arrows, upwards int
	}{
		{"no dependency", map[string]string{"a.go": "const a = 1", "b.go": "const b = 1"}, 0, 0},
		{"a constant", map[string]string{"a.go": "const a = b", "b.go": "const b = 1"}, 1, 0},
		{"a variable", map[string]string{"a.go": "func a() int { return b }", "b.go": "var b = 1"}, 1, 0},
		{"two names are one arrow", map[string]string{"a.go": "const a = b + c", "b.go": "const b = 1; const c = 1"}, 1, 0},
		{"a type", map[string]string{"a.go": "type a struct{ b }", "b.go": "type b int"}, 1, 0},
		{"a method", map[string]string{"a.go": "func a() { new(c).m() }", "b.go": "func (c) m() {}", "c.go": "type c int"}, 3, 0},
		{"a field", map[string]string{"a.go": "func a() int { return b().f }", "b.go": "func b() c { return c{} }", "c.go": "type c struct{ f int }"}, 3, 0},
		{"a method of a generic type", map[string]string{"a.go": "func a() { b().m() }", "b.go": "func b() c[int] { return 0 }", "c.go": "type c[T any] int\nfunc (c[T]) m() {}"}, 3, 0},
		{"a local name hides a function", map[string]string{"a.go": "func a() int { b := 1; return b }", "b.go": "func b() {}"}, 0, 0},
		{"a label and a parameter", map[string]string{"a.go": "func a(b int) int { return b }", "b.go": "func b() {}"}, 0, 0},
		{"both ways", map[string]string{"a.go": "func a() { b() }", "b.go": "func b() { a() }"}, 2, 1},
		{"a cycle of 5", cycle(5), 5, 1},
		{"a cycle of 20", cycle(20), 20, 1},
		{"every pair of 5", everyPair(5), 20, 10},
		{"two cycles", map[string]string{"a.go": "func a() { b() }", "b.go": "func b() { a(); c() }", "c.go": "func c() { d() }", "d.go": "func d() { c() }"}, 5, 2},
		{"one arrow closes two cycles", map[string]string{"a.go": "func a() { b(); c() }", "b.go": "func b() { d() }", "c.go": "func c() { d() }", "d.go": "func d() { a() }"}, 5, 1},
	} {
		g := graphOf(t, test.texts)
		if upwards, ok := g.upwards(); g.arrows() != test.arrows || upwards != test.upwards || !ok {
			t.Errorf("%s: got %d arrows and %d upwards, want %d and %d", test.name, g.arrows(), upwards, test.arrows, test.upwards)
		}
	}
}

func TestFilesWithoutDeclarationsDoNotCount(t *testing.T) {
	g := graphOf(t, map[string]string{"a.go": "const a = b", "b.go": "const b = 1", "doc.go": ""})
	if len(g.files) != 2 || g.possible() != 1 {
		t.Errorf("got %d files and %d possible arrows, want 2 and 1", len(g.files), g.possible())
	}
}

func TestCyclesOfTooManyFilesAreReported(t *testing.T) {
	if n, ok := graphOf(t, cycle(maxCycle+1)).upwards(); ok {
		t.Errorf("got %d upward arrows for a cycle of %d files, want none computed", n, maxCycle+1)
	}
}

func TestComplexity(t *testing.T) {
	for _, test := range []struct {
		body string
		want int
	}{
		{"", 1},
		{"if true {}", 2},
		{"if true {} else if false {} else {}", 3},
		{"for {}", 2},
		{"for range 3 {}", 2},
		{"if true && false || !true {}", 4},
		{"switch 1 { case 1, 2: case 3: default: }", 3},
		{"select { case <-c: case c <- 1: default: }", 3},
		{"switch any(nil).(type) { case int: }", 2},
		{"f := func() { if true {} }; f()", 2},
	} {
		_, files := parse(t, map[string]string{"a.go": "var c chan int\nfunc a() { " + test.body + " }"})
		if got := complexity(files[0].Decls[1]); got != test.want {
			t.Errorf("%q: got a complexity of %d, want %d", test.body, got, test.want)
		}
	}
}

func TestMethodsAreCountedByType(t *testing.T) {
	_, files := parse(t, map[string]string{
		"a.go": "type a int; func (a) m() {}; func (*a) n() {}; func f() {}",
		"b.go": "func (a) o() {}; type b[T any] int; func (*b[T]) m() {}; type c[T, U any] int; func (c[T, U]) m() {}",
	})
	if got, want := methods(files), []named{{"a", 3}, {"b", 1}, {"c", 1}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestLimitsOfAPackage exceeds each limit of a package by one.
func TestLimitsOfAPackage(t *testing.T) {
	good := figures{dir: "shared/p", files: 5, arrows: 5, possible: 10, upwards: maxUpwards, methods: named{"T", maxMethods}}
	if found := good.violations(); len(found) > 0 {
		t.Errorf("got %v at the limits, want no violation", found)
	}
	for _, test := range []struct {
		change  func(*figures)
		measure string
		text    string
	}{
		{func(p *figures) { p.arrows++ }, arrows, "shared/p: 5 files have 6 arrows"},
		{func(p *figures) { p.upwards++ }, upwardArrows, "shared/p: 6 arrows run upwards"},
		{func(p *figures) { p.tangled = true }, upwardArrows, "shared/p: more than"},
		{func(p *figures) { p.methods.n++ }, typeMethods, "shared/p: T has 21 methods"},
	} {
		p := good
		test.change(&p)
		if found := p.violations(); len(found) != 1 || found[0].measure != test.measure || !strings.HasPrefix(found[0].text, test.text) {
			t.Errorf("got %v, want one violation that begins with %q", found, test.text)
		}
	}
	kit := figures{dir: "shared/p/ptest", files: 3, arrows: 3, possible: 3, upwards: 1, methods: named{"T", maxMethods + 1}}
	if found := kit.violations(); len(found) > 0 {
		t.Errorf("got %v for three files of a test kit, want no violation", found)
	}
}

// TestLimitsOfAFile exceeds each limit of a function and of a file by one.
func TestLimitsOfAFile(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"shared/p/a.go", "func a() {" + strings.Repeat("if true {};", maxComplexity-1) + strings.Repeat("\n", maxFunctionLines-1) + "}", nil},
		{"shared/p/a.go", "func a() {" + strings.Repeat("if true {};", maxComplexity) + "}", []string{branches}},
		{"scripts/p/a.go", "func a() {" + strings.Repeat("if true {};", maxComplexity) + "}", []string{branches}},
		{"shared/p/a_test.go", "func a() {" + strings.Repeat("if true {};", maxComplexity) + "}", []string{branches}},
		{"scripts/p/a_test.go", "func a() {" + strings.Repeat("if true {};", maxComplexity) + "}", nil},
		{"shared/p/a.go", "func a() {" + strings.Repeat("\n", maxFunctionLines) + "}", []string{functionLines}},
		{"shared/p/a.go", strings.Repeat("\n", maxFileLines), []string{fileLines}},
		{"shared/p/a_test.go", strings.Repeat("\n", maxFileLines), nil},
	} {
		set, files := parse(t, map[string]string{"a.go": test.text})
		f := source{test.name, "shared/p", strings.HasSuffix(test.name, "_test.go"), set, files[0]}
		var got []string
		for _, v := range new(figures).addFile(f) {
			got = append(got, v.measure)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s of %d bytes: got violations of %q, want %q", test.name, len(test.text), got, test.want)
		}
	}
}

func TestWordsOfIdentifiers(t *testing.T) {
	for identifier, want := range map[string]string{
		"atRest":         "at rest",
		"RESTEvent":      "event",
		"parseREST":      "parse",
		"background":     "background",
		"hardship_test":  "hardship test",
		"TestS26Visit":   "test s visit",
		"aVisit":         "a visit",
		"LookupEnv":      "lookup env",
		"newRig":         "new rig",
		"readHTTPAnswer": "read answer",
	} {
		if got := strings.Join(words(identifier), " "); got != want {
			t.Errorf("%s: got words %q, want %q", identifier, got, want)
		}
	}
}

func TestForbiddenTermsAreFound(t *testing.T) {
	_, files := parse(t, map[string]string{"a.go": `
		type wish struct{ look int }
		func (w wish) turn(pace int) (rest string) { held, visit := 1, 2; var upset = held + visit; return string(rune(upset)) }
		func background(f interface{ settle() }) { for standing := range 3 { _ = standing }; _ = f }`})
	var got []string
	for _, d := range declared(files[0]) {
		if word := notTerm(d); word != "" {
			got = append(got, word)
		}
	}
	if want := "wish look turn pace visit upset settle standing"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

func TestNumberedTestsAreFound(t *testing.T) {
	for name, want := range map[string]bool{
		"TestS26ProofsInConstantTime": true, "TestB154": true, "TestMuseum04StrangeAnswers": true, "FuzzR74Event": true,
		"TestX509Chain": false, "TestS256Challenge": false, "TestPKCS12": false, "TestRFC8705": false, "TestTwoOf30": false,
	} {
		if got := isNumbered(name); got != want {
			t.Errorf("%s: got numbered %t, want %t", name, got, want)
		}
	}
}

func TestChangedResultsAreFound(t *testing.T) {
	for body, want := range map[string]int{
		"defer func() { err = nil }()":                              1,
		"defer func() { if true { n, err = 1, nil } }()":            2,
		"defer func() { n += 1 }()":                                 1,
		"defer func() { err := error(nil); _ = err }()":             0,
		"defer func() { if recover() != nil { err = nil } }()":      0,
		"func() { err = nil }()":                                    0,
		"defer func() { x := 0; x = 1; _ = x }()":                   0,
		"defer func() { func() { err = nil }() }(); return 1, err;": 1,
	} {
		_, files := parse(t, map[string]string{"a.go": "func a() (n int, err error) { " + body + "; return }"})
		if got := len(changedByDefer(files[0].Decls[0].(*ast.FuncDecl))); got != want {
			t.Errorf("%s: got %d changed results, want %d", body, got, want)
		}
	}
}
