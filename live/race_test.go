package live

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wsticket/wsticket"
)

// slow says whether the long variants of tests are to run.
func slow() bool { return os.Getenv("WSTICKET_SLOW") == "1" }

// TestMany: 64 goroutines that come, go, renew and end one another, on two nodes.
func TestMany(t *testing.T) {
	var bus MemoryBus
	d := newDesk(t, Config{Bus: &bus, MaxPerSubject: 50})
	far := newDesk(t, Config{Bus: &bus})
	ctx, cancel := context.WithCancel(t.Context())
	var following, working sync.WaitGroup
	for _, d := range []*desk{d, far} {
		following.Go(func() { d.Follow(ctx) })
	}
	for d.Stats().Heard.IsZero() {
		runtime.Gosched()
	}
	const subjects, sessions = 10, 40
	var tickets [subjects][sessions]*wsticket.Ticket
	for i := range tickets {
		for j := range tickets[i] {
			end := time.Time{}
			if j%2 == 0 {
				end = time.Now().Add(time.Duration(1+j%4) * time.Second)
			}
			tickets[i][j] = d.ticket(fmt.Sprint("sub", i), fmt.Sprint("s", i, ".", j), end)
		}
	}
	rounds := 300
	if slow() {
		rounds = 20_000
	}
	var called, added atomic.Int64
	for worker := range 64 {
		working.Go(func() {
			rng := newRand(uint64(worker))
			var mine []*Conn
			for range rounds {
				ticket := tickets[rng.IntN(subjects)][rng.IntN(sessions)]
				switch rng.IntN(20) {
				case 0, 1, 2, 3, 4, 5, 6, 7, 8, 9:
					if c, err := d.Add(ticket, func(Cause) { called.Add(1) }); err == nil {
						added.Add(1)
						mine = append(mine, c)
					}
				case 10, 11, 12, 13, 14:
					if n := len(mine); n > 0 {
						i := rng.IntN(n)
						mine[i].Remove()
						mine[i] = mine[n-1]
						mine = mine[:n-1]
					}
				case 15, 16, 17:
					if len(mine) > 0 {
						mine[rng.IntN(len(mine))].Renewed(ticket)
					}
				case 18:
					switch rng.IntN(30) {
					case 0:
						d.End(ctx, Ending{Subject: string(ticket.Subject()), Cause: Forbidden, At: time.Now().Unix() - 100})
					case 1:
						far.CloseSession(ctx, string(ticket.SessionID()))
					case 2:
						d.CloseAll(time.Duration(rng.IntN(3)) * 20 * time.Millisecond)
					case 3:
						for range d.All() {
						}
					}
				default:
					d.Stats()
					d.Count(string(ticket.Subject()))
				}
			}
			for _, c := range mine {
				c.Remove()
			}
		})
	}
	working.Wait()
	if err := d.Shutdown(ctx, 0); err != nil {
		t.Fatal(err)
	}
	cancel()
	following.Wait()
	d.lock()
	checkIndexes(t, d.Registry, nil)
	d.mu.Unlock()
	for d.Stats().Closing > 0 {
		runtime.Gosched()
	}
	s := d.Stats()
	var ended uint64
	for _, c := range Causes() {
		ended += s.Ended(c)
	}
	if s.Added != uint64(added.Load()) || s.Removed != s.Added || ended != uint64(called.Load()) || ended == 0 || s.Connections+s.Sessions+s.Subjects != 0 {
		t.Errorf("%d added, %d called; %+v", added.Load(), called.Load(), s)
	}
}

// TestLogoutRace: however a logout and a handshake of the same session run into each
// other, the connection does not stay: it is refused, or ended.
func TestLogoutRace(t *testing.T) {
	rounds := 10_000
	if slow() {
		rounds = 200_000
	}
	var bus MemoryBus
	near, far := newDesk(t, Config{Bus: &bus}), newDesk(t, Config{Bus: &bus})
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	for _, d := range []*desk{near, far} {
		following.Go(func() { d.Follow(ctx) })
		for d.Stats().Heard.IsZero() {
			runtime.Gosched()
		}
	}
	refused, ended := 0, 0
	for i := range rounds {
		session := fmt.Sprint("s", i)
		ticket := near.ticket("ada", session, time.Time{})
		start := make(chan struct{})
		var both sync.WaitGroup
		both.Go(func() {
			<-start
			if err := near.CloseSession(ctx, session); err != nil {
				t.Error(err)
			}
		})
		at := near
		if i%2 == 1 {
			at = far
		}
		over := make(chan Cause, 1)
		var conn *Conn
		var err error
		both.Go(func() {
			<-start
			conn, err = at.Add(ticket, func(c Cause) { over <- c })
		})
		close(start)
		both.Wait()
		switch err {
		case nil:
			select {
			case cause := <-over:
				if cause != Ended {
					t.Fatalf("ended by %v", cause)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("a connection lives on after its session has ended")
			}
			conn.Remove()
			ended++
		case ErrEnded:
			refused++
		default:
			t.Fatal(err)
		}
		if at == near { // done, so that all later handshakes come too late
			if _, err := at.Add(ticket, func(Cause) {}); err != ErrEnded {
				t.Fatalf("round %d: after the logout: %v", i, err)
			}
		}
	}
	if refused == 0 || ended == 0 {
		t.Logf("%d refused, %d ended: they did not run into each other", refused, ended)
	}
	if n := near.Stats().Connections + far.Stats().Connections; n != 0 {
		t.Errorf("%d connections stayed", n)
	}
}
