package redisguard

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
	"github.com/wsticket/wsticket/wstickettest"
)

// Two nodes with registries: a session that ends on one ends on the other, and a ticket
// of it that is unspent gets in nowhere.
func TestRegistries(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	rememberEndings(t, s)
	kit := wstickettest.New(t, wsticket.VerifierConfig{Replay: wsticket.DangerouslyAllowReplay})
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	defer func() { cancel(); following.Wait() }()
	var nodes [2]*live.Registry
	for i := range nodes {
		r, err := live.New(live.Config{Bus: newBus(t, busConfig(s.url())), Report: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		following.Go(func() {
			if err := r.Follow(ctx); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		nodes[i] = r
	}
	peek := func(sid string) *wsticket.Ticket {
		now := time.Now()
		var ticket wsticket.Ticket
		text := kit.Mint(now, wsticket.Claims{Subject: "ada", SessionID: sid})
		if err := kit.Verifier.PeekAt(now, wsticket.Request{Ticket: []byte(text)}, &ticket); err != nil {
			t.Fatal(err)
		}
		return &ticket
	}
	unspent := peek("s-1")
	for _, r := range nodes {
		within(t, backSoon, "the bus is heard", func() bool { return r.Admit(peek("s-0")) == nil })
	}
	closed := make(chan live.Cause, 2)
	for _, r := range nodes {
		if _, err := r.Add(peek("s-1"), func(c live.Cause) { closed <- c }); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := nodes[0].CloseSession(ctx, "s-1"); err != nil {
		t.Fatal(err)
	}
	for range nodes {
		select {
		case c := <-closed:
			if c != live.Ended {
				t.Errorf("closed as %v", c)
			}
		case <-time.After(backSoon):
			t.Fatal("a connection lives on")
		}
	}
	t.Logf("ended on both nodes after %v", time.Since(began).Round(time.Microsecond))
	for _, r := range nodes {
		if err := r.Admit(unspent); err == nil {
			t.Error("a ticket of the ended session gets in")
		}
		if err := r.Admit(peek("s-2")); err != nil {
			t.Errorf("a ticket of another session: %v", err)
		}
	}
}
