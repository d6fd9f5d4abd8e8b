// Package functions_test keeps the rules of the house: who may import whom, and
// what no package may do. A rule that is in the way is changed here, with its
// reason.
package functions_test

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "tokenvendor/"

// importRule says which packages of this module a package may import.
type importRule struct {
	from string
	may  []string
	why  string
}

// mayImport has every package; one that isn't here has no place yet.
var mayImport = []importRule{
	{"functions/token", []string{"shared/app", "shared/audit", "shared/invocation", "shared/token", "shared/cache", "shared/oauth", "shared/registry", "shared/strictjson"},
		"a function turns events into requests; AWS and the environment come wired by app"},
	{"functions/batch", []string{"shared/app", "shared/app/jobs", "shared/audit", "shared/fleet", "shared/invocation", "shared/oauth", "shared/policy", "shared/registry",
		"shared/secret", "shared/strictjson", "shared/token"}, "as functions/token; that a thing is done once is a matter of the fleet's rows"},
	{"shared/invocation", []string{"shared/oauth", "shared/strictjson", "shared/token"},
		"what is the same in all functions"},
	{"shared/app", []string{"shared/audit", "shared/awsapi", "shared/fleet", "shared/metrics", "shared/oauth", "shared/policy", "shared/registry", "shared/token"},
		"app wires everything, so it may know everybody but the functions"},
	{"shared/app/jobs", []string{"shared/app", "shared/awsapi", "shared/awsapi/messaging"},
		"what only one function needs of AWS is wired apart, so that the other does not carry it"},
	{"shared/awsapi/messaging", []string{"shared/awsapi"}, "as awsapi"},
	{"shared/token", []string{"shared/audit", "shared/cache", "shared/fleet", "shared/oauth", "shared/policy", "shared/registry", "shared/secret", "shared/strictjson"},
		"the core knows neither AWS nor events, so that every way in has the same rules"},
	{"shared/awsapi", []string{"shared/fleet", "shared/oauth", "shared/registry", "shared/secret"},
		"awsapi implements what its users declare; nobody but app knows it"},
	{"shared/registry", []string{"shared/oauth", "shared/secret", "shared/strictjson"},
		"a document becomes an OAuth client and nothing else"},
	{"shared/oauth", []string{"shared/ask", "shared/strictjson"},
		"the exchange knows nothing of documents and caches"},
	{"shared/oauth/oauthtest", nil, "a server that judges oauth must not share its code"},
	{"shared/fleet", []string{"shared/cache"}, "the table holds sealed rows, and knows nothing of what they are about"},
	{"shared/fleet/fleettest", []string{"shared/fleet"}, "a table for tests knows only what a table is"},
	{"shared/policy", []string{"shared/strictjson"}, "a decision depends on the document and the question only"},
	{"shared/ask", nil, "all packages carry it, so it stands at the bottom"},
	{"shared/ask/asktest", []string{"shared/ask"}, "a test kit knows only its package"},
	{"shared/secret", nil, "every reader of a secret needs it, so it stands at the bottom"},
	{"shared/audit", nil, "a line is made of plain values"},
	{"shared/metrics", nil, "metrics are told by functions, so that nobody depends on them"},
	{"shared/cache", nil, "the cache is generic"},
	{"shared/strictjson", nil, "everybody reads with it, so it stands at the bottom"},
}

// modules is who may import what other modules.
var modules = []struct {
	prefix string
	may    []string
	why    string
}{
	{"github.com/aws/aws-lambda-go/", []string{"functions/", "shared/invocation"}, "only the functions know that they run in Lambda"},
	{"github.com/aws/aws-sdk-go-v2/", []string{"shared/awsapi", "shared/app"}, "AWS's errors hold ARNs and accounts, and are cleaned in one place"},
	{"github.com/aws/smithy-go", []string{"shared/awsapi"}, "as the SDK"},
	{"software.sslmate.com/src/go-pkcs12", []string{"shared/registry"}, "only documents hold PKCS#12"},
	{"github.com/go-jose/go-jose/v4", []string{"shared/oauth/oauthtest"}, "our assertions are checked with somebody else's library; the functions need none"},
}

// notInFunctions is what no compiled function may hold.
var notInFunctions = []struct{ prefix, why string }{
	{"text/template", "keeps the linker from dropping unused methods; the build tag lambda.norpc keeps it out"},
	{"html/template", "as text/template"},
	{"net/rpc", "comes with text/template; lambda.norpc keeps it out"},
	{"github.com/go-jose/", "for tests and the local authorization server only"},
	{"golang.org/x/oauth2", "for comparison only"},
	{"tokenvendor/scripts/", "what runs on a developer's machine must not run in AWS"},
	{"tokenvendor/shared/oauth/oauthtest", "a server that hands out tokens to anybody"},
	{"tokenvendor/shared/fleet/fleettest", "a table and a key that keep nothing"},
	{"tokenvendor/shared/ask/asktest", "test code in a function"},
	{"net/http/httptest", "adds a flag and a server"},
	{"testing", "test code in a function"},
	{"plugin", "a function loads no code"},
}

