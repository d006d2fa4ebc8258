package wsticket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A frame remembers the tickets of one slot. Why no ticket passes twice:
//
//  1. The same ticket has the same expiry and the same identity, so it reaches
//     the same slot and, in a frame, the same part and the same bucket.
//  2. A slot gets a frame at most once. frameSet.open gives it one under the lock
//     of the set, and refuses it from the moment it lost that frame.
//  3. A part is wiped only for a slot that its frame serves and the part does not
//     serve yet. So while a part serves a slot it holds every ticket that it
//     accepted for it, and once it serves another it never comes back, by 2.
//  4. Looking and marking happen under the lock of the part. Hence of two uses of
//     one ticket the later one finds the mark of the earlier, or a part that has
//     moved on, and then its frame has moved on as well and the use is refused.
//
// There is no clock in it.
type frame struct {
	slot    atomic.Int64 // noSlot when free; written under the lock of the set
	touched atomic.Bool  // used since the set last looked
	lanes   []uint64     // buckets of all parts; zero is an empty lane
	parts   []part
}

// part is a share of a frame with a lock of its own, one cache line long. A lane is
// written once and wiped only with the whole part, so a bucket that was full stays
// full and what it sent to the filter is looked for there.
type part struct {
	mu       sync.Mutex
	slot     int64 // the slot whose tickets the part holds; may lag behind the frame's
	filter   *bloom.BloomFilter
	live     uint32 // tickets of that slot in lanes and filter
	overflow uint32 // of those, in the filter

	// Counters of all slots before, and of replays.
	accepted uint64
	replayed uint64
	_        [16]byte
}

// noSlot is no expiry: those are not negative.
const noSlot = -1

type outcome uint8

const (
	accepted outcome = iota
	present          // accepted before
	gone             // the frame has left the slot
)

// spend marks the ticket in the slot, which is the one that the caller found the
// frame to serve. The frame may have moved on meanwhile.
func (f *frame) spend(z *replaySize, slot int64, id *[16]byte) outcome {
	// The identity is uniform: its first half says where, the second what. The
	// top bits pick the part, the rest of that half is scaled to a bucket.
	where := binary.LittleEndian.Uint64(id[:8])
	mark := binary.LittleEndian.Uint64(id[8:])
	if mark == 0 {
		mark = 1 // zero is an empty lane
	}
	i := where >> (64 - z.partBits)
	bucket, _ := bits.Mul64(where<<z.partBits, z.buckets)
	lanes := (*[bucketLanes]uint64)(f.lanes[(i*z.buckets+bucket)*bucketLanes:])

	p := &f.parts[i]
	p.mu.Lock()
	if p.slot != slot {
		if f.slot.Load() != slot {
			p.mu.Unlock()
			return gone
		}
		f.wipe(z, i)
		p.slot = slot
	}
	for l := range lanes {
		switch lanes[l] {
		case mark:
			p.replayed++
			p.mu.Unlock()
			return present
		case 0:
			lanes[l] = mark
			p.live++
			p.mu.Unlock()
			return accepted
		}
	}
	if p.filter.TestOrAdd(id[:]) {
		p.replayed++
		p.mu.Unlock()
		return present
	}
	p.live++
	p.overflow++
	p.mu.Unlock()
	return accepted
}

// wipe empties part i, whose lock the caller holds, leaving alone what is empty.
func (f *frame) wipe(z *replaySize, i uint64) {
	p := &f.parts[i]
	if p.overflow > 0 {
		p.filter.ClearAll()
	}
	if p.live > 0 {
		clear(f.lanesOf(z, i))
	}
	p.accepted += uint64(p.live)
	p.live, p.overflow = 0, 0
}

// lanesOf returns the lanes of part i.
func (f *frame) lanesOf(z *replaySize, i uint64) []uint64 {
	return f.lanes[i*z.partLanes() : (i+1)*z.partLanes()]
}

// frameSet is the fixed set of frames and what says which slot has which.
type frameSet struct {
	size     replaySize
	frames   []frame
	hints    []atomic.Uint32 // by slot modulo their number: the frame that got such a slot last
	hintMask int64

	mu   sync.Mutex // guards what follows, and the writing of frame.slot and hints
	free []int      // a stack, so that a frame which is resident goes first
	// recent has every frame, always, so it never allocates. It orders them by use
	// and not by slot: after the clock was ahead for a while, the slots that are in
	// use are the lowest ones.
	recent *simplelru.LRU[int, struct{}]

	// closed has every slot that lost its frame. It may also have one whose frame is
	// still open, and that one stays open.
	closed closedSlots

	used int     // frames that ever had a slot
	lost uint64  // slots that lost their frame early
	last []int64 // once the set is sealed: the slots of its frames when it was
}

