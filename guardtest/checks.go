package guardtest

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsticket/wsticket"
)

// checks is the suite.
var checks = []check{
	{"covers", covers, nil},
	{"once", once, nil},
	{"one of 64", oneOf64, nil},
	{"identities", identities, nil},
	{"edges", edges, needTime},
	{"many", many, nil},
	{"lifetime", lifetime, needTime},
	{"nodes", acrossNodes, needNodes},
	{"refusals mark nothing", refusalsMarkNothing, nil},
	{"context", contextOver, nil},
	{"clocks", clocks, nil},
	{"storm", storm, nil},
	{"loss", loss, func(c *Config) string {
		if c.Lose == nil {
			return "Config.Lose is nil"
		}
		return needTime(c)
	}},
	{"stall", stall, needStall},
	{"cancelled while stalled", cancelledWhileStalled, needStall},
	{"verifier", throughVerifier, nil},
}

func needNodes(c *Config) string {
	if c.MaxNodes < 2 {
		return "Config.MaxNodes is below 2"
	}
	return ""
}

func needTime(c *Config) string {
	if c.Quick && c.OwnClock {
		return "Config.Quick is set"
	}
	return ""
}

func needStall(c *Config) string {
	if c.Stall == nil {
		return "Config.Stall is nil"
	}
	return ""
}

// judge compares a refusal with what a guard may answer.
func (r *run) judge(u wsticket.Use, err error) {
	r.Helper()
	if code, ok := wsticket.CodeOf(err); ok {
		switch code {
		case wsticket.ErrReplayed, wsticket.ErrIssuedBeforeStart, wsticket.ErrReplayUnavailable:
		default:
			r.Errorf("refused as %s, which is not for a guard to say: %v", code.Code(), err)
		}
	}
	if _, bare := err.(wsticket.Error); bare {
		return
	}
	// Whoever sees the identity of a live ticket can tell it from others in a store.
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)} {
		for _, shown := range []string{
			string(u.Identity[:]), hex.EncodeToString(u.Identity[:]), fmt.Sprint(u.Identity),
			base64.RawURLEncoding.EncodeToString(u.Identity[:]), base64.RawStdEncoding.EncodeToString(u.Identity[:]),
		} {
			if strings.Contains(strings.ToLower(text), strings.ToLower(shown)) {
				r.Errorf("the error shows the ticket's identity")
				return
			}
		}
	}
}

// covers: a guard covers what it was made for, and says so steadily.
func covers(r *run) {
	for range 3 {
		for i, g := range r.open(r.nodes()) {
			if ttl, leeway := g.Covers(); ttl < r.MaxTTL || leeway < r.Leeway {
				r.Errorf("node %d: Covers() = %v, %v, want at least %v, %v", i, ttl, leeway, r.MaxTTL, r.Leeway)
			}
		}
	}
}

// once: a ticket is accepted, and then it is replayed.
func once(r *run) {
	g := r.open(1)[0]
	for range 20 {
		u := r.ticket()
		r.wantAccepted(g, u, "a fresh ticket")
		for range 3 {
			r.wantReplayed(g, u, "the same again")
		}
	}
}

// oneOf64: of 64 uses of a ticket at once, one wins, whatever node they come to.
func oneOf64(r *run) {
	guards := r.open(r.nodes())
	for range 40 {
		u := r.ticket()
		var won, odd atomic.Int32
		r.atOnce(64, func(i int) {
			err := r.spend(context.Background(), guards[i%len(guards)], u)
			if code, _ := wsticket.CodeOf(err); err == nil {
				won.Add(1)
			} else if code != wsticket.ErrReplayed {
				odd.Add(1)
			}
		})
		if won.Load() != 1 || odd.Load() != 0 {
			r.Errorf("of 64 at once %d were accepted and %d refused as something else than replayed, want 1 and 0", won.Load(), odd.Load())
		}
	}
}

