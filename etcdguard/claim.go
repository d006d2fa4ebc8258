package etcdguard

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/wsticket/wsticket"
)

// A ticketKey is what makes a ticket one and the same.
type ticketKey struct {
	slot     int64 // exp
	identity [16]byte
}

// A claim asks the store for one ticket. All uses of the ticket that come to this node
// while it is on its way wait for it, and one of them is let in at most.
type claim struct {
	key    ticketKey
	issued int64
	// value is random, so that a claim that is made again after its answer was lost
	// knows its own key from that of another node.
	value string
	lease clientv3.LeaseID

	waiting int // uses; Guard.mu guards it

	done  chan struct{} // closed once err is final
	err   error
	taken atomic.Bool // one of the uses was let in
}

const (
	batchSize   = 64 // etcd allows 128 operations a transaction, unless set otherwise
	maxInFlight = 4  // transactions; more wait for the same disks
)

// join has a use wait for the claim of its ticket, and puts one on its way where there
// is none.
func (g *Guard) join(key ticketKey, use wsticket.Use) (*claim, error) {
	var value [16]byte
	rand.Read(value[:])
	g.mu.Lock()
	defer g.mu.Unlock()
	switch c := g.pending[key]; {
	case c != nil:
		c.waiting++
		return c, nil
	case g.closed.Load():
		return nil, errClosed
	case len(g.pending) >= g.maxPending:
		return nil, errFull
	case g.seen.has(key): // let in since it was last looked for
		return nil, errReplayedHere
	}
	s := g.slotLocked(key.slot, use.Now)
	if s.over {
		return nil, errSlotOver
	}
	c := &claim{key: key, issued: use.Issued, value: string(value[:]), waiting: 1, done: make(chan struct{})}
	g.pending[key] = c
	if s.lease == 0 { // it is being opened
		s.waiting = append(s.waiting, c)
	} else {
		g.enqueueLocked(s.lease, c)
	}
	return c, nil
}

// leave says that a use does not wait any more, unless the claim has finished.
func (g *Guard) leave(c *claim) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-c.done:
		return false
	default:
		c.waiting--
		return true
	}
}

// verdict is what a use learns of a claim that has finished.
func (c *claim) verdict() error {
	if c.err == nil && c.taken.Swap(true) {
		return errReplayedHere
	}
	return c.err
}

// finish ends a claim. A ticket is remembered here only when somebody is let in.
func (g *Guard) finish(c *claim, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.err = err
	if err == nil && c.waiting > 0 {
		g.seen.add(c.key)
	}
	delete(g.pending, c.key)
	close(c.done)
}

// enqueueLocked has claims of one slot join the queue. The caller holds g.mu.
func (g *Guard) enqueueLocked(lease clientv3.LeaseID, claims ...*claim) {
	for _, c := range claims {
		c.lease = lease
	}
	g.queue = append(g.queue, claims...)
	for wanted := (len(g.queue) + batchSize - 1) / batchSize; wanted > 0 && g.inFlight < maxInFlight; wanted-- {
		g.inFlight++
		g.all.Go(g.work)
	}
}

// work sends batches until the queue is empty. What comes while all workers wait for
// the store makes up the next batch.
func (g *Guard) work() {
	batch := make([]*claim, 0, batchSize)
	for {
		batch = batch[:0]
		g.mu.Lock()
		for len(g.queue) > 0 && len(batch) < batchSize {
			c := g.queue[0]
			g.queue[0] = nil
			g.queue = g.queue[1:]
			if c.waiting > 0 {
				batch = append(batch, c)
			} else { // nobody asks any more: the ticket stays unspent
				c.err = errGone
				delete(g.pending, c.key)
				close(c.done)
			}
		}
		if len(batch) == 0 {
			g.queue = nil
			g.inFlight--
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		g.commit(batch)
	}
}

// commit carries out claims and finishes each of them.
func (g *Guard) commit(batch []*claim) {
	ctx, cancel := context.WithTimeout(g.ctx, g.timeout)
	defer cancel()
	ops := make([]clientv3.Op, 0, len(batch)+1)
	for _, c := range batch {
		ops = append(ops, g.keys.claim(c))
	}
	ops = append(ops, clientv3.OpGet(g.keys.state))
	g.counters.batches.Add(1)
	answer, whole, err := g.transact(ctx, nil, ops, nil)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		g.leaseNotFound(batch)
		return
	}
	for i, c := range batch {
		switch {
		case err != nil:
			g.finish(c, failure(err))
		case !whole:
			g.finish(c, errOtherStore)
		case g.history.tooEarly(c.issued): // it has become so on the way
			g.finish(c, wsticket.ErrIssuedBeforeStart)
		case c.ours(answer, i):
			g.finish(c, nil)
		default:
			g.finish(c, wsticket.ErrReplayed)
		}
	}
}

// ours says whether the store has the ticket from this very claim: it was created
// now, or by an earlier attempt whose answer was lost.
func (c *claim) ours(answer *clientv3.TxnResponse, i int) bool {
	r := answer.Responses[i].GetResponseTxn()
	if r.GetSucceeded() {
		return true
	}
	for _, read := range r.GetResponses() {
		for _, kv := range read.GetResponseRange().GetKvs() {
			return string(kv.Value) == c.value
		}
	}
	return false
}

// claim is the transaction within the transaction that one claim consists of.
func (k *keys) claim(c *claim) clientv3.Op {
	key := k.ticket(c.key)
	return clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
		[]clientv3.Op{clientv3.OpPut(key, c.value, clientv3.WithLease(c.lease))},
		[]clientv3.Op{clientv3.OpGet(key)})
}

// leaseNotFound deals with a batch that failed as a whole, and left nothing in the
// store, because the lease of one of its slots has ended. The others go again.
func (g *Guard) leaseNotFound(batch []*claim) {
	bySlot := map[int64][]*claim{}
	for _, c := range batch {
		bySlot[c.key.slot] = append(bySlot[c.key.slot], c)
	}
	for slot, claims := range bySlot {
		if len(bySlot) > 1 {
			g.commit(claims)
			continue
		}
		g.endSlot(slot, claims[0].lease)
		for _, c := range claims {
			g.finish(c, errSlotOver)
		}
	}
}

// failure is the error of a claim that the store did not decide.
func failure(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return late(err)
	}
	return &spendError{wsticket.ErrReplayUnavailable, unavailable, "the store failed", err}
}

var errBadAnswer = errors.New("the answer does not belong to the question")

// transact carries out one transaction, at another member where one does not answer,
// until ctx ends. The last operation of then (and of otherwise, where there is a
// condition) reads the state. An attempt that got no answer may have been carried out,
// or be carried out later, so it must do no harm twice.
//
// whole says that the store is the one that it was when this began.
func (g *Guard) transact(ctx context.Context, when []clientv3.Cmp, then, otherwise []clientv3.Op) (answer *clientv3.TxnResponse, whole bool, err error) {
	known := g.history.known()
	err = g.members.try(ctx, &g.counters.retries, func(ctx context.Context, kv *clientv3.Client) error {
		answer, err = kv.Txn(ctx).If(when...).Then(then...).Else(otherwise...).Commit()
		return err
	})
	if err != nil {
		return nil, false, err
	}
	asked := then
	if !answer.Succeeded {
		asked = otherwise
	}
	if len(answer.Responses) != len(asked) || answer.Header == nil {
		return nil, false, errBadAnswer
	}
	return answer, g.history.judge(known, answer.Header, kvOf(answer, len(asked)-1)), nil
}
