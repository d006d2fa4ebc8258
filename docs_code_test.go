package wsticket

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The steps of docs/upgrading.md stand in the code where they are taken, under the same
// names, so that page and code can be walked side by side.
func TestStepsAreNamed(t *testing.T) {
	_, section, _ := strings.Cut(readDoc(t, "docs/upgrading.md"), "\n## What is checked, in order\n")
	row := regexp.MustCompile(`(?m)^\| (\d+) \| \*\*([^*]+)\*\*.*\| ([^|]+) \|$`)
	names := map[string]string{}
	taken := map[string]string{} // who takes a step
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		names[m[1]], taken[m[1]] = m[2], strings.Trim(m[3], "`")
	}
	if len(names) != 13 {
		t.Fatalf("the table has %d steps with a name, want 13", len(names))
	}
	step := regexp.MustCompile(`[Ss]tep (\d+): ([A-Za-z ]+)`)
	for way, file := range map[string]string{"Upgrader": "upgrade.go", "Gate": "gate.go", "Hooks": "hooks.go"} {
		found := map[string]bool{}
		for _, name := range []string{file, "policy.go"} {
			for _, m := range step.FindAllStringSubmatch(readDoc(t, name), -1) {
				want := names[m[1]]
				if strings.TrimSpace(m[2]) != want {
					t.Errorf("%s: step %s is %q, and %q on the page", name, m[1], m[2], want)
				}
				found[m[1]] = true
			}
		}
		for n, by := range taken {
			if want := by == "all" || by == way; found[n] != want {
				t.Errorf("%s: step %s: %s is named there: %v; the page says that it is taken by %s", file, n, names[n], found[n], by)
			}
		}
	}
}

// The same of the checks of docs/ticket-format.md. Those of a gateway are its steps.
func TestChecksAreNamed(t *testing.T) {
	_, section, _ := strings.Cut(readDoc(t, "docs/ticket-format.md"), "\n## Checking a ticket\n")
	code := readDoc(t, "verifier.go") + readDoc(t, "header.go")
	code = strings.ReplaceAll(code, "\n\t// ", " ")
	checks := 0
	for _, m := range regexp.MustCompile(`(?m)^\| (\d) \| ([^:,;|]+)`).FindAllStringSubmatch(section, -1) {
		if m[1] == "0" || m[1] == "8" {
			continue
		}
		checks++
		if want := "Check " + m[1] + ": " + strings.TrimSpace(strings.ReplaceAll(m[2], "`", "")); !strings.Contains(code, want) {
			t.Errorf("%q stands neither in verifier.go nor in header.go", want)
		}
	}
	if checks != 8 {
		t.Errorf("the table has %d checks, want 8 of a Verifier", checks)
	}
}

// A doc comment that cites an RFC links to it.
func TestDocCommentsLinkRFCs(t *testing.T) {
	link := regexp.MustCompile(`(?m)^\[RFC .*\]: .*$`)
	cited := regexp.MustCompile(`\[?RFC (\d+)(?: section ([\d.]*\d))?\]?`)
	read := 0
	files, err := filepath.Glob("*.go")
	inner, err2 := filepath.Glob("internal/*/*.go")
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	for _, path := range append(files, inner...) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range docComments(file) {
			text := strings.ReplaceAll(link.ReplaceAllString(doc, ""), "\n", " ")
			for _, m := range cited.FindAllStringSubmatch(text, -1) {
				read++
				url := "]: https://www.rfc-editor.org/rfc/rfc" + m[1]
				if m[2] != "" {
					url += "#section-" + m[2]
				}
				if !strings.HasPrefix(m[0], "[") || !strings.Contains(doc+"\n", strings.Trim(m[0], "[]")+url) {
					t.Errorf("%s: a doc comment cites %s; write it in brackets and add the line %q", path, m[0], "["+strings.Trim(m[0], "[]")+url)
				}
			}
		}
	}
	if read < 40 {
		t.Errorf("only %d citations were found; does this test still read the code?", read)
	}
}

// docComments are the texts of a file's doc comments: of the package, of what it
// declares at its top level and of fields.
func docComments(file *ast.File) []string {
	texts := map[string]bool{}
	add := func(groups ...*ast.CommentGroup) {
		for _, g := range groups {
			if g != nil {
				texts[g.Text()] = true
			}
		}
	}
	add(file.Doc)
	for _, decl := range file.Decls {
		ast.Inspect(decl, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				add(n.Doc)
				return false
			case *ast.GenDecl:
				add(n.Doc)
			case *ast.ValueSpec:
				add(n.Doc)
			case *ast.TypeSpec:
				add(n.Doc)
			case *ast.Field:
				add(n.Doc)
			}
			return true
		})
	}
	return slices.Sorted(maps.Keys(texts))
}
