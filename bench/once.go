package bench

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"

	"github.com/wsticket/wsticket"
)

const (
	oncePeak = 20_000 // tickets that a second is planned for
	onceTTL  = 10     // seconds
)

// A rememberer knows which tickets were used. spend says whether this is the first use.
type rememberer struct {
	name, source string
	ours         bool
	start        func() (spend func(id *[16]byte, expires, now int64) bool)
}

// once compares what remembers used tickets in a process: all have room for the tickets
// that live at the planned load, then comes more.
func once(r *run) (*Section, error) {
	s := &Section{
		Title: "Single use in memory",
		Asks:  "Planned for 20,000 tickets a second that live for 10 s: what does a use cost, how much memory is taken, and what happens when twice or four times as many come?",
		Columns: []Column{
			{Name: "ns a use", Better: -1},
			{Name: "MB", Digits: 1, Better: -1},
			{Name: "let in twice at 1 ×", Better: -1},
			{Name: "at 2 ×", Better: -1},
			{Name: "at 4 ×", Better: -1},
			{Name: "fresh ones refused at 4 ×", Better: -1},
		},
		Notes: []string{"One goroutine. Every ticket is shown once when it is minted and once again while it lives. The caches evict what a bounded cache must evict; the map never does, so its memory grows with the load."},
	}
	const source = "../../bench/once.go"
	for _, m := range []rememberer{
		{"wsticket.ReplayCache", source, true, replayCache},
		{"golang-lru v2", source, false, lruCache},
		{"otter v2", source, false, otterCache},
		{"a map with a lock, swept", source, false, plainMap},
	} {
		row := Row{Name: m.name, Ours: m.ours, Source: m.source}
		for range pick(r, 1, 5) {
			if r.Err() != nil {
				return nil, r.Err()
			}
			seconds := int64(pick(r, 12, 25))
			ns, mb, d1, _ := m.trial(1, seconds)
			_, _, d2, _ := m.trial(2, seconds)
			_, _, d4, refused := m.trial(4, seconds)
			row.add(ns, mb, float64(d1), float64(d2), float64(d4), float64(refused))
		}
		s.Rows = append(s.Rows, row)
		r.say("%s", m.name)
	}
	return s, nil
}

// trial runs virtual seconds at a load.
func (m *rememberer) trial(load int, seconds int64) (ns, mb float64, double, refused int) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	spend := m.start()
	const start = 1_795_219_200
	perSecond := load * oncePeak
	rng := rand.New(rand.NewPCG(uint64(load), 1))
	ids := make([][16]byte, perSecond*int(onceTTL))
	id := func(n uint64) (id [16]byte) { // number n, spread over all bits
		x := n*0x9e3779b97f4a7c15 + 1
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(id[:8], x^x>>31)
		x = (x ^ x>>29) * 0xff51afd7ed558ccd
		binary.LittleEndian.PutUint64(id[8:], x^x>>32)
		return id
	}
	var uses int
	var took time.Duration
	for now := int64(start); now < start+seconds; now++ {
		slot := int((now - start) % onceTTL)
		fresh := ids[slot*perSecond : (slot+1)*perSecond]
		for i := range fresh {
			fresh[i] = id(uint64(now-start)*uint64(perSecond) + uint64(i))
		}
		began := time.Now()
		for i := range fresh {
			if !spend(&fresh[i], now+onceTTL, now) {
				refused++
			}
		}
		took += time.Since(began)
		uses += len(fresh)
		// Those of one earlier second again, which still live.
		if age := 1 + rng.Int64N(onceTTL-1); now-age >= start {
			old := int((now - age - start) % onceTTL)
			for i := range perSecond {
				if spend(&ids[old*perSecond+i], now-age+onceTTL, now) {
					double++
				}
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(spend)
	return float64(took.Nanoseconds()) / float64(uses), float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)-int64(len(ids)*16)) / 1e6, double, refused
}

func replayCache() func(*[16]byte, int64, int64) bool {
	c, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: oncePeak, MaxTTL: onceTTL * time.Second, Since: time.Unix(0, 0)})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	return func(id *[16]byte, expires, now int64) bool {
		return c.Spend(ctx, wsticket.Use{Identity: *id, Issued: expires - onceTTL, Expires: expires, Now: now}) == nil
	}
}

func lruCache() func(*[16]byte, int64, int64) bool {
	c, err := lru.New[[16]byte, struct{}](oncePeak * onceTTL)
	if err != nil {
		panic(err)
	}
	return func(id *[16]byte, _, _ int64) bool {
		again, _ := c.ContainsOrAdd(*id, struct{}{})
		return !again
	}
}

func otterCache() func(*[16]byte, int64, int64) bool {
	c := otter.Must(&otter.Options[[16]byte, struct{}]{MaximumSize: oncePeak * onceTTL})
	return func(id *[16]byte, _, _ int64) bool {
		_, first := c.SetIfAbsent(*id, struct{}{})
		return first
	}
}

func plainMap() func(*[16]byte, int64, int64) bool {
	var mu sync.Mutex
	used := map[[16]byte]int64{}
	swept := int64(0)
	return func(id *[16]byte, expires, now int64) bool {
		mu.Lock()
		defer mu.Unlock()
		if now > swept {
			for id, expires := range used {
				if expires < now {
					delete(used, id)
				}
			}
			swept = now
		}
		if _, again := used[*id]; again {
			return false
		}
		used[*id] = expires
		return true
	}
}
