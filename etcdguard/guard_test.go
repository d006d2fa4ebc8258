package etcdguard

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
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

func TestThreeNodesAtOnce(t *testing.T) {
	c := startCluster(t, 3)
	var guards []*Guard
	for range 3 {
		guards = append(guards, newGuard(t, Config{URL: c.url()}))
	}
	const tickets, shown = 300, 10
	var accepted, replayed, other atomic.Int64
	var all sync.WaitGroup
	for range tickets {
		use := fresh(guards...)
		var once atomic.Int64
		for n := range shown {
			g := guards[n%len(guards)]
			all.Go(func() {
				switch err := g.Spend(t.Context(), use); {
				case err == nil:
					accepted.Add(1)
					if once.Add(1) > 1 {
						t.Errorf("a ticket is accepted twice")
					}
				case errors.Is(err, wsticket.ErrReplayed):
					replayed.Add(1)
				default:
					other.Add(1)
					t.Log(err)
				}
			})
		}
	}
	all.Wait()
	if accepted.Load() != tickets || other.Load() != 0 {
		t.Errorf("%d of %d accepted, %d replayed, %d other", accepted.Load(), tickets, replayed.Load(), other.Load())
	}
	for _, g := range guards {
		t.Logf("%+v", g.Stats())
	}
}
