package guardtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsticket/wsticket"
)

const (
	testTTL    = 5 * time.Second
	testLeeway = 2 * time.Second
)

func replayCache(tb testing.TB, since time.Time) []wsticket.ReplayGuard {
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 20_000, MaxTTL: testTTL, Leeway: testLeeway, Since: since})
	if err != nil {
		tb.Fatal(err)
	}
	return []wsticket.ReplayGuard{cache}
}

// The guard of the library conforms.
func TestReplayCache(t *testing.T) {
	Run(t, Config{
		Open:   func(tb testing.TB, _ int) []wsticket.ReplayGuard { return replayCache(tb, time.Unix(0, 0)) },
		MaxTTL: testTTL, Leeway: testLeeway,
		Lose: func(tb testing.TB, _ []wsticket.ReplayGuard, now time.Time) []wsticket.ReplayGuard {
			return replayCache(tb, now)
		},
	})
}

// A store that three nodes share, with a clock of its own, conforms when it is sound.
// Time is that of a synctest bubble.
func TestSoundStore(t *testing.T) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if failure := runBroken(t, c, ""); failure != "" {
				t.Error(failure)
			}
		})
	}
}

// TestBrokenGuards breaks the store in one way each. The check that is named must
// notice.
func TestBrokenGuards(t *testing.T) {
	for fault, want := range map[string]string{
		"covers half the TTL":                        "covers",
		"covers half the leeway":                     "covers",
		"refuses all":                                "once",
		"accepts all":                                "once",
		"says unavailable for a replay":              "once",
		"says replayed as a foreign code":            "once",
		"reads, then marks":                          "one of 64",
		"refuses both of two at once":                "one of 64",
		"looks at four bytes of the identity":        "identities",
		"cuts the identity at a zero":                "identities",
		"refuses the last second":                    "edges",
		"refuses tickets issued ahead":               "edges",
		"refuses the longest TTL":                    "edges",
		"forgets the oldest of 1000":                 "many",
		"forgets at exp":                             "lifetime",
		"forgets at exp and leeway":                  "lifetime",
		"forgets a TTL after the use":                "lifetime",
		"forgets, and caches on each node":           "lifetime",
		"keys by the clock":                          "lifetime",
		"keys by the longer of expiry and clock":     "lifetime",
		"forgets when the clock runs back":           "clocks",
		"forgets what is over by the clock of a use": "clocks",
		"stays closed after a jump":                  "clocks",
		"remembers on each node":                     "nodes",
		"marks what it refuses for the clock":        "refusals mark nothing",
		"marks what it refuses as too old":           "refusals mark nothing",
		"marks, then looks at the context":           "context",
		"says replayed when the context is over":     "context",
		"accepts when the context ends":              "context",
		"now and then accepts a replay":              "storm",
		"gives up under load":                        "storm",
		"knows nothing after a loss":                 "loss",
		"no leeway for what was issued before":       "loss",
		"closed for ever after a loss":               "loss",
		"does not look at the context":               "stall",
		"accepts when nobody answers":                "stall",
		"says replayed when nobody answers":          "stall",
		"leaves goroutines":                          "stall",
		"does not resume":                            "stall",
		"looks at the deadline only":                 "cancelled while stalled",
		"shows the identity":                         "once",
		"covers no whole second":                     "verifier",
	} {
		t.Run(strings.ReplaceAll(fault, " ", "_"), func(t *testing.T) {
			for _, c := range checks {
				if c.name == want {
					if runBroken(t, c, fault) == "" {
						t.Errorf("a guard that %s passes %q", fault, want)
					}
					return
				}
			}
			t.Fatalf("there is no check %q", want)
		})
	}
}

// What a configuration lacks is said.
func TestConfigFaults(t *testing.T) {
	open := func(testing.TB, int) []wsticket.ReplayGuard { return nil }
	for _, tt := range []struct {
		c    Config
		want string
	}{
		{Config{MaxTTL: time.Second}, "Open is nil"},
		{Config{Open: open}, "MaxTTL"},
		{Config{Open: open, MaxTTL: 1500 * time.Millisecond}, "MaxTTL"},
		{Config{Open: open, MaxTTL: time.Second, Leeway: time.Millisecond}, "Leeway"},
		{Config{Open: open, MaxTTL: time.Second, MaxSkew: -time.Second}, "MaxSkew"},
		{Config{Open: open, MaxTTL: time.Second, MaxNodes: -1}, "MaxNodes"},
		{Config{Open: open, MaxTTL: time.Second, Leeway: time.Second}, ""},
	} {
		if got := tt.c.fault(); !strings.Contains(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("%+v: %q, want %q", tt.c, got, tt.want)
		}
	}
}

