package etcdguard

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

func TestLeaderKilled(t *testing.T) {
	slow(t)
	c := startCluster(t, 3)
	guards := old(t, 3, Config{URL: c.url()})
	l := newLedger(t)
	stop := l.traffic(8, guards...)
	defer stop()
	for range 2 {
		l.await(100, 10*time.Second)
		leader := c.leader()
		leader.kill()
		t.Logf("100 more were accepted %v after the leader was killed", l.await(100, 10*time.Second))
		c.start(leader)
	}
	l.await(100, 10*time.Second)
	stop()
	wantSameStore(t, guards)
}

func TestLeaderFrozen(t *testing.T) {
	slow(t)
	c := startCluster(t, 3)
	guards := old(t, 3, Config{URL: c.url()})
	l := newLedger(t)
	stop := l.traffic(8, guards...)
	defer stop()
	l.await(100, 10*time.Second)
	leader := c.leader()
	leader.signal(sigStop)
	t.Logf("100 more were accepted %v after the leader was frozen", l.await(100, 10*time.Second))
	l.await(300, 10*time.Second)
	leader.signal(sigCont) // it still believes that it leads
	l.await(300, 10*time.Second)
	stop()
	wantSameStore(t, guards)
}

// A guard that reaches only a leader that is cut off from the majority accepts
// nothing; and the majority goes on with a leader of its own.
func TestPartition(t *testing.T) {
	slow(t)
	c := startCluster(t, 3)
	cut := c.leader()
	guards := append(old(t, 2, Config{URL: c.url(c.others(cut)...)}), old(t, 1, Config{URL: c.url(cut), Timeout: 300 * time.Millisecond})...)
	l := newLedger(t)
	stop := l.traffic(8, guards...)
	defer stop()
	l.await(100, 10*time.Second)
	c.partition(cut)
	began := time.Now()
	// What it took before can still come in; nothing that it takes from now on can.
	l.await(60, 10*time.Second)
	before := guards[2].Stats()
	l.await(60, 10*time.Second)
	if after := guards[2].Stats(); after.Claimed != before.Claimed {
		t.Errorf("the guard at the minority accepted %d tickets", after.Claimed-before.Claimed)
	}
	use := fresh()
	use.Now = time.Now().Unix()
	wantUnavailable(t, l.show(t.Context(), guards[2], use))
	if err := l.show(t.Context(), guards[0], use); err != nil {
		t.Errorf("the majority refuses what the minority could not decide: %v", err)
	}
	t.Logf("the partition lasted %v", time.Since(began).Round(time.Millisecond))
	c.heal()
	l.await(200, 10*time.Second)
	for began := time.Now(); guards[2].Spend(t.Context(), fresh()) != nil; {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the guard at the minority does not accept again")
		}
	}
	stop()
	wantSameStore(t, guards)
}

// Without a majority every ticket is refused by its deadline, at any number of them,
// nothing stays behind, and service resumes by itself.
func TestMajorityLost(t *testing.T) {
	slow(t)
	for name, fault := range map[string]struct{ lose, restore func(*cluster, *etcdMember) }{
		"killed": {func(_ *cluster, m *etcdMember) { m.kill() }, func(c *cluster, m *etcdMember) { c.start(m) }},
		"frozen": {func(_ *cluster, m *etcdMember) { m.signal(sigStop) }, func(_ *cluster, m *etcdMember) { m.signal(sigCont) }},
	} {
		t.Run(name, func(t *testing.T) {
			c := startCluster(t, 3)
			const timeout = time.Second
			guards := old(t, 2, Config{URL: c.url(), Timeout: timeout})
			l := newLedger(t)
			for range 20 {
				if err := l.show(t.Context(), guards[0], fresh()); err != nil {
					t.Fatal(err)
				}
			}
			goroutines := runtime.NumGoroutine()
			lost := c.members[:2]
			if name == "frozen" { // all, so that not even a refusal comes back
				lost = c.members
			}
			for _, m := range lost {
				fault.lose(c, m)
			}
			const waiting = 2000
			uses := make([]wsticket.Use, waiting)
			late, control := make([]time.Duration, waiting), make([]time.Duration, waiting)
			var all sync.WaitGroup
			for i := range uses {
				uses[i] = fresh()
				all.Go(func() {
					began := time.Now()
					err := l.show(t.Context(), guards[i%2], uses[i])
					late[i] = time.Since(began) - timeout
					wantUnavailable(t, err)
				})
				all.Go(func() { // one that does nothing but wait, to know how late this machine is
					began := time.Now()
					<-time.After(timeout)
					control[i] = time.Since(began) - timeout
				})
			}
			all.Wait()
			slices.Sort(late)
			slices.Sort(control)
			t.Logf("%d answered after the deadline by: p50 %v, p99 %v, max %v; a timer alone by: p50 %v, p99 %v, max %v", waiting,
				late[waiting/2], late[waiting*99/100], late[waiting-1], control[waiting/2], control[waiting*99/100], control[waiting-1])
			for what, at := range map[string]int{"p99": waiting * 99 / 100, "the last": waiting - 1} {
				if late[at] > control[at]+20*time.Millisecond {
					t.Errorf("%s is %v after the deadline and %v without a guard, want at most 20 ms more", what, late[at], control[at])
				}
			}
			// A context's own deadline counts where it is earlier.
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			wantUnavailable(t, l.show(ctx, guards[0], fresh()))
			if d := time.Since(began); d > 400*time.Millisecond {
				t.Errorf("a deadline of 100 ms was kept after %v", d)
			}
			for began := time.Now(); guards[0].Stats().Pending+guards[1].Stats().Pending > 0; time.Sleep(10 * time.Millisecond) {
				if time.Since(began) > 2*timeout+time.Second {
					t.Errorf("tickets are pending that nobody waits for: %+v", guards[0].Stats())
					break
				}
			}
			// Connections to more members have some of their own.
			for began := time.Now(); runtime.NumGoroutine() > goroutines+waiting/20; time.Sleep(10 * time.Millisecond) {
				if time.Since(began) > 2*timeout+time.Second {
					t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
					break
				}
			}
			for _, m := range lost {
				fault.restore(c, m)
			}
			began = time.Now()
			for l.show(t.Context(), guards[0], fresh()) != nil {
				if time.Since(began) > 15*time.Second {
					t.Fatal("it does not resume")
				}
			}
			t.Logf("a ticket was accepted %v after the majority was back", time.Since(began).Round(time.Millisecond))
			// What was refused for want of an answer may be spent, but is accepted
			// once at most.
			for i, use := range uses {
				use.Now = time.Now().Unix()
				for range 2 {
					l.show(t.Context(), guards[i%2], use)
				}
			}
			wantSameStore(t, guards)
		})
	}
}

