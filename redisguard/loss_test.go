package redisguard

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// shortest are the shortest times that a guard takes: it is ready 3 s after a loss.
func shortest(url string) Config {
	return Config{URL: url, MaxTTL: 30 * time.Second, Leeway: wsticket.NoLeeway, MaxSkew: time.Second, Timeout: time.Second}
}

const backSoon = 10 * time.Second

// testLoss is the same for every way in which a store forgets: what was accepted is
// refused, on nodes that were there and on one that comes, and life goes on. before, where
// there is one, is called just before the tickets are spent.
func testLoss(t *testing.T, url string, lose func(), before ...func()) {
	t.Helper()
	a := newAccount(t)
	nodes := newNodes(t, 2, shortest(url))
	for _, f := range before {
		f()
	}
	used := a.mustAccept(40, 10, nodes...)
	lose()
	late := newGuardSoon(t, shortest(url))
	all := append(nodes, late)
	a.showAgain(used, all...)
	a.acceptsAgain(backSoon, all...)
	a.showAgain(used, all...)
	for i, g := range nodes {
		if g.Stats().Moved == 0 {
			t.Errorf("node %d did not notice the loss: %+v", i, g.Stats())
		}
	}
}

// newGuardSoon makes a guard on a store that may need a moment.
func newGuardSoon(tb testing.TB, config Config) *Guard {
	tb.Helper()
	var g *Guard
	within(tb, backSoon, "a guard can be made", func() (ok bool) {
		var err error
		g, err = New(tb.Context(), config)
		return err == nil
	})
	tb.Cleanup(func() { g.Close() })
	return g
}

func TestFlushAll(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	remember(t, s)
	testLoss(t, s.url(), func() { s.must("FLUSHALL") })
}

func TestKilledAndEmpty(t *testing.T) {
	t.Parallel()
	slow(t)
	s := startServer(t)
	remember(t, s)
	testLoss(t, s.url(), func() { s.kill(); s.start() })
}

// The append-only file is that of before the claims: what was not yet on the disk is
// gone. The epoch is in the file.
func TestOldAppendOnlyFile(t *testing.T) {
	t.Parallel()
	slow(t)
	s := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	remember(t, s)
	old := t.TempDir()
	testLoss(t, s.url(), func() {
		// The claims of this test are lost: the file is brought back to where it was.
		s.kill()
		if err := os.RemoveAll(s.file("appendonlydir")); err != nil {
			t.Fatal(err)
		}
		copyTree(t, filepath.Join(old, "appendonlydir"), s.dir)
		s.start()
		if s.must("EXISTS", "wsticket:{"+laneTags[0]+"}epoch") != "1" {
			t.Fatal("the file does not hold the epoch, so this tests nothing")
		}
	}, func() { copyTree(t, s.file("appendonlydir"), old) })
}

func copyTree(tb testing.TB, from, to string) {
	tb.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		tb.Fatalf("%v: %s", err, out)
	}
}

// A replica takes over that lacks the claims, since it was frozen when they were made.
// It has the epoch of the old primary.
func TestReplicaTakesOver(t *testing.T) {
	t.Parallel()
	slow(t)
	first, second := startServer(t), startServer(t)
	second.replicate(first) // the first replica of a primary makes it begin a new history
	remember(t, first)
	p := startProxy(t, first.addr())
	testLoss(t, p.url(), func() {
		first.kill()
		second.thaw()
		second.must("REPLICAOF", "NO", "ONE")
		p.lead(second.addr())
	}, second.freeze)
}

// The first primary is frozen and replaced, claims are made on the second, the second
// dies, and the first comes back as it was: same process, same replication history,
// none of the claims of the second. A node that was at the second tells it.
func TestFailback(t *testing.T) {
	t.Parallel()
	slow(t)
	first, second := startServer(t), startServer(t)
	second.replicate(first) // the first replica of a primary makes it begin a new history
	remember(t, first)
	p := startProxy(t, first.addr())
	a := newAccount(t)
	nodes := newNodes(t, 2, shortest(p.url()))
	before := a.mustAccept(20, 10, nodes...)
	first.freeze()
	second.must("REPLICAOF", "NO", "ONE")
	p.lead(second.addr())
	a.showAgain(before, nodes...)
	a.acceptsAgain(backSoon, nodes...)
	used := a.mustAccept(40, 10, nodes...)
	second.kill()
	first.thaw()
	p.lead(first.addr())
	late := newGuardSoon(t, shortest(p.url()))
	// The node that comes knows nothing of the second. The nodes that were there do,
	// and what one of them has said holds for all.
	within(t, backSoon, "a node is back at the first", func() bool { return !errors.Is(spend(nodes[0], ticket(5)), wsticket.ErrReplayUnavailable) })
	a.showAgain(used, late, nodes[0], nodes[1])
	a.acceptsAgain(backSoon, late, nodes[0], nodes[1])
	a.showAgain(used, late, nodes[0], nodes[1])
}

// The first primary becomes a replica and a primary again without ever having got what
// the second wrote. Its process and its data are as they were; its history is not.
func TestPromotedTwice(t *testing.T) {
	t.Parallel()
	slow(t)
	first, second := startServer(t), startServer(t)
	second.replicate(first) // the first replica of a primary makes it begin a new history
	remember(t, first)
	p := startProxy(t, first.addr())
	a := newAccount(t)
	nodes := newNodes(t, 1, shortest(p.url()))
	bystander := newGuard(t, shortest(first.url())) // knows the first only
	second.must("REPLICAOF", "NO", "ONE")
	first.must("REPLICAOF", "127.0.0.1", "1") // nobody there
	p.lead(second.addr())
	a.acceptsAgain(backSoon, nodes...)
	used := a.mustAccept(40, 10, nodes...)
	second.kill()
	first.must("REPLICAOF", "NO", "ONE")
	a.showAgain(used, bystander)
	a.acceptsAgain(backSoon, bystander)
	a.showAgain(used, bystander)
}

// A node with a larger leeway or MaxSkew than those before makes keys live longer;
// those that are there do not.
func TestLargerCover(t *testing.T) {
	t.Parallel()
	slow(t)
	s := startServer(t)
	remember(t, s)
	a := newAccount(t)
	small := newGuard(t, shortest(s.url()))
	used := a.mustAccept(20, 1, small)
	config := shortest(s.url())
	config.Leeway = 5 * time.Second
	large := newGuardNow(t, config)
	for end := time.Now().Add(7 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		large.spent.init() // so that it asks the store
		a.showAgain(used, large, small)
	}
	a.acceptsAgain(20*time.Second, large, small)
}

// A replica is no store, also one that would take writes.
func TestReplicaRefused(t *testing.T) {
	t.Parallel()
	first, second := startServer(t), startServer(t)
	second.replicate(first)
	remember(t, first)
	for _, readOnly := range []string{"yes", "no"} {
		second.must("CONFIG", "SET", "replica-read-only", readOnly)
		if _, err := New(t.Context(), shortest(second.url())); err == nil || !strings.Contains(err.Error(), "replica") {
			t.Errorf("replica-read-only %s: %v", readOnly, err)
		}
	}
	second.must("REPLICAOF", "NO", "ONE")
	g := newGuard(t, shortest(second.url()))
	second.must("REPLICAOF", "127.0.0.1", strconv.Itoa(first.port))
	if err := spend(g, ticket(10)); !errors.Is(err, wsticket.ErrReplayUnavailable) {
		t.Errorf("%v", err)
	}
}