// atOnce calls f n times at once and waits for all.
func (r *run) atOnce(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// identities: a guard looks at more of an identity than a few bytes, and takes it
// as bytes and not as text. It need not look at all of it: an identity is uniform.
func identities(r *run) {
	g := r.open(1)[0]
	first := r.ticket()
	r.wantAccepted(g, first, "a fresh ticket")
	for from := 0; from+4 <= len(first.Identity); from += 4 {
		for range 10 {
			u := first
			u.Identity = r.identity()
			copy(u.Identity[from:from+4], first.Identity[from:])
			r.wantAccepted(g, u, fmt.Sprintf("a ticket whose identity agrees with another's in bytes %d to %d", from, from+3))
			r.wantReplayed(g, u, "the same again")
		}
	}
	for name, id := range map[string][16]byte{"all zeros": {}, "all ones": [16]byte([]byte(strings.Repeat("\xff", 16))), "text": [16]byte([]byte("a\r\nb\x00:{}*?[]$é."))} {
		u := first
		u.Identity = id
		// A guard that has served other tests may know this one.
		_ = r.spend(context.Background(), g, u)
		r.wantReplayed(g, u, "an identity of "+name+", again")
	}
	r.wantReplayed(g, first, "the first ticket again")
}

// edges: every lifetime that a verifier takes, in its first and its last second.
func edges(r *run) {
	g := r.open(1)[0]
	for ttl := int64(1); ttl <= r.maxTTL(); ttl++ {
		for _, ahead := range []int64{0, r.leeway()} {
			now := r.now()
			u := wsticket.Use{Identity: r.identity(), Issued: now + ahead, Expires: now + ahead + ttl, Now: now}
			r.wantAccepted(g, u, fmt.Sprintf("a ticket of %d s, issued %d s ahead", ttl, ahead))
			r.wantReplayed(g, u, "the same again")
		}
	}
	// One ticket for each lifetime, shown when its last second has come.
	born := r.now()
	for ttl := int64(1); ttl <= r.maxTTL(); ttl++ {
		u := wsticket.Use{Identity: r.identity(), Issued: born, Expires: born + ttl}
		for r.now() < u.Expires+r.leeway()-1 {
			r.pass(50 * time.Millisecond)
		}
		u.Now = u.Expires + r.leeway() - 1
		r.wantAccepted(g, u, fmt.Sprintf("a ticket of %d s shown in its last second", ttl))
		r.wantReplayed(g, u, "the same again")
	}
}

// many: what was accepted is remembered, however many there are.
func many(r *run) {
	guards := r.open(r.nodes())
	n := 10_000
	if r.OwnClock {
		n = 3000
	}
	all := r.tickets(n)
	var refused, odd atomic.Int32
	r.each(all, func(i int, u wsticket.Use) {
		if r.spend(context.Background(), guards[i%len(guards)], at(u, max(u.Now, r.now()))) != nil {
			refused.Add(1)
		}
	})
	r.each(all, func(i int, u wsticket.Use) {
		if u = at(u, r.now()); r.alive(u, u.Now) {
			if code, _ := wsticket.CodeOf(r.spend(context.Background(), guards[(i+1)%len(guards)], u)); code != wsticket.ErrReplayed {
				odd.Add(1)
			}
		}
	})
	if refused.Load() > 0 || odd.Load() > 0 {
		r.Errorf("of %d fresh tickets %d were refused, and %d refused as something else than replayed when shown again; want 0 and 0", n, refused.Load(), odd.Load())
	}
}

// each calls f for every ticket, by 16 goroutines.
func (r *run) each(all []wsticket.Use, f func(i int, u wsticket.Use)) {
	var next atomic.Int64
	r.atOnce(16, func(int) {
		for i := int(next.Add(1)) - 1; i < len(all); i = int(next.Add(1)) - 1 {
			f(i, all[i])
		}
	})
}

// lifetime: a ticket is remembered as long as a verifier may take it: until its
// expiry plus the leeway, by a clock that may be behind the guard's by MaxSkew.
func lifetime(r *run) {
	guards := r.open(r.nodes())
	var all []wsticket.Use
	for ttl := int64(1); ttl <= r.maxTTL(); ttl++ {
		for _, ahead := range []int64{0, r.leeway()} {
			now := r.now()
			u := wsticket.Use{Identity: r.identity(), Issued: now + ahead, Expires: now + ahead + ttl, Now: now}
			r.wantAccepted(guards[0], u, fmt.Sprintf("a ticket of %d s issued %d s ahead", ttl, ahead))
			all = append(all, u)
		}
	}
	// One node is asked in the last second only, by the clock that is furthest behind:
	// it knows nothing of its own.
	asked, last := guards, guards[len(guards)-1]
	if len(guards) > 2 {
		asked = guards[:len(guards)-1]
	}
	skews := []int64{0}
	if s := r.maxSkew(); s > 0 {
		skews = []int64{-s, 0, s}
	}
	for {
		living := false
		for i, u := range all {
			behind := r.now() - r.maxSkew()
			if behind < u.Expires+r.leeway() {
				living = true
			}
			if behind >= u.Expires+r.leeway()-1 && r.alive(u, behind) {
				_ = r.spend(context.Background(), last, at(u, behind))
			}
			for j, skew := range skews {
				if now := r.now() + skew; r.alive(u, now) {
					// Whether as replayed or because of the skew: not again.
					_ = r.spend(context.Background(), asked[(i+j)%len(asked)], at(u, now))
				}
			}
		}
		if !living {
			return
		}
		r.pass(100 * time.Millisecond)
	}
}

// acrossNodes: what one node let in, no other does.
func acrossNodes(r *run) {
	guards := r.open(r.nodes())
	for i := range guards {
		u := r.ticket()
		r.wantAccepted(guards[i], u, fmt.Sprintf("a fresh ticket on node %d", i))
		for j := range guards {
			r.wantReplayed(guards[j], u, fmt.Sprintf("the same again on node %d", j))
		}
	}
}

// refusalsMarkNothing: a use that is refused leaves the ticket unspent.
func refusalsMarkNothing(r *run) {
	g := r.open(1)[0]
	for _, off := range []int64{3600, -3600, 86400 * 365, -86400 * 365} {
		u := r.ticket()
		if err := r.spend(context.Background(), g, at(u, u.Now+off)); err == nil {
			continue // a guard need not look at Now
		}
		r.wantAccepted(g, u, fmt.Sprintf("a ticket that was refused with Use.Now off by %d s, with the right one", off))
	}
	old := r.ticket()
	old.Issued, old.Expires = 1000, 1000+r.maxTTL()
	if err := r.spend(context.Background(), g, at(old, 1000)); err != nil {
		u := r.ticket()
		u.Identity = old.Identity
		r.wantAccepted(g, u, "a ticket with the identity of one that was refused as too old")
	}
}

// contextOver: a context that is over before the use leaves the ticket unspent, or
// does not matter at all.
func contextOver(r *run) {
	g := r.open(1)[0]
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	for what, ctx := range map[string]context.Context{"cancelled": cancelled, "past its deadline": late} {
		for range 20 {
			u := r.ticket()
			err := r.spend(ctx, g, u)
			if err == nil {
				continue
			}
			if code, ok := wsticket.CodeOf(err); ok && code != wsticket.ErrReplayUnavailable {
				r.Errorf("with a context that is %s: %v, want %v", what, err, wsticket.ErrReplayUnavailable)
			}
			r.wantAccepted(g, u, "a ticket that was refused because its context was "+what)
		}
	}
	// Cancelled in the middle: spent or not, but once.
	for range 20 {
		u := r.ticket()
		r.atOnce(16, func(i int) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i*i)*10*time.Microsecond)
			defer cancel()
			_ = r.spend(ctx, g, u)
		})
		_ = r.spend(context.Background(), g, u)
	}
}

