package live

import (
	"bytes"
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/wsticket/wsticket"
)

// A Config says what a [Registry] remembers and whom it refuses. Durations are
// whole seconds where they say so.
type Config struct {
	// MaxTTL and Leeway are the verifiers', in whole seconds, and decide for how
	// long an ended session is remembered: MaxTTL + 2·Leeway, after which no ticket
	// that was minted before it ended can be alive. 0 means the defaults, 60 s and
	// 2 s; [wsticket.NoLeeway] means no leeway.
	MaxTTL, Leeway time.Duration

	// MaxPerSubject bounds the connections of one subject on this node, and
	// MaxConnections those of all. One more is ErrLimit. 0 means no bound.
	MaxPerSubject, MaxConnections int

	// MaxEnded bounds how many ended sessions and subjects are remembered, at about
	// 40 bytes each. When more end within MaxTTL + 2·Leeway, the oldest are
	// forgotten, and every ticket that was minted before they ended is refused with
	// ErrForgotten: fresh tickets without need, and none that it should not let in.
	// 0 means 1,048,576; at least 2.
	MaxEnded int

	// Since is when the registry began to remember. Sessions may have ended before,
	// in a process that is gone, so a ticket that was minted at Since plus Leeway or
	// before is refused with ErrForgotten, as by a ReplayCache. The zero value is
	// the time of New. With a Bus it is not looked at: the Bus tells what ended.
	Since time.Time

	// Bus tells other nodes what ends here, and this one what ends there; [Registry.Follow]
	// listens to it. nil means that there is one node.
	Bus Bus

	// MaxSilence is for how long the Bus may be silent before tickets are refused
	// with ErrUnheard. 0 means 5 s; give more than 1 s, as an idle Bus is heard once
	// a second. Connections that are there stay.
	MaxSilence time.Duration

	// DangerouslyAdmitUnheard lets tickets in when the Bus is silent, for however
	// long: those of sessions that have ended on other nodes too.
	DangerouslyAdmitUnheard bool

	// MissedSpread is over how long all connections are closed (GoingAway) after the
	// Bus has lost endings, which may have been theirs. 0 means 30 s.
	MissedSpread time.Duration

	// DangerouslyKeepMissed keeps connections open when the Bus has lost endings, and
	// leaves it to Report's receiver what to do. Unspent tickets that were minted
	// before are still refused.
	DangerouslyKeepMissed bool

	// Report is told what the Bus has lost ([MissedError]) and what came from it that
	// was no ending. nil reports nothing.
	Report func(error)
}

const (
	defaultMaxEnded     = 1 << 20
	defaultMaxSilence   = 5 * time.Second
	defaultMissedSpread = 30 * time.Second
)

// A Registry knows the live connections of this node, and which sessions have
// ended of late. It is safe for concurrent use. It has no goroutine of its own
// while nothing ends; a timer goes off once a second while there are connections.
// Nothing of it needs closing.
type Registry struct {
	config         Config
	leeway, window int64 // seconds
	home           home  // of the connections
	base           int64 // seconds since 1970 that the times of connections count from: long before New, whose clock may have been ahead

	mu       sync.Mutex // taken by lock
	sessions table
	subjects table
	wheel    wheel
	ended    ended
	heard    time.Time // as of when the Bus had told everything
	sweeps   []*sweep
	young    uint16   // the flag of connections that came after the last CloseAll began
	left     leaving  // is still in the indexes: see lock
	noted    []Ending // the last that came with a spread
	fetched  uint16   // what was looked at so that memory brings it: see fetch
	shutdown bool
	idle     chan struct{} // closed when nothing is open after Shutdown
	stats    counts

	closings closings
}

// New checks the configuration and reports all its faults at once.
func New(config Config) (*Registry, error) { return newAt(config, time.Now()) }

