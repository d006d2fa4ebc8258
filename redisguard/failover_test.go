package redisguard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/guardtest"
)

// startSentinel starts a Sentinel that looks after a primary under the name main. One is
// enough to fail over by itself.
func startSentinel(tb testing.TB, primary *server) *server {
	tb.Helper()
	s := &server{tb: tb, program: []string{redisSentinel(tb)}, port: freePort(tb), dir: tb.TempDir()}
	config := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor main 127.0.0.1 %d 1\nsentinel down-after-milliseconds main 500\n"+
		"sentinel failover-timeout main 3000\n", s.port, s.dir, primary.port)
	if err := os.WriteFile(s.file("sentinel.conf"), []byte(config), 0o600); err != nil {
		tb.Fatal(err)
	}
	s.program = append(s.program, s.file("sentinel.conf"))
	s.bare = true
	tb.Cleanup(s.kill)
	s.start()
	return s
}

func (s *server) sentinelURL() string {
	return "redis://" + s.addr() + "?master_set=main"
}

// knows waits until a Sentinel knows the replica.
func (s *server) knows(replica *server) {
	s.tb.Helper()
	s.until("the Sentinel knows the replica", func() bool {
		text, err := s.do("SENTINEL", "REPLICAS", "main")
		return err == nil && strings.Contains(text, "\n"+strconv.Itoa(replica.port)+"\n") && strings.Contains(text, "master-link-status\nok")
	})
}

// A Sentinel fails over to a replica that lacks the last claims, and back to the first
// server, restarted, that lacks the last claims too.
func TestSentinel(t *testing.T) {
	t.Parallel()
	slow(t)
	first, second := startServer(t), startServer(t)
	second.replicate(first)
	remember(t, first)
	sentinel := startSentinel(t, first)
	sentinel.knows(second)
	a := newAccount(t)
	config := shortest(sentinel.sentinelURL())
	nodes := newNodes(t, 2, config)

	failOver := func(from, to *server) {
		t.Helper()
		to.freeze()
		used := a.mustAccept(40, 20, nodes...)
		from.kill()
		killed := time.Now()
		to.thaw()
		to.until("the Sentinel promotes the replica", func() bool { return to.info("replication", "role") == "master" })
		promoted := time.Now()
		late := newGuardSoon(t, config)
		all := append(nodes, late)
		a.showAgain(used, all...)
		a.acceptsAgain(20*time.Second, all...)
		a.showAgain(used, all...)
		t.Logf("promoted %v after the death of the primary, tickets are taken again %v after that",
			promoted.Sub(killed).Round(time.Millisecond), time.Since(promoted).Round(time.Millisecond))
	}
	failOver(first, second)
	first.start("--replicaof", "127.0.0.1 "+strconv.Itoa(second.port))
	sentinel.knows(first)
	failOver(second, first)
}

// A cluster is six servers: three primaries, and a replica of each.
type cluster struct {
	tb                  testing.TB
	primaries, replicas []*server
}

