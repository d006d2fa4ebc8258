package live

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsticket/wsticket"
)

// TestTextLengths: a connection is found by its subject and its session, renewed and
// removed, however long the two are: none, where they just fit into a Conn and where
// they do not any more, and as long as a ticket can have them.
func TestTextLengths(t *testing.T) {
	d := newDesk(t, Config{MaxPerSubject: 2})
	lengths := []int{0, 1, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, textLen - 1, textLen, textLen + 1, 127, 128, 129, 254, 255, 256, 257, 1000}
	for _, total := range lengths {
		for _, subject := range []int{1, total / 2, total - 1, total} {
			if subject < 1 || subject > total {
				continue // a ticket has a subject
			}
			name := fmt.Sprintf("%d and %d", subject, total-subject)
			sub, sid := strings.Repeat("s", subject), strings.Repeat("i", total-subject)
			ticket := d.ticket(sub, sid, time.Now().Add(time.Hour))
			one, two := d.enter(ticket), d.enter(ticket)
			if one.Subject() != sub || one.SessionID() != sid {
				t.Fatalf("%s: %q and %q", name, one.Subject(), one.SessionID())
			}
			for info := range d.All() {
				if info.Subject != sub || info.SessionID != sid {
					t.Fatalf("%s: All tells %+v", name, info)
				}
			}
			if n := d.Count(sub); n != 2 {
				t.Errorf("%s: %d of the subject, want 2", name, n)
			}
			if _, err := d.try(ticket); err != ErrLimit {
				t.Errorf("%s: one too many: %v", name, err)
			}
			if err := one.Renewed(ticket); err != nil {
				t.Errorf("%s: renewed: %v", name, err)
			}
			for _, other := range []*wsticket.Ticket{d.ticket(sub+"x", sid, time.Time{}), d.ticket(sub, sid+"x", time.Time{})} {
				if err := one.Renewed(other); err != errAnother {
					t.Errorf("%s: renewed by another: %v", name, err)
				}
			}
			sessions := 1
			if sid == "" {
				sessions = 0
			}
			one.Remove()
			d.check(name, 1, sessions, two.Conn)
			two.Remove()
			d.check(name, 0, 0)
		}
	}
}

// TestTextWithoutSubject: the tickets of other minters may have none. It is in no group
// of those.
func TestTextWithoutSubject(t *testing.T) {
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t: t, Registry: r}
	for _, n := range []int{0, 1, textLen - 1, textLen, textLen + 1, 1000} {
		c := r.newConn(nil, []byte(strings.Repeat("i", n)))
		if c.Subject() != "" || len(c.SessionID()) != n {
			t.Fatalf("%q and %q", c.Subject(), c.SessionID())
		}
		d.lock()
		c.end = r.soon()
		groups := 0
		if n > 0 {
			leader, h := r.sessions.find([]byte(c.SessionID()))
			r.sessions.insert(c, leader, h)
			groups = 1
		}
		r.wheel.insert(time.Now(), c, r.base)
		r.stats.added++
		d.mu.Unlock()
		if s := d.Stats(); s.Connections != 1 || s.Sessions != groups || s.Subjects != 0 {
			t.Errorf("%d: %+v", n, s)
		}
		c.Remove()
		d.check(strconv.Itoa(n), 0, 0)
	}
}

// check compares what the registry counts, and its indexes where each connection has a
// session and a subject.
func (d *desk) check(name string, connections, sessions int, all ...*Conn) {
	d.t.Helper()
	s := d.Stats()
	if s.Connections != connections || s.Subjects != connections || s.Sessions != sessions {
		d.t.Errorf("%s: %+v", name, s)
	}
	if sessions == connections {
		d.lock()
		defer d.mu.Unlock()
		checkIndexes(d.t, d.Registry, all)
	}
}

// TestTextBorder: subject and session lie behind each other, and where one ends and the
// other begins tells connections apart, of any length.
func TestTextBorder(t *testing.T) {
	d := newDesk(t, Config{})
	for _, n := range []int{10, textLen, textLen + 1, 300} {
		text := strings.Repeat("ab", n)[:n]
		var guests []*guest
		for at := 1; at < n; at++ {
			guests = append(guests, d.enter(d.ticket(text[:at], text[at:], time.Time{})))
		}
		for at, g := range guests {
			if got := d.Count(text[:at+1]); got != 1 {
				t.Fatalf("%d connections of the subject of %d bytes", got, at+1)
			}
			g.Remove()
			if got := d.Count(text[:at+1]); got != 0 {
				t.Fatalf("%d connections of the subject of %d bytes", got, at+1)
			}
		}
	}
}

