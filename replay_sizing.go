package wsticket

import (
	"math"
	"runtime"

	"github.com/bits-and-blooms/bloom/v3"
)

const (
	maxPeakPerSecond = 10_000_000

	// maxReplayBytes keeps a slip of the configuration from asking the runtime for
	// more than it can give, which is not an error in Go but the end of the process.
	maxReplayBytes int64 = min(64<<30, math.MaxInt/2)
)

const (
	bucketLanes = 8 // 64-bit lanes: a bucket is one cache line

	// At the sized peak a bucket holds four tickets on average, half of its lanes:
	// then 0.8% of the tickets find it full.
	bucketLoad = bucketLanes / 2

	// The filters hold twice the sized peak at this rate of false refusals. That
	// many overflow at a little over four times the peak.
	filterLoad = 2
	filterRate = 1e-6

	// The most lane memory in a part: it is wiped under the part's lock, within
	// some ten microseconds.
	maxPartBytes = 256 << 10

	// Below this many tickets a part's share varies too much for the averages
	// above to mean anything.
	minPartPeak = 16
)

// replaySize is the shape of a cache: every frame has the same parts, every part
// the same buckets and filter.
type replaySize struct {
	frames      int
	parts       int    // a power of two
	partBits    uint   // log2 of parts
	buckets     uint64 // per part
	filterWords int    // per part
	hashes      uint   // bits per ticket in a filter
}

// replayParts is how many locks share the load of a slot: enough that two
// goroutines seldom want the same one, and that none guards too much memory.
func replayParts(peak int) int {
	parts := 64
	for parts < 8*runtime.GOMAXPROCS(0) || peak/parts*bucketLanes*8/bucketLoad > maxPartBytes {
		parts *= 2
	}
	return parts
}

// sizeReplay shapes a cache for peak tickets a second; maxTTL and leeway in seconds.
func sizeReplay(peak int, maxTTL, leeway int64, parts int) replaySize {
	perPart := max((peak+parts-1)/parts, minPartPeak)
	filterBits, hashes := bloom.EstimateParameters(uint(filterLoad*perPart), filterRate)
	size := replaySize{
		// reachable admits maxTTL+2*leeway+2 slots at one time; one more for
		// callers whose now is a second apart.
		frames:      int(maxTTL + 2*leeway + 3),
		parts:       parts,
		buckets:     uint64((perPart + bucketLoad - 1) / bucketLoad),
		filterWords: int((filterBits + 63) / 64),
		hashes:      hashes,
	}
	for 1<<size.partBits < parts {
		size.partBits++
	}
	return size
}

// partLanes is the number of lanes of one part.
func (z *replaySize) partLanes() uint64 { return z.buckets * bucketLanes }

// frameBytes is the memory of one frame, but for some hundred bytes a part.
func (z *replaySize) frameBytes() int64 {
	return int64(z.parts) * (int64(z.partLanes()) + int64(z.filterWords)) * 8
}

func (z *replaySize) bytes() int64 { return int64(z.frames) * z.frameBytes() }
