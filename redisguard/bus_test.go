package redisguard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket/live"
)

func newBus(tb testing.TB, config BusConfig) *Bus {
	tb.Helper()
	var b *Bus
	within(tb, backSoon, "a bus can be made", func() bool {
		var err error
		b, err = NewBus(context.Background(), config)
		return err == nil
	})
	tb.Cleanup(func() { b.Close() })
	return b
}

func busConfig(url string) BusConfig { return BusConfig{URL: url, MaxSkew: time.Second} }

// A follower keeps what a Bus tells it.
type follower struct {
	mu     sync.Mutex
	told   []string
	missed []error
	asOf   time.Time
	ended  error // of Follow
	done   chan struct{}
}

// follow starts one.
func follow(tb testing.TB, b *Bus, back time.Duration) *follower {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.ended = b.Follow(ctx, back, live.Follower{
			Ended: func(e live.Ending) { f.mu.Lock(); f.told = append(f.told, e.SessionID); f.mu.Unlock() },
			CaughtUp: func(at time.Time) {
				f.mu.Lock()
				defer f.mu.Unlock()
				if at.Before(f.asOf) || at.After(time.Now()) {
					f.missed = append(f.missed, fmt.Errorf("caught up as of %v after %v", at, f.asOf))
				}
				f.asOf = at
			},
			Missed: func(why error) { f.mu.Lock(); f.missed = append(f.missed, why); f.mu.Unlock() },
		})
	}()
	tb.Cleanup(func() { cancel(); <-f.done })
	return f
}

// has says whether it was told these, in this order. One may come twice in a row: when
// the answer to its publisher got lost.
func (f *follower) has(sids ...string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Equal(slices.Compact(slices.Clone(f.told)), sids)
}

// hasAll says whether it was told each of them, in any number.
func (f *follower) hasAll(sids ...string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	told := map[string]bool{}
	for _, sid := range f.told {
		told[sid] = true
	}
	for _, sid := range sids {
		if !told[sid] {
			return false
		}
	}
	return true
}

func (f *follower) misses() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]error(nil), f.missed...)
}

// caughtUp says whether everything before at is told.
func (f *follower) caughtUp(at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asOf.After(at)
}

func ending(sid string) live.Ending {
	return live.Ending{SessionID: sid, Cause: live.Ended, At: time.Now().Unix()}
}

func publish(tb testing.TB, b *Bus, sids ...string) {
	tb.Helper()
	for _, sid := range sids {
		if err := b.Publish(context.Background(), ending(sid)); err != nil {
			tb.Fatal(err)
		}
	}
}

// entries is how many endings the stream ever had.
func (s *server) entries() int64 {
	lines := strings.Split(s.must("XINFO", "STREAM", "wsticket:{endings}stream"), "\n")
	n, _ := strconv.ParseInt(lines[slices.Index(lines, "entries-added")+1], 10, 64)
	return n
}

func rememberEndings(tb testing.TB, s *server) {
	tb.Helper()
	now := time.Now()
	s.must("SET", "wsticket:{endings}epoch", epochRecord(s.info("replication", "master_replid"), now.Add(-time.Hour), now, shortest("")))
}

