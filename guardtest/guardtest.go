// Package guardtest tests a [wsticket.ReplayGuard]: your own, before it guards
// anything. In a test of your package:
//
//	func TestConformance(t *testing.T) {
//		guardtest.Run(t, guardtest.Config{
//			Open: func(tb testing.TB, nodes int) []wsticket.ReplayGuard { … },
//			MaxTTL: 3 * time.Second,
//			Leeway: time.Second,
//		})
//	}
//
// The suite spends made-up tickets in every way that a verifier may, and keeps
// account: no ticket may be accepted twice in any of its tests. It also demands
// what makes a guard useful: a fresh ticket is accepted, a refusal marks nothing,
// a deadline is kept. [Config] says which tests need to be told more.
package guardtest

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// Config says what is to be tested.
type Config struct {
	// Open returns guards that share what they remember, one for each node. They
	// take tickets issued from the moment on at which Open returns. Each test opens its own and
	// makes tickets of its own, so guards of several tests may share a store.
	// What Open starts it stops by tb.Cleanup. Required.
	//
	// The suite spends up to 10,000 tickets that expire in the same second. A guard of
	// fixed size must be made large enough for them.
	Open func(tb testing.TB, nodes int) []wsticket.ReplayGuard

	// MaxNodes is how many guards Open can make that share what they remember. 0 means 1, for a guard
	// in the memory of one process. With 2 and more, tickets are shown on all of them.
	MaxNodes int

	// MaxTTL and Leeway are what the guards cover at least. Whole seconds; MaxTTL
	// is required, 0 is no leeway. With OwnClock, some tests last a little longer than
	// MaxTTL + 2·Leeway + 2·MaxSkew, so keep these short.
	MaxTTL, Leeway time.Duration

	// OwnClock says that a clock of the guard, or of the store behind it, has a say
	// beside Use.Now. The suite then keeps to real time and waits for it to pass.
	// Without, it moves Use.Now forward at will.
	OwnClock bool

	// MaxSkew is how far Use.Now may be from that clock without a refusal, in whole seconds.
	MaxSkew time.Duration

	// Lose makes the guards lose what they remember, as a restart does or a store
	// that is emptied, and returns the guards to go on with. The tests show every
	// ticket again that was accepted before; and demand that tickets minted
	// later are accepted some time. now is the time of the loss. Without Lose there is no such test.
	Lose func(tb testing.TB, guards []wsticket.ReplayGuard, now time.Time) []wsticket.ReplayGuard

	// Stall makes the other side of guards of Open fall silent, without closing a
	// connection, until resume is called. For a guard that asks nobody: nil.
	Stall func(tb testing.TB) (resume func())
}

// Run runs every test that c has the means for, each as a subtest.
func Run(t *testing.T, c Config) {
	t.Helper()
	if fault := c.fault(); fault != "" {
		t.Fatal("guardtest: " + fault)
	}
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			if lacks := check.lacks(&c); lacks != "" {
				t.Skip(lacks)
			}
			check.run(newRun(t, c))
		})
	}
}

func (c *Config) fault() string {
	switch {
	case c.Open == nil:
		return "Config.Open is nil; give a function that makes guards"
	case c.MaxTTL < time.Second || c.MaxTTL%time.Second != 0:
		return "Config.MaxTTL must be whole seconds, one at least"
	case c.Leeway < 0 || c.Leeway%time.Second != 0:
		return "Config.Leeway must be whole seconds, or 0 for none"
	case c.MaxSkew < 0 || c.MaxSkew%time.Second != 0:
		return "Config.MaxSkew must be whole seconds, or 0"
	case c.MaxNodes < 0:
		return "Config.MaxNodes is negative"
	}
	return ""
}

// A check is one test of the suite.
type check struct {
	name  string
	run   func(*run)
	needs func(*Config) string // what c would have to have, or ""; nil: nothing
}

func (c check) lacks(config *Config) string {
	if c.needs == nil {
		return ""
	}
	return c.needs(config)
}