// clocks: whatever Use.Now does, no ticket passes twice, and afterwards life goes on.
func clocks(r *run) {
	guards := r.open(r.nodes())
	start := r.now()
	all := r.tickets(50)
	for i, u := range all {
		r.wantAccepted(guards[i%len(guards)], u, "a fresh ticket")
	}
	for _, jump := range []int64{1, -1, 2, -2, r.maxTTL(), -r.maxTTL(), r.maxTTL() + r.leeway(), -r.maxTTL() - 2*r.leeway(),
		r.maxTTL() + 2*r.leeway() + 1, 600, -600, 3600, -3600, 86400, -86400, 365 * 86400} {
		for i := range 20 {
			now := start + jump + int64(i%3)
			u := wsticket.Use{Identity: r.identity(), Issued: now, Expires: now + 1 + int64(i)%r.maxTTL(), Now: now}
			_ = r.spend(context.Background(), guards[i%len(guards)], u)
			all = append(all, u)
		}
		for i, u := range all {
			for _, now := range []int64{u.Now, start, start + jump, u.Expires + r.leeway() - 1, u.Issued - r.leeway()} {
				if r.alive(u, now) { // a verifier with that clock would ask
					_ = r.spend(context.Background(), guards[i%len(guards)], at(u, now))
				}
			}
		}
	}
	// The clock is right again. A guard that went by it may have closed the seconds
	// that it jumped over, but none beyond.
	if !r.OwnClock {
		r.pass(2 * time.Duration(r.maxTTL()+2*r.leeway()+2) * time.Second)
	}
	for i := range 20 {
		r.wantAccepted(guards[i%len(guards)], r.ticket(), "a fresh ticket after the clock came back")
	}
}

