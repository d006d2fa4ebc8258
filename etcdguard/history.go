package etcdguard

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// history is what a guard knows of the past of the store, to notice when it is not
// the store any more that it was: restored from a backup, or begun anew.
//
// The guards keep one key, the state, which holds a chain of beats. A guard adds one
// when it has not seen a new one for a second, and only if the state is still the one
// that it saw, so the chain has no branches. A store in which the last beat that a guard
// saw is not among those of the chain has lost it, and with it whatever was claimed
// since.
type history struct {
	mu       sync.Mutex
	cluster  uint64 // the id of the cluster, 0 before the first answer
	revision int64  // the highest of any answer
	modified int64  // the revision at which the newest state seen was written
	beat     string // the newest of it
	beatAt   time.Time
	since    int64 // the store is known to be whole from then on, in seconds since 1970
	settled  bool  // since is not to be taken over from another guard any more
	arrived  int64 // the revision of the first answer
	moves    uint64

	earliest int64  // since is as good as this much later: leeway + 2 MaxSkew
	name     string // of this guard: the first half of its own beats
	beats    uint32
	moved    func() // told of every move, without the lock
}

const (
	beatEvery = time.Second
	chainLen  = 32 // a guard that was away for as many seconds can no longer tell
	beatLen   = 16 // hexadecimal digits, the first half of them the guard's
)

func (h *history) init(earliest int64, now time.Time, moved func()) {
	var name [beatLen / 4]byte
	rand.Read(name[:])
	h.since, h.earliest, h.name, h.moved = now.Unix(), earliest, hex.EncodeToString(name[:]), moved
}

// tooEarly says whether a ticket may have been known to the store and forgotten. Who
// let it in did so before since, by a clock that is ours to 2 MaxSkew, and it was
// issued by then or at most a leeway later.
func (h *history) tooEarly(issued int64) bool {
	return issued <= h.sinceNow()+h.earliest
}

func (h *history) sinceNow() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.since
}

func (h *history) stats() (since, beat time.Time, moves uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Unix(h.since, 0), h.beatAt, h.moves
}

// knowledge is what an answer has to agree with: what was known when it was asked for.
// What was learnt since does not count, because answers overtake each other.
type knowledge struct {
	cluster  uint64
	revision int64
	beat     string
	moves    uint64
}

func (h *history) known() knowledge {
	h.mu.Lock()
	defer h.mu.Unlock()
	return knowledge{h.cluster, h.revision, h.beat, h.moves}
}

// judge says whether an answer fits what was known when it was asked for. If not, the
// store is not what it was, and since moves to now. state is the key of that name as
// the answer has it, nil where there is none.
func (h *history) judge(k knowledge, header *etcdserverpb.ResponseHeader, kv *mvccpb.KeyValue) bool {
	s, err := readState(kv)
	h.mu.Lock()
	first := h.cluster == 0
	whole := err == nil && header.Revision >= k.revision && (k.cluster == 0 || header.ClusterId == k.cluster) &&
		(k.beat == "" || slices.Contains(s.beats, k.beat))
	if !whole && k.moves != h.moves { // that is known already
		h.mu.Unlock()
		return false
	}
	move := !whole
	if move {
		h.moves++
		h.since = max(h.since, time.Now().Unix())
		h.settled = true
		h.revision, h.modified, h.beat = 0, 0, ""
	}
	if k.moves == h.moves || move {
		h.cluster = header.ClusterId
		h.revision = max(h.revision, header.Revision)
		if kv != nil && err == nil && kv.ModRevision > h.modified {
			h.modified = kv.ModRevision
			if newest := s.newest(); newest != h.beat {
				h.beat, h.beatAt = newest, time.Now()
			}
			h.settle(first, &s)
		}
		if first {
			h.arrived = header.Revision
		}
	}
	h.mu.Unlock()
	if move {
		h.moved()
	}
	return whole
}

// settle takes over what another guard knows, if it said so after we came: it has
// watched the store until then, and we have from before then on.
func (h *history) settle(first bool, s *state) {
	if first || h.settled || strings.HasPrefix(s.newest(), h.name) || h.modified <= h.arrived {
		return
	}
	h.since = min(h.since, s.since)
	h.settled = true
}

// due says whether it is for this guard to add a beat. One that has just come leaves it
// to those that know more, so that their beat tells it.
func (h *history) due(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	every := beatEvery
	if !h.settled && now.Unix() <= h.since+h.earliest {
		every = 5 * beatEvery / 2
	}
	return h.beat == "" || now.Sub(h.beatAt) >= every
}

// next is the state with one more beat, which vouches for what this guard knows.
func (h *history) next(s state) state {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.beats++
	s.since = h.since
	s.beats = append([]string{fmt.Sprintf("%s%08x", h.name, h.beats)}, s.beats...)
	s.beats = s.beats[:min(len(s.beats), chainLen)]
	return s
}

// A state is what the key of that name holds: the floor, up to which no slot is to be
// opened; since when whoever wrote it knows the store; and the beats, the newest first.
// Its text begins with the floor, and in a form that sorts as numbers do, because the
// condition of opening a slot compares it.
type state struct {
	floor, since int64
	beats        []string
}

func (s *state) newest() string {
	if len(s.beats) == 0 {
		return ""
	}
	return s.beats[0]
}

func (s state) text() string {
	return fixed(s.floor) + " " + fixed(s.since) + " " + strings.Join(s.beats, " ")
}

