package jwkset

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
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

// TestReadFileThatChanges: while somebody writes, ReadFile gives a whole file of one
// moment or says that it cannot, and never one that went on growing while it was read.
func TestReadFileThatChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	seen := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-seen:
				return
			default:
				if info, err := file.Stat(); err == nil && info.Size() > MaxBytes/2 {
					file.Truncate(1)
				}
				file.Write([]byte("x"))
			}
		}
	})
	defer writer.Wait()
	defer close(seen)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if _, err := ReadFile(path); err != nil {
			if !strings.Contains(err.Error(), "changes while it is read") {
				t.Error(err)
			}
			return
		}
	}
	t.Error("a file that is written to without a pause is read every time")
}
