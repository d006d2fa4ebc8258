package prommetrics

import (
	"encoding/binary"
	"os"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// TestCollectMany: the page of a busy node is made in no time. 1M live tickets and
// 100,000 connections with WSTICKET_SLOW=1, a tenth without.
func TestCollectMany(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has a time of its own")
	}
	tickets := 100_000
	if os.Getenv("WSTICKET_SLOW") != "" {
		tickets = 1_000_000
	}
	p := newPlant(t)
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: tickets / 10, Since: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	p.collector.config.Replay = cache
	now := time.Now().Unix()
	for i := range tickets {
		use := wsticket.Use{Issued: now, Expires: now + 50 + int64(i%10), Now: now}
		binary.LittleEndian.PutUint64(use.Identity[:], uint64(i)*0x9e3779b97f4a7c15)
		binary.LittleEndian.PutUint64(use.Identity[8:], uint64(i+1)*0xbf58476d1ce4e5b9)
		if err := cache.Spend(t.Context(), use); err != nil {
			t.Fatal(err)
		}
	}
	ticket := new(wsticket.Ticket)
	if err := p.verifier.Peek(wsticket.Request{Ticket: []byte(p.ticket())}, ticket); err != nil {
		t.Fatal(err)
	}
	for range tickets / 10 {
		if _, err := p.connections.Add(ticket, func(live.Cause) {}); err != nil {
			t.Fatal(err)
		}
	}
	least := time.Hour
	for range 20 {
		began := time.Now()
		if _, err := p.registry.Gather(); err != nil {
			t.Fatal(err)
		}
		least = min(least, time.Since(began))
	}
	// Whatever lock a call takes, it holds it for no longer than the call.
	for what, call := range map[string]func(){
		"ReplayCache.Stats": func() { cache.Stats() }, "Registry.Stats": func() { p.connections.Stats() }, "Upgrader.Stats": func() { p.up.Stats() },
		"Keyring.Keys": func() { p.keys.Keys() }, "Keyring.Health": func() { p.keys.Health() }, "MintHandler.Stats": func() { p.mint.Stats() },
	} {
		shortest := time.Hour // longer ones are those of whom the machine took away
		for range 100 {
			began := time.Now()
			call()
			shortest = min(shortest, time.Since(began))
		}
		t.Logf("%v for %s", shortest, what)
		if shortest > 100*time.Microsecond {
			t.Errorf("%s takes %v, want at most 100µs", what, shortest)
		}
	}
	t.Logf("%v for %d live tickets and %d connections", least, tickets, tickets/10)
	if s := p.series(); s["wsticket_replay_live_tickets"] != float64(tickets) || s["wsticket_live_connections"] != float64(tickets/10) {
		t.Errorf("%v live tickets, %v connections", s["wsticket_replay_live_tickets"], s["wsticket_live_connections"])
	}
	if least > 20*time.Millisecond {
		t.Errorf("it takes %v, want at most 20ms", least)
	}
}
