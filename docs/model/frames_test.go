// Package model has the models of the protocols, and the tests that check them.
package model

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The model of the frames has no double accept, and gets one with each rule that is taken
// out.
func TestFrames(t *testing.T) {
	for _, tt := range []struct {
		define string
		fault  bool
		quick  bool
	}{
		{"-DFRAMES=1", false, true},
		{"-DNO_RECHECK", true, true},
		{"-DFRAMES=2", false, false},
		{"-DNO_CLOSED", true, false},
		{"-DLATE_CLOSED", true, false},
		{"-DNO_LOOK", true, false},
		{"-DTWO_STEPS", true, false},
		{"-DNO_NOTE", true, false},
		{"-DSEAL_FRAMES", true, false},
		// No faults, but what the model can do.
		{"-DACCEPTS", true, false},
		{"-DACCEPTS_LATER", true, false},
	} {
		t.Run(strings.TrimPrefix(tt.define, "-D"), func(t *testing.T) {
			if !tt.quick && os.Getenv("WSTICKET_SLOW") == "" {
				t.Skip("takes long; set WSTICKET_SLOW=1 to run it")
			}
			t.Parallel()
			if errors, states := searched(t, "frames.pml", tt.define); (errors > 0) != tt.fault {
				t.Errorf("%d errors in %d states; a fault is expected: %v", errors, states, tt.fault)
			} else if !tt.fault && states < 1000 {
				t.Errorf("only %d states: the search was cut short", states)
			}
		})
	}
}

// searched has spin search the whole of a model and returns how many errors and states it
// found.
func searched(t *testing.T, model, define string) (errors, states int) {
	t.Helper()
	for program, from := range map[string]string{"spin": "spin", "cc": "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			text := fmt.Sprintf("no %s; get it, for instance with: apt-get install %s", program, from)
			if os.Getenv("CI") != "" {
				t.Fatal(text)
			}
			t.Skip(text)
		}
	}
	path, err := filepath.Abs(model)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	run("spin", "-a", define, path)
	run("cc", "-O1", "-w", "-DSAFETY", "-o", "pan", "pan.c")
	out := run("./pan", "-E", "-m1000000")
	if strings.Contains(out, "max search depth too small") || strings.Contains(out, "out of memory") {
		t.Fatalf("the search was cut short:\n%s", out)
	}
	for pattern, to := range map[string]*int{`errors: (\d+)`: &errors, `(\d+) states, stored`: &states} {
		found := regexp.MustCompile(pattern).FindStringSubmatch(out)
		if found == nil {
			t.Fatalf("no %q in:\n%s", pattern, out)
		}
		fmt.Sscan(found[1], to)
	}
	return errors, states
}
