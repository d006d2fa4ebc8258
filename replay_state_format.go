package wsticket

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"slices"
	"time"
)

// The file of a saved ReplayCache: stateMagic, a header with a checksum of its own,
// the parts of each frame that served a slot, and a checksum over all of it. A part is
// how many tickets it has, how many of these are in the filter, and then its lanes and
// its filter if they hold any. Numbers are little-endian.
//
// Later versions begin with the same words, by which foreign knows a state.
//
// The checksums (CRC-32C) are for accidents. Whoever can write the file on purpose can
// do what the process does.
const stateMagic = "wsticket replay state 1\n"

type stateHeader struct {
	saved          int64 // seconds since 1970
	notAfter       int64 // ReplayCache.notAfter
	maxTTL, leeway int64 // seconds
	size           replaySize
	closed         []slotSpan
	open           []int64 // slots of the frames that follow, the one used least recently first
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errStateDamaged = errors.New("it is damaged")
)

// sealed is the slot of a part that holds the tickets of its frame's last slot when
// the set is sealed. Like noSlot it is no expiry.
const sealed = -2

// seal takes the slots of all frames away and remembers them. A use that found a frame
// before, and comes to a part after, finds that the part does not serve its slot, looks
// again at the frame, and is refused. A use that came to the part before is in the part.
func (s *frameSet) seal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil {
		return
	}
	s.last = make([]int64, len(s.frames))
	for n := range s.frames {
		f := &s.frames[n]
		slot := f.slot.Load()
		s.last[n] = slot
		if slot == noSlot {
			continue
		}
		f.slot.Store(noSlot)
		for i := range f.parts {
			p := &f.parts[i]
			p.mu.Lock()
			if p.slot == slot {
				p.slot = sealed
			} else {
				p.slot = noSlot
			}
			p.mu.Unlock()
		}
	}
}

// write writes the state of a sealed cache.
func (c *ReplayCache) write(to io.Writer, now int64) error {
	s := &c.frameSet
	s.mu.Lock()
	defer s.mu.Unlock()
	h := stateHeader{saved: now, notAfter: c.notAfter, maxTTL: int64(c.maxTTL / time.Second), leeway: c.behind, size: s.size, closed: s.closed.spans}
	var order []int
	for _, n := range s.recent.Keys() { // the oldest first
		if s.last[n] != noSlot {
			order = append(order, n)
			h.open = append(h.open, s.last[n])
		}
	}
	w := &stateWriter{w: bufio.NewWriterSize(to, 256<<10)}
	w.put([]byte(stateMagic))
	w.put(h.append(nil))
	w.put(binary.LittleEndian.AppendUint32(nil, w.sum))
	for _, n := range order {
		f := &s.frames[n]
		for i := range f.parts {
			p := &f.parts[i]
			if p.slot != sealed {
				w.put(make([]byte, 8))
				continue
			}
			w.put(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, p.live), p.overflow))
			if p.live > 0 {
				w.words(f.lanesOf(&s.size, uint64(i)))
			}
			if p.overflow > 0 {
				w.words(p.filter.BitSet().Words())
			}
		}
	}
	w.put(binary.LittleEndian.AppendUint32(nil, w.sum))
	return errors.Join(w.err, w.w.Flush())
}

// restore fills a new cache with what f holds. With an error, past is what can be relied
// on in spite of it, or nil, and the cache is of no use.
func (c *ReplayCache) restore(f *os.File, now int64) (past *stateHeader, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r := &stateReader{}
	r.reset(f)
	past, err = r.header()
	if err != nil {
		return nil, err
	}
	if !info.ModTime().Equal(stateTime(past.saved)) {
		return past, errors.New("it was copied or changed after it was saved")
	}
	if err := c.unfit(past, now); err != nil {
		return past, err
	}
	return past, c.fill(r, past)
}

