package client

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
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
