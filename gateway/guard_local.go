package gateway

import (
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// A localGuard remembers in this process, and with a state file over restarts.
type localGuard struct {
	*wsticket.ReplayCache
	path  string
	began time.Time
}

func newLocal(c *Config) (*localGuard, error) {
	leeway := c.Leeway
	if leeway == 0 {
		leeway = wsticket.NoLeeway
	}
	config := wsticket.ReplayConfig{PeakPerSecond: c.Peak, MaxTTL: c.MaxTTL, Leeway: leeway, Since: c.since}
	cache, err := wsticket.NewReplayCache(config)
	if err != nil {
		return nil, err
	}
	return &localGuard{cache, c.State, c.since}, nil
}

func (g *localGuard) since() time.Time { return g.began }
func (g *localGuard) bus() live.Bus    { return nil }
func (g *localGuard) save() error      { return nil }
func (g *localGuard) Close()           {}
