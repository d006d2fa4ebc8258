package live

import "math"

// ended remembers which sessions and subjects have ended of late, by a hash of 64
// bits: should two share one, a ticket is refused without need, and that once in the
// lifetime of the universe. Two generations, each of at most half of the entries; the
// older one is forgotten whole, when no ticket that was minted before can be alive or
// when there is no room. Then the floor rises to its newest entry: whatever the clock
// does, what was forgotten lets nobody in.
type ended struct {
	current, older generation
	limit          int // of entries in a generation
	window, leeway int64

	// Tickets that were minted at floor plus leeway or before are refused.
	floor int64
	// everything is when all connections were ended.
	everything int64

	early uint64 // entries forgotten for want of room
}

type generation struct {
	at     map[uint64]int64 // when it ended
	newest int64
	began  int64
}

const never = math.MinInt64 / 2

func (e *ended) init(limit int, window, leeway int64) {
	e.limit, e.window, e.leeway, e.everything = limit, window, leeway, never
	e.current.at = map[uint64]int64{}
}

// Subjects and sessions of one name must not be taken for each other.
func sessionKey(hash uint64) uint64 { return hash }
func subjectKey(hash uint64) uint64 { return ^hash }

// note remembers that something ended at a time, which may be that of another node's
// clock: one that is ahead by more than clocks may be is not believed.
func (e *ended) note(now int64, key uint64, at int64) {
	at = min(at, now+e.leeway)
	if at+e.window <= now {
		// Whatever was minted before has expired, unless the clock is ahead and steps
		// back.
		e.floor = max(e.floor, at)
		return
	}
	if old, ok := e.current.at[key]; ok {
		at = max(at, old)
	} else if full := len(e.current.at) >= e.limit; full || e.aged(now) {
		e.turn(now)
	}
	if e.size() == 0 {
		e.current.began = now
	}
	if len(e.current.at) == 0 {
		e.current.newest = at
	}
	e.current.at[key] = at
	e.current.newest = max(e.current.newest, at)
}

// size is the number of entries.
func (e *ended) size() int { return len(e.current.at) + len(e.older.at) }

// aged says whether nothing in the older generation is needed any more: all of it
// was noted before the current one began.
func (e *ended) aged(now int64) bool {
	return e.size() > 0 && now >= e.current.began+e.window+e.leeway
}

func (e *ended) turn(now int64) {
	if n := len(e.older.at); n > 0 {
		e.floor = max(e.floor, e.older.newest)
		if e.older.newest+e.window > now {
			e.early += uint64(n)
		}
	}
	e.older = e.current
	e.current = generation{at: map[uint64]int64{}, began: now}
}

// lookup returns when something ended, if that is remembered and matters.
func (e *ended) lookup(now int64, key uint64) (at int64, ok bool) {
	at, ok = e.current.at[key]
	if !ok {
		at, ok = e.older.at[key]
	}
	return at, ok && now < at+e.window
}

// check says whether a ticket that was minted at issued may still open a connection.
func (e *ended) check(now, issued int64, subject, session uint64) error {
	if e.aged(now) {
		e.turn(now)
	}
	if issued <= e.floor+e.leeway {
		return ErrForgotten
	}
	if issued <= e.everything+e.leeway {
		return ErrEnded
	}
	if e.size() == 0 {
		return nil
	}
	if _, ok := e.lookup(now, sessionKey(session)); ok {
		return ErrEnded
	}
	if at, ok := e.lookup(now, subjectKey(subject)); ok && issued <= at+e.leeway {
		return ErrEnded
	}
	return nil
}
