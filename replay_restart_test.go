package wsticket

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const replayChildEnv = "WSTICKET_TEST_REPLAY_CHILD"

// A process accepts tickets and is killed without warning. The one that replaces it
// accepts none of them, though the minters' clocks are up to two seconds off and the
// tickets are still alive.
func TestReplayRestart(t *testing.T) {
	const ttl, leeway = 10, 2
	for _, down := range []int64{0, 1, 3} {
		t.Run(fmt.Sprintf("down=%ds", down), func(t *testing.T) {
			t.Parallel()
			var tickets []Use // that the first process accepted
			n := uint64(0)
			// What a verifier lets through to single use.
			alive := func(s Use, now int64) bool { return s.Issued <= now+leeway && now < s.Expires+leeway }
			mint := func(now int64) (fresh []Use) {
				for skew := int64(-leeway); skew <= leeway; skew++ {
					for range 3 {
						n++
						fresh = append(fresh, replayTicket(n, now+skew, ttl))
					}
				}
				return fresh
			}

			first := startReplayChild(t, replayStart-1000)
			now := int64(replayStart)
			for ; now < replayStart+15; now++ {
				for _, s := range mint(now) {
					if got := first.spend(t, s.at(now)); got != "ok" {
						t.Fatalf("a fresh ticket: %s", got)
					}
					tickets = append(tickets, s)
				}
			}
			now-- // the last accept was in this second
			first.kill(t)

			now += down
			second := startReplayChild(t, now)
			ready := now + 2*leeway + 1
			shown := 0
			for end := now + ttl + 2*leeway; now <= end; now++ {
				for _, s := range tickets {
					if alive(s, now) {
						shown++
						if got := second.spend(t, s.at(now)); got == "ok" {
							t.Errorf("accepted again: issued %+d, shown at %+d", s.Issued-replayStart, now-replayStart)
						}
					}
				}
				for _, s := range mint(now) {
					if got := second.spend(t, s.at(now)); got != "ok" && now >= ready {
						t.Errorf("a fresh ticket after ReadyAt, issued %+d, shown at %+d: %s", s.Issued-replayStart, now-replayStart, got)
					}
				}
			}
			if shown < 100 {
				t.Errorf("only %d replays were tried", shown)
			}
			second.kill(t)
		})
	}
}

// TestReplayChild is the process of TestReplayRestart: a cache that answers on standard
// output what it reads on standard input.
func TestReplayChild(t *testing.T) {
	since, err := strconv.ParseInt(os.Getenv(replayChildEnv), 10, 64)
	if err != nil {
		t.Skip("runs only as a child of TestReplayRestart")
	}
	c, err := newReplayCache(sizeReplay(100, 10, 2, 4), 10, 2, since)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var s Use
		var id string
		if _, err := fmt.Sscan(in.Text(), &id, &s.Issued, &s.Expires, &s.Now); err != nil {
			t.Fatal(err)
		}
		if n, err := hex.Decode(s.Identity[:], []byte(id)); n != len(s.Identity) || err != nil {
			t.Fatal(id)
		}
		answer := "ok"
		if err := spendOf(c, s); err != nil {
			answer = err.(Error).Code()
		}
		fmt.Println("answer", answer)
	}
}

type replayChild struct {
	cmd *exec.Cmd
	in  *bufio.Writer
	out *bufio.Scanner
}

func startReplayChild(t *testing.T, since int64) *replayChild {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestReplayChild$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", replayChildEnv, since))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &replayChild{cmd, bufio.NewWriter(in), bufio.NewScanner(out)}
}

func (c *replayChild) spend(t *testing.T, s Use) string {
	t.Helper()
	fmt.Fprintf(c.in, "%x %d %d %d\n", s.Identity, s.Issued, s.Expires, s.Now)
	if err := c.in.Flush(); err != nil {
		t.Fatal(err)
	}
	for c.out.Scan() {
		if answer, ok := strings.CutPrefix(c.out.Text(), "answer "); ok {
			return answer
		}
	}
	t.Fatal("the process is gone")
	return ""
}

// kill ends the process at once, as kill -9 does, and waits until it is gone.
func (c *replayChild) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
}

const stateChildEnv = "WSTICKET_TEST_STATE_CHILD"

// A process is killed between any two steps of saving and loading. The next one begins
// from a whole file or from none, and accepts nothing twice.
func TestReplayStateKilled(t *testing.T) {
	const now = replayStart
	_, used := usedCache(t, stateConfig, now, 20)
	for _, tt := range []struct {
		op, step string
		whole    bool // the next process goes on where the one before ended
		doubt    bool // it finds a file that it cannot use
	}{
		{"save", "created", false, false},
		{"save", "written", false, false},
		{"save", "synced", false, false},
		{"save", "renamed", true, false},
		{"save", "saved", true, false},
		{"load", "loaded", true, false},
		{"load", "emptied", false, true},
		{"load", "removed", false, false},
		{"load", "discarded", false, false},
	} {
		t.Run(tt.op+"/"+tt.step, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "state")
			if tt.op == "load" {
				c, _ := usedCache(t, stateConfig, now, 20)
				savedAt(t, c, now, path)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestReplayStateChild$")
			cmd.Env = append(os.Environ(), stateChildEnv+"="+tt.op+" "+tt.step+" "+path)
			var exit *exec.ExitError
			if out, err := cmd.CombinedOutput(); !errors.As(err, &exit) || strings.Contains(string(out), "FAIL") {
				t.Fatalf("the process was not killed: %v\n%s", err, out)
			}
			c, err := LoadReplayCacheAt(time.Unix(now, 0), path, stateConfig)
			if c == nil || (err != nil) != tt.doubt {
				t.Fatalf("%v, %v", c, err)
			}
			fresh := replayTicket(1e6, now, 10)
			want := error(nil)
			if !tt.whole {
				want = ErrIssuedBeforeStart
			}
			wantSpend(t, c, fresh, want)
			for at := int64(now); at < now+stateTTL+2*stateLeeway; at++ {
				for _, s := range used {
					if at < s.Expires+stateLeeway && spendOf(c, s.at(at)) == nil {
						t.Fatalf("accepted twice: expires %+d, at %+d", s.Expires-now, at-now)
					}
				}
			}
			// What the killed process left is in nobody's way.
			savedAt(t, c, now+stateTTL, path)
			c = loadedAt(t, now+stateTTL, path, stateConfig)
			wantSpend(t, c, replayTicket(2e6, now+stateTTL, 10), nil)
			if left, err := filepath.Glob(path + "*"); err != nil || len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// TestReplayStateChild is the process of TestReplayStateKilled.
func TestReplayStateChild(t *testing.T) {
	op, rest, ok := strings.Cut(os.Getenv(stateChildEnv), " ")
	step, path, _ := strings.Cut(rest, " ")
	if !ok {
		t.Skip("runs only as a child of TestReplayStateKilled")
	}
	c, _ := usedCache(t, stateConfig, replayStart, 20)
	stateStep = func(at string) {
		if at == step {
			self, err := os.FindProcess(os.Getpid())
			if err != nil {
				t.Fatal(err)
			}
			_ = self.Kill()
			select {}
		}
	}
	if op == "save" {
		savedAt(t, c, replayStart, path)
	} else {
		loadedAt(t, replayStart, path, stateConfig)
	}
}
