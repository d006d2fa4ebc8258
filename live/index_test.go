package live

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func (r *Registry) put(c *Conn) {
	leader, h := r.sessions.find([]byte(c.SessionID()))
	r.sessions.insert(c, leader, h)
	leader, h = r.subjects.find([]byte(c.Subject()))
	r.subjects.insert(c, leader, h)
	r.wheel.insert(time.Now(), c, r.base)
}

// soon is in an hour.
func (r *Registry) soon() uint32 { return uint32(time.Now().Unix() - r.base + 3600) }

// TestIndexes: random comings and goings against maps.
func TestIndexes(t *testing.T) {
	r, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	r.lock() // the timer goes off
	defer r.mu.Unlock()
	var all []*Conn
	rng := newRand(1)
	const steps = 60_000
	for i := range steps {
		grow := uint64(6)
		if i > steps/2 {
			grow = 4 // and then it shrinks
		}
		if len(all) == 0 || rng.Uint64N(10) < grow {
			sub, sid := fmt.Sprint(rng.Uint64N(3000)), fmt.Sprint(rng.Uint64N(1<<40))
			if rng.Uint64N(4) == 0 {
				sid = fmt.Sprint(rng.Uint64N(10))
			}
			c := r.newConn([]byte(sub), []byte(sid))
			c.end = r.soon() + uint32(rng.Uint64N(1<<16))
			r.put(c)
			all = append(all, c)
		} else {
			n := rng.IntN(len(all))
			r.drop(all[n])
			all = slices.Delete(all, n, n+1)
		}
		if i%(steps/10) == 0 {
			checkIndexes(t, r, all)
		}
	}
	checkIndexes(t, r, all)
	for _, c := range all {
		r.drop(c)
	}
	checkIndexes(t, r, nil)
}

func checkIndexes(t testing.TB, r *Registry, all []*Conn) {
	t.Helper()
	for _, index := range []*table{&r.sessions, &r.subjects} {
		want := map[string]map[*Conn]bool{}
		for _, c := range all {
			key := string(index.key(c))
			if want[key] == nil {
				want[key] = map[*Conn]bool{}
			}
			want[key][c] = true
		}
		if int(index.groups) != len(want) {
			t.Fatalf("%d groups, want %d", index.groups, len(want))
		}
		for key, group := range want {
			got := 0
			leader, _ := index.find([]byte(key))
			for c := leader; c != nil; c = c.by[index.index].next {
				if !group[c] {
					t.Fatal("a stranger in the group")
				}
				got++
			}
			if got != len(group) || index.index == ofSubject && size(leader) != got {
				t.Fatalf("%d in the group, %d counted, want %d", got, size(leader), len(group))
			}
		}
		leaders := 0
		for n := range index.buckets {
			for b := index.bucket(n); b != nil; b = b.more {
				for i, c := range b.leaders {
					if c != nil {
						leaders++
					}
					if tag := b.tags >> (8 * i) & 0xff; (tag != 0) != (c != nil) {
						t.Fatalf("the tag of %p is %d", c, tag)
					}
				}
				if b.more != nil && b.more.tags == 0 {
					t.Fatal("an empty bucket is kept")
				}
			}
		}
		if leaders != len(want) {
			t.Fatalf("%d leaders, want %d", leaders, len(want))
		}
	}
	in := 0
	for slot, c := range r.wheel.slots {
		for ; c != nil; c = c.next {
			if int(c.place&slotOf) != slot {
				t.Fatal("in another slot than it knows")
			}
			in++
		}
	}
	if in != len(all) || r.wheel.n != in {
		t.Fatalf("%d in the wheel, %d counted, want %d", in, r.wheel.n, len(all))
	}
}

// TestCursor: what is there all the time is passed once, whatever comes and goes, and
// where the cursor's own place goes, at least once.
func TestCursor(t *testing.T) {
	for _, index := range []int{ofAll, ofSession, ofSubject} {
		r, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		r.lock()
		defer r.mu.Unlock()
		rng := newRand(2)
		add := func() *Conn {
			c := r.newConn([]byte("ada"), []byte("s"))
			c.end = r.soon() + uint32(rng.Uint64N(10))
			r.put(c)
			return c
		}
		passed := map[*Conn]int{}
		var stay, leave []*Conn
		for range 500 {
			stay = append(stay, add())
			leave = append(leave, add())
		}
		k := cursor{registry: r, index: index, left: slots, key: map[int]string{ofSession: "s", ofSubject: "ada"}[index]}
		for c := k.next(); c != nil; c = k.next() {
			passed[c]++
			k.at = c
			if n := rng.IntN(len(leave)); leave[n].place&gone == 0 && leave[n] != c {
				r.drop(leave[n])
			}
			if rng.IntN(50) == 0 {
				add()
			}
		}
		for _, c := range stay {
			if passed[c] != 1 {
				t.Fatalf("index %d: passed %d times", index, passed[c])
			}
		}
	}
}

// TestBucketTags: with finds what a search would find.
func TestBucketTags(t *testing.T) {
	rng := newRand(4)
	for range 100_000 {
		var b bucket
		var tags [bucketLen]uint64
		for i := range tags {
			tags[i] = uint64(rng.IntN(4)) * uint64(rng.IntN(86)) // many alike, many 0
			b.put(i, nil, 0xff)
			b.put(i, nil, tags[i])
		}
		for _, tag := range append(tags[:], 0, 1, 0x7f, 0x80, 0xff) {
			var want []int
			for i := range tags {
				if tags[i] == tag {
					want = append(want, i)
				}
			}
			var got []int
			for places := b.with(tag); places != 0; places &= places - 1 {
				got = append(got, first(places))
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%x in %x: %v, want %v", tag, tags, got, want)
			}
		}
	}
}