// unfit says why this cache cannot go on where the other ended.
func (c *ReplayCache) unfit(h *stateHeader, now int64) error {
	maxTTL := int64(c.maxTTL / time.Second)
	switch {
	case h.saved > now:
		return fmt.Errorf("it was saved at %v, and that is later than now", time.Unix(h.saved, 0).UTC())
	case now-h.saved > h.maxTTL+2*h.leeway:
		return fmt.Errorf("it was saved %d s ago, and all its tickets have expired", now-h.saved)
	case h.maxTTL != maxTTL || h.leeway != c.behind:
		return fmt.Errorf("it was saved with a MaxTTL of %d s and a Leeway of %d s, and this cache has %d s and %d s", h.maxTTL, h.leeway, maxTTL, c.behind)
	case h.size != c.size:
		return errors.New("it was saved with another PeakPerSecond or on another number of processors")
	}
	return nil
}

// fill reads the frames into a new set, which is then as the one that was saved.
func (s *frameSet) fill(r *stateReader, h *stateHeader) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed.spans = append(s.closed.spans, h.closed...)
	for _, slot := range h.open {
		n := s.take()
		f := &s.frames[n]
		f.slot.Store(slot)
		s.hints[slot&s.hintMask].Store(uint32(n))
		s.recent.Get(n)
		for i := range f.parts {
			if err := f.fill(r, &s.size, uint64(i), slot); err != nil {
				return err
			}
		}
	}
	return r.end()
}

func (f *frame) fill(r *stateReader, z *replaySize, i uint64, slot int64) error {
	p := &f.parts[i]
	live, overflow := r.uint32(), r.uint32()
	if r.err != nil || overflow > live || uint64(live-overflow) > z.partLanes() {
		return r.damaged()
	}
	p.slot, p.live, p.overflow = slot, live, overflow
	p.accepted -= uint64(live) // not by this cache: it comes out as 0
	lanes := f.lanesOf(z, i)
	if live > 0 {
		r.words(lanes)
	}
	if overflow > 0 {
		r.words(p.filter.BitSet().Words())
	}
	if r.err != nil || !soundPart(p, lanes) {
		return r.damaged()
	}
	return nil
}

// soundPart says whether a part is as spend leaves one: a bucket fills up from its first
// lane, and the filter is used when a bucket is full.
func soundPart(p *part, lanes []uint64) bool {
	held, full := uint32(0), false
	for bucket := range slices.Chunk(lanes, bucketLanes) {
		n := 0
		for n < bucketLanes && bucket[n] != 0 {
			n++
		}
		for _, lane := range bucket[n:] {
			if lane != 0 {
				return false
			}
		}
		held += uint32(n)
		full = full || n == bucketLanes
	}
	return held == p.live-p.overflow && (p.overflow == 0 || full && p.filter.BitSet().Any())
}

// closeAll closes every slot of a cache that ended: what that one accepted is refused.
func (s *frameSet) closeAll(h *stateHeader, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed.spans = append(s.closed.spans, h.closed...)
	s.closed.at(slotSpan{now, now + int64(len(s.frames))})
	for _, slot := range h.open {
		s.closed.add(slot)
	}
}

func (h *stateHeader) append(b []byte) []byte {
	z := &h.size
	for _, n := range []int64{h.saved, h.notAfter, h.maxTTL, h.leeway, int64(z.frames), int64(z.parts), int64(z.buckets), int64(z.filterWords), int64(z.hashes), int64(len(h.closed)), int64(len(h.open))} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	for _, s := range h.closed {
		b = binary.LittleEndian.AppendUint64(b, uint64(s.low))
		b = binary.LittleEndian.AppendUint64(b, uint64(s.high))
	}
	for _, slot := range h.open {
		b = binary.LittleEndian.AppendUint64(b, uint64(slot))
	}
	return b
}

