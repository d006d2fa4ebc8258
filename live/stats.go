package live

import (
	"iter"
	"time"
)

// Stats are the figures of a [Registry] at one time. Counts run from New.
type Stats struct {
	Connections int // live now
	Subjects    int // that have some
	Sessions    int // that have some

	Added   uint64
	Removed uint64 // by their owners, whoever ended them
	Closing int    // close functions that run, or wait for it

	Refused struct {
		Ended     uint64 // ErrEnded
		Expired   uint64 // ErrExpired
		Forgotten uint64 // ErrForgotten
		Limit     uint64 // ErrLimit
		Unheard   uint64 // ErrUnheard
		Shutdown  uint64 // ErrShutdown
	}

	Remembered     int    // ended sessions and subjects
	ForgottenEarly uint64 // of those, for want of room: raise MaxEnded

	Missed    uint64    // times that the Bus reported lost endings
	Malformed uint64    // what the Bus brought and was none
	Heard     time.Time // as of when the Bus had told everything; zero: never, or there is no Bus

	ended [causeEnd]uint64
}

// Ended is the number of connections that were ended for that cause.
func (s Stats) Ended(c Cause) uint64 { return s.ended[c.row()] }

// counts are what a Registry counts, under its lock.
type counts struct {
	added, removed    uint64
	ended             [causeEnd]uint64
	missed, malformed uint64
	refused           [len(refusals)]uint64
}

var refusals = [...]error{ErrEnded, ErrExpired, ErrForgotten, ErrLimit, ErrUnheard, ErrShutdown}

func (c *counts) refuse(err error) {
	for i, refusal := range refusals {
		if err == refusal {
			c.refused[i]++
		}
	}
}

// Stats returns the figures of now. It takes as long as a handshake would.
func (r *Registry) Stats() Stats {
	closing := r.closings.pending()
	r.lock()
	defer r.mu.Unlock()
	s := Stats{
		Connections:    r.wheel.n,
		Subjects:       int(r.subjects.groups),
		Sessions:       int(r.sessions.groups),
		Added:          r.stats.added,
		Removed:        r.stats.removed,
		Closing:        closing,
		Remembered:     r.ended.size(),
		ForgottenEarly: r.ended.early,
		Missed:         r.stats.missed,
		Malformed:      r.stats.malformed,
		Heard:          r.heard,
		ended:          r.stats.ended,
	}
	for i, to := range []*uint64{&s.Refused.Ended, &s.Refused.Expired, &s.Refused.Forgotten, &s.Refused.Limit, &s.Refused.Unheard, &s.Refused.Shutdown} {
		*to = r.stats.refused[i]
	}
	return s
}

// An Info describes a live connection.
type Info struct {
	Subject, SessionID string
	Issued             time.Time // iat of its ticket, or of the last that renewed it
	Ends               time.Time // session_exp; zero means never
}

// All yields the live connections, in no order: for an administrator's page and not
// for a handshake. It holds no lock while the body of the loop runs. Connections that
// come or go meanwhile may be missing or there, and where some go, others may be told
// twice.
func (r *Registry) All() iter.Seq[Info] {
	return func(yield func(Info) bool) {
		k := cursor{registry: r, index: ofAll, left: slots}
		for {
			var batch [step]Info
			var conns [step]*Conn
			n := 0
			r.lock()
			for n < step {
				c := k.next()
				if c == nil {
					break
				}
				k.at = c
				conns[n] = c
				batch[n] = Info{Issued: time.Unix(r.base+int64(c.issued), 0)}
				if c.end != 0 {
					batch[n].Ends = time.Unix(r.base+int64(c.end), 0)
				}
				n++
			}
			r.mu.Unlock()
			for i, info := range batch[:n] {
				info.Subject, info.SessionID = conns[i].Subject(), conns[i].SessionID()
				if !yield(info) {
					return
				}
			}
			if n < step {
				return
			}
		}
	}
}

// Count is the number of live connections of a subject.
func (r *Registry) Count(subject string) int {
	r.lock()
	defer r.mu.Unlock()
	leader, _ := r.subjects.find([]byte(subject))
	return size(leader)
}
