package live

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// crowd is a registry with n live connections of n sessions, whose ids are as long as
// those of 128 bits in base64, and n subjects, with ends all over a working day.
type crowd struct {
	*desk
	tickets []*wsticket.Ticket
	conns   []*Conn
}

func noClose(Cause) {}

func newCrowd(tb testing.TB, n int) *crowd { return newCrowdOf(tb, n, 20, 22) }

func newCrowdOf(tb testing.TB, n, subject, session int) *crowd {
	c := &crowd{desk: newDesk(tb, Config{MaxPerSubject: 100}), conns: make([]*Conn, n)}
	for i := range 64 {
		end := time.Now().Add(time.Hour + time.Duration(i*450)*time.Second)
		c.tickets = append(c.tickets, c.ticket(fmt.Sprintf("%0*d", subject, 0), fmt.Sprintf("%0*d", session, 0), end))
	}
	c.fill()
	return c
}

func (c *crowd) fill() {
	for i := range c.conns {
		conn, err := c.Add(c.ticketOf(i), noClose)
		if err != nil {
			c.t.Fatal(err)
		}
		c.conns[i] = conn
	}
}

// ticketOf returns a ticket of the i-th subject and session, until the next call. The
// views of a Ticket are not to be changed, but for a test that needs a million.
func (c *crowd) ticketOf(i int) *wsticket.Ticket {
	t := c.tickets[i%len(c.tickets)]
	subject, session := t.Subject(), t.SessionID()
	for at, n := 1, i; at <= 9; at, n = at+1, n/10 {
		digit := '0' + byte(n%10)
		subject[len(subject)-at], session[len(session)-at] = digit, digit
	}
	return t
}

// TestMemory: what a connection costs, as published.
func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	n := 100_000
	if slow() {
		n = 1_000_000
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	goroutines := runtime.NumGoroutine()
	for _, text := range []struct{ subject, session int }{{20, 22}, {36, 36}} { // numbers, and UUIDs
		c := newCrowdOf(t, 0, text.subject, text.session)
		c.conns = make([]*Conn, n)
		before := heap()
		c.fill()
		each := (int64(heap()) - int64(before)) / int64(n)
		t.Logf("%d B each of %d with a subject of %d and a session of %d", each, n, text.subject, text.session)
		if each > 200 {
			t.Errorf("%d B each of %d, want at most 200", each, n)
		}
		if more := runtime.NumGoroutine() - goroutines; more > 10 {
			t.Errorf("%d goroutines for %d connections", more, n)
		}
		runtime.KeepAlive(c)
	}
}

// TestNoLeak: after ten million have come and gone nothing of them is left.
func TestNoLeak(t *testing.T) {
	if !slow() {
		t.Skip("slow: set WSTICKET_SLOW=1")
	}
	c := newCrowd(t, 1000)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	turn := func(n int) {
		for i := range n {
			at := i % len(c.conns)
			c.conns[at].Remove()
			conn, err := c.Add(c.ticketOf(1000+i), noClose)
			if err != nil {
				t.Fatal(err)
			}
			c.conns[at] = conn
		}
	}
	turn(100_000)
	before := heap()
	turn(10_000_000)
	if more := int64(heap()) - int64(before); more > 256<<10 {
		t.Errorf("%d bytes more after ten million", more)
	}
	if s := c.Stats(); s.Connections != 1000 || s.Sessions != 1000 || s.Subjects != 1000 {
		t.Errorf("%+v", s)
	}
}

// TestCloseSessionOfMany: closing one session among many takes about as long as among
// few. The time itself is for the benchmark: other programs may be busy here.
func TestCloseSessionOfMany(t *testing.T) {
	n := 100_000
	if slow() {
		n = 1_000_000
	}
	const rounds = 1000
	best := func(c *crowd) time.Duration {
		least := time.Hour
		for i := range rounds {
			session := c.conns[i*(len(c.conns)/rounds)].SessionID()
			began := time.Now()
			if err := c.CloseSession(t.Context(), session); err != nil {
				t.Fatal(err)
			}
			least = min(least, time.Since(began))
		}
		if s := c.Stats(); s.Ended(Ended) != rounds {
			t.Errorf("%d ended, want %d", s.Ended(Ended), rounds)
		}
		return least
	}
	few, many := best(newCrowd(t, rounds)), best(newCrowd(t, n))
	t.Logf("%v among %d, %v among %d", few, rounds, many, n)
	if many > 10*few+10*time.Microsecond {
		t.Errorf("%v among %d, %v among %d", few, rounds, many, n)
	}
}