// runBroken runs one check on a store with a fault, in a bubble with its own time,
// and returns what the check has to say.
func runBroken(t *testing.T, c check, fault string) (failure string) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{fault: fault, spent: map[string]int64{}, asked: map[string]int{}, gate: closedGate()}
		tb := &recorder{TB: t}
		config := Config{
			Open: func(tb testing.TB, nodes int) (guards []wsticket.ReplayGuard) {
				for n := range nodes {
					guards = append(guards, &node{s, n, map[[16]byte]bool{}})
				}
				return guards
			},
			MaxNodes: 3, MaxTTL: testTTL, Leeway: testLeeway, OwnClock: true, MaxSkew: time.Second,
			Lose: s.lose, Stall: s.stall,
		}
		done := make(chan struct{})
		go func() { // a Fatal ends the goroutine
			defer close(done)
			c.run(newRun(tb, config))
		}()
		<-done
		close(s.leaks())
		failure = tb.said()
	})
	return failure
}

// A recorder keeps what a check has to say.
type recorder struct {
	testing.TB
	mu    sync.Mutex
	texts []string
}

func (r *recorder) add(text string) { r.mu.Lock(); r.texts = append(r.texts, text); r.mu.Unlock() }
func (r *recorder) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.texts, "\n")
}
func (r *recorder) Helper()                      {}
func (r *recorder) Errorf(f string, args ...any) { r.add(fmt.Sprintf(f, args...)) }
func (r *recorder) Fatalf(f string, args ...any) { r.add(fmt.Sprintf(f, args...)); runtime.Goexit() }
func (r *recorder) Fatal(args ...any)            { r.add(fmt.Sprint(args...)); runtime.Goexit() }

// A store is what nodes share: a map, a clock and a way to fall silent. The fault
// says how it is broken; "" is sound.
type store struct {
	fault string

	mu      sync.Mutex
	spent   map[string]int64 // until when it is remembered
	order   []string
	since   int64
	latest  int64 // the latest Use.Now
	asked   map[string]int
	uses    int
	stalled bool
	down    bool
	gate    chan struct{} // closed when the store answers
	leak    chan struct{}
}

func closedGate() chan struct{} { c := make(chan struct{}); close(c); return c }

func (s *store) leaks() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leak == nil {
		s.leak = make(chan struct{})
	}
	return s.leak
}

func (s *store) stall(testing.TB) (resume func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	gate := make(chan struct{})
	s.gate, s.stalled = gate, true
	return func() {
		close(gate)
		s.mu.Lock()
		s.stalled = false
		s.mu.Unlock()
	}
}

func (s *store) lose(_ testing.TB, guards []wsticket.ReplayGuard, now time.Time) []wsticket.ReplayGuard {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent = map[string]int64{}
	if s.fault != "knows nothing after a loss" {
		s.since = now.Unix()
	}
	return guards
}

// A node is a guard on a store.
type node struct {
	store  *store
	number int
	knows  map[[16]byte]bool
}

func (n *node) Covers() (maxTTL, leeway time.Duration) {
	switch n.store.fault {
	case "covers half the TTL":
		return testTTL / 2, testLeeway
	case "covers half the leeway":
		return testTTL, testLeeway / 2
	case "covers no whole second":
		return testTTL - 1, testLeeway
	}
	return testTTL, testLeeway
}

var errNoAnswer = errors.New("no answer")

func unavailable(cause error) error {
	return fmt.Errorf("%w: %w", wsticket.ErrReplayUnavailable, cause)
}

func (n *node) Spend(ctx context.Context, u wsticket.Use) error {
	s := n.store
	if ctx.Err() != nil {
		switch s.fault {
		case "marks, then looks at the context":
			_ = n.claim(u)
		case "says replayed when the context is over":
			return wsticket.ErrReplayed
		case "accepts when the context ends":
			_ = n.claim(u)
			return nil
		}
		if s.fault != "does not look at the context" {
			return unavailable(ctx.Err())
		}
	}
	s.mu.Lock()
	gate, stalled := s.gate, s.stalled
	s.mu.Unlock()
	if s.fault == "leaves goroutines" && stalled {
		leak := s.leaks()
		go func() { <-leak }()
	}
	done := ctx.Done()
	switch s.fault {
	case "does not look at the context":
		done = nil
	case "looks at the deadline only":
		if _, has := ctx.Deadline(); !has {
			done = nil
		}
	}
	select {
	case <-gate:
	case <-done:
		switch s.fault {
		case "accepts when nobody answers":
			return nil
		case "says replayed when nobody answers":
			return wsticket.ErrReplayed
		case "does not resume":
			s.mu.Lock()
			s.down = true
			s.mu.Unlock()
		}
		return unavailable(ctx.Err())
	}
	return n.claim(u)
}

