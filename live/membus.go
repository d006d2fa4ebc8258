package live

import (
	"context"
	"sync"
	"time"
)

// A MemoryBus is a [Bus] within one process: for tests, and for a process with
// more than one registry. It keeps what was published in the last hour. The zero
// MemoryBus is ready; it must not be copied.
type MemoryBus struct {
	mu    sync.Mutex
	first int // the number of the first ending that is kept
	kept  []published
	more  chan struct{} // closed at the next Publish
}

type published struct {
	at     time.Time
	ending Ending
}

const memoryBusKeeps = time.Hour

var _ Bus = (*MemoryBus)(nil)

// Publish hands e to all who follow. It fails only where e is no ending.
func (b *MemoryBus) Publish(_ context.Context, e Ending) error {
	if err := e.Check(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	old := 0
	for old < len(b.kept) && now.Sub(b.kept[old].at) > memoryBusKeeps {
		old++
	}
	b.first += old
	b.kept = append(b.kept[old:], published{now, e})
	if b.more != nil {
		close(b.more)
		b.more = nil
	}
	return nil
}

// Follow tells f of every ending until ctx ends.
func (b *MemoryBus) Follow(ctx context.Context, back time.Duration, f Follower) error {
	heartbeat := time.NewTicker(time.Second)
	defer heartbeat.Stop()
	next, since := 0, time.Now().Add(-back)
	for {
		asOf := time.Now()
		endings, more := b.from(&next, since)
		for _, e := range endings {
			f.Ended(e)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		f.CaughtUp(asOf)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-more:
		case <-heartbeat.C:
		}
	}
}

// from returns the endings from number next on, moves next behind them, and
// returns what is closed when there is another one.
func (b *MemoryBus) from(next *int, since time.Time) ([]Ending, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var endings []Ending
	for _, p := range b.kept[max(*next-b.first, 0):] {
		if !p.at.Before(since) {
			endings = append(endings, p.ending)
		}
	}
	*next = b.first + len(b.kept)
	if b.more == nil {
		b.more = make(chan struct{})
	}
	return endings, b.more
}
