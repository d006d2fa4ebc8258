package wsticket

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A map that never forgets says what was accepted before. Loads from idle to far
// over the peak, every TTL, and a clock that jumps.
func TestReplayOracle(t *testing.T) {
	const peak, maxTTL, leeway = 64, 10, 2
	for _, load := range []float64{0.3, 1, 2, 4, 6} {
		for _, jumps := range []bool{false, true} {
			t.Run(fmt.Sprintf("load=%v/jumps=%v", load, jumps), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(uint64(load*10), 7))
				c := smallCache(t, peak, 2, maxTTL, leeway)
				used := map[[16]byte]bool{}
				byExpiry := map[int64][]Use{}
				var minted, fresh, refused, again uint64
				now := int64(replayStart)
				use := func(s Use) {
					err := spendOf(c, s.at(now))
					switch {
					case err == nil && used[s.Identity]:
						t.Fatalf("accepted twice: %+v at %+d", s, now-replayStart)
					case err == nil:
						used[s.Identity] = true
					case used[s.Identity]:
						again++
					default:
						refused++
					}
				}
				for range 600 {
					if jumps && rng.IntN(8) == 0 {
						now += rng.Int64N(61) - 30
					} else {
						now++
					}
					for range int(load * peak) {
						minted++
						s := replayTicket(minted, now+rng.Int64N(2*leeway+1)-leeway, 1+rng.Int64N(maxTTL))
						byExpiry[s.Expires] = append(byExpiry[s.Expires], s)
						if rng.IntN(10) > 0 { // some are first used later
							fresh++
							use(s)
						}
					}
					// Replays over the whole window and a little beyond it.
					for slot := now - leeway - 1; slot <= now+maxTTL+leeway+2; slot++ {
						if old := byExpiry[slot]; len(old) > 0 {
							for range 5 {
								use(old[rng.IntN(len(old))])
							}
						}
					}
				}
				if again < 1000 {
					t.Errorf("only %d replays were tried", again)
				}
				// Some tickets are minted at the very edge of their life.
				if !jumps && load <= 1 && refused > fresh/5 {
					t.Errorf("%d of %d tickets refused", refused, fresh)
				}
			})
		}
	}
}

// Many goroutines show one ticket, 10,000 times over, while the clock moves on and
// frames change hands: exactly one gets in each time.
func TestReplayOneOfMany(t *testing.T) {
	const goroutines, rounds, perSlot = 64, 10_000, 20
	c := smallCache(t, 64, 2, 3, 1)
	var accepts, refusals atomic.Int64
	begin := make([]chan Use, goroutines)
	var done sync.WaitGroup
	for g := range begin {
		begin[g] = make(chan Use, 1)
		go func() {
			for s := range begin[g] {
				switch spendOf(c, s) {
				case nil:
					accepts.Add(1)
				case ErrReplayed:
					refusals.Add(1)
				}
				done.Done()
			}
		}()
	}
	for round := range rounds {
		s := replayTicket(uint64(round), replayStart+int64(round/perSlot), 1+int64(round%3))
		done.Add(goroutines)
		for _, ch := range begin {
			ch <- s
		}
		done.Wait()
		if a, r := accepts.Swap(0), refusals.Swap(0); a != 1 || r != goroutines-1 {
			t.Fatalf("round %d: %d accepted and %d refused as replayed, of %d", round, a, r, goroutines)
		}
	}
	for _, ch := range begin {
		close(ch)
	}
}

