// Package mutants breaks the code on purpose, a line at a time, and makes sure that a
// named test notices.
//
// To plant one more line, add a row to the file of its part, or a file with one more
// call of plant. A row costs the build of a package and the run of one test, so all
// of them run only with WSTICKET_SLOW=1. What runs always makes sure that the rows
// still fit the code, and plants a few.
//
//	WSTICKET_SLOW=1 go test ./internal/mutants
//	WSTICKET_SLOW=1 go test ./internal/mutants -run 'Mutants/cache/no_filter'
package mutants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A mutant is a line of the code and a wrong one in its place.
type mutant struct {
	name string
	file string // from the root of the repository
	old  string // must occur exactly once in file
	new  string
	test string // the test that must fail, "TestX" or "TestX/part" of any depth
	in   string // where that test is, when not beside file: a folder from the root
	race bool   // the fault shows under the race detector
	// hangs says that the test does not fail but never ends.
	hangs bool
	more  string // goes to the end of file
	quick bool   // planted by every run of the tests
}

// A part is a group of mutants that are tested alike.
type part struct {
	name string
	// keep, if there is any, are the files of the package that take part in the build,
	// as patterns: what a test of few files does not need, need not be built.
	keep    []string
	mutants []mutant
}

var parts []part

// plant adds the mutants of a part of the code.
func plant(p part) struct{} {
	parts = append(parts, p)
	return struct{}{}
}

const (
	root = "../.."
	slow = "WSTICKET_SLOW"
)

// Rows fit the code: what they replace is there once, and so is the test they name.
func TestRows(t *testing.T) {
	names := map[string]bool{}
	for _, p := range parts {
		for _, m := range p.mutants {
			if names[p.name+"/"+m.name] {
				t.Errorf("%s: there are two mutants %q", p.name, m.name)
			}
			names[p.name+"/"+m.name] = true
			if _, err := m.planted(); err != nil {
				t.Errorf("%s: %s: %v", p.name, m.name, err)
			}
			if m.old == m.new {
				t.Errorf("%s: %s changes nothing", p.name, m.name)
			}
			if test := topLevel(m.test)[0]; len(testsOf(t, m.dir()).declared[test]) == 0 {
				t.Errorf("%s: %s: there is no %s in %s: bring the mutant up to date", p.name, m.name, test, m.dir())
			}
		}
	}
}

// topLevel names the functions behind "TestX/part" or "TestX|TestY".
func topLevel(test string) []string {
	names := strings.Split(test, "|")
	for i, name := range names {
		names[i], _, _ = strings.Cut(name, "/")
	}
	return names
}

func TestMutants(t *testing.T) {
	all := os.Getenv(slow) != ""
	if testing.Short() && !all {
		t.Skip("builds packages")
	}
	left := 0
	for _, p := range parts {
		t.Run(p.name, func(t *testing.T) {
			var mutants []mutant
			for _, m := range p.mutants {
				if all || m.quick {
					mutants = append(mutants, m)
				} else {
					left++
				}
			}
			if len(mutants) == 0 {
				t.Skip("all of them with " + slow + "=1")
			}
			for _, in := range baselines(mutants) {
				if !t.Run("none/"+filepath.Base(in.dir), func(t *testing.T) { soundWithout(t, p, in) }) {
					return
				}
			}
			for _, m := range mutants {
				t.Run(m.name, func(t *testing.T) {
					t.Parallel()
					turns <- struct{}{}
					defer func() { <-turns }()
					notices(t, p, m)
				})
			}
		})
	}
	if left > 0 {
		t.Logf("%d more mutants are planted with %s=1", left, slow)
	}
}

// turns lets two mutants be built and run at a time: each build has use for several
// cores, and tests that wait for a deadline want a machine that is not too busy.
var turns = make(chan struct{}, 2)

// A baseline is a package whose tests must pass before anything is broken.
type baseline struct {
	dir   string
	tests []string // top-level names
}

