package redisguard

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// An account never forgets a ticket that was accepted. It is what every fault test is
// compared with.
type account struct {
	tb testing.TB

	mu       sync.Mutex
	accepted map[[16]byte]int
	doubles  int
}

func newAccount(tb testing.TB) *account {
	return &account{tb: tb, accepted: map[[16]byte]int{}}
}

// spend shows a ticket to a guard as a verifier would, by the time it is.
func (a *account) spend(g *Guard, u wsticket.Use) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return a.spendCtx(ctx, g, u)
}

func (a *account) spendCtx(ctx context.Context, g *Guard, u wsticket.Use) error {
	u.Now = time.Now().Unix()
	if u.Now >= u.Expires+g.rules.leeway {
		return wsticket.ErrExpired // a verifier does not ask
	}
	err := g.Spend(ctx, u)
	if err == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.accepted[u.Identity]++; a.accepted[u.Identity] > 1 {
			a.doubles++
		}
	}
	return err
}

// mustAccept accepts so many fresh tickets, on all guards in turn, and returns them.
func (a *account) mustAccept(n int, ttl int64, guards ...*Guard) []wsticket.Use {
	a.tb.Helper()
	all := make([]wsticket.Use, n)
	for i := range all {
		all[i] = ticket(ttl)
		if err := a.spend(guards[i%len(guards)], all[i]); err != nil {
			a.tb.Fatalf("a fresh ticket: %v", err)
		}
	}
	return all
}

// showAgain shows used tickets to all guards.
func (a *account) showAgain(used []wsticket.Use, guards ...*Guard) {
	a.tb.Helper()
	for _, u := range used {
		for _, g := range guards {
			_ = a.spend(g, u)
		}
	}
	a.check()
}

// showAgainForLife does so until the tickets have expired.
func (a *account) showAgainForLife(used []wsticket.Use, guards ...*Guard) {
	a.tb.Helper()
	for living := true; living; time.Sleep(100 * time.Millisecond) {
		living = false
		for _, u := range used {
			for _, g := range guards {
				if err := a.spend(g, u); !errors.Is(err, wsticket.ErrExpired) {
					living = true
				}
			}
		}
		a.check()
	}
}

// acceptsAgain waits until a fresh ticket is taken in every lane.
func (a *account) acceptsAgain(limit time.Duration, guards ...*Guard) {
	a.tb.Helper()
	end := time.Now().Add(limit)
	for _, g := range guards {
		for lane := range g.link.Load().lanes {
			for {
				u := ticket(5)
				u.Identity[8] = byte(lane)
				err := a.spend(g, u)
				if err == nil {
					break
				}
				if time.Now().After(end) {
					a.tb.Fatalf("no ticket is taken again within %v: %v", limit, err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
	}
	a.check()
}

// check fails the test if a ticket was accepted twice.
func (a *account) check() {
	a.tb.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.doubles > 0 {
		a.tb.Fatalf("%d double accepts", a.doubles)
	}
}

// newNodes makes guards that remember nothing of each other.
func newNodes(tb testing.TB, n int, config Config) []*Guard {
	tb.Helper()
	guards := make([]*Guard, n)
	for i := range guards {
		guards[i] = newGuard(tb, config)
	}
	return guards
}
