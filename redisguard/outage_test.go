package redisguard

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// What a claim costs, and what it does not.

// An answer got lost. The claim is made again, and it is this node's own that it finds.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	remember(t, s)
	p := startProxy(t, s.addr())
	g := newGuard(t, shortest(p.url()))
	a := newAccount(t)
	for range 10 {
		u := ticket(10)
		p.cut.Store(1)
		if err := a.spend(g, u); err != nil {
			t.Errorf("after a lost answer: %v", err)
		}
		a.showAgain([]wsticket.Use{u}, g, newGuard(t, shortest(s.url())))
	}
	if st := g.Stats(); st.Retries == 0 {
		t.Errorf("nothing was tried again: %+v", st)
	}
}

// A claim is one call, and a ticket that this node let in, or was told that another
// did, makes none.
func TestOneRoundTrip(t *testing.T) {
	s := startServer(t)
	remember(t, s)
	g, other := newGuard(t, shortest(s.url())), newGuard(t, shortest(s.url()))
	for range 20 {
		before := g.Stats().Batches
		u := ticket(10)
		if err := spend(g, u); err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := spend(g, u); !errors.Is(err, wsticket.ErrReplayed) {
				t.Fatal(err)
			}
		}
		if calls := g.Stats().Batches - before; calls != 1 {
			t.Errorf("%d calls for one ticket, want 1", calls)
		}
		before = other.Stats().Batches
		for range 10 {
			if err := spend(other, u); !errors.Is(err, wsticket.ErrReplayed) {
				t.Fatal(err)
			}
		}
		if calls := other.Stats().Batches - before; calls != 1 {
			t.Errorf("%d calls for a ticket that another node let in, want 1", calls)
		}
	}
	if st := g.Stats(); st.ReplayedHere != 200 || st.Claimed != 20 {
		t.Errorf("%+v", st)
	}
}

// A claim that did not reach the store marks nothing, on this node or another.
func TestFailedClaimMarksNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	remember(t, s)
	p := startProxy(t, s.addr())
	g := newGuard(t, shortest(p.url()))
	p.refuse.Store(true)
	p.closeAll()
	u := ticket(10)
	if err := spend(g, u); !errors.Is(err, wsticket.ErrReplayUnavailable) {
		t.Fatalf("with no store: %v", err)
	}
	p.refuse.Store(false)
	a := newAccount(t)
	within(t, backSoon, "the ticket is taken when the store is back", func() bool { return a.spend(g, u) == nil })
	a.showAgain([]wsticket.Use{u}, g)
}

