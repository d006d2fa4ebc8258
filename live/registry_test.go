package live

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/wstickettest"
)

// A desk mints tickets and keeps a registry.
type desk struct {
	t   testing.TB
	kit *wstickettest.Kit
	*Registry
}

// newDesk makes a registry that trusts tickets of before its time.
func newDesk(t testing.TB, config Config) *desk {
	t.Helper()
	if config.Since.IsZero() {
		config.Since = time.Unix(0, 0)
	}
	r, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &desk{t, wstickettest.New(t, wsticket.VerifierConfig{Replay: wsticket.DangerouslyAllowReplay}), r}
}

// ticket is one that was minted now, and verified.
func (d *desk) ticket(subject, session string, end time.Time) *wsticket.Ticket {
	d.t.Helper()
	text := d.kit.Mint(time.Now(), wsticket.Claims{Subject: subject, SessionID: session, SessionExpires: end})
	t := new(wsticket.Ticket)
	if err := d.kit.Verifier.Peek(wsticket.Request{Ticket: []byte(text)}, t); err != nil {
		d.t.Fatal(err)
	}
	return t
}

// A guest is a connection that notes how it was ended.
type guest struct {
	*Conn
	mu     sync.Mutex
	causes []Cause
	when   time.Time
}

func (g *guest) end(c Cause) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.causes = append(g.causes, c)
	g.when = time.Now()
}

func (d *desk) enter(t *wsticket.Ticket) *guest {
	d.t.Helper()
	g, err := d.try(t)
	if err != nil {
		d.t.Fatal(err)
	}
	return g
}

func (d *desk) try(t *wsticket.Ticket) (*guest, error) {
	g := &guest{}
	c, err := d.Add(t, g.end)
	g.Conn = c
	return g, err
}

// want says how the guest must have been ended by now, 0 for not at all.
func (g *guest) want(t testing.TB, name string, cause Cause) {
	t.Helper()
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case cause == 0 && len(g.causes) > 0:
		t.Errorf("%s was ended: %v", name, g.causes)
	case cause != 0 && (len(g.causes) != 1 || g.causes[0] != cause):
		t.Errorf("%s was ended %v, want once by %v", name, g.causes, cause)
	}
}

func TestSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		time.Sleep(300 * time.Millisecond)
		end := time.Now().Truncate(time.Second).Add(3 * time.Second)
		soon := d.enter(d.ticket("ada", "s1", end))
		left := d.enter(d.ticket("ada", "s1", end))
		late := d.enter(d.ticket("ada", "s1", end.Add(slots*time.Second))) // the same slot
		never := d.enter(d.ticket("ada", "s1", time.Time{}))
		left.Remove()
		left.Remove()
		time.Sleep(time.Until(end) - time.Nanosecond)
		soon.want(t, "before its time", 0)
		time.Sleep(time.Millisecond)
		soon.want(t, "soon", Expired)
		if soon.when.Sub(end) > time.Millisecond {
			t.Errorf("ended %v late", soon.when.Sub(end))
		}
		time.Sleep(time.Hour)
		late.want(t, "late", 0)
		time.Sleep(time.Hour)
		late.want(t, "late", Expired)
		if late := late.when.Sub(end); late != slots*time.Second {
			t.Errorf("late after %v", late)
		}
		left.want(t, "left", 0)
		never.want(t, "never", 0)
		if _, err := d.try(d.ticket("ada", "s1", time.Now().Add(time.Second))); err != nil {
			t.Error(err)
		}
		passed := d.ticket("ada", "s1", time.Now().Add(time.Second))
		time.Sleep(time.Second)
		if _, err := d.try(passed); err != ErrExpired {
			t.Errorf("a session that has expired: %v", err)
		}
	})
}

func TestCloseSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{MaxTTL: 10 * time.Second})
		ended := func(name string, ticket *wsticket.Ticket) {
			t.Helper()
			if err := d.Admit(ticket); !errors.Is(err, ErrEnded) {
				t.Errorf("%s is admitted: %v", name, err)
			}
			if _, err := d.try(ticket); !errors.Is(err, ErrEnded) {
				t.Errorf("%s is added: %v", name, err)
			} else if code, _ := wsticket.CodeOf(err); code != wsticket.ErrExpired {
				t.Errorf("%s has the code %v", name, code)
			} else if cause, _ := CauseOf(err); cause != Ended {
				t.Errorf("%s has the cause %v", name, cause)
			}
		}
		tabs := []*guest{d.enter(d.ticket("ada", "s", time.Time{})), d.enter(d.ticket("ada", "s", time.Time{})), d.enter(d.ticket("bob", "s", time.Time{}))}
		other := d.enter(d.ticket("ada", "s2", time.Time{}))
		namesake := d.enter(d.ticket("s", "", time.Time{})) // a subject of that name
		unspent := d.ticket("ada", "s", time.Time{})
		if tabs[0].Ended() || other.Ended() {
			t.Error("one has ended before")
		}
		if err := d.CloseSession(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		for i, tab := range tabs { // at once, whether close was called already or not
			if !tab.Ended() {
				t.Errorf("tab %d has not ended when the call returns", i)
			}
		}
		if other.Ended() || namesake.Ended() {
			t.Error("another has ended")
		}
		for _, tab := range tabs {
			tab.want(t, "a tab", Ended)
			tab.Remove()
			if err := tab.Renewed(unspent); err != ErrEnded && err != errAnother {
				t.Errorf("renewed after the end: %v", err)
			}
		}
		other.want(t, "another session", 0)
		namesake.want(t, "a subject of the same name", 0)
		ended("a ticket minted before", unspent)
		ended("a ticket minted after", d.ticket("ada", "s", time.Time{}))
		if _, err := d.try(d.ticket("s", "", time.Time{})); err != nil {
			t.Error(err)
		}
		time.Sleep((10+2*2)*time.Second - time.Millisecond)
		ended("the last ticket that can be alive", unspent)
		time.Sleep(time.Millisecond)
		if err := d.Admit(d.ticket("ada", "s", time.Time{})); err != nil {
			t.Errorf("remembered for too long: %v", err)
		}
		if s := d.Stats(); s.Ended(Ended) != 3 || s.Refused.Ended != 6 || s.Connections != 3 || s.Removed != 3 || s.Sessions != 1 || s.Subjects != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestCloseSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		a, b := d.enter(d.ticket("ada", "s1", time.Time{})), d.enter(d.ticket("ada", "", time.Time{}))
		bob := d.enter(d.ticket("bob", "ada", time.Time{})) // a session of that name
		if err := d.CloseSubject(t.Context(), "ada"); err != nil {
			t.Fatal(err)
		}
		a.want(t, "with a session", Forbidden)
		b.want(t, "without", Forbidden)
		bob.want(t, "another", 0)
		for range 3 { // by a minter whose clock is ahead these may be from before
			if _, err := d.try(d.ticket("ada", "s9", time.Time{})); err != ErrEnded {
				t.Errorf("a ticket within the leeway: %v", err)
			}
			time.Sleep(time.Second)
		}
		again := d.enter(d.ticket("ada", "s1", time.Time{}))
		// The news may come twice, or late. Who came after stays.
		at := time.Now().Unix() - 3
		for range 2 {
			if err := d.End(t.Context(), Ending{Subject: "ada", Cause: Forbidden, At: at}); err != nil {
				t.Fatal(err)
			}
		}
		again.want(t, "who came after", 0)
	})
}

func TestEndAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		a, unspent := d.enter(d.ticket("ada", "s", time.Time{})), d.ticket("bob", "", time.Time{})
		if err := d.End(t.Context(), Ending{All: true, Cause: GoingAway}); err != nil {
			t.Fatal(err)
		}
		a.want(t, "all", GoingAway)
		if _, err := d.try(unspent); err != ErrEnded {
			t.Errorf("an unspent ticket: %v", err)
		}
		time.Sleep(3 * time.Second)
		b := d.enter(d.ticket("bob", "", time.Time{}))
		if err := d.End(t.Context(), Ending{All: true, At: time.Now().Unix() - 3}); err != nil {
			t.Fatal(err)
		}
		b.want(t, "who came after", 0)
		for _, bad := range []Ending{{}, {All: true, Subject: "ada"}, {SessionID: "s", At: -1}} {
			if d.End(t.Context(), bad) == nil {
				t.Errorf("%#v ends something", bad)
			}
		}
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{MaxPerSubject: 2, MaxConnections: 3})
		limited := func(subject string) {
			t.Helper()
			_, err := d.try(d.ticket(subject, "", time.Time{}))
			code, _ := wsticket.CodeOf(err)
			if cause, _ := CauseOf(err); err != ErrLimit || code != wsticket.ErrOverloaded || cause != Busy {
				t.Errorf("%s: %v", subject, err)
			}
		}
		a := d.enter(d.ticket("ada", "1", time.Time{}))
		d.enter(d.ticket("ada", "2", time.Time{}))
		limited("ada")
		if n := d.Count("ada"); n != 2 {
			t.Errorf("%d connections", n)
		}
		bob := d.enter(d.ticket("bob", "", time.Time{}))
		limited("carl")
		bob.Remove()
		a.Remove()
		d.enter(d.ticket("ada", "3", time.Time{}))
		limited("ada")
		if err := d.CloseSession(t.Context(), "2"); err != nil { // frees its place before it is removed
			t.Fatal(err)
		}
		d.enter(d.ticket("ada", "4", time.Time{}))
		if s := d.Stats(); s.Refused.Limit != 3 {
			t.Errorf("%+v", s)
		}
	})
}

func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		early := d.ticket("ada", "", time.Time{})
		r, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_, err := r.Add(early, func(Cause) {})
			if code, _ := wsticket.CodeOf(err); err != ErrForgotten || code != wsticket.ErrIssuedBeforeStart {
				t.Errorf("a ticket of before: %v", err)
			}
			time.Sleep(time.Second)
			early = d.ticket("ada", "", time.Time{})
		}
		if _, err := r.Add(early, func(Cause) {}); err != nil {
			t.Error(err)
		}
	})
}

// TestForgetting: memory for ended sessions is bounded, and what is forgotten lets
// nobody in.
func TestForgetting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{MaxEnded: 100})
		var unspent []*wsticket.Ticket
		for i := range 1000 {
			session := fmt.Sprint("s", i)
			unspent = append(unspent, d.ticket("ada", session, time.Time{}))
			if err := d.CloseSession(t.Context(), session); err != nil {
				t.Fatal(err)
			}
			if n := d.Stats().Remembered; n > 100 {
				t.Fatalf("%d are remembered", n)
			}
			time.Sleep(10 * time.Millisecond)
		}
		for i, ticket := range unspent {
			if err := d.Admit(ticket); err != ErrEnded && err != ErrForgotten {
				t.Fatalf("number %d gets in: %v", i, err)
			}
		}
		if s := d.Stats(); s.ForgottenEarly < 800 || s.Refused.Forgotten == 0 {
			t.Errorf("%+v", s)
		}
		time.Sleep(3 * time.Second)
		d.enter(d.ticket("ada", "s1", time.Time{})) // a fresh one, of a session that was forgotten
		// With the time all of it goes.
		for range 3 {
			time.Sleep(2 * time.Minute)
			if err := d.Admit(d.ticket("ada", "", time.Time{})); err != nil {
				t.Fatal(err)
			}
		}
		if n := d.Stats().Remembered; n != 0 {
			t.Errorf("%d are remembered for ever", n)
		}
	})
}

