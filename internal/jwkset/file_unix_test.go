//go:build unix

package jwkset

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pipeFile makes a named pipe, or skips.
func pipeFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skipf("no named pipes here: %v", err)
	}
	return path
}

// TestPipeIsRefusedAtOnce: a node that is given a pipe for its keyring must not
// hang in the open until somebody writes to it.
func TestPipeIsRefusedAtOnce(t *testing.T) {
	path := pipeFile(t)
	answer := make(chan error, 1)
	go func() {
		_, err := ReadFile(path)
		answer <- err
	}()
	select {
	case err := <-answer:
		if err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("ReadFile waits for the other end of the pipe")
		// Let it go, so that the test ends.
		if file, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			file.Close()
		}
		<-answer
	}
}

func TestReadAnyReadsPipes(t *testing.T) {
	for _, text := range []string{"some text", "", strings.Repeat(" ", MaxBytes+5)} {
		path := pipeFile(t)
		go func() {
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer file.Close()
			file.WriteString(text) // fails when the reader has had enough
		}()
		got, err := ReadAny(path)
		switch {
		case text == "" && (err == nil || !strings.Contains(err.Error(), "is empty")):
			t.Errorf("nothing: %v", err)
		case text != "" && (err != nil || string(got) != text[:min(len(text), MaxBytes+1)]):
			t.Errorf("%d bytes: got %d, %v", len(text), len(got), err)
		}
	}
}