func startCluster(tb testing.TB) *cluster {
	tb.Helper()
	c := &cluster{tb: tb}
	for i := range 6 {
		s := startServer(tb, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-replica-validity-factor", "0")
		if i < 3 {
			s.must("CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*clusterSlots/3), strconv.Itoa((i+1)*clusterSlots/3-1))
			s.must("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
			c.primaries = append(c.primaries, s)
		} else {
			c.replicas = append(c.replicas, s)
		}
	}
	all := append(c.primaries[:3:3], c.replicas...)
	for _, s := range all[1:] {
		s.must("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(all[0].port))
	}
	within(tb, 30*time.Second, "all nodes know all", func() bool {
		for _, s := range all {
			if s.field("cluster_known_nodes", "CLUSTER", "INFO") != "6" {
				return false
			}
		}
		return true
	})
	for i, s := range c.replicas {
		s.until("the replica is one", func() bool {
			_, err := s.do("CLUSTER", "REPLICATE", c.primaries[i].must("CLUSTER", "MYID"))
			return err == nil
		})
	}
	within(tb, 30*time.Second, "the cluster is complete", func() bool {
		for i, s := range c.replicas {
			if s.info("replication", "master_link_status") != "up" || c.primaries[i].field("cluster_state", "CLUSTER", "INFO") != "ok" ||
				s.field("cluster_state", "CLUSTER", "INFO") != "ok" || c.primaries[i].info("replication", "connected_slaves") != "1" {
				return false
			}
		}
		return true
	})
	for _, s := range c.primaries {
		remember(tb, s)
	}
	return c
}

func (c *cluster) url() string { return c.primaries[1].url() + "?addr=" + c.primaries[2].addr() }

// A Cluster: the suite; claims on all primaries; a failover that loses claims; and what
// happens to the tickets of the other primaries meanwhile.
func TestCluster(t *testing.T) {
	t.Parallel()
	slow(t)
	c := startCluster(t)
	guardtest.Run(t, guardtest.Config{
		Open: func(tb testing.TB, nodes int) (guards []wsticket.ReplayGuard) {
			config := shortest(c.url())
			config.Timeout = time.Second
			for _, g := range newNodes(tb, nodes, config) {
				guards = append(guards, g)
			}
			return guards
		},
		MaxNodes: 2, MaxTTL: 3 * time.Second, OwnClock: true, MaxSkew: time.Second, Quick: true,
	})
	a := newAccount(t)
	nodes := newNodes(t, 2, shortest(c.url()))
	for i, s := range c.primaries {
		if s.must("DBSIZE") < "1" {
			t.Errorf("primary %d has no claims", i)
		}
	}
	c.moveSlot(t, a, clusterSlot(laneTags[1]), nodes)

	replica := c.replicas[0]
	replica.freeze()
	used := a.mustAccept(300, 25, nodes...)
	c.primaries[0].kill()
	killed := time.Now()
	replica.thaw()
	others, refused := 0, 0
	for replica.info("replication", "role") != "master" {
		if time.Since(killed) > time.Minute {
			t.Fatal("the replica does not take over")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := a.spendCtx(ctx, nodes[0], ticket(20)); err == nil {
			others++
		} else {
			refused++
		}
		cancel()
	}
	promoted := time.Now()
	a.showAgain(used, nodes...)
	late := newGuardSoon(t, shortest(c.url()))
	a.showAgain(used, late)
	a.acceptsAgain(20*time.Second, nodes[0], nodes[1], late)
	a.showAgain(used, nodes[0], nodes[1], late)
	t.Logf("the replica took over %v after the death of its primary; until then %d tickets were taken and %d refused; all lanes take tickets again %v later",
		promoted.Sub(killed).Round(time.Millisecond), others, refused, time.Since(promoted).Round(time.Millisecond))
}

// With WaitReplicas a Cluster takes what a replica has, and refuses what none has.
func TestClusterWaitReplicas(t *testing.T) {
	t.Parallel()
	slow(t)
	c := startCluster(t)
	config := shortest(c.url())
	config.WaitReplicas = 1
	a := newAccount(t)
	g := newNodes(t, 1, config)[0]
	used := a.mustAccept(200, 25, g)
	c.replicas[0].freeze()
	var taken, refused atomic.Int32
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			switch err := a.spend(g, ticket(25)); {
			case err == nil:
				taken.Add(1)
			case errors.Is(err, wsticket.ErrReplayUnavailable):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if taken.Load() < 40 || refused.Load() < 20 {
		t.Errorf("without one of three replicas %d are taken and %d refused", taken.Load(), refused.Load())
	}
	c.replicas[0].thaw()
	a.acceptsAgain(20*time.Second, g)
	a.showAgain(used, g)
}

// moveSlot moves one slot from the first primary to the second, key by key, as a
// resharding does. Meanwhile its tickets are refused.
func (c *cluster) moveSlot(t *testing.T, a *account, slot int, nodes []*Guard) {
	t.Helper()
	from, to, number := c.primaries[0], c.primaries[1], strconv.Itoa(slot)
	used := a.mustAccept(600, 25, nodes...)
	to.must("CLUSTER", "SETSLOT", number, "IMPORTING", from.must("CLUSTER", "MYID"))
	from.must("CLUSTER", "SETSLOT", number, "MIGRATING", to.must("CLUSTER", "MYID"))
	moved := 0
	for {
		keys := from.list("CLUSTER", "GETKEYSINSLOT", number, "2")
		if len(keys) == 0 {
			break
		}
		from.must(append([]string{"MIGRATE", "127.0.0.1", strconv.Itoa(to.port), "", "0", "3000", "KEYS"}, keys...)...)
		moved += len(keys)
		for _, u := range used[:40] {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			_ = a.spendCtx(ctx, newNodeOf(nodes), u)
			cancel()
		}
	}
	a.check()
	if moved < 3 {
		t.Errorf("%d keys were moved, so this tests nothing", moved)
	}
	for _, s := range []*server{to, from, c.primaries[2]} {
		s.must("CLUSTER", "SETSLOT", number, "NODE", to.must("CLUSTER", "MYID"))
	}
	late := newGuardSoon(t, shortest(c.url()))
	a.showAgain(used, late, nodes[0], nodes[1])
	a.acceptsAgain(20*time.Second, late)
	a.showAgain(used, late)
}

// newNodeOf returns one of the nodes as if it had just started.
func newNodeOf(nodes []*Guard) *Guard {
	nodes[0].spent.init()
	return nodes[0]
}

// A partition: the primary is frozen, the Sentinel promotes the replica, and the old
// primary comes back and does not know. One node is on its side and one on the other.
func TestPartition(t *testing.T) {
	for name, wait := range map[string]int{"alone": 0, "WaitReplicas": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow(t)
			first, second := startServer(t), startServer(t)
			second.replicate(first)
			remember(t, first)
			sentinel := startSentinel(t, first)
			sentinel.knows(second)
			config := shortest(first.url())
			config.WaitReplicas = wait
			here := newGuard(t, config)
			config.URL = second.url()
			a := newAccount(t)
			before := a.mustAccept(20, 25, here)
			first.freeze()
			second.until("the Sentinel promotes the replica", func() bool { return second.info("replication", "role") == "master" })
			there := newGuardSoon(t, config)
			waitReady(t, there)
			a.showAgain(before, there)

			// Both sides are shown the same tickets, first the new primary's.
			first.thaw()
			thawed := time.Now()
			takenThere, takenHere, doubles := 0, 0, 0
			for time.Since(thawed) < 20*time.Second {
				u := ticket(10)
				err1, err2 := there.Spend(t.Context(), u), here.Spend(t.Context(), u)
				if err1 == nil {
					takenThere++
				}
				if err2 == nil {
					takenHere++
				}
				if err1 == nil && err2 == nil {
					doubles++
				}
				if errors.Is(err2, wsticket.ErrReplayUnavailable) && first.info("replication", "role") == "slave" {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			t.Logf("for %v after the old primary came back: the new one took %d tickets, the old one %d, both %d",
				time.Since(thawed).Round(time.Millisecond), takenThere, takenHere, doubles)
			if wait == 0 && doubles == 0 {
				t.Error("no ticket was taken twice, so this tests nothing")
			}
			if wait > 0 && doubles > 0 {
				t.Errorf("%d double accepts", doubles)
			}
			a.acceptsAgain(20*time.Second, there) // with the old one as its replica
		})
	}
}
