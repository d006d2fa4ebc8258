package wsticket

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkSpend spends a fresh ticket of TTL 10 s each time, on a virtual clock
// that moves on a second with every PeakPerSecond tickets, so that the stated
// number is live throughout.
//
// op=loop is the same loop without a cache, to be subtracted. op=floor is what it is held
// against: one pooled HMAC-SHA-256 over as many bytes
// as a short ticket signs.
func BenchmarkSpend(b *testing.B) {
	b.Run("op=floor", benchmarkSpendFloor)
	b.Run("op=loop", func(b *testing.B) {
		bench := &spendBench{guard: DangerouslyAllowReplay, peak: 1000}
		benchmarkSpendLoop(b, bench)
	})
	for _, size := range []struct {
		name string
		live int
	}{{"10k", 10_000}, {"1M", 1_000_000}, {"10M", 10_000_000}} {
		var bench *spendBench // one for all rows: filling it takes longer than measuring
		for _, goroutines := range []int{1, 2, 4, 8} {
			b.Run(fmt.Sprintf("op=spend/live=%s/goroutines=%d", size.name, goroutines), func(b *testing.B) {
				if bench == nil {
					bench = newSpendBench(b, size.live)
				}
				if goroutines == 1 {
					benchmarkSpendLoop(b, bench)
				} else {
					benchmarkSpendParallel(b, bench, goroutines)
				}
				if st := bench.cache.Stats(); st.FramesLost > 0 || st.Replayed+st.Unavailable > st.Accepted/1000 {
					b.Fatalf("the benchmark measures refusals: %+v", st)
				}
			})
		}
	}
	b.Run("op=replay/live=1M", func(b *testing.B) {
		bench := newSpendBench(b, 1_000_000)
		ids := make([]Use, 1<<14)
		for i := range ids {
			ids[i] = bench.next(uint64(i) | 1<<62)
			_ = bench.cache.Spend(context.Background(), ids[i])
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if bench.cache.Spend(context.Background(), ids[i&(1<<14-1)]) == nil {
				b.Fatal("accepted twice")
			}
			i++
		}
	})
}

// BenchmarkSpendStall measures the two things that others wait for, at the size of
// 10 million live tickets: giving a slot a frame, and wiping a full part. On a machine
// that does other things too, the very worst is the scheduler's, so it is left out.
func BenchmarkSpendStall(b *testing.B) {
	const peak = 1_000_000
	b.Run("op=open", func(b *testing.B) {
		bench := newSpendBench(b, spendBenchTTL*peak)
		slot := bench.now.Load() + spendBenchTTL
		var took stalls
		for b.Loop() {
			slot++
			start := time.Now()
			if bench.cache.open(slot, slot-spendBenchTTL) == nil {
				b.Fatal("refused")
			}
			took.add(time.Since(start))
		}
		took.report(b)
	})
	b.Run("op=wipe", func(b *testing.B) {
		bench := newSpendBench(b, spendBenchTTL*peak)
		size := &bench.cache.size
		parts := uint64(size.parts)
		var took stalls
		n := uint64(0)
		for b.Loop() {
			f := &bench.cache.frames[n/parts%spendBenchTTL]
			f.parts[n%parts].live, f.parts[n%parts].overflow = 1, 1
			start := time.Now()
			f.wipe(size, n%parts)
			took.add(time.Since(start))
			n++
		}
		took.report(b)
	})
}

type stalls []time.Duration

func (s *stalls) add(d time.Duration) {
	if len(*s) < 1_000_000 {
		*s = append(*s, d)
	}
}

func (s stalls) report(b *testing.B) {
	slices.Sort(s)
	b.ReportMetric(float64(s[len(s)*999/1000]), "p99.9-ns")
}

const spendBenchTTL = 10

type spendBench struct {
	cache *ReplayCache
	guard ReplayGuard // the cache
	peak  uint64
	spent atomic.Uint64
	now   atomic.Int64
}

func newSpendBench(b *testing.B, live int) *spendBench {
	peak := live / spendBenchTTL
	cache, err := NewReplayCache(ReplayConfig{PeakPerSecond: peak, MaxTTL: spendBenchTTL * time.Second, Since: time.Unix(0, 0)})
	if err != nil {
		b.Fatal(err)
	}
	bench := &spendBench{cache: cache, guard: cache, peak: uint64(peak)}
	bench.now.Store(1_795_219_200)
	bench.count(0)
	// One round through every frame in use, so that no page is touched first while
	// the clock of the benchmark runs.
	seed := rand.Uint64()
	for i := range uint64(peak * (spendBenchTTL + 5)) {
		if i%256 == 255 {
			bench.count(256)
		}
		_ = cache.Spend(context.Background(), bench.next(seed+i))
	}
	return bench
}

// next makes up a ticket whose identity is the 1st and 2nd step of splitmix64 after n.
func (s *spendBench) next(n uint64) Use {
	now := s.now.Load()
	t := Use{Issued: now, Expires: now + spendBenchTTL, Now: now}
	binary.LittleEndian.PutUint64(t.Identity[:8], splitmix(n*2))
	binary.LittleEndian.PutUint64(t.Identity[8:], splitmix(n*2+1))
	return t
}

// count moves the clock on with every peak-th ticket; called once every 256, it
// costs nothing to speak of and keeps the goroutines off one counter.
func (s *spendBench) count(n uint64) {
	before := s.spent.Add(n) - n
	if before/s.peak != (before+n)/s.peak {
		s.now.Add(1)
	}
}

func splitmix(n uint64) uint64 {
	n *= 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

func benchmarkSpendLoop(b *testing.B, bench *spendBench) {
	b.ReportAllocs()
	n := rand.Uint64()
	for b.Loop() {
		if n&255 == 255 {
			bench.count(256)
		}
		_ = bench.guard.Spend(context.Background(), bench.next(n))
		n++
	}
}

func benchmarkSpendParallel(b *testing.B, bench *spendBench, goroutines int) {
	if procs := runtime.GOMAXPROCS(0); procs < goroutines {
		b.Skipf("GOMAXPROCS is %d", procs)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(goroutines))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		n := rand.Uint64()
		for pb.Next() {
			if n&255 == 255 {
				bench.count(256)
			}
			_ = bench.guard.Spend(context.Background(), bench.next(n))
			n++
		}
	})
}

func benchmarkSpendFloor(b *testing.B) {
	const signed = 185
	key := make([]byte, 32)
	pool := sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}
	input := make([]byte, signed+1<<14)
	for i := range input {
		input[i] = byte(i)
	}
	var sum [sha256.Size]byte
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		mac := pool.Get().(hash.Hash)
		mac.Reset()
		mac.Write(input[n&(1<<14-1):][:signed])
		mac.Sum(sum[:0])
		pool.Put(mac)
		n++
	}
}
