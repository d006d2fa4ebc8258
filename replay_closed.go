package wsticket

import "slices"

// closedSlots is the set of the slots that had a frame and lost it. It only grows:
// nothing that was put in is ever out again, which is what single use rests on. To
// stay small it may grow by more than it was given, and then refuses tickets for
// which there was no need.
//
// Slots lie next to each other, so a few spans are enough: one for all of the past,
// a further one for each gap without a ticket, and one for each time that the clock
// was ahead for a while. When there are too many, the gap that lies furthest back is
// given up; on a clock that runs forward nobody asks about it again.
type closedSlots struct {
	spans []slotSpan // ascending, with at least one slot between any two
}

type slotSpan struct{ low, high int64 }

const maxClosedSpans = 32

func newClosedSlots() closedSlots {
	return closedSlots{spans: make([]slotSpan, 0, maxClosedSpans+1)}
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
			c.spans[1].low = c.spans[0].low
			c.spans = slices.Delete(c.spans, 0, 1)
		}
		return
	}
	s := &c.spans[i] // slot is in it or next to it
	s.low, s.high = min(s.low, slot), max(s.high, slot)
	if i+1 < len(c.spans) && s.high == c.spans[i+1].low-1 {
		s.high = c.spans[i+1].high
		c.spans = slices.Delete(c.spans, i+1, i+2)
	}
}
