package etcdguard

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/wsticket/wsticket"
)

// The store is put back to what it was before some tickets were accepted, in every way
// that it can be. None of them gets in again: not where it was accepted, not on another
// node, not on one that has just started. Tickets that are minted later get in.
func TestStoreThatForgot(t *testing.T) {
	slow(t)
	for _, way := range []struct {
		name   string
		backup func(*cluster)
		lose   func(*cluster)
		quiet  bool // nobody adds beats, so that only the revision tells
		beyond bool // others write until the revision is beyond the old one
		alone  bool // all guards are new, so that none remembers
	}{
		{name: "backup restored", backup: (*cluster).backup, lose: (*cluster).restore},
		{name: "backup restored, revision beyond", backup: (*cluster).backup, lose: (*cluster).restore, beyond: true},
		{name: "backup restored, no beat since", backup: (*cluster).backup, lose: (*cluster).restore, quiet: true},
		{name: "backup restored, all guards new", backup: (*cluster).backup, lose: (*cluster).restore, alone: true},
		{name: "begun anew", lose: (*cluster).restore},
		{name: "begun anew, revision beyond", lose: (*cluster).restore, beyond: true},
		{name: "another cluster", lose: func(c *cluster) { c.token = "two"; c.restore() }, beyond: true},
		{name: "prefix deleted", lose: func(c *cluster) {
			c.do(func(ctx context.Context, client *clientv3.Client) error {
				_, err := client.Delete(ctx, defaultPrefix, clientv3.WithPrefix())
				return err
			})
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 1)
			l := newLedger(t)
			guards := old(t, 2, Config{URL: c.url(), Leeway: time.Second, MaxSkew: time.Second})
			if way.quiet {
				for _, g := range guards {
					g.history.mu.Lock()
					g.history.beatAt = time.Now().Add(time.Hour)
					g.history.mu.Unlock()
				}
			} else {
				awaitBeat(t, guards...) // both have seen one, and it says since when they know the store
			}
			if way.backup != nil {
				// The slot is open by then, so that its lease is in the backup.
				if err := l.show(t.Context(), guards[0], lasting()); err != nil {
					t.Fatal(err)
				}
				way.backup(c)
			}
			if !way.quiet {
				awaitBeat(t, guards...)
			}
			var before []wsticket.Use
			for n := range 20 {
				use := lasting()
				if err := l.show(t.Context(), guards[n%2], use); err != nil {
					t.Fatal(err)
				}
				before = append(before, use)
			}
			watched := guards
			if way.alone {
				for _, g := range guards {
					g.Close()
				}
				guards, watched = nil, nil
			}
			way.lose(c)
			if way.beyond {
				c.do(func(ctx context.Context, client *clientv3.Client) error {
					for range 3000 {
						if _, err := client.Put(ctx, "else", ""); err != nil {
							return err
						}
					}
					return nil
				})
			}
			for range 2 {
				guards = append(guards, newGuard(t, Config{URL: c.url(), Leeway: time.Second, MaxSkew: time.Second}))
			}
			deadline := time.Now().Add(20 * time.Second)
			for ready := 0; ready < len(guards); {
				if time.Now().After(deadline) {
					t.Fatal("tickets that are minted later do not get in")
				}
				for n, use := range before {
					use.Now = time.Now().Unix()
					l.show(t.Context(), guards[n%len(guards)], use)
					l.show(t.Context(), guards[(n+1)%len(guards)], use)
				}
				if l.show(t.Context(), guards[ready], lasting()) == nil {
					ready++
				}
				time.Sleep(5 * time.Millisecond)
			}
			for i, g := range watched {
				if s := g.Stats(); s.Moved == 0 {
					t.Errorf("guard %d has not noticed: %+v", i, s)
				}
			}
		})
	}
}

// lasting is a use of a fresh ticket that outlives a test of some seconds; all of one
// minute share their slot.
func lasting() wsticket.Use {
	use := fresh()
	use.Expires = (use.Issued/60 + 1) * 60
	if use.Expires-use.Issued < 30 {
		use.Expires += 30
	}
	return use
}

