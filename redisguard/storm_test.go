package redisguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// TestStorm is claims from many nodes while everything that can go wrong does, one
// thing after the other, and an account that never forgets. It goes once through all
// faults, in any order; with WSTICKET_STORM set, again and again until the store has
// decided so many claims:
//
//	WSTICKET_SLOW=1 WSTICKET_STORM=10000000 go test -run TestStorm -v -timeout 1h
func TestStorm(t *testing.T) {
	slow(t)
	claims := int64(0)
	if text := os.Getenv("WSTICKET_STORM"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		claims = n
	}
	s := newStorm(t)
	defer s.stop()
	began := time.Now()
	rng := rand.New(rand.NewPCG(uint64(began.UnixNano()), 1))
	faults := map[string]int{}
	for rounds := 0; rounds == 0 || s.decided() < claims; rounds++ {
		order := slices.Clone(stormFaults)
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, f := range order {
			s.fault = f.name
			f.do(s)
			faults[f.name]++
			s.takesAgain(f.name)
			// A second of calm, and long enough that so many claims need not take for ever.
			time.Sleep(time.Second)
			for before := s.decided(); s.decided() < min(before+claims/200, claims); {
				time.Sleep(100 * time.Millisecond)
			}
			s.check()
		}
		if claims > 0 {
			fmt.Printf("%v: %d of %d claims decided, %d double accepts\n", time.Since(began).Round(time.Second), s.decided(), claims, s.doubles.Load())
		}
	}
	s.stop()
	s.check()
	took := time.Since(began)
	total := s.stats()
	t.Logf("%d uses of %d tickets in %v: the store decided %d; accepted %d, replayed %d (here %d), issued before start %d, skew %d, timeout %d, unavailable %d, evicting %d; double accepts %d",
		s.uses.Load(), s.minted.Load(), took.Round(time.Second), s.decided(), total.Claimed, total.Replayed+total.ReplayedHere, total.ReplayedHere,
		total.IssuedBeforeStart, total.Skew, total.Timeout, total.Unavailable, total.Evicting, s.doubles.Load())
	t.Logf("epochs moved %d times as nodes saw it; faults: %v", total.Moved, faults)
	if total.Claimed == 0 {
		t.Error("nothing was accepted")
	}
}

// A storm is two servers, of which one is the primary behind the proxy, and nodes.
type storm struct {
	t              *testing.T
	clock          *clock // of the first
	primary, other *server
	proxy          *proxy
	config         Config

	nodes [3]atomic.Pointer[Guard]

	mu       sync.Mutex
	past     Stats
	recent   []wsticket.Use
	accepted map[[16]byte]int64 // when it expires; kept while it may be shown

	uses, minted, doubles atomic.Int64
	fault                 string // the last
	running               sync.WaitGroup
	done                  context.Context
	end                   context.CancelFunc
	stopped               sync.Once
}

func newStorm(t *testing.T) *storm {
	s := &storm{t: t, accepted: map[[16]byte]int64{}}
	s.primary, s.clock = startServerWithClock(t, "+0s")
	s.other = startServer(t)
	s.other.replicate(s.primary)
	remember(t, s.primary)
	s.proxy = startProxy(t, s.primary.addr())
	s.config = shortest(s.proxy.url())
	s.config.Timeout = 200 * time.Millisecond
	for i := range s.nodes {
		s.nodes[i].Store(newGuard(t, s.config))
	}
	s.done, s.end = context.WithCancel(context.Background())
	for i := range 96 {
		s.running.Go(func() { s.work(rand.New(rand.NewPCG(rand.Uint64(), uint64(i)))) })
	}
	return s
}