// Every node is told every ending, in one order, those of before it came too.
func TestBus(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	rememberEndings(t, s)
	here, there := newBus(t, busConfig(s.url())), newBus(t, busConfig(s.url()))
	first := follow(t, here, time.Minute)
	within(t, backSoon, "caught up with nothing", func() bool { return first.caughtUp(time.Time{}) })
	publish(t, here, "a", "b")
	publish(t, there, "c")
	second := follow(t, there, time.Minute)
	published := time.Now() // the store counts in milliseconds
	within(t, backSoon, "later", func() bool { return time.Since(published) > 2*time.Millisecond })
	none := follow(t, there, 0)
	began := time.Now()
	for _, f := range []*follower{first, second} {
		within(t, backSoon, "all are told", func() bool { return f.has("a", "b", "c") })
	}
	for _, f := range []*follower{first, second, none} {
		within(t, backSoon, "caught up", func() bool { return f.caughtUp(began) })
	}
	publish(t, here, "d")
	within(t, 30*time.Second, "soon", func() bool {
		return first.has("a", "b", "c", "d") && second.has("a", "b", "c", "d") && none.has("d")
	})
	for range 3 { // it goes on saying so
		began = time.Now()
		within(t, 5*time.Second, "caught up again", func() bool { return first.caughtUp(began) })
	}
	for _, f := range []*follower{first, second, none} {
		if m := f.misses(); len(m) > 0 {
			t.Error(m)
		}
	}
	if err := here.Publish(t.Context(), live.Ending{}); err == nil {
		t.Error("what is no ending is published")
	}
	here.Close()
	<-first.done
	if first.ended == nil || errors.Is(first.ended, context.Canceled) {
		t.Errorf("a follower of a closed bus ends with %v", first.ended)
	}
	if st := there.Stats(); st.Published != 1 || st.Told < 5 || st.Missed != 0 {
		t.Errorf("%+v", st)
	}
}

// A node that cannot reach the store for a while is told what was published meanwhile,
// and is not caught up until then.
func TestBusReconnects(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	rememberEndings(t, s)
	p := startProxy(t, s.addr())
	far, near := newBus(t, busConfig(p.url())), newBus(t, busConfig(s.url()))
	f := follow(t, far, time.Minute)
	var sids []string
	for round := range 3 {
		p.refuse.Store(true)
		p.closeAll()
		cut := time.Now()
		for i := range 20 {
			sids = append(sids, fmt.Sprintf("%d.%d", round, i))
		}
		publish(t, near, sids[20*round:]...)
		if f.caughtUp(cut.Add(10 * time.Millisecond)) {
			t.Error("caught up with a store that it cannot reach")
		}
		p.refuse.Store(false)
		within(t, backSoon, "all are told, in order", func() bool { return f.has(sids...) })
		within(t, backSoon, "caught up", func() bool { return f.caughtUp(cut) })
	}
	if m := f.misses(); len(m) > 0 {
		t.Error(m)
	}
}

// A frozen store: no follower claims to be up to date, Publish keeps to its time, and
// all goes on by itself.
func TestBusFrozen(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	rememberEndings(t, s)
	b := newBus(t, busConfig(s.url()))
	f := follow(t, b, time.Minute)
	publish(t, b, "a")
	within(t, backSoon, "told", func() bool { return f.has("a") })
	s.freeze()
	frozen := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := b.Publish(ctx, ending("b")); err == nil || time.Since(frozen) > time.Second {
		t.Errorf("%v after %v", err, time.Since(frozen))
	}
	if f.caughtUp(frozen) {
		t.Error("caught up with a frozen store")
	}
	s.thaw()
	publish(t, b, "c")
	within(t, backSoon, "told", func() bool { return f.hasAll("a", "c") })
	within(t, backSoon, "caught up", func() bool { return f.caughtUp(frozen) })
	if m := f.misses(); len(m) > 0 {
		t.Error(m)
	}
}

