package redisguard

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/wsticket/wsticket"
)

// A lane carries the claims of one hash slot: all of them, but for a Redis Cluster,
// where there are clusterLanes, spread evenly over the slots. Claims that wait at the
// same time go as one script call.
type lane struct {
	g      *Guard
	client rueidis.Client // nil: there has been no connection yet
	keys   string         // what the names of its keys begin with
	epoch  string         // the key of its epoch

	since    atomic.Int64 // the latest epoch that this node has seen, ms
	looked   atomic.Int64 // when the store last answered, ns
	failing  atomic.Bool  // the last call did not get through
	evicting atomic.Bool  // the store may evict keys
	misfit   atomic.Bool  // the store is none to make claims at

	evicted    atomic.Uint64 // keys, at the last look
	lookedOnce atomic.Bool

	mu      sync.Mutex // guards what follows
	queue   claimList
	flights int
	paused  bool // waits before it tries again
	pause   time.Duration
	closed  bool
}

func newLane(g *Guard, client rueidis.Client, n int) *lane {
	keys := g.store.prefix + "{" + laneTags[n] + "}"
	l := &lane{g: g, client: client, keys: keys, epoch: keys + "epoch"}
	l.failing.Store(true) // until the first look
	return l
}

const (
	// maxBatch bounds how long one call may keep the store busy: some 4 µs a claim.
	maxBatch = 128
	// eagerFlights calls may be under way with few claims in each, so that a claim
	// costs one round trip and need not wait for another's.
	eagerFlights = 2
	// maxFlights calls may be, when each is full. All lanes together stay far below
	// the ring of a connection of rueidis (1,024), which blocks when it is full.
	maxFlights = 4

	firstPause = 5 * time.Millisecond
	maxPause   = 100 * time.Millisecond
)

// A claim is one use of one ticket on its way to the store.
type claim struct {
	use      wsticket.Use
	value    [8]byte
	deadline time.Time
	result   chan error // takes exactly one

	// Guarded by the mutex of the lane.
	queued     bool
	gone       bool // nobody waits for the result
	prev, next *claim
}

var claimPool = sync.Pool{New: func() any { return &claim{result: make(chan error, 1)} }}

// claim asks the store, and waits for its answer until ctx ends or for the timeout.
func (l *lane) claim(ctx context.Context, u wsticket.Use) error {
	c := claimPool.Get().(*claim)
	c.use, c.deadline, c.gone = u, time.Now().Add(l.g.timeout), false
	binary.LittleEndian.PutUint64(c.value[:], l.g.value())
	if err := l.enqueue(c); err != nil {
		claimPool.Put(c)
		return err
	}
	timer := time.NewTimer(l.g.timeout)
	defer timer.Stop()
	select {
	case err := <-c.result:
		claimPool.Put(c) // whoever sent the result is done with it
		return err
	case <-ctx.Done():
		l.abandon(c)
		return gone(ctx)
	case <-timer.C:
		l.abandon(c)
		return errTimeout
	}
}

func (l *lane) enqueue(c *claim) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errClosed
	}
	if !l.g.counters.admit() {
		return errFull
	}
	l.queue.pushBack(c)
	l.dispatch()
	return nil
}

// abandon forgets a claim whose caller has given up. One that has not been sent will
// not be.
func (l *lane) abandon(c *claim) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.gone = true
	if c.queued {
		l.queue.remove(c)
		l.g.counters.pending.Add(-1)
	}
}

// dispatch sends what waits, as far as it may now. It is called with the lock held.
func (l *lane) dispatch() {
	if l.queue.n == 0 || l.paused || l.closed {
		return
	}
	switch {
	case l.flights == 0:
	case l.failing.Load(): // one at a time until the store answers
		return
	case l.flights < eagerFlights:
	case l.flights < maxFlights && l.queue.n >= maxBatch:
	default:
		return
	}
	l.flights++
	l.g.flying.Go(l.fly)
}

// fly sends what waits and hands out the results.
func (l *lane) fly() {
	// Those who got their results together come back together: let them join.
	runtime.Gosched()
	l.mu.Lock()
	batch := make([]*claim, 0, min(l.queue.n, maxBatch))
	for l.queue.n > 0 && len(batch) < maxBatch {
		batch = append(batch, l.queue.popFront())
	}
	l.g.counters.pending.Add(-int64(len(batch)))
	if len(batch) == 0 {
		l.flights--
		l.mu.Unlock()
		return
	}
	l.dispatch()
	l.mu.Unlock()

	ctx, cancel := context.WithTimeout(l.g.ctx, l.g.timeout)
	reply, err := l.send(ctx, batch)
	cancel()
	l.g.counters.batches.Add(1)
	if err == nil {
		l.note(reply.since)
	} else {
		l.g.counters.trouble(err)
	}

	l.mu.Lock()
	l.flights--
	again := isAway(err)
	l.failing.Store(again)
	if again {
		l.waitAndTryAgain()
	} else {
		l.pause = 0
	}
	now := time.Now()
	for i := len(batch) - 1; i >= 0; i-- {
		c := batch[i]
		if c.gone {
			continue // its caller has left, and it goes to the garbage collector
		}
		if again && !l.closed && c.deadline.After(now) && l.g.counters.admit() {
			// It may be that the store carried it out and the answer got lost. The
			// same value, shown again, gets the same answer.
			l.g.counters.retries.Add(1)
			l.queue.pushFront(c)
			continue
		}
		if err != nil {
			c.result <- err
		} else {
			c.result <- reply.verdict(i)
		}
	}
	l.dispatch()
	l.mu.Unlock()
}

// waitAndTryAgain holds the lane for a moment, longer each time.
func (l *lane) waitAndTryAgain() {
	if l.paused || l.closed {
		return
	}
	l.paused = true
	l.pause = min(max(2*l.pause, firstPause), maxPause)
	time.AfterFunc(l.pause, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.paused = false
		l.dispatch()
	})
}

// note keeps the latest epoch. It never goes back: what was too old once stays so,
// whatever another store says.
func (l *lane) note(since int64) {
	l.looked.Store(time.Now().UnixNano())
	if was := raise(&l.since, since); 0 < was && was < since {
		l.g.counters.moved.Add(1)
	}
}

// raise makes n at least v and returns what it was.
func raise(n *atomic.Int64, v int64) int64 {
	for {
		was := n.Load()
		if v <= was || n.CompareAndSwap(was, v) {
			return was
		}
	}
}

// close fails what waits.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for l.queue.n > 0 {
		l.queue.popFront().result <- errClosed
		l.g.counters.pending.Add(-1)
	}
}

// A claimList is a queue that claims can leave from anywhere.
type claimList struct {
	first, last *claim
	n           int
}

func (q *claimList) pushBack(c *claim) {
	c.prev, c.next, c.queued = q.last, nil, true
	if q.last != nil {
		q.last.next = c
	} else {
		q.first = c
	}
	q.last = c
	q.n++
}

func (q *claimList) pushFront(c *claim) {
	c.prev, c.next, c.queued = nil, q.first, true
	if q.first != nil {
		q.first.prev = c
	} else {
		q.last = c
	}
	q.first = c
	q.n++
}

func (q *claimList) popFront() *claim {
	c := q.first
	q.remove(c)
	return c
}

func (q *claimList) remove(c *claim) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		q.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		q.last = c.prev
	}
	c.prev, c.next, c.queued = nil, nil, false
	q.n--
}