// newAt is New at a time that the clock shows.
func newAt(config Config, now time.Time) (*Registry, error) {
	var f faults
	r := &Registry{
		base: max(now.Unix()-1<<30, 0),
		idle: make(chan struct{}),
	}
	if config.Leeway != wsticket.NoLeeway {
		r.leeway = f.seconds("Leeway", config.Leeway, wsticket.DefaultLeeway, 5*time.Minute)
	}
	r.window = f.seconds("MaxTTL", config.MaxTTL, wsticket.DefaultMaxTTL, time.Hour) + 2*r.leeway
	f.bound("MaxPerSubject", config.MaxPerSubject)
	f.bound("MaxConnections", config.MaxConnections)
	if config.MaxEnded == 0 {
		config.MaxEnded = defaultMaxEnded
	} else if config.MaxEnded < 2 {
		f.addf("MaxEnded is %d; give 2 or more, or 0 for %d", config.MaxEnded, defaultMaxEnded)
	}
	if config.MaxSilence == 0 {
		config.MaxSilence = defaultMaxSilence
	} else if config.MaxSilence <= time.Second {
		f.addf("MaxSilence is %v; give more than 1s, or 0 for %v", config.MaxSilence, defaultMaxSilence)
	}
	if config.MissedSpread == 0 {
		config.MissedSpread = defaultMissedSpread
	} else if config.MissedSpread < 0 || config.MissedSpread > maxSpread {
		f.addf("MissedSpread is %v; give up to %v, or 0 for %v", config.MissedSpread, maxSpread, defaultMissedSpread)
	}
	if config.Report == nil {
		config.Report = func(error) {}
	}
	since := config.Since
	if since.IsZero() {
		since = now
	}
	if s := since.Unix(); s < 0 || s > latest {
		f.addf("Since is %v; give a time from 1970 on, or none for that of New", config.Since)
	} else if config.Bus == nil {
		r.ended.floor = s
	} else {
		r.ended.floor = never
	}
	if err := f.err("registry"); err != nil {
		return nil, err
	}
	r.config = config
	r.home.registry = r
	r.ended.init(config.MaxEnded/2, r.window, r.leeway)
	r.sessions.init(ofSession)
	r.subjects.init(ofSubject)
	r.wheel.init(r.tick)
	return r, nil
}

// A Conn is one connection in a [Registry]. Its methods are safe for concurrent
// use.
type Conn struct {
	home       *home
	close      func(Cause)
	by         [2]link // ofSession, ofSubject
	next, prev *Conn   // in its slot of the wheel

	// Seconds from the registry's base. end is 0 where there is none.
	end    uint32
	issued int32

	group uint32 // how many there are of its subject, where it leads them
	place uint16 // slot of the wheel, and the flags

	// Subject and session id, one behind the other, and their lengths. They lie in the
	// Conn, since visits to memory are what Add and Remove are made of.
	subject, session uint8
	text             [textLen]byte
}

const (
	textLen = 80  // makes 160 bytes of a Conn, which is a size that the allocator has
	isLong  = 255 // in place of the subject's length: its home has the text
)

// A home leads from a connection to its registry, and has the text of one whose text is
// longer than textLen. All others share that of the registry.
type home struct {
	registry         *Registry
	subject, session []byte
}

const (
	gone    = 1 << 15 // it is in none of the indexes any more
	removed = 1 << 14 // its owner said so
	isCtx   = 1 << 13 // close ends a context, which Remove must end too
	young   = 1 << 12 // on one side of the last CloseAll: see Registry.young
	slotOf  = young - 1
)

// Subject is whom the ticket was for. Each call makes a string.
func (c *Conn) Subject() string {
	subject, _ := c.key()
	return string(subject)
}

// SessionID is the session that the ticket was minted in, or "". Each call makes a
// string.
func (c *Conn) SessionID() string {
	_, session := c.key()
	return string(session)
}

// key is what c is found by. It never changes.
func (c *Conn) key() (subject, session []byte) {
	if c.subject == isLong {
		return c.home.subject, c.home.session
	}
	text := c.text[c.subject:]
	return c.text[:c.subject], text[:c.session]
}

