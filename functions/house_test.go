// Package functions_test checks the rules of this repository: which package may import
// which, what product code must not use, and how large and how entangled code may be.
// A rule that turns out to be wrong is changed here, together with its reason.
package functions_test

import (
	"go/ast"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "tokenvendor/"

// importRule lists the packages of this module that a package may import.
type importRule struct {
	from string
	may  []string
	why  string
}

// mayImport has a row for every package of functions/ and shared/. The rows together allow
// no cycle, so an import can only point downwards.
var mayImport = []importRule{
	{"functions/token", []string{"shared/app", "shared/audit", "shared/fault", "shared/invocation", "shared/oauth", "shared/registry", "shared/strictjson", "shared/token"},
		"a function turns events into requests; app passes it AWS and the environment"},
	{"functions/batch", []string{"shared/app", "shared/app/jobs", "shared/audit", "shared/fault", "shared/fleet", "shared/invocation", "shared/metrics", "shared/oauth", "shared/policy", "shared/radar", "shared/registry", "shared/secret",
		"shared/strictjson", "shared/token"}, "as functions/token; fleet keeps the row that prevents doing an order twice"},
	{"shared/invocation", []string{"shared/audit", "shared/fault", "shared/oauth", "shared/strictjson", "shared/token"},
		"it holds what all functions have in common"},
	{"shared/app", []string{"shared/audit", "shared/awsapi", "shared/fleet", "shared/metrics", "shared/nowait", "shared/oauth", "shared/reading", "shared/registry", "shared/secret", "shared/token"},
		"app wires everything, so it may import everything but the functions"},
	{"shared/app/jobs", []string{"shared/app", "shared/awsapi", "shared/awsapi/messaging"},
		"the AWS clients that only one function needs are wired apart, so that the other function does not contain them"},
	{"shared/awsapi/messaging", []string{"shared/awsapi"}, "as awsapi"},
	{"shared/token", []string{"shared/ask", "shared/audit", "shared/cache", "shared/fault", "shared/fleet", "shared/oauth", "shared/policy", "shared/registry",
		"shared/secret", "shared/strictjson", "shared/tokensource"},
		"the core knows neither AWS nor events, so that every event source has the same rules"},
	{"shared/token/tokentest", []string{"shared/audit", "shared/fault", "shared/fleet", "shared/fleet/fleettest", "shared/oauth", "shared/oauth/oauthtest",
		"shared/reading", "shared/registry", "shared/secret", "shared/token", "shared/tokensource"}, "the kit wires the core for its tests, as app does for the functions"},
	{"shared/tokensource", []string{"shared/ask", "shared/cache", "shared/fault", "shared/fleet", "shared/oauth", "shared/registry"},
		"a token is fetched and shared without knowing who asks for it"},
	{"shared/fault", []string{"shared/cache", "shared/oauth"}, "an error document depends on no package that returns one"},
	{"shared/awsapi", []string{"shared/fleet", "shared/nowait", "shared/oauth", "shared/registry", "shared/secret"},
		"awsapi implements interfaces that their users declare; only app imports it"},
	{"shared/registry", []string{"shared/ask", "shared/keypair", "shared/oauth", "shared/secret", "shared/strictjson"},
		"registry turns a document into an OAuth client and does nothing else"},
	{"shared/keypair", []string{"shared/nowait", "shared/strictjson"}, "keys and certificates are read without knowing where they come from"},
	{"shared/keypair/keypairtest", nil, "a test kit depends on the standard library only"},
	{"shared/oauth", []string{"shared/ask", "shared/nowait", "shared/strictjson"},
		"an exchange does not depend on documents and caches"},
	{"shared/oauth/oauthtest", nil, "a server that checks oauth must not share its code"},
	{"shared/fleet", []string{"shared/cache"}, "the table holds sealed rows; fleet does not know what they contain"},
	{"shared/reading", []string{"shared/fleet", "shared/secret"}, "who uses a secret does not know which environment read it"},
	{"shared/fleet/fleettest", []string{"shared/fleet"}, "a test table depends on the interface of a table only"},
	{"shared/policy", []string{"shared/policy/index", "shared/strictjson"}, "a decision depends only on the document and the request"},
	{"shared/policy/index", nil, "patterns are found without knowing what they stand for"},
	{"shared/client", []string{"shared/ask", "shared/cache"}, "the kit runs in the programs of callers, which have nothing else of the vendor"},
	{"shared/radar", nil, "what operators are told depends on plain values only"},
	{"shared/ask", nil, "all packages carry an Ask, so its package is at the bottom"},
	{"shared/ask/asktest", []string{"shared/ask"}, "a test kit depends on its package only"},
	{"shared/secret", nil, "every reader of a secret needs it, so it is at the bottom"},
	{"shared/audit", []string{"shared/ask"}, "a line consists of plain values"},
	{"shared/metrics", []string{"shared/strictjson"}, "packages report metrics through functions, so that none depends on metrics"},
	{"shared/nowait", nil, "it replaces system calls of the standard library, and is the only package with unsafe"},
	{"shared/cache", nil, "the cache is generic"},
	{"shared/strictjson", nil, "every parser of JSON uses it, so it is at the bottom"},
}

// modules lists the other modules and the directories that may import them.
var modules = []struct {
	prefix string
	may    []string
	why    string
}{
	{"github.com/aws/aws-lambda-go/", []string{"functions/", "shared/invocation"}, "only the functions depend on Lambda"},
	{"github.com/aws/aws-sdk-go-v2/", []string{"shared/awsapi", "shared/app", "shared/client"}, "AWS's errors contain ARNs and account ids, which one package removes"},
	{"github.com/aws/smithy-go", []string{"shared/awsapi"}, "as the SDK"},
	{"software.sslmate.com/src/go-pkcs12", []string{"shared/keypair"}, "only keypair reads PKCS#12"},
	{"golang.org/x/oauth2", []string{"shared/client"}, "the functions do their own exchange"},
	{"github.com/go-jose/go-jose/v4", []string{"shared/oauth/oauthtest"}, "a second implementation checks our assertions; the functions need none"},
}

// notInFunctions lists the packages that no compiled function may contain.
var notInFunctions = []struct{ prefix, why string }{
	{"text/template", "keeps the linker from dropping unused methods; the build tag lambda.norpc keeps it out"},
	{"html/template", "as text/template"},
	{"net/rpc", "comes with text/template; lambda.norpc keeps it out"},
	{"github.com/go-jose/", "is for tests and the local authorization server only"},
	{"golang.org/x/oauth2", "is for callers, and for comparison"},
	{"tokenvendor/shared/client", "is for callers"},
	{"tokenvendor/scripts/", "is for a developer's machine and must not run in AWS"},
	{"tokenvendor/shared/oauth/oauthtest", "is a server that gives a token to every caller"},
	{"tokenvendor/shared/fleet/fleettest", "is a table and a key that protect nothing"},
	{"tokenvendor/shared/ask/asktest", "is test code"},
	{"tokenvendor/shared/token/tokentest", "wires the core with a server that gives a token to every caller"},
	{"tokenvendor/shared/keypair/keypairtest", "is test code"},
	{"net/http/httptest", "adds a flag and a server"},
	{"testing", "is test code"},
	{"plugin", "a function loads no code"},
}

func TestImports(t *testing.T) {
	for _, f := range product(t) {
		for _, spec := range f.syntax.Imports {
			imported := importPath(spec)
			switch {
			case strings.HasPrefix(imported, module):
				checkOwnImport(t, f, strings.TrimPrefix(imported, module))
			case strings.Contains(strings.Split(imported, "/")[0], "."):
				checkModule(t, f, imported)
			case imported == "unsafe" && f.dir != "shared/nowait" || imported == "math/rand" || imported == "log" && f.dir != "shared/oauth/oauthtest":
				t.Errorf("%s imports %s: use log/slog and math/rand/v2, and unsafe in nowait only", f.name, imported)
			}
		}
	}
}

func importPath(spec *ast.ImportSpec) string {
	unquoted, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic("the parser accepted the import " + spec.Path.Value)
	}
	return unquoted
}