// Goroutines that run freely over the same tickets, each at its own pace and each
// with its own idea of the time.
func TestReplayFreeRunning(t *testing.T) {
	const goroutines, tickets, perSecond = 8, 60_000, 100
	c := smallCache(t, perSecond, 2, 3, 1)
	accepts := make([]atomic.Int32, tickets)
	var front atomic.Int64 // the ticket that the fastest is at: the clock
	var wait sync.WaitGroup
	for g := range goroutines {
		wait.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for i := int64(0); i < tickets; i++ {
				for {
					f := front.Load()
					if i <= f || front.CompareAndSwap(f, i) {
						break
					}
				}
				// Mostly the next ticket, sometimes one of the last seconds.
				n := max(0, i-rng.Int64N(2)*rng.Int64N(5*perSecond))
				s := replayTicket(uint64(n), replayStart+n/perSecond, 1+n%3)
				if spendOf(c, s.at(replayStart+front.Load()/perSecond-rng.Int64N(2))) == nil {
					accepts[n].Add(1)
				}
				if i%perSecond == 0 {
					c.Stats()
					runtime.Gosched()
				}
			}
		})
	}
	wait.Wait()
	once := 0
	for n := range accepts {
		switch a := accepts[n].Load(); {
		case a > 1:
			t.Errorf("ticket %d accepted %d times", n, a)
		case a == 1:
			once++
		}
	}
	if once < tickets/2 {
		t.Errorf("only %d of %d accepted", once, tickets)
	}
}

// moveOn gives the frame of slot from to slot to, as the passing of time does.
func moveOn(t *testing.T, c *ReplayCache, from, to int64) {
	t.Helper()
	f := c.frameOf(from)
	if f == nil {
		t.Fatal("the first slot has no frame")
	}
	if c.open(to, to-c.behind) != f {
		t.Fatal("the second slot got another frame")
	}
}

// A use stalls after it found its frame. Meanwhile the frame moves on.
func TestReplayStalled(t *testing.T) {
	const slot, later = replayStart + 10, replayStart + 100
	setup := func(t *testing.T) (c *ReplayCache, f *frame, used, other Use) {
		c = smallCache(t, 16, 1, 10, 2)
		used = replayTicket(1, replayStart, 10)
		other = replayTicket(2, later-10, 10)
		wantSpend(t, c, used, nil)
		return c, c.frameOf(slot), used, other
	}
	t.Run("frame used again", func(t *testing.T) {
		c, f, used, other := setup(t)
		moveOn(t, c, slot, later)
		wantSpend(t, c, other, nil)
		if got := f.spend(&c.size, slot, &used.Identity); got != gone {
			t.Errorf("got %v, want gone", got)
		}
		wantSpend(t, c, other, ErrReplayed)
	})
	t.Run("frame not used again yet", func(t *testing.T) {
		c, f, used, other := setup(t)
		moveOn(t, c, slot, later)
		if got := f.spend(&c.size, slot, &used.Identity); got != present {
			t.Errorf("got %v, want present", got)
		}
		wantSpend(t, c, other, nil)
		wantSpend(t, c, other, ErrReplayed)
		if got := f.spend(&c.size, slot, &used.Identity); got != gone {
			t.Errorf("got %v, want gone", got)
		}
	})
	t.Run("frame free", func(t *testing.T) {
		c, f, _, _ := setup(t)
		c.mu.Lock()
		c.closeBefore(later)
		c.mu.Unlock()
		p := &f.parts[0]
		p.slot = noSlot // a part that no ticket had come to yet
		if got := f.spend(&c.size, slot, &[16]byte{1}); got != gone {
			t.Errorf("got %v, want gone", got)
		}
	})
	t.Run("at the lock", func(t *testing.T) {
		c, f, used, other := setup(t)
		p := &f.parts[0]
		p.mu.Lock()
		result := make(chan error)
		go func() { result <- spendOf(c, used) }()
		waitForLock(t)
		moveOn(t, c, slot, later)
		f.wipe(&c.size, 0) // what the first use in the new slot does
		p.slot = later
		p.mu.Unlock()
		if err := <-result; err != ErrReplayUnavailable {
			t.Errorf("got %v, want %v", err, ErrReplayUnavailable)
		}
		wantSpend(t, c, other, nil)
		if st := c.Stats(); st.Unavailable != 1 {
			t.Errorf("Unavailable = %d, want 1", st.Unavailable)
		}
	})
}

