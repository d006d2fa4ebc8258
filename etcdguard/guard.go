// Package etcdguard is a [wsticket.ReplayGuard] on etcd: all nodes that share the
// cluster take a ticket once, whatever becomes of the members, the leader or the
// network between them. It refuses while there is no majority.
//
// It costs a round trip and a commit by the majority for each handshake; claims
// that wait at the same time share one. For which guard to take, and for what an
// etcd cluster has to be set up with, see docs/many-nodes.md.
//
// # Why no ticket passes twice
//
// The signed expiry of a ticket, to the second, is its slot. The first claim of a
// slot opens it: it is given one lease, and a marker says which. A claim is one key
// of slot and identity, created under that lease if it was not there, in one
// transaction of etcd.
//
//  1. The same ticket has the same slot and the same key.
//  2. A marker is created only where there is none and the slot lies above the
//     floor. Markers are removed only in the transaction that raises the floor to
//     them or above, and the floor never falls. So a slot has one lease, ever.
//  3. What was claimed goes when the lease ends, all of it at once, and nothing can
//     be created under a lease that has ended. So a key is created at most once.
//
// No clock appears in this, neither of the nodes nor of the store. Clocks decide only
// how long a slot lasts, and so how many tickets are refused without need.
//
// All of it needs a store that does not forget, and etcd forgets only when somebody
// restores a backup or starts an empty cluster in the old one's place. Each answer is
// held against what this guard saw before: the id of the cluster, its revision, and a
// chain of beats that the guards write into the store, one a second. Where one does
// not fit, tickets that were issued before that moment are refused. The limit of that: a
// backup that was taken within about a second of the moment at which the cluster stopped
// may have all that a guard has seen, and lack another's claim; see docs/many-nodes.md.
package etcdguard

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsticket/wsticket"
)

// A Guard is a [wsticket.ReplayGuard] that many nodes share. It is safe for
// concurrent use and must be closed.
type Guard struct {
	maxTTL, leeway, maxSkew int64 // seconds
	timeout                 time.Duration
	maxPending              int

	keys    keys
	members *members
	history history
	seen    seen

	mu       sync.Mutex // guards what follows
	pending  map[ticketKey]*claim
	queue    []*claim // those that go into the next batches
	inFlight int      // batches
	slots    map[int64]*slot

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	all    sync.WaitGroup // goroutines
	closed atomic.Bool

	wake     chan struct{} // has the keeper look at once
	counters counters
}

var _ wsticket.ReplayGuard = (*Guard)(nil)

// New checks the configuration, reports all its faults at once, and asks the store
// for its state. It fails where the store does not answer until ctx ends, or for
// Config.Timeout.
//
// It does not wait until the guard is ready, see [Guard.ReadyAt].
func New(ctx context.Context, config Config) (*Guard, error) {
	g, client, err := config.guard()
	if err != nil {
		return nil, err
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.members = newMembers(client, g.ctx, g.timeout)
	g.history.init(g.leeway+2*g.maxSkew, time.Now(), g.storeMoved)
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	if err := g.look(ctx); err != nil {
		g.Close()
		return nil, fmt.Errorf("etcdguard: the store gives no answer: %w", err)
	}
	g.all.Go(g.keep)
	return g, nil
}

// Spend returns nil for the first use of a ticket on all nodes. Otherwise it returns
// an error that is one of these, by errors.Is: [wsticket.ErrReplayed];
// [wsticket.ErrIssuedBeforeStart] for a ticket that the store may have known and
// forgotten; [wsticket.ErrReplayUnavailable] where the store did not answer by the
// deadline, which is Config.Timeout or that of ctx, or where the slot is closed or
// out of reach.
//
// A ticket whose claim got no answer may be spent: its claim may be carried out
// later. It is never accepted after that.
func (g *Guard) Spend(ctx context.Context, use wsticket.Use) error {
	err := g.spend(ctx, use)
	g.counters.count(err)
	return err
}

func (g *Guard) spend(ctx context.Context, use wsticket.Use) error {
	switch {
	case g.closed.Load():
		return errClosed
	case ctx.Err() != nil:
		return errGone
	case g.history.tooEarly(use.Issued):
		return wsticket.ErrIssuedBeforeStart
	case use.Expires < 0 || use.Expires > timeEnd, use.Expires < use.Now-g.leeway, use.Expires > use.Now+g.maxTTL+g.leeway+1:
		return errOutOfReach
	}
	key := ticketKey{use.Expires, use.Identity}
	if g.seen.has(key) {
		return errReplayedHere
	}
	timer := time.NewTimer(g.timeout) // now, so that what follows counts
	defer timer.Stop()
	c, err := g.join(key, use)
	if err != nil {
		return err
	}
	select {
	case <-c.done:
	case <-timer.C:
		if g.leave(c) {
			return late(g.members.because(context.DeadlineExceeded))
		}
	case <-ctx.Done():
		if g.leave(c) {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return late(g.members.because(context.DeadlineExceeded))
			}
			return errGone
		}
	}
	return c.verdict()
}