// header reads the magic and the header, and makes sure of both.
func (r *stateReader) header() (*stateHeader, error) {
	var magic [len(stateMagic)]byte
	r.get(magic[:])
	if r.err != nil || string(magic[:]) != stateMagic {
		return nil, errors.New("it is empty, cut short or not the state of a ReplayCache of this version")
	}
	var n [11]int64
	for i := range n {
		n[i] = r.int64()
		if i > 3 && (n[i] < 0 || n[i] > math.MaxInt32) { // an int, wherever it was saved
			return nil, r.damaged()
		}
	}
	h := &stateHeader{saved: n[0], notAfter: n[1], maxTTL: n[2], leeway: n[3]}
	h.size = replaySize{frames: int(n[4]), parts: int(n[5]), buckets: uint64(n[6]), filterWords: int(n[7]), hashes: uint(n[8])}
	for 1<<h.size.partBits < h.size.parts && h.size.partBits < 30 {
		h.size.partBits++
	}
	if r.err != nil || n[9] > maxClosedSpans || n[10] > maxFrames {
		return nil, r.damaged()
	}
	before := int64(noSlot - 1)
	for range n[9] {
		s := slotSpan{r.int64(), r.int64()}
		if r.err != nil || s.low <= before+1 || s.high < s.low || s.high >= timeEnd {
			return nil, r.damaged()
		}
		h.closed = append(h.closed, s)
		before = s.high
	}
	for range n[10] {
		slot := r.int64()
		if r.err != nil || slot < 0 || slot >= timeEnd || slices.Contains(h.open, slot) {
			return nil, r.damaged()
		}
		h.open = append(h.open, slot)
	}
	if !r.checks() || h.saved < 0 || h.saved >= timeEnd || h.notAfter < 0 || h.notAfter >= 2*timeEnd ||
		h.maxTTL < 1 || h.maxTTL > int64(longestTTL/time.Second) || h.leeway < 0 || h.leeway > int64(longestLeeway/time.Second) || len(h.open) > h.size.frames {
		return nil, r.damaged()
	}
	return h, nil
}

// maxFrames is how many frames the largest configuration has.
const maxFrames = int64(longestTTL/time.Second + 2*longestLeeway/time.Second + 3)

// stateWriter writes with a checksum over all before. After an error it does nothing.
type stateWriter struct {
	w   *bufio.Writer
	sum uint32
	err error
	buf [8 << 10]byte
}

func (w *stateWriter) put(b []byte) {
	w.sum = crc32.Update(w.sum, castagnoli, b)
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
}

func (w *stateWriter) words(list []uint64) {
	for chunk := range slices.Chunk(list, len(w.buf)/8) {
		for i, word := range chunk {
			binary.LittleEndian.PutUint64(w.buf[8*i:], word)
		}
		w.put(w.buf[:8*len(chunk)])
	}
}

// stateReader reads the same. After an error it returns zeros.
type stateReader struct {
	r   *bufio.Reader
	sum uint32
	err error
	buf [8 << 10]byte
}

func (r *stateReader) reset(from io.Reader) { r.r = bufio.NewReaderSize(from, 256<<10) }

func (r *stateReader) get(b []byte) {
	if r.err == nil {
		_, r.err = io.ReadFull(r.r, b)
	}
	if r.err != nil {
		clear(b)
	}
	r.sum = crc32.Update(r.sum, castagnoli, b)
}

func (r *stateReader) uint32() uint32 {
	r.get(r.buf[:4])
	return binary.LittleEndian.Uint32(r.buf[:4])
}

func (r *stateReader) int64() int64 {
	r.get(r.buf[:8])
	return int64(binary.LittleEndian.Uint64(r.buf[:8]))
}

func (r *stateReader) words(to []uint64) {
	for chunk := range slices.Chunk(to, len(r.buf)/8) {
		b := r.buf[:8*len(chunk)]
		r.get(b)
		for i := range chunk {
			chunk[i] = binary.LittleEndian.Uint64(b[8*i:])
		}
	}
}

// checks reads a checksum over all before it and says whether it is right.
func (r *stateReader) checks() bool {
	want := r.sum
	return r.uint32() == want && r.err == nil
}

// end makes sure of the last checksum and that nothing follows it.
func (r *stateReader) end() error {
	if !r.checks() {
		return r.damaged()
	}
	if _, err := r.r.ReadByte(); err != io.EOF {
		return r.damaged()
	}
	return nil
}

// damaged is the error for what cannot have been written by Save, or could not be read.
func (r *stateReader) damaged() error {
	if r.err != nil && !errors.Is(r.err, io.EOF) && !errors.Is(r.err, io.ErrUnexpectedEOF) {
		return r.err
	}
	return errStateDamaged
}
