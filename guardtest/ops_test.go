package guardtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsticket/wsticket"
)

// TestOpsReplayCache drives caches of several sizes, from one that is always over its
// peak to one that never is.
func TestOpsReplayCache(t *testing.T) {
	runs := 10
	if os.Getenv("WSTICKET_SLOW") != "" {
		runs = 2000
	}
	for _, peak := range []int{1, 5, 1000} {
		for _, times := range [][2]time.Duration{{3 * time.Second, 0}, {10 * time.Second, 2 * time.Second}} {
			t.Run(fmt.Sprintf("peak=%d/ttl=%v", peak, times[0]), func(t *testing.T) {
				t.Parallel()
				cfg := wsticket.ReplayConfig{PeakPerSecond: peak, MaxTTL: times[0], Leeway: times[1]}
				if cfg.Leeway == 0 {
					cfg.Leeway = wsticket.NoLeeway
				}
				skew := time.Duration(0)
				if peak == 5 { // one that is not Exact: nodes whose clocks differ refuse what is fresh
					skew = 2 * time.Second
				}
				RunOps(t, OpsConfig{
					Open:   func(tb testing.TB, now time.Time) []wsticket.ReplayGuard { return cache(tb, cfg, now.Add(-time.Hour)) },
					Events: cacheEvents(cfg),
					MaxTTL: times[0], Leeway: times[1],
					MaxSkew: skew, Exact: peak == 1000,
					Dir: "testdata/ops", Runs: runs, Length: 300,
				})
			})
		}
	}
}

// cache is one cache, and three nodes that share it: threads of one process.
func cache(tb testing.TB, cfg wsticket.ReplayConfig, since time.Time) []wsticket.ReplayGuard {
	cfg.Since = since
	c, err := wsticket.NewReplayCache(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return []wsticket.ReplayGuard{c, c, c}
}

func cacheEvents(cfg wsticket.ReplayConfig) map[string]func(testing.TB, []wsticket.ReplayGuard, time.Time) []wsticket.ReplayGuard {
	// stop saves the cache, does something to the file, and starts a process from it.
	stop := func(harm func(path string) error) func(testing.TB, []wsticket.ReplayGuard, time.Time) []wsticket.ReplayGuard {
		return func(tb testing.TB, guards []wsticket.ReplayGuard, now time.Time) []wsticket.ReplayGuard {
			path := filepath.Join(tb.TempDir(), "state")
			if err := guards[0].(*wsticket.ReplayCache).SaveAt(now, path); err != nil {
				tb.Fatal(err)
			}
			if err := harm(path); err != nil {
				tb.Fatal(err)
			}
			c, err := wsticket.LoadReplayCacheAt(now, path, cfg)
			if c == nil {
				tb.Fatal(err)
			}
			return []wsticket.ReplayGuard{c, c, c}
		}
	}
	return map[string]func(testing.TB, []wsticket.ReplayGuard, time.Time) []wsticket.ReplayGuard{
		"restart": stop(func(string) error { return nil }),
		"torn": stop(func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Truncate(path, info.Size()-1)
		}),
		"lost": stop(os.Remove),
		"crash": func(tb testing.TB, _ []wsticket.ReplayGuard, now time.Time) []wsticket.ReplayGuard {
			return cache(tb, cfg, now)
		},
	}
}

// opsGuard is a guard that is easy to see through, with one thing wrong.
type opsGuard struct {
	wrong string
	since int64

	mu   *sync.Mutex
	used map[[16]byte]int64 // when it expires
}

func (g *opsGuard) Covers() (maxTTL, leeway time.Duration) { return testTTL, testLeeway }

func (g *opsGuard) Spend(_ context.Context, u wsticket.Use) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, again := g.used[u.Identity]
	switch {
	case u.Issued <= g.since+int64(testLeeway/time.Second):
		return wsticket.ErrIssuedBeforeStart
	case again || g.wrong == "refuses a fresh ticket" && u.Expires == u.Issued+3:
		return wsticket.ErrReplayed
	}
	if g.wrong == "looks, then marks" {
		g.mu.Unlock()
		time.Sleep(time.Millisecond)
		g.mu.Lock()
	}
	if g.wrong == "forgets what is over" {
		for id, expires := range g.used {
			if expires+int64(testLeeway/time.Second) <= u.Now {
				delete(g.used, id)
			}
		}
	}
	g.used[u.Identity] = u.Expires
	return nil
}

func opsGuards(wrong string, since int64) (guards []wsticket.ReplayGuard) {
	g := &opsGuard{wrong: wrong, since: since, mu: new(sync.Mutex), used: map[[16]byte]int64{}}
	for range 3 {
		node := *g
		if wrong == "remembers on each node" {
			node.mu, node.used = new(sync.Mutex), map[[16]byte]int64{}
		}
		guards = append(guards, &node)
	}
	return guards
}

