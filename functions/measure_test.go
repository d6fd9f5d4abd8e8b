package functions_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"math/bits"
	"path/filepath"
	"slices"
)

// graph holds the dependencies between the files of a package: uses[i] has bit j set if
// file i depends on file j. A dependency is called an arrow.
type graph struct {
	files []string
	uses  []uint64
}

// maxFiles is the number of files whose arrows fit into graph.uses.
const maxFiles = 64

// fileGraph returns the arrows of a type-checked package. File A depends on file B if A
// names a constant, variable, function, type, method or field that B declares. Files that
// declare nothing, such as doc.go, are left out.
func fileGraph(set *token.FileSet, files []*ast.File, pkg *types.Package, uses map[*ast.Ident]types.Object) graph {
	var g graph
	for _, file := range files {
		if slices.ContainsFunc(file.Decls, func(d ast.Decl) bool { g, ok := d.(*ast.GenDecl); return !ok || g.Tok != token.IMPORT }) {
			g.files = append(g.files, baseName(set, file.Pos()))
		}
	}
	if len(g.files) > maxFiles {
		panic(fmt.Sprintf("%s has more than %d files", pkg.Path(), maxFiles))
	}
	slices.Sort(g.files)
	g.uses = make([]uint64, len(g.files))
	for name, object := range uses {
		// Methods and fields have no parent scope; local names have another one.
		if object.Pkg() != pkg || object.Parent() != nil && object.Parent() != pkg.Scope() {
			continue
		}
		from, ok := slices.BinarySearch(g.files, baseName(set, name.Pos()))
		to, declared := slices.BinarySearch(g.files, baseName(set, object.Pos()))
		if ok && declared && from != to {
			g.uses[from] |= 1 << to
		}
	}
	return g
}

func baseName(set *token.FileSet, pos token.Pos) string {
	return filepath.Base(set.Position(pos).Filename)
}

func (g graph) arrows() int {
	sum := 0
	for _, used := range g.uses {
		sum += bits.OnesCount64(used)
	}
	return sum
}

// possible is the number of pairs of files: in a package without cycles, each pair can
// have one arrow.
func (g graph) possible() int { return len(g.files) * (len(g.files) - 1) / 2 }

// maxCycle is the largest number of files in one cycle for which upwards is computed: the
// work doubles with each file.
const maxCycle = 22

// upwards returns the number of arrows that run upwards in the best order of the files,
// i.e. the size of a minimum feedback arc set. Only files that depend on each other can
// have such arrows, so each strongly connected component is ordered alone. ok is false if
// a component has more than maxCycle files.
func (g graph) upwards() (n int, ok bool) {
	for _, component := range g.components() {
		if len(component) > maxCycle {
			return 0, false
		}
		n += g.upwardsIn(component)
	}
	return n, true
}

// upwardsIn orders the files of one component by dynamic programming over its subsets:
// best[s] is the smallest number of upward arrows when the files of s stand at the top. A
// file that is placed below s adds its arrows to files of s.
func (g graph) upwardsIn(component []int) int {
	uses := make([]uint32, len(component))
	for i, from := range component {
		for j, to := range component {
			if g.uses[from]&(1<<to) != 0 {
				uses[i] |= 1 << j
			}
		}
	}
	best := make([]uint16, 1<<len(component))
	for s := uint32(1); s < uint32(len(best)); s++ {
		best[s] = ^uint16(0)
		for left := s; left != 0; left &= left - 1 {
			i := bits.TrailingZeros32(left)
			above := s &^ (1 << i)
			best[s] = min(best[s], best[above]+uint16(bits.OnesCount32(uses[i]&above)))
		}
	}
	return int(best[len(best)-1])
}

// components returns the strongly connected components of g.
func (g graph) components() [][]int {
	reach := slices.Clone(g.uses)
	for k := range reach {
		for i := range reach {
			if reach[i]&(1<<k) != 0 {
				reach[i] |= reach[k]
			}
		}
	}
	var found [][]int
	var done uint64
	for i := range reach {
		if done&(1<<i) != 0 {
			continue
		}
		component := []int{i}
		for j := i + 1; j < len(reach); j++ {
			if reach[i]&(1<<j) != 0 && reach[j]&(1<<i) != 0 {
				component = append(component, j)
				done |= 1 << j
			}
		}
		found = append(found, component)
	}
	return found
}

// complexity returns the cyclomatic complexity of a function: one more than its branches.
// A function literal counts as a part of the function that contains it.
func complexity(function ast.Node) int {
	n := 1
	ast.Inspect(function, func(node ast.Node) bool {
		switch branch := node.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if branch.List != nil {
				n++
			}
		case *ast.CommClause:
			if branch.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if branch.Op == token.LAND || branch.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}

// named is a figure of a type or a function.
type named struct {
	name string
	n    int
}

func (f named) String() string {
	if f.n == 0 {
		return ""
	}
	return fmt.Sprintf("%d (%s)", f.n, f.name)
}

// largest returns the largest figure, or the zero value if there is none.
func largest(all []named) named {
	if len(all) == 0 {
		return named{}
	}
	return slices.MaxFunc(all, func(a, b named) int { return cmp.Compare(a.n, b.n) })
}

// methods returns the number of methods of each type that has methods in files.
func methods(files []*ast.File) []named {
	count := make(map[string]int)
	for _, file := range files {
		for _, declaration := range file.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Recv != nil {
				count[receiver(function)]++
			}
		}
	}
	var all []named
	for name, n := range count {
		all = append(all, named{name, n})
	}
	slices.SortFunc(all, func(a, b named) int { return cmp.Compare(a.name, b.name) })
	return all
}

// receiver returns the name of the type that a method belongs to.
func receiver(method *ast.FuncDecl) string {
	for e := method.Recv.List[0].Type; ; {
		switch t := e.(type) {
		case *ast.StarExpr:
			e = t.X
		case *ast.IndexExpr:
			e = t.X
		case *ast.IndexListExpr:
			e = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}