// waitForLock returns when a goroutine waits for a mutex in Spend.
func waitForLock(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	for start := time.Now(); time.Since(start) < 30*time.Second; runtime.Gosched() {
		for stack := range bytes.SplitSeq(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
			if bytes.Contains(stack, []byte("[sync.Mutex.Lock")) && bytes.Contains(stack, []byte("(*frame).spend")) {
				return
			}
		}
	}
	t.Fatal("nobody waits for the lock")
}

// The clock walks back and opens slot after slot, so that slots which are still alive
// lose their frames; then it walks up through all of them.
func TestReplayWalkBack(t *testing.T) {
	const maxTTL, leeway, back = 10, 2, 40
	c := smallCache(t, 64, 2, maxTTL, leeway)
	var spent []Use
	n := uint64(0)
	for now := int64(replayStart); now > replayStart-back; now-- {
		for ttl := int64(1); ttl <= maxTTL; ttl += 3 {
			n++
			if s := replayTicket(n, now, ttl); spendOf(c, s) == nil {
				spent = append(spent, s)
			}
		}
	}
	if st := c.Stats(); st.FramesLost < back/2 {
		t.Fatalf("%d frames lost: the test does not do what it is for", st.FramesLost)
	}
	for now := int64(replayStart - back); now < replayStart+maxTTL+2*leeway; now++ {
		for _, s := range spent {
			if spendOf(c, s.at(now)) == nil {
				t.Fatalf("accepted twice: expires %+d, at %+d", s.Expires-replayStart, now-replayStart)
			}
		}
		// Fresh ones, so that frames go on changing hands.
		n++
		_ = spendOf(c, replayTicket(n, now, 1+int64(n%maxTTL)))
	}
	// It recovers: once every slot that was given up has passed, all is well.
	for now := int64(replayStart + maxTTL + 2*leeway); now < replayStart+200; now++ {
		for ttl := int64(1); ttl <= maxTTL; ttl++ {
			n++
			wantSpend(t, c, replayTicket(n, now, ttl), nil)
		}
	}
}

// The victim is the frame used least recently, wherever its slot lies: after the clock
// was an hour ahead, for a moment or for long, only slots that had lost their frame by
// then refuse anything, and when the hour has passed, those that were used ahead of it.
func TestReplayExcursion(t *testing.T) {
	const maxTTL, leeway, hour = 10, 2, 3600
	for _, long := range []int64{1, 5, 30, 300} {
		t.Run(fmt.Sprintf("seconds=%d", long), func(t *testing.T) {
			c := smallCache(t, 64, 2, maxTTL, leeway)
			n := uint64(0)
			second := func(now int64) (refused int) {
				for ttl := int64(1); ttl <= maxTTL; ttl++ {
					n++
					s := replayTicket(n, now, ttl)
					if spendOf(c, s) != nil {
						refused++
					} else if spendOf(c, s) == nil {
						t.Fatalf("accepted twice at %+d", now-replayStart)
					}
				}
				return refused
			}
			const ahead = replayStart + hour
			for now := int64(replayStart); now < replayStart+20; now++ {
				if r := second(now); r > 0 {
					t.Errorf("%d refused before the excursion", r)
				}
			}
			for now := int64(ahead); now < ahead+long; now++ {
				if r := second(now); r > 0 {
					t.Errorf("%d refused during the excursion", r)
				}
			}
			for now := int64(replayStart + 20); now < ahead+long+100; now++ {
				before, later := 0, 0
				for slot := now + 1; slot <= now+maxTTL; slot++ {
					if slot <= replayStart+29 {
						before++
					} else if slot > ahead && slot < ahead+long+maxTTL {
						later++ // may still have its frame: the cache had some to spare
					}
				}
				if r := second(now); r < before || r > before+later {
					t.Errorf("at %+d: %d refused, want %d and up to %d more", now-replayStart, r, before, later)
				}
			}
			if st := c.Stats(); st.FramesLost == 0 {
				t.Error("no frame lost: the test does not do what it is for")
			}
		})
	}
}

