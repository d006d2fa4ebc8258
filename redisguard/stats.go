package redisguard

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsticket/wsticket"
)

// Stats is a snapshot of a [Guard]. The counts run from its creation.
type Stats struct {
	Claimed           uint64 // uses that the store let pass
	ClaimedLocally    uint64 // uses that DangerouslyAcceptLocally let pass
	Replayed          uint64 // refused by what the store knows, or the local cache
	ReplayedHere      uint64 // refused without asking the store: it had told this node before
	IssuedBeforeStart uint64 // refused: the store may have known and forgotten them
	Skew              uint64 // refused: the clocks of this node and the store are too far apart
	Timeout           uint64 // refused: no answer by the deadline
	Gone              uint64 // refused: the handshake ended before the answer
	Unavailable       uint64 // refused: the store failed, too few replicas had the claim, or more than MaxPending wait
	Evicting          uint64 // refused: the store may evict keys
	OutOfReach        uint64 // refused: the times are outside of what the guard covers

	Moved   uint64 // times that the store was found to have lost claims; an alarm where nobody restarted it
	Evicted uint64 // keys that the store evicted while it was watched; an alarm always
	Batches uint64 // calls that carried claims
	Retries uint64 // claims that were sent again
	Pending int    // claims that wait to be sent

	Away      bool          // the store did not answer the last call
	Since     time.Time     // when the store began to remember
	Answered  time.Time     // when it last answered; the oldest of a Cluster's
	ClockOff  time.Duration // its clock minus this node's at the last look, to within the round trip
	LastError error         // what went wrong last, or nil
}

// Stats takes a snapshot.
func (g *Guard) Stats() Stats {
	c := &g.counters
	s := Stats{
		Claimed:           c.of[claimed].Load(),
		ClaimedLocally:    c.of[claimedLocally].Load(),
		Replayed:          c.of[replayed].Load(),
		ReplayedHere:      c.of[replayedHere].Load(),
		IssuedBeforeStart: c.of[early].Load(),
		Skew:              c.of[skewed].Load(),
		Timeout:           c.of[timedOut].Load(),
		Gone:              c.of[left].Load(),
		Unavailable:       c.of[unreachable].Load(),
		Evicting:          c.of[evicting].Load(),
		OutOfReach:        c.of[outOfReach].Load(),
		Moved:             c.moved.Load(),
		Evicted:           c.evicted.Load(),
		Batches:           c.batches.Load(),
		Retries:           c.retries.Load(),
		Pending:           int(c.pending.Load()),
		ClockOff:          time.Duration(c.clockOff.Load()),
	}
	since, answered := int64(0), int64(0)
	for i, l := range g.link.Load().lanes {
		since = max(since, l.since.Load())
		if at := l.looked.Load(); i == 0 || at < answered {
			answered = at
		}
		s.Away = s.Away || l.failing.Load()
	}
	if since != 0 {
		s.Since = time.UnixMilli(since)
	}
	if answered != 0 {
		s.Answered = time.Unix(0, answered)
	}
	c.mu.Lock()
	s.LastError = c.last
	c.mu.Unlock()
	return s
}

type counters struct {
	of                               [outcomes]atomic.Uint64
	moved, evicted, batches, retries atomic.Uint64
	clockOff                         atomic.Int64
	pending                          atomic.Int64
	maxPending                       int64

	mu   sync.Mutex
	last error
}

// count counts the outcome of a Spend.
func (c *counters) count(locally bool, err error) {
	o := claimed
	switch e := err.(type) {
	case nil:
		if locally {
			o = claimedLocally
		}
	case *spendError:
		o = e.outcome
	case wsticket.Error:
		switch e {
		case wsticket.ErrReplayed:
			o = replayed
		case wsticket.ErrIssuedBeforeStart:
			o = early
		default:
			o = unreachable
		}
	default:
		o = unreachable
	}
	c.of[o].Add(1)
}

// admit takes a place among the claims that wait.
func (c *counters) admit() bool {
	if c.pending.Add(1) > c.maxPending {
		c.pending.Add(-1)
		return false
	}
	return true
}

// trouble keeps what went wrong.
func (c *counters) trouble(err error) {
	c.mu.Lock()
	c.last = err
	c.mu.Unlock()
}
