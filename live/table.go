package live

import (
	"bytes"
	"math/bits"
)

// A Registry finds connections by session and by subject in two tables of the same
// kind. A table leads to the first connection of a group, those of one key; the others
// are linked to it.
const (
	ofSession = iota
	ofSubject
)

type link struct{ next, prev *Conn } // in the group; its leader has no prev

// A table is a hash table of groups. What makes it slow is memory that is not in the
// cache, so a bucket is one line of it, with a byte of each hash: to see that there is
// no group of that key, or that it is this one, takes one line most of the time.
// A segment is so large that the allocator gives it whole pages. It puts a word before a
// smaller one, and each bucket would lie on two lines.
//
// It grows by one bucket at a time (linear hashing: Litwin, 1980), so no insertion
// pays for the growth of a million. It never shrinks.
type table struct {
	index    int
	segments []*[segmentLen]bucket
	buckets  uint64 // in use
	groups   uint64
}

type bucket struct {
	tags    uint64 // a byte for each leader, 0 where there is none
	leaders [bucketLen]*Conn
	more    *bucket // where they are too many
}

const (
	bucketLen  = 6
	segmentLen = 512
)

func (t *table) init(index int) {
	t.index = index
	t.segments = append(t.segments, new([segmentLen]bucket))
	t.buckets = segmentLen
}

func (t *table) key(c *Conn) []byte {
	subject, session := c.key()
	if t.index == ofSession {
		return session
	}
	return subject
}

func (t *table) bucket(n uint64) *bucket { return &t.segments[n/segmentLen][n%segmentLen] }

// place is the bucket of a hash: buckets from the round on have been split from those
// below.
func (t *table) place(h uint64) *bucket {
	round := t.round()
	n := h & (2*round - 1)
	if n >= t.buckets {
		n -= round
	}
	return t.bucket(n)
}

// round is the greatest power of two that is not above the number of buckets.
func (t *table) round() uint64 { return 1 << (bits.Len64(t.buckets) - 1) }

func tagOf(h uint64) uint64 { return max(h>>56, 1) }

// with returns the places whose tag is that one, as the highest bit of a byte for each.
// It looks at all of them at once: a search would end anywhere, which no processor
// foresees.
func (b *bucket) with(tag uint64) uint64 {
	const each, low = 0x010101010101, 0x7f7f7f7f7f7f
	differ := b.tags ^ tag*each
	return ^((differ&low + low) | differ | low) & (each << 7)
}

// first is the first of the places that with returned.
func first(places uint64) int { return bits.TrailingZeros64(places) / 8 }

// put puts a leader into a place, or none.
func (b *bucket) put(i int, leader *Conn, tag uint64) {
	b.leaders[i] = leader
	b.tags = b.tags&^(0xff<<(8*i)) | tag<<(8*i)
}

// find returns the leader of a group, or nil, and the hash of its key.
func (t *table) find(key []byte) (leader *Conn, h uint64) {
	h = hash(key)
	return t.leader(key, h), h
}

// leader is find for who knows the hash.
func (t *table) leader(key []byte, h uint64) *Conn {
	for b := t.place(h); b != nil; b = b.more {
		for places := b.with(tagOf(h)); places != 0; places &= places - 1 {
			if c := b.leaders[first(places)]; bytes.Equal(t.key(c), key) {
				return c
			}
		}
	}
	return nil
}

// fetch looks at the line where a hash belongs, and is of no use but to have it brought
// from memory, see Registry.fetch.
func (t *table) fetch(h uint64) uint16 { return uint16(t.place(h).tags) }

// insert puts c into the group that find found for its key, behind the leader, or makes
// it the leader of a new one.
func (t *table) insert(c, leader *Conn, h uint64) {
	if leader == nil {
		t.counted(c, 1)
		t.lead(c, h)
		if t.groups++; t.groups > t.buckets*7/2 {
			t.grow()
		}
		return
	}
	own, its := &c.by[t.index], &leader.by[t.index]
	own.prev, own.next = leader, its.next
	if own.next != nil {
		own.next.by[t.index].prev = c
	}
	its.next = c
	t.counted(leader, 1)
}

// lead puts c into its bucket.
func (t *table) lead(c *Conn, h uint64) {
	b := t.place(h)
	free := b.with(0)
	for free == 0 {
		if b.more == nil {
			b.more = new(bucket)
		}
		b = b.more
		free = b.with(0)
	}
	b.put(first(free), c, tagOf(h))
}

// remove takes c out of its group, by the hash of its key. The second leads where the
// leader goes.
func (t *table) remove(c *Conn, h uint64) {
	own := &c.by[t.index]
	if own.next != nil {
		own.next.by[t.index].prev = own.prev
	}
	switch {
	case own.prev == nil:
		second := own.next
		if second == nil {
			t.groups--
		} else {
			t.counted(second, int(c.group)-1)
		}
		t.replace(c, second, h)
	case t.index == ofSubject:
		t.counted(t.leader(t.key(c), h), -1)
		fallthrough
	default:
		own.prev.by[t.index].next = own.next
	}
	*own = link{}
}

// replace puts another leader of the same key, or none, into the place of one.
func (t *table) replace(old, other *Conn, h uint64) {
	var before *bucket
	for b := t.place(h); ; before, b = b, b.more {
		for places := b.with(tagOf(h)); places != 0; places &= places - 1 {
			i := first(places)
			if b.leaders[i] != old {
				continue
			}
			if other != nil {
				b.leaders[i] = other
				return
			}
			b.put(i, nil, 0)
			if before != nil && b.tags == 0 {
				before.more = b.more
			}
			return
		}
	}
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
		t.segments = append(t.segments, new([segmentLen]bucket))
	}
	b := t.bucket(t.buckets - t.round())
	t.buckets++
	split := *b
	*b = bucket{}
	for b := &split; b != nil; b = b.more {
		for _, c := range b.leaders {
			if c != nil {
				t.lead(c, hash(t.key(c)))
			}
		}
	}
}