// storm: uses of many tickets in any order, on any node, some of them given up.
func storm(r *run) {
	guards := r.open(r.nodes())
	all := r.tickets(1000)
	sound := make([]atomic.Bool, len(all)) // had a use with a context that lasted
	order := make([]int, 0, 5*len(all))
	for n := range cap(order) {
		order = append(order, n)
	}
	r.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	var next atomic.Int64
	r.atOnce(32, func(int) {
		for n := int(next.Add(1)) - 1; n < len(order); n = int(next.Add(1)) - 1 {
			i := order[n] / 5
			u := at(all[i], r.now())
			if !r.alive(u, u.Now) {
				continue // on a slow machine
			}
			ctx, cancel := context.Background(), context.CancelFunc(func() {})
			if order[n]%5 == 0 {
				ctx, cancel = context.WithTimeout(ctx, 300*time.Microsecond)
			} else {
				sound[i].Store(true)
			}
			err := r.spend(ctx, guards[order[n]%len(guards)], u)
			cancel()
			if code, ok := wsticket.CodeOf(err); err != nil && order[n]%5 != 0 && (!ok || code != wsticket.ErrReplayed) {
				r.Errorf("in a storm: %v", err)
			}
		}
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	never := 0
	for i, u := range all {
		if sound[i].Load() && r.accepted[key{u.Identity, u.Expires}] == 0 {
			never++
		}
	}
	// A use that was given up may have spent the ticket, so some may be missing.
	if never > len(all)/2 {
		r.Errorf("%d of %d tickets were accepted nowhere", never, len(all))
	}
}

// loss: what may have been used before the loss is refused as long as it lives.
func loss(r *run) {
	guards := r.open(r.nodes())
	var before []wsticket.Use
	for i := range 60 {
		u := r.ticket()
		if i%2 == 1 { // by a minter whose clock is ahead
			u.Issued += r.leeway()
			u.Expires += r.leeway()
		}
		r.wantAccepted(guards[i%len(guards)], u, "a fresh ticket")
		before = append(before, u)
	}
	guards = r.Lose(r.TB, guards, time.Unix(r.now(), 0))
	if len(guards) == 0 {
		r.Fatal("Lose returned no guards")
	}
	accepts := r.now() + 4*r.leeway() + 4*r.maxSkew() + r.maxTTL() + 15
	ready := false
	for living := true; living || !ready; {
		living = false
		for i, u := range before {
			for _, skew := range []int64{0, -r.maxSkew(), r.maxSkew()} {
				now := r.now() + skew
				if r.alive(u, now) {
					living = true
					_ = r.spend(context.Background(), guards[i%len(guards)], at(u, now))
				}
			}
		}
		if !ready {
			ready = r.spend(context.Background(), guards[0], r.ticket()) == nil
		}
		if !ready && r.now() > accepts {
			r.Errorf("no ticket is accepted after the loss")
			return
		}
		r.pass(100 * time.Millisecond)
	}
}

// late is how much later than a deadline an answer may come. It is generous, for
// machines that do other things too.
const late = 500 * time.Millisecond

// stall: the other side falls silent. Every use is answered by its deadline, nothing
// stays behind, and service resumes by itself.
func stall(r *run) {
	guards := r.open(r.nodes())
	r.wantAccepted(guards[0], r.ticket(), "a fresh ticket")
	goroutines := runtime.NumGoroutine()
	waiting := r.tickets(300)
	resume := sync.OnceFunc(r.Stall(r.TB))
	defer resume()
	r.untilAnswered(resume, 200*time.Millisecond, func(ctx context.Context) {
		r.atOnce(len(waiting), func(i int) {
			err := r.spend(ctx, guards[i%len(guards)], waiting[i])
			if err == nil {
				r.Errorf("accepted a ticket while nobody could answer")
			} else if code, ok := wsticket.CodeOf(err); ok && code != wsticket.ErrReplayUnavailable {
				r.Errorf("while nobody answers: %v, want %v", err, wsticket.ErrReplayUnavailable)
			}
		})
	})
	resume()
	r.resumes(guards)
	for i, u := range waiting { // may have been spent meanwhile, but not twice
		if now := r.now(); r.alive(u, now) {
			for range 2 {
				_ = r.spend(context.Background(), guards[i%len(guards)], at(u, now))
			}
		}
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines+len(waiting)/4; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			r.Errorf("%d goroutines, %d before %d uses that timed out", runtime.NumGoroutine(), goroutines, len(waiting))
			return
		}
	}
}

// untilAnswered runs f under a deadline and fails if it is not done soon after.
func (r *run) untilAnswered(resume func(), within time.Duration, f func(context.Context)) {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); f(ctx) }()
	select {
	case <-done:
	case <-time.After(within + late):
		r.Errorf("not answered %v after the deadline", late)
		resume() // so that f returns
		<-done
	}
}

