package gateway

import (
	"errors"
	"hash/maphash"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// seats bound the connections, handshakes that are under way among them.
type seats struct {
	max   atomic.Int64
	taken atomic.Int64
}

var errFull = errors.New("every connection of max-connections is in use")

// A seat is one connection. The request that took it leaves it, unless it is kept for a
// tunnel, which leaves it when it ends.
type seat struct {
	leave func()
	kept  *bool
}

func (s seat) keep() { *s.kept = true }

func (s *seats) take() (seat, error) {
	if s.taken.Add(1) > s.max.Load() {
		s.taken.Add(-1)
		return seat{}, errFull
	}
	return seat{sync.OnceFunc(func() { s.taken.Add(-1) }), new(bool)}, nil
}

// waiting are the connections that have not shaken hands: strangers too may open those,
// and each takes a descriptor. They get at most half of what there are.
type waiting struct {
	most atomic.Int64 // 0 for any number
	now  atomic.Int64
	told func()
}

// watch is for http.Server.ConnState.
func (p *waiting) watch(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if n := p.now.Add(1); p.most.Load() > 0 && n > p.most.Load() {
			conn.Close()
			p.told()
		}
	case http.StateHijacked, http.StateClosed:
		p.now.Add(-1)
	}
}

// rates bound how often each of many names may do something. Names share a bucket by
// chance, one in thousands, so the memory is bounded and set in advance; whoever shares
// one with somebody greedy waits for a moment.
type rates struct {
	seed    maphash.Seed
	buckets []bucket
	limit   rate.Limit
	burst   int
}

type bucket struct {
	once    sync.Once
	limiter *rate.Limiter
}

// mintRates bound the mint, by who asks and from where.
type mintRates struct {
	perMinute            int
	bySubject, byAddress *rates
}

const rateBuckets = 1 << 14

func newRates(perMinute int) *rates {
	return &rates{maphash.MakeSeed(), make([]bucket, rateBuckets), rate.Limit(float64(perMinute) / 60), min(max(perMinute/6, 5), perMinute)}
}

// neighbourhood is what the rate of an address is counted for: who has one IPv6 address
// has the 2^64 of its network (RFC 6177).
func neighbourhood(addr netip.Addr) string {
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

// allow says whether name may act at now, and if not, how long until it may.
func (r *rates) allow(now time.Time, name string) (wait time.Duration, ok bool) {
	b := &r.buckets[maphash.String(r.seed, name)%rateBuckets]
	b.once.Do(func() { b.limiter = rate.NewLimiter(r.limit, r.burst) })
	// No reservation: of two that are open at once, one that is cancelled gives nothing back.
	if b.limiter.AllowN(now, 1) {
		return 0, true
	}
	missing := max(1-b.limiter.TokensAt(now), 0)
	return time.Duration(missing / float64(r.limit) * float64(time.Second)), false
}
