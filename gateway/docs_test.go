package gateway

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDocsMetrics: the snippets of docs/metrics.md are what the gateway runs.
func TestDocsMetrics(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("store_stats.go")
	if err != nil {
		t.Fatal(err)
	}
	functions := 0
	for _, part := range strings.Split(string(page), "```go\n")[1:] {
		snippet, _, _ := strings.Cut(part, "```\n")
		if !strings.Contains(snippet, "func ") {
			continue // quoted from another program: TestDocsQuotes of the root module
		}
		functions++
		if !strings.Contains(string(code), snippet) {
			t.Errorf("store_stats.go does not have\n%s", snippet)
		}
	}
	if functions != 2 {
		t.Errorf("%d functions", functions)
	}
}

// TestDocsSettings: docs/gateway.md lists every setting, as the help does. Run with
// WSTICKET_WRITE_DOCS=1 to write the table.
func TestDocsSettings(t *testing.T) {
	t.Parallel()
	const page, mark = "../docs/gateway.md", "<!-- settings -->\n"
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	table.WriteString("| setting | default | |\n|---|---|---|\n")
	defaults := Default()
	for _, o := range options {
		shown := o.value(&defaults).show()
		if shown != "" {
			shown = "`" + shown + "`"
		}
		_, about := unquote(o.about)
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", o.name, shown, about)
	}
	before, rest, ok := strings.Cut(string(content), mark)
	if !ok {
		t.Fatal("the mark is gone")
	}
	_, after, _ := strings.Cut(rest, "\n## ")
	want := before + mark + "\n" + table.String() + "\n## " + after
	if os.Getenv("WSTICKET_WRITE_DOCS") != "" {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(content) != want {
		t.Error("docs/gateway.md does not list the settings as they are; run: WSTICKET_WRITE_DOCS=1 go test -run TestDocsSettings .")
	}
}
