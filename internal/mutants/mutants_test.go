// Package mutants breaks the single-use cache in every way that matters and makes sure
// that its tests notice.
package mutants

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

const root = "../.."

// The part of the root package that the cache consists of; it builds alone.
var sources = []string{
	"go.mod", "go.sum", "errors.go", "config.go",
	"replay*.go", "race_*_test.go", "docs/single-use*",
}

type mutant struct {
	name string
	test string // the test that must fail
	file string
	old  string // must occur exactly once
	new  string
	race bool // the fault shows under the race detector
}

const noLock = `

type noLock struct{ _ [8]byte }

func (*noLock) Lock()   {}
func (*noLock) Unlock() {}
`

var mutants = []mutant{
	// No ticket twice.
	{name: "no lock of the part", test: "TestReplayOneOfMany", file: "replay_frames.go", race: true,
		old: "mu       sync.Mutex\n", new: "mu noLock\n"},
	{name: "no lock of the set", test: "TestReplayOneOfMany", file: "replay_frames.go", race: true,
		old: "mu   sync.Mutex // guards", new: "mu noLock // guards"},
	{name: "no second look at the frame", test: "TestReplayStalled", file: "replay_frames.go",
		old: "if f.slot.Load() != slot {\n\t\t\tp.mu.Unlock()", new: "if false {\n\t\t\tp.mu.Unlock()"},
	{name: "part does not note its slot", test: "TestReplayOracle", file: "replay_frames.go",
		old: "\t\tp.slot = slot\n", new: ""},
	{name: "slots that pass are not closed", test: "TestReplayOracle", file: "replay_frames.go",
		old: "\t\t\ts.closed.add(slot)\n", new: ""},
	{name: "slots that lose their frame are not closed", test: "TestReplayWalkBack", file: "replay_frames.go",
		old: "s.closed.add(s.frames[n].slot.Load())", new: ""},
	{name: "closed slots are not refused", test: "TestReplayOracle", file: "replay_frames.go",
		old: "if s.closed.has(slot) {", new: "if false {"},
	{name: "closed span moves in place of growing", test: "TestReplayOracle", file: "replay_closed.go",
		old: "s.low, s.high = min(s.low, slot), max(s.high, slot)", new: "s.low, s.high = slot, slot"},
	{name: "closed span shrinks from below", test: "TestReplayOracle", file: "replay_closed.go",
		old: "s.low, s.high = min(s.low, slot), max(s.high, slot)", new: "s.low, s.high = slot, max(s.high, slot)"},
	{name: "joined closed span is forgotten", test: "TestClosedSlots", file: "replay_closed.go",
		old: "c.spans[i].high = c.spans[i+1].high", new: ""},
	{name: "one closed span too many is forgotten", test: "TestClosedSlots", file: "replay_closed.go",
		old: "c.join(c.narrowest())", new: "c.spans = c.spans[1:]"},
	{name: "the widest gap is given up", test: "TestReplaySparseExcursion", file: "replay_closed.go",
		old: "c.spans[i+1].low-c.spans[i].high < c.spans", new: "c.spans[i+1].low-c.spans[i].high > c.spans"},
	{name: "the lowest gap is given up", test: "TestReplaySparseExcursion", file: "replay_closed.go",
		old: "c.join(c.narrowest())", new: "c.join(0)"},
	{name: "no filter", test: "TestReplayFlood", file: "replay_frames.go",
		old: "if p.filter.TestOrAdd(id[:]) {", new: "if false {"},
	{name: "filter is only read", test: "TestReplayOracle", file: "replay_frames.go",
		old: "p.filter.TestOrAdd(id[:])", new: "p.filter.Test(id[:])"},
	{name: "full bucket gives up a lane", test: "TestReplayOracle", file: "replay_frames.go",
		old: "if p.filter.TestOrAdd(id[:]) {", new: "lanes[7] = mark\n\tif p.filter.TestOrAdd(id[:]) {"},
	{name: "slot moves with the clock", test: "TestReplayTwoLeeways", file: "replay.go",
		old: "slot := s.Expires\n", new: "slot := max(s.Expires, s.Now)\n"},
	{name: "slot does not look for its frame", test: "TestReplayEdges", file: "replay_frames.go",
		old: "if s.frames[n].slot.Load() == slot {", new: "if false {"},
	{name: "closed frame keeps its slot", test: "TestReplayStalled", file: "replay_frames.go",
		old: "\t\t\tf.slot.Store(noSlot)\n\t\t\ts.free", new: "\t\t\ts.free"},

	// A restart.
	{name: "no rule for the start", test: "TestReplayRestart", file: "replay.go",
		old: "if s.Issued <= c.notAfter {", new: "if s.Issued < 0 {"},
	{name: "start without leeway", test: "TestReplayRestart", file: "replay.go",
		old: "notAfter: since + leeway,", new: "notAfter: since,"},
	{name: "start one second short", test: "TestReplayRestart", file: "replay.go",
		old: "if s.Issued <= c.notAfter {", new: "if s.Issued < c.notAfter {"},
	{name: "ready one leeway early", test: "TestReplayIssuedBeforeStart", file: "replay.go",
		old: "time.Unix(since+2*leeway+1, 0)", new: "time.Unix(since+leeway+1, 0)"},
	{name: "start defaults to long ago", test: "TestReplaySinceDefault", file: "replay.go",
		old: "since = time.Now()", new: "since = time.Unix(0, 0)"},

	// No fresh ticket refused without need.
	{name: "the oldest slot in reach is closed", test: "TestReplayTwoLeeways", file: "replay_frames.go",
		old: "slot < oldest {", new: "slot <= oldest {"},
	{name: "slots are closed without leeway", test: "TestReplayFresh", file: "replay.go",
		old: "c.open(slot, s.Now-c.behind)", new: "c.open(slot, s.Now)"},
	{name: "slots are closed without leeway, clock steps back", test: "TestReplaySmallStepBack", file: "replay.go",
		old: "c.open(slot, s.Now-c.behind)", new: "c.open(slot, s.Now)"},
	{name: "the current slot is closed", test: "TestReplayFresh", file: "replay.go",
		old: "c.open(slot, s.Now-c.behind)", new: "c.open(slot, s.Now+c.behind+1)"},
	{name: "the lowest slot is the victim", test: "TestReplayExcursion", file: "replay_frames.go",
		old: "n, _, _ := s.recent.GetOldest()",
		new: "n := 0\n\tfor i := range s.frames {\n\t\tif s.frames[i].slot.Load() < s.frames[n].slot.Load() {\n\t\t\tn = i\n\t\t}\n\t}"},
	{name: "use does not count as recent", test: "TestReplayVictim", file: "replay_frames.go",
		old: "\t\t\ts.recent.Get(n)\n\t\t}", new: "\t\t}"},
	{name: "closed slots are one span", test: "TestReplayExcursion", file: "replay_closed.go",
		old: "const maxClosedSpans = 32", new: "const maxClosedSpans = 1"},
	{name: "hint is not checked", test: "TestReplayFresh", file: "replay_frames.go",
		old: "if f.slot.Load() != slot {\n\t\treturn nil", new: "if false {\n\t\treturn nil"},
	{name: "lanes are not wiped", test: "TestReplayReuse", file: "replay_frames.go",
		old: "clear(f.lanes[i*z.partLanes() : (i+1)*z.partLanes()])", new: ""},
	{name: "filter is not wiped", test: "TestReplayReuse", file: "replay_frames.go",
		old: "p.filter.ClearAll()", new: ""},
	{name: "two frames too few", test: "TestReplayEdges", file: "replay_sizing.go",
		old: "int(maxTTL + 2*leeway + 3)", new: "int(maxTTL + 2*leeway + 1)"},
	{name: "half the buckets", test: "TestReplayRefusalRate", file: "replay_sizing.go",
		old: "uint64((perPart + bucketLoad - 1) / bucketLoad)", new: "uint64((perPart + bucketLoad - 1) / bucketLoad / 2)"},
	{name: "filter of half the size", test: "TestReplayRefusalRate", file: "replay_sizing.go",
		old: "int((filterBits + 63) / 64)", new: "int((filterBits + 63) / 128)"},

	// Odd values.
	{name: "mark zero is not mapped", test: "TestReplayEdges", file: "replay_frames.go",
		old: "mark = 1 // zero", new: "// zero"},
	{name: "no limit ahead", test: "TestReplayEdges", file: "replay.go",
		old: " && slot <= now+c.ahead", new: ""},
	{name: "no limit behind", test: "TestReplayEdges", file: "replay.go",
		old: " && slot >= now-c.behind", new: ""},
	{name: "any expiry", test: "TestReplayEdges", file: "replay.go",
		old: "uint64(slot) < timeEnd && ", new: ""},
	{name: "any time", test: "TestReplayEdges", file: "replay.go",
		old: "uint64(now) < timeEnd && ", new: ""},

	// Memory.
	{name: "the frame freed first goes first", test: "TestReplayMemory", file: "replay_frames.go",
		old: "n := s.free[last]\n\t\ts.free = s.free[:last]", new: "n := s.free[0]\n\t\ts.free = append(s.free[:0], s.free[1:]...)"},
	{name: "any filter will do", test: "TestSoundFilter", file: "replay_frames.go",
		old: "return m > 0 &&", new: "return true || m > 0 &&"},
	{name: "an accept allocates", test: "TestReplayAllocs", file: "replay_frames.go",
		old: "lanes[l] = mark\n", new: "lanes[l] = mark\n\t\t\tf.lanes = append([]uint64(nil), f.lanes...)\n"},
	{name: "a refusal allocates", test: "TestReplayAllocs", file: "replay.go",
		old: "\t\treturn ErrReplayed\n", new: "\t\treturn fmt.Errorf(\"%w\", ErrReplayed)\n"},
}

