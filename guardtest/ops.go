package guardtest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// OpsConfig says what [RunOps] drives, and how far.
type OpsConfig struct {
	// Open returns guards that share what they remember, one for each node. They take
	// tickets that are minted from now on. What Open starts it stops by tb.Cleanup. Required.
	Open func(tb testing.TB, now time.Time) []wsticket.ReplayGuard

	// Events are what may befall the guards, by the word that stands for each in an op
	// file, such as "crash" or "failover". An event returns the guards to go on with, as many
	// as before. It happens at now, which is never before the time of an acceptance: a
	// process must not start while its clock is behind.
	Events map[string]func(tb testing.TB, guards []wsticket.ReplayGuard, now time.Time) []wsticket.ReplayGuard

	// MaxTTL and Leeway are what the guards cover, in whole seconds. MaxTTL is
	// required, 0 is no leeway.
	MaxTTL, Leeway time.Duration

	// OwnClock says that a clock of the guard, or of the store behind it, has a say beside
	// Use.Now. The clock then goes forward only, and the test waits for it.
	OwnClock bool

	// MaxSkew is how far the clock of a node may be from the others', in whole seconds. With
	// 0 all nodes have one clock.
	MaxSkew time.Duration

	// Exact demands that every ticket is accepted that may be, in a file in which no event
	// happens and no clock goes back. Without, a guard may refuse some.
	Exact bool

	// Dir is a folder of op files that failed once. All of them are run first, and a file
	// that fails is put there. Empty for none.
	Dir string

	// Runs is how many files are drawn at random, and Length how many lines each has. 0 means
	// 20 and 200.
	Runs, Length int

	// Seed makes the files the same each time. 0 draws one, which is told when a file fails.
	Seed uint64
}

// RunOps drives guards by op files: lists of what happens, in words, drawn at random.
// It keeps an account that never forgets, and fails when a ticket is accepted
// that the account does not allow: one that was accepted before, whose key is
// dropped, or whose time has not come or is over. Tickets are signed by a
// Signer and shown to a Verifier, so that rotation is tested with the guard. A file that
// fails is shortened for as long as it still fails. The lines:
//
//	mint 7 5 -1     sign ticket 7, with a TTL of 5 s, by a clock that is 1 s behind
//	show 7 0,2      show it to the nodes 0 and 2 at the same time
//	clock -3        all clocks go back by 3 s
//	skew 1 2        the clock of node 1 is 2 s ahead of the others from now on
//	rotate          a new key signs; the one before verifies still, older ones are dropped
//	crash           an event of OpsConfig.Events
func RunOps(t *testing.T, c OpsConfig) {
	t.Helper()
	if fault := c.fault(); fault != "" {
		t.Fatal("guardtest: " + fault)
	}
	if c.Dir != "" {
		paths, _ := filepath.Glob(filepath.Join(c.Dir, "*.ops"))
		for _, path := range paths {
			t.Run(filepath.Base(path), func(t *testing.T) {
				file, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if _, fault := c.run(t, string(file)); fault != nil {
					t.Errorf("%s fails again: %v", path, fault)
				}
			})
		}
	}
	t.Run("random", func(t *testing.T) {
		file, account, fault := c.search(t)
		t.Logf("seed %d: %v", c.Seed, account)
		if fault == nil {
			if account.accepted == 0 {
				t.Error("no ticket was accepted in any file")
			}
			return
		}
		t.Errorf("seed %d: %v, with the file:\n%s", c.Seed, fault, file)
		if c.Dir != "" {
			name := fnv.New32a()
			name.Write([]byte(file))
			path := filepath.Join(c.Dir, fmt.Sprintf("%08x.ops", name.Sum32()))
			if err := errors.Join(os.MkdirAll(c.Dir, 0o755), os.WriteFile(path, []byte(file), 0o644)); err != nil {
				t.Error(err)
			} else {
				t.Log("kept in ", path)
			}
		}
	})
}