// A guard with nothing wrong passes; each fault is found, by a file that is shortened to
// a few lines and fails again.
func TestOpsFindFaults(t *testing.T) {
	for wrong, most := range map[string]int{
		"":                          0,
		"looks, then marks":         2, // mint and show
		"remembers on each node":    3,
		"forgets what is over":      14, // mint, show, clock, another one, clock, show
		"forgets in a crash":        5,  // clock, mint, show, crash, show
		"counts from the Leeway on": 5,
		"refuses a fresh ticket":    2,
	} {
		t.Run(wrong, func(t *testing.T) {
			t.Parallel()
			// In a bubble the one that looks, then marks, sleeps until all have looked:
			// it fails at every run, however busy the machine.
			synctest.Test(t, func(t *testing.T) { findFault(t, wrong, most) })
		})
	}
}

func findFault(t *testing.T, wrong string, most int) {
	c := OpsConfig{
		Open: func(_ testing.TB, now time.Time) []wsticket.ReplayGuard { return opsGuards(wrong, now.Unix()-100) },
		Events: map[string]func(testing.TB, []wsticket.ReplayGuard, time.Time) []wsticket.ReplayGuard{
			"crash": func(_ testing.TB, _ []wsticket.ReplayGuard, now time.Time) []wsticket.ReplayGuard {
				switch wrong {
				case "forgets in a crash":
					return opsGuards(wrong, 0)
				case "counts from the Leeway on":
					return opsGuards(wrong, now.Unix()-int64(testLeeway/time.Second))
				}
				return opsGuards(wrong, now.Unix())
			},
		},
		MaxTTL: testTTL, Leeway: testLeeway, Runs: 100, Exact: true,
	}
	if fault := c.fault(); fault != "" {
		t.Fatal(fault)
	}
	file, account, fault := c.search(t)
	if wrong == "" {
		if fault != nil || account.accepted < 1000 || account.shown < 2*account.accepted {
			t.Errorf("seed %d: %v, %v\n%s", c.Seed, fault, account, file)
		}
		return
	}
	if fault == nil {
		t.Fatalf("seed %d: not found: %v", c.Seed, account)
	}
	// Chance may leave some that do nothing alone, in one file of some hundred.
	if n := strings.Count(file, "\n"); n > most+6 {
		t.Errorf("seed %d: %d lines are left, want about %d:\n%s", c.Seed, n, most, file)
	}
	if _, again := c.run(t, file); again == nil {
		t.Errorf("seed %d: the shortened file does not fail:\n%s", c.Seed, file)
	}
}

// clockGuard notes by which clock a use came.
type clockGuard struct {
	opsGuard
	now *atomic.Int64
}

func (g *clockGuard) Spend(ctx context.Context, u wsticket.Use) error {
	g.now.Store(u.Now)
	return g.opsGuard.Spend(ctx, u)
}

// Nodes have clocks of their own, whether the guard has one or not; and the line clock moves
// all of them, where it may.
func TestOpsSkew(t *testing.T) {
	for _, own := range []bool{false, true} {
		var seen [3]atomic.Int64
		c := OpsConfig{
			Open: func(testing.TB, time.Time) (guards []wsticket.ReplayGuard) {
				for i, g := range opsGuards("", 0) {
					guards = append(guards, &clockGuard{*g.(*opsGuard), &seen[i]})
				}
				return guards
			},
			MaxTTL: testTTL, Leeway: testLeeway, MaxSkew: 2 * time.Second, OwnClock: own,
		}
		file := "skew 1 2\nskew 2 -9\nmint 1 3 0\nshow 1 0,1\nmint 2 3 -1\nshow 2 2\n"
		for range 3 { // the system's clock may tick in the middle
			if _, fault := c.run(t, file); fault != nil {
				t.Fatal(fault)
			}
			if seen[1].Load()-seen[0].Load() == 2 && seen[0].Load()-seen[2].Load() == 2 {
				break
			}
		}
		if ahead, behind := seen[1].Load()-seen[0].Load(), seen[0].Load()-seen[2].Load(); ahead != 2 || behind != 2 {
			t.Errorf("OwnClock %v: node 1 is %d s ahead and node 2 %d s behind, want 2 and 2", own, ahead, behind)
		}
	}
}

// A file that was edited by hand says which line is wrong.
func TestOpsBadFiles(t *testing.T) {
	c := OpsConfig{Open: func(testing.TB, time.Time) []wsticket.ReplayGuard { return opsGuards("", 0) }, MaxTTL: testTTL, Leeway: testLeeway}
	for _, line := range []string{"dance", "mint 1", "mint 1 2 x", "show 1 x", "mint 1 999 0", "clock"} {
		if _, fault := c.run(t, "mint 1 2 0\n"+line+"\n"); fault == nil || !strings.HasPrefix(fault.Error(), "line 2, ") {
			t.Errorf("%q: %v", line, fault)
		}
	}
	for _, c := range []OpsConfig{
		{},
		{Open: c.Open},
		{Open: c.Open, MaxTTL: time.Second, Events: map[string]func(testing.TB, []wsticket.ReplayGuard, time.Time) []wsticket.ReplayGuard{"mint": nil}},
		{Open: c.Open, MaxTTL: time.Second, Events: map[string]func(testing.TB, []wsticket.ReplayGuard, time.Time) []wsticket.ReplayGuard{"two words": nil}},
	} {
		if c.fault() == "" {
			t.Errorf("%+v is taken", c)
		}
	}
}