// The store is frozen while 2,000 handshakes come. Each is answered by its deadline;
// nothing stays; service resumes by itself.
func TestFrozen(t *testing.T) {
	slow(t) // and alone: it measures time
	s := startServer(t)
	remember(t, s)
	config := shortest(s.url())
	config.Timeout = time.Second
	g := newGuard(t, config)
	a := newAccount(t)
	a.mustAccept(100, 10, g)
	settled := runtime.NumGoroutine()

	const n = 2000
	frozen := time.Now()
	s.freeze()
	used := make([]wsticket.Use, n)
	late, control := make([]time.Duration, n), make([]time.Duration, n)
	var wg sync.WaitGroup
	for i := range n {
		used[i] = ticket(20)
		// Deadlines from 100 to 200 ms, and some that are Config.Timeout.
		wait := 100*time.Millisecond + time.Duration(i%100)*time.Millisecond
		if i%10 == 0 {
			wait = config.Timeout
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), wait)
			if wait == config.Timeout {
				ctx, cancel = context.Background(), func() {}
			}
			defer cancel()
			began := time.Now()
			err := a.spendCtx(ctx, g, used[i])
			late[i] = time.Since(began) - wait
			if !errors.Is(err, wsticket.ErrReplayUnavailable) {
				t.Errorf("with the store frozen: %v", err)
			}
		})
		wg.Go(func() { // one that does nothing but wait, to know how late this machine is
			began := time.Now()
			<-time.After(wait)
			control[i] = time.Since(began) - wait
		})
	}
	wg.Wait()
	slices.Sort(late)
	slices.Sort(control)
	t.Logf("%d answered after the deadline by: p50 %v, p99 %v, max %v; a timer alone by: p50 %v, p99 %v, max %v", n,
		late[n/2], late[n*99/100], late[n-1], control[n/2], control[n*99/100], control[n-1])
	for what, at := range map[string]int{"p99": n * 99 / 100, "the last": n - 1} {
		if late[at] > control[at]+20*time.Millisecond {
			t.Errorf("%s is %v after the deadline and %v without a guard, want at most 20 ms more", what, late[at], control[at])
		}
	}
	within(t, 2*time.Second, "no goroutine stays for those that were answered", func() bool { return runtime.NumGoroutine() <= settled+20 })
	for time.Since(frozen) < 10*time.Second { // handshakes go on coming
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_ = a.spendCtx(ctx, g, ticket(20))
		cancel()
	}
	s.thaw()
	thawed := time.Now()
	a.acceptsAgain(5*time.Second, g)
	t.Logf("served again %v after the thaw; %d goroutines before, %d after", time.Since(thawed).Round(time.Millisecond), settled, runtime.NumGoroutine())
	within(t, 5*time.Second, "no goroutine stays", func() bool { return runtime.NumGoroutine() <= settled+5 })
	a.showAgain(used, g)
	a.showAgain(used, newGuard(t, config))
}

// The store takes connections and says nothing: New keeps to its context.
func TestNewKeepsToItsContext(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.freeze()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := New(ctx, shortest(s.url()))
	if took := time.Since(began); err == nil || took > time.Second {
		t.Errorf("%v after %v", err, took)
	}
}

// The store has no memory left: claims are refused and nothing is evicted.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	remember(t, s)
	g, other := newGuard(t, shortest(s.url())), newGuard(t, shortest(s.url()))
	a := newAccount(t)
	used := a.mustAccept(10, 20, g)
	s.must("CONFIG", "SET", "maxmemory", "1000") // less than an empty server has in use
	u := ticket(10)
	err := a.spend(g, u)
	if !errors.Is(err, wsticket.ErrReplayUnavailable) || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("out of memory: %v", err)
	}
	a.showAgain(used, g, other)
	// A start writes too, unless another call has written in the last 10 ms.
	within(t, 5*time.Second, "a new guard does not start", func() bool {
		fresh, err := New(t.Context(), shortest(s.url()))
		if err == nil {
			_ = fresh.Close()
		}
		return err != nil && strings.Contains(err.Error(), "OOM")
	})
	s.must("CONFIG", "SET", "maxmemory", "0")
	if err := a.spend(g, u); err != nil {
		t.Errorf("with memory again: %v", err)
	}
	a.showAgain(used, g, other)
}

// A password that is wrong, from the beginning and later.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	slow(t)
	const secret, other = "open sesame", "changed in haste"
	s := startServer(t, "--requirepass", secret)
	at := strings.TrimPrefix(s.url(), "redis://")
	for _, url := range []string{"redis://:wrong-password@" + at, "redis://someone:wrong-password@" + at, "redis://" + at} {
		_, err := New(t.Context(), Config{URL: url})
		if err == nil || strings.Contains(err.Error(), "wrong-password") {
			t.Errorf("%s: %v", url, err)
		}
		if url != "redis://"+at && !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("the error does not say that the password is wrong: %v", err)
		}
	}
	config := shortest("redis://:open%20sesame@" + at)
	g := newGuard(t, config)
	a := newAccount(t)
	used := a.mustAccept(10, 10, g)
	admin := func(password string, args ...string) {
		t.Helper()
		if _, err := commandAs(s.addr(), password, args...); err != nil {
			t.Fatal(err)
		}
	}
	admin(secret, "CONFIG", "SET", "requirepass", other)
	admin(other, "CLIENT", "KILL", "TYPE", "normal")
	within(t, backSoon, "the wrong password is noticed", func() bool {
		err := a.spend(g, ticket(5))
		return errors.Is(err, wsticket.ErrReplayUnavailable) && strings.Contains(err.Error(), "WRONGPASS")
	})
	a.showAgain(used, g)
	admin(other, "CONFIG", "SET", "requirepass", secret)
	a.acceptsAgain(backSoon, g)
}

