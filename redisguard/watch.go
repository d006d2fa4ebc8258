package redisguard

import (
	"context"
	"time"
)

const (
	// lookEvery is how often the store is looked at. An excursion of its clock, or
	// evictions, are noticed within that time.
	lookEvery = time.Second
	// lookAgain is how often while it does not answer.
	lookAgain = 100 * time.Millisecond
	// lookTimeout is longer than that of a claim: it is the looks that see a slow
	// connection through.
	lookTimeout = 2 * time.Second
)

// watch looks at the store until the guard is closed.
func (g *Guard) watch() {
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-timer.C:
		}
		ctx, cancel := context.WithTimeout(g.ctx, lookTimeout)
		var err error
		if g.link.Load().client == nil {
			err = g.connect(ctx)
		}
		if err == nil {
			err = g.look(ctx)
		}
		cancel()
		again := lookEvery
		if err != nil && g.ctx.Err() == nil {
			g.counters.trouble(err)
			again = lookAgain
		}
		timer.Reset(again)
	}
}

// look looks at the store through every lane and says what does not fit first.
func (g *Guard) look(ctx context.Context) (fault error) {
	lanes := g.link.Load().lanes
	faults := make(chan error, len(lanes))
	for _, l := range lanes {
		go func() { faults <- l.look(ctx) }()
	}
	for range lanes {
		if err := <-faults; err != nil && fault == nil {
			fault = err
		}
	}
	return fault
}

// look looks at the store and notes what it sees.
func (l *lane) look(ctx context.Context) error {
	before := time.Now()
	seen, err := takeLook(ctx, l.client, l.epoch, l.g.rules, l.since.Load())
	after := time.Now()
	if err != nil {
		l.failing.Store(isAway(err))
		return err
	}
	l.note(seen.since)
	l.evicting.Store(seen.policy != "noeviction")
	l.misfit.Store(seen.misfit(l.client.Mode()) != nil)
	if was, before := l.evicted.Swap(seen.evicted), l.lookedOnce.Swap(true); before && seen.evicted > was {
		l.g.counters.evicted.Add(seen.evicted - was)
	}
	l.g.counters.clockOff.Store(int64(time.UnixMilli(seen.now).Sub(before.Add(after.Sub(before) / 2))))
	l.failing.Store(false) // last, for then it is asked
	return seen.fault(l.client.Mode(), time.Duration(l.g.rules.maxSkew)*time.Second, before, after)
}