// The answer to a claim gets lost, the claim is made again, and the guard knows its
// own.
func TestLostAnswer(t *testing.T) {
	slow(t)
	c := startCluster(t, 3)
	g := old(t, 1, Config{URL: c.url(c.members[0], c.members[1])})[0]
	l := newLedger(t)
	if err := l.show(t.Context(), g, fresh()); err != nil { // opens the slot
		t.Fatal(err)
	}
	first := c.members[g.members.current.Load()]
	first.clients.silence(true)
	use := fresh()
	use.Expires = g.anySlot()
	if err := l.show(t.Context(), g, use); err != nil {
		t.Errorf("a ticket whose first answer was lost: %v, want it accepted", err)
	}
	first.clients.silence(false)
	if err := l.show(t.Context(), g, use); !errors.Is(err, wsticket.ErrReplayed) {
		t.Errorf("the same again: %v, want %v", err, wsticket.ErrReplayed)
	}
	if g.Stats().Retries == 0 {
		t.Error("the claim was not made again, so the test tests nothing")
	}
}

// anySlot is one that is open.
func (g *Guard) anySlot() int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	for second, s := range g.slots {
		if s.lease != 0 && !s.over {
			return second
		}
	}
	return 0
}

// A replay of a ticket that this node let in does not reach the store, and a claim
// that got no answer leaves no mark here.
func TestWhatThisNodeRemembers(t *testing.T) {
	slow(t)
	c := startCluster(t, 1)
	g := old(t, 1, Config{URL: c.url(), Timeout: 300 * time.Millisecond})[0]
	use := fresh()
	if err := g.Spend(t.Context(), use); err != nil {
		t.Fatal(err)
	}
	c.members[0].signal(sigStop)
	for range 1000 {
		if err := g.Spend(t.Context(), use); err != errReplayedHere {
			t.Fatalf("%v, want a refusal without the store, which is frozen", err)
		}
	}
	lost := fresh()
	wantUnavailable(t, g.Spend(t.Context(), lost))
	if g.seen.has(ticketKey{lost.Expires, lost.Identity}) {
		t.Error("a claim without an answer is remembered as one that was let in")
	}
	c.members[0].signal(sigCont)
}

// Faults of every kind, one after the other, while tickets come in.
func TestEverythingAtOnce(t *testing.T) {
	slow(t)
	c := startCluster(t, 3)
	guards := old(t, 3, Config{URL: c.url()})
	l := newLedger(t)
	stop := l.traffic(24, guards...)
	defer stop()
	for round := range 3 {
		l.await(100, 15*time.Second)
		leader := c.leader()
		other := c.others(leader)[round%2]
		for name, fault := range map[string]func(){
			"leader killed":      func() { leader.kill(); l.await(20, 15*time.Second); c.start(leader) },
			"follower killed":    func() { other.kill(); l.await(20, 15*time.Second); c.start(other) },
			"leader frozen":      func() { leader.signal(sigStop); l.await(20, 15*time.Second); leader.signal(sigCont) },
			"follower frozen":    func() { other.signal(sigStop); l.await(20, 15*time.Second); other.signal(sigCont) },
			"all frozen":         func() { c.signal(sigStop); time.Sleep(time.Second); c.signal(sigCont) },
			"all killed":         func() { c.killAll(); time.Sleep(100 * time.Millisecond); c.startAll() },
			"leader cut off":     func() { c.partition(leader); l.await(20, 15*time.Second); c.heal() },
			"clients cut off":    func() { leader.clients.cut(func(string) bool { return true }); l.await(20, 15*time.Second); c.heal() },
			"answers thrown out": func() { leader.clients.silence(true); l.await(20, 15*time.Second); leader.clients.silence(false) },
		} {
			fault()
			if t.Failed() {
				t.Fatalf("that was: %s", name)
			}
			l.await(20, 15*time.Second)
		}
	}
	stop()
	wantSameStore(t, guards)
}

// wantSameStore wants no guard to take the store for another one than it was.
func wantSameStore(t testing.TB, guards []*Guard) {
	t.Helper()
	for i, g := range guards {
		s := g.Stats()
		t.Logf("guard %d: %+v", i, s)
		if s.Moved != 0 {
			t.Errorf("guard %d took the store for another one %d times", i, s.Moved)
		}
	}
}
