package live

import "math/bits"

// A Registry finds connections by session and by subject in two tables of the same
// kind, which run through the connections themselves: a Conn has a link for each.
const (
	ofSession = iota
	ofSubject
)

type link struct {
	chain      *Conn // of a leader: the next leader in its bucket
	next, prev *Conn // in the group: those of one key; its leader has no prev
}

// A table is a hash table of groups, with one bucket for each group. It grows by a
// bucket at a time (linear hashing: Litwin, 1980), so no insertion pays for the
// growth of a million. It never shrinks.
type table struct {
	index    int
	segments [][]*Conn // of segmentLen buckets
	buckets  uint64    // in use
	groups   uint64
}

const segmentLen = 1 << 10

func (t *table) init(index int) {
	t.index = index
	t.segments = [][]*Conn{make([]*Conn, segmentLen)}
	t.buckets = segmentLen
}

func (t *table) key(c *Conn) string {
	if t.index == ofSession {
		return c.SessionID()
	}
	return c.Subject()
}

func (t *table) bucket(n uint64) **Conn { return &t.segments[n/segmentLen][n%segmentLen] }

// place is the bucket of a hash. round is the greatest power of two that is not above
// the number of buckets; those from round on have been split from those below.
func (t *table) place(h uint64) **Conn {
	round := t.round()
	n := h & (2*round - 1)
	if n >= t.buckets {
		n -= round
	}
	return t.bucket(n)
}

// find returns the leader of a group, or nil, and the bucket in which it would be.
func (t *table) find(key string) (leader *Conn, bucket **Conn) {
	bucket = t.place(hash(key))
	for leader = *bucket; leader != nil && t.key(leader) != key; {
		leader = leader.by[t.index].chain
	}
	return leader, bucket
}

// insert puts c into the group that find found for its key, behind the leader, or makes
// it the leader of a new one.
func (t *table) insert(c, leader *Conn, bucket **Conn) {
	own := &c.by[t.index]
	if leader != nil {
		first := &leader.by[t.index]
		own.prev, own.next = leader, first.next
		if own.next != nil {
			own.next.by[t.index].prev = c
		}
		first.next = c
		t.counted(leader, 1)
		return
	}
	own.chain = *bucket
	*bucket = c
	t.counted(c, 1)
	if t.groups++; t.groups > t.buckets {
		t.grow()
	}
}

// remove takes c out of its group. The second leads where the leader goes.
func (t *table) remove(c *Conn) {
	own := &c.by[t.index]
	if own.next != nil {
		own.next.by[t.index].prev = own.prev
	}
	switch {
	case own.prev == nil:
		at := t.place(hash(t.key(c)))
		for *at != c {
			at = &(*at).by[t.index].chain
		}
		if second := own.next; second != nil {
			second.by[t.index].chain = own.chain
			t.counted(second, int(c.group)-1)
			*at = second
		} else {
			*at = own.chain
			t.groups--
		}
	case t.index == ofSubject:
		leader, _ := t.find(t.key(c))
		t.counted(leader, -1)
		fallthrough
	default:
		own.prev.by[t.index].next = own.next
	}
	*own = link{}
}

func (t *table) counted(leader *Conn, n int) {
	if t.index == ofSubject {
		leader.group += uint32(n)
	}
}

// size is the number of connections of a subject by its leader.
func size(leader *Conn) int {
	if leader == nil {
		return 0
	}
	return int(leader.group)
}

// grow adds one bucket and splits another one for it.
func (t *table) grow() {
	if t.buckets%segmentLen == 0 {
		t.segments = append(t.segments, make([]*Conn, segmentLen))
	}
	from := t.bucket(t.buckets - t.round())
	t.buckets++
	chain := *from
	*from = nil
	for chain != nil {
		c := chain
		chain = c.by[t.index].chain
		to := t.place(hash(t.key(c)))
		c.by[t.index].chain = *to
		*to = c
	}
}

func (t *table) round() uint64 { return 1 << (bits.Len64(t.buckets) - 1) }
