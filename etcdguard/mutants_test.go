package etcdguard

import (
	"context"
	"encoding/json"
	"errors"
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
	{"what failed is remembered", "TestStoreFull", "claim.go",
		"if err == nil && c.waiting > 0 {", "if c.waiting > 0 {"},
	{"nothing is remembered", "TestWhatThisNodeRemembers", "seen.go",
		"set[first] = key", ""},
	{"a use has no deadline", "TestMajorityLost", "guard.go",
		"time.NewTimer(g.timeout)", "time.NewTimer(time.Hour)"},
	{"a claim has no deadline", "TestMajorityLost", "claim.go",
		"context.WithTimeout(g.ctx, g.timeout)", "context.WithTimeout(g.ctx, time.Minute)"},
}

// TestMutantsFit makes sure that every row still fits the code.
func TestMutantsFit(t *testing.T) {
	for _, m := range mutants {
		text, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), m.old); n != 1 {
			t.Errorf("%s: %s has %q %d times, want once", m.name, m.file, m.old, n)
		}
	}
}

func TestMutants(t *testing.T) {
	slow(t)
	installed(t)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(m.file)
			if err != nil {
				t.Fatal(err)
			}
			broken := strings.Replace(string(text), m.old, m.new, 1)
			if strings.Contains(m.new, "time.") && !strings.Contains(broken, "\t\"time\"\n") {
				broken = strings.Replace(broken, "import (\n", "import (\n\t\"time\"\n", 1)
			}
			overlay := plant(t, m.file, broken)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			command := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-count=1", "-v", "-timeout=2m", "-run", "^"+m.test+"$", ".")
			command.Env = append(os.Environ(), "WSTICKET_SLOW=1")
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

// plant has the compiler read other text in place of a file. It returns the overlay
// that says so.
func plant(t *testing.T, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	broken, overlay := filepath.Join(dir, name), filepath.Join(dir, "overlay.json")
	content, err := json.Marshal(map[string]map[string]string{"Replace": {path: broken}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(broken, []byte(text), 0o600), os.WriteFile(overlay, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	return overlay
}
