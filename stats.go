package wsticket

import "sync/atomic"

// Counters count verdicts by code. The zero value is ready; it is safe for
// concurrent use and must not be copied. The Upgrader and the Gate keep their
// own; who calls a Verifier by hand can keep one too.
type Counters struct {
	verdicts [errEnd]atomic.Uint64 // accepted at the place of the zero Error
}

// Count counts an acceptance when err is nil, and else a refusal by err's code.
// An error without a code is not counted.
func (c *Counters) Count(err error) {
	if err == nil {
		c.verdicts[0].Add(1)
	} else if code, ok := CodeOf(err); ok {
		c.verdicts[code].Add(1)
	}
}

// Stats returns the counts of now.
func (c *Counters) Stats() Stats {
	var s Stats
	for i := range c.verdicts {
		s.verdicts[i] = c.verdicts[i].Load()
	}
	return s
}

// Stats are counts of verdicts at one time.
type Stats struct{ verdicts [errEnd]uint64 }

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