// TestAddAllocs: Add makes one object of a connection whose text is not long.
func TestAddAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	d := newDesk(t, Config{})
	for _, c := range []struct{ subject, session, allocs int }{
		{1, 0, 1}, {20, 22, 1}, {36, 36, 1}, {textLen, 0, 1}, {1, textLen - 1, 1}, {textLen, 1, 4},
	} {
		ticket := d.ticket(strings.Repeat("s", c.subject), strings.Repeat("i", c.session), time.Now().Add(time.Hour))
		got := testing.AllocsPerRun(1000, func() {
			conn, err := d.Add(ticket, noClose)
			if err != nil {
				t.Fatal(err)
			}
			conn.Remove()
		})
		if got != float64(c.allocs) {
			t.Errorf("%d and %d bytes: %v allocations, want %d", c.subject, c.session, got, c.allocs)
		}
	}
}

// TestLines: a bucket is one line of the cache and begins where one begins; a Conn is of
// a size that the allocator has.
func TestLines(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("a pointer has fewer bytes here")
	}
	if size := reflect.TypeFor[Conn]().Size(); size != 160 {
		t.Errorf("a Conn has %d bytes", size)
	}
	const line = 64
	if size := reflect.TypeFor[bucket]().Size(); size != line {
		t.Errorf("a bucket has %d bytes", size)
	}
	c := newCrowd(t, 10_000)
	for i, s := range c.sessions.segments {
		if at := reflect.ValueOf(s).Pointer(); at%line != 0 {
			t.Errorf("segment %d is at %#x", i, at)
		}
	}
}

// TestRemovedIsLetGo: the connection that was removed last is not kept until somebody
// comes.
func TestRemovedIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, Config{})
		g := d.enter(d.ticket("ada", "s", time.Now().Add(time.Hour)))
		time.Sleep(100 * time.Millisecond)
		g.Remove()
		time.Sleep(time.Second)
		synctest.Wait()
		d.mu.Lock() // and not lock, which would take it out
		defer d.mu.Unlock()
		if d.left.conn != nil || d.wheel.n != 0 || d.wheel.ticks {
			t.Errorf("kept: %+v, %d in the wheel, which ticks: %v", d.left, d.wheel.n, d.wheel.ticks)
		}
	})
}

// TestComeAndGo: random comings and goings against a list, with whatever else looks at
// the registry right after Remove, which leaves its work to the next who comes.
func TestComeAndGo(t *testing.T) {
	d := newDesk(t, Config{})
	var tickets []*wsticket.Ticket
	rng := newRand(3)
	for i := range 300 {
		subject, session := fmt.Sprint("sub", rng.IntN(40)), fmt.Sprint("s", rng.IntN(100))
		if i%7 == 0 {
			session += strings.Repeat("x", textLen)
		}
		tickets = append(tickets, d.ticket(subject, session, time.Now().Add(time.Hour+time.Duration(rng.IntN(5))*time.Second)))
	}
	var all []*Conn
	of := map[string]int{}
	left := ""
	for i := range 30_000 {
		switch {
		case len(all) == 0 || rng.IntN(100) < 50-i/5000:
			ticket := tickets[rng.IntN(len(tickets))]
			all = append(all, d.enter(ticket).Conn)
			of[string(ticket.Subject())]++
		default:
			n := rng.IntN(len(all))
			left = all[n].Subject()
			of[left]--
			all[n].Remove()
			all = slices.Delete(all, n, n+1)
		}
		switch rng.IntN(20) {
		case 0:
			if n := d.Count(left); n != of[left] {
				t.Fatalf("%d of a subject, want %d", n, of[left])
			}
		case 1:
			if s := d.Stats(); s.Connections != len(all) || s.Added-s.Removed != uint64(len(all)) {
				t.Fatalf("%+v, want %d", s, len(all))
			}
		case 2:
			if len(all) > 0 {
				c := all[rng.IntN(len(all))]
				for _, ticket := range tickets {
					if string(ticket.Subject()) == c.Subject() && string(ticket.SessionID()) == c.SessionID() {
						if err := c.Renewed(ticket); err != nil {
							t.Fatal(err)
						}
						break
					}
				}
			}
		case 3:
			if i%10 == 0 {
				n := 0
				for range d.All() {
					n++
				}
				if n != len(all) {
					t.Fatalf("All tells of %d, want %d", n, len(all))
				}
			}
		case 4:
			if i%10 == 0 {
				d.lock()
				checkIndexes(t, d.Registry, all)
				d.mu.Unlock()
			}
		}
	}
}
