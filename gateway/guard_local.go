package gateway

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// A localGuard remembers in this process, and with a state file over orderly restarts:
// which tickets were used, and which sessions ended.
type localGuard struct {
	*wsticket.ReplayCache
	path     string // or empty
	lock     *os.File
	began    time.Time
	endings  endings
	restored []live.Ending
}

var errStateInUse = errors.New("a gateway that still runs, or is about to end, saves its memory there")

// newLocal loads what the process before has saved. report hears why what there was
// could not be used; the gateway then begins anew.
func newLocal(c *Config, report func(error)) (_ *localGuard, err error) {
	leeway := c.leeway()
	config := wsticket.ReplayConfig{PeakPerSecond: c.Peak, MaxTTL: c.MaxTTL, Leeway: leeway, Since: c.since}
	g := &localGuard{path: c.State, began: c.since, endings: endings{keep: c.MaxTTL + 2*c.Leeway}}
	if c.State == "" {
		g.ReplayCache, err = wsticket.NewReplayCache(config)
		return g, err
	}
	if g.lock, err = lockState(c.State); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.Close()
		}
	}()
	// Where it is not known which sessions ended, what was issued before now is refused,
	// and the memory of used tickets is of no use.
	list, found, fault := loadEndings(g.sessionsPath())
	if !found {
		if fault != nil {
			report(fmt.Errorf("the saved sessions were not used, and tickets that were issued before now are refused: %w", fault))
		}
		// A saved state goes, and another file stays.
		if left, err := wsticket.LoadReplayCache(c.State, wsticket.ReplayConfig{PeakPerSecond: 1}); left == nil {
			return nil, err
		}
		g.ReplayCache, err = wsticket.NewReplayCache(config)
		return g, err
	}
	if g.ReplayCache, err = wsticket.LoadReplayCache(c.State, config); g.ReplayCache == nil {
		return nil, err
	}
	if err != nil {
		report(err)
		return g, nil
	}
	g.began = time.Unix(1, 0) // all that ended of late is known
	g.restored = list
	for _, ending := range list {
		g.endings.add(time.Now(), ending)
	}
	return g, nil
}

func (g *localGuard) sessionsPath() string { return g.path + ".sessions" }

func (g *localGuard) replay() wsticket.ReplayGuard { return g.ReplayCache }

func (g *localGuard) since() time.Time { return g.began }
func (g *localGuard) bus() live.Bus    { return nil }
func (g *localGuard) Close()           { g.lock.Close() } // nil too

func (g *localGuard) ended() []live.Ending { return g.restored }

func (g *localGuard) noteEnding(e live.Ending) bool {
	return g.endings.add(time.Now(), e) || g.path == ""
}

// save writes the sessions first: a process that finds only them begins anew.
func (g *localGuard) save() error {
	if g.path == "" {
		return nil
	}
	if err := g.endings.save(time.Now(), g.sessionsPath()); err != nil {
		return err
	}
	return g.Save(g.path)
}