func (c *Conn) hashes() (subject, session uint64) {
	a, b := c.key()
	return hash(a), hash(b)
}

// newConn makes a connection that is in none of the indexes yet.
func (r *Registry) newConn(subject, session []byte) *Conn {
	c := &Conn{home: &r.home}
	if len(subject)+len(session) <= textLen {
		c.subject, c.session = uint8(len(subject)), uint8(len(session))
		copy(c.text[copy(c.text[:], subject):], session)
	} else {
		c.subject = isLong
		c.home = &home{r, bytes.Clone(subject), bytes.Clone(session)}
	}
	return c
}

// Add takes in a connection that t opened, of which it keeps subject, session id
// and times. It returns ErrEnded for the ticket of a session that has ended,
// whatever the order in which logout and handshake arrived, and the other refusals
// of this package where they apply; the caller then closes the connection, after a
// close frame with the error's cause.
//
// close is called once, on a goroutine of its own, when the connection is to end:
// with session_exp, with its session, or because it was told to. It sends what is
// to be sent and closes, within a second or so: 16,384 of them run at a time, and more
// wait. It is not called after Remove, but may be under way then: where the server uses
// a connection's memory again, as fasthttp does, the two need a lock. For a net.Conn see
// [Registry.Socket], for a handler that waits for a context [Registry.Context].
//
// The caller calls Remove when the connection is gone, also when close was called.
func (r *Registry) Add(t *wsticket.Ticket, close func(Cause)) (*Conn, error) {
	return r.add(t, close, 0)
}

func (r *Registry) add(t *wsticket.Ticket, close func(Cause), flags uint16) (*Conn, error) {
	subject, session := t.Subject(), t.SessionID()
	subjectHash, sessionHash := hash(subject), hash(session)
	c := r.newConn(subject, session)
	c.close, c.place = close, flags
	c.end, c.issued = r.times(t)
	now := time.Now() // here, since it waits for all that is on its way from memory

	r.mu.Lock()
	defer r.mu.Unlock()
	r.settle(r.subjects.fetch(subjectHash) + r.sessions.fetch(sessionHash) + r.wheel.fetch(c.end, r.base))
	leader := r.subjects.leader(subject, subjectHash)
	if err := r.admit(now, t, leader, subjectHash, sessionHash); err != nil {
		r.stats.refuse(err)
		return nil, err
	}
	if len(subject) > 0 {
		r.subjects.insert(c, leader, subjectHash)
	}
	if len(session) > 0 {
		r.sessions.insert(c, r.sessions.leader(session, sessionHash), sessionHash)
	}
	c.place |= r.young
	r.wheel.insert(now, c, r.base)
	r.stats.added++
	return c, nil
}

// Admit says whether Add would let the ticket in now. It is for Authorize of an
// Upgrader or a Gate, so that the client is refused before its ticket is spent and
// before it is answered. Add asks again: the session may end in between.
func (r *Registry) Admit(t *wsticket.Ticket) error {
	now := time.Now()
	r.lock()
	defer r.mu.Unlock()
	leader, subject := r.subjects.find(t.Subject())
	err := r.admit(now, t, leader, subject, hash(t.SessionID()))
	if err != nil {
		r.stats.refuse(err)
	}
	return err
}

// admit judges a ticket. leader is the first connection of its subject, if any; the
// subject and the session are told by their hashes.
func (r *Registry) admit(now time.Time, t *wsticket.Ticket, leader *Conn, subject, session uint64) error {
	if r.shutdown {
		return ErrShutdown
	}
	if err := r.over(now, t, subject, session); err != nil {
		return err
	}
	if limit := r.config.MaxConnections; limit > 0 && r.wheel.n >= limit {
		return ErrLimit
	}
	if limit := r.config.MaxPerSubject; limit > 0 && size(leader) >= limit {
		return ErrLimit
	}
	return nil
}

