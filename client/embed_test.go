package client

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestHandler serves the file that npm delivers, byte for byte, and nothing twice.
func TestHandler(t *testing.T) {
	file, err := os.ReadFile("index.js")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Handler())
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	if body := read(t, response); body != string(file) || Script != body {
		t.Errorf("the handler serves %d bytes that are not those of index.js", len(body))
	}
	for name, want := range map[string]string{"Content-Type": "text/javascript; charset=utf-8", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	tag := response.Header.Get("ETag")
	if !regexp.MustCompile(`^"[\w-]{16}"$`).MatchString(tag) {
		t.Errorf("ETag %q", tag)
	}
	again, err := http.NewRequest("GET", server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	again.Header.Set("If-None-Match", tag)
	if response, err = http.DefaultClient.Do(again); err != nil || response.StatusCode != http.StatusNotModified {
		t.Errorf("a cache that has it gets %v, %v", response, err)
	}
	read(t, response)
}

func read(t *testing.T, response *http.Response) string {
	t.Helper()
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestPackage compares what is said in two places.
func TestPackage(t *testing.T) {
	var npm, jsr struct {
		Name, Version string
		Type          string
		Exports       json.RawMessage
		SideEffects   *bool
		Dependencies  map[string]string
		PublishConfig struct{ Access string }
	}
	for path, into := range map[string]any{"package.json": &npm, "jsr.json": &jsr} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	if npm.Name != jsr.Name || npm.Version != jsr.Version {
		t.Errorf("npm: %s %s, jsr: %s %s", npm.Name, npm.Version, jsr.Name, jsr.Version)
	}
	if npm.Type != "module" || npm.SideEffects == nil || *npm.SideEffects || len(npm.Dependencies) > 0 {
		t.Errorf("package.json: type %q, sideEffects %v, dependencies %v", npm.Type, npm.SideEffects, npm.Dependencies)
	}
	// npm takes a name with a scope for a private package, unless it is told.
	if npm.PublishConfig.Access != "public" {
		t.Errorf("package.json: publishConfig.access is %q, and npm publish would be refused", npm.PublishConfig.Access)
	}
	// The first condition that fits is taken, so types must stand before default.
	if strings.Count(string(npm.Exports), `"types"`) != 2 || regexp.MustCompile(`"default"[^}]*"types"`).Match(npm.Exports) {
		t.Errorf("exports: %s", npm.Exports)
	}
	changes, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(changes), "## ["+npm.Version+"]") && !strings.Contains(string(changes), "## [Unreleased]") {
		t.Errorf("CHANGELOG.md has no %s", npm.Version)
	}
	licence, err := os.ReadFile("LICENSE")
	if err != nil {
		t.Fatal(err)
	}
	if root, err := os.ReadFile("../LICENSE"); err != nil || string(root) != string(licence) {
		t.Errorf("the licence is not that of the module: %v", err)
	}
}

// TestOneSource: whoever shows a page uses this file, and nobody has a copy that could
// grow old. What the demo serves is a test beside it.
func TestOneSource(t *testing.T) {
	uses := map[string]*regexp.Regexp{
		"cmd/wsticket/demo.html":      regexp.MustCompile(`import \{ connect \} from "\./wsticket\.js"`),
		"cmd/wsticket/demo_server.go": regexp.MustCompile(`"GET /wsticket\.js", client\.Handler\(\)`),
		"examples/renewal/page.html":  regexp.MustCompile(`import \{ connect \} from "/wsticket\.js"`),
		"examples/renewal/main.go":    regexp.MustCompile(`"GET /wsticket\.js", client\.Handler\(\)`),
		"examples/page/index.html":    regexp.MustCompile(`import \{ connect \} from "/client\.js"`),
		"examples/node/server.mjs":    regexp.MustCompile(`read\("\.\./\.\./client/index\.js"\)`),
		"examples/php/index.php":      regexp.MustCompile(`readfile\(__DIR__ \. '/\.\./\.\./client/index\.js'\)`),
		"examples/django/app.py":      regexp.MustCompile(`"\.\./\.\./client/index\.js"`),
		"examples/ruby/config.ru":     regexp.MustCompile(`"\.\./\.\./client/index\.js"`),
	}
	for path, pattern := range uses {
		text, err := os.ReadFile("../" + path)
		if err != nil {
			t.Error(err)
		} else if !pattern.Match(text) {
			t.Errorf("%s does not use client/index.js: it has no %s", path, pattern)
		}
	}
	pages := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); name == "node_modules" || name == "testdata" || name == ".git" || path == "../client" {
				return fs.SkipDir
			}
			return nil
		}
		switch filepath.Ext(path) {
		case ".html", ".js", ".mjs", ".ts", ".tsx":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if regexp.MustCompile(`function connect\b|connect = (async )?\(`).Match(text) {
			t.Errorf("%s has a client of its own", path)
		}
		if filepath.Ext(path) == ".html" && strings.Contains(string(text), "connect(") {
			pages++
			if uses[filepath.ToSlash(strings.TrimPrefix(path, "../"))] == nil {
				t.Errorf("%s connects, and this test does not know it", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if pages < 3 {
		t.Errorf("%d pages were found, want 3 or more", pages)
	}
}