// An excursion with a ticket every few seconds only leaves more islands of closed
// slots than there are spans. The way back to the present must not be closed for it.
func TestReplaySparseExcursion(t *testing.T) {
	const maxTTL, leeway, every = 10, 2, 3
	for _, ahead := range []int64{3600, 86400} {
		c := smallCache(t, 64, 2, maxTTL, leeway)
		n, refused := uint64(0), 0
		run := func(from, to int64) {
			for now := from; now < to; now += every {
				n++
				if spendOf(c, replayTicket(n, now, maxTTL)) != nil {
					refused++
				}
			}
		}
		run(replayStart, replayStart+30)
		run(replayStart+ahead, replayStart+ahead+300)
		run(replayStart+30, replayStart+30+3000)
		// What was minted before the excursion's end of the past, and no more.
		if refused > 2*(maxTTL+leeway) {
			t.Errorf("%d s ahead: %d of %d fresh tickets refused", ahead, refused, n)
		}
	}
}

// The clock leaps ahead again and again, each time farther than before, so that of all
// gaps between closed slots the one that holds the present is the narrowest. It is never
// given up, neither while the clock is back nor while it is away.
func TestReplayManyExcursions(t *testing.T) {
	const leeway, excursions = 2, 100
	for _, tt := range []struct {
		name         string
		maxTTL, stay int64
	}{
		// Long enough for the slots of the excursion to lose their frames at home.
		{"long at home", 10, 30},
		// Too short: they lose them in the next excursion.
		{"short at home", 3, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := smallCache(t, 64, 2, 10, leeway)
			n := uint64(0)
			second := func(now int64) (refused int) {
				for ttl := int64(1); ttl <= tt.maxTTL; ttl++ {
					n++
					s := replayTicket(n, now, ttl)
					if spendOf(c, s) != nil {
						refused++
					} else if spendOf(c, s) == nil {
						t.Fatalf("accepted twice at %+d", now-replayStart)
					}
				}
				return refused
			}
			now, ahead := int64(replayStart), int64(0)
			for e := range int64(excursions) {
				// Slots that were in use at the leap are over by the clock that leaped.
				leaped := now + tt.maxTTL
				for end := now + tt.stay; now < end; now++ {
					if r := second(now); r > 0 && (e == 0 || now >= leaped) {
						t.Fatalf("after %d excursions %d of %d fresh tickets are refused", e, r, tt.maxTTL)
					}
				}
				ahead += 100_000 + 100*e
				for far := now + ahead; far < now+ahead+3; far++ {
					second(far)
				}
			}
			if len(c.closed.spans) < maxClosedSpans-2 || len(c.closed.spans) > maxClosedSpans {
				t.Errorf("%d spans, %d allowed", len(c.closed.spans), maxClosedSpans)
			}
		})
	}
}

// Use makes a frame recent, not only its opening.
func TestReplayVictim(t *testing.T) {
	c := smallCache(t, 16, 1, 10, 2)
	frames := int64(len(c.frames))
	for n := range frames {
		c.open(replayStart+n, 0)
	}
	c.open(replayStart+frames, 0) // takes note of what was used so far; the first one goes
	if c.frameOf(replayStart) != nil {
		t.Fatal("the first frame was not the victim")
	}
	if c.frameOf(replayStart+1) == nil { // a use of the next in line
		t.Fatal("the second frame is gone")
	}
	c.open(replayStart+frames+1, 0)
	if c.frameOf(replayStart+1) == nil {
		t.Error("the frame that was just used is the victim")
	}
	if c.frameOf(replayStart+2) != nil {
		t.Error("the frame that was used least recently is not the victim")
	}
}

