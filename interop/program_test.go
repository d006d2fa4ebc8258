package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wsticket/wsticket/wstickettest/notickets"
)

// A program is one that runs beside the test, in a process group of its own that
// ends with the test.
type program struct {
	t       *testing.T
	command *exec.Cmd
	output  *os.File
	ended   chan struct{}
	shows   bool // tickets, on purpose
}

// startProgram starts one. What it prints is in the log of a test that failed.
func startProgram(t *testing.T, path string, args ...string) *program {
	t.Helper()
	output, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, command: exec.Command(path, args...), output: output, ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = output, output
	p.command.SysProcAttr = ownGroup()
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.command.Wait(); close(p.ended) }()
	t.Cleanup(func() {
		group := p.command.Process
		killGroup(group)
		<-p.ended
		// Its children die on their own time, and might still write to a directory
		// of the test.
		for range 200 {
			if !groupRuns(group) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if !p.shows {
			notickets.Check(t, "the output of "+filepath.Base(path), p.printed())
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(path), p.printed())
		}
		output.Close()
	})
	return p
}

// stop asks the program to end, and waits until it has.
func (p *program) stop() {
	p.t.Helper()
	p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.t.Errorf("%s has not ended 10 s after SIGTERM", filepath.Base(p.command.Path))
	}
}

func (p *program) printed() []byte {
	text, err := os.ReadFile(p.output.Name())
	if err != nil {
		p.t.Error(err)
	}
	return text
}

// installed finds a program by one of its names. Where there is none the test is
// skipped, but on a build server, which has to have all, it fails.
func installed(t *testing.T, what, how string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	message := fmt.Sprintf("no %s on PATH; get one, for instance with: %s", what, how)
	if os.Getenv("CI") == "true" {
		t.Fatal(message)
	}
	t.Skip(message)
	return ""
}

// slow skips a test that takes long, unless asked for.
func slow(t testing.TB) {
	t.Helper()
	if os.Getenv("WSTICKET_SLOW") == "" {
		t.Skip("takes long; WSTICKET_SLOW=1 runs it")
	}
}

// children returns the processes that the program has started itself.
func (p *program) children(t *testing.T) (pids []int) {
	t.Helper()
	table, err := exec.Command("ps", "-A", "-o", "pid=,ppid=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		var pid, parent int
		if fmt.Sscan(line, &pid, &parent); parent == p.command.Process.Pid {
			pids = append(pids, pid)
		}
	}
	if len(pids) == 0 {
		t.Fatalf("process %d has no children", p.command.Process.Pid)
	}
	return pids
}
