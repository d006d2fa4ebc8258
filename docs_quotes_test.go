package wsticket

import (
	"path/filepath"
	"strings"
	"testing"
)

// Snippets that stand on a page are taken from a program that a test runs.
func TestDocsQuotes(t *testing.T) {
	for _, c := range []struct{ page, file, begin, end string }{
		{"docs/embedding.md", "prommetrics/example_test.go", "func newGateway(", "\n}\n"},
		{"docs/embedding.md", "prommetrics/example_test.go", "func greet(", "\n}\n"},
		{"docs/embedding.md", "examples/renewal/main.go", "func renew(", "\n}\n"},
		{"docs/metrics.md", "prommetrics/example_test.go", "\tmetrics, err := prommetrics.New(", "\n\t})\n"},
	} {
		_, code, ok := strings.Cut(readDoc(t, filepath.FromSlash(c.file)), c.begin)
		code, _, found := strings.Cut(code, c.end)
		if !ok || !found {
			t.Errorf("%s has no %q", c.file, c.begin)
		} else if !strings.Contains(readDoc(t, c.page), "```go\n"+c.begin+code+c.end+"```\n") {
			t.Errorf("%s does not show %q as it is in %s", c.page, c.begin, c.file)
		}
	}
	// Nothing else compiles these.
	if n := strings.Count(readDoc(t, "docs/embedding.md"), "```go\nfunc "); n != 3 {
		t.Errorf("docs/embedding.md shows %d functions; list them here", n)
	}
}