// A run is one test under way. Every use of a ticket goes through it, so that it
// can keep account.
type run struct {
	testing.TB
	Config
	ahead time.Duration // how far the time of the test is ahead of the system clock

	mu       sync.Mutex
	rng      *rand.Rand
	accepted map[key]int
}

type key struct {
	identity [16]byte
	expires  int64
}

func newRun(tb testing.TB, c Config) *run {
	return &run{TB: tb, Config: c, rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), accepted: make(map[key]int)}
}

func (r *run) nodes() int { return max(r.MaxNodes, 1) }

// open returns n guards, or fewer where there cannot be so many.
func (r *run) open(n int) []wsticket.ReplayGuard {
	r.Helper()
	n = min(n, r.nodes())
	guards := r.Open(r.TB, n)
	if len(guards) != n {
		r.Fatalf("Open returned %d guards, want %d", len(guards), n)
	}
	return guards
}

func (r *run) maxTTL() int64  { return int64(r.MaxTTL / time.Second) }
func (r *run) leeway() int64  { return int64(r.Leeway / time.Second) }
func (r *run) maxSkew() int64 { return int64(r.MaxSkew / time.Second) }

// now is the time by which the test shows tickets.
func (r *run) now() int64 { return time.Now().Add(r.ahead).Unix() }

// pass lets time go by: for real, where the guard has a clock of its own.
func (r *run) pass(d time.Duration) {
	if r.OwnClock {
		time.Sleep(d)
		return
	}
	r.ahead += d
}

// identity makes one up.
func (r *run) identity() (id [16]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range id {
		id[i] = byte(r.rng.Uint32())
	}
	return id
}

// ticket is a fresh one, minted and shown now.
func (r *run) ticket() wsticket.Use {
	now := r.now()
	return wsticket.Use{Identity: r.identity(), Issued: now, Expires: now + r.maxTTL(), Now: now}
}

func (r *run) tickets(n int) []wsticket.Use {
	all := make([]wsticket.Use, n)
	for i := range all {
		all[i] = r.ticket()
	}
	return all
}

// at is the same ticket, shown at another time.
func at(u wsticket.Use, now int64) wsticket.Use {
	u.Now = now
	return u
}

// alive says whether a verifier whose clock shows now would put u to a guard.
func (r *run) alive(u wsticket.Use, now int64) bool {
	return u.Issued <= now+r.leeway() && now < u.Expires+r.leeway()
}

// spend uses a ticket and keeps account. Safe for concurrent use.
func (r *run) spend(ctx context.Context, g wsticket.ReplayGuard, u wsticket.Use) error {
	r.Helper()
	err := g.Spend(ctx, u)
	if err != nil {
		r.judge(u, err)
		return err
	}
	r.mu.Lock()
	r.accepted[key{u.Identity, u.Expires}]++
	n := r.accepted[key{u.Identity, u.Expires}]
	r.mu.Unlock()
	if n > 1 {
		r.Errorf("accepted %d times: a ticket issued %+d s and expiring %+d s from Use.Now", n, u.Issued-u.Now, u.Expires-u.Now)
	}
	return nil
}

// wantAccepted spends a ticket that nobody has used.
func (r *run) wantAccepted(g wsticket.ReplayGuard, u wsticket.Use, what string) {
	r.Helper()
	if err := r.spend(context.Background(), g, u); err != nil {
		r.Errorf("%s: %v, want it accepted", what, err)
	}
}

// wantReplayed spends one that was accepted before, which the guard is sure to know.
func (r *run) wantReplayed(g wsticket.ReplayGuard, u wsticket.Use, what string) {
	r.Helper()
	err := r.spend(context.Background(), g, u)
	if code, _ := wsticket.CodeOf(err); err == nil || code != wsticket.ErrReplayed {
		r.Errorf("%s: %v, want %v", what, err, wsticket.ErrReplayed)
	}
}
