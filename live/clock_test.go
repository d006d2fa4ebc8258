package live

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/wstickettest"
)

// TestClockWasAhead: the machine started with a clock that was a day ahead, and was set
// right after New. Connections end with their sessions, and not a day later.
func TestClockWasAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := newAt(Config{Since: time.Unix(0, 0)}, time.Now().Add(24*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		d := &desk{t, wstickettest.New(t, wsticket.VerifierConfig{Replay: wsticket.DangerouslyAllowReplay}), r}
		g := d.enter(d.ticket("ada", "s", time.Now().Add(10*time.Second)))
		for info := range d.All() {
			if want := time.Now().Add(10 * time.Second); !info.Ends.Equal(want) {
				t.Errorf("it ends %v, want %v", info.Ends, want)
			}
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		g.want(t, "before its end", 0)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		g.want(t, "after its end", Expired)
	})
}

// TestLateForItsSecond: who comes in, or is renewed, just when the second has been looked
// at in which it ends, is ended in the next one and not when the wheel has turned.
func TestLateForItsSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		stays := d.enter(d.ticket("ada", "", time.Time{}))
		time.Sleep(3500 * time.Millisecond)
		synctest.Wait()
		late := &guest{}
		before := time.Now().Add(-600 * time.Millisecond) // it waited for the lock, or was not run
		c := d.newConn(nil, nil)
		c.close, c.end = late.end, uint32(time.Now().Unix()-d.base)
		late.Conn = c
		d.lock()
		d.wheel.insert(before, c, d.base)
		d.mu.Unlock()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		late.want(t, "late", Expired)
		stays.want(t, "another", 0)
		stays.Remove()
	})
}

// TestClockSetBack: after the clock was set back, a tick that comes late misses nobody.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		d.enter(d.ticket("eve", "", time.Time{}))
		d.lock()
		d.wheel.looked += 3600 // so far the clock was an hour ahead
		d.wheel.timer.Reset(8500 * time.Millisecond)
		d.mu.Unlock()
		g := d.enter(d.ticket("ada", "s", time.Now().Add(5*time.Second)))
		other := d.enter(d.ticket("bob", "t", time.Now().Add(6*time.Second)))
		time.Sleep(9 * time.Second)
		synctest.Wait()
		g.want(t, "the first", Expired)
		other.want(t, "the second", Expired)
	})
}
