package redisguard

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// A clock is that of a server under libfaketime. It can be set while the server runs.
type clock struct {
	tb   testing.TB
	file string
}

// startServerWithClock starts a server whose clock is off by what the file of the clock
// says, such as "+30s".
func startServerWithClock(tb testing.TB, offset string) (*server, *clock) {
	tb.Helper()
	if server := os.Getenv("WSTICKET_REDIS_SERVER"); server != "" {
		tb.Skip("faketime is known to work with Debian's redis-server only: unset WSTICKET_REDIS_SERVER")
	}
	need(tb, "faketime", "faketime")
	libraries, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if len(libraries) == 0 {
		tb.Fatal("faketime is installed and its library is not where Debian has it")
	}
	c := &clock{tb, filepath.Join(tb.TempDir(), "clock")}
	c.set(offset)
	// jemalloc asks for the time while faketime asks for memory, and both wait for ever;
	// so glibc's allocator goes in front.
	program := []string{need(tb, "env", "coreutils"), "LD_PRELOAD=libc_malloc_debug.so.0:" + libraries[0], "FAKETIME_TIMESTAMP_FILE=" + c.file,
		"FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", redisServer(tb)}
	return startOn(tb, program, freePort(tb)), c
}

func (c *clock) set(offset string) {
	c.tb.Helper()
	temporary := c.file + ".new"
	if err := os.WriteFile(temporary, []byte(offset+"\n"), 0o600); err != nil {
		c.tb.Fatal(err)
	}
	if err := os.Rename(temporary, c.file); err != nil {
		c.tb.Fatal(err)
	}
}

// A store whose clock is 30 s off is not taken, whichever way.
func TestClockOffAtStart(t *testing.T) {
	t.Parallel()
	slow(t)
	for offset, word := range map[string]string{"+30s": "ahead", "-30s": "behind"} {
		s, c := startServerWithClock(t, offset)
		if _, err := New(t.Context(), shortest(s.url())); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", offset, err)
		}
		if s.must("DBSIZE") != "0" {
			t.Errorf("%s: an epoch was written by a clock that is off", offset)
		}
		c.set("+0s")
		g := newGuardSoon(t, shortest(s.url()))
		newAccount(t).acceptsAgain(backSoon, g)
	}
}

// The store's clock goes 30 s ahead, so keys expire early, and comes back.
func TestClockAheadAndBack(t *testing.T) {
	t.Parallel()
	slow(t)
	s, c := startServerWithClock(t, "+0s")
	remember(t, s)
	nodes := newNodes(t, 2, shortest(s.url()))
	a := newAccount(t)
	used := a.mustAccept(40, 20, nodes...)
	c.set("+30s")
	within(t, backSoon, "the clock is noticed", func() bool {
		_ = a.spend(nodes[0], ticket(5))
		return nodes[0].Stats().Skew > 0
	})
	a.showAgain(used, nodes...)
	within(t, backSoon, "keys have expired early, else this tests nothing", func() bool { return s.must("DBSIZE") == "1" })
	c.set("+0s")
	late := newGuardSoon(t, shortest(s.url()))
	all := append(nodes, late)
	a.showAgain(used, all...)
	a.acceptsAgain(backSoon, all...)
	a.showAgain(used, all...)
}

// The same with nobody who claims meanwhile: the watch notices.
func TestClockAheadAndBackUnused(t *testing.T) {
	t.Parallel()
	slow(t)
	s, c := startServerWithClock(t, "+0s")
	remember(t, s)
	g := newGuard(t, shortest(s.url()))
	a := newAccount(t)
	used := a.mustAccept(40, 20, g)
	c.set("+30s")
	within(t, backSoon, "keys have expired early", func() bool { return s.must("DBSIZE") == "1" })
	looks := g.Stats().Answered
	within(t, backSoon, "the watch has looked", func() bool { return g.Stats().Answered.After(looks.Add(lookEvery)) })
	c.set("+0s")
	late := newGuardSoon(t, shortest(s.url()))
	a.showAgain(used, late)
	a.acceptsAgain(backSoon, g, late)
	a.showAgain(used, late)
}

// A clock that is off by less than MaxSkew changes nothing, at both ends of the life
// of a ticket.
func TestClockWithinSkew(t *testing.T) {
	t.Parallel()
	slow(t)
	for _, offset := range []string{"+0.9s", "-0.9s"} {
		s, _ := startServerWithClock(t, offset)
		nodes := newNodes(t, 2, shortest(s.url()))
		a := newAccount(t)
		used := a.mustAccept(40, 2, nodes...)
		a.showAgainForLife(used, nodes...)
	}
}

