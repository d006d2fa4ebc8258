package redisguard

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A mutant is the guard with one mechanism taken out. The test that is named must
// notice.
type mutant struct {
	name string
	test string
	file string // .lua: the script is changed in a process of this test; .go: it is built anew
	old  string // must occur exactly once in the file
	new  string
}

var mutants = []mutant{
	// What the store may lose.
	{"an empty store is taken as it is", "TestFlushAll", "protocol.lua", "lost = 'empty'", "since, seen = now - 3600000, now"},
	{"another process is not noticed", "TestReplicaTakesOver", "protocol.lua", "if string.sub(record, 1, 40) ~= history then", "if false then"},
	{"a restart from a file is not noticed", "TestOldAppendOnlyFile", "protocol.lua", "if string.sub(record, 1, 40) ~= history then", "if false then"},
	{"the process counts, not its history", "TestPromotedTwice", "protocol.lua",
		"string.sub(replication, at + 1, at + 40)", "string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')"},
	{"a larger cover is not noticed", "TestLargerCover", "protocol.lua", "elseif keptLeeway < leeway or keptSkew < skew then", "elseif false then"},
	{"a clock that was ahead is not noticed", "TestClockAheadAndBack", "protocol.lua", "elseif now < seen - 1000 then", "elseif false then"},
	{"how far the clock has come is not kept", "TestClockAheadAndBackUnused", "protocol.lua", "    seen = now\n    write(since", "    seen = now\n    math.max(since"},
	{"what a node knows of another store does not count", "TestFailback", "protocol.lua", "elseif since < tonumber(ARGV[3]) then", "elseif false then"},
	{"a node does not say what it knows", "TestFailback", "protocol.go", "l.g.rules.args(l.since.Load())...", "l.g.rules.args(0)..."},
	{"a writable replica will do", "TestReplicaRefused", "protocol.lua", "not at or not string.find(replication, 'role:master\\r', 1, true)", "not at"},
	{"evictions are not noticed", "TestEviction", "protocol.lua", "if evictions() ~= evicted then", "if false then"},
	{"a policy that evicts is not noticed", "TestEviction", "watch.go", `l.evicting.Store(seen.policy != "noeviction")`, ""},
	{"a store that evicts is taken", "TestEviction", "store.go", `if l.policy != "noeviction" {`, "if false {"},

	// The bounds.
	{"the clocks are not compared", "TestClockAheadAndBack", "protocol.lua",
		"return now >= (time - skew) * 1000 and now < (time + 1 + skew) * 1000", "return true"},
	{"the clocks are not compared at the start", "TestClockOffAtStart", "store.go", "ahead > maxSkew {", "false {"},
	{"nor when the store is behind", "TestClockOffAtStart", "store.go", "behind > maxSkew {", "false {"},
	{"a look by a node that is off begins an epoch", "TestClockOffAtStart", "look.lua", "if lost and near(tonumber(ARGV[4])) then", "if lost then"},
	{"a claim by a node that is off begins an epoch", "TestNodeOffMovesNothing", "claim.lua", "if honest then", "if true then"},
	{"the epoch without leeway", "TestEpochCoversClocks", "claim.lua", "since + (coverLeeway + 2 * coverSkew) * 1000", "since + 2 * coverSkew * 1000"},
	{"the epoch with one MaxSkew", "TestEpochCoversClocks", "claim.lua", "since + (coverLeeway + 2 * coverSkew) * 1000", "since + (coverLeeway + coverSkew) * 1000"},
	{"keys without leeway", "TestConformance/lifetime", "claim.lua", "(ARGV[a + 2] + coverLeeway + coverSkew + 1) * 1000", "(ARGV[a + 2] + coverSkew + 1) * 1000"},
	{"keys without MaxSkew", "TestNodesApart", "claim.lua", "(ARGV[a + 2] + coverLeeway + coverSkew + 1) * 1000", "(ARGV[a + 2] + coverLeeway + 1) * 1000"},
	{"keys without the last second", "TestClockStepsBackALittle", "claim.lua", "(ARGV[a + 2] + coverLeeway + coverSkew + 1) * 1000", "(ARGV[a + 2] + coverLeeway + coverSkew) * 1000"},
	{"any times", "TestRules", "guard.go", "u.Expires-u.Issued <= r.maxTTL && ", ""},

	// Claims.
	{"the value is not compared", "TestLostAnswer", "claim.lua", "elseif old == value then", "elseif false then"},
	{"all claims have one value", "TestConformance/one_of_64", "lane.go", "l.g.value())", "1)"},
	{"replicas are not counted", "TestPartition/WaitReplicas", "protocol.go", "replicas < l.g.waitReplicas", "false"},
	{"a failed claim marks", "TestFailedClaimMarksNothing", "guard.go", "switch err = l.claim(ctx, u); {", "err = l.claim(ctx, u)\n\tg.spent.add(&u.Identity)\n\tswitch {"},
	{"nothing is known here", "TestOneRoundTrip", "guard.go", "case g.spent.has(&u.Identity):", "case false:"},
	{"the store's replays are not kept", "TestOneRoundTrip", "guard.go", "case err == wsticket.ErrReplayed:\n\t\tg.spent.add(&u.Identity)", "case err == wsticket.ErrReplayed:"},
	{"the local cache is not asked when the store is back", "TestDangerouslyAcceptLocally", "guard.go", "if g.local != nil { // it", "if false { // it"},

	// Time.
	{"the context is not heeded", "TestFrozen", "lane.go", "case <-ctx.Done():", "case <-make(chan int):"},
	{"a context that is over is not heeded", "TestConformance/context", "guard.go", "case ctx.Err() != nil:\n\t\treturn false, gone(ctx)", "case ctx.Err() == context.Canceled:\n\t\t_ = g.laneOf(&u.Identity).claim(context.Background(), u)\n\t\treturn false, gone(ctx)"},
	{"the timeout is not heeded", "TestFrozen", "lane.go", "case <-timer.C:", "case <-make(chan int):"},
	{"claims that were given up stay", "TestMaxPending", "lane.go", "if c.queued {", "if false {"},
	{"any number may wait", "TestMaxPending", "stats.go", "if c.pending.Add(1) > c.maxPending {", "if c.pending.Add(1) < 0 {"},
	{"a failed call is not made again", "TestLostAnswer", "lane.go", "again := isAway(err)", "again := false"},
	{"New does not heed its context", "TestNewKeepsToItsContext", "store.go", "case <-ctx.Done():\n\t\tgo func", "case <-make(chan int):\n\t\tgo func"},

	// Endings.
	{"another store is not noticed", "TestBusLoss", "bus.go", "s.since != r.since || s.last", "s.last"},
	{"a deleted stream is not noticed", "TestBusLoss/deleted", "bus.go", " || s.added < r.count", ""},
	{"endings that were dropped are not missed", "TestBusAwayTooLong", "bus.go", "case r.told.less(s.first): // all", "case false: // all"},
	{"endings are not missed where their number is unknown", "TestReaderSees", "bus.go", "case r.count < 0:\n\t\t\tr.miss(errTrimmed)", "case r.count < 0:"},
	{"a node reads on at the end", "TestBusReconnects", "bus.go", "Id(r.told.String())", `Id("$")`},
	{"a node begins at the end", "TestBus", "bus.go", "r.told = start\n", "r.told = s.last\n"},
	{"caught up with what is still to be told", "TestBusCaughtUp", "bus.go", "!r.asOf.IsZero() && !r.told.less(r.last)", "!r.asOf.IsZero()"},
	{"caught up as of the answer", "TestBusCaughtUp", "bus.go", "r.asOf, r.last = asked, s.last", "r.asOf, r.last = asked.Add(time.Since(asked)), s.last"},
	{"an ending need not reach a replica", "TestBusWaitReplicas", "bus.go", "replicas < b.waitReplicas", "false"},
}

