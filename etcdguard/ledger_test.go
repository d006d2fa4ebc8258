package etcdguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// A ledger keeps account of tickets that are shown to any number of guards, and never
// forgets one.
type ledger struct {
	t  testing.TB
	mu sync.Mutex

	accepted map[[16]byte]int
	shown    int
	doubles  int
	refused  map[wsticket.Error]int
	strange  error
	last     time.Time     // of an acceptance
	pause    time.Duration // the longest between two
}

func newLedger(t testing.TB) *ledger {
	l := &ledger{t: t, accepted: map[[16]byte]int{}, refused: map[wsticket.Error]int{}}
	t.Cleanup(l.check)
	return l
}

func (l *ledger) check() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.Logf("tickets shown %d times: %d accepted, %d of them twice; refused: %v; longest time without an acceptance: %v", l.shown, len(l.accepted), l.doubles, l.codes(), l.pause.Round(time.Millisecond))
	if l.doubles > 0 {
		l.t.Errorf("%d tickets were accepted twice", l.doubles)
	}
	if l.strange != nil {
		l.t.Errorf("an error that no guard may give: %v", l.strange)
	}
}

func (l *ledger) codes() string {
	text := ""
	for _, code := range wsticket.Codes() {
		if n := l.refused[code]; n > 0 {
			text += fmt.Sprintf("%s %d ", code.Code(), n)
		}
	}
	return text
}

func (l *ledger) show(ctx context.Context, g *Guard, use wsticket.Use) error {
	err := g.Spend(ctx, use)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown++
	if err == nil {
		l.accepted[use.Identity]++
		if l.accepted[use.Identity] > 1 {
			l.doubles++
		}
		now := time.Now()
		if !l.last.IsZero() {
			l.pause = max(l.pause, now.Sub(l.last))
		}
		l.last = now
		return nil
	}
	code, ok := wsticket.CodeOf(err)
	if !ok || code != wsticket.ErrReplayed && code != wsticket.ErrReplayUnavailable && code != wsticket.ErrIssuedBeforeStart {
		l.strange = err
	}
	l.refused[code]++
	return err
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted)
}

// traffic shows fresh tickets, each to all guards at once and some of them again later,
// until the returned function is called.
func (l *ledger) traffic(clients int, guards ...*Guard) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			var old []wsticket.Use
			for ctx.Err() == nil {
				use := fresh()
				var at sync.WaitGroup
				for _, n := range rand.Perm(len(guards)) {
					at.Go(func() { l.show(context.Background(), guards[n], use) })
				}
				at.Wait()
				if old = append(old, use); len(old) > 50 {
					old = old[1:]
				}
				again := old[rand.IntN(len(old))]
				again.Now = time.Now().Unix()
				if again.Expires > again.Now {
					l.show(context.Background(), guards[rand.IntN(len(guards))], again)
				}
			}
		})
	}
	return sync.OnceFunc(func() { cancel(); all.Wait() })
}

// await waits until some more tickets were accepted.
func (l *ledger) await(more int, within time.Duration) time.Duration {
	l.t.Helper()
	began := time.Now()
	for want := l.count() + more; l.count() < want; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > within {
			l.t.Errorf("%d of %d tickets were accepted within %v", l.count()-want+more, more, within)
			break
		}
	}
	return time.Since(began)
}

// wantUnavailable says that a refusal is one for want of an answer.
func wantUnavailable(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, wsticket.ErrReplayUnavailable) {
		t.Errorf("%v, want %v", err, wsticket.ErrReplayUnavailable)
	}
}

// old makes guards that take tickets issued now, as if they had been there for long.
func old(t testing.TB, n int, config Config) []*Guard {
	t.Helper()
	var all []*Guard
	for range n {
		g := newGuard(t, config)
		g.history.mu.Lock()
		g.history.since = 0
		g.history.mu.Unlock()
		all = append(all, g)
	}
	return all
}
