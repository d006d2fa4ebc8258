package live

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Follow listens to the Bus until ctx ends, and does here what was ended elsewhere.
// Start it in a goroutine of its own, one at a time: until it has heard what ended of late,
// every ticket is refused with ErrUnheard. It returns ctx's error, or another where
// the Bus cannot go on: then endings may be missed from here on, so connections are
// closed as where the Bus has lost some, and it may be called once more.
func (r *Registry) Follow(ctx context.Context) error {
	if r.config.Bus == nil {
		return errors.New("live: Follow: the registry has no Bus; give one in its Config")
	}
	err := r.config.Bus.Follow(ctx, time.Duration(r.window+r.leeway)*time.Second, Follower{
		Ended:    r.hear,
		CaughtUp: r.caughtUp,
		Missed:   r.missed,
	})
	if err != nil && ctx.Err() == nil {
		r.missed(err)
	}
	return err
}

// A MissedError reports that a Bus has lost endings, or may have. Connections of
// sessions that have ended may be live; see Config.DangerouslyKeepMissed.
type MissedError struct{ Cause error }

func (e *MissedError) Error() string {
	return fmt.Sprintf("live: the bus has lost endings, so connections of ended sessions may be live: %v", e.Cause)
}

func (e *MissedError) Unwrap() error { return e.Cause }

func (r *Registry) hear(e Ending) {
	if err := e.Check(); err != nil {
		r.lock()
		r.stats.malformed++
		r.mu.Unlock()
		r.config.Report(fmt.Errorf("live: the bus brought what is no ending: %w", err))
		return
	}
	r.apply(e)
}

func (r *Registry) caughtUp(asOf time.Time) {
	r.lock()
	defer r.mu.Unlock()
	if asOf.After(r.heard) {
		r.heard = asOf
	}
}

func (r *Registry) missed(why error) {
	now := time.Now().Unix()
	r.lock()
	r.ended.floor = max(r.ended.floor, now)
	r.stats.missed++
	r.mu.Unlock()
	if !r.config.DangerouslyKeepMissed {
		r.closeThese(GoingAway, r.config.MissedSpread)
	}
	r.config.Report(&MissedError{why})
}

// apply does on this node what an ending says.
func (r *Registry) apply(e Ending) {
	now := time.Now().Unix()
	r.lock()
	if e.Spread > 0 { // twice would be twice as fast
		if slices.Contains(r.noted, e) {
			r.mu.Unlock()
			return
		}
		const kept = 64
		r.noted = append(r.noted, e)
		r.noted = r.noted[max(len(r.noted)-kept, 0):]
	}
	switch {
	case e.SessionID != "":
		r.ended.note(now, sessionKey(hash([]byte(e.SessionID))), e.At)
	case e.Subject != "":
		r.ended.note(now, subjectKey(hash([]byte(e.Subject))), e.At)
	default:
		r.ended.everything = max(r.ended.everything, min(e.At, now+r.leeway))
	}
	r.mu.Unlock()

	cutoff := e.At + r.leeway - r.base
	before := func(c *Conn) bool { return int64(c.issued) <= cutoff }
	switch {
	case e.SessionID != "": // it is over, whatever is minted for it
		r.sweep(cursor{registry: r, index: ofSession, key: e.SessionID}, e.Cause, e.Spread, func(*Conn) bool { return true })
	case e.Subject != "":
		r.sweep(cursor{registry: r, index: ofSubject, key: e.Subject}, e.Cause, e.Spread, before)
	default:
		r.sweep(cursor{registry: r, index: ofAll, left: slots}, e.Cause, e.Spread, before)
	}
}

// closeThese ends the connections that there are now. They are told from those that
// come meanwhile by a flag, which changes its sense each time. While another one is
// under way there are connections of either sense, and all of them are ended.
func (r *Registry) closeThese(cause Cause, spread time.Duration) {
	r.lock()
	due := func(*Conn) bool { return true }
	if !slices.ContainsFunc(r.sweeps, func(s *sweep) bool { return s.cursor.index == ofAll }) {
		r.young ^= young
		now := r.young
		due = func(c *Conn) bool { return c.place&young != now }
	}
	r.mu.Unlock()
	r.sweep(cursor{registry: r, index: ofAll, left: slots}, cause, spread, due)
}

// sweep ends the connections behind k that are due, at once or evenly over a time.
func (r *Registry) sweep(k cursor, cause Cause, spread time.Duration, due func(*Conn) bool) {
	if spread <= 0 {
		r.end(&k, cause, due)
		return
	}
	s := &sweep{registry: r, cause: cause, cursor: k, due: due}
	r.lock()
	r.sweeps = append(r.sweeps, s)
	r.mu.Unlock()
	go s.run(spread)
}

// A sweep ends connections evenly over a time.
type sweep struct {
	registry *Registry
	cause    Cause
	cursor   cursor
	due      func(*Conn) bool
	moved    []*Conn // renewed while it ran
}

func (s *sweep) run(spread time.Duration) {
	r := s.registry
	r.lock()
	total := r.wheel.n
	switch s.cursor.index {
	case ofSubject:
		leader, _ := r.subjects.find([]byte(s.cursor.key))
		total = size(leader)
	case ofSession: // nobody counts those, and they are few
		total = 0
		for c, _ := r.sessions.find([]byte(s.cursor.key)); c != nil; c = c.by[ofSession].next {
			total++
		}
	}
	r.mu.Unlock()

	s.pace(total, spread)
	r.end(&s.cursor, s.cause, s.due) // what came or stayed meanwhile
	r.lock()
	r.sweeps = slices.DeleteFunc(r.sweeps, func(other *sweep) bool { return other == s })
	var late []*Conn
	for _, c := range s.moved {
		if c.place&gone == 0 && s.due(c) {
			r.drop(c)
			r.stats.ended[s.cause]++
			late = append(late, c)
		}
	}
	r.mu.Unlock()
	r.closings.start(late, s.cause)
}

// pace ends total connections, or as many as there are, by the time.
func (s *sweep) pace(total int, spread time.Duration) {
	if total == 0 {
		return
	}
	// Often enough that nobody sees steps.
	const shortest, longest = 20 * time.Millisecond, time.Second
	ticker := time.NewTicker(min(max(spread/time.Duration(total), shortest), longest))
	defer ticker.Stop()
	began := time.Now()
	var batch [step]*Conn
	for done := 0; done < total; {
		<-ticker.C
		share := min(float64(time.Since(began))/float64(spread), 1)
		for quota := int(math.Ceil(float64(total) * share)); done < quota; {
			n, more := s.registry.some(&s.cursor, batch[:min(step, quota-done)], s.cause, s.due)
			s.registry.closings.start(batch[:n], s.cause)
			if done += n; !more {
				return
			}
		}
	}
}