// notCalled is which names of the standard library are not used.
var notCalled = []struct{ name, except, why string }{
	{"net/http.DefaultClient", "", "follows redirects with credentials, has no time-out and uses proxies of the environment"},
	{"net/http.DefaultTransport", "", "is shared, and carries the identity of another client's certificate"},
	{"net/http.Get", "", "uses DefaultClient"},
	{"net/http.Head", "", "uses DefaultClient"},
	{"net/http.Post", "", "uses DefaultClient"},
	{"net/http.PostForm", "", "uses DefaultClient"},
	{"os.Getenv", "functions/*/main.go", "app alone reads the environment, and takes it as a function"},
	{"os.LookupEnv", "", "as os.Getenv"},
	{"os.Environ", "", "as os.Getenv"},
	{"fmt.Print", "", "a log line is made of named fields"},
	{"fmt.Printf", "", "as fmt.Print"},
	{"fmt.Println", "", "as fmt.Print"},
	{"log/slog.Any", "", "there is no logging of a thing whole"},
	{"log/slog.Default", "", "is a package's state"},
}

// TestImports holds every package to the tables.
func TestImports(t *testing.T) {
	for _, f := range sources(t) {
		for _, spec := range f.syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case strings.HasPrefix(imported, module):
				checkInside(t, f, strings.TrimPrefix(imported, module))
			case strings.Contains(strings.Split(imported, "/")[0], "."):
				checkModule(t, f, imported)
			case imported == "unsafe" || imported == "math/rand" || imported == "log" && f.dir != "shared/oauth/oauthtest":
				t.Errorf("%s imports %s: see log/slog, math/rand/v2, and do without unsafe", f.name, imported)
			}
		}
	}
}

func checkInside(t *testing.T, f source, imported string) {
	t.Helper()
	for _, rule := range mayImport {
		if rule.from == f.dir && !slices.Contains(rule.may, imported) {
			t.Errorf("%s imports %s: %s", f.name, imported, rule.why)
		}
	}
}

func checkModule(t *testing.T, f source, imported string) {
	t.Helper()
	for _, rule := range modules {
		if !strings.HasPrefix(imported, rule.prefix) {
			continue
		}
		if !slices.ContainsFunc(rule.may, func(dir string) bool { return strings.HasPrefix(f.dir+"/", strings.TrimSuffix(dir, "/")+"/") }) {
			t.Errorf("%s imports %s: %s", f.name, imported, rule.why)
		}
		return
	}
	t.Errorf("%s imports %s: another module needs a written reason", f.name, imported)
}

// TestPackagesAreKnown: a new package is placed in the table first.
func TestPackagesAreKnown(t *testing.T) {
	for _, f := range sources(t) {
		if !slices.ContainsFunc(mayImport, func(rule importRule) bool { return rule.from == f.dir }) {
			t.Errorf("%s: its package is not in the table of imports", f.name)
		}
		switch path.Base(f.dir) {
		case "util", "utils", "common", "types", "handlers", "helpers", "models", "vendor", "misc", "internal":
			t.Errorf("%s: a package is a noun of the trade", f.dir)
		}
	}
}

// TestFunctionsHold nothing that they shouldn't, through whatever import.
func TestFunctionsHold(t *testing.T) {
	command, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command")
	}
	for _, function := range functions(t) {
		out, err := exec.Command(command, "list", "-deps", "-tags", "lambda.norpc", "./"+function).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages := strings.Fields(string(out))
		if len(packages) < 100 {
			t.Fatalf("%s has %d packages: go list was misread", function, len(packages))
		}
		for _, imported := range packages {
			for _, rule := range notInFunctions {
				if imported == rule.prefix || strings.HasPrefix(imported, strings.TrimSuffix(rule.prefix, "/")+"/") {
					t.Errorf("%s holds %s: %s", function, imported, rule.why)
				}
			}
		}
	}
}

func functions(t *testing.T) []string {
	t.Helper()
	mains, err := filepath.Glob("*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatalf("no functions, %v", err)
	}
	for i := range mains {
		mains[i] = filepath.Dir(mains[i])
	}
	return mains
}

