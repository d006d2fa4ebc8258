package wsticket

import "slices"

// closedSlots is the set of the slots that had a frame and lost it. It only grows:
// nothing that was put in is ever out again, which is what single use rests on. To
// stay small it may grow by more than it was given, and then refuses tickets for
// which there was no need.
//
// Slots lie next to each other, so a few spans are enough: one for all of the past,
// a further one for each gap without a ticket, and one for each time that the clock
// was ahead for a while. When there are too many, the narrowest gap is given up that
// nobody is likely to ask about: not one that the clock is in, nor one that it was in
// before it last leaped, for it may come back.
type closedSlots struct {
	spans []slotSpan // ascending, with at least one slot between any two
	keep  [2]slotSpan
}

type slotSpan struct{ low, high int64 }

const maxClosedSpans = 32

func newClosedSlots() closedSlots {
	return closedSlots{spans: make([]slotSpan, 0, maxClosedSpans+1)}
}

// at says which slots are in reach by the clock: its gaps are kept, and those that
// were in reach before the clock last leaped.
func (c *closedSlots) at(reach slotSpan) {
	if now := c.keep[0]; reach.low > now.high || reach.high < now.low {
		c.keep[1] = now
	}
	c.keep[0] = reach
}

func (c *closedSlots) has(slot int64) bool {
	for _, s := range c.spans {
		if s.low <= slot && slot <= s.high {
			return true
		}
	}
	return false
}

func (c *closedSlots) add(slot int64) {
	i := 0
	for i < len(c.spans) && c.spans[i].high < slot-1 {
		i++
	}
	if i == len(c.spans) || slot < c.spans[i].low-1 {
		c.spans = slices.Insert(c.spans, i, slotSpan{slot, slot})
		if len(c.spans) > maxClosedSpans {
			c.join(c.narrowest())
		}
		return
	}
	s := &c.spans[i] // slot is in it or next to it
	s.low, s.high = min(s.low, slot), max(s.high, slot)
	if i+1 < len(c.spans) && s.high == c.spans[i+1].low-1 {
		c.join(i)
	}
}

// join makes one span of the i-th and the next, and of what lies between them.
func (c *closedSlots) join(i int) {
	c.spans[i].high = c.spans[i+1].high
	c.spans = slices.Delete(c.spans, i+1, i+2)
}

// narrowest returns the span before the narrowest gap that is not kept. If all are,
// it is the narrowest of them.
func (c *closedSlots) narrowest() (at int) {
	atKept := true
	for i := range len(c.spans) - 1 {
		kept := c.kept(i)
		if kept == atKept && c.gap(i) < c.gap(at) || !kept && atKept {
			at, atKept = i, kept
		}
	}
	return at
}

// gap is how far it is from the i-th span to the next.
func (c *closedSlots) gap(i int) int64 { return c.spans[i+1].low - c.spans[i].high }

// kept says whether a slot behind the i-th span and before the next is kept.
func (c *closedSlots) kept(i int) bool {
	for _, k := range c.keep {
		if c.spans[i].high < k.high && k.low < c.spans[i+1].low {
			return true
		}
	}
	return false
}
