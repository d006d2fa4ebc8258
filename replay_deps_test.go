package wsticket

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"github.com/bits-and-blooms/bloom/v3"
	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// What single use rests on in the two libraries. A new version of either that behaves
// otherwise must fail here and not in production.

func TestDependencyBloom(t *testing.T) {
	const words, hashes = 64, 20
	data := make([]uint64, words)
	f := bloom.From(data, hashes)
	if f.Cap() != words*64 || f.K() != hashes || f.BitSet().Len() != words*64 {
		t.Fatalf("From: %d bits, set of %d, %d hashes", f.Cap(), f.BitSet().Len(), f.K())
	}
	key := func(n uint64) []byte {
		var b [16]byte
		binary.LittleEndian.PutUint64(b[:], splitmix(n))
		return b[:]
	}

	// TestOrAdd says what it found and then has it, for good: also when full. An answer
	// of "not here" means that it is here now.
	for n := range uint64(20_000) {
		k := key(n)
		before := f.Test(k)
		if got := f.TestOrAdd(k); got != before {
			t.Fatalf("TestOrAdd(%d) = %v after Test = %v", n, got, before)
		}
		if !f.Test(k) || !f.TestOrAdd(k) {
			t.Fatalf("%d was added and is not there", n)
		}
	}
	for n := range uint64(20_000) {
		if !f.Test(key(n)) {
			t.Fatalf("%d was forgotten", n)
		}
	}

	// The set neither grew nor left the words it was given, and the last ones are in use.
	if f.BitSet().Len() != words*64 || data[0] == 0 || data[words-1] == 0 {
		t.Error("the filter does not live in the words it was given")
	}
	f.ClearAll()
	if slices.Max(data) != 0 || f.Test(key(1)) {
		t.Error("ClearAll left something")
	}

	if m, k := bloom.EstimateParameters(1_000_000, filterRate); m < 28_755_000 || m > 28_756_000 || k != hashes {
		t.Errorf("EstimateParameters: %d bits and %d hashes for a million", m, k)
	}
	if !raceEnabled {
		k := key(7)
		if a := testing.AllocsPerRun(100, func() { f.TestOrAdd(k); f.ClearAll() }); a != 0 {
			t.Errorf("%v allocations", a)
		}
	}
}

// soundFilter refuses what these libraries make without complaint and what would
// accept tickets twice, or none at all.
func TestSoundFilter(t *testing.T) {
	size := replaySize{filterWords: 8, hashes: 20}
	if !soundFilter(bloom.New(512, 20), size) || !soundFilter(bloom.From(make([]uint64, 8), 20), size) {
		t.Error("refuses a good one")
	}
	if soundFilter(bloom.New(math.MaxUint, 20), size) {
		t.Error("takes the empty set that bloom.New makes of what it cannot allocate")
	}
	for name, f := range map[string]*bloom.BloomFilter{
		"too small":     bloom.From(make([]uint64, 7), 20),
		"empty set":     bloom.FromWithM(nil, 512, 20),
		"no hashes":     bloom.From(make([]uint64, 8), 0),
		"fewer hashes":  bloom.From(make([]uint64, 8), 19),
		"other modulus": bloom.FromWithM(make([]uint64, 8), 100, 20),
	} {
		if soundFilter(f, size) {
			t.Errorf("%s: passes", name)
		}
	}
	if !bloom.From(make([]uint64, 8), 0).Test([]byte("x")) {
		t.Log("a filter without hashes no longer has everything")
	}
}

func TestDependencyLRU(t *testing.T) {
	const size = 5
	lru, err := simplelru.NewLRU[int, struct{}](size, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range size {
		if lru.Add(n, struct{}{}) {
			t.Fatal("an eviction within the size")
		}
	}
	lru.Get(0)
	lru.Get(2)
	lru.Contains(1)
	lru.Peek(1)
	if got, want := lru.Keys(), []int{1, 3, 4, 0, 2}; !slices.Equal(got, want) {
		t.Errorf("from old to new: %v, want %v", got, want)
	}
	for range 2 { // GetOldest only looks
		if n, _, ok := lru.GetOldest(); n != 1 || !ok {
			t.Errorf("GetOldest() = %d, %v", n, ok)
		}
	}
	if lru.Len() != size {
		t.Errorf("Len() = %d", lru.Len())
	}
	if !raceEnabled {
		n := 0
		if a := testing.AllocsPerRun(100, func() { n++; lru.Get(n % size); lru.GetOldest() }); a != 0 {
			t.Errorf("%v allocations", a)
		}
	}
}