func baselines(mutants []mutant) (list []baseline) {
	for _, m := range mutants {
		i := slices.IndexFunc(list, func(b baseline) bool { return b.dir == m.dir() })
		if i < 0 {
			i, list = len(list), append(list, baseline{dir: m.dir()})
		}
		if test := topLevel(m.test)[0]; !slices.Contains(list[i].tests, test) {
			list[i].tests = append(list[i].tests, test)
		}
	}
	return list
}

func soundWithout(t *testing.T, p part, b baseline) {
	out, err := goTest(t, p, b.dir, nil, mutant{test: strings.Join(b.tests, "|")})
	if err != nil {
		t.Fatalf("the tests fail without any mutant: %v\n%s", err, out)
	}
	for _, name := range b.tests {
		if !strings.Contains(out, "--- PASS: "+name+" ") {
			t.Errorf("%s did not pass without any mutant; was it skipped?\n%s", name, out)
		}
	}
}

// notices plants m and wants its test to fail.
func notices(t *testing.T, p part, m mutant) {
	text, err := m.planted()
	if err != nil {
		t.Fatal(err)
	}
	// Some tests need two things to happen at one moment, which a busy machine may keep
	// apart. The code as it is passes them every time.
	var out string
	for range 3 {
		if out, err = goTest(t, p, m.dir(), map[string][]byte{m.file: text}, m); err != nil {
			break
		}
	}
	switch {
	case err == nil:
		t.Errorf("%s does not notice", m.test)
	case m.race && strings.Contains(out, "WARNING: DATA RACE"):
	case m.hangs && strings.Contains(out, "panic: test timed out after"):
	case !regexp.MustCompile(`--- FAIL: ` + regexp.QuoteMeta(m.test) + `\b`).MatchString(out):
		t.Errorf("%s did not get to its verdict: %v\n%s", m.test, err, out)
	}
}

func (m mutant) dir() string {
	if m.in != "" {
		return m.in
	}
	return filepath.Dir(m.file)
}

// planted is the text of the file with the mutant in it.
func (m mutant) planted() ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return nil, fmt.Errorf("%s has %q %d times, want once: bring the mutant up to date", m.file, m.old, n)
	}
	return []byte(strings.Replace(string(text), m.old, m.new, 1) + m.more), nil
}

// goTest runs tests of the package in dir with some files replaced. Nothing is
// copied: an overlay of the build puts the texts in the place of the files, and hides
// those that the part does not keep and those of tests that do not run.
func goTest(t *testing.T, p part, dir string, replaced map[string][]byte, m mutant) (string, error) {
	t.Helper()
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	overlay := map[string]string{}
	files, err := filepath.Glob(filepath.Join(top, dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	needed := testsOf(t, dir).needed(topLevel(m.test))
	for _, file := range files {
		name := filepath.Base(file)
		kept := len(p.keep) == 0 || slices.ContainsFunc(p.keep, func(pattern string) bool {
			ok, _ := filepath.Match(pattern, name)
			return ok
		})
		if !kept || strings.HasSuffix(name, "_test.go") && !needed[name] {
			overlay[file] = ""
		}
	}
	for file, text := range replaced {
		to := filepath.Join(temp, filepath.Base(file))
		if err := os.WriteFile(to, text, 0o644); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(top, file)] = to
	}
	data, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	timeout := "60s"
	if m.hangs {
		timeout = "10s"
	}
	var run []string
	for element := range strings.SplitSeq(m.test, "/") {
		run = append(run, "^("+element+")$")
	}
	args := []string{"test", "-count=1", "-vet=off", "-ldflags=-s -w", "-v", "-overlay=" + file, "-timeout=" + timeout, "-run=" + strings.Join(run, "/")}
	if m.race {
		args = append(args, "-race")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = filepath.Join(top, dir)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GORACE=halt_on_error=1", slow+"=1")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		err = fmt.Errorf("go %s: %w", strings.Join(cmd.Args[1:], " "), err)
	}
	return string(out), err
}
