package etcdguard

import (
	"context"
	"errors"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A slot is a second of expiry and the one lease that its claims are under. Guard.mu
// guards it.
type slot struct {
	lease   clientv3.LeaseID // 0 while it is being opened
	over    bool             // the lease has ended, or it never had one and lies below the floor
	until   time.Time        // when this guard may forget what it knows of it
	waiting []*claim         // for the lease
}

// slotLocked returns what there is about a slot, and starts to open it where there is
// nothing. The caller holds g.mu.
func (g *Guard) slotLocked(second, now int64) *slot {
	if s := g.slots[second]; s != nil {
		return s
	}
	at := time.Now()
	for n, s := range g.slots {
		if at.After(s.until) && len(s.waiting) == 0 {
			delete(g.slots, n)
		}
	}
	ttl := max(second+g.leeway+2*g.maxSkew+1-now, 1)
	s := &slot{until: at.Add(time.Duration(ttl) * time.Second)}
	g.slots[second] = s
	g.all.Go(func() {
		ctx, cancel := context.WithTimeout(g.ctx, g.timeout)
		defer cancel()
		lease, err := g.open(ctx, second, ttl)
		g.opened(second, s, lease, err)
	})
	return s
}

// open finds the lease of a slot, or gives it one.
func (g *Guard) open(ctx context.Context, second, ttl int64) (clientv3.LeaseID, error) {
	marker := g.keys.marker(second)
	answer, whole, err := g.transact(ctx, nil, []clientv3.Op{clientv3.OpGet(marker), clientv3.OpGet(g.keys.state)}, nil)
	if err != nil {
		return 0, err
	}
	if kv := kvOf(answer, 0); kv != nil {
		return leaseOf(string(kv.Value))
	}
	if !whole {
		return 0, errOtherStore
	}
	var lease clientv3.LeaseID
	err = g.members.try(ctx, &g.counters.retries, func(ctx context.Context, c *clientv3.Client) error {
		granted, err := c.Grant(ctx, ttl)
		if err == nil {
			lease = granted.ID
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	answer, whole, err = g.transact(ctx,
		[]clientv3.Cmp{
			clientv3.Compare(clientv3.CreateRevision(marker), "=", 0),
			clientv3.Compare(clientv3.Value(g.keys.state), "<", fixed(second)), // the floor stands first in it
		},
		[]clientv3.Op{clientv3.OpPut(marker, strconv.FormatInt(int64(lease), 16)), clientv3.OpGet(g.keys.state)},
		[]clientv3.Op{clientv3.OpGet(marker), clientv3.OpGet(g.keys.state)})
	switch {
	case err != nil:
		return 0, err
	case answer.Succeeded:
		return lease, nil
	}
	// Another guard was first, or an attempt of our own whose answer was lost; or
	// the slot is not to be opened again.
	if kv := kvOf(answer, 0); kv != nil {
		return leaseOf(string(kv.Value))
	}
	if !whole {
		return 0, errOtherStore
	}
	return 0, errSlotOver
}

var errBadMarker = errors.New("the marker of a slot does not name a lease; somebody else writes under this prefix")

func leaseOf(text string) (clientv3.LeaseID, error) {
	n, err := strconv.ParseInt(text, 16, 64)
	if err != nil || n <= 0 {
		return 0, errBadMarker
	}
	return clientv3.LeaseID(n), nil
}

// opened hands the lease to the claims that wait for it.
func (g *Guard) opened(second int64, s *slot, lease clientv3.LeaseID, err error) {
	g.mu.Lock()
	claims := s.waiting
	s.waiting = nil
	switch {
	case err == nil:
		s.lease = lease
		g.enqueueLocked(lease, claims...)
		claims = nil
	case errors.Is(err, errSlotOver):
		s.over = true
	default: // the next claim tries again
		delete(g.slots, second)
	}
	g.mu.Unlock()
	for _, c := range claims {
		var e *spendError
		if !errors.As(err, &e) {
			err = failure(err)
		}
		g.finish(c, err)
	}
}

// endSlot notes that the lease of a slot has ended. Where the store has been replaced
// the slot may have another one by now, so it is looked up once more.
func (g *Guard) endSlot(second int64, lease clientv3.LeaseID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.slots[second]; s != nil && s.lease == lease {
		s.over = true
	}
}

// forgetSlots drops what is known of the slots of another store.
func (g *Guard) forgetSlots() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for n, s := range g.slots {
		if len(s.waiting) == 0 && (s.lease != 0 || s.over) {
			delete(g.slots, n)
		}
	}
}
