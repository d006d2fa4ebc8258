package redisguard

import (
	"encoding/binary"
	"sync/atomic"
)

// A spentTable knows the tickets that this node let in lately, or was told that
// another did, so that showing them again costs the store nothing. It may forget: the
// store then says it once more. It takes a fresh ticket for a used one with a chance
// of 1 in 2^62.
type spentTable struct {
	marks []atomic.Uint64
}

const (
	spentMarks  = 1 << 17 // a megabyte
	spentBucket = 4
)

func (t *spentTable) init() { t.marks = make([]atomic.Uint64, spentMarks) }

// place returns the marks among which the identity has its own, and that one.
func (t *spentTable) place(identity *[16]byte) (bucket []atomic.Uint64, mark uint64) {
	at := int(binary.LittleEndian.Uint64(identity[:8])%(spentMarks/spentBucket)) * spentBucket
	return t.marks[at : at+spentBucket], max(binary.LittleEndian.Uint64(identity[8:]), 1) // 0 is a free place
}

func (t *spentTable) has(identity *[16]byte) bool {
	bucket, mark := t.place(identity)
	for i := range bucket {
		if bucket[i].Load() == mark {
			return true
		}
	}
	return false
}

// add puts the mark first and lets the last go. Two that do it at once may lose a
// mark.
func (t *spentTable) add(identity *[16]byte) {
	bucket, mark := t.place(identity)
	for i := range bucket {
		next := bucket[i].Swap(mark)
		if next == 0 {
			return
		}
		mark = next
	}
}