// A store that does not know a command says what came with it: a password, a session. That
// does not go on.
func TestUnknownCommandShowsNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--rename-command", "XADD", "")
	rememberEndings(t, s)
	b := newBus(t, busConfig(s.url()))
	err := b.Publish(t.Context(), ending("sesame"))
	if err == nil || strings.Contains(err.Error(), "sesame") || !strings.Contains(err.Error(), "XADD") {
		t.Errorf("%v", err)
	}
	s = startServer(t, "--rename-command", "HELLO", "", "--rename-command", "AUTH", "")
	url := "redis://someone:sesame@" + s.addr()
	if _, err := New(t.Context(), Config{URL: url}); err == nil || strings.Contains(err.Error(), "sesame") || !strings.Contains(err.Error(), "AUTH") {
		t.Errorf("%v", err)
	}
	if _, err := NewBus(t.Context(), BusConfig{URL: url}); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("%v", err)
	}
}

// A store that may evict is not taken, and one that begins to is noticed.
func TestEviction(t *testing.T) {
	t.Parallel()
	slow(t)
	s := startServer(t)
	for _, policy := range []string{"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		s.must("CONFIG", "SET", "maxmemory-policy", policy)
		if g, err := New(t.Context(), shortest(s.url())); err == nil || !strings.Contains(err.Error(), policy) {
			t.Errorf("%s: %v", policy, err)
			g.Close()
		}
	}
	s.must("CONFIG", "SET", "maxmemory-policy", "noeviction")
	remember(t, s)
	g := newGuard(t, shortest(s.url()))
	a := newAccount(t)
	used := a.mustAccept(200, 10, g)
	s.must("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
	within(t, 3*time.Second, "the policy is noticed", func() bool { return g.Stats().Evicting > 0 || spend(g, ticket(5)) != nil && g.Stats().Evicting > 0 })
	s.must("CONFIG", "SET", "maxmemory", "1000") // less than an empty server has in use // claims go first
	within(t, backSoon, "claims are evicted", func() bool {
		s.must("EXISTS", "x")
		_, _ = s.do("SET", "x", strings.Repeat("x", 1000))
		return s.must("DBSIZE") < "5" && len(s.must("DBSIZE")) == 1
	})
	// Somebody repairs it by hand, before anyone has looked.
	s.must("CONFIG", "SET", "maxmemory", "0")
	s.must("CONFIG", "SET", "maxmemory-policy", "noeviction")
	late := newGuardNow(t, shortest(s.url()))
	a.showAgain(used, late)
	a.acceptsAgain(backSoon, g, late)
	a.showAgain(used, late)
	within(t, backSoon, "the alarm", func() bool { return g.Stats().Evicted > 0 })
}

// A guard that was made without a store takes none that does not fit: here a Cluster that its
// user may not use as one, so that its claims would be under other keys than those of
// other nodes.
func TestMisfitComesLater(t *testing.T) {
	t.Parallel()
	s := startServer(t, "--cluster-enabled", "yes", "--user", "nobody", "on", "nopass", "~*", "&*", "+@all", "-cluster")
	s.must("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
	s.until("the Cluster is whole", func() bool { return s.field("cluster_state", "CLUSTER", "INFO") == "ok" })
	remember(t, s)
	p := startProxy(t, s.addr())
	p.refuse.Store(true)
	config := shortest("redis://nobody:any@" + strings.TrimPrefix(p.url(), "redis://"))
	config.DangerouslyAcceptLocally = newCache(t, time.Unix(0, 0))
	g, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	p.refuse.Store(false)
	within(t, backSoon, "the store is found", func() bool { return !g.Stats().Away })
	for range 10 {
		if err := spend(g, ticket(20)); !errors.Is(err, wsticket.ErrReplayUnavailable) || !errors.Is(err, errMisfit) {
			t.Errorf("%v", err)
		}
	}
	if st := g.Stats(); st.Claimed != 0 || st.Unavailable != 10 {
		t.Errorf("%+v", st)
	}
}

// A guard that is told so takes tickets by itself while the store is away: once a node.
func TestDangerouslyAcceptLocally(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	remember(t, s)
	p := startProxy(t, s.addr())
	config := shortest(p.url())
	config.Timeout = 200 * time.Millisecond
	config.DangerouslyAcceptLocally = newCache(t, time.Unix(0, 0))
	g := newGuard(t, config)
	a := newAccount(t)
	before := a.mustAccept(20, 20, g)
	p.refuse.Store(true)
	p.closeAll()
	during := a.mustAccept(20, 20, g)
	a.showAgain(before, g)
	a.showAgain(during, g)
	if st := g.Stats(); st.ClaimedLocally != 20 || !st.Away {
		t.Errorf("%+v", st)
	}
	p.refuse.Store(false)
	within(t, backSoon, "the store is back", func() bool { return !g.Stats().Away })
	a.showAgain(during, g) // the store knows nothing of them
	after := a.mustAccept(20, 20, g)
	a.showAgain(slices.Concat(before, during, after), g)
	if st := g.Stats(); st.ClaimedLocally != 20 {
		t.Errorf("with the store back: %+v", st)
	}

	// One can be made with no store at all, and finds it when it comes.
	p.refuse.Store(true)
	p.closeAll()
	config.DangerouslyAcceptLocally = newCache(t, time.Unix(0, 0))
	alone, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	b := newAccount(t)
	used := b.mustAccept(10, 20, alone)
	p.refuse.Store(false)
	within(t, backSoon, "the store is found", func() bool { return !alone.Stats().Away })
	b.showAgain(used, alone)
	b.acceptsAgain(backSoon, alone)
	if st := alone.Stats(); st.Claimed == 0 {
		t.Errorf("%+v", st)
	}
}

func newCache(tb testing.TB, since time.Time) *wsticket.ReplayCache {
	tb.Helper()
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 1000, Since: since})
	if err != nil {
		tb.Fatal(err)
	}
	return cache
}

