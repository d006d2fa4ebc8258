package wsticket

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// A Use is one use of one ticket, as a verifier puts it to a [ReplayGuard].
// All times are in seconds since 1970.
type Use struct {
	// Identity is that of the ticket: the first 16 bytes of its recomputed MAC.
	// It is uniform, so it may serve as a hash as it stands.
	Identity [16]byte
	// Issued and Expires are the signed iat and exp as they stand in the ticket.
	// No leeway is added to either: verifiers with different leeways on one
	// guard must mean the same ticket by the same numbers.
	Issued, Expires int64
	// Now is the time at which the ticket was checked.
	Now int64
}

// ReplayGuard decides whether a ticket is used for the first time. A verifier asks it
// last of all, when the MAC, the times, the audience and the bindings were found right
// and the application's own authorization said yes. So whoever has no ticket of ours
// can put nothing into a guard.
//
// A guard may rely on what the verifier checked: Issued is before Expires, by no
// more than the longest TTL that Covers names; Issued is at most Now plus the
// leeway that Covers names; Expires plus that leeway is after Now.
//
// A guard must be safe for concurrent use.
type ReplayGuard interface {
	// Spend returns nil for the first use of a ticket and never again for the
	// same Identity and Expires. What it cannot remember it refuses. An [Error], also
	// one that is wrapped together with its cause, reaches the caller as it is;
	// any other error becomes [ErrReplayUnavailable].
	//
	// Once Spend has returned nil the ticket is spent, whatever becomes of the
	// handshake. ctx bounds the wait of a guard that asks someone else.
	Spend(ctx context.Context, s Use) error

	// Covers is the longest TTL and the largest leeway under which the guard
	// keeps its word. NewVerifier refuses a guard that covers less than its own.
	Covers() (maxTTL, leeway time.Duration)
}

// DangerouslyAllowReplay lets every ticket in as often as it is shown, until it
// expires. It is for development, where a page gets reloaded, and for nothing
// else: whoever reads a ticket in a log or a browser history can use it too.
var DangerouslyAllowReplay ReplayGuard = allowReplay{}

type allowReplay struct{}

func (allowReplay) Spend(context.Context, Use) error { return nil }

func (allowReplay) Covers() (maxTTL, leeway time.Duration) {
	return math.MaxInt64, math.MaxInt64
}

// ReplayConfig says how large a [ReplayCache] is. Durations are whole seconds.
type ReplayConfig struct {
	// PeakPerSecond is the highest number of tickets that expire within one and
	// the same second, which for tickets of one TTL is the highest number minted
	// within a second. Required, 1 to 10,000,000.
	//
	// Up to twice as many change nothing. Beyond that some fresh tickets get
	// refused as replayed: 1 in 29 million at 4 times, 0.67% at 8 times. A used
	// ticket is refused under any load.
	PeakPerSecond int

	// MaxTTL is the longest exp - iat of any ticket: a second to an hour. The zero
	// value is [DefaultMaxTTL]. A ticket is for one handshake that is about to happen,
	// and each second of MaxTTL reserves one frame of memory. How much of it becomes
	// resident depends on the TTL that the tickets have.
	MaxTTL time.Duration

	// Leeway is the largest leeway of any verifier that uses this cache, or used the
	// one of the process that this one replaces: when you lower it, do so one restart
	// after the verifiers. The zero value is [DefaultLeeway], [NoLeeway] is none. At
	// most five minutes.
	Leeway time.Duration

	// Since is when this cache began to remember: a ticket issued at Since plus
	// Leeway or before may have been used in a process that is gone, so it is
	// refused with [ErrIssuedBeforeStart]. The zero value is the time of
	// NewReplayCache, by the system clock; a process that starts while its clock is
	// ahead refuses all tickets until that time, or until it is started again. A node
	// whose keys are new, so that no ticket can have been used before, may set Since
	// back, for instance to time.Unix(0, 0).
	Since time.Time
}