// TestEndedOracle: random endings and checks, on a clock that jumps, against one that
// forgets nothing.
func TestEndedOracle(t *testing.T) {
	for run := range 200 {
		rng := newRand(uint64(run))
		const leeway, ttl = 2, 10
		var e ended
		e.init(2+int(rng.Uint64N(20)), ttl+2*leeway, leeway)
		e.floor = never
		type past struct{ at int64 }
		sessions, subjects := map[string]past{}, map[string]past{}
		now := int64(1_000_000)
		for range 2000 {
			switch rng.Uint64N(20) {
			case 0:
				now += int64(rng.Uint64N(40))
			case 1:
				now -= int64(rng.Uint64N(40))
			}
			name := fmt.Sprint(rng.Uint64N(40))
			if rng.Uint64N(3) == 0 {
				if rng.Uint64N(2) == 0 {
					e.note(now, sessionKey(hash([]byte(name))), now)
					sessions[name] = past{now}
				} else {
					e.note(now, subjectKey(hash([]byte(name))), now)
					subjects[name] = past{now}
				}
				continue
			}
			// A ticket that a verifier takes now: minted before some ending.
			issued := now + leeway - int64(rng.Uint64N(ttl+2*leeway))
			subject := fmt.Sprint(rng.Uint64N(40))
			must := false
			if p, ok := sessions[name]; ok && issued <= p.at+leeway {
				must = true
			}
			if p, ok := subjects[subject]; ok && issued <= p.at+leeway {
				must = true
			}
			err := e.check(now, issued, hash([]byte(subject)), hash([]byte(name)))
			if must && err == nil {
				t.Fatalf("run %d: a ticket of %d gets in at %d", run, issued, now)
			}
			if e.size() > 2*e.limit {
				t.Fatalf("run %d: %d entries", run, e.size())
			}
		}
	}
}

// TestEndingWhileAhead: an ending that arrives while this node's clock is ahead counts
// when the clock is right again.
func TestEndingWhileAhead(t *testing.T) {
	const now, leeway, ttl = 1_000_000, 2, 10
	var e ended
	e.init(10, ttl+2*leeway, leeway)
	e.floor = never
	e.note(now+3600, sessionKey(hash([]byte("s"))), now)
	if err := e.check(now+1, now-1, hash([]byte("ada")), hash([]byte("s"))); err == nil {
		t.Error("a ticket that was minted before its session ended gets in")
	}
	if err := e.check(now+5, now+5, hash([]byte("ada")), hash([]byte("other"))); err != nil {
		t.Errorf("a fresh ticket: %v", err)
	}
}

// TestEndingAhead: an ending by a clock that is wrong by an hour keeps nobody out for an
// hour.
func TestEndingAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		before := d.ticket("ada", "", time.Time{})
		if err := d.End(t.Context(), Ending{Subject: "ada", Cause: Forbidden, At: time.Now().Unix() + 3600}); err != nil {
			t.Fatal(err)
		}
		if _, err := d.try(before); err != ErrEnded {
			t.Errorf("a ticket of before: %v", err)
		}
		time.Sleep(5 * time.Second) // the leeway of the clocks, twice, and a second
		d.enter(d.ticket("ada", "", time.Time{})).Remove()
	})
}

func TestRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		end := time.Now().Truncate(time.Second).Add(10 * time.Second)
		g := d.enter(d.ticket("ada", "s", end))
		time.Sleep(5 * time.Second)
		for name, ticket := range map[string]*wsticket.Ticket{
			"another subject": d.ticket("bob", "s", time.Time{}), "another session": d.ticket("ada", "t", time.Time{}),
			"no session": d.ticket("ada", "", time.Time{}), "the border moved": d.ticket("adas", "", time.Time{}),
		} {
			if code, _ := wsticket.CodeOf(g.Renewed(ticket)); code != wsticket.ErrUnauthorized {
				t.Errorf("%s: %v", name, code)
			}
		}
		late := d.ticket("ada", "s", time.Now().Add(time.Second))
		time.Sleep(time.Second)
		if err := g.Renewed(late); err != ErrExpired {
			t.Errorf("renewed by a ticket whose session is over: %v", err)
		}
		if err := g.Renewed(d.ticket("ada", "s", end.Add(10*time.Second))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		g.want(t, "renewed", 0)
		time.Sleep(5 * time.Second)
		g.want(t, "at its new end", Expired)
		if g.when != end.Add(10*time.Second) {
			t.Errorf("ended at %v", g.when)
		}
		if err := g.Renewed(d.ticket("ada", "s", time.Time{})); err != ErrEnded {
			t.Errorf("renewed after the end: %v", err)
		}

		// Late news of the subject spare a connection that was renewed since.
		g = d.enter(d.ticket("ada", "s", time.Time{}))
		at := time.Now().Unix()
		time.Sleep(5 * time.Second)
		if err := g.Renewed(d.ticket("ada", "s", time.Time{})); err != nil {
			t.Fatal(err)
		}
		d.End(t.Context(), Ending{Subject: "ada", Cause: Forbidden, At: at})
		g.want(t, "renewed since", 0)
		g.Remove()
		if err := g.Renewed(d.ticket("ada", "s", time.Time{})); err != ErrEnded {
			t.Errorf("renewed after Remove: %v", err)
		}
	})
}

// TestSpread: every second of the spread ends its share.
func TestSpread(t *testing.T) {
	for name, end := range map[string]func(*desk, time.Duration) error{
		"CloseAll": func(d *desk, spread time.Duration) error { d.CloseAll(spread); return nil },
		"End": func(d *desk, spread time.Duration) error {
			return d.End(context.Background(), Ending{All: true, Cause: GoingAway, Spread: spread})
		},
		"subject": func(d *desk, spread time.Duration) error {
			return d.End(context.Background(), Ending{Subject: "ada", Cause: GoingAway, Spread: spread})
		},
		"session": func(d *desk, spread time.Duration) error {
			return d.End(context.Background(), Ending{SessionID: "s", Cause: GoingAway, Spread: spread})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const seconds = 5
				n := 100_000
				if raceEnabled {
					n = 5000
				}
				d := newDesk(t, Config{})
				ticket := d.ticket("ada", "s", time.Time{})
				var mu sync.Mutex
				var ended [seconds + 2]int
				var began time.Time
				for range n {
					if _, err := d.Add(ticket, func(Cause) {
						mu.Lock()
						defer mu.Unlock()
						ended[int((time.Since(began)-time.Nanosecond)/time.Second)]++
					}); err != nil {
						t.Fatal(err)
					}
				}
				began = time.Now()
				if err := end(d, seconds*time.Second); err != nil {
					t.Fatal(err)
				}
				bob := func() *guest { return d.enter(newDesk(t, Config{}).ticket("bob", "", time.Time{})) }
				var newcomers []*guest
				time.Sleep(time.Second)
				if name == "CloseAll" { // End counts in who came within the leeway
					newcomers = append(newcomers, bob()) // where the sweep is yet to come
				}
				time.Sleep(3 * time.Second)
				newcomers = append(newcomers, bob())
				time.Sleep(seconds * time.Second)
				synctest.Wait()
				for second, got := range ended {
					if want := n / seconds; second < seconds && (got < want*9/10 || got > want*11/10) || second >= seconds && got > 0 {
						t.Errorf("%v, want %d in each of %d", ended, want, seconds)
						break
					}
				}
				for _, newcomer := range newcomers {
					newcomer.want(t, "who came meanwhile", 0)
				}
				if left := d.Stats().Connections; left != len(newcomers) {
					t.Errorf("%d are left", left)
				}
			})
		})
	}
}