// TestAddRemoveOfMany: a connection that goes and one that comes, among many, cost some
// visits to memory and no search. What a visit costs is measured beside it, by following
// pointers, since that differs by a factor of two between machines and with what else
// they do; so does the time, of which the best of many short batches is taken.
func TestAddRemoveOfMany(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has a time of its own")
	}
	n := 100_000
	if slow() {
		n = 1_000_000
	}
	const batch, batches = 1000, 200
	best := func(do func()) time.Duration {
		least := time.Hour
		for range batches {
			began := time.Now()
			do()
			least = min(least, time.Since(began))
		}
		return least / batch
	}
	c := newCrowd(t, n)
	rng := newRand(1)
	at := make([]int, batch)
	turn := 0
	both := best(func() {
		for i := range at {
			at[i] = rng.IntN(n)
		}
		for i, at := range at {
			c.conns[at].Remove()
			conn, err := c.Add(c.ticketOf(n+turn*batch+i), noClose)
			if err != nil {
				t.Fatal(err)
			}
			c.conns[at] = conn
		}
		turn++
	})

	type node struct {
		next *node
		_    [19]uint64 // as large as a Conn
	}
	nodes := make([]*node, n)
	for i := range nodes {
		nodes[i] = new(node)
	}
	for i, next := range rng.Perm(n) {
		nodes[i].next = nodes[next]
	}
	here := nodes[0]
	visit := best(func() {
		for range batch {
			here = here.next
		}
	})
	runtime.KeepAlive(here)
	t.Logf("%v for both among %d, %v for a visit to memory: %.1f visits", both, n, visit, float64(both)/float64(visit))
	if visit > 20*time.Nanosecond && both > 20*visit { // else it is in a cache, and the visits are not what counts
		t.Errorf("%v for both among %d, which are %.1f visits to memory of %v", both, n, float64(both)/float64(visit), visit)
	}
}

func BenchmarkAddRemove(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("live=%d", n), func(b *testing.B) {
			c := newCrowd(b, n)
			b.ReportAllocs()
			rng := newRand(1)
			for i := 0; b.Loop(); i++ {
				at := rng.IntN(n)
				c.conns[at].Remove()
				conn, err := c.Add(c.ticketOf(n+i), noClose)
				if err != nil {
					b.Fatal(err)
				}
				c.conns[at] = conn
			}
		})
	}
	b.Run("loop", func(b *testing.B) { // what of it is the benchmark's own
		c := newCrowd(b, 10_000)
		rng := newRand(1)
		for i := 0; b.Loop(); i++ {
			c.conns[rng.IntN(len(c.conns))].Subject()
			c.ticketOf(i)
		}
	})
}

func BenchmarkCloseSession(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprintf("live=%d", n), func(b *testing.B) {
			c := newCrowd(b, n)
			rng := newRand(1)
			for i := 0; b.Loop(); i++ {
				at := rng.IntN(n)
				c.CloseSession(b.Context(), c.conns[at].SessionID())
				b.StopTimer()
				conn, err := c.Add(c.ticketOf(n+i), noClose)
				if err != nil {
					b.Fatal(err)
				}
				c.conns[at] = conn
				b.StartTimer()
			}
		})
	}
}

// BenchmarkTimer compares the wheel with what else there is: a timer of the runtime
// for each connection.
func BenchmarkTimer(b *testing.B) {
	const n = 1_000_000
	b.Run("AfterFunc", func(b *testing.B) {
		var m0, m1 runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m0)
		timers := make([]*time.Timer, n)
		for i := range timers {
			timers[i] = time.AfterFunc(time.Hour+time.Duration(i%28_800)*time.Second, func() { _ = timers[i] })
		}
		runtime.GC()
		runtime.ReadMemStats(&m1)
		rng := newRand(1)
		for b.Loop() {
			at := rng.IntN(n)
			timers[at].Stop()
			timers[at] = time.AfterFunc(time.Hour+time.Duration(rng.IntN(28_800))*time.Second, func() { _ = timers[at] })
		}
		b.ReportMetric(float64(m1.HeapAlloc-m0.HeapAlloc)/n-8, "B/live")
		for _, t := range timers {
			t.Stop()
		}
	})
	b.Run("wheel", func(b *testing.B) {
		var w wheel
		w.init(func() {})
		now := time.Now()
		conns := make([]*Conn, n)
		for i := range conns {
			conns[i] = &Conn{end: 3600 + uint32(i%28_800)}
			w.insert(now, conns[i], 0)
		}
		rng := newRand(1)
		for b.Loop() {
			at := rng.IntN(n)
			w.remove(conns[at])
			conns[at] = &Conn{end: 3600 + uint32(rng.IntN(28_800))}
			w.insert(now, conns[at], 0)
		}
		b.ReportMetric(2*8+4+2, "B/live")
	})
}