// TestU06NothingIsCalled that the table names.
func TestU06NothingIsCalled(t *testing.T) {
	for _, f := range sources(t) {
		imported := make(map[string]string)
		for _, spec := range f.syntax.Imports {
			full, _ := strconv.Unquote(spec.Path.Value)
			name := path.Base(full)
			if strings.HasPrefix(name, "v") && strings.Trim(name[1:], "0123456789") == "" {
				name = path.Base(path.Dir(full))
			}
			if spec.Name != nil {
				name = spec.Name.Name
			}
			imported[name] = full
		}
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := selector.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, rule := range notCalled {
				if imported[pkg.Name]+"."+selector.Sel.Name == rule.name && !matches(rule.except, f.name) {
					t.Errorf("%s: %s.%s: %s", f.at(node), pkg.Name, selector.Sel.Name, rule.why)
				}
			}
			return true
		})
	}
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// TestNoState: nothing happens before main, and what two tests share cannot change.
func TestNoState(t *testing.T) {
	for _, f := range sources(t) {
		for _, declaration := range f.syntax.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: init runs before anybody can decide", f.at(d))
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					checkVariables(t, f, d)
				}
			}
		}
	}
}

// checkVariables lets errors and arrays of constants pass: there is no other way
// to write those.
func checkVariables(t *testing.T, f source, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		variable := spec.(*ast.ValueSpec)
		for i, name := range variable.Names {
			var value ast.Expr
			if i < len(variable.Values) {
				value = variable.Values[i]
			}
			if name.Name != "_" && !isErrorValue(value) && !isArray(value) {
				t.Errorf("%s: %s is state of the package", f.at(name), name.Name)
			}
		}
	}
}

func isErrorValue(value ast.Expr) bool {
	call, ok := value.(*ast.CallExpr)
	if !ok {
		return false
	}
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := selector.X.(*ast.Ident)
	return ok && pkg.Name == "errors" && selector.Sel.Name == "New"
}

func isArray(value ast.Expr) bool {
	literal, ok := value.(*ast.CompositeLit)
	if !ok {
		return false
	}
	array, ok := literal.Type.(*ast.ArrayType)
	return ok && array.Len != nil
}

// TestComments: a package says what it does.
func TestComments(t *testing.T) {
	documented := make(map[string]bool)
	for _, f := range sources(t) {
		documented[f.dir] = documented[f.dir] || f.syntax.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

// TestBudget: what doesn't fit on a screen is not read.
func TestBudget(t *testing.T) {
	var lengths []int
	for _, f := range sources(t) {
		if lines := f.set.File(f.syntax.Pos()).LineCount(); lines > 350 {
			t.Errorf("%s has %d lines, at most 350 are allowed", f.name, lines)
		}
		for _, declaration := range f.syntax.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			length := f.set.Position(function.End()).Line - f.set.Position(function.Pos()).Line + 1
			if length > 80 {
				t.Errorf("%s: %s has %d lines, at most 80 are allowed", f.at(function), function.Name.Name, length)
			}
			lengths = append(lengths, length)
		}
	}
	slices.Sort(lengths)
	if median, most := lengths[len(lengths)/2], lengths[len(lengths)*9/10]; median > 12 || most > 45 {
		t.Errorf("the median function has %d lines and nine of ten have at most %d, want 12 and 45", median, most)
	}
}

// source is a file of functions or shared that is no test.
type source struct {
	name, dir string // relative to the module
	set       *token.FileSet
	syntax    *ast.File
}

func (f source) at(node ast.Node) string {
	return f.name + ":" + strconv.Itoa(f.set.Position(node.Pos()).Line)
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, root := range []string{"functions", "shared"} {
		err := filepath.WalkDir(filepath.Join("..", root), func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && entry.Name() == "testdata" {
				return filepath.SkipDir
			}
			if entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
				return nil
			}
			set := token.NewFileSet()
			syntax, err := parser.ParseFile(set, name, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			relative := strings.TrimPrefix(filepath.ToSlash(name), "../")
			all = append(all, source{name: relative, dir: path.Dir(relative), set: set, syntax: syntax})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 40 {
		t.Fatalf("only %d files were found", len(all))
	}
	slices.SortFunc(all, func(a, b source) int { return cmp.Compare(a.name, b.name) })
	return all
}

// TestS26ProofsInConstantTime: what proves something is not compared by operators,
// whose time tells how much of it was right.
func TestS26ProofsInConstantTime(t *testing.T) {
	for _, f := range sources(t) {
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			compare, ok := node.(*ast.BinaryExpr)
			if !ok || compare.Op != token.EQL && compare.Op != token.NEQ {
				return true
			}
			for _, side := range []ast.Expr{compare.X, compare.Y} {
				if text, ok := side.(*ast.BasicLit); ok && text.Value == `""` {
					return true // whether there is one at all
				}
			}
			for _, side := range []ast.Expr{compare.X, compare.Y} {
				name := ""
				switch e := side.(type) {
				case *ast.Ident:
					name = e.Name
				case *ast.SelectorExpr:
					name = e.Sel.Name
				case *ast.CallExpr:
					if called, ok := e.Fun.(*ast.SelectorExpr); ok {
						name = called.Sel.Name
					}
				}
				if name == "envelopeProof" || name == "proof" || name == "Expose" {
					t.Errorf("%s compares %s with %s: see crypto/subtle", f.name, name, compare.Op)
				}
			}
			return true
		})
	}
}