// claim is the store's decision.
func (n *node) claim(u wsticket.Use) error {
	s := n.store
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uses++
	now := time.Now().Unix()
	const leeway = int64(testLeeway / time.Second)

	name := fmt.Sprint(u.Identity, u.Expires)
	until := u.Expires + leeway + 2 // the slowest clock that is heard
	notBefore := s.since + leeway + 2
	switch s.fault {
	case "forgets, and caches on each node":
		if n.knows[u.Identity] {
			return wsticket.ErrReplayed
		}
		n.knows[u.Identity] = true
		until = u.Expires + leeway - 1
	case "refuses all":
		return unavailable(errNoAnswer)
	case "accepts all":
		return nil
	case "does not resume":
		if s.down {
			return unavailable(errNoAnswer)
		}
	case "looks at four bytes of the identity":
		name = fmt.Sprint(u.Identity[12:], u.Expires)
	case "cuts the identity at a zero":
		text, _, _ := strings.Cut(string(u.Identity[:]), "\x00")
		if name = text; text == "" {
			return nil
		}
	case "refuses the last second":
		if u.Now >= u.Expires+leeway-1 {
			return wsticket.ErrIssuedBeforeStart
		}
	case "refuses tickets issued ahead":
		if u.Issued > u.Now {
			return unavailable(errNoAnswer)
		}
	case "refuses the longest TTL":
		if u.Expires-u.Issued >= int64(testTTL/time.Second) {
			return unavailable(errNoAnswer)
		}
	case "forgets at exp":
		until = u.Expires
	case "forgets at exp and leeway":
		until = u.Expires + leeway - 1
	case "forgets a TTL after the use":
		until = u.Now + u.Expires - u.Issued + 1
	case "keys by the clock":
		name = fmt.Sprint(u.Identity, u.Expires-u.Now)
	case "keys by the longer of expiry and clock":
		name = fmt.Sprint(u.Identity, max(u.Expires, u.Now))
	case "remembers on each node":
		name += fmt.Sprint(n.number)
	case "no leeway for what was issued before":
		notBefore = s.since
	case "closed for ever after a loss":
		if s.since > 0 {
			return wsticket.ErrIssuedBeforeStart
		}
	case "shows the identity":
		if s.spent[name] >= now {
			return fmt.Errorf("%w: key %x is set", wsticket.ErrReplayed, u.Identity)
		}
	case "gives up under load":
		if s.uses%100 == 99 {
			return unavailable(errNoAnswer)
		}
	case "forgets when the clock runs back":
		if u.Now < s.latest-10 {
			clear(s.spent)
		}
	case "stays closed after a jump":
		if u.Now < s.latest {
			return unavailable(errNoAnswer)
		}
	case "forgets what is over by the clock of a use":
		for name, until := range s.spent {
			if until < u.Now {
				delete(s.spent, name)
			}
		}
	}
	s.latest = max(s.latest, u.Now)

	off := u.Now < now-2 || u.Now > now+2
	switch s.fault {
	case "forgets when the clock runs back", "forgets what is over by the clock of a use", "stays closed after a jump", "keys by the clock":
		off = false // such a guard goes by the clock of the use
	case "marks what it refuses for the clock":
		if off {
			s.spent[name] = until
		}
	case "marks what it refuses as too old":
		if u.Issued < 2000 {
			s.spent[fmt.Sprint(u.Identity)] = until
			return wsticket.ErrIssuedBeforeStart
		}
		if s.spent[fmt.Sprint(u.Identity)] != 0 {
			return wsticket.ErrReplayed
		}
	}
	if off {
		return unavailable(errors.New("clocks disagree"))
	}
	if u.Issued <= notBefore {
		return wsticket.ErrIssuedBeforeStart
	}
	known := s.spent[name] >= now
	switch s.fault {
	case "reads, then marks":
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	case "refuses both of two at once":
		if s.asked[name]++; s.asked[name] > 1 {
			return wsticket.ErrReplayed
		}
		s.mu.Unlock()
		time.Sleep(time.Millisecond)
		s.mu.Lock()
		if s.asked[name] > 1 {
			return wsticket.ErrReplayed
		}
	case "now and then accepts a replay":
		known = known && s.uses%500 != 0
	}
	if known {
		switch s.fault {
		case "says unavailable for a replay":
			return unavailable(errNoAnswer)
		case "says replayed as a foreign code":
			return wsticket.ErrExpired
		}
		return wsticket.ErrReplayed
	}
	s.spent[name] = until
	if s.order = append(s.order, name); s.fault == "forgets the oldest of 1000" && len(s.order) > 1000 {
		delete(s.spent, s.order[0])
		s.order = s.order[1:]
	}
	return nil
}