// What the store dropped before a node read it is said, with its number.
func TestBusAwayTooLong(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	rememberEndings(t, s)
	p := startProxy(t, s.addr())
	config := busConfig(p.url())
	config.Keep = 100
	far := newBus(t, config)
	config.URL = s.url()
	near := newBus(t, config)
	f := follow(t, far, time.Minute)
	within(t, backSoon, "caught up", func() bool { return f.caughtUp(time.Time{}) })
	publish(t, near, "a")
	within(t, backSoon, "told", func() bool { return f.has("a") })
	// One that reads the end before it has seen it.
	early := follow(t, far, time.Minute)
	within(t, backSoon, "told", func() bool { return early.has("a") })
	p.refuse.Store(true)
	p.closeAll()
	for i := range 1000 {
		publish(t, near, fmt.Sprint(i))
	}
	p.refuse.Store(false)
	for _, f := range []*follower{f, early} {
		within(t, backSoon, "told of the loss", func() bool { return len(f.misses()) > 0 && f.hasAll("999") })
		if m := f.misses(); len(m) != 1 || !errors.Is(m[0], errTrimmed) {
			t.Errorf("%v, want one", m)
		}
	}
	f.mu.Lock()
	told := len(f.told) - 1
	f.mu.Unlock()
	if want, m := fmt.Sprintf(": %d of them", int(s.entries())-1-told), f.misses(); !strings.HasSuffix(m[0].Error(), want) {
		t.Errorf("%v, want one that ends in %q", m, want)
	}
	// One that comes now and asks for more than there is.
	late := follow(t, near, time.Minute)
	within(t, backSoon, "told of the loss", func() bool { return len(late.misses()) == 1 && late.hasAll("999") })
	// One that does not.
	fresh := follow(t, near, 0)
	within(t, backSoon, "caught up", func() bool { return fresh.caughtUp(time.Time{}) })
	publish(t, near, "z")
	within(t, backSoon, "told", func() bool { return fresh.has("z") })
	if m := fresh.misses(); len(m) > 0 {
		t.Error(m)
	}
}

// Each way in which the store loses endings is said, and all goes on.
func TestBusLoss(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(s, replica *server, p *proxy){
		"emptied": func(s, _ *server, _ *proxy) { s.must("FLUSHALL") },
		"deleted": func(s, _ *server, _ *proxy) { s.must("DEL", "wsticket:{endings}stream") },
		"restarted empty": func(s, _ *server, _ *proxy) {
			s.kill()
			s.start()
		},
		"replica takes over": func(s, replica *server, p *proxy) {
			s.kill()
			replica.must("REPLICAOF", "NO", "ONE")
			p.lead(replica.addr())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			var replica *server
			if name == "replica takes over" {
				replica = startServer(t)
				replica.replicate(s)
			}
			rememberEndings(t, s)
			p := startProxy(t, s.addr())
			b := newBus(t, busConfig(p.url()))
			f := follow(t, b, time.Minute)
			publish(t, b, "a", "b")
			within(t, backSoon, "told", func() bool { return f.has("a", "b") })
			lose(s, replica, p)
			within(t, backSoon, "published", func() bool { return b.Publish(context.Background(), ending("c")) == nil })
			within(t, backSoon, "told", func() bool { return f.hasAll("c") })
			within(t, backSoon, "told of the loss", func() bool { return len(f.misses()) > 0 })
			publish(t, b, "d")
			lost := time.Now()
			within(t, backSoon, "told", func() bool { return f.hasAll("d") })
			within(t, backSoon, "caught up", func() bool { return f.caughtUp(lost) })
			if m := f.misses(); len(m) != 1 {
				t.Errorf("%v, want one", m)
			}
		})
	}
}

// A store that refuses the user ends Follow, and Publish at once.
func TestBusRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	rememberEndings(t, s)
	s.must("ACL", "SETUSER", "bus", "on", ">secret", "~*", "+@all")
	b := newBus(t, busConfig("redis://bus:secret@"+s.addr()))
	f := follow(t, b, time.Minute)
	publish(t, b, "a")
	within(t, backSoon, "told", func() bool { return f.has("a") })
	s.must("ACL", "SETUSER", "bus", "-xread", "-xadd")
	select {
	case <-f.done:
		if f.ended == nil || !strings.Contains(f.ended.Error(), "NOPERM") {
			t.Errorf("%v", f.ended)
		}
	case <-time.After(backSoon):
		t.Error("it goes on")
	}
	began := time.Now()
	if err := b.Publish(t.Context(), ending("b")); err == nil || !strings.Contains(err.Error(), "NOPERM") || time.Since(began) > 500*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// With WaitReplicas an ending is only published when a replica has it.
