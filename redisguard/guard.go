package redisguard

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/wsticket/wsticket"
)

// A Guard is a [wsticket.ReplayGuard] that many nodes share. It is safe for
// concurrent use and must be closed.
type Guard struct {
	store   *store
	rules   rules
	timeout time.Duration

	waitReplicas int

	link  atomic.Pointer[link]
	spent spentTable
	local *wsticket.ReplayCache // what stands in while the store is away, or nil

	claims atomic.Uint64 // numbers them
	base   uint64        // what this process's claims begin with

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	closed atomic.Bool

	watching, flying sync.WaitGroup // goroutines

	counters counters
}

var _ wsticket.ReplayGuard = (*Guard)(nil)

// rules are what a guard and the store must agree on, in seconds.
type rules struct {
	maxTTL, leeway, maxSkew int64
}

// New checks the configuration, reports all its faults at once, connects, and has a
// look at the store: it fails at once where there is nobody to connect to, and where the
// store does not answer until ctx ends (or for 5 s), is no primary, may evict keys, is
// older than Redis 7, or has a clock that is off by more than MaxSkew. With
// DangerouslyAcceptLocally, a store that does not answer is no error.
//
// It does not wait until the guard is ready, see [Guard.ReadyAt].
func New(ctx context.Context, config Config) (*Guard, error) {
	g, err := config.guard()
	if err != nil {
		return nil, err
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	if err := g.start(ctx); err != nil {
		_ = g.Close()
		return nil, err
	}
	return g, nil
}

// A link is the client of a store and the lanes to it.
type link struct {
	client rueidis.Client // nil: there has been no connection yet
	lanes  []*lane
}

// start makes the connection and starts the watch.
func (g *Guard) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	g.setLink(nil)
	err := g.connect(ctx)
	if err == nil {
		err = g.look(ctx)
	}
	if err != nil && (g.local == nil || !isAway(err)) {
		return fmt.Errorf("redisguard: %w", err)
	}
	g.watching.Go(g.watch)
	return nil
}

// connect makes a client that has a connection.
func (g *Guard) connect(ctx context.Context) error {
	client, err := g.store.connect(ctx)
	if err == nil {
		g.setLink(client)
	}
	return err
}

// setLink is called before the watch begins, and by the watch.
func (g *Guard) setLink(client rueidis.Client) {
	n := 1
	if client != nil && client.Mode() == rueidis.ClientModeCluster {
		n = clusterLanes
	}
	lanes := make([]*lane, n)
	for i := range lanes {
		lanes[i] = newLane(g, client, i)
	}
	g.link.Store(&link{client, lanes})
}

// Spend returns nil for the first use of a ticket on all nodes. Otherwise it returns
// an error that is one of these, by errors.Is: [wsticket.ErrReplayed];
// [wsticket.ErrIssuedBeforeStart] for a ticket that the store may have known and
// forgotten; [wsticket.ErrReplayUnavailable], wrapped together with its cause, where
// the store did not answer by the deadline, which is Config.Timeout or that of ctx, or
// where it cannot be relied on.
//
// A ticket whose claim got no answer may be spent: the store may carry the claim out
// later. It is never accepted after that.
func (g *Guard) Spend(ctx context.Context, u wsticket.Use) error {
	locally, err := g.spend(ctx, u)
	g.counters.count(locally, err)
	return err
}

// spend also says whether it decided without the store.
func (g *Guard) spend(ctx context.Context, u wsticket.Use) (locally bool, err error) {
	switch {
	case g.closed.Load():
		return false, errClosed
	case ctx.Err() != nil:
		return false, gone(ctx)
	case !g.rules.within(u):
		return false, errOutOfReach
	case g.spent.has(&u.Identity):
		return false, errReplayedHere
	}
	l := g.laneOf(&u.Identity)
	switch {
	case l.misfit.Load():
		return false, unavailable(errMisfit)
	case l.evicting.Load():
		return false, errEvicting
	case g.rules.early(u.Issued, l.since.Load()):
		return false, wsticket.ErrIssuedBeforeStart
	case g.local != nil && l.failing.Load():
		return true, g.local.Spend(ctx, u)
	}
	switch err = l.claim(ctx, u); {
	case err == nil:
		g.spent.add(&u.Identity)
		if g.local != nil { // it may have come in while the store was away
			err = g.local.Spend(ctx, u)
		}
	case err == wsticket.ErrReplayed:
		g.spent.add(&u.Identity)
	case g.local != nil && ctx.Err() == nil && isAway(err):
		return true, g.local.Spend(ctx, u)
	}
	return false, err
}

// within says whether a verifier may ask about this use. What comes from elsewhere
// cannot be remembered for as long as it would have to be.
func (r rules) within(u wsticket.Use) bool {
	const timeEnd = 1 << 38 // the year 10680
	return u.Now >= 0 && u.Now < timeEnd && u.Issued >= 0 && u.Issued < u.Expires &&
		u.Expires-u.Issued <= r.maxTTL && u.Issued <= u.Now+r.leeway && u.Expires+r.leeway > u.Now
}

// early says whether a ticket may have been claimed before the epoch that began at
// since, in milliseconds.
func (r rules) early(issued, since int64) bool {
	return issued*1000 <= since+(r.leeway+2*r.maxSkew)*1000
}

// laneOf is decided by the ticket alone, so it is the same on every node.
func (g *Guard) laneOf(identity *[16]byte) *lane {
	lanes := g.link.Load().lanes
	return lanes[int(identity[8])%len(lanes)]
}

// Covers returns MaxTTL and Leeway of the configuration.
func (g *Guard) Covers() (maxTTL, leeway time.Duration) {
	return time.Duration(g.rules.maxTTL) * time.Second, time.Duration(g.rules.leeway) * time.Second
}

// ReadyAt is when the guard takes every ticket that is minted from then on, so long
// as its minter's clock is behind by no more than the leeway: 2 leeways, 2 MaxSkew and a second
// after the store began to remember. Beside a store that has been there for longer it lies in the
// past at once. It moves when the store loses what it knew.
func (g *Guard) ReadyAt() time.Time {
	since := int64(0)
	for _, l := range g.link.Load().lanes {
		since = max(since, l.since.Load())
	}
	ready := time.UnixMilli(since).Add(time.Duration(2*g.rules.leeway+2*g.rules.maxSkew+1) * time.Second)
	if g.local != nil && g.local.ReadyAt().After(ready) {
		return g.local.ReadyAt()
	}
	return ready
}

// Close ends the guard: waiting claims fail, and connections that it made are
// closed. Every later Spend is refused. It waits for the goroutines of the guard.
func (g *Guard) Close() error {
	if g.closed.Swap(true) {
		return nil
	}
	g.cancel()
	g.watching.Wait() // so that the link stays
	link := g.link.Load()
	for _, l := range link.lanes {
		l.close()
	}
	g.flying.Wait()
	if link.client != nil && g.store.own {
		link.client.Close()
	}
	return nil
}

// value makes one that no other claim has: a random number of this process and a
// count. That two processes meet on one value and one ticket has a chance of 1 in 2^64.
func (g *Guard) value() uint64 { return g.base + g.claims.Add(1)*0x9e3779b97f4a7c15 }
