package functions_test

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// notTerms lists words that are not used in identifiers, and the terms of the field that
// replace them.
var notTerms = map[string]string{
	"approach": "admission, reserve",
	"forgive":  "reset",
	"ground":   "env, harness",
	"hardship": "faults",
	"held":     "cachedToken",
	"look":     "assert, find",
	"museum":   "regression",
	"pace":     "rateLimiter",
	"place":    "location, slot",
	"rehearse": "dryRun",
	"rest":     "backoff, retryAfter",
	"rig":      "env, harness",
	"settle":   "finish, release",
	"standing": "throttle state",
	"turn":     "lockout, lease",
	"twin":     "copy, double",
	"upset":    "inject",
	"visit":    "session",
	"wish":     "request, ask",
	"world":    "env, harness",
}

// everyday lists words of notTerms that a local variable may use in their common meaning,
// such as rest for what remains of a text.
var everyday = []string{"held", "look", "place", "rest"}

func TestIdentifiersUseTermsOfTheField(t *testing.T) {
	var found []violation
	for _, f := range everything(t) {
		names := append(declared(f.syntax), declaration{strings.TrimSuffix(path.Base(f.name), ".go"), false, f.syntax})
		for _, name := range names {
			if word := notTerm(name); word != "" {
				found = append(found, violation{terms, f.at(name.node) + ": got " + name.text + ", want a term of the field: " + notTerms[word]})
			}
		}
	}
	report(t, found)
}

// declaration is a name that a file declares.
type declaration struct {
	text  string
	local bool // declared within a function
	node  ast.Node
}

// notTerm returns the first word of the name that is in notTerms, or "".
func notTerm(d declaration) string {
	for _, word := range words(d.text) {
		if _, ok := notTerms[word]; ok && !(d.local && slices.Contains(everyday, word)) {
			return word
		}
	}
	return ""
}

// declared returns the names that file declares.
func declared(file *ast.File) []declaration {
	var names []declaration
	body := 0 // the end of the last function body that was entered
	add := func(list ...*ast.Ident) {
		for _, name := range list {
			names = append(names, declaration{name.Name, int(name.Pos()) < body, name})
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.FuncDecl:
			add(n.Name)
			if n.Body != nil {
				// Receivers, parameters and results are local too.
				body = int(n.Body.End())
			}
		case *ast.TypeSpec:
			add(n.Name)
		case *ast.ValueSpec:
			add(n.Names...)
		case *ast.Field:
			add(n.Names...)
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				add(identifiers(n.Lhs)...)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				add(identifiers([]ast.Expr{n.Key, n.Value})...)
			}
		}
		return true
	})
	return names
}

func identifiers(list []ast.Expr) []*ast.Ident {
	var names []*ast.Ident
	for _, e := range list {
		if name, ok := e.(*ast.Ident); ok {
			names = append(names, name)
		}
	}
	return names
}

// words returns the words of an identifier in lower case: an upper-case letter begins a
// word. An abbreviation such as REST is left out, because it is not the word.
func words(identifier string) []string {
	var found []string
	letters := []rune(identifier)
	for begin := 0; begin < len(letters); {
		end := begin + 1
		for end < len(letters) && unicode.IsUpper(letters[end]) && unicode.IsUpper(letters[begin]) {
			end++
		}
		if end-begin > 1 && end < len(letters) && unicode.IsLower(letters[end]) {
			end-- // the last capital begins the next word
		}
		if end-begin > 1 || !unicode.IsLetter(letters[begin]) {
			begin = end
			continue
		}
		for end < len(letters) && unicode.IsLower(letters[end]) {
			end++
		}
		found = append(found, strings.ToLower(string(letters[begin:end])))
		begin = end
	}
	return found
}

// numbered matches names of tests that refer to a number in a list: TestS26 and TestR74Out.
var numbered = regexp.MustCompile(`^(?:Test|Fuzz|Benchmark|Example)(?:[A-Z]|Museum)\d{2,}(?:[A-Z_]|$)`)

func TestTestsAreNamedAfterWhatTheyProve(t *testing.T) {
	var found []violation
	for _, f := range everything(t) {
		for _, d := range f.syntax.Decls {
			if function, ok := d.(*ast.FuncDecl); ok && f.test && function.Recv == nil && isNumbered(function.Name.Name) {
				found = append(found, violation{testNames, f.at(function) + ": got " + function.Name.Name + ", want the name of what it proves"})
			}
		}
	}
	report(t, found)
}

func isNumbered(name string) bool {
	return numbered.MatchString(name) && !strings.Contains(name, "X509") && !strings.Contains(name, "S256")
}
