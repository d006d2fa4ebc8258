package etcdguard

import (
	"context"
	"sync"
	"testing"
	"time"

	crand "crypto/rand"

	"github.com/wsticket/wsticket"
)

// newGuard starts one, waits until it is ready for tickets of now, and closes it with
// the test.
func newGuard(t testing.TB, config Config) *Guard {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	g, err := New(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// fresh is a use of a ticket that is new and that no guard takes for one of before its
// start.
func fresh(guards ...*Guard) wsticket.Use {
	now := time.Now().Unix()
	use := wsticket.Use{Now: now, Issued: now}
	crand.Read(use.Identity[:])
	for _, g := range guards {
		use.Issued = max(use.Issued, g.history.sinceNow()+g.leeway+2*g.maxSkew+1)
	}
	use.Expires = use.Issued + 10
	return use
}

// Of N tickets that are shown to three nodes at once, some of them to each node several
// times, exactly N are accepted.
func TestThreeNodesAtOnce(t *testing.T) {
	c := startCluster(t, 3)
	var guards []*Guard
	for range 3 {
		guards = append(guards, newGuard(t, Config{URL: c.url()}))
	}
	const tickets, shown = 300, 10
	l := newLedger(t)
	var all sync.WaitGroup
	for range tickets {
		use := fresh(guards...)
		for n := range shown {
			all.Go(func() { l.show(t.Context(), guards[n%len(guards)], use) })
		}
	}
	all.Wait()
	if l.count() != tickets || l.refused[wsticket.ErrReplayed] != tickets*(shown-1) {
		t.Errorf("%d of %d accepted", l.count(), tickets)
	}
	for _, g := range guards {
		t.Logf("%+v", g.Stats())
	}
}