// ReplayCache is a [ReplayGuard] in the memory of this process. It accepts a
// ticket at most once, under any concurrency, any load and any step of a running
// clock; and across a restart, orderly or not, if the old process has stopped
// accepting before the new cache is created and the clock is not behind the last
// accept. A new process refuses the tickets of its first seconds, unless the old one
// left what it knew with [ReplayCache.Save] and the new one took it up with
// [LoadReplayCache]. A ReplayCache needs no background work and need not be closed.
//
// Memory is reserved when it is created and does not grow. Spend does not
// allocate. All methods are safe for concurrent use.
//
// How it works, in short: the signed expiry of a ticket picks a slot of one
// second. A slot gets one frame of memory, at most once, ever; in it the identity
// picks a place under one lock. A full place falls back on a Bloom filter, which
// knows everything it was told and sometimes a little more. When the frame goes
// to another slot, the slot is closed for good. So whichever way the clock went, a
// ticket that is shown again meets either its own mark or a closed slot.
type ReplayCache struct {
	notAfter int64 // tickets issued then or earlier may have been used before this cache began
	behind   int64 // how far a slot may lie behind now: the leeway
	ahead    int64 // how far a slot may lie ahead of now
	readyAt  time.Time
	maxTTL   time.Duration
	leeway   time.Duration
	frameSet

	early       atomic.Uint64
	unavailable atomic.Uint64

	sealed atomic.Bool
	saving sync.Mutex
	saved  string // where it was saved to, under saving
}

var _ ReplayGuard = (*ReplayCache)(nil)

// NewReplayCache reserves the memory for cfg. Its error names every fault of cfg.
func NewReplayCache(cfg ReplayConfig) (*ReplayCache, error) {
	var f faults
	if cfg.PeakPerSecond < 1 || cfg.PeakPerSecond > maxPeakPerSecond {
		f.addf("PeakPerSecond is %d; give the most tickets that expire in one second, 1 to %d", cfg.PeakPerSecond, maxPeakPerSecond)
	}
	maxTTL, leeway := f.maxTTL(cfg.MaxTTL), f.leeway(cfg.Leeway)
	since := cfg.Since
	if since.IsZero() {
		since = time.Now()
	}
	if s := since.Unix(); s < 0 || s >= timeEnd {
		f.addf("Since is %v; give a time from 1970 on, or none for the time of creation", cfg.Since)
	}
	if err := f.err("ReplayConfig"); err != nil {
		return nil, err
	}
	size := sizeReplay(cfg.PeakPerSecond, maxTTL, leeway, replayParts(cfg.PeakPerSecond))
	if need := size.bytes(); need > maxReplayBytes {
		return nil, fmt.Errorf("wsticket: ReplayConfig: PeakPerSecond %d with MaxTTL %v and Leeway %v needs %d MiB of memory; lower them to need no more than %d MiB",
			cfg.PeakPerSecond, time.Duration(maxTTL)*time.Second, time.Duration(leeway)*time.Second, need>>20, maxReplayBytes>>20)
	}
	return newReplayCache(size, maxTTL, leeway, since.Unix())
}

func newReplayCache(size replaySize, maxTTL, leeway, since int64) (*ReplayCache, error) {
	c := &ReplayCache{
		notAfter: since + leeway,
		behind:   leeway,
		ahead:    maxTTL + leeway + 1,
		readyAt:  time.Unix(since+2*leeway+1, 0),
		maxTTL:   time.Duration(maxTTL) * time.Second,
		leeway:   time.Duration(leeway) * time.Second,
	}
	if err := c.frameSet.init(size); err != nil {
		return nil, err
	}
	return c, nil
}