func checkOwnImport(t *testing.T, f source, imported string) {
	t.Helper()
	for _, rule := range mayImport {
		if rule.from == f.dir && !slices.Contains(rule.may, imported) {
			t.Errorf("%s imports %s, which is not in the table of imports: %s", f.name, imported, rule.why)
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
	t.Errorf("%s imports %s: a new module needs a row in modules, with a reason", f.name, imported)
}

// TestImportTableAllowsNoCycle: the compiler refuses a cycle of imports only once it
// exists; the table must not permit one either.
func TestImportTableAllowsNoCycle(t *testing.T) {
	rows := make(map[string][]string)
	for _, rule := range mayImport {
		if _, ok := rows[rule.from]; ok {
			t.Errorf("%s has two rows in the table of imports", rule.from)
		}
		rows[rule.from] = rule.may
	}
	var descend func(dir string, above []string)
	descend = func(dir string, above []string) {
		if slices.Contains(above, dir) {
			t.Fatalf("the table of imports allows the cycle %s", strings.Join(append(above, dir), " -> "))
		}
		for _, below := range rows[dir] {
			descend(below, append(slices.Clone(above), dir))
		}
	}
	for _, rule := range mayImport {
		descend(rule.from, nil)
	}
}

func TestEveryPackageHasAnImportRule(t *testing.T) {
	for _, f := range product(t) {
		if !slices.ContainsFunc(mayImport, func(rule importRule) bool { return rule.from == f.dir }) {
			t.Errorf("%s: its package is not in the table of imports", f.name)
		}
	}
}

func TestPackageNamesAreNounsOfTheDomain(t *testing.T) {
	for _, f := range product(t) {
		switch path.Base(f.dir) {
		case "util", "utils", "common", "types", "handlers", "helpers", "models", "vendor", "misc", "internal":
			t.Errorf("%s: got package name %s, want a noun of the domain", f.dir, path.Base(f.dir))
		}
	}
}

// TestCompiledFunctions checks the packages that a function contains, whichever import
// brings them in.
func TestCompiledFunctions(t *testing.T) {
	command, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command")
	}
	mains, err := filepath.Glob("*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatalf("found no functions, error %v", err)
	}
	for _, main := range mains {
		function := filepath.Dir(main)
		out, err := exec.Command(command, "list", "-buildvcs=false", "-deps", "-tags", "lambda.norpc", "./"+function).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages := strings.Fields(string(out))
		if len(packages) < 100 {
			t.Fatalf("go list printed %d packages for %s, want at least 100", len(packages), function)
		}
		for _, imported := range packages {
			for _, rule := range notInFunctions {
				if imported == rule.prefix || strings.HasPrefix(imported, strings.TrimSuffix(rule.prefix, "/")+"/") {
					t.Errorf("%s contains %s: %s %s", function, imported, rule.prefix, rule.why)
				}
			}
		}
	}
}
