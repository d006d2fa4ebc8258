package live

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsticket/wsticket"
)

// A fickleBus is a MemoryBus that can go silent, lose what was said, bring rubbish,
// and fail to publish.
type fickleBus struct {
	MemoryBus
	mu       sync.Mutex
	silent   bool
	failing  error
	follower Follower
}

func (b *fickleBus) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *fickleBus) Publish(ctx context.Context, e Ending) error {
	b.mu.Lock()
	err := b.failing
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.MemoryBus.Publish(ctx, e)
}

func (b *fickleBus) Follow(ctx context.Context, back time.Duration, f Follower) error {
	b.set(func() { b.follower = f })
	caughtUp := f.CaughtUp
	f.CaughtUp = func(asOf time.Time) {
		b.mu.Lock()
		silent := b.silent
		b.mu.Unlock()
		if !silent {
			caughtUp(asOf)
		}
	}
	return b.MemoryBus.Follow(ctx, back, f)
}

func (d *desk) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.Follow(ctx) }()
	d.t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			d.t.Errorf("Follow ends with %v", err)
		}
	})
	synctest.Wait()
}

func TestBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus MemoryBus
		a, b := newDesk(t, Config{Bus: &bus}), newDesk(t, Config{Bus: &bus})
		if _, err := a.try(a.ticket("ada", "s", time.Time{})); err != ErrUnheard {
			t.Errorf("before Follow: %v", err)
		} else if code, _ := wsticket.CodeOf(err); code != wsticket.ErrReplayUnavailable {
			t.Errorf("its code is %v", code)
		}
		a.follow()
		unspent := a.ticket("ada", "s0", time.Time{})
		if err := a.CloseSession(t.Context(), "s0"); err != nil {
			t.Fatal(err)
		}
		b.follow() // later, and still knows
		if _, err := b.try(unspent); err != ErrEnded {
			t.Errorf("a node that started after the logout: %v", err)
		}

		here, there := a.enter(a.ticket("ada", "s", time.Time{})), b.enter(b.ticket("ada", "s", time.Time{}))
		other := b.enter(b.ticket("bob", "t", time.Time{}))
		unspent = a.ticket("ada", "s", time.Time{})
		if err := a.CloseSession(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		here.want(t, "here", Ended)
		there.want(t, "there", Ended)
		other.want(t, "another session there", 0)
		for _, d := range []*desk{a, b} {
			if _, err := d.try(unspent); err != ErrEnded {
				t.Errorf("an unspent ticket: %v", err)
			}
		}
		if err := b.CloseSubject(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		other.want(t, "by subject", Forbidden)
		time.Sleep(10 * time.Second)
		all := []*guest{a.enter(a.ticket("ada", "", time.Time{})), b.enter(b.ticket("bob", "", time.Time{}))}
		if err := b.End(t.Context(), Ending{All: true, Cause: GoingAway}); err != nil {
			t.Fatal(err)
		}
		for _, g := range all {
			g.want(t, "all", GoingAway)
		}
	})
}

// TestBusEcho: what comes back from the bus, once or again, is not done twice.
func TestBusEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus MemoryBus
		d := newDesk(t, Config{Bus: &bus})
		d.follow()
		for range 1000 {
			d.enter(d.ticket("ada", "", time.Time{}))
		}
		e := Ending{All: true, Cause: GoingAway, Spread: 10 * time.Second}
		if err := d.End(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		e.At = time.Now().Unix()
		d.hear(e)
		time.Sleep(5 * time.Second)
		if n := d.Stats().Connections; n < 450 || n > 550 {
			t.Errorf("half of the time, and %d of 1000 are left", n)
		}
		time.Sleep(6 * time.Second)
	})
}

func TestBusSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus fickleBus
		d := newDesk(t, Config{Bus: &bus})
		trusting := newDesk(t, Config{Bus: &bus, DangerouslyAdmitUnheard: true})
		d.follow()
		g := d.enter(d.ticket("ada", "", time.Time{}))
		bus.set(func() { bus.silent = true })
		time.Sleep(3 * time.Second)
		if err := d.Admit(d.ticket("ada", "", time.Time{})); err != nil {
			t.Errorf("silent for 3 s: %v", err)
		}
		time.Sleep(3 * time.Second)
		if err := d.Admit(d.ticket("ada", "", time.Time{})); err != ErrUnheard {
			t.Errorf("silent for 6 s: %v", err)
		}
		if err := g.Renewed(d.ticket("ada", "", time.Time{})); err != ErrUnheard {
			t.Errorf("renewed when silent: %v", err)
		}
		g.want(t, "connections stay", 0)
		if err := trusting.Admit(d.ticket("ada", "", time.Time{})); err != nil {
			t.Errorf("the danger that was asked for: %v", err)
		}
		bus.set(func() { bus.silent = false })
		time.Sleep(time.Second)
		synctest.Wait()
		if err := d.Admit(d.ticket("ada", "", time.Time{})); err != nil {
			t.Errorf("heard again: %v", err)
		}
		if s := d.Stats(); s.Refused.Unheard != 1 || time.Since(s.Heard) > time.Second {
			t.Errorf("%+v", s)
		}
	})
}

func TestBusMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus fickleBus
		var reports []error
		report := func(err error) { reports = append(reports, err) }
		d := newDesk(t, Config{Bus: &bus, MissedSpread: 10 * time.Second, Report: report})
		d.follow()
		lost := errors.New("the store was emptied")
		var guests []*guest
		for range 10 {
			guests = append(guests, d.enter(d.ticket("ada", "", time.Time{})))
		}
		unspent := d.ticket("ada", "", time.Time{})
		bus.follower.Missed(lost)
		var missed *MissedError
		if len(reports) != 1 || !errors.As(reports[0], &missed) || !errors.Is(missed, lost) {
			t.Errorf("reports %v", reports)
		}
		if err := d.Admit(unspent); err != ErrForgotten {
			t.Errorf("an unspent ticket: %v", err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		newcomer := d.enter(d.ticket("ada", "", time.Time{}))
		if n := d.Stats().Connections; n < 4 || n > 7 {
			t.Errorf("half of the time, and %d of 11 are left", n)
		}
		time.Sleep(6 * time.Second)
		for _, g := range guests {
			g.want(t, "who may have been missed", GoingAway)
		}
		newcomer.want(t, "who came since", 0)
		if d.Stats().Missed != 1 {
			t.Errorf("%+v", d.Stats())
		}

		keeper := newDesk(t, Config{Bus: &bus, DangerouslyKeepMissed: true, Report: report})
		keeper.follow()
		g := keeper.enter(keeper.ticket("ada", "", time.Time{}))
		bus.follower.Missed(lost)
		time.Sleep(time.Hour)
		g.want(t, "the danger that was asked for", 0)
		if len(reports) != 2 {
			t.Errorf("reports %v", reports)
		}
	})
}

func TestBusBrings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bus fickleBus
		var reports []error
		d := newDesk(t, Config{Bus: &bus, Report: func(err error) { reports = append(reports, err) }})
		d.follow()
		g := d.enter(d.ticket("ada", "s", time.Time{}))
		for _, e := range []Ending{{}, {All: true}, {All: true, SessionID: "s", Cause: Ended, At: 1}} {
			bus.follower.Ended(e)
		}
		g.want(t, "after rubbish", 0)
		if len(reports) != 3 || d.Stats().Malformed != 3 {
			t.Errorf("reports %v", reports)
		}
		// A node whose clock is far ahead does not keep a subject out for long.
		bus.follower.Ended(Ending{Subject: "ada", Cause: Ended, At: time.Now().Unix() + 1e6})
		g.want(t, "by a clock that is ahead", Ended)
		time.Sleep(5 * time.Second)
		d.enter(d.ticket("ada", "s", time.Time{}))

		down := errors.New("down")
		bus.set(func() { bus.failing = down })
		g = d.enter(d.ticket("bob", "t", time.Time{}))
		if err := d.CloseSession(t.Context(), "t"); !errors.Is(err, down) {
			t.Errorf("a bus that is down: %v", err)
		}
		g.want(t, "here all the same", Ended)
	})
}