// Nodes whose clocks differ by almost twice MaxSkew, one ahead of the store and one
// behind: what the one takes the other does not, to the end.
func TestNodesApart(t *testing.T) {
	t.Parallel()
	slow(t)
	s := startServer(t)
	config := shortest(s.url())
	config.MaxSkew = 2 * time.Second
	ahead, behind := newGuard(t, config), newGuard(t, config)
	used := make([]wsticket.Use, 30)
	for i := range used {
		used[i] = ticket(2)
		used[i].Issued++ // by a minter who is ahead too
		used[i].Expires++
		used[i].Now++
		if err := ahead.Spend(t.Context(), used[i]); err != nil {
			t.Fatal(err)
		}
	}
	for living := true; living; time.Sleep(50 * time.Millisecond) {
		living = false
		for _, u := range used {
			for _, off := range []int64{-3, -2, -1, 0, 1} {
				u.Now = time.Now().Unix() + off
				if u.Now >= u.Expires || u.Issued > u.Now {
					continue
				}
				living = true
				if err := behind.Spend(t.Context(), u); err == nil {
					t.Fatalf("accepted twice, by a clock that is off by %d s", off)
				} else if off == 0 && !errors.Is(err, wsticket.ErrReplayed) {
					t.Fatalf("by the right clock: %v", err)
				}
				behind.spent.init() // so that it asks the store
			}
		}
	}
}

// The store's clock is ahead by less than a second and is put right, which no epoch
// marks. A key that has expired meanwhile was of no use any more.
func TestClockStepsBackALittle(t *testing.T) {
	t.Parallel()
	slow(t)
	s, c := startServerWithClock(t, "+0.9s")
	config := shortest(s.url())
	config.MaxSkew = 2 * time.Second
	first, second := newGuard(t, config), newGuard(t, config)
	u := ticket(1)
	if err := first.Spend(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	keys := strings.Fields(s.must("KEYS", "*"))
	end := time.Unix(u.Expires+config.leewaySeconds()+2, 0) // from then on no clock that is heard is before the expiry
	ahead := 900 * time.Millisecond
	within(t, backSoon, "the end, by the store's clock", func() bool { return time.Now().Add(ahead).After(end.Add(20 * time.Millisecond)) })
	for _, key := range keys { // a key whose time is over goes when somebody looks
		s.must("EXISTS", key)
	}
	c.set("+0s")
	u.Now = u.Expires - 1
	if err := second.Spend(t.Context(), u); err == nil {
		t.Error("accepted twice")
	} else if errors.Is(err, wsticket.ErrReplayUnavailable) {
		t.Errorf("%v, so this tests nothing", err)
	}
}

func (c Config) leewaySeconds() int64 { return max(int64(c.Leeway/time.Second), 0) }

// A ticket by a minter who is ahead, let in by a node that is ahead, and a store that
// takes over, knows nothing and is behind: the epoch covers all three.
func TestEpochCoversClocks(t *testing.T) {
	t.Parallel()
	slow(t)
	first := startServer(t)
	second, _ := startServerWithClock(t, "-0.9s")
	p := startProxy(t, first.addr())
	config := shortest(p.url())
	config.Leeway = time.Second
	nodes := newNodes(t, 2, config)
	// Just after a second has begun, so that a second ahead is within MaxSkew.
	within(t, backSoon, "a second begins", func() bool { return time.Now().Nanosecond() < 50_000_000 })
	u := ticket(20)
	u.Now++
	u.Issued = u.Now + 1
	if err := nodes[0].Spend(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	p.lead(second.addr())
	a := newAccount(t)
	a.accepted[u.Identity] = 1
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		// A node that knows nothing of the ticket, nor yet of the second store.
		nodes[1].spent.init()
		nodes[1].link.Load().lanes[0].since.Store(1)
		a.showAgain([]wsticket.Use{u}, nodes[1])
	}
	a.acceptsAgain(backSoon, nodes...)
}

// A node whose clock is off moves no epoch, also where the store has none.
func TestNodeOffMovesNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	remember(t, s)
	g := newGuard(t, shortest(s.url()))
	untouched := 0
	for range 20 { // the watch, whose clock is right, may come between
		s.must("FLUSHALL")
		g.link.Load().lanes[0].since.Store(1) // as if it had just come
		u := ticket(20)
		u.Now += 10
		if err := g.Spend(t.Context(), u); !errors.Is(err, errSkew) {
			t.Fatal(err)
		}
		if s.must("DBSIZE") == "0" {
			untouched++
		}
	}
	if untouched == 0 {
		t.Error("a node whose clock is off began an epoch")
	}
}

// A node that was started beside a store whose clock was ahead knows of an epoch that has
// not come. It refuses for itself, and does not make the others refuse.
func TestEpochThatHasNotCome(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	remember(t, s)
	ahead, other := newGuard(t, shortest(s.url())), newGuard(t, shortest(s.url()))
	ahead.link.Load().lanes[0].since.Store(time.Now().Add(time.Hour).UnixMilli())
	for range 5 {
		u := ticket(3)
		u.Issued += 3600 // passes the check of its own
		u.Expires += 3600
		u.Now += 3600
		_ = spend(ahead, u)
		if err := ahead.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := spend(other, ticket(3)); err != nil {
			t.Errorf("another node: %v", err)
		}
	}
	if err := spend(ahead, ticket(3)); !errors.Is(err, wsticket.ErrIssuedBeforeStart) {
		t.Errorf("the node itself: %v", err)
	}
}
