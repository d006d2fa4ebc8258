package redisguard

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/guardtest"
)

// newGuard makes a guard and waits until it is ready.
func newGuard(tb testing.TB, config Config) *Guard {
	tb.Helper()
	g := newGuardNow(tb, config)
	waitReady(tb, g)
	return g
}

func newGuardNow(tb testing.TB, config Config) *Guard {
	tb.Helper()
	g, err := New(context.Background(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { g.Close() })
	return g
}

func waitReady(tb testing.TB, g *Guard) {
	tb.Helper()
	within(tb, 30*time.Second, "the guard is ready", func() bool { return !time.Now().Before(g.ReadyAt()) })
}

// ticket is a fresh one, minted and shown now.
func ticket(ttl int64) wsticket.Use {
	u := wsticket.Use{Issued: time.Now().Unix()}
	u.Now, u.Expires = u.Issued, u.Issued+ttl
	_, _ = rand.Read(u.Identity[:])
	return u
}

func spend(g *Guard, u wsticket.Use) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return g.Spend(ctx, u)
}

// quick are the shortest times that a guard takes, so that tests need not wait.
func quick(url string) Config {
	return Config{URL: url, MaxTTL: 3 * time.Second, Leeway: 2 * time.Second, MaxSkew: time.Second}
}

func TestConformance(t *testing.T) {
	s := startServer(t)
	remember(t, s, quick(s.url()))
	guardtest.Run(t, guardtest.Config{
		Open: func(tb testing.TB, nodes int) (guards []wsticket.ReplayGuard) {
			for range nodes {
				guards = append(guards, newGuard(tb, quick(s.url())))
			}
			return guards
		},
		MaxNodes: 3,
		MaxTTL:   3 * time.Second,
		Leeway:   2 * time.Second,
		OwnClock: true,
		Quick:    os.Getenv("WSTICKET_SLOW") != "1",
		MaxSkew:  time.Second,
		Lose: func(tb testing.TB, guards []wsticket.ReplayGuard, _ time.Time) []wsticket.ReplayGuard {
			s.must("FLUSHALL")
			return guards
		},
		Stall: func(testing.TB) func() { s.freeze(); return s.thaw },
	})
}

// remember makes the store say that it has remembered everything for an hour, which
// is true of one that has just been started for a test, so that guards are ready at
// once: guards with the Leeway and MaxSkew of config, or of shortest.
func remember(tb testing.TB, s *server, config ...Config) {
	tb.Helper()
	c := append(config, shortest(s.url()))[0]
	history := s.info("replication", "master_replid")
	now := time.Now()
	for _, tag := range laneTags {
		if _, err := s.do("SET", "wsticket:{"+tag+"}epoch", epochRecord(history, now.Add(-time.Hour), now, c)); err != nil {
			if s.info("cluster", "cluster_enabled") == "1" && strings.HasPrefix(err.Error(), "MOVED") {
				continue // another node's
			}
			tb.Fatal(err)
		}
		if s.info("cluster", "cluster_enabled") != "1" {
			break
		}
	}
}

// epochRecord is what protocol.lua writes.
func epochRecord(history string, since, seen time.Time, c Config) string {
	return fmt.Sprintf("%s %015d %04d %04d %015d %015d", history, since.UnixMilli(), c.leewaySeconds(), c.MaxSkew/time.Second, seen.UnixMilli(), 0)
}
