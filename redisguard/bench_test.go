package redisguard

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkClaims is claims of fresh tickets on a server of its own, by so many
// goroutines, each of which waits for its answer.
//
//	go test -run '^$' -bench Claims -benchtime 3s
func BenchmarkClaims(b *testing.B) {
	s := startServer(b)
	config := Config{URL: s.url(), Leeway: 2 * time.Second, MaxSkew: 2 * time.Second}
	for _, n := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) {
			s.must("FLUSHALL")
			remember(b, s, config)
			g := newGuard(b, config)
			var left atomic.Int64
			left.Store(int64(b.N))
			began := time.Now()
			b.ResetTimer()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := g.Spend(context.Background(), ticket(10)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "claims/s")
			st := g.Stats()
			b.ReportMetric(float64(st.Claimed)/float64(st.Batches), "claims/call")
		})
	}
}
