package mutants

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// testFiles knows which test files of a package a test needs: a package of which only
// those are built is built in half the time.
type testFiles struct {
	declared map[string][]string        // files by the name of what they declare, and of the type whose methods
	used     map[string]map[string]bool // names by the file that mentions them
}

// always are the names that go test calls by itself.
var always = []string{"TestMain", "init"}

// needed are the files that declare the names, and what those files mention, and so
// on. A name is taken for every thing of that name, so there may be a file too many.
func (f testFiles) needed(names []string) map[string]bool {
	files := map[string]bool{}
	wanted := append(append([]string(nil), always...), names...)
	for len(wanted) > 0 {
		last := len(wanted) - 1
		name := wanted[last]
		wanted = wanted[:last]
		for _, file := range f.declared[name] {
			if !files[file] {
				files[file] = true
				for other := range maps.Keys(f.used[file]) {
					wanted = append(wanted, other)
				}
			}
		}
	}
	return files
}

var (
	knownTests   = map[string]testFiles{}
	knownTestsMu sync.Mutex
)

// testsOf reads the test files of a package, once.
func testsOf(t *testing.T, dir string) testFiles {
	t.Helper()
	knownTestsMu.Lock()
	defer knownTestsMu.Unlock()
	if f, ok := knownTests[dir]; ok {
		return f
	}
	paths, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	f := testFiles{map[string][]string{}, map[string]map[string]bool{}}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.read(filepath.Base(path), file)
	}
	knownTests[dir] = f
	return f
}

func (f testFiles) read(name string, file *ast.File) {
	declare := func(what string) { f.declared[what] = append(f.declared[what], name) }
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil {
				declare(receiver(d.Recv.List[0].Type))
			} else {
				declare(d.Name.Name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					declare(spec.Name.Name)
				case *ast.ValueSpec:
					for _, id := range spec.Names {
						declare(id.Name)
					}
				}
			}
		}
	}
	f.used[name] = map[string]bool{}
	for _, id := range file.Unresolved { // neither of the file nor of another package
		f.used[name][id.Name] = true
	}
}

// receiver is the name of a type such as *T or *T[K].
func receiver(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

func TestNeeded(t *testing.T) {
	read := func(f testFiles, name, text string) {
		file, err := parser.ParseFile(token.NewFileSet(), name, "package p\n"+text, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.read(name, file)
	}
	f := testFiles{map[string][]string{}, map[string]map[string]bool{}}
	read(f, "a", "func TestA(*testing.T) { help(); var x kind[int]; _ = x }")
	read(f, "b", "func help() { _ = limit }\nfunc TestB(*testing.T) {}")
	read(f, "c", "const (\nlimit = 1\nother = 2\n)")
	read(f, "d", "type kind[T any] struct{}")
	read(f, "e", "func (*kind[T]) method() { deep() }")
	read(f, "f", "var unused, deep = 1, func() {}")
	read(f, "g", "func TestG(*testing.T) { help() }")
	read(f, "h", "func TestMain(*testing.M) {}")
	for test, want := range map[string]string{"TestA": "abcdefh", "TestB": "bch", "TestG": "bcgh", "TestX": "h"} {
		got := f.needed([]string{test})
		for _, name := range strings.Split("abcdefgh", "") {
			if got[name] != strings.Contains(want, name) {
				t.Errorf("%s: needs %v, want %s", test, got, want)
			}
		}
	}
}