const fixedLen = 15

// timeEnd is the last second of the year 9999, after which no ticket expires.
const timeEnd = 253402300799

// fixed writes a time such that the order of texts is the order of times.
func fixed(second int64) string { return fmt.Sprintf("%0*d", fixedLen, second) }

var errBadState = errors.New("the state is not one that a guard wrote; somebody else writes under this prefix")

// readState is strict. No key at all is an empty state.
func readState(kv *mvccpb.KeyValue) (state, error) {
	if kv == nil {
		return state{}, nil
	}
	fields := bytes.Split(kv.Value, []byte(" "))
	if len(fields) < 3 || len(fields) > 2+chainLen {
		return state{}, errBadState
	}
	var s state
	for i, f := range fields {
		if i >= 2 {
			if _, err := hex.DecodeString(string(f)); err != nil || len(f) != beatLen {
				return state{}, errBadState
			}
			s.beats = append(s.beats, string(f))
			continue
		}
		n, err := strconv.ParseUint(string(f), 10, 63)
		if err != nil || len(f) != fixedLen || n > timeEnd {
			return state{}, errBadState
		}
		if i == 0 {
			s.floor = int64(n)
		} else {
			s.since = int64(n)
		}
	}
	if s.text() != string(kv.Value) { // the condition of opening a slot compares it as text
		return state{}, errBadState
	}
	return s, nil
}

// keep looks at the state about once a second until the guard is closed.
func (g *Guard) keep() {
	for n := 1; ; n++ {
		// At different times for each guard, so that one of them is first.
		wait := time.NewTimer(beatEvery + time.Duration(mrand.Int64N(int64(beatEvery/4))))
		select {
		case <-g.ctx.Done():
			wait.Stop()
			return
		case <-g.wake:
			wait.Stop()
		case <-wait.C:
		}
		ctx, cancel := context.WithTimeout(g.ctx, g.timeout)
		// An error shows in LastBeat and in what Spend answers.
		if err := g.look(ctx); err == nil && n%sweepEvery == 0 {
			g.sweep(ctx)
		}
		cancel()
	}
}

// storeMoved forgets what belongs to the store that is no more, and sees to it that
// the one in its place has a state.
func (g *Guard) storeMoved() {
	g.forgetSlots()
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// look reads the state, and adds a beat when it is time.
func (g *Guard) look(ctx context.Context) error {
	answer, _, err := g.transact(ctx, nil, []clientv3.Op{clientv3.OpGet(g.keys.state)}, nil)
	if err != nil {
		return err
	}
	if !g.history.due(time.Now()) {
		return nil
	}
	return g.beat(ctx, kvOf(answer, 0), 0)
}

// beat writes the state that follows the one in kv, if that still is the one in force.
// A floor above that of kv is raised, and the markers up to it are removed in the same
// transaction.
func (g *Guard) beat(ctx context.Context, kv *mvccpb.KeyValue, floor int64) error {
	s, err := readState(kv)
	if err != nil {
		return err
	}
	var modified int64
	if kv != nil {
		modified = kv.ModRevision
	}
	raised := floor > s.floor
	s.floor = max(s.floor, floor)
	then := []clientv3.Op{clientv3.OpPut(g.keys.state, g.history.next(s).text())}
	if raised {
		then = append(then, clientv3.OpDelete(g.keys.marker(0), clientv3.WithRange(g.keys.marker(floor+1))))
	}
	then = append(then, clientv3.OpGet(g.keys.state))
	_, _, err = g.transact(ctx,
		[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(g.keys.state), "=", modified)},
		then,
		[]clientv3.Op{clientv3.OpGet(g.keys.state)})
	return err
}

const (
	sweepEvery = 15 // looks
	sweepMost  = 120
)

// sweep raises the floor over the slots that are over and removes their markers. They
// are over when their lease has ended, which is a matter of the time that has passed
// and not of any clock; what this guard's own clock calls open is left alone besides.
func (g *Guard) sweep(ctx context.Context) error {
	end := time.Now().Unix() - g.leeway - 2*g.maxSkew
	answer, _, err := g.transact(ctx, nil, []clientv3.Op{
		clientv3.OpGet(g.keys.marker(0), clientv3.WithRange(g.keys.marker(max(end, 0))), clientv3.WithLimit(sweepMost)),
		clientv3.OpGet(g.keys.state),
	}, nil)
	if err != nil {
		return err
	}
	var floor int64
	for _, kv := range answer.Responses[0].GetResponseRange().GetKvs() {
		second, err := g.keys.second(string(kv.Key))
		if err != nil {
			return err
		}
		lease, err := leaseOf(string(kv.Value))
		if err != nil {
			return err
		}
		var ended bool
		err = g.members.try(ctx, &g.counters.retries, func(ctx context.Context, c *clientv3.Client) error {
			r, err := c.TimeToLive(ctx, lease)
			ended = err == nil && r.TTL < 0
			return err
		})
		if err != nil {
			return err
		}
		if !ended {
			break
		}
		floor = second
	}
	if floor == 0 {
		return nil
	}
	return g.beat(ctx, kvOf(answer, 1), floor)
}

// kvOf is the one key of the i-th response of a transaction, or nil.
func kvOf(answer *clientv3.TxnResponse, i int) *mvccpb.KeyValue {
	if kvs := answer.Responses[i].GetResponseRange().GetKvs(); len(kvs) == 1 {
		return kvs[0]
	}
	return nil
}