// resumes waits until the guards accept again.
func (r *run) resumes(guards []wsticket.ReplayGuard) {
	r.Helper()
	end := time.Now().Add(15 * time.Second)
	for i, g := range guards {
		for {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			err := r.spend(ctx, g, r.ticket())
			cancel()
			if err == nil {
				break
			}
			if time.Now().After(end) {
				r.Errorf("node %d does not accept again: %v", i, err)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// cancelledWhileStalled: a client that goes away does not wait for the deadline.
func cancelledWhileStalled(r *run) {
	guards := r.open(1)
	r.wantAccepted(guards[0], r.ticket(), "a fresh ticket")
	resume := sync.OnceFunc(r.Stall(r.TB))
	defer resume()
	r.untilAnswered(resume, 100*time.Millisecond, func(soon context.Context) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		defer context.AfterFunc(soon, cancel)()
		if err := r.spend(ctx, guards[0], r.ticket()); err == nil {
			r.Errorf("accepted a ticket while nobody could answer")
		} else if errors.Is(err, wsticket.ErrReplayed) || errors.Is(err, wsticket.ErrIssuedBeforeStart) {
			r.Errorf("while nobody answers: %v, want %v", err, wsticket.ErrReplayUnavailable)
		}
	})
	resume()
	r.resumes(guards)
}