// over says whether the session of a ticket is over, or may be.
func (r *Registry) over(now time.Time, t *wsticket.Ticket, subject, session uint64) error {
	if r.config.Bus != nil && !r.config.DangerouslyAdmitUnheard &&
		(r.heard.IsZero() || now.Sub(r.heard) > r.config.MaxSilence) {
		return ErrUnheard
	}
	if end := t.SessionExpires(); !end.IsZero() && !now.Before(end) {
		return ErrExpired
	}
	return r.ended.check(now.Unix(), t.IssuedAt().Unix(), subject, session)
}

// times are session_exp and iat as a Conn keeps them: 136 years from base, 102 from New,
// is as good as never.
func (r *Registry) times(t *wsticket.Ticket) (end uint32, issued int32) {
	if s := t.SessionExpires(); !s.IsZero() {
		if n := s.Unix() - r.base; n < 1<<32-1 {
			end = uint32(max(n, 1))
		}
	}
	return end, int32(min(max(t.IssuedAt().Unix()-r.base, -1<<31), 1<<31-1))
}

// Remove says that the connection is gone. From then on close is not called, unless
// it was under way. It may be called more than once.
func (c *Conn) Remove() {
	r := c.home.registry
	subject, session := c.hashes() // before the lock: this brings c from memory
	r.lock()
	if c.place&removed != 0 {
		r.mu.Unlock()
		return
	}
	c.place |= removed
	if c.place&gone == 0 {
		c.place |= gone
		r.left = leaving{c, subject, session}
	}
	r.stats.removed++
	if r.shutdown && r.stats.added == r.stats.removed {
		close(r.idle)
	}
	flags := c.place
	r.mu.Unlock()
	if flags&isCtx != 0 {
		c.close(0)
	}
}

// Ended says whether the registry has let go of the connection: it was told to end, or
// will be in a moment, or it was removed. It is true as soon as CloseSession, CloseSubject
// and End return, if the connection is one of theirs and has no time of a spread left. So
// whoever reads from the connection may ask it, and does not depend on when close is called.
func (c *Conn) Ended() bool {
	r := c.home.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.place&gone != 0
}

// A leaving is a connection that was removed, and the hashes of its subject and session.
type leaving struct {
	conn             *Conn
	subject, session uint64
}

// lock is for whoever looks at the indexes, or may do so. Remove leaves it to the next
// who comes to take its connection out of them, who is often Add: then all that the two
// need from memory is brought at once. It is a second at most until then, since the
// wheel ticks for the connection that left, too.
func (r *Registry) lock() {
	r.mu.Lock()
	r.settle(0)
}

// settle takes the connection that left out of all indexes. It is told what fetch
// functions have returned.
func (r *Registry) settle(fetched uint16) {
	c, subject, session := r.left.conn, r.left.subject, r.left.session
	if c == nil {
		r.fetched = fetched
		return
	}
	r.left.conn = nil
	r.fetched = fetched + r.fetch(c, subject, session)
	r.take(c, subject, session)
}

// drop takes c out of all indexes.
func (r *Registry) drop(c *Conn) {
	subject, session := c.hashes()
	r.fetched = r.fetch(c, subject, session)
	r.take(c, subject, session)
}

// fetch looks at what take needs. Among a million connections nothing of it is in the
// cache. So the four places are looked at first, to be brought from memory at once and
// not one after the other. So are those that other functions of this name look at.
func (r *Registry) fetch(c *Conn, subject, session uint64) uint16 {
	fetched := r.subjects.fetch(subject) + r.sessions.fetch(session)
	if c.next != nil && c.next.prev == c {
		fetched++
	}
	if c.prev != nil && c.prev.next == c {
		fetched++
	}
	return fetched
}

