package live

import "time"

// A wheel holds every connection in the slot of the second in which it ends, modulo
// the number of slots: more than an hour. Each second, the connections of one slot
// are looked at, and those whose second it is are ended. A session of eight hours is
// looked at seven times. Where the clock jumps forward, the slots between are looked at
// too, and where it goes back, those that are due come round again: the slot of a second
// is the same whenever one looks. A connection that does not end by
// itself lies in any slot. So the slots are also the list of all connections.
type wheel struct {
	slots [slots]*Conn
	n     int    // connections in it
	spare uint16 // slot for the next that does not end

	timer  *time.Timer
	ticks  bool  // timer is set
	looked int64 // the last second whose slot was looked at
}

const slots = 1 << 12

func (w *wheel) init(tick func()) {
	w.timer = time.AfterFunc(time.Hour, tick)
	w.timer.Stop()
}

func (w *wheel) insert(now time.Time, c *Conn, base int64) {
	if !w.ticks {
		w.looked = now.Unix()
		w.wait(now)
	}
	slot := w.spare % slots
	if c.end != 0 {
		second := base + int64(c.end)
		slot = uint16(second % slots)
		// It may have been looked at: the caller has waited for the lock since now, or
		// the clock went back. Then it must be looked at again, for the next time is in
		// an hour.
		w.looked = min(w.looked, second-1)
	} else {
		w.spare++
	}
	c.place = c.place&^slotOf | slot
	c.prev, c.next = nil, w.slots[slot]
	if c.next != nil {
		c.next.prev = c
	}
	w.slots[slot] = c
	w.n++
}

// fetch looks at the connection that insert will put another one before, see
// Registry.fetch.
func (w *wheel) fetch(end uint32, base int64) uint16 {
	if c := w.slots[(base+int64(end))%slots]; end != 0 && c != nil && c.prev == nil {
		return 1
	}
	return 0
}

func (w *wheel) remove(c *Conn) {
	if c.next != nil {
		c.next.prev = c.prev
	}
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		w.slots[c.place&slotOf] = c.next
	}
	c.next, c.prev = nil, nil
	w.n--
}

// wait sets the timer to the next whole second.
func (w *wheel) wait(now time.Time) {
	w.ticks = true
	w.timer.Reset(now.Truncate(time.Second).Add(time.Second).Sub(now))
}

// tick ends the connections whose second has come.
func (r *Registry) tick() {
	now := time.Now()
	r.lock()
	w := &r.wheel
	if w.looked > now.Unix() { // the clock went back
		w.looked = now.Unix() - 1
	}
	k := cursor{registry: r, index: ofAll, slot: uint16((w.looked + 1) % slots), left: int(min(now.Unix()-w.looked, slots))}
	w.looked = now.Unix()
	r.mu.Unlock()

	second := now.Unix() - r.base
	r.end(&k, Expired, func(c *Conn) bool { return c.end != 0 && int64(c.end) <= second })

	r.lock()
	if w.ticks = w.n > 0; w.ticks {
		w.wait(time.Now())
	}
	r.mu.Unlock()
}

// A cursor goes through connections: those of a session or a subject, or those of
// some slots of the wheel. The lock may be let go between two steps.
type cursor struct {
	registry *Registry
	index    int
	key      string // of a session or subject
	slot     uint16 // of the wheel, and
	left     int    // how many more from it on
	at       *Conn  // the last that was passed and stays
}

const ofAll = -1

// next returns the first connection behind at, or nil.
func (k *cursor) next() *Conn {
	if k.at != nil && (k.at.place&gone != 0 || k.index == ofAll && k.at.place&slotOf != k.slot) {
		k.at = nil // it has left: begin again
	}
	var c *Conn
	switch {
	case k.index == ofAll:
		for {
			if k.at != nil {
				c = k.at.next
			} else if k.left > 0 {
				c = k.registry.wheel.slots[k.slot]
			}
			if c != nil || k.left <= 1 {
				return c
			}
			k.at, k.slot, k.left = nil, (k.slot+1)%slots, k.left-1
		}
	case k.at != nil:
		c = k.at.by[k.index].next
	case k.index == ofSession:
		c, _ = k.registry.sessions.find([]byte(k.key))
	default:
		c, _ = k.registry.subjects.find([]byte(k.key))
	}
	return c
}

// step bounds how many connections are looked at under one lock, by what a handshake
// may wait.
const step = 128

// end ends those behind k that are due.
func (r *Registry) end(k *cursor, cause Cause, due func(*Conn) bool) {
	var batch [step]*Conn
	for more := true; more; {
		var n int
		n, more = r.some(k, batch[:], cause, due)
		r.closings.start(batch[:n], cause)
	}
}

// some takes up to len(batch) connections that are due out of the registry, and says
// whether there may be more.
func (r *Registry) some(k *cursor, batch []*Conn, cause Cause, due func(*Conn) bool) (n int, more bool) {
	r.lock()
	defer r.mu.Unlock()
	for range step {
		if n == len(batch) {
			return n, true
		}
		c := k.next()
		if c == nil {
			return n, false
		}
		if due(c) {
			r.drop(c)
			r.stats.ended[cause]++
			batch[n] = c
			n++
		} else {
			k.at = c
		}
	}
	return n, true
}
