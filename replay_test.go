package wsticket

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// replayStart is the virtual time at which the tests of the cache begin. Nothing in
// them reads a real clock.
const replayStart = 1_795_219_200

// replayID makes up the identity number n.
func replayID(n uint64) (id [16]byte) {
	binary.LittleEndian.PutUint64(id[:8], splitmix(2*n))
	binary.LittleEndian.PutUint64(id[8:], splitmix(2*n+1))
	return id
}

// replayTicket is ticket number n, minted and shown at now.
func replayTicket(n uint64, now, ttl int64) Use {
	return Use{Identity: replayID(n), Issued: now, Expires: now + ttl, Now: now}
}

// at is the same ticket, shown at another time.
func (s Use) at(now int64) Use {
	s.Now = now
	return s
}

// smallCache has few places, so that everything which is rare in a large cache is
// common. It was created long before replayStart.
func smallCache(t testing.TB, peak, parts int, maxTTL, leeway int64) *ReplayCache {
	t.Helper()
	c, err := newReplayCache(sizeReplay(peak, maxTTL, leeway, parts), maxTTL, leeway, replayStart-1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func spendOf(c *ReplayCache, s Use) error { return c.Spend(context.Background(), s) }

func wantSpend(t testing.TB, c *ReplayCache, s Use, want error) {
	t.Helper()
	if got := spendOf(c, s); got != want {
		t.Errorf("Spend(issued %+d, expires %+d, at %+d) = %v, want %v",
			s.Issued-replayStart, s.Expires-replayStart, s.Now-replayStart, got, want)
	}
}

func TestReplayConfig(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   ReplayConfig
		wants []string // every one in the error; none: no error
	}{
		{"least", ReplayConfig{PeakPerSecond: 1}, nil},
		{"all set", ReplayConfig{PeakPerSecond: 1000, MaxTTL: 30 * time.Second, Leeway: time.Second, Since: time.Unix(0, 0)}, nil},
		{"no leeway", ReplayConfig{PeakPerSecond: 1, Leeway: NoLeeway}, nil},
		{"longest", ReplayConfig{PeakPerSecond: 1, MaxTTL: time.Hour, Leeway: 5 * time.Minute}, nil},
		{"zero", ReplayConfig{}, []string{"PeakPerSecond is 0"}},
		{"all wrong", ReplayConfig{PeakPerSecond: -1, MaxTTL: 1500 * time.Millisecond, Leeway: -time.Second, Since: time.Unix(-5, 0)},
			[]string{"PeakPerSecond is -1", "MaxTTL is 1.5s", "Leeway is -1s", "Since is"}},
		{"all too large", ReplayConfig{PeakPerSecond: 10_000_001, MaxTTL: time.Hour + time.Second, Leeway: 301 * time.Second, Since: time.Unix(math.MaxInt64/2, 0)},
			[]string{"PeakPerSecond is 10000001", "MaxTTL is 1h0m1s", "Leeway is 5m1s", "Since is"}},
		{"negative TTL", ReplayConfig{PeakPerSecond: 1, MaxTTL: -time.Second}, []string{"MaxTTL is -1s"}},
		{"too much memory", ReplayConfig{PeakPerSecond: 10_000_000, MaxTTL: time.Hour}, []string{"PeakPerSecond 10000000", "MaxTTL 1h0m0s", "MiB"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := NewReplayCache(tt.cfg)
			if len(tt.wants) == 0 {
				if err != nil || c == nil {
					t.Fatalf("got %v, want a cache", err)
				}
				return
			}
			if err == nil || c != nil {
				t.Fatal("got a cache, want an error")
			}
			for _, want := range tt.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestReplayCovers(t *testing.T) {
	for _, tt := range []struct {
		maxTTL, leeway, wantTTL, wantLeeway time.Duration
	}{
		{0, 0, DefaultMaxTTL, DefaultLeeway},
		{10 * time.Second, time.Second, 10 * time.Second, time.Second},
		{10 * time.Second, NoLeeway, 10 * time.Second, 0},
	} {
		since := time.Unix(replayStart, 999_999_999)
		c, err := NewReplayCache(ReplayConfig{PeakPerSecond: 1, MaxTTL: tt.maxTTL, Leeway: tt.leeway, Since: since})
		if err != nil {
			t.Fatal(err)
		}
		if ttl, leeway := c.Covers(); ttl != tt.wantTTL || leeway != tt.wantLeeway {
			t.Errorf("Covers() = %v, %v, want %v, %v", ttl, leeway, tt.wantTTL, tt.wantLeeway)
		}
		if want := time.Unix(replayStart+1, 0).Add(2 * tt.wantLeeway); !c.ReadyAt().Equal(want) {
			t.Errorf("ReadyAt() = %v, want %v", c.ReadyAt(), want)
		}
	}
}

func TestReplaySinceDefault(t *testing.T) {
	before := time.Now().Unix()
	c, err := NewReplayCache(ReplayConfig{PeakPerSecond: 1})
	after := time.Now().Unix()
	if err != nil {
		t.Fatal(err)
	}
	if got := c.ReadyAt().Unix() - 5; got < before || got > after {
		t.Errorf("Since defaults to %d, want %d to %d", got, before, after)
	}
	if got := spendOf(c, replayTicket(1, before, 10)); got != ErrIssuedBeforeStart {
		t.Errorf("a ticket as old as the cache: %v, want %v", got, ErrIssuedBeforeStart)
	}
}

// A ticket is refused if a process before this one may have accepted it, and none
// that is minted from ReadyAt on by a clock no more than the leeway behind.
func TestReplayIssuedBeforeStart(t *testing.T) {
	for _, leeway := range []int64{0, 1, 2, 5} {
		c, err := newReplayCache(sizeReplay(1, 10, leeway, 1), 10, leeway, replayStart)
		if err != nil {
			t.Fatal(err)
		}
		for ahead := int64(-20); ahead < 20; ahead++ {
			s := replayTicket(uint64(ahead+100), replayStart+ahead, 10).at(replayStart)
			var want error
			switch {
			case ahead <= leeway:
				want = ErrIssuedBeforeStart
			case ahead > 1+leeway: // expires more than the longest TTL and the leeway ahead
				want = ErrReplayUnavailable
			}
			wantSpend(t, c, s, want)
		}
		ready := c.ReadyAt().Unix()
		wantSpend(t, c, replayTicket(1000, ready-leeway, 10).at(ready), nil)
		wantSpend(t, c, replayTicket(1001, ready-leeway-1, 10).at(ready), ErrIssuedBeforeStart)
	}
}

func TestReplayEdges(t *testing.T) {
	const maxTTL, leeway = 10, 2
	const now = replayStart
	t.Run("window", func(t *testing.T) {
		c := smallCache(t, 16, 1, maxTTL, leeway)
		n := uint64(0)
		for ahead := int64(-10); ahead < 30; ahead++ {
			n++
			s := Use{Identity: replayID(n), Issued: now - 1, Expires: now + ahead, Now: now}
			if ahead < -leeway || ahead > maxTTL+leeway+1 {
				wantSpend(t, c, s, ErrReplayUnavailable)
				continue
			}
			wantSpend(t, c, s, nil)
			wantSpend(t, c, s, ErrReplayed)
		}
		if st := c.Stats(); st.FramesLost != 0 || st.FramesOpen != st.Frames-1 {
			t.Errorf("%d of %d frames open, %d lost; a full window must leave one", st.FramesOpen, st.Frames, st.FramesLost)
		}
	})
	t.Run("extremes", func(t *testing.T) {
		times := []int64{math.MinInt64, math.MinInt64 + 1, -timeEnd, -20, -1, 0, 1, now, timeEnd - 1, timeEnd, math.MaxInt64 - 1, math.MaxInt64}
		c := smallCache(t, 16, 1, maxTTL, leeway)
		c.notAfter = math.MinInt64
		n := uint64(0)
		for _, expires := range times {
			for _, at := range times {
				for _, issued := range times {
					n++
					s := Use{Identity: replayID(n), Issued: issued, Expires: expires, Now: at}
					err := spendOf(c, s)
					inside := expires >= 0 && expires < timeEnd && at >= 0 && at < timeEnd && expires >= at-leeway && expires <= at+maxTTL+leeway+1
					if err == nil && !inside {
						t.Errorf("accepted %+v", s)
					}
					if err == nil && spendOf(c, s) != ErrReplayed {
						t.Errorf("accepted twice: %+v", s)
					}
				}
			}
		}
	})
	t.Run("expiry zero", func(t *testing.T) {
		c := smallCache(t, 16, 1, maxTTL, leeway)
		c.notAfter = math.MinInt64
		for at := int64(0); at <= leeway; at++ {
			s := Use{Identity: replayID(uint64(at)), Issued: 0, Expires: 0, Now: at}
			wantSpend(t, c, s, nil)
			wantSpend(t, c, s, ErrReplayed)
		}
		wantSpend(t, c, Use{Identity: replayID(9), Expires: 0, Now: leeway + 1}, ErrReplayUnavailable)
		wantSpend(t, c, Use{Identity: replayID(9), Expires: -1, Now: 0}, ErrReplayUnavailable)
		// Negative remainders and the mark of a free frame must find no frame.
		if f := c.frameOf(-5); f != nil {
			t.Error("a frame for a slot that none has")
		}
	})
	t.Run("end of time", func(t *testing.T) {
		c := smallCache(t, 16, 1, maxTTL, leeway)
		s := Use{Identity: replayID(1), Issued: timeEnd - 5, Expires: timeEnd - 1, Now: timeEnd - 2}
		wantSpend(t, c, s, nil)
		wantSpend(t, c, s, ErrReplayed)
	})
	t.Run("identities", func(t *testing.T) {
		c := smallCache(t, 16, 4, maxTTL, leeway)
		one := [16]byte{8: 1} // has the mark that stands for zero
		ids := map[string][16]byte{
			"zero":         {},
			"zero mark":    {0: 0xff, 7: 0xff},
			"zero place":   {8: 0xff, 15: 0xff},
			"all ones":     {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
			"last of part": {255, 255, 255, 255, 255, 255, 255, 0x3f, 2},
		}
		for name, id := range ids {
			s := Use{Identity: id, Issued: now, Expires: now + 10, Now: now}
			if err := spendOf(c, s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := spendOf(c, s); err != ErrReplayed {
				t.Errorf("%s, again: %v", name, err)
			}
		}
		// One chance in 2^64: it may be refused, never the other way round.
		wantSpend(t, c, Use{Identity: one, Issued: now, Expires: now + 10, Now: now}, ErrReplayed)
	})
	t.Run("one bit", func(t *testing.T) {
		for bit := 64; bit < 128; bit++ { // the other half picks one of few places
			c := smallCache(t, 16, 4, maxTTL, leeway)
			id := replayID(uint64(bit))
			s := Use{Identity: id, Issued: now, Expires: now + 10, Now: now}
			wantSpend(t, c, s, nil)
			s.Identity[bit/8] ^= 1 << (bit % 8)
			wantSpend(t, c, s, nil)
			wantSpend(t, c, s, ErrReplayed)
			s.Identity = id
			wantSpend(t, c, s, ErrReplayed)
		}
	})
	t.Run("same identity, other expiry", func(t *testing.T) {
		c := smallCache(t, 16, 1, maxTTL, leeway)
		a, b := replayTicket(1, now, 5), replayTicket(1, now, 6)
		wantSpend(t, c, a, nil)
		wantSpend(t, c, b, nil)
		wantSpend(t, c, a, ErrReplayed)
		wantSpend(t, c, b, ErrReplayed)
	})
	t.Run("hints collide", func(t *testing.T) {
		c := smallCache(t, 16, 1, maxTTL, leeway)
		a := replayTicket(1, now, 10)
		b := replayTicket(2, now+int64(len(c.hints)), 10)
		wantSpend(t, c, a, nil)
		oldest := int64(0) // as if the clock were at both: neither slot has had its time
		if f := c.open(b.Expires, oldest); f == nil {
			t.Fatal("no frame for the second slot")
		}
		if c.frameOf(a.Expires) != nil {
			t.Fatal("the slots do not share a hint")
		}
		wantSpend(t, c, a, ErrReplayed)
		if c.frameOf(b.Expires) != nil {
			t.Fatal("the hint was not set again")
		}
		if f := c.open(b.Expires, oldest); f == nil {
			t.Fatal("the second slot lost its frame")
		}
		if open := c.Stats().FramesOpen; open != 2 {
			t.Errorf("%d frames open, want 2", open)
		}
	})
	t.Run("idle", func(t *testing.T) {
		c := smallCache(t, 16, 1, maxTTL, leeway)
		for round := range uint64(20) {
			at := now + int64(round*round*37)
			for ttl := int64(1); ttl <= maxTTL; ttl++ {
				s := replayTicket(round*100+uint64(ttl), at, ttl)
				wantSpend(t, c, s, nil)
				wantSpend(t, c, s, ErrReplayed)
			}
		}
		if st := c.Stats(); st.FramesUsed > maxTTL+leeway+1 || st.FramesLost != 0 {
			t.Errorf("%d frames used, %d lost", st.FramesUsed, st.FramesLost)
		}
	})
}

// Verifiers with different leeways on one cache must mean one slot by one ticket.
func TestReplayTwoLeeways(t *testing.T) {
	const maxTTL, leeway = 10, 2
	const now = replayStart
	c := smallCache(t, 64, 1, maxTTL, leeway)
	s := replayTicket(1, now, maxTTL)
	strict, lenient := s.Expires-1, s.Expires+leeway-1 // the last second in which each takes it
	wantSpend(t, c, s.at(strict), nil)
	wantSpend(t, c, s.at(lenient), ErrReplayed)
	s = replayTicket(2, now, maxTTL)
	wantSpend(t, c, s.at(lenient), nil)
	wantSpend(t, c, s.at(strict), ErrReplayed)

	// In its last second of leeway, with every later slot in use too.
	c = smallCache(t, 64, 1, maxTTL, leeway)
	late := replayTicket(3, now, 1)
	at := late.Expires + leeway - 1
	for ttl := int64(1); ttl <= maxTTL; ttl++ {
		wantSpend(t, c, replayTicket(uint64(10+ttl), at, ttl), nil)
	}
	wantSpend(t, c, late.at(at), nil)
	wantSpend(t, c, late.at(at), ErrReplayed)

	// A slot whose tickets are just over is still answered, not closed: a caller
	// whose clock was read a moment earlier may ask.
	over := replayTicket(4, now, 1)
	wantSpend(t, c, over.at(over.Expires+leeway), nil)
	wantSpend(t, c, replayTicket(5, over.Expires+leeway, maxTTL), nil)
	wantSpend(t, c, replayTicket(6, now, 1).at(over.Expires+leeway), nil)

	// Minted by the fastest clock that passes, with the longest TTL.
	early := Use{Identity: replayID(7), Issued: now + leeway, Expires: now + leeway + maxTTL, Now: now}
	wantSpend(t, c, early, nil)
	for at := int64(now); at <= early.Expires+leeway; at++ {
		wantSpend(t, c, early.at(at), ErrReplayed)
	}
	wantSpend(t, c, early.at(early.Expires+leeway+1), ErrReplayUnavailable)
}

func TestReplayStats(t *testing.T) {
	const now = replayStart
	c := smallCache(t, 16, 1, 10, 2)
	for n := range uint64(200) { // far more than the 32 lanes hold
		_ = spendOf(c, replayTicket(n, now, 10))
	}
	st := c.Stats()
	if st.Accepted+st.Replayed != 200 || st.Accepted != st.Live || st.Live-st.LiveOverflow != 32 {
		t.Errorf("after 200 fresh tickets on 32 lanes: %+v", st)
	}
	if got, want := st.OverflowShare(), float64(st.Live-32)/float64(st.Live); got != want {
		t.Errorf("OverflowShare() = %v, want %v", got, want)
	}
	if st.Frames != 17 || st.FramesOpen != 1 || st.FramesUsed != 1 || st.Bytes != 17*st.BytesUsed {
		t.Errorf("frames: %+v", st)
	}
	before := st
	wantSpend(t, c, replayTicket(0, now, 10), ErrReplayed)
	wantSpend(t, c, replayTicket(0, now, 100), ErrReplayUnavailable)
	wantSpend(t, c, replayTicket(0, now-2_000_000, 10), ErrIssuedBeforeStart)
	wantSpend(t, c, replayTicket(1000, now+20, 10), nil)
	st = c.Stats()
	if st.Replayed != before.Replayed+1 || st.Unavailable != 1 || st.IssuedBeforeStart != 1 || st.Accepted != before.Accepted+1 {
		t.Errorf("refusals: %+v after %+v", st, before)
	}
	if st.Live != 1 || st.LiveOverflow != 0 || st.FramesOpen != 1 {
		t.Errorf("the slot that has passed still counts: %+v", st)
	}
	if share := (ReplayStats{}).OverflowShare(); share != 0 {
		t.Errorf("OverflowShare of nothing = %v", share)
	}
}

func TestDangerouslyAllowReplay(t *testing.T) {
	s := replayTicket(1, replayStart, 10)
	for range 3 {
		if err := DangerouslyAllowReplay.Spend(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	if ttl, leeway := DangerouslyAllowReplay.Covers(); ttl < time.Hour || leeway < time.Hour {
		t.Errorf("Covers() = %v, %v", ttl, leeway)
	}
}

// Spend does not wait for anyone, so a context that is over changes nothing.
func TestReplayIgnoresContext(t *testing.T) {
	c := smallCache(t, 16, 1, 10, 2)
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("over"))
	if err := c.Spend(ctx, replayTicket(1, replayStart, 10)); err != nil {
		t.Error(err)
	}
}
