package functions_test

import (
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// source is a parsed Go file of functions/, shared/ or scripts/.
type source struct {
	name, dir string // relative to the module's root, with slashes
	test      bool
	set       *token.FileSet
	syntax    *ast.File
}

// at returns the file and the line of node.
func (f source) at(node ast.Node) string {
	return f.name + ":" + strconv.Itoa(f.set.Position(node.Pos()).Line)
}

// lines returns the number of lines from the first to the last of node.
func (f source) lines(node ast.Node) int {
	return f.set.Position(node.End()).Line - f.set.Position(node.Pos()).Line + 1
}

// scripts reports whether f belongs to the scripts.
func (f source) scripts() bool { return strings.HasPrefix(f.name, "scripts/") }

// product returns the files of functions/ and shared/ that are not tests.
func product(t *testing.T) []source {
	t.Helper()
	return slices.DeleteFunc(everything(t), func(f source) bool { return f.test || f.scripts() })
}

// everything returns the Go files of functions/, shared/ and scripts/, tests included,
// sorted by name. The caller may change the slice.
func everything(t *testing.T) []source {
	t.Helper()
	all, err := parsedOnce()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 200 {
		t.Fatalf("found %d Go files, want at least 200", len(all))
	}
	return slices.Clone(all)
}

var parsedOnce = sync.OnceValues(func() ([]source, error) {
	var all []source
	for _, root := range []string{"functions", "shared", "scripts"} {
		err := filepath.WalkDir(filepath.Join("..", root), func(name string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "node_modules") {
				return filepath.SkipDir
			}
			if entry.IsDir() || !strings.HasSuffix(name, ".go") {
				return nil
			}
			set := token.NewFileSet()
			syntax, err := parser.ParseFile(set, name, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			relative := strings.TrimPrefix(filepath.ToSlash(name), "../")
			all = append(all, source{relative, path.Dir(relative), strings.HasSuffix(relative, "_test.go"), set, syntax})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b source) int { return cmp.Compare(a.name, b.name) })
	return all, nil
})
