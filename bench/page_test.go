package bench

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var updatePages = flag.Bool("update-pages", false, "write docs/benchmarks and the tables of README.md from docs/benchmarks/report.json")

// The pages and charts say what docs/benchmarks/report.json holds, which is what a run of
// wsticket-bench -out docs/benchmarks wrote.
func TestPages(t *testing.T) {
	const folder, readme = "../docs/benchmarks", "../README.md"
	r, err := Read(filepath.Join(folder, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Machine.Quick || len(r.Sections) != len(sections) {
		t.Error("docs/benchmarks/report.json is not of a whole run")
	}
	page, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	const open, end = "<!-- benchmarks: from docs/benchmarks/report.json -->\n", "<!-- end -->\n"
	before, rest, ok := strings.Cut(string(page), open)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("README.md has no place for the tables")
	}
	want := map[string]string{
		filepath.Join(folder, "report.md"): r.Markdown(),
		readme:                             before + open + r.Summary() + end + after,
	}
	for i := range r.Sections {
		want[filepath.Join(folder, r.Sections[i].ID+".svg")] = r.Sections[i].chart()
	}
	for path, text := range want {
		if *updatePages {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s is not what report.json says (%v): run go test ./bench -run TestPages -update-pages", path, err)
		}
	}
}
