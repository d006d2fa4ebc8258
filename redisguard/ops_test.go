package redisguard

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/guardtest"
)

// TestOps drives three nodes on a primary and its replica by op files: what is minted,
// shown and lost, in any order.
func TestOps(t *testing.T) {
	t.Parallel()
	slow(t)
	var s *storm // two servers and a proxy, without the traffic
	open := func(tb testing.TB, _ time.Time) (guards []wsticket.ReplayGuard) {
		if s == nil {
			s = &storm{t: t, primary: startServer(t), other: startServer(t)}
			s.other.replicate(s.primary)
			s.proxy = startProxy(t, s.primary.addr())
			s.config = shortest(s.proxy.url())
			s.config.MaxTTL = 5 * time.Second
		}
		remember(tb, s.primary)
		for range 3 {
			guards = append(guards, newGuardSoon(tb, s.config))
		}
		return guards
	}
	guardtest.RunOps(t, guardtest.OpsConfig{
		Open:   open,
		Events: opsEvents(func() *storm { return s }),
		MaxTTL: 5 * time.Second, MaxSkew: time.Second, OwnClock: true,
		Dir: "testdata/ops", Runs: 3, Length: 100,
	})
}

func opsEvents(s func() *storm) map[string]func(testing.TB, []wsticket.ReplayGuard, time.Time) []wsticket.ReplayGuard {
	// The guards that there are find out.
	stay := func(f func(*storm)) func(testing.TB, []wsticket.ReplayGuard, time.Time) []wsticket.ReplayGuard {
		return func(_ testing.TB, guards []wsticket.ReplayGuard, _ time.Time) []wsticket.ReplayGuard {
			f(s())
			return guards
		}
	}
	return map[string]func(testing.TB, []wsticket.ReplayGuard, time.Time) []wsticket.ReplayGuard{
		"flush":   stay(func(s *storm) { s.primary.must("FLUSHALL") }),
		"scripts": stay(func(s *storm) { s.primary.must("SCRIPT", "FLUSH") }),
		"kill":    stay(func(s *storm) { s.primary.kill(); s.primary.start(); s.other.replicate(s.primary) }),
		"cut":     stay(func(s *storm) { s.proxy.closeAll() }),
		"failover": stay(func(s *storm) { // the replica lacks what was claimed in the last moments
			s.failOver(s.other.freeze, s.other.thaw)
		}),
		"node": func(tb testing.TB, guards []wsticket.ReplayGuard, _ time.Time) []wsticket.ReplayGuard {
			guards[rand.IntN(len(guards))] = newGuardSoon(tb, s().config)
			return guards
		},
	}
}
