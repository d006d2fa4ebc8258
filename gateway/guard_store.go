package gateway

import (
	"context"
	"strings"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/etcdguard"
	"github.com/wsticket/wsticket/live"
	"github.com/wsticket/wsticket/prommetrics"
	"github.com/wsticket/wsticket/redisguard"
)

// newGuard makes the single use that a configuration names. ctx bounds the connecting.
func newGuard(ctx context.Context, c *Config, report func(error)) (guard, error) {
	leeway := c.leeway()
	switch scheme, _, _ := strings.Cut(c.SingleUse, "://"); scheme {
	case "redis", "rediss":
		g, err := redisguard.New(ctx, redisguard.Config{URL: c.SingleUse, MaxTTL: c.MaxTTL, Leeway: leeway})
		if err != nil {
			return nil, err
		}
		bus, err := redisguard.NewBus(ctx, redisguard.BusConfig{URL: c.SingleUse})
		if err != nil {
			g.Close()
			return nil, err
		}
		return newStoreGuard(g, bus, storeStats(g))
	case "etcd", "etcds":
		g, err := etcdguard.New(ctx, etcdguard.Config{URL: c.SingleUse, MaxTTL: c.MaxTTL, Leeway: leeway})
		if err != nil {
			return nil, err
		}
		// etcd tells nobody of ended sessions: this node knows those that end here.
		return newStoreGuard(g, nil, etcdStats(g))
	}
	return newLocal(c, report)
}

// A storeGuard remembers in a store that all nodes share.
type storeGuard struct {
	store
	counted  *prommetrics.Guard // the store, for who verifies
	sessions *redisguard.Bus    // nil where the store has none
	stats    func() prommetrics.StoreStats
}

func newStoreGuard(s store, sessions *redisguard.Bus, stats func() prommetrics.StoreStats) (*storeGuard, error) {
	counted, err := prommetrics.NewGuard(s)
	if err != nil {
		return nil, err
	}
	return &storeGuard{s, counted, sessions, stats}, nil
}

func (g *storeGuard) replay() wsticket.ReplayGuard { return g.counted }

type store interface {
	wsticket.ReplayGuard
	ReadyAt() time.Time
	Close() error
}

func (g *storeGuard) since() time.Time { return time.Time{} }
func (g *storeGuard) save() error      { return nil }

func (g *storeGuard) noteEnding(live.Ending) bool { return true }
func (g *storeGuard) ended() []live.Ending        { return nil }

func (g *storeGuard) bus() live.Bus {
	if g.sessions == nil {
		return nil
	}
	return g.sessions
}

func (g *storeGuard) Close() {
	if g.sessions != nil {
		g.sessions.Close()
	}
	g.store.Close()
}
