package wsticket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestLastRefusal(t *testing.T) {
	var c Counters
	at := func(n int64) time.Time {
		if n == 0 {
			return time.Time{}
		}
		return time.Unix(n, 0)
	}
	const accepted = -1
	for i, step := range []struct {
		err            error
		now            int64
		last           error
		at, same, only int64
	}{
		{now: accepted},
		{err: errExpired, now: 100, last: errExpired, at: 100, same: 100, only: 100},
		{err: errExpired, now: 130, last: errExpired, at: 130, same: 100, only: 100},
		{err: errSessionOver, now: 140, last: errSessionOver, at: 140, same: 140, only: 100}, // of one code, but not one reason
		{err: ErrReplayed, now: 150, last: ErrReplayed, at: 150, same: 150, only: 100},
		{err: fmt.Errorf("with more: %w", ErrReplayed), now: 160, last: ErrReplayed, at: 160, same: 150, only: 100},
		{now: accepted, last: ErrReplayed, at: 160},
		{err: ErrReplayed, now: 170, last: ErrReplayed, at: 170, same: 170, only: 170},
		{err: ErrReplayed, now: 171, last: ErrReplayed, at: 171, same: 170, only: 170},
		{now: accepted, last: ErrReplayed, at: 171},
		{err: newHandshakeError(ErrUnauthorized, "hunter2"), now: 180, last: ErrUnauthorized, at: 180, same: 180, only: 180}, // words of somebody else are not kept
		{err: (&details{err: errExpired}).own(), now: 190, last: errExpired, at: 190, same: 190, only: 180},
		{err: headErrors[1], now: 180, last: headErrors[1], at: 180, same: 180, only: 180}, // the clock went back
		{err: errExpired, now: -5, last: errExpired, at: -1, same: -1, only: 180},
	} {
		if step.now == accepted {
			c.Count(nil)
		} else {
			c.refuse(codeOf(step.err), step.err, step.now)
		}
		want := LastRefusal{Err: step.last, At: at(step.at), SameReasonSince: at(step.same), OnlyRefusalsSince: at(step.only)}
		if step.at < 0 {
			want.At, want.SameReasonSince = time.Unix(0, 0), time.Unix(0, 0)
		}
		if got := c.Stats().LastRefusal(); got != want {
			t.Errorf("step %d: %+v, want %+v", i, got, want)
		}
	}
	if s := c.Stats(); s.Accepted() != 3 || s.Refused(ErrExpired) != 5 || s.Refused(ErrReplayed) != 4 {
		t.Error(s.Map())
	}
}

func TestCountTakesTheTime(t *testing.T) {
	var c Counters
	before := time.Now().Truncate(time.Second)
	c.Count(errors.New("no refusal"))
	if s := c.Stats(); s != (Stats{}) {
		t.Errorf("%+v", s)
	}
	c.Count(fmt.Errorf("gateway: %w", ErrOverloaded))
	if l := c.Stats().LastRefusal(); l.Err != ErrOverloaded || l.At.Before(before) || l.At.After(time.Now()) {
		t.Errorf("%+v, after %v", l, before)
	}
}

// Whatever happens at once, what is told is something that happened.
func TestLastRefusalAtOnce(t *testing.T) {
	var c Counters
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for n := range 2000 {
				switch i {
				case 0:
					c.Count(nil)
				case 1:
					if l := c.Stats().LastRefusal(); l.Err != nil && (l.Err != errExpired && l.Err != ErrReplayed || l.At.Unix() < 1000 || l.At.Unix() >= 3000) {
						t.Errorf("%+v", l)
						return
					}
				default:
					err := []error{errExpired, ErrReplayed}[i&1]
					c.refuse(codeOf(err), err, int64(1000+n))
				}
			}
		})
	}
	group.Wait()
	if s := c.Stats(); s.Accepted() != 2000 || s.Refused(ErrExpired)+s.Refused(ErrReplayed) != 12000 {
		t.Error(s.Map())
	}
}

// Upgrader, Gate and Hooks keep it, with the reason and not the code alone.
func TestStatsKeepTheReason(t *testing.T) {
	d := newDoor(t, nil)
	ticket := d.ticket(t, Claims{Path: "/elsewhere"})
	head := request("/?ticket=" + ticket)
	before := time.Now().Truncate(time.Second)
	if err := d.Upgrade(context.Background(), newMemConn([]byte(head)), new(Handshake)); err != errOtherPath {
		t.Fatal(err)
	}
	gate := newGate(t, d, nil)
	if _, err := gate.Redeem(parsed(head)); err != errOtherPath {
		t.Fatal(err)
	}
	hooks := newHooks(t, d, nil)
	if _, err := hooks.Upgrade(context.Background(), newMemConn([]byte(head)), new(Ticket)); err != errOtherPath {
		t.Fatal(err)
	}
	for name, stats := range map[string]Stats{"Upgrader": d.Stats(), "Gate": gate.Stats(), "Hooks": hooks.Stats()} {
		if l := stats.LastRefusal(); l.Err != errOtherPath || l.At.Before(before) || l.At.After(time.Now()) || l.OnlyRefusalsSince.IsZero() {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

// To count a refusal allocates nothing, also for who calls the Verifier by hand.
func TestCountAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	var c Counters
	for _, err := range []error{nil, ErrReplayed, errExpired, headErrors[1]} {
		if n := testing.AllocsPerRun(100, func() { c.Count(err) }); n != 0 {
			t.Errorf("%v: %v allocations", err, n)
		}
	}
	if s := c.Stats(); s.Refused(ErrExpired) == 0 || s.Refused(ErrBadHandshake) == 0 || s.Refused(ErrReplayed) == 0 || s.Accepted() == 0 {
		t.Errorf("%v", s.Map())
	}
}
