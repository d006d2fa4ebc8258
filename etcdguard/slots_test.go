package etcdguard

import (
	"context"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/wsticket/wsticket"
)

// A slot is opened once, whatever clocks say: a ticket that was accepted is refused by a
// node whose clock is far behind, when its slot has ended; and still when the slot's
// marker has been removed.
func TestSlotOpensOnce(t *testing.T) {
	slow(t)
	c := startCluster(t, 1)
	l := newLedger(t)
	guards := old(t, 2, Config{URL: c.url(), Leeway: wsticket.NoLeeway, MaxSkew: time.Second})
	use := fresh()
	use.Expires = use.Issued + 1
	if err := l.show(t.Context(), guards[0], use); err != nil {
		t.Fatal(err)
	}
	// Another second is open, whose ticket was never shown.
	unspent := use
	unspent.Identity[0]++

	var lease clientv3.LeaseID
	guards[0].mu.Lock()
	lease = guards[0].slots[use.Expires].lease
	guards[0].mu.Unlock()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) { // in its own time
		var ttl int64
		c.do(func(ctx context.Context, client *clientv3.Client) error {
			r, err := client.TimeToLive(ctx, lease)
			if err == nil {
				ttl = r.TTL
			}
			return err
		})
		if ttl < 0 {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("the lease of the slot does not end: %d s to live", ttl)
		}
	}
	wantLate := func(what string) {
		t.Helper()
		for _, g := range append(guards, old(t, 1, Config{URL: c.url()})...) {
			for _, u := range []wsticket.Use{use, unspent} { // by a clock that stands still
				if err := l.show(t.Context(), g, u); !errors.Is(err, wsticket.ErrReplayUnavailable) && !errors.Is(err, wsticket.ErrReplayed) {
					t.Errorf("%s: %v", what, err)
				}
			}
			g.forgetSlots()
		}
	}
	c.do(func(ctx context.Context, client *clientv3.Client) error {
		r, err := client.Get(ctx, guards[0].keys.prefix+"used/", clientv3.WithPrefix())
		if err == nil && len(r.Kvs) != 0 {
			t.Errorf("%d keys are left of a slot that has ended", len(r.Kvs))
		}
		return err
	})
	wantLate("when the slot has ended")
	if err := guards[1].sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.do(func(ctx context.Context, client *clientv3.Client) error {
		r, err := client.Get(ctx, guards[0].keys.marker(use.Expires))
		if err == nil && len(r.Kvs) != 0 {
			t.Error("the marker has not been removed, so the rest tests nothing")
		}
		return err
	})
	wantLate("when its marker is gone")
	if s := guards[0].Stats(); s.Late == 0 {
		t.Errorf("none is counted as late: %+v", s)
	}
	// The next second is not affected.
	if err := l.show(t.Context(), guards[0], fresh()); err != nil {
		t.Error(err)
	}
}

// A sweep leaves open slots alone, those that a clock far ahead calls over among them.
func TestSweepLeavesOpenSlots(t *testing.T) {
	slow(t)
	c := startCluster(t, 1)
	g := old(t, 1, Config{URL: c.url()})[0]
	for _, off := range []int64{-1000, 0} {
		use := fresh()
		use.Now += off
		use.Issued += off
		use.Expires += off
		if err := g.Spend(t.Context(), use); err != nil {
			t.Fatal(err)
		}
		if err := g.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		again := use
		again.Identity[0]++
		g.forgetSlots()
		if err := g.Spend(t.Context(), again); err != nil {
			t.Errorf("%d s off: %v, want another ticket of the slot accepted", off, err)
		}
	}
}

// What a slot's marker says is read with care.
func TestLeaseOf(t *testing.T) {
	for text, good := range map[string]bool{"2bd9": true, "7fffffffffffffff": true, "": false, "0": false, "-1": false, "xyz": false, "8000000000000000": false} {
		if id, err := leaseOf(text); (err == nil) != good || good && id <= 0 {
			t.Errorf("%q: %v, %v", text, id, err)
		}
	}
	k := keys{prefix: "p/"}
	for second, marker := range map[int64]string{7: k.marker(7), 1795219200: k.marker(1795219200)} {
		if got, err := k.second(marker); err != nil || got != second {
			t.Errorf("%s is %d, %v", marker, got, err)
		}
	}
	for _, bad := range []string{"", "p/slots/", "p/slots/7", "q/slots/000000000000007", "p/slots/00000000000000x"} {
		if _, err := k.second(bad); err == nil {
			t.Errorf("%q is taken for a marker", bad)
		}
	}
}

// The memory of this node never takes one ticket for another, and keeps what expires
// last.
func TestSeen(t *testing.T) {
	var s seen
	s.init()
	for n := range int64(seenWays + 3) {
		key := ticketKey{slot: 100 + n, identity: [16]byte{0, 0, 0, 0, 0, 0, 0, 0, byte(n)}} // all in one set
		if s.has(key) {
			t.Errorf("%d is known before it was added", n)
		}
		s.add(key)
		if !s.has(key) {
			t.Errorf("%d is forgotten at once", n)
		}
		key.slot++
		if s.has(key) {
			t.Errorf("%d with another expiry is known", n)
		}
	}
	for n := range int64(seenWays + 3) {
		key := ticketKey{slot: 100 + n, identity: [16]byte{0, 0, 0, 0, 0, 0, 0, 0, byte(n)}}
		if s.has(key) != (n >= 3) {
			t.Errorf("%d: %t", n, s.has(key))
		}
	}
	key := ticketKey{slot: 1, identity: [16]byte{1}}
	if a := testing.AllocsPerRun(100, func() { s.add(key); s.has(key) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
}
