package wsticket

import (
	"sync/atomic"
	"time"
)

// Counters count verdicts by code, and remember the last refusal. The zero value is
// ready; it is safe for concurrent use and must not be copied. The Upgrader, the Gate
// and Hooks keep their own; an application that calls a Verifier by hand can keep one
// too.
type Counters struct {
	verdicts [errEnd]atomic.Uint64 // accepted at the place of the zero Error
	trail    trail
}

// Count counts an acceptance when err is nil, and else a refusal by err's code.
// An error without a code is not counted.
func (c *Counters) Count(err error) {
	if err == nil {
		c.verdicts[0].Add(1)
	} else if reason, ok := err.(*refusalError); ok { // the most, and without an allocation
		c.refuse(reason.code, err, time.Now().Unix())
	} else if code, ok := CodeOf(err); ok {
		c.refuse(code, err, time.Now().Unix())
	}
}

// refuse counts a refusal.
func (c *Counters) refuse(code Error, err error, now int64) {
	c.verdicts[code].Add(1)
	number := int(code)
	if e, ok := err.(*refusalError); ok && e.number != 0 {
		number = int(e.number)
	}
	c.trail.refuse(makeMark(number, now), c.verdicts[0].Load())
}

func reasonOf(number int) error {
	if number >= int(errEnd) {
		return reasons[number]
	}
	return Error(number)
}

// Stats returns the counts of now.
func (c *Counters) Stats() Stats {
	var s Stats
	for i := range c.verdicts {
		s.verdicts[i] = c.verdicts[i].Load()
	}
	s.last = c.trail.read(s.verdicts[0], reasonOf)
	return s
}

// Stats are counts of verdicts at one time.
type Stats struct {
	verdicts [errEnd]uint64
	last     LastRefusal
}

// Accepted is the number of acceptances.
func (s Stats) Accepted() uint64 { return s.verdicts[0] }

// Refused is the number of refusals with that code.
func (s Stats) Refused(code Error) uint64 {
	if !code.valid() {
		return 0
	}
	return s.verdicts[code]
}

// Map returns the counts under "accepted" and under every code, zeros too: the
// shape of a metrics endpoint.
func (s Stats) Map() map[string]uint64 {
	m := make(map[string]uint64, errEnd)
	m["accepted"] = s.Accepted()
	for _, code := range Codes() {
		m[code.Code()] = s.Refused(code)
	}
	return m
}

// LastRefusal is the last refusal before these counts were taken; its Err is nil
// where there was none.
func (s Stats) LastRefusal() LastRefusal { return s.last }

// A LastRefusal is for a status page: what was refused last, and whether anything
// else happens at all. Nothing accepted for a minute, all refused for one reason, is
// what most outages look like: a clock that is wrong, a keyring that was not copied,
// a proxy that rewrites Host. Times are in whole seconds; under load they may be
// those of one of the refusals around.
type LastRefusal struct {
	// Err is the code and the reason, without values. It may be kept.
	Err error
	// At is when it was.
	At time.Time
	// SameReasonSince is when this became the only verdict: from then on everything was
	// refused, and for this reason. It is zero if something was accepted since.
	SameReasonSince time.Time
	// OnlyRefusalsSince is when the first refusal came after the last acceptance, for
	// whatever reason. It is zero if something was accepted since.
	OnlyRefusalsSince time.Time
}

// A trail remembers the last refusal, the first in the row that it ends, of all for one
// reason, and the first since something was accepted. Only refusals write it, so
// acceptances are not slowed down.
type trail struct {
	last, same, only atomic.Uint64 // marks
	accepted         atomic.Uint64 // how many there were when only began
}

// A mark is a second and the number of a reason, which is not 0.
type mark uint64

const numberBits = 16

func makeMark(number int, now int64) mark { return mark(max(now, 0))<<numberBits | mark(number) }

func (m mark) number() int     { return int(m & (1<<numberBits - 1)) }
func (m mark) time() time.Time { return time.Unix(int64(m>>numberBits), 0) }

// refuse notes a refusal, behind so many acceptances.
func (t *trail) refuse(m mark, accepted uint64) {
	begun := t.only.Load() != 0 && t.accepted.Load() == accepted
	switch before := mark(t.last.Load()); {
	case !begun:
		t.accepted.Store(accepted)
		t.only.Store(uint64(m))
		t.same.Store(uint64(m))
		t.last.Store(uint64(m))
	case before == m: // as most are in a flood: nothing to write
	default:
		if before.number() != m.number() {
			t.same.Store(uint64(m))
		}
		t.last.Store(uint64(m))
	}
}

// read returns the last refusal, as seen after so many acceptances.
func (t *trail) read(accepted uint64, reason func(number int) error) (l LastRefusal) {
	last := mark(t.last.Load())
	if last == 0 {
		return l
	}
	l.Err, l.At = reason(last.number()), last.time()
	if t.accepted.Load() == accepted {
		l.OnlyRefusalsSince = mark(t.only.Load()).time()
		l.SameReasonSince = l.At
		if same := mark(t.same.Load()); same.number() == last.number() {
			l.SameReasonSince = same.time()
		}
	}
	return l
}