func TestBusWaitReplicas(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	config := busConfig(s.url())
	config.WaitReplicas = 1
	b := newBus(t, config)
	if err := b.Publish(t.Context(), ending("a")); err == nil || !strings.Contains(err.Error(), "0 replicas") {
		t.Errorf("with no replica: %v", err)
	}
	replica := startServer(t)
	replica.replicate(s)
	within(t, backSoon, "published", func() bool { return b.Publish(t.Context(), ending("b")) == nil })
	if replica.must("XLEN", "wsticket:{endings}stream") == "0" {
		t.Error("the replica does not have it")
	}
}

// What no node of this version wrote is reported and not told.
func TestBusUnreadable(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	rememberEndings(t, s)
	b := newBus(t, busConfig(s.url()))
	f := follow(t, b, time.Minute)
	for _, text := range []string{"", "{", `{"sid":"secret"}`, `{"sid":"secret","cause":"none","at":5}`, `{"sid":"secret","cause":"ended","at":-1}`} {
		s.must("XADD", "wsticket:{endings}stream", "*", "e", text)
	}
	s.must("XADD", "wsticket:{endings}stream", "*", "other", "field")
	publish(t, b, "a")
	within(t, backSoon, "told", func() bool { return f.has("a") })
	m := f.misses()
	if len(m) != 6 {
		t.Errorf("%d reported, want 6: %v", len(m), m)
	}
	if strings.Contains(fmt.Sprint(m), "secret") {
		t.Errorf("a report shows whose session it is: %v", m)
	}
}

// CaughtUp says no more than is known: each ending that was published before asOf has
// been told by then.
func TestBusCaughtUp(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	rememberEndings(t, s)
	p := startProxy(t, s.addr())
	far, near := newBus(t, busConfig(p.url())), newBus(t, busConfig(s.url()))
	// Far is told late of what it asks for.
	p.delay.Store(int64(30 * time.Millisecond))
	type published struct {
		sid string
		at  time.Time
	}
	var mu sync.Mutex
	var all []published
	told := map[string]bool{}
	wrong := 0
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	times := 0
	go func() {
		defer close(done)
		_ = far.Follow(ctx, time.Minute, live.Follower{
			Ended: func(e live.Ending) { told[e.SessionID] = true },
			CaughtUp: func(asOf time.Time) {
				mu.Lock()
				defer mu.Unlock()
				times++
				for _, p := range all {
					if p.at.Before(asOf) && !told[p.sid] {
						wrong++
					}
				}
			},
			Missed: func(why error) { t.Error(why) },
		})
	}()
	for i := range 200 {
		sid := fmt.Sprint(i)
		publish(t, near, sid)
		mu.Lock()
		all = append(all, published{sid, time.Now()})
		mu.Unlock()
		// Some come while others are on their way, and some while the answer is that there
		// are no more.
		time.Sleep(time.Duration(3+i%4/3*50) * time.Millisecond)
	}
	within(t, backSoon, "caught up some times", func() bool { mu.Lock(); defer mu.Unlock(); return times >= 3 })
	cancel()
	<-done
	if wrong > 0 {
		t.Errorf("%d endings were still to be told when they were said to have been", wrong)
	}
}

