package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsticket/wsticket"
)

// cores shows what a use costs where several goroutines use tickets at once.
func cores(r *run) (*Section, error) {
	s := &Section{
		Title: "Single use over cores",
		Asks:  "What does a use cost in wsticket.ReplayCache, in sum, where 1, 2, 4 and 8 goroutines use tickets at once?",
		Notes: []string{"Time over uses: half of what one goroutine takes is twice as many uses a second. Each figure holds the loop around it, some 20 ns for one goroutine. How fast two cores hand a line of memory to each other depends on the machine: on another one of two cores, two goroutines were slower in sum than one with up to 1 million live tickets. docs/decisions.md says why the locks stay."},
		Chart: 1,
	}
	sizes := []struct {
		name string
		live int
	}{{"10,000", 10_000}, {"1 million", 1_000_000}, {"10 million", 10_000_000}}
	goroutines := []int{1, 2, 4, 8}
	for _, n := range goroutines {
		s.Rows = append(s.Rows, Row{Name: fmt.Sprintf("wsticket.ReplayCache, %d at once", n), Ours: true, Source: "../../bench/cores.go"})
	}
	values := make([][][]float64, len(goroutines)) // of a row and a run
	runs := pick(r, 1, 5)
	for at, size := range sizes {
		s.Columns = append(s.Columns, Column{Name: "ns a use, " + size.name + " live", Better: -1})
		full, err := newFullCache(size.live)
		if err != nil {
			return nil, err
		}
		for run := range runs {
			for i, n := range goroutines {
				if r.Err() != nil {
					return nil, r.Err()
				}
				if at == 0 {
					values[i] = append(values[i], nil)
				}
				ns, err := full.spend(n, pick(r, 200_000, 2_000_000))
				if err != nil {
					return nil, err
				}
				values[i][run] = append(values[i][run], ns)
			}
		}
		r.say("%s live", size.name)
	}
	for i := range goroutines {
		for _, v := range values[i] {
			s.Rows[i].add(v...)
		}
	}
	return s, nil
}

// A fullCache is a cache with so many live tickets, on a clock that moves on a second
// with each tenth of them.
type fullCache struct {
	cache *wsticket.ReplayCache
	peak  uint64
	used  atomic.Uint64
}

func newFullCache(live int) (*fullCache, error) {
	const ttl = 10
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: live / ttl, MaxTTL: ttl * time.Second, Since: time.Unix(0, 0)})
	if err != nil {
		return nil, err
	}
	c := &fullCache{cache: cache, peak: uint64(live / ttl)}
	_, err = c.spend(1, live)
	return c, err
}

// spend has n goroutines use that many fresh tickets together, and says what one cost.
func (c *fullCache) spend(n, uses int) (ns float64, err error) {
	const start, ttl, batch = 1_795_219_200, 10, 64
	var all sync.WaitGroup
	var refused atomic.Int64
	end := c.used.Load() + uint64(uses)
	began := time.Now()
	for range n {
		all.Go(func() {
			rng := rand.NewPCG(rand.Uint64(), rand.Uint64())
			use := wsticket.Use{}
			for {
				first := c.used.Add(batch) - batch
				if first >= end {
					return
				}
				for i := range uint64(batch) {
					use.Now = start + int64((first+i)/c.peak)
					use.Issued, use.Expires = use.Now, use.Now+ttl
					binary.LittleEndian.PutUint64(use.Identity[:8], rng.Uint64())
					binary.LittleEndian.PutUint64(use.Identity[8:], rng.Uint64())
					if c.cache.Spend(context.Background(), use) != nil {
						refused.Add(1)
					}
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	// On a clock that runs ten thousand times as fast as ours, a goroutine that has to wait
	// for a core comes too late with its batch.
	if refused.Load() > int64(uses/50) {
		return 0, fmt.Errorf("%d of %d uses were refused", refused.Load(), uses)
	}
	return float64(took.Nanoseconds()) / float64(uses), nil
}
