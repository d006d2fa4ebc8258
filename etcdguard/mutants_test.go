package etcdguard

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mutants break the guard in one way each; the test that is named must notice.
var mutants = []struct {
	name, test, file string
	old, new         string // old must occur exactly once
}{
	{"a claim has no condition", "TestThreeNodesAtOnce", "claim.go",
		`[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},`, `nil,`},
	{"all claims have one value", "TestThreeNodesAtOnce", "claim.go",
		"rand.Read(value[:])", "_ = rand.Read"},
	{"all uses that wait are let in", "TestThreeNodesAtOnce", "claim.go",
		"c.err == nil && c.taken.Swap(true)", "false"},
	{"a claim does not know its own key", "TestLostAnswer", "claim.go",
		"return string(kv.Value) == c.value", "return kv == nil"},
	{"a claim is not made again", "TestLostAnswer", "members.go",
		"if final(err) {", "if true {"},
	{"no other member is asked", "TestLostAnswer", "members.go",
		"m.current.CompareAndSwap(i, (i+1)%int64(len(m.all)))", ""},
	{"a marker ends with its lease", "TestSlotOpensOnce", "slots.go",
		"clientv3.OpPut(marker, strconv.FormatInt(int64(lease), 16))", "clientv3.OpPut(marker, strconv.FormatInt(int64(lease), 16), clientv3.WithLease(lease))"},
	{"slots below the floor are opened", "TestSlotOpensOnce", "slots.go",
		`clientv3.Compare(clientv3.Value(g.keys.state), "<", fixed(second)), // the floor stands first in it`, ""},
	{"the floor is not raised", "TestSlotOpensOnce", "history.go",
		"s.floor = max(s.floor, floor)", ""},
	{"claims have no lease", "TestSlotOpensOnce", "claim.go",
		"clientv3.OpPut(key, c.value, clientv3.WithLease(c.lease))", "clientv3.OpPut(key, c.value)"},
	{"open slots are swept", "TestSweepLeavesOpenSlots", "history.go",
		"if !ended {", "if !ended && false {"},
	{"a chain without the beat passes", "TestStoreThatForgot", "history.go",
		"slices.Contains(s.beats, k.beat)", "slices.Contains(s.beats, k.beat) || true"},
	{"a lower revision passes", "TestStoreThatForgot", "history.go",
		"header.Revision >= k.revision", "true"},
	{"another cluster passes", "TestJudge", "history.go",
		"header.ClusterId == k.cluster", "true"},
	{"since stays", "TestStoreThatForgot", "history.go",
		"h.since = max(h.since, time.Now().Unix())", ""},
	{"a newcomer believes what it finds", "TestStoreThatForgot", "history.go",
		"if first || h.settled || strings.HasPrefix(s.newest(), h.name) || h.modified <= h.arrived {", "if h.settled {"},
	{"a newcomer believes nobody", "TestNewcomer", "history.go",
		"h.since = min(h.since, s.since)", ""},
	{"nothing is too early", "TestStoreThatForgot", "history.go",
		"return issued <= h.sinceNow()+h.earliest", "return false"},
	{"what failed is remembered", "TestWhatThisNodeRemembers", "claim.go",
		"if err == nil && c.waiting > 0 {", "if c.waiting > 0 {"},
	{"nothing is remembered", "TestWhatThisNodeRemembers", "seen.go",
		"set[first] = key", ""},
	{"a use has no deadline", "TestMajorityLost", "guard.go",
		"time.NewTimer(g.timeout)", "time.NewTimer(time.Hour)"},
	{"a claim has no deadline", "TestMajorityLost", "claim.go",
		"context.WithTimeout(g.ctx, g.timeout)", "context.WithTimeout(g.ctx, time.Minute)"},
}

func TestMutants(t *testing.T) {
	slow(t)
	installed(t)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			dir := copyModule(t)
			file := filepath.Join(dir, m.file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), m.old); n != 1 {
				t.Fatalf("%s has %q %d times, want once: bring the mutant up to date", m.file, m.old, n)
			}
			broken := strings.Replace(string(text), m.old, m.new, 1)
			if strings.Contains(m.new, "time.") && !strings.Contains(broken, "\t\"time\"\n") {
				broken = strings.Replace(broken, "import (\n", "import (\n\t\"time\"\n", 1)
			}
			if err := os.WriteFile(file, []byte(broken), 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-timeout=2m", "-run", "^"+m.test+"$", ".")
			command.Dir = dir
			command.Env = append(os.Environ(), "GOWORK=off", "WSTICKET_SLOW=1")
			out, err := command.CombinedOutput()
			switch {
			case err == nil:
				t.Errorf("%s does not notice", m.test)
			case !strings.Contains(string(out), "--- FAIL: "+m.test):
				t.Errorf("%s did not get to its verdict: %v\n%s", m.test, err, out)
			default:
				for line := range strings.Lines(string(out)) {
					if strings.Contains(line, "_test.go:") && !strings.Contains(line, "longest time") {
						t.Log(strings.TrimSpace(line)) // what it was that it noticed
						break
					}
				}
			}
		})
	}
}

// copyModule copies this module to where it can be broken.
func copyModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, pattern := range []string{"*.go", "go.mod", "go.sum"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if name == "go.mod" {
				root, err := filepath.Abs("..")
				if err != nil {
					t.Fatal(err)
				}
				content = []byte(strings.Replace(string(content), "=> ../", fmt.Sprintf("=> %q", root), 1))
			}
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}