func TestMutants(t *testing.T) {
	slow(t)
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			source, err := os.ReadFile(m.file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(source), m.old); n != 1 {
				t.Fatalf("%q occurs %d times in %s", m.old, n, m.file)
			}
			// Some tests need two things to happen at one moment, which a busy machine may
			// keep apart. The code as it is passes them every time.
			var out string
			for range 5 {
				if out, err = m.run(t, string(source)); err != nil {
					break
				}
			}
			switch {
			case err == nil:
				t.Errorf("%s does not notice", m.test)
			case !strings.Contains(out, "--- FAIL") && !strings.Contains(out, "panic: test timed out"):
				t.Errorf("%s was not run: %v\n%s", m.test, err, out)
			case strings.Contains(out, noServer):
				t.Errorf("%s says nothing of the mutant:\n%s", m.test, out)
			default:
				t.Log(firstComplaint(out))
			}
		})
	}
}

// run runs the test on the mutant.
func (m mutant) run(t *testing.T, source string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	run := "^" + strings.ReplaceAll(m.test, "/", "$/^") + "$"
	var cmd *exec.Cmd
	if filepath.Ext(m.file) == ".lua" {
		cmd = exec.CommandContext(ctx, os.Args[0], "-test.run="+run, "-test.timeout=60s")
		cmd.Env = append(os.Environ(), "WSTICKET_TEST_MUTANT="+m.old+"\x1f"+m.new)
	} else {
		changed := filepath.Join(t.TempDir(), filepath.Base(m.file))
		if err := os.WriteFile(changed, []byte(strings.Replace(source, m.old, m.new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		folder, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(folder, m.file): changed}})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "overlay.json")
		if err := os.WriteFile(file, overlay, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd = exec.CommandContext(ctx, "go", "test", "-overlay="+file, "-count=1", "-vet=off", "-timeout=60s", "-run="+run, ".")
		cmd.Env = os.Environ()
	}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), "[build failed]") {
		return string(out), fmt.Errorf("it does not build: %w", err)
	}
	return string(out), err
}

// firstComplaint is the first line in which a test says what is wrong.
func firstComplaint(out string) string {
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "_test.go:") || strings.Contains(line, "checks.go:") || strings.Contains(line, "panic: ") {
			return strings.TrimSpace(line)
		}
	}
	return "no complaint in:\n" + out
}