// A step back within the leeway closes nothing and refuses nothing.
func TestReplaySmallStepBack(t *testing.T) {
	const maxTTL, leeway = 10, 2
	for step := int64(1); step <= leeway; step++ {
		c := smallCache(t, 64, 2, maxTTL, leeway)
		n := uint64(0)
		now := int64(replayStart)
		var unused []Use
		for round := range 300 {
			now++
			if round%7 == 6 {
				now -= step
			}
			for ttl := int64(1); ttl <= maxTTL; ttl++ {
				n += 2
				wantSpend(t, c, replayTicket(n, now, ttl), nil)
				unused = append(unused, replayTicket(n+1, now, ttl))
			}
			kept := unused[:0]
			for _, s := range unused { // used as late as the verifier allows, with the later slots open
				if now >= s.Expires+leeway-1 {
					if now < s.Expires+leeway {
						wantSpend(t, c, s.at(now), nil)
					}
					continue
				}
				kept = append(kept, s)
			}
			unused = kept
		}
		if st := c.Stats(); st.Unavailable != 0 || st.FramesLost != 0 {
			t.Errorf("step %d: %+v", step, st)
		}
	}
}

// closedSlots against a map: it has what was put in, always; as long as the gaps are few
// it has nothing else; and it keeps its promise on size.
func TestClosedSlots(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 2))
		c := newClosedSlots()
		in := map[int64]bool{}
		has := map[int64]bool{} // what the set said it had
		reach := int64(10 + 10*seed)
		for range 300 {
			slot := rng.Int64N(reach)
			c.add(slot)
			in[slot] = true
			gaps := 0
			for s := int64(-2); s < reach+2; s++ {
				if in[s] && !in[s+1] {
					gaps++
				}
			}
			for s := int64(-2); s < reach+2; s++ {
				got := c.has(s)
				if (in[s] || has[s]) && !got {
					t.Fatalf("seed %d: %d was in and is out", seed, s)
				}
				if got && !in[s] && len(in) <= maxClosedSpans {
					t.Fatalf("seed %d: %d was never put in", seed, s)
				}
				has[s] = got
			}
			if len(c.spans) > maxClosedSpans || len(c.spans) > gaps || cap(c.spans) != maxClosedSpans+1 {
				t.Fatalf("seed %d: %d spans for %d runs, capacity %d", seed, len(c.spans), gaps, cap(c.spans))
			}
			for i, s := range c.spans {
				if s.low > s.high || (i > 0 && s.low <= c.spans[i-1].high+1) {
					t.Fatalf("seed %d: spans out of order: %v", seed, c.spans)
				}
			}
		}
	}
}

// One span too many costs the slots of the narrowest gap, and of no other. A gap in
// which the clock is counts only where there is no other.
func TestNarrowestGapIsGivenUp(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 3))
		c := newClosedSlots()
		slots := []int64{0}
		for i := range int64(maxClosedSpans) { // gaps of different widths, in any order
			slots = append(slots, slots[i]+2*(1+(i*7+int64(seed))%maxClosedSpans))
		}
		slots[maxClosedSpans] += 1000 // the last and widest
		home := rng.IntN(maxClosedSpans - 1)
		c.at(slotSpan{slots[home] + 1, slots[home+1] - 1})
		narrowest := -1
		for i := range maxClosedSpans {
			if i != home && (narrowest < 0 || slots[i+1]-slots[i] < slots[narrowest+1]-slots[narrowest]) {
				narrowest = i
			}
		}
		for _, slot := range slots {
			c.add(slot)
		}
		for i := range maxClosedSpans {
			for slot := slots[i] + 1; slot < slots[i+1]; slot++ {
				if got, want := c.has(slot), i == narrowest; got != want {
					t.Fatalf("seed %d: slot %d, in gap %d of %d slots, is closed: %v; gap %d is the narrowest, the clock is in gap %d",
						seed, slot, i, slots[i+1]-slots[i]-1, got, narrowest, home)
				}
			}
		}
	}
}