// work shows tickets until the end: fresh ones, and recent ones to other nodes.
func (s *storm) work(rng *rand.Rand) {
	for s.done.Err() == nil {
		u, ok := s.pick(rng)
		if !ok {
			continue
		}
		ctx, cancel := s.done, context.CancelFunc(func() {})
		if rng.IntN(10) == 0 { // a client that leaves
			ctx, cancel = context.WithTimeout(ctx, time.Duration(rng.IntN(2000))*time.Microsecond)
		}
		g := s.nodes[rng.IntN(len(s.nodes))].Load()
		err := g.Spend(ctx, u)
		cancel()
		s.uses.Add(1)
		if errors.Is(err, wsticket.ErrIssuedBeforeStart) {
			time.Sleep(time.Millisecond) // decided here, and there are many
		}
		if err == nil {
			s.mu.Lock()
			if s.accepted[u.Identity] != 0 {
				s.doubles.Add(1)
			}
			s.accepted[u.Identity] = u.Expires
			s.mu.Unlock()
		}
	}
}

// pick returns a fresh ticket, or one that was minted of late and lives.
func (s *storm) pick(rng *rand.Rand) (u wsticket.Use, ok bool) {
	const keep = 1 << 15
	if rng.IntN(3) == 0 {
		u = ticket(1 + rng.Int64N(10))
		s.minted.Add(1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.recent)
	switch {
	case u.Expires != 0 && n < keep:
		s.recent = append(s.recent, u)
		return u, true
	case u.Expires != 0:
		s.recent[rng.IntN(n)] = u
		return u, true
	case n == 0:
		return u, false
	}
	i := rng.IntN(n)
	u = s.recent[i]
	if u.Now = time.Now().Unix(); u.Now >= u.Expires { // no verifier asks
		s.recent[i] = s.recent[n-1]
		s.recent = s.recent[:n-1]
		return u, false
	}
	return u, true
}

func (s *storm) check() {
	s.t.Helper()
	s.mu.Lock()
	for id, expires := range s.accepted {
		if time.Now().Unix() > expires+60 {
			delete(s.accepted, id)
		}
	}
	s.mu.Unlock()
	if n := s.doubles.Load(); n > 0 {
		s.t.Fatalf("%d double accepts, after: %s", n, s.fault)
	}
}

func (s *storm) takesAgain(fault string) {
	s.t.Helper()
	for i := range s.nodes {
		before := s.nodes[i].Load().Stats().Claimed
		within(s.t, time.Minute, "tickets are taken again after: "+fault, func() bool { return s.nodes[i].Load().Stats().Claimed > before })
	}
}

func (s *storm) stop() {
	s.stopped.Do(func() {
		s.end()
		s.running.Wait()
	})
}

// stats sums over all nodes that there were.
func (s *storm) stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := s.past
	for i := range s.nodes {
		total = sum(total, s.nodes[i].Load().Stats())
	}
	return total
}

func sum(a, b Stats) Stats {
	a.Claimed += b.Claimed
	a.Replayed += b.Replayed
	a.ReplayedHere += b.ReplayedHere
	a.IssuedBeforeStart += b.IssuedBeforeStart
	a.Skew += b.Skew
	a.Timeout += b.Timeout
	a.Gone += b.Gone
	a.Unavailable += b.Unavailable
	a.Evicting += b.Evicting
	a.Moved += b.Moved
	return a
}

// decided is how many claims the store has answered.
func (s *storm) decided() int64 {
	total := s.stats()
	return int64(total.Claimed + total.Replayed)
}

// replaceNode puts a new node in the place of one, which remembers nothing.
func (s *storm) replaceNode(i int) {
	g := newGuardSoon(s.t, s.config)
	old := s.nodes[i].Swap(g)
	old.Close()
	s.mu.Lock()
	s.past = sum(s.past, old.Stats())
	s.mu.Unlock()
}

// failOver makes the other server the primary; the old one is restarted empty as its
// replica. lose is called before the claims that may get lost.
func (s *storm) failOver(lose, back func()) {
	lose()
	time.Sleep(200 * time.Millisecond)
	old := s.primary
	old.kill()
	back()
	s.other.must("REPLICAOF", "NO", "ONE")
	s.proxy.lead(s.other.addr())
	s.primary, s.other = s.other, old
	old.start()
	old.replicate(s.primary)
}

