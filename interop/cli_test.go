package interop

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestCommandLine runs testdata/script against a wsticket that was built from
// this tree.
func TestCommandLine(t *testing.T) {
	bin := filepath.Dir(command(t))
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") == "true",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"bigline":   bigLine,
			"mode":      mode,
			"leftovers": leftovers,
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			// The files of a script come as 0644, which is one of the things under test.
			keyrings, err := filepath.Glob(filepath.Join(e.WorkDir, "*.json"))
			for _, keyring := range keyrings {
				err = errors.Join(err, os.Chmod(keyring, 0o600))
			}
			return err
		},
	})
}

// exits CODE [-quiet|-warned] program args: the program ends with this code. But
// for -quiet it must have said why in one line, and for -warned in two.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code [-quiet|-warned] program [args...]")
	}
	want, args := args[0], args[1:]
	lines := 1
	switch args[0] {
	case "-quiet":
		lines, args = 0, args[1:]
	case "-warned":
		lines, args = 2, args[1:]
	}
	got := "0"
	if err := ts.Exec(args[0], args[1:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = strconv.Itoa(exit.ExitCode())
	}
	if got != want {
		ts.Fatalf("exit code %s, want %s", got, want)
	}
	if said := strings.Count(ts.ReadFile("stderr"), "\n"); said != lines {
		ts.Fatalf("%d lines on standard error, want %d", said, lines)
	}
}

// bigLine FILE N LINE: writes the line in file LINE, one of N letters, and the
// first again.
func bigLine(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	line := ts.ReadFile(args[2])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(line+strings.Repeat("a", n)+"\n"+line), 0o600))
}

// mode OCTAL FILE: the file has these permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// leftovers N: there are N temporary and lock files in the directory.
func leftovers(ts *testscript.TestScript, _ bool, args []string) {
	var found []string
	for _, pattern := range []string{".*.tmp", "*.lock"} {
		files, err := filepath.Glob(filepath.Join(ts.MkAbs("."), pattern))
		ts.Check(err)
		found = append(found, files...)
	}
	if got := strconv.Itoa(len(found)); got != args[0] {
		ts.Fatalf("left behind: %q", found)
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

var built struct {
	once sync.Once
	dir  string
	path string
	err  error
	text []byte
}

// command builds wsticket once for all tests and returns its path.
func command(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		built.dir, built.err = os.MkdirTemp("", "wsticket-test-*")
		if built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "wsticket")
		build := exec.Command("go", "build", "-o", built.path, "./cmd/wsticket")
		build.Dir = ".."
		built.text, built.err = build.CombinedOutput()
	})
	if built.err != nil {
		t.Fatalf("wsticket does not build: %v\n%s", built.err, built.text)
	}
	return built.path
}
