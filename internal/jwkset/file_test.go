package jwkset

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if text, err := ReadFile(write("keys.json", "some text")); err != nil || string(text) != "some text" {
		t.Errorf("%q, %v", text, err)
	}
	// One byte more than may be is enough for Parse to see that it is too long.
	if text, err := ReadFile(write("long.json", strings.Repeat(" ", 2*MaxBytes))); err != nil || len(text) != MaxBytes+1 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	for path, want := range map[string]string{
		write("empty.json", ""):            "is empty",
		dir:                                "is a directory",
		filepath.Join(dir, "missing.json"): "missing.json",
	} {
		if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if info, err := os.Stat(os.DevNull); err == nil && !info.Mode().IsRegular() {
		if _, err := ReadFile(os.DevNull); err == nil {
			t.Error("a device is read")
		}
	}
}