// awaitBeat waits until each guard has seen a new beat.
func awaitBeat(t testing.TB, guards ...*Guard) {
	t.Helper()
	began := time.Now()
	for _, g := range guards {
		for !g.Stats().LastBeat.After(began) {
			if time.Since(began) > 10*time.Second {
				t.Fatal("there is no beat")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// A guard that comes to others takes over what they know; one that comes alone does not
// believe what it finds.
func TestNewcomer(t *testing.T) {
	slow(t)
	c := startCluster(t, 1)
	veteran := old(t, 1, Config{URL: c.url()})[0]
	awaitBeat(t, veteran) // it says since when it knows the store
	newcomer := newGuard(t, Config{URL: c.url()})
	if at := newcomer.ReadyAt(); time.Until(at) < 5*time.Second {
		t.Errorf("a newcomer is ready at once: in %v", time.Until(at))
	}
	use := fresh()
	if err := newcomer.Spend(t.Context(), use); !errors.Is(err, wsticket.ErrIssuedBeforeStart) {
		t.Errorf("%v, want %v", err, wsticket.ErrIssuedBeforeStart)
	}
	for began := time.Now(); newcomer.ReadyAt().After(time.Now()); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatal("the newcomer does not take over what the other one knows")
		}
	}
	if err := newcomer.Spend(t.Context(), use); err != nil {
		t.Error(err)
	}
	veteran.Close()
	newcomer.Close()
	alone := newGuard(t, Config{URL: c.url()})
	since := alone.Stats().Since
	awaitBeat(t, alone)
	if s := alone.Stats(); s.Since != since || time.Since(s.Since) > time.Minute {
		t.Errorf("alone it knows the store since %v, before %v", s.Since, since)
	}
}

// An answer is compared with what was known when it was asked for.
func TestJudge(t *testing.T) {
	kv := func(modified int64, beats ...string) *mvccpb.KeyValue {
		return &mvccpb.KeyValue{Value: []byte(state{since: 500, beats: beats}.text()), ModRevision: modified}
	}
	const a, b, c = "aaaaaaaa00000001", "bbbbbbbb00000002", "cccccccc00000003"
	for _, test := range []struct {
		name     string
		cluster  uint64
		revision int64
		kv       *mvccpb.KeyValue
		whole    bool
	}{
		{"the same", 7, 100, kv(90, b, a), true},
		{"later", 7, 200, kv(190, c, b, a), true},
		{"another cluster", 8, 200, kv(190, c, b, a), false},
		{"a lower revision", 7, 99, kv(90, b, a), false},
		{"a chain without the beat", 7, 200, kv(190, c, a), false},
		{"no state", 7, 200, nil, false},
		{"no state that a guard wrote", 7, 200, &mvccpb.KeyValue{Value: []byte("x"), ModRevision: 190}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var h history
			told := 0
			h.init(6, time.Unix(1000, 0), func() { told++ })
			if !h.judge(h.known(), &etcdserverpb.ResponseHeader{ClusterId: 7, Revision: 100}, kv(90, b, a)) || h.tooEarly(1007) || !h.tooEarly(1006) {
				t.Fatal("the first answer is not taken for what it is")
			}
			k := h.known()
			began := time.Now().Unix()
			whole := h.judge(k, &etcdserverpb.ResponseHeader{ClusterId: test.cluster, Revision: test.revision}, test.kv)
			if whole != test.whole {
				t.Errorf("whole: %t", whole)
			}
			if moved := h.sinceNow() >= began; moved == test.whole || (told == 1) == test.whole {
				t.Errorf("known since %d, told %d times", h.sinceNow(), told)
			}
			// What was asked before that does not move it again.
			since := h.sinceNow()
			if h.judge(k, &etcdserverpb.ResponseHeader{ClusterId: 9, Revision: 1}, nil) {
				t.Error("a third store passes")
			}
			if !test.whole && (h.sinceNow() != since || told != 1) {
				t.Error("it is moved twice for one thing")
			}
		})
	}
}

// What overtakes an answer does not count against it.
func TestAnswersOvertake(t *testing.T) {
	var h history
	h.init(6, time.Unix(1000, 0), func() { t.Error("moved") })
	state := func(modified int64, beats ...string) *mvccpb.KeyValue {
		return &mvccpb.KeyValue{Value: []byte(state{since: 500, beats: beats}.text()), ModRevision: modified}
	}
	header := func(revision int64) *etcdserverpb.ResponseHeader {
		return &etcdserverpb.ResponseHeader{ClusterId: 7, Revision: revision}
	}
	const a, b = "aaaaaaaa00000001", "bbbbbbbb00000002"
	h.judge(h.known(), header(10), state(9, a))
	early, later := h.known(), h.known()
	if !h.judge(later, header(20), state(19, b, a)) || !h.judge(early, header(11), state(9, a)) {
		t.Error("an answer that was overtaken is not whole")
	}
	if k := h.known(); k.revision != 20 || k.beat != b {
		t.Errorf("what is known goes back: %+v", k)
	}
	if h.sinceNow() != 500 {
		t.Errorf("known since %d, want what another guard says in a beat that came after us", h.sinceNow())
	}
}

func TestReadState(t *testing.T) {
	beat := "0123456789abcdef"
	for text, good := range map[string]bool{
		fixed(0) + " " + fixed(1795219200) + " " + beat:                  true,
		fixed(timeEnd) + " " + fixed(timeEnd) + " " + beat + " " + beat:  true,
		fixed(1) + " " + fixed(1) + strings.Repeat(" "+beat, chainLen):   true,
		fixed(1) + " " + fixed(1) + strings.Repeat(" "+beat, chainLen+1): false,
		"":                              false,
		fixed(1) + " " + fixed(1):       false,
		fixed(1) + " " + fixed(1) + " ": false,
		"1 " + fixed(1) + " " + beat:    false,
		fixed(timeEnd+1) + " " + fixed(1) + " " + beat:   false,
		"-00000000000001 " + fixed(1) + " " + beat:       false,
		fixed(1) + " " + fixed(1) + " " + beat[1:]:       false,
		fixed(1) + " " + fixed(1) + " " + beat[1:] + "g": false,
		fixed(1) + " " + fixed(1) + " " + beat + "\n":    false,
		" " + fixed(1) + " " + fixed(1) + " " + beat:     false,
	} {
		s, err := readState(&mvccpb.KeyValue{Value: []byte(text)})
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil && s.text() != text {
			t.Errorf("%q comes out as %q", text, s.text())
		}
	}
	if s, err := readState(nil); err != nil || len(s.beats) != 0 {
		t.Errorf("no key: %v, %v", s, err)
	}
}

func FuzzReadState(f *testing.F) {
	f.Add([]byte(fixed(1) + " " + fixed(1795219200) + " 0123456789abcdef 0123456789abcdef"))
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := readState(&mvccpb.KeyValue{Value: value})
		if err == nil && s.text() != string(value) {
			t.Errorf("%q comes out as %q", value, s.text())
		}
	})
}

// The condition of opening a slot compares the state as text.
func TestFloorSortsAsText(t *testing.T) {
	for _, floor := range []int64{0, 9, 10, 1795219200, timeEnd} {
		s := state{floor: floor, beats: []string{"0123456789abcdef"}}
		for _, second := range []int64{floor - 1, floor, floor + 1} {
			if second >= 0 && (s.text() < fixed(second)) != (floor < second) {
				t.Errorf("floor %d, slot %d", floor, second)
			}
		}
	}
}

// The chain holds the newest beats, and each once.
func TestChain(t *testing.T) {
	var h history
	h.init(1, time.Unix(1000, 0), func() {})
	s := state{}
	for n := range 3 * chainLen {
		s = h.next(s)
		if len(s.beats) != min(n+1, chainLen) || s.since != 1000 {
			t.Fatalf("after %d: %+v", n+1, s)
		}
	}
	seen := map[string]bool{}
	for i, b := range s.beats {
		if seen[b] || len(b) != beatLen || b != fmt.Sprintf("%s%08x", h.name, 3*chainLen-i) {
			t.Errorf("beat %d is %s", i, b)
		}
		seen[b] = true
	}
}
