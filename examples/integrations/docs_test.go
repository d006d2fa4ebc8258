package integrations

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocs: docs/integrations.md shows the files as they are, and each is short.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/integrations.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || file == "doc.go" {
			continue
		}
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), "\n"); n > 60 {
			t.Errorf("%s has %d lines, more than 60", file, n)
		}
		_, code, _ := strings.Cut(string(source), "\n)\n\n") // behind the imports
		if file != "fasthttp_redeem.go" && !strings.Contains(string(page), "```go\n"+code+"```\n") {
			t.Errorf("docs/integrations.md does not show %s as it is", file)
		}
		if !strings.Contains(string(page), "(../examples/integrations/"+file+")") {
			t.Errorf("docs/integrations.md does not name %s", file)
		}
	}
}