// Covers returns MaxTTL and Leeway of the configuration.
func (g *Guard) Covers() (maxTTL, leeway time.Duration) {
	return time.Duration(g.maxTTL) * time.Second, time.Duration(g.leeway) * time.Second
}

// ReadyAt is when the guard takes every ticket that is minted from then on, so long
// as its minter's clock is behind by no more than the leeway.
//
// A guard does not know what the store forgot before it came, so at first it refuses
// what was issued before its own start, and ReadyAt lies some seconds ahead: 2 leeways,
// 2 MaxSkew and a second. Where another guard has been watching the store, ours takes
// over what that one knows with its next beat, within about two seconds, and ReadyAt
// lies in the past from then on.
func (g *Guard) ReadyAt() time.Time {
	return time.Unix(g.history.sinceNow()+2*g.leeway+2*g.maxSkew+1, 0)
}

// Close ends the guard: waiting claims fail and the connections are closed. Every
// later Spend is refused. It waits for the goroutines of the guard.
func (g *Guard) Close() error {
	g.mu.Lock()
	again := g.closed.Swap(true)
	g.mu.Unlock()
	if again {
		return nil
	}
	g.cancel()
	g.all.Wait()
	return g.members.close()
}

// Stats are counts since the guard was made, but for Pending and Since.
type Stats struct {
	Claimed           uint64 // uses that Spend let pass
	Replayed          uint64 // refused by what the store knows
	ReplayedHere      uint64 // refused without asking the store: this node let them in, or is about to
	IssuedBeforeStart uint64 // refused: the store may have known and forgotten them
	Timeout           uint64 // refused: no answer by the deadline
	Gone              uint64 // refused: the context of the handshake ended before the answer
	Unavailable       uint64 // refused: the store failed, or more than MaxPending wait
	Late              uint64 // refused: their slot is closed or out of reach; clocks disagree if there are many

	Moved    uint64 // times that the store was found to be another one, or an older one
	Retries  uint64 // attempts that were made again, at another member where there is one
	Batches  uint64 // transactions that carried claims
	Pending  int    // tickets that wait for the store now
	Since    time.Time
	LastBeat time.Time // when the store was last known to be the same; an old one means that it does not answer
}

// Stats takes a snapshot.
func (g *Guard) Stats() Stats {
	s := g.counters.stats()
	g.mu.Lock()
	s.Pending = len(g.pending)
	g.mu.Unlock()
	s.Since, s.LastBeat, s.Moved = g.history.stats()
	return s
}

// An outcome of Spend. All errors have a refusal code; the text is for logs.
type spendError struct {
	code    wsticket.Error
	outcome outcome
	text    string
	cause   error // what the client of etcd says, or nil
}

func (e *spendError) Error() string {
	if e.cause != nil {
		return fmt.Sprintf("%v: etcdguard: %s: %v", e.code, e.text, e.cause)
	}
	return fmt.Sprintf("%v: etcdguard: %s", e.code, e.text)
}

func (e *spendError) Unwrap() []error {
	if e.cause != nil {
		return []error{e.code, e.cause}
	}
	return []error{e.code}
}

type outcome int

const (
	claimed outcome = iota
	replayed
	replayedHere
	early
	timedOut
	gone
	unavailable
	slotLate
	outcomes
)

var (
	errReplayedHere = &spendError{wsticket.ErrReplayed, replayedHere, "this node let it in", nil}
	errGone         = &spendError{wsticket.ErrReplayUnavailable, gone, "the handshake ended before the store answered", nil}
	errClosed       = &spendError{wsticket.ErrReplayUnavailable, unavailable, "the guard is closed", nil}
	errFull         = &spendError{wsticket.ErrReplayUnavailable, unavailable, "more than MaxPending claims wait for the store", nil}
	errOutOfReach   = &spendError{wsticket.ErrReplayUnavailable, slotLate, "the expiry is out of reach", nil}
	errSlotOver     = &spendError{wsticket.ErrReplayUnavailable, slotLate, "the second of its expiry is closed", nil}
	errOtherStore   = &spendError{wsticket.ErrReplayUnavailable, unavailable, "the store is not the one it was", nil}
)

func late(cause error) error {
	return &spendError{wsticket.ErrReplayUnavailable, timedOut, "the store did not answer in time", cause}
}

type counters struct {
	of               [outcomes]atomic.Uint64
	retries, batches atomic.Uint64
}

func (c *counters) count(err error) {
	o := claimed
	switch e := err.(type) {
	case nil:
	case wsticket.Error:
		o = replayed
		if e == wsticket.ErrIssuedBeforeStart {
			o = early
		}
	case *spendError:
		o = e.outcome
	}
	c.of[o].Add(1)
}

func (c *counters) stats() Stats {
	return Stats{
		Claimed:           c.of[claimed].Load(),
		Replayed:          c.of[replayed].Load(),
		ReplayedHere:      c.of[replayedHere].Load(),
		IssuedBeforeStart: c.of[early].Load(),
		Timeout:           c.of[timedOut].Load(),
		Gone:              c.of[gone].Load(),
		Unavailable:       c.of[unavailable].Load(),
		Late:              c.of[slotLate].Load(),
		Retries:           c.retries.Load(),
		Batches:           c.batches.Load(),
	}
}
