package wsticket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var stateConfig = ReplayConfig{PeakPerSecond: 100, MaxTTL: 10 * time.Second, Leeway: 2 * time.Second}

const stateTTL, stateLeeway = 10, 2

func loadedAt(t testing.TB, now int64, path string, cfg ReplayConfig) *ReplayCache {
	t.Helper()
	c, err := LoadReplayCacheAt(time.Unix(now, 0), path, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func savedAt(t testing.TB, c *ReplayCache, now int64, path string) []byte {
	t.Helper()
	if err := c.SaveAt(time.Unix(now, 0), path); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// usedAhead is a ticket that usedCache accepted when the clock was far ahead.
func usedAhead(now int64) Use { return replayTicket(1<<40, now+50_000, 10) }

// usedCache is a cache of cfg after some seconds of traffic that ended at now, and what
// it accepted. Before that the clock was ahead a few times.
func usedCache(t testing.TB, cfg ReplayConfig, now int64, perSecond int) (c *ReplayCache, used []Use) {
	t.Helper()
	cfg.Since = time.Unix(now-1000, 0)
	c, err := NewReplayCache(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Use{replayTicket(1<<40+1, now+1000, 10), replayTicket(1<<40+2, now+3000, 10), usedAhead(now)} {
		wantSpend(t, c, s, nil)
	}
	n := uint64(0)
	for at := now - 20; at <= now; at++ {
		for range perSecond {
			n++
			s := replayTicket(n, at, 1+int64(n%stateTTL))
			if spendOf(c, s) == nil {
				used = append(used, s)
			}
		}
	}
	return c, used
}

// The cache that was loaded is the one that was saved: it saves to the same bytes, knows
// what was used and takes what is fresh, at once.
func TestReplayStateGoesOn(t *testing.T) {
	for _, perSecond := range []int{0, 1, 100, 600, 2000} {
		t.Run(fmt.Sprint(perSecond), func(t *testing.T) {
			t.Parallel()
			const now = replayStart
			path := filepath.Join(t.TempDir(), "state")
			c, used := usedCache(t, stateConfig, now, perSecond)
			live := c.Stats().Live
			if perSecond >= 600 && c.Stats().LiveOverflow == 0 || len(c.closed.spans) < 2 {
				t.Fatalf("%+v, closed %v: the test does not do what it is for", c.Stats(), c.closed.spans)
			}
			first := savedAt(t, c, now, path)
			c = loadedAt(t, now+1, path, stateConfig)
			if st := c.Stats(); st.Live != live || st.Accepted != 0 || st.Replayed != 0 {
				t.Errorf("%d live of %d, counters %+v", st.Live, live, st)
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file is still there: %v", err)
			}
			if want := time.Unix(now-1000+2*stateLeeway+1, 0); !c.ReadyAt().Equal(want) {
				t.Errorf("ready at %v, want %v", c.ReadyAt(), want)
			}
			if second := savedAt(t, c, now, path); !bytes.Equal(first, second) {
				t.Errorf("what was loaded is saved to other bytes: %d and %d", len(first), len(second))
			}
			c = loadedAt(t, now+1, path, stateConfig)
			for at := int64(now + 1); at < now+stateTTL+2*stateLeeway; at++ {
				for _, s := range used {
					if spendOf(c, s.at(at)) == nil {
						t.Fatalf("accepted twice: expires %+d, at %+d", s.Expires-now, at-now)
					}
				}
			}
		})
	}
}

// An orderly restart, over and over, with minters on both edges of the leeway: no fresh
// ticket is refused and none is taken twice.
func TestReplayStateOrderlyRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	c := loadedAt(t, replayStart-100, path, stateConfig)
	var shown []Use
	n, restarts := uint64(0), 0
	for now := int64(replayStart); now < replayStart+120; now++ {
		if now%7 == 0 {
			savedAt(t, c, now, path)
			now += int64(restarts % 3)
			restarts++
			c = loadedAt(t, now, path, stateConfig)
		}
		for skew := int64(-stateLeeway); skew <= stateLeeway; skew++ {
			for range 5 {
				n++
				s := Use{Identity: replayID(n), Issued: now + skew, Expires: now + skew + stateTTL, Now: now}
				wantSpend(t, c, s, nil)
				shown = append(shown, s)
			}
		}
		for _, s := range shown {
			if now < s.Expires+stateLeeway && spendOf(c, s.at(now)) == nil {
				t.Fatalf("accepted twice: issued %+d, at %+d after %d restarts", s.Issued-replayStart, now-replayStart, restarts)
			}
		}
	}
	if restarts < 15 {
		t.Errorf("only %d restarts", restarts)
	}
}

// From its return on nothing passes a cache that was sealed, and what passed before is
// in the file.
func TestReplaySeal(t *testing.T) {
	const goroutines = 8
	for round := range 20 {
		path := filepath.Join(t.TempDir(), "state")
		c := loadedAt(t, replayStart-100, path, stateConfig)
		accepts := make([][]Use, goroutines)
		var over atomic.Bool
		var uses atomic.Int64
		var wait sync.WaitGroup
		begin := make(chan struct{})
		for g := range goroutines {
			wait.Go(func() {
				<-begin
				for i := uint64(0); i < 1e6; i++ {
					s := replayTicket(uint64(g)<<32|i, replayStart, 1+int64(i%stateTTL))
					late := over.Load()
					uses.Add(1)
					switch err := spendOf(c, s); {
					case err == nil:
						accepts[g] = append(accepts[g], s)
						if late {
							t.Error("accepted after Seal")
							return
						}
					case err == ErrReplayUnavailable:
						return
					}
				}
			})
		}
		close(begin)
		for uses.Load() < int64(round*500) { // in the middle of them
			runtime.Gosched()
		}
		c.Seal()
		over.Store(true)
		for i := range uint64(100) {
			wantSpend(t, c, replayTicket(1<<60|i, replayStart, 1+int64(i%stateTTL)), ErrReplayUnavailable)
		}
		wantSpend(t, c, replayTicket(1, replayStart-1000, 5), ErrReplayUnavailable) // too old besides
		wait.Wait()
		savedAt(t, c, replayStart, path)
		c = loadedAt(t, replayStart, path, stateConfig)
		for _, list := range accepts {
			for _, s := range list {
				wantSpend(t, c, s, ErrReplayed)
			}
		}
	}
}

// A use that stalls between finding its frame and taking the lock, while the cache is
// sealed, is refused; one that had the lock is in the file.
func TestReplaySealStalled(t *testing.T) {
	c := smallCache(t, 16, 1, stateTTL, stateLeeway)
	used, late := replayTicket(1, replayStart, 10), replayTicket(2, replayStart, 10)
	wantSpend(t, c, used, nil)
	f := c.frameOf(used.Expires)
	c.Seal()
	if got := f.spend(&c.size, late.Expires, &late.Identity); got != gone {
		t.Errorf("got %v, want gone", got)
	}
	if st := c.Stats(); st.Live != 1 {
		t.Errorf("%d live, want 1", st.Live)
	}
	c.Seal()
	if st := c.Stats(); st.Live != 1 {
		t.Errorf("%d live after the second Seal, want 1", st.Live)
	}
}

// A part may lag behind its frame: what it holds is of a slot that is closed, and is no
// part of the state.
func TestReplayStateLeavesOldParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	cfg := stateConfig
	cfg.Since = time.Unix(replayStart-100, 0)
	c, err := NewReplayCache(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(500) {
		_ = spendOf(c, replayTicket(n, replayStart, 10))
	}
	moveOn(t, c, replayStart+10, replayStart+110)
	one := replayTicket(1000, replayStart+100, 10)
	wantSpend(t, c, one, nil)
	savedAt(t, c, replayStart+100, path)
	c = loadedAt(t, replayStart+100, path, stateConfig)
	if st := c.Stats(); st.Live != 1 {
		t.Errorf("%d live, want 1", st.Live)
	}
	wantSpend(t, c, one, ErrReplayed)
	wantSpend(t, c, replayTicket(1001, replayStart+100, 10), nil)
}

// Thousands of files that lack their end or have a bit changed, and some of other kinds:
// none is used, none is left, and nothing that may have been accepted is.
func TestReplayStateDamaged(t *testing.T) {
	const now = replayStart
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	cfg := stateConfig
	cfg.PeakPerSecond = 1
	c, used := usedCache(t, cfg, now, 20)
	good := savedAt(t, c, now, path)
	loadedAt(t, now, path, cfg)

	damaged := func(data []byte) (*ReplayCache, error) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, stateTime(now)); err != nil {
			t.Fatal(err)
		}
		return LoadReplayCacheAt(time.Unix(now, 0), path, cfg)
	}
	if _, err := damaged(good); err != nil { // the test's own hand changes nothing
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	files := 200
	if slow() {
		files = 2000
	}
	for i := range files {
		data := bytes.Clone(good)
		what := ""
		switch {
		case i%2 == 0:
			n := rng.IntN(len(good))
			if i < 100 {
				n = i // header and magic
			} else if i < 120 {
				n = len(good) - 1 - (i-100)/2
			}
			data, what = data[:n], fmt.Sprintf("%d of %d bytes", n, len(good))
		default:
			bit := rng.IntN(8 * len(good))
			if i < 100 {
				bit = 16 * i // magic and header
			}
			data[bit/8] ^= 1 << (bit % 8)
			what = fmt.Sprintf("bit %d of byte %d changed", bit%8, bit/8)
		}
		c, err := damaged(data)
		if c == nil || err == nil || !strings.Contains(err.Error(), "was not used") {
			t.Fatalf("%s: %v, %v", what, c, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: the file is still there", what)
		}
		if st := c.Stats(); st.Live != 0 || st.FramesUsed != 0 {
			t.Fatalf("%s: %+v", what, st)
		}
		if want := time.Unix(now+2*stateLeeway+1, 0); !c.ReadyAt().Equal(want) {
			t.Fatalf("%s: ready at %v, want %v", what, c.ReadyAt(), want)
		}
		for range 10 {
			s := used[rng.IntN(len(used))]
			if err := spendOf(c, s.at(now)); err == nil {
				t.Fatalf("%s: accepted twice", what)
			}
		}
		wantSpend(t, c, replayTicket(uint64(1e6+i), now+stateLeeway, 5).at(now), ErrIssuedBeforeStart)
	}
	for name, data := range map[string][]byte{
		"more behind":     append(bytes.Clone(good), 0),
		"twice":           append(bytes.Clone(good), good...),
		"empty":           {},
		"zeros":           make([]byte, len(good)),
		"another version": bytes.Replace(bytes.Clone(good), []byte("state 1\n"), []byte("state 2\n"), 1),
	} {
		if c, err := damaged(data); c == nil || err == nil {
			t.Errorf("%s: %v, %v", name, c, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the file is still there", name)
		}
	}
	// A path that is wrong does no harm to what is there.
	for _, text := range []string{`{"keys":[]}`, "x", strings.Repeat("no state\n", 1000)} {
		c, err := damaged([]byte(text))
		if c != nil || err == nil || !strings.Contains(err.Error(), "is no saved state") {
			t.Errorf("%.20q: a cache %v, %v", text, c != nil, err)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != text {
			t.Errorf("%.20q has become %.20q, %v", text, left, err)
		}
	}
}

// What is whole and does not fit is not gone on from, but what it closed stays closed.
func TestReplayStateUnfit(t *testing.T) {
	const now = replayStart
	change := func(f func(*ReplayConfig)) ReplayConfig {
		cfg := stateConfig
		f(&cfg)
		return cfg
	}
	for _, tt := range []struct {
		name string
		cfg  ReplayConfig
		now  int64
		want string
	}{
		{"MaxTTL", change(func(c *ReplayConfig) { c.MaxTTL = 20 * time.Second }), now, "MaxTTL of 10 s and a Leeway of 2 s, and this cache has 20 s and 2 s"},
		{"Leeway", change(func(c *ReplayConfig) { c.Leeway = NoLeeway }), now, "this cache has 10 s and 0 s"},
		{"PeakPerSecond", change(func(c *ReplayConfig) { c.PeakPerSecond = 10_000 }), now, "another PeakPerSecond"},
		{"clock behind", stateConfig, now - 1, "later than now"},
		{"clock far behind", stateConfig, now - 3600, "later than now"},
		{"old", stateConfig, now + stateTTL + 2*stateLeeway + 1, "15 s ago"},
		{"Since long ago", change(func(c *ReplayConfig) { c.Since = time.Unix(0, 0); c.Leeway = NoLeeway }), now, "this cache has"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			old, used := usedCache(t, stateConfig, now, 20)
			savedAt(t, old, now, path)
			c, err := LoadReplayCacheAt(time.Unix(tt.now, 0), path, tt.cfg)
			if c == nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v, %v; want %s", c, err, tt.want)
			}
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Error("the file is still there")
			}
			for _, s := range used {
				for at := tt.now; at < s.Expires+stateLeeway; at++ {
					if spendOf(c, s.at(at)) == nil {
						t.Fatalf("accepted twice: expires %+d, at %+d", s.Expires-now, at-now)
					}
				}
			}
			wantSpend(t, c, usedAhead(now), ErrReplayUnavailable)
			leeway := int64(tt.cfg.Leeway / time.Second)
			wantSpend(t, c, replayTicket(2e6, tt.now+max(leeway, 0), 5).at(tt.now), ErrIssuedBeforeStart)
			// It recovers when the slots of the other cache have passed.
			ready := max(tt.now, now) + stateTTL + 2*stateLeeway + 1
			wantSpend(t, c, replayTicket(3e6, ready, 10), nil)
			wantSpend(t, c, replayTicket(3e6, ready, 10), ErrReplayed)
		})
	}
	t.Run("copied", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state")
		c, used := usedCache(t, stateConfig, now, 20)
		data := savedAt(t, c, now, path)
		c = loadedAt(t, now, path, stateConfig)
		wantSpend(t, c, replayTicket(1e6, now, 5), nil)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadReplayCacheAt(time.Unix(now, 0), path, stateConfig)
		if c == nil || err == nil || !strings.Contains(err.Error(), "copied or changed") {
			t.Fatalf("%v, %v", c, err)
		}
		for _, s := range append(used, replayTicket(1e6, now, 5)) {
			if spendOf(c, s.at(now)) == nil {
				t.Fatal("accepted twice")
			}
		}
	})
}

// A file is used once: the second process to come finds none.
func TestReplayStateLoadedTwice(t *testing.T) {
	const now = replayStart
	path := filepath.Join(t.TempDir(), "state")
	c, used := usedCache(t, stateConfig, now, 20)
	savedAt(t, c, now, path)
	first := loadedAt(t, now, path, stateConfig)
	second := loadedAt(t, now, path, stateConfig)
	fresh := replayTicket(1e6, now, 5)
	wantSpend(t, first, fresh, nil)
	wantSpend(t, second, fresh, ErrIssuedBeforeStart)
	for _, s := range used {
		if spendOf(first, s.at(now)) == nil || spendOf(second, s.at(now)) == nil {
			t.Fatal("accepted twice")
		}
	}
	// Between reading and removing, another process removed it, or put another in place.
	for _, replaced := range []bool{false, true} {
		c, _ := usedCache(t, stateConfig, now, 1)
		savedAt(t, c, now, path)
		stateStep = func(step string) {
			if step != "loaded" {
				return
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if replaced {
				c, _ := usedCache(t, stateConfig, now, 1)
				savedAt(t, c, now, path)
			}
		}
		c, err := LoadReplayCacheAt(time.Unix(now, 0), path, stateConfig)
		stateStep = func(string) {}
		if c != nil || err == nil {
			t.Errorf("replaced %v: %v, %v", replaced, c, err)
		}
		if _, err := os.Stat(path); (err == nil) != replaced {
			t.Errorf("replaced %v: %v", replaced, err)
		}
	}
}

func TestReplayStateSince(t *testing.T) {
	const now = replayStart
	for _, tt := range []struct {
		since time.Time
		want  int64 // Since of the cache that was loaded
	}{
		{time.Time{}, now - 1000},
		{time.Unix(0, 0), now - 1000},
		{time.Unix(now-10, 0), now - 10},
	} {
		path := filepath.Join(t.TempDir(), "state")
		c, _ := usedCache(t, stateConfig, now, 1)
		savedAt(t, c, now, path)
		cfg := stateConfig
		cfg.Since = tt.since
		c = loadedAt(t, now, path, cfg)
		wantSpend(t, c, replayTicket(1e6, tt.want+stateLeeway, 10), ErrIssuedBeforeStart)
		if want := time.Unix(tt.want+2*stateLeeway+1, 0); !c.ReadyAt().Equal(want) {
			t.Errorf("Since %v: ready at %v, want %v", tt.since, c.ReadyAt(), want)
		}
	}
	// The clock was ahead when a process started. It refuses all tickets until then; so
	// does the one that goes on from it, and says so.
	path := filepath.Join(t.TempDir(), "state")
	ahead := stateConfig
	ahead.Since = time.Unix(now+3600, 0)
	c, err := NewReplayCache(ahead)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantSpend(t, c, replayTicket(1, now, 10), ErrIssuedBeforeStart)
		wantSpend(t, c, replayTicket(2, now+3600+stateLeeway, 10), ErrIssuedBeforeStart)
		if want := time.Unix(now+3600+2*stateLeeway+1, 0); !c.ReadyAt().Equal(want) {
			t.Errorf("ready at %v, want %v", c.ReadyAt(), want)
		}
		savedAt(t, c, now, path)
		c, err = LoadReplayCacheAt(time.Unix(now, 0), path, stateConfig)
		if c == nil || err == nil || !strings.Contains(err.Error(), "started while its clock was ahead") {
			t.Fatalf("%v, %v", c, err)
		}
	}
	wantSpend(t, c, replayTicket(3, now+3600+stateLeeway+1, 10), nil)
	// Started once more without the file it is over.
	c = loadedAt(t, now, path, stateConfig)
	wantSpend(t, c, replayTicket(4, now+stateLeeway+1, 10), nil)
	// Without a file Since is as NewReplayCache has it.
	cfg := stateConfig
	cfg.Since = time.Unix(0, 0)
	c = loadedAt(t, now, filepath.Join(t.TempDir(), "state"), cfg)
	wantSpend(t, c, replayTicket(1, now, 10), nil)
	c = loadedAt(t, now, filepath.Join(t.TempDir(), "state"), stateConfig)
	wantSpend(t, c, replayTicket(1, now+stateLeeway, 10).at(now), ErrIssuedBeforeStart)
}

func TestReplayStateFaults(t *testing.T) {
	const now = replayStart
	at := time.Unix(now, 0)
	dir := t.TempDir()
	c, used := usedCache(t, stateConfig, now, 20)
	if err := c.SaveAt(at, filepath.Join(dir, "no such folder", "state")); err == nil || !strings.Contains(err.Error(), "not saved") {
		t.Errorf("no folder: %v", err)
	}
	if err := c.SaveAt(time.Unix(-1, 0), filepath.Join(dir, "state")); err == nil {
		t.Error("a time before 1970 is taken")
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "folder", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.SaveAt(at, filepath.Join(dir, "folder")); err == nil {
		t.Error("a folder is replaced")
	}
	if c, err := LoadReplayCacheAt(at, filepath.Join(dir, "folder"), stateConfig); c != nil || err == nil {
		t.Errorf("a folder is loaded: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 {
		t.Errorf("what failed left %q", left)
	}
	wantSpend(t, c, replayTicket(1e6, now, 5), ErrReplayUnavailable) // it is sealed all the same
	// What a process left that was killed while it saved is no hindrance, and it can be
	// tried again.
	path := filepath.Join(dir, "state")
	for _, name := range []string{path, path + ".new"} {
		if err := os.WriteFile(name, []byte("left"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	savedAt(t, c, now, path)
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := c.SaveAt(at, filepath.Join(dir, "second")); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("saved twice: %v", err)
	}
	if _, err := LoadReplayCacheAt(at, path, ReplayConfig{}); err == nil {
		t.Error("a wrong configuration is taken")
	}
	c = loadedAt(t, now, path, stateConfig)
	for _, s := range used {
		if spendOf(c, s.at(now)) == nil {
			t.Fatal("accepted twice")
		}
	}
}

func TestSoundPart(t *testing.T) {
	const peak = 16
	for name, spoil := range map[string]func(p *part, lanes []uint64){
		"a hole":                func(p *part, lanes []uint64) { lanes[0] = 0; p.live-- },
		"a ticket too few":      func(p *part, lanes []uint64) { p.live++ },
		"a ticket too many":     func(p *part, lanes []uint64) { p.live-- },
		"overflow of nothing":   func(p *part, lanes []uint64) { clear(lanes); lanes[0] = 1; p.live, p.overflow = 2, 1 },
		"an empty filter":       func(p *part, lanes []uint64) { p.filter.ClearAll() },
		"overflow is not there": func(p *part, lanes []uint64) { p.live -= p.overflow; p.overflow = 0; clear(lanes[8:16]) },
	} {
		c := smallCache(t, peak, 1, 10, 2)
		for n := range uint64(100) {
			_ = spendOf(c, replayTicket(n, replayStart, 10))
		}
		f := c.frameOf(replayStart + 10)
		p, lanes := &f.parts[0], f.lanesOf(&c.size, 0)
		if p.overflow == 0 || !soundPart(p, lanes) {
			t.Fatalf("%d tickets in the filter, sound: %v", p.overflow, soundPart(p, lanes))
		}
		if spoil(p, lanes); soundPart(p, lanes) {
			t.Errorf("%s is called sound", name)
		}
	}
}

// sums puts right the checksums of a state, so that what lies behind them is tried.
func sums(data []byte) []byte {
	data = bytes.Clone(data)
	const counts = len(stateMagic) + 9*8
	if len(data) < counts+16+8 {
		return data
	}
	closed, open := binary.LittleEndian.Uint64(data[counts:]), binary.LittleEndian.Uint64(data[counts+8:])
	if closed > maxClosedSpans || open > uint64(maxFrames) {
		return data
	}
	head := counts + 16 + int(closed)*16 + int(open)*8
	if len(data) < head+8 {
		return data
	}
	binary.LittleEndian.PutUint32(data[head:], crc32.Checksum(data[:head], castagnoli))
	end := len(data) - 4
	binary.LittleEndian.PutUint32(data[end:], crc32.Checksum(data[:end], castagnoli))
	return data
}

// FuzzReplayState: no file does harm. What is restored is a state that Save can have
// written: it is saved to the same bytes, and what it holds is refused.
func FuzzReplayState(f *testing.F) {
	const now = replayStart
	size := sizeReplay(1, 2, 1, 1)
	cache := func() *ReplayCache {
		c, err := newReplayCache(size, 2, 1, now-100)
		if err != nil {
			f.Fatal(err)
		}
		return c
	}
	for _, tickets := range []uint64{0, 1, 40, 200} {
		c := cache()
		for n := range tickets {
			_ = spendOf(c, replayTicket(n, now, 1+int64(n%2)))
		}
		if tickets == 40 {
			c.open(now+1000, now+999)
		}
		c.Seal()
		var file bytes.Buffer
		if err := c.write(&file, now); err != nil {
			f.Fatal(err)
		}
		f.Add(file.Bytes(), false)
		for _, at := range []int{len(stateMagic), len(stateMagic) + 9*8, file.Len() - 40, file.Len() - 4, file.Len() / 2} {
			changed := bytes.Clone(file.Bytes())
			changed[at] ^= 1
			f.Add(changed, true)
		}
	}
	path := filepath.Join(f.TempDir(), "state")
	f.Fuzz(func(t *testing.T, data []byte, right bool) {
		if right {
			data = sums(data)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		r := &stateReader{}
		r.reset(file)
		h, err := r.header()
		if err != nil {
			return
		}
		c := cache()
		if c.unfit(h, h.saved) != nil || c.fill(r, h) != nil {
			return
		}
		c.notBefore(h.notAfter, true)
		c.Seal()
		var again bytes.Buffer
		if err := c.write(&again, h.saved); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), data) {
			t.Fatalf("%d bytes became %d others", len(data), again.Len())
		}
	})
}

// 1,000,000 live tickets: how long the restart waits for the disk and how much it
// writes.
func BenchmarkReplayState(b *testing.B) {
	const now = replayStart
	cfg := ReplayConfig{PeakPerSecond: 100_000, MaxTTL: 10 * time.Second, Since: time.Unix(now-1000, 0)}
	path := filepath.Join(b.TempDir(), "state")
	var saving, loading time.Duration
	size := int64(0)
	for b.Loop() {
		b.StopTimer()
		c, err := NewReplayCache(cfg)
		if err != nil {
			b.Fatal(err)
		}
		for n := range uint64(1_000_000) {
			_ = spendOf(c, replayTicket(n, now, 1+int64(n%10)))
		}
		b.StartTimer()
		start := time.Now()
		if err := c.SaveAt(time.Unix(now, 0), path); err != nil {
			b.Fatal(err)
		}
		saving += time.Since(start)
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		size = info.Size()
		start = time.Now()
		c, err = LoadReplayCacheAt(time.Unix(now, 0), path, cfg)
		if err != nil {
			b.Fatal(err)
		}
		loading += time.Since(start)
		if live := c.Stats().Live; live < 999_000 {
			b.Fatalf("%d live", live)
		}
	}
	b.ReportMetric(saving.Seconds()*1e3/float64(b.N), "save-ms")
	b.ReportMetric(loading.Seconds()*1e3/float64(b.N), "load-ms")
	b.ReportMetric(float64(size)/1e6, "MB")
}