// take is drop for who knows the hashes and has looked.
func (r *Registry) take(c *Conn, subject, session uint64) {
	if len(r.sessions.key(c)) > 0 {
		r.sessions.remove(c, session)
	}
	if len(r.subjects.key(c)) > 0 {
		r.subjects.remove(c, subject)
	}
	r.wheel.remove(c)
	c.place |= gone
}

// Renewed says that t was redeemed for this connection, by Verifier.Renew: from now
// on the connection ends at t's session_exp. It returns ErrEnded where the
// connection has been told to end, and another refusal where Add would refuse t; the
// connection is then as it was. So it is with a ticket of another subject or session,
// of which the code is unauthorized.
func (c *Conn) Renewed(t *wsticket.Ticket) error {
	subject, session := c.key()
	if !bytes.Equal(t.Subject(), subject) || !bytes.Equal(t.SessionID(), session) {
		return errAnother
	}
	r := c.home.registry
	now := time.Now()
	end, issued := r.times(t)
	r.lock()
	defer r.mu.Unlock()
	if c.place&gone != 0 {
		return ErrEnded
	}
	if err := r.over(now, t, hash(subject), hash(session)); err != nil {
		return err
	}
	r.wheel.remove(c)
	c.end, c.issued = end, max(c.issued, issued)
	r.wheel.insert(now, c, r.base)
	for _, s := range r.sweeps {
		if s.cursor.index == ofAll { // it may have moved behind its back
			s.moved = append(s.moved, c)
		}
	}
	return nil
}

// CloseSession ends the connections of a session, everywhere where there is a Bus,
// and refuses its tickets for as long as any that was minted before can be alive.
// The cause is Ended. Its error is that of the Bus: on this node it is done anyway.
func (r *Registry) CloseSession(ctx context.Context, sessionID string) error {
	return r.End(ctx, Ending{SessionID: sessionID, Cause: Ended})
}

// CloseSubject ends the connections of a subject, everywhere where there is a Bus,
// and refuses tickets that were minted before, or within Leeway after. One that is
// minted later is let in: it is for the minter to give none. The cause is Forbidden. Its error is that
// of the Bus: on this node it is done anyway.
func (r *Registry) CloseSubject(ctx context.Context, subject string) error {
	return r.End(ctx, Ending{Subject: subject, Cause: Forbidden})
}

// End is CloseSession and CloseSubject with everything to choose, and ends all
// connections of all nodes where e says All. Where e has no Cause it is Ended, and
// where it has no time it is now.
func (r *Registry) End(ctx context.Context, e Ending) error {
	if e.Cause == 0 {
		e.Cause = Ended
	}
	if e.At == 0 {
		e.At = time.Now().Unix()
	}
	if err := e.Check(); err != nil {
		return err
	}
	r.apply(e)
	if r.config.Bus == nil {
		return nil
	}
	return r.config.Bus.Publish(ctx, e)
}

// CloseAll ends the connections that this node has now, evenly over the time of
// spread, and no others: tickets are let in as before. Only where it is called while
// another one is under way, those that came since may be ended too. The cause is
// GoingAway. It does not wait. It is for handing connections to other nodes; see Shutdown for the
// end of a server, and End for ending all on all nodes.
func (r *Registry) CloseAll(spread time.Duration) {
	r.closeThese(GoingAway, spread)
}

// Shutdown refuses all tickets from now on, ends all connections evenly over the
// time of spread, and waits until each was removed, or until ctx ends: then it
// returns ctx's error. The cause is GoingAway.
func (r *Registry) Shutdown(ctx context.Context, spread time.Duration) error {
	r.lock()
	if !r.shutdown {
		r.shutdown = true
		if r.stats.added == r.stats.removed {
			close(r.idle)
		}
	}
	r.mu.Unlock()
	r.CloseAll(spread)
	select {
	case <-r.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hash is seeded, so that nobody can choose session ids that share a place.
var seed = maphash.MakeSeed()

func hash(text []byte) uint64 { return maphash.Bytes(seed, text) }
