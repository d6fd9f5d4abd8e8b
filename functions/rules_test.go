package functions_test

import (
	"go/ast"
	"go/token"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// notCalled lists names of the standard library that product code does not use.
var notCalled = []struct{ name, except, why string }{
	{"net/http.DefaultClient", "", "it follows redirects with credentials, has no time-out and uses the environment's proxies"},
	{"net/http.DefaultTransport", "functions/*/main.go", "it is shared, and would present one client's certificate for another client"},
	{"net/http.Get", "", "it uses DefaultClient"},
	{"net/http.Head", "", "it uses DefaultClient"},
	{"net/http.Post", "", "it uses DefaultClient"},
	{"net/http.PostForm", "", "it uses DefaultClient"},
	{"os.Getenv", "functions/*/main.go", "only app reads the environment, through a function that main passes"},
	{"os.LookupEnv", "", "as os.Getenv"},
	{"os.Environ", "", "as os.Getenv"},
	{"fmt.Print", "", "a log line consists of named fields"},
	{"fmt.Printf", "", "as fmt.Print"},
	{"fmt.Println", "", "as fmt.Print"},
	{"log/slog.Any", "", "it logs whole values, which may contain a secret"},
	{"log/slog.Default", "", "it is state of a package"},
}

func TestForbiddenNamesAreNotUsed(t *testing.T) {
	for _, f := range product(t) {
		imported := importedNames(f.syntax)
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

// importedNames returns the import paths of a file by the names that the file uses for
// them.
func importedNames(file *ast.File) map[string]string {
	imported := make(map[string]string)
	for _, spec := range file.Imports {
		full := importPath(spec)
		name := path.Base(full)
		if strings.HasPrefix(name, "v") && strings.Trim(name[1:], "0123456789") == "" {
			name = path.Base(path.Dir(full))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		imported[name] = full
	}
	return imported
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// TestPackagesHaveNoState: code that runs before main cannot be configured, and tests that
// share a variable depend on each other.
func TestPackagesHaveNoState(t *testing.T) {
	for _, f := range product(t) {
		for _, declaration := range f.syntax.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s: init runs before main can decide anything", f.at(d))
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					checkVariables(t, f, d)
				}
			}
		}
	}
}

// checkVariables accepts error values and arrays: Go has no other way to declare constants
// of these types.
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

func TestPackagesHaveComments(t *testing.T) {
	documented := make(map[string]bool)
	for _, f := range product(t) {
		documented[f.dir] = documented[f.dir] || f.syntax.Doc != nil
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

// TestProofsAreComparedInConstantTime: the time that an operator takes tells how many
// bytes of a proof were right.
func TestProofsAreComparedInConstantTime(t *testing.T) {
	for _, f := range product(t) {
		ast.Inspect(f.syntax, func(node ast.Node) bool {
			compare, ok := node.(*ast.BinaryExpr)
			if !ok || compare.Op != token.EQL && compare.Op != token.NEQ {
				return true
			}
			if isEmptyString(compare.X) || isEmptyString(compare.Y) {
				return true // whether a proof was sent at all is no secret
			}
			for _, side := range []ast.Expr{compare.X, compare.Y} {
				if name := lastName(side); name == "envelopeProof" || name == "proof" || name == "Expose" {
					t.Errorf("%s compares %s with %s, want crypto/subtle", f.at(compare), name, compare.Op)
				}
			}
			return true
		})
	}
}

func isEmptyString(e ast.Expr) bool {
	text, ok := e.(*ast.BasicLit)
	return ok && text.Value == `""`
}

// lastName returns the name of a variable, a field or a called method.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.CallExpr:
		return lastName(e.Fun)
	default:
		return ""
	}
}

// TestDeferredFunctionsDoNotChangeResults: a reader of a return statement must see what is
// returned. A deferred function that recovers from a panic has no other way. Nor have the
// handlers in functions/, which translate errors and panics for Lambda in one place.
func TestDeferredFunctionsDoNotChangeResults(t *testing.T) {
	var found []violation
	for _, f := range product(t) {
		if !strings.HasPrefix(f.dir, "shared/") {
			continue
		}
		for _, declaration := range f.syntax.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Body != nil {
				for _, changed := range changedByDefer(function) {
					found = append(found, violation{deferredResults, f.at(changed) + ": a deferred function changes the result " + changed.Name})
				}
			}
		}
	}
	report(t, found)
}

// changedByDefer returns the named results of function to which a deferred function
// literal assigns a value.
func changedByDefer(function *ast.FuncDecl) []*ast.Ident {
	results := make(map[string]bool)
	if function.Type.Results != nil {
		for _, field := range function.Type.Results.List {
			for _, name := range field.Names {
				results[name.Name] = true
			}
		}
	}
	var changed []*ast.Ident
	ast.Inspect(function.Body, func(node ast.Node) bool {
		deferred, ok := node.(*ast.DeferStmt)
		if !ok {
			return true
		}
		literal, ok := deferred.Call.Fun.(*ast.FuncLit)
		if !ok || calls(literal, "recover") {
			return true
		}
		ast.Inspect(literal.Body, func(node ast.Node) bool {
			if assignment, ok := node.(*ast.AssignStmt); ok && assignment.Tok != token.DEFINE {
				for _, left := range assignment.Lhs {
					if name, ok := left.(*ast.Ident); ok && results[name.Name] {
						changed = append(changed, name)
					}
				}
			}
			return true
		})
		return true
	})
	return changed
}

func calls(node ast.Node, name string) bool {
	found := false
	ast.Inspect(node, func(node ast.Node) bool {
		if call, ok := node.(*ast.CallExpr); ok {
			called, isName := call.Fun.(*ast.Ident)
			found = found || isName && called.Name == name
		}
		return true
	})
	return found
}

// TestTopLevelIsFixed: a new file or folder at the top is one more place to look for
// things.
func TestTopLevelIsFixed(t *testing.T) {
	out, err := exec.Command("git", "-C", "..", "ls-files").Output()
	if err != nil {
		t.Skipf("no list of files from git: %v", err)
	}
	known := []string{"functions", "shared", "events", "scripts", "template.yaml", "samconfig.toml", "go.mod", "go.sum", "README.md"}
	for name := range strings.Lines(string(out)) {
		top, _, _ := strings.Cut(strings.TrimSpace(name), "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(known, top) {
			t.Errorf("got %s at the top level, want only %s and dotfiles", top, strings.Join(known, ", "))
		}
	}
}