func (c *OpsConfig) fault() string {
	if c.Open == nil {
		return "OpsConfig.Open is nil; give a function that makes guards"
	}
	if fault := (&Config{Open: func(testing.TB, int) []wsticket.ReplayGuard { return nil }, MaxTTL: c.MaxTTL, Leeway: c.Leeway, MaxSkew: c.MaxSkew}).fault(); fault != "" {
		return "Ops" + fault
	}
	for name := range c.Events {
		if _, ok := opWords[name]; ok || len(strings.Fields(name)) != 1 {
			return fmt.Sprintf("OpsConfig.Events has %q, which is not one word of its own", name)
		}
	}
	c.Runs, c.Length = or(c.Runs, 20), or(c.Length, 200)
	c.Seed = or(c.Seed, mathrand.Uint64())
	return ""
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// search runs random files until one fails, which it shortens.
func (c *OpsConfig) search(tb testing.TB) (file string, all opsAccount, fault error) {
	rng := mathrand.New(mathrand.NewPCG(c.Seed, 1))
	for range c.Runs {
		file = c.draw(rng)
		account, fault := c.run(tb, file)
		all.add(account)
		if fault != nil {
			file, fault = c.shorten(tb, file, fault)
			return file, all, fault
		}
	}
	return "", all, nil
}

// shorten takes lines out for as long as what is left fails: halves first, then less.
// It gives up after a while, since a file of a store may take seconds to run.
func (c *OpsConfig) shorten(tb testing.TB, file string, fault error) (string, error) {
	lines := strings.SplitAfter(strings.TrimSuffix(file, "\n"), "\n")
	end := time.Now().Add(time.Minute)
	for size := len(lines) / 2; size > 0; {
		shorter := false
		for at := 0; at < len(lines) && time.Now().Before(end); {
			rest := slices.Concat(lines[:at], lines[min(at+size, len(lines)):])
			if _, f := c.run(tb, strings.Join(rest, "")); f != nil {
				lines, fault, shorter = rest, f, true
			} else {
				at += size
			}
		}
		if !shorter || size > 1 {
			size /= 2
		}
	}
	// Two steps of the clock that do nothing alone may be one.
	for at := 0; at < len(lines) && time.Now().Before(end); at++ {
		for to := at + 1; to < len(lines); to++ {
			var first, second int64
			if n, _ := fmt.Sscanf(lines[at]+lines[to], "clock %d\nclock %d\n", &first, &second); n < 2 {
				continue
			}
			rest := slices.Concat(lines[:at], lines[at+1:])
			rest[to-1] = fmt.Sprintf("clock %d\n", first+second)
			if _, f := c.run(tb, strings.Join(rest, "")); f != nil {
				lines, fault = rest, f
				at--
				break
			}
		}
	}
	return strings.Join(lines, ""), fault
}

// opWords are the lines that are no events, with how many numbers follow.
var opWords = map[string]int{"mint": 3, "show": 2, "clock": 1, "skew": 2, "rotate": 0}

// draw makes a file up. Tickets are shown more than once, soon and late. What may
// happen beside that is drawn for the whole file: all kinds at once would hide each
// other, since after a crash everything older is refused.
func (c *OpsConfig) draw(rng *mathrand.Rand) string {
	var b strings.Builder
	ttl, leeway, skew := int64(c.MaxTTL/time.Second), int64(c.Leeway/time.Second), int64(c.MaxSkew/time.Second)
	events := slices.Sorted(func(yield func(string) bool) {
		for name := range c.Events {
			if !yield(name) {
				return
			}
		}
	})
	if rng.IntN(3) == 0 {
		events = nil
	} else if len(events) > 0 && rng.IntN(2) == 0 {
		rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
		events = events[:1]
	}
	back := !c.OwnClock && rng.IntN(2) == 0 // clocks go back
	minted := 0
	show := func(n int) {
		nodes := make([]string, 1+rng.IntN(3))
		for i := range nodes {
			nodes[i] = strconv.Itoa(rng.IntN(8))
		}
		fmt.Fprintf(&b, "show %d %s\n", n, strings.Join(nodes, ","))
	}
	for range c.Length {
		switch n := rng.IntN(20); {
		case n < 6 || minted == 0:
			fmt.Fprintf(&b, "mint %d %d %d\n", minted, 1+rng.Int64N(ttl), rng.Int64N(2*leeway+1)-leeway)
			minted++
			if rng.IntN(4) > 0 {
				show(minted - 1)
			}
		case n < 14: // of the last ones mostly
			show(max(0, minted-1-rng.IntN(12)))
		case n < 15:
			show(rng.IntN(minted))
		case n < 17 && (!back || rng.IntN(2) == 0):
			fmt.Fprintf(&b, "clock %d\n", 1+rng.Int64N(2))
		case n < 17:
			fmt.Fprintf(&b, "clock %d\n", rng.Int64N(4*(ttl+leeway)+1)-2*(ttl+leeway))
		case n == 17 && skew > 0:
			fmt.Fprintf(&b, "skew %d %d\n", rng.IntN(8), rng.Int64N(2*skew+1)-skew)
		case n == 18 && len(events) > 0 && rng.IntN(3) == 0:
			fmt.Fprintf(&b, "%s\n", events[rng.IntN(len(events))])
		case rng.IntN(4) == 0:
			b.WriteString("rotate\n")
		}
	}
	return b.String()
}

// An opsAccount is what happened in one file, or in several.
type opsAccount struct {
	files, shown, accepted, refused int // refused: though it might have been accepted
}

func (a *opsAccount) add(b opsAccount) {
	a.files++
	a.shown += b.shown
	a.accepted += b.accepted
	a.refused += b.refused
}

func (a opsAccount) String() string {
	return fmt.Sprintf("%d files, tickets shown %d times, %d accepted, %d refused for caution", a.files, a.shown, a.accepted, a.refused)
}

// run drives new guards by a file. It returns what the account does not allow.
func (c *OpsConfig) run(tb testing.TB, file string) (_ opsAccount, fault error) {
	w := &opsWorld{c: c, tb: tb, started: time.Now(), tickets: map[string]*opsTicket{}, skews: map[int]int64{}, calm: true}
	w.guards = c.Open(tb, w.now())
	if err := errors.Join(w.rotate(), w.verify()); err != nil {
		return w.account, err
	}
	for i, line := range strings.Split(strings.TrimSuffix(file, "\n"), "\n") {
		if err := w.do(strings.Fields(line)); err != nil {
			return w.account, fmt.Errorf("line %d, %q: %w", i+1, line, err)
		}
	}
	return w.account, nil
}

// An opsWorld is one file under way.
type opsWorld struct {
	c       *OpsConfig
	tb      testing.TB
	started time.Time
	ahead   int64         // seconds, of the clocks before the system's; where the guard has one of its own, 0
	skews   map[int]int64 // of nodes
	latest  int64         // when a ticket was last accepted
	calm    bool

	guards    []wsticket.ReplayGuard
	verifiers []*wsticket.Verifier
	keys      []string // as JWKs; the last one signs
	rotations int
	keyring   *wsticket.Keyring
	signer    *wsticket.Signer

	tickets map[string]*opsTicket
	account opsAccount
}

type opsTicket struct {
	text            []byte
	key             string
	issued, expires int64
	accepted        bool
}

// now is the time by the clocks that are right.
func (w *opsWorld) now() time.Time {
	if w.c.OwnClock {
		return time.Unix(time.Now().Unix(), 0)
	}
	return time.Unix(w.started.Unix()+w.ahead, 0)
}

// nowAt is the time by the clock of a node.
func (w *opsWorld) nowAt(node int) time.Time {
	return w.now().Add(time.Duration(w.skews[node]) * time.Second)
}

func (w *opsWorld) leeway() time.Duration {
	if w.c.Leeway == 0 {
		return wsticket.NoLeeway
	}
	return w.c.Leeway
}

func (w *opsWorld) do(words []string) error {
	if len(words) == 0 {
		return nil
	}
	if event, ok := w.c.Events[words[0]]; ok && len(words) == 1 {
		w.calm = false
		w.ahead += max(0, w.latest-w.now().Unix())
		n := len(w.guards)
		if w.guards = event(w.tb, w.guards, w.now()); len(w.guards) != n {
			return fmt.Errorf("the event returned %d guards, want %d", len(w.guards), n)
		}
		return w.verify()
	}
	if n, ok := opWords[words[0]]; !ok || n != len(words)-1 {
		return errors.New("no such line")
	}
	if words[0] == "show" {
		nodes, err := numbers(strings.Split(words[2], ","))
		if err != nil {
			return err
		}
		return w.show(words[1], nodes)
	}
	n, err := numbers(words[1:])
	if err != nil {
		return err
	}
	switch words[0] {
	case "mint":
		return w.mint(words[1], n[1], n[2])
	case "clock":
		if w.c.OwnClock {
			time.Sleep(time.Duration(max(n[0], 0)) * time.Second)
			return nil
		}
		w.ahead += n[0]
		w.calm = w.calm && n[0] >= 0
	case "skew":
		most := int64(w.c.MaxSkew / time.Second)
		w.skews[w.node(n[0])] = min(max(n[1], -most), most)
		w.calm = false
	case "rotate":
		return w.rotate()
	}
	return nil
}

func numbers(words []string) ([]int64, error) {
	all := make([]int64, len(words))
	for i, word := range words {
		n, err := strconv.ParseInt(word, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", word)
		}
		all[i] = n
	}
	return all, nil
}

// node is the index of one, whatever number a file has for it.
func (w *opsWorld) node(n int64) int { return int(uint32(n)) % len(w.guards) }

func (w *opsWorld) mint(name string, ttl, skew int64) error {
	now := w.now().Add(time.Duration(skew) * time.Second)
	text, err := w.signer.SignAt(now, &wsticket.Claims{Subject: "ops", TTL: time.Duration(ttl) * time.Second})
	if err != nil {
		return err
	}
	w.tickets[name] = &opsTicket{text: []byte(text), key: w.keys[len(w.keys)-1], issued: now.Unix(), expires: now.Unix() + ttl}
	return nil
}

// show shows a ticket to nodes at once. A ticket that a shortened file does not mint is
// none.
func (w *opsWorld) show(name string, nodes []int64) error {
	t := w.tickets[name]
	if t == nil {
		return nil
	}
	errs := make([]error, len(nodes))
	times := make([]int64, len(nodes))
	var showing sync.WaitGroup
	for i, n := range nodes {
		node := w.node(n)
		now := w.nowAt(node)
		times[i] = now.Unix()
		showing.Go(func() {
			ctx, cancel := context.WithTimeout(w.tb.Context(), 5*time.Second)
			defer cancel()
			var ticket wsticket.Ticket
			errs[i] = w.verifiers[node].RedeemAt(ctx, now, wsticket.Request{Ticket: t.text}, &ticket)
		})
	}
	showing.Wait()
	may := false // a node whose clock and keys allow it
	var first error
	for i, err := range errs {
		allowed := w.allowed(t, times[i])
		may = may || allowed == nil && !t.accepted
		w.account.shown++
		switch {
		case err != nil:
			first = errors.Join(first, err)
			continue
		case allowed != nil:
			return fmt.Errorf("accepted by node %d: %w", w.node(nodes[i]), allowed)
		case t.accepted:
			return errors.New("accepted twice")
		}
		t.accepted = true
		w.latest = max(w.latest, times[i])
		w.account.accepted++
	}
	if may && !t.accepted {
		w.account.refused++
		if w.calm && w.c.Exact {
			return fmt.Errorf("a fresh ticket is refused though nothing has happened: %w", first)
		}
	}
	return nil
}

// allowed returns why no verifier whose clock shows now may accept t, however fresh.
func (w *opsWorld) allowed(t *opsTicket, now int64) error {
	leeway := int64(w.c.Leeway / time.Second)
	switch {
	case !slices.Contains(w.keys, t.key):
		return errors.New("its key is dropped")
	case t.issued > now+leeway:
		return fmt.Errorf("it is issued %d s ahead", t.issued-now)
	case now >= t.expires+leeway:
		return fmt.Errorf("it expired %d s ago", now-t.expires)
	}
	return nil
}

// rotate makes a new key sign, and keeps the one before.
func (w *opsWorld) rotate() error {
	var secret [32]byte
	_, _ = rand.Read(secret[:])
	w.rotations++
	// Of keys without nbf the one with the greatest kid signs.
	w.keys = append(w.keys, fmt.Sprintf(`{"kty":"oct","kid":"ops-%06d","alg":"HS256","k":"%s"}`, w.rotations, base64.RawURLEncoding.EncodeToString(secret[:])))
	w.keys = w.keys[max(0, len(w.keys)-2):]
	jwks := []byte(`{"keys":[` + strings.Join(w.keys, ",") + `]}`)
	if w.keyring != nil {
		return w.keyring.Replace(jwks)
	}
	var err error
	if w.keyring, err = wsticket.ParseKeyring(jwks); err != nil {
		return err
	}
	w.signer, err = wsticket.NewSigner(wsticket.SignerConfig{Keys: w.keyring, TTL: time.Second, MaxTTL: w.c.MaxTTL, Leeway: w.leeway()})
	return err
}

// verify puts a verifier before each guard.
func (w *opsWorld) verify() error {
	w.verifiers = nil
	for _, g := range w.guards {
		v, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: w.keyring, Replay: g, MaxTTL: w.c.MaxTTL, Leeway: w.leeway()})
		if err != nil {
			return err
		}
		w.verifiers = append(w.verifiers, v)
	}
	if len(w.verifiers) == 0 {
		return errors.New("no guard came from Open")
	}
	return nil
}