type stormFault struct {
	name string
	do   func(*storm)
}

var stormFaults = []stormFault{
	{"nothing", func(*storm) {}},
	{"nothing, longer", func(*storm) { time.Sleep(3 * time.Second) }},
	{"emptied", func(s *storm) { s.primary.must("FLUSHALL") }},
	{"scripts forgotten", func(s *storm) { s.primary.must("SCRIPT", "FLUSH") }},
	{"killed and empty", func(s *storm) { s.primary.kill(); s.primary.start(); s.other.replicate(s.primary) }},
	{"frozen", func(s *storm) { s.primary.freeze(); time.Sleep(time.Second); s.primary.thaw() }},
	{"frozen for moments", func(s *storm) {
		for range 20 {
			s.primary.freeze()
			time.Sleep(20 * time.Millisecond)
			s.primary.thaw()
			time.Sleep(20 * time.Millisecond)
		}
	}},
	{"connections cut", func(s *storm) {
		for range 20 {
			s.proxy.closeAll()
			time.Sleep(20 * time.Millisecond)
		}
	}},
	{"answers lost", func(s *storm) {
		for range 20 {
			s.proxy.cut.Store(2)
			time.Sleep(20 * time.Millisecond)
		}
		s.proxy.cut.Store(0)
	}},
	{"mute", func(s *storm) {
		s.proxy.mute.Store(true)
		time.Sleep(400 * time.Millisecond)
		s.proxy.mute.Store(false)
		s.proxy.closeAll()
	}},
	{"failover that loses claims", func(s *storm) { s.failOver(s.other.freeze, s.other.thaw) }},
	{"failover", func(s *storm) { s.failOver(func() {}, func() {}) }},
	{"failover and back to the frozen one", func(s *storm) {
		old := s.primary
		old.freeze()
		s.other.must("REPLICAOF", "NO", "ONE")
		s.proxy.lead(s.other.addr())
		s.takesAgain("failover")
		time.Sleep(300 * time.Millisecond)
		s.other.kill()
		old.thaw()
		s.proxy.lead(old.addr())
		s.other.start()
		s.other.replicate(old)
	}},
	{"out of memory", func(s *storm) {
		s.primary.must("CONFIG", "SET", "maxmemory", "1mb")
		time.Sleep(300 * time.Millisecond)
		s.primary.must("CONFIG", "SET", "maxmemory", "0")
	}},
	{"evicted", func(s *storm) {
		s.primary.must("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
		time.Sleep(lookEvery + lookTimeout) // by then every node has noticed
		s.primary.must("CONFIG", "SET", "maxmemory", "1mb")
		time.Sleep(500 * time.Millisecond)
		s.primary.must("CONFIG", "SET", "maxmemory", "0")
		s.primary.must("CONFIG", "SET", "maxmemory-policy", "noeviction")
	}},
	{"the clock ahead and back", func(s *storm) {
		s.clock.set("+30s")
		time.Sleep(1500 * time.Millisecond)
		s.clock.set("+0s")
	}},
	{"a node replaced", func(s *storm) { s.replaceNode(rand.IntN(len(s.nodes))) }},
	{"all nodes replaced", func(s *storm) {
		for i := range s.nodes {
			s.replaceNode(i)
		}
	}},
	{"a password nobody has", func(s *storm) {
		s.primary.must("CONFIG", "SET", "requirepass", "x")
		_, _ = commandAs(s.primary.addr(), "x", "CLIENT", "KILL", "TYPE", "normal")
		time.Sleep(300 * time.Millisecond)
		if _, err := commandAs(s.primary.addr(), "x", "CONFIG", "SET", "requirepass", ""); err != nil {
			panic(fmt.Sprint("the password stays: ", err))
		}
	}},
}