func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the cache some forty times")
	}
	t.Run("none", func(t *testing.T) {
		tests := map[string]bool{}
		for _, m := range mutants {
			tests[m.test] = true
		}
		names := make([]string, 0, len(tests))
		for name := range tests {
			names = append(names, name)
		}
		out, err := runTests(copySources(t), false, "^("+strings.Join(names, "|")+")$")
		if err != nil {
			t.Fatalf("the tests fail without any mutant: %v\n%s", err, out)
		}
		for name := range tests {
			if !strings.Contains(out, "--- PASS: "+name+" ") {
				t.Errorf("there is no test %s", name)
			}
		}
	})
	if t.Failed() {
		return
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			dir := copySources(t)
			file := filepath.Join(dir, m.file)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(text), m.old); n != 1 {
				t.Fatalf("%s has %q %d times, want once: bring the mutant up to date", m.file, m.old, n)
			}
			broken := strings.Replace(string(text), m.old, m.new, 1)
			if strings.Contains(m.new, "noLock") { // one other lock is left, so sync stays in use
				broken += noLock
			}
			if err := os.WriteFile(file, []byte(broken), 0o644); err != nil {
				t.Fatal(err)
			}
			out, err := runTests(dir, m.race, "^"+m.test+"$")
			switch {
			case err == nil:
				t.Errorf("%s does not notice", m.test)
			case m.race && strings.Contains(out, "WARNING: DATA RACE"):
			case !strings.Contains(out, "--- FAIL: "+m.test):
				t.Errorf("%s did not get to its verdict: %v\n%s", m.test, err, out)
			}
		})
	}
}

func copySources(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, pattern := range sources {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no file %s: %v", pattern, err)
		}
		for _, from := range files {
			data, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(dir, filepath.Dir(pattern), filepath.Base(from))
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func runTests(dir string, race bool, run string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	args := []string{"test", "-count=1", "-vet=off", "-ldflags=-s -w", "-v", "-timeout=60s", "-run=" + run}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GORACE=halt_on_error=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go %s: %w", strings.Join(cmd.Args[1:], " "), err)
	}
	return string(out), err
}