// Spend returns nil for the first use of a ticket. Otherwise it returns
// [ErrIssuedBeforeStart], [ErrReplayed], or [ErrReplayUnavailable] when the
// ticket's slot is closed or out of reach: its expiry more than the leeway ago,
// or further ahead than MaxTTL allows; or when the cache is sealed. It neither waits
// nor looks at ctx.
func (c *ReplayCache) Spend(_ context.Context, s Use) error {
	if s.Issued <= c.notAfter {
		if c.sealed.Load() {
			c.unavailable.Add(1)
			return ErrReplayUnavailable
		}
		c.early.Add(1)
		return ErrIssuedBeforeStart
	}
	slot := s.Expires
	if !c.reachable(slot, s.Now) {
		c.unavailable.Add(1)
		return ErrReplayUnavailable
	}
	f := c.frameOf(slot)
	if f == nil {
		if f = c.open(slot, s.Now-c.behind); f == nil {
			c.unavailable.Add(1)
			return ErrReplayUnavailable
		}
	}
	switch f.spend(&c.size, slot, &s.Identity) {
	case accepted:
		return nil
	case present:
		return ErrReplayed
	default:
		c.unavailable.Add(1)
		return ErrReplayUnavailable
	}
}

// timeEnd bounds the times that a cache looks at. It is far beyond the last time of
// the ticket format, the end of the year 9999, and keeps every sum of a time and a
// few durations far from overflow.
const timeEnd = 1_000_000_000_000_000

// reachable says whether a ticket of this expiry can be up for decision now. It
// bounds how many slots are in use at once, and so the number of frames; that no
// ticket passes twice does not depend on it, nor on any other clock.
func (c *ReplayCache) reachable(slot, now int64) bool {
	return uint64(slot) < timeEnd && uint64(now) < timeEnd && slot >= now-c.behind && slot <= now+c.ahead
}

// Covers returns MaxTTL and Leeway of the configuration.
func (c *ReplayCache) Covers() (maxTTL, leeway time.Duration) { return c.maxTTL, c.leeway }

// ReadyAt is Since plus twice the leeway plus one second. No ticket that is
// minted from then on is refused with [ErrIssuedBeforeStart], provided that the
// minter's clock is behind ours by no more than the leeway.
//
// A node that listens earlier is safe but refuses what it cannot know about:
// until ReadyAt, tickets that are minted meanwhile; and tickets that were minted
// earlier, for as long as they live, that is until Since + MaxTTL + 2*Leeway. A
// client that mints once more after such a refusal, as the class of the refusal
// tells it to, gets in from ReadyAt on.
func (c *ReplayCache) ReadyAt() time.Time { return c.readyAt }

// ReplayStats is a snapshot of a [ReplayCache]. Counters run from its creation.
type ReplayStats struct {
	Accepted          uint64 // uses that Spend let pass
	Replayed          uint64 // refusals with ErrReplayed; above the sized peak some are of fresh tickets
	IssuedBeforeStart uint64 // refusals with ErrIssuedBeforeStart
	Unavailable       uint64 // refusals with ErrReplayUnavailable

	Live         uint64 // tickets accepted in the slots that are open now
	LiveOverflow uint64 // how many of Live are in a Bloom filter, their bucket being full

	Frames     int    // frames in all
	FramesOpen int    // frames that serve a slot now
	FramesUsed int    // frames that have ever served one; the others are not resident
	FramesLost uint64 // live slots that lost their frame to another; only a clock that jumps does that

	Bytes     int64 // memory reserved for the tables; each of their parts takes some hundred bytes more
	BytesUsed int64 // memory of the frames that have ever been used
}

// OverflowShare is LiveOverflow as a share of Live: about 0.008 at the peak that
// was configured, 0.14 at twice and 0.50 at four times that. Above 0.14 raise
// PeakPerSecond.
func (s ReplayStats) OverflowShare() float64 {
	if s.Live == 0 {
		return 0
	}
	return float64(s.LiveOverflow) / float64(s.Live)
}

// Stats takes a snapshot. It visits every lock for a moment, so it is for a
// metrics page and not for every handshake; the numbers may be some uses apart.
func (c *ReplayCache) Stats() ReplayStats {
	st := c.frameSet.stats()
	st.IssuedBeforeStart = c.early.Load()
	st.Unavailable = c.unavailable.Load()
	return st
}