// Between a look and a read another store takes over, which lacks an ending and has a later
// one. Nothing is said to be complete before the next look, which tells of the loss.
func TestBusCaughtUpLost(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	rememberEndings(t, s)
	b := newBus(t, busConfig(s.url()))
	var got []string
	r := reader{bus: b, back: time.Minute, f: live.Follower{
		Ended:    func(e live.Ending) { got = append(got, e.SessionID) },
		CaughtUp: func(time.Time) { got = append(got, "complete") },
		Missed:   func(error) { got = append(got, "missed") },
	}}
	publish(t, b, "a")
	look := func() {
		if err := r.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	read := func() {
		if err := r.read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look()
	s.must("FLUSHALL")
	publish(t, b, "b")
	read()
	look()
	read()
	look()
	if want := []string{"b", "missed", "b", "complete"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What a follower makes of a stream that changed between two looks.
func TestReaderSees(t *testing.T) {
	const now = 1_795_219_200_000
	id := func(seq int64) streamID { return streamID{uint64(now), uint64(seq)} }
	// Entries from first to last are there, in an epoch that began at since.
	state := func(since, first, last int64) streamState {
		return streamState{since: since, now: now, first: id(first), last: id(last), length: last - first + 1, added: last}
	}
	old := int64(now - 3_600_000)
	// The first entry is older than was asked for.
	reachesBack := state(old, 1, 9)
	reachesBack.first.ms -= 100_000
	for name, tt := range map[string]struct {
		looks []streamState
		reads []int64 // how far is read after each look
		want  string  // of each look, whether something was missed: . or the first letter of why
	}{
		"steady":                             {[]streamState{state(old, 1, 0), state(old, 1, 3), state(old, 1, 5)}, []int64{0, 3, 5}, "..."},
		"dropped, and read before":           {[]streamState{state(old, 1, 3), state(old, 3, 3), state(old, 7, 8)}, []int64{3, 3, 8}, "..e"},
		"dropped what was read only":         {[]streamState{state(old, 1, 3), state(old, 1, 3), state(old, 4, 8)}, []int64{3, 3, 8}, "..."},
		"dropped, number known":              {[]streamState{state(old, 1, 0), state(old, 5, 8), state(old, 9, 12)}, []int64{0, 8, 12}, ".e."},
		"dropped, number unknown":            {[]streamState{reachesBack, state(old, 7, 9), state(old, 8, 9)}, []int64{5, 9, 9}, ".e."},
		"dropped before the first look":      {[]streamState{state(old, 5, 9), state(old, 5, 9)}, []int64{9, 9}, "e."},
		"another epoch":                      {[]streamState{state(old, 1, 3), state(old+1, 1, 3), state(old+1, 1, 4)}, []int64{3, 3, 4}, ".t."},
		"a young epoch":                      {[]streamState{state(now-1000, 1, 3), state(now-1000, 1, 3)}, []int64{3, 3}, "t."},
		"no epoch":                           {[]streamState{state(0, 1, 3), state(0, 1, 3)}, []int64{3, 3}, "t."},
		"emptied":                            {[]streamState{state(old, 1, 3), state(old, 1, 3), {since: old, now: now}, state(old, 1, 2)}, []int64{3, 3, 0, 2}, "..t."},
		"emptied and filled further":         {[]streamState{state(old, 1, 5), state(old, 1, 5), {since: old, now: now, first: id(8), last: id(15), length: 8, added: 8}}, []int64{5, 5, 15}, "..t"},
		"emptied and filled to where it was": {[]streamState{state(old, 1, 5), state(old, 1, 5), {since: old, now: now, first: id(4), last: id(7), length: 4, added: 4}}, []int64{5, 5, 7}, "..t"},
		"all dropped":                        {[]streamState{state(old, 1, 3), state(old, 1, 3), {since: old, now: now, last: id(5), added: 5}}, []int64{3, 3, 5}, "..e"},
		"all dropped that was read":          {[]streamState{state(old, 1, 3), state(old, 1, 3), {since: old, now: now, last: id(3), added: 3}}, []int64{3, 3, 3}, "..."},
		"emptied and filled":                 {[]streamState{state(old, 1, 3), state(old, 1, 3), {since: old, now: now, first: id(7), last: id(7), length: 1, added: 1}}, []int64{3, 3, 7}, "..t"},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			why := ""
			r := reader{bus: &Bus{}, back: time.Minute, f: live.Follower{Missed: func(err error) {
				if why != "" {
					t.Error("missed twice at one look")
				}
				why = err.Error()[:1]
			}}}
			for i, s := range tt.looks {
				why = ""
				r.see(s)
				if why == "" {
					why = "."
				}
				got.WriteString(why)
				if at := id(tt.reads[i]); tt.reads[i] > 0 && r.told.less(at) { // as read does
					if r.count >= 0 {
						r.count += int64(at.seq - max(r.told.seq, s.first.seq-1))
					}
					r.told = at
				}
			}
			if got.String() != tt.want {
				t.Errorf("%s, want %s", got.String(), tt.want)
			}
		})
	}
}