func (s *frameSet) init(size replaySize) error {
	s.size = size
	s.frames = make([]frame, size.frames)
	s.closed = newClosedSlots()
	recent, err := simplelru.NewLRU[int, struct{}](size.frames, nil)
	if err != nil {
		return fmt.Errorf("wsticket: cannot order the frames of a ReplayCache: %w", err)
	}
	s.recent = recent

	// Twice as many hints as frames: on a sane clock no two open slots share one.
	hints := int64(2)
	for hints < 2*int64(size.frames) {
		hints *= 2
	}
	s.hints = make([]atomic.Uint32, hints)
	s.hintMask = hints - 1

	for n := size.frames - 1; n >= 0; n-- {
		s.free = append(s.free, n)
		s.recent.Add(n, struct{}{})
		f := &s.frames[n]
		f.slot.Store(noSlot)
		// The two large tables of a frame hold no pointers, and are not resident
		// before they are written to.
		f.lanes = make([]uint64, uint64(size.parts)*size.partLanes())
		filters := make([]uint64, size.parts*size.filterWords)
		f.parts = make([]part, size.parts)
		for i := range f.parts {
			p := &f.parts[i]
			p.slot = noSlot
			words := filters[:size.filterWords:size.filterWords]
			filters = filters[size.filterWords:]
			p.filter = bloom.From(words, size.hashes)
			if !soundFilter(p.filter, size) {
				return errors.New("wsticket: the Bloom filter of a ReplayCache is not as large as asked for")
			}
		}
	}
	return nil
}

// soundFilter makes sure that the filter can neither lose a bit nor answer without
// looking at one.
func soundFilter(b *bloom.BloomFilter, size replaySize) bool {
	m := uint(size.filterWords) * 64
	return m > 0 && b.Cap() == m && b.BitSet().Len() == m && b.K() == size.hashes && b.K() > 0
}

// frameOf returns the frame of a slot if its hint still says so, else nil.
func (s *frameSet) frameOf(slot int64) *frame {
	f := &s.frames[s.hints[slot&s.hintMask].Load()]
	if f.slot.Load() != slot {
		return nil
	}
	if !f.touched.Load() { // mostly set, and then the line stays shared between cores
		f.touched.Store(true)
	}
	return f
}

// open finds or makes the frame of a slot. It returns nil when the slot is closed or the
// set is sealed.
// Slots before oldest have had their time.
func (s *frameSet) open(slot, oldest int64) *frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil {
		return nil
	}
	for n := range s.frames {
		if s.frames[n].slot.Load() == slot {
			s.hints[slot&s.hintMask].Store(uint32(n))
			return s.frameOf(slot)
		}
	}
	s.closed.at(slotSpan{oldest, oldest + int64(len(s.frames))})
	s.closeBefore(oldest)
	if s.closed.has(slot) {
		return nil
	}
	n := s.take()
	s.frames[n].slot.Store(slot)
	s.hints[slot&s.hintMask].Store(uint32(n))
	return s.frameOf(slot)
}

// closeBefore frees the frames of the slots before oldest, and closes these slots. On
// the way it notes which frames were used.
func (s *frameSet) closeBefore(oldest int64) {
	for n := range s.frames {
		f := &s.frames[n]
		if f.touched.Load() {
			f.touched.Store(false)
			s.recent.Get(n)
		}
		if slot := f.slot.Load(); slot != noSlot && slot < oldest {
			s.closed.add(slot)
			f.slot.Store(noSlot)
			s.free = append(s.free, n)
		}
	}
}

// take returns a free frame, or else the one that was used least recently, whose
// slot it closes.
func (s *frameSet) take() int {
	if last := len(s.free) - 1; last >= 0 {
		n := s.free[last]
		s.free = s.free[:last]
		if n >= s.used {
			s.used = n + 1 // the first time round the stack yields 0, 1, 2, …
		}
		return n
	}
	n, _, _ := s.recent.GetOldest()
	s.closed.add(s.frames[n].slot.Load())
	s.lost++
	return n
}

func (s *frameSet) stats() ReplayStats {
	s.mu.Lock()
	st := ReplayStats{
		Frames:     len(s.frames),
		FramesOpen: len(s.frames) - len(s.free),
		FramesUsed: s.used,
		FramesLost: s.lost,
		Bytes:      s.size.bytes(),
		BytesUsed:  int64(s.used) * s.size.frameBytes(),
	}
	used := s.used
	s.mu.Unlock()
	for n := range s.frames[:used] {
		f := &s.frames[n]
		for i := range f.parts {
			p := &f.parts[i]
			p.mu.Lock()
			st.Accepted += p.accepted + uint64(p.live)
			st.Replayed += p.replayed
			if p.slot != noSlot && (p.slot == f.slot.Load() || p.slot == sealed) {
				st.Live += uint64(p.live)
				st.LiveOverflow += uint64(p.overflow)
			}
			p.mu.Unlock()
		}
	}
	return st
}
