package etcdguard

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/guardtest"
)

// TestOps drives three nodes on three members by op files: what is minted, shown and
// lost, in any order.
func TestOps(t *testing.T) {
	slow(t)
	var c *cluster
	config := Config{MaxTTL: 5 * time.Second, Leeway: wsticket.NoLeeway}
	open := func(tb testing.TB, _ time.Time) (guards []wsticket.ReplayGuard) {
		if c == nil {
			c = startCluster(t, 3)
			config.URL = c.url()
		}
		for _, g := range old(tb, 3, config) {
			guards = append(guards, g)
		}
		return guards
	}
	type event = func(testing.TB, []wsticket.ReplayGuard, time.Time) []wsticket.ReplayGuard
	stay := func(f func(leader *etcdMember)) event {
		return func(_ testing.TB, guards []wsticket.ReplayGuard, _ time.Time) []wsticket.ReplayGuard {
			f(c.leader())
			return guards
		}
	}
	guardtest.RunOps(t, guardtest.OpsConfig{
		Open: open,
		Events: map[string]event{
			"kill": stay(func(leader *etcdMember) { leader.kill(); c.start(leader) }),
			"freeze": stay(func(leader *etcdMember) {
				leader.signal(sigStop)
				time.Sleep(time.Second)
				leader.signal(sigCont)
			}),
			"cut":  stay(func(leader *etcdMember) { c.partition(leader); time.Sleep(time.Second); c.heal() }),
			"all":  stay(func(*etcdMember) { c.killAll(); c.startAll(); c.wait() }),
			"anew": stay(func(*etcdMember) { c.restore() }),
			"node": func(tb testing.TB, guards []wsticket.ReplayGuard, _ time.Time) []wsticket.ReplayGuard {
				guards[rand.IntN(len(guards))] = newGuard(tb, config)
				return guards
			},
		},
		MaxTTL: 5 * time.Second, OwnClock: true,
		Dir: "testdata/ops", Runs: 3, Length: 100,
	})
}
