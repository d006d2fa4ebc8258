package etcdguard

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// BenchmarkSpend measures claims of fresh tickets on three members that share this
// machine with the client.
func BenchmarkSpend(b *testing.B) {
	c := startCluster(b, 3)
	for _, goroutines := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			g := newGuard(b, Config{URL: c.url(), Prefix: fmt.Sprintf("bench%d/", goroutines)})
			g.history.since = 0
			for range goroutines { // the slot is open
				if err := g.Spend(b.Context(), fresh()); err != nil {
					b.Fatal(err)
				}
			}
			before := g.Stats()
			began := time.Now()
			n := make(chan struct{}, b.N)
			for range b.N {
				n <- struct{}{}
			}
			close(n)
			b.ResetTimer()
			var all sync.WaitGroup
			for range goroutines {
				all.Go(func() {
					for range n {
						if err := g.Spend(b.Context(), fresh()); err != nil {
							b.Error(err)
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			after := g.Stats()
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "claims/s")
			b.ReportMetric(float64(after.Claimed-before.Claimed)/float64(max(after.Batches-before.Batches, 1)), "claims/batch")
		})
	}
}
