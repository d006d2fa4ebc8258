package etcdguard

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/guardtest"
)

// TestConformance runs the suite for every guard: in real time against three members;
// and with a clock that the suite moves, which must not matter, against one.
func TestConformance(t *testing.T) {
	slow(t)
	for _, real := range []bool{true, false} {
		t.Run(fmt.Sprintf("real=%t", real), func(t *testing.T) {
			members, maxTTL := 3, 5*time.Second
			if !real {
				// Slots end in real time all the same.
				members, maxTTL = 1, 30*time.Second
			}
			c := startCluster(t, members)
			var prefixes atomic.Int64
			config := guardtest.Config{
				MaxNodes: 3,
				MaxTTL:   maxTTL,
				Leeway:   time.Second,
				MaxSkew:  time.Second,
				OwnClock: real,
			}
			config.Open = func(tb testing.TB, nodes int) (all []wsticket.ReplayGuard) {
				prefix := fmt.Sprintf("test%d/", prefixes.Add(1))
				for range nodes {
					all = append(all, old(tb, 1, Config{URL: c.url(), Prefix: prefix, MaxTTL: config.MaxTTL, Leeway: config.Leeway, MaxSkew: config.MaxSkew})[0])
				}
				return all
			}
			config.Lose = func(tb testing.TB, guards []wsticket.ReplayGuard, _ time.Time) []wsticket.ReplayGuard {
				c.do(func(ctx context.Context, client *clientv3.Client) error {
					_, err := client.Delete(ctx, guards[0].(*Guard).keys.prefix, clientv3.WithPrefix())
					return err
				})
				return guards
			}
			config.Stall = func(tb testing.TB) func() {
				c.signal(sigStop)
				return func() { c.signal(sigCont) }
			}
			guardtest.Run(t, config)
		})
	}
}
