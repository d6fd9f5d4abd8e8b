package functions_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// checked is a type-checked package without its tests.
type checked struct {
	dir   string // relative to the module's root
	set   *token.FileSet
	files []*ast.File
	pkg   *types.Package
	uses  map[*ast.Ident]types.Object
}

// listed is what go list prints about a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	DepOnly                 bool
}

// typeChecked returns the packages of functions/ and shared/. The types of imported
// packages come from the build cache. It skips the test if there is no go command.
func typeChecked(t *testing.T) []checked {
	t.Helper()
	command, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command")
	}
	list := exec.Command(command, "list", "-buildvcs=false", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,DepOnly", "./functions/...", "./shared/...")
	list.Dir = ".."
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	set := token.NewFileSet()
	exports := make(map[string]string)
	imports := importer.ForCompiler(set, "gc", func(name string) (io.ReadCloser, error) { return os.Open(exports[name]) })
	var packages []checked
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		// Dependencies come first.
		exports[p.ImportPath] = p.Export
		if p.DepOnly || len(p.GoFiles) == 0 {
			continue
		}
		var files []*ast.File
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, file)
		}
		packages = append(packages, check(t, set, p.ImportPath, files, imports))
	}
	if len(packages) < 15 {
		t.Fatalf("go list printed %d packages, want at least 15", len(packages))
	}
	return packages
}

func check(t *testing.T, set *token.FileSet, importPath string, files []*ast.File, imports types.Importer) checked {
	t.Helper()
	info := types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: imports}
	pkg, err := config.Check(importPath, set, files, &info)
	if err != nil {
		t.Fatal(err)
	}
	return checked{strings.TrimPrefix(importPath, module), set, files, pkg, info.Uses}
}
