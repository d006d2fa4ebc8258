package interop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/wsticket/wsticket/wstickettest/notickets"
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
			"forge":     forge,
			"same":      same,
			"utf16":     utf16File,
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

var character = regexp.MustCompile(`<U\+[0-9A-F]+>`)

// utf16File TO FROM: writes a file of ASCII as PowerShell does.
func utf16File(ts *testscript.TestScript, _ bool, args []string) {
	out := []byte("\xff\xfe")
	for _, c := range []byte(ts.ReadFile(args[1])) {
		out = append(out, c, 0)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out, 0o600))
}

// forge NAME HEADER PAYLOAD [FILE]: the environment variable NAME is a ticket of
// these, signed with HMAC-SHA256 and the secret of the scripts' keyrings, and FILE
// ends in a line of it. In PAYLOAD <U+2028> is that character.
func forge(ts *testscript.TestScript, _ bool, args []string) {
	encode := base64.RawURLEncoding.EncodeToString
	header := args[1]
	if header == "usual" {
		header = `{"alg":"HS256","kid":"test","typ":"ws-ticket+jwt"}`
	}
	payload := character.ReplaceAllStringFunc(args[2], func(code string) string {
		r, err := strconv.ParseInt(code[3:len(code)-1], 16, 32)
		ts.Check(err)
		return string(rune(r))
	})
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	h := hmac.New(sha256.New, []byte("0123456789abcdef0123456789abcdef"))
	h.Write([]byte(signed))
	ticket := signed + "." + encode(h.Sum(nil))
	ts.Setenv(args[0], ticket)
	if len(args) > 3 {
		file, err := os.OpenFile(ts.MkAbs(args[3]), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		ts.Check(err)
		_, err = file.WriteString(ticket + "\n")
		ts.Check(errors.Join(err, file.Close()))
	}
}

// same FILE FILE: two JSON files hold the same value.
func same(ts *testscript.TestScript, neg bool, args []string) {
	var values [2]any
	for i, name := range args {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(name)), &values[i]))
	}
	if reflect.DeepEqual(values[0], values[1]) == neg {
		ts.Fatalf("%s and %s: %v, %v", args[0], args[1], values[0], values[1])
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
	if config := os.Getenv(rotationNode); config != "" {
		if err := runRotationNode(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// Most tests wait for programs and browsers most of the time.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set("6")
	}
	os.Exit(notickets.Run(func() int {
		code := m.Run()
		if built.dir != "" {
			os.RemoveAll(built.dir)
		}
		return code
	}, "TestCommandLine")) // what the program prints is in its log
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