// TestRenewedWhileSwept: a connection that changes its slot does not get away.
func TestRenewedWhileSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		base := time.Now().Truncate(time.Second)
		var guests []*guest
		for i := range 100 {
			guests = append(guests, d.enter(d.ticket("ada", "s", base.Add(time.Duration(1000+i)*time.Second))))
		}
		d.CloseAll(10 * time.Second)
		for range 9 {
			time.Sleep(time.Second)
			for i, g := range guests {
				g.Renewed(d.ticket("ada", "s", base.Add(time.Duration(900+7*i)*time.Second)))
			}
		}
		time.Sleep(2 * time.Second)
		for _, g := range guests {
			g.want(t, "renewed meanwhile", GoingAway)
		}
	})
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		a, b := d.enter(d.ticket("ada", "", time.Time{})), d.enter(d.ticket("bob", "", time.Time{}))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if err := d.Shutdown(ctx, time.Second); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it does not wait: %v", err)
		}
		if time.Since(began) != 3*time.Second {
			t.Errorf("after %v", time.Since(began))
		}
		a.want(t, "a", GoingAway)
		b.want(t, "b", GoingAway)
		if _, err := d.try(d.ticket("carl", "", time.Time{})); err != ErrShutdown {
			t.Errorf("after Shutdown: %v", err)
		}
		a.Remove()
		time.AfterFunc(2*time.Second, b.Remove)
		began = time.Now()
		if err := d.Shutdown(t.Context(), 0); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := newDesk(t, Config{}).Shutdown(t.Context(), time.Hour); err != nil {
			t.Error(err)
		}
	})
}

func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		ctx, c, err := d.Context(t.Context(), d.ticket("ada", "s", time.Time{}))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Remove()
		if ctx.Err() != nil {
			t.Error("ended at once")
		}
		d.CloseSession(t.Context(), "s")
		<-ctx.Done()
		if cause, ok := CauseOf(context.Cause(ctx)); !ok || cause != Ended {
			t.Errorf("ended by %v", context.Cause(ctx))
		}
		ctx, c, err = d.Context(t.Context(), d.ticket("bob", "", time.Time{}))
		if err != nil {
			t.Fatal(err)
		}
		c.Remove()
		if cause, ok := CauseOf(context.Cause(ctx)); ok || ctx.Err() == nil {
			t.Errorf("after Remove: %v", cause)
		}
		if _, _, err := d.Context(t.Context(), d.ticket("ada", "s", time.Time{})); err != ErrEnded {
			t.Error(err)
		}
	})
}

func TestAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		end := time.Now().Truncate(time.Second).Add(time.Hour)
		for i := range 3 * step {
			d.enter(d.ticket(fmt.Sprint("sub", i%7), fmt.Sprint("s", i), end))
		}
		d.enter(d.ticket("ada", "", time.Time{}))
		seen, endless := map[string]int{}, 0
		for info := range d.All() {
			seen[info.SessionID]++
			if info.Ends.IsZero() {
				endless++
			} else if !info.Ends.Equal(end) {
				t.Errorf("ends %v, want %v", info.Ends, end)
			}
			if age := time.Since(info.Issued); age < 0 || age > time.Second || info.Subject == "" {
				t.Errorf("%+v", info)
			}
		}
		if len(seen) != 3*step+1 || endless != 1 {
			t.Errorf("%d seen, %d without end", len(seen), endless)
		}
		for range d.All() {
			break
		}
	})
}

func TestNew(t *testing.T) {
	_, err := New(Config{MaxTTL: -1, Leeway: time.Millisecond, MaxPerSubject: -1, MaxConnections: -1, MaxEnded: 1,
		Since: time.Unix(-1, 0), MaxSilence: time.Second, MissedSpread: -1})
	for _, field := range []string{"MaxTTL", "Leeway", "MaxPerSubject", "MaxConnections", "MaxEnded", "Since", "MaxSilence", "MissedSpread"} {
		if err == nil || !strings.Contains(err.Error(), field+" ") {
			t.Errorf("%s is not among the faults: %v", field, err)
		}
	}
	r, err := New(Config{Leeway: wsticket.NoLeeway})
	if err != nil || r.leeway != 0 || r.window != 60 {
		t.Errorf("leeway %d, window %d, %v", r.leeway, r.window, err)
	}
	if err := r.Follow(context.Background()); err == nil {
		t.Error("it follows no bus")
	}
}