// After Close every claim fails, also those that wait.
func TestClose(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	remember(t, s)
	before := runtime.NumGoroutine()
	g, err := New(t.Context(), shortest(s.url()))
	if err != nil {
		t.Fatal(err)
	}
	s.freeze()
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if err := g.Spend(context.Background(), ticket(5)); !errors.Is(err, wsticket.ErrReplayUnavailable) {
				t.Error(err)
			}
		})
	}
	time.Sleep(10 * time.Millisecond)
	closed := make(chan struct{})
	go func() { g.Close(); close(closed) }()
	wg.Wait()
	<-closed
	s.thaw()
	if err := g.Spend(context.Background(), ticket(5)); !errors.Is(err, wsticket.ErrReplayUnavailable) {
		t.Errorf("after Close: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	_ = before
}

// More claims than MaxPending are refused at once.
func TestMaxPending(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	remember(t, s)
	config := shortest(s.url())
	config.MaxPending, config.Timeout = 10, 300*time.Millisecond
	g := newGuard(t, config)
	s.freeze()
	defer s.thaw()
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() { _ = g.Spend(context.Background(), ticket(5)) })
	}
	wg.Wait()
	if st := g.Stats(); st.Unavailable < 100 || st.Timeout == 0 || st.Pending != 0 {
		t.Errorf("%+v", st)
	}
}
