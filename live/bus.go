package live

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// An Ending says whose connections end. Exactly one of SessionID, Subject and All
// is set. Its JSON is what nodes tell each other.
//
// It redacts itself in fmt and slog: whose session ended is nobody's business who
// reads a log, and there are applications whose session ids are secrets.
type Ending struct {
	// SessionID ends the connections of one session, and refuses every ticket of
	// it that comes within the longest lifetime of a ticket.
	SessionID string `json:"sid,omitempty"`
	// Subject ends the connections whose ticket is for that subject and was minted
	// no later than At plus Leeway, since clocks differ, and refuses tickets minted no
	// later than that. One that is minted after it is a new authentication, and is let
	// in.
	Subject string `json:"sub,omitempty"`
	// All ends all connections whose ticket was minted no later than At plus Leeway, and
	// refuses tickets minted no later than that.
	All bool `json:"all,omitempty"`

	// Cause is what the connections are told. Required on the wire.
	Cause Cause `json:"cause"`
	// Spread is over how long the connections are closed, evenly. 0 means at once.
	Spread time.Duration `json:"spread,omitempty"`
	// At is when it was, by the clock of the node that published it, in seconds
	// since 1970. Required on the wire.
	At int64 `json:"at"`
}

// Check says what is wrong with an ending, as one that came from another node.
func (e Ending) Check() error {
	var f faults
	of := 0
	for _, set := range []bool{e.SessionID != "", e.Subject != "", e.All} {
		if set {
			of++
		}
	}
	if of != 1 {
		f.addf("set exactly one of SessionID, Subject and All")
	}
	if !e.Cause.valid() {
		f.addf("Cause is %d; give one of the causes", uint8(e.Cause))
	}
	if e.Spread < 0 || e.Spread > maxSpread {
		f.addf("Spread is %v; give 0 to %v", e.Spread, maxSpread)
	}
	if e.At < 1 || e.At > latest {
		f.addf("At is %d; give seconds since 1970", e.At)
	}
	return f.err("ending")
}

const (
	maxSpread = 24 * time.Hour
	latest    = 253402300799 // the end of the year 9999, as in tickets
)

// String says what ends, and not whose.
func (e Ending) String() string {
	of := "nothing"
	switch {
	case e.SessionID != "":
		of = "a session"
	case e.Subject != "":
		of = "a subject"
	case e.All:
		of = "all"
	}
	return "live.Ending(" + of + ", " + e.Cause.String() + ")"
}

// Format redacts the ending under every verb.
func (e Ending) Format(f fmt.State, _ rune) { f.Write([]byte(e.String())) }

// LogValue redacts the ending in slog.
func (e Ending) LogValue() slog.Value { return slog.StringValue(e.String()) }

// A Bus carries endings to the registries of all nodes. Package redisguard has one
// on Redis; a [MemoryBus] connects registries of one process.
//
// A Bus must be safe for concurrent use.
type Bus interface {
	// Publish makes an ending known to all who follow, the publisher's own node
	// among them. nil means that it is where followers find it, also those that
	// are away for a moment. After an error it may or may not have come through;
	// an ending may come twice without harm, so the caller may try again. ctx
	// bounds the wait.
	Publish(ctx context.Context, e Ending) error

	// Follow tells f of every ending, in one order for all followers: first of
	// those that were published within the last back (by the Bus's own clock),
	// then of each as it comes. It does so until ctx ends, connects again by
	// itself whenever it must, and goes on behind the last ending that it told.
	// It returns ctx's error, or at once another that no waiting mends, such as
	// credentials that are refused. It calls the functions of f one at a time, on
	// the goroutine that called Follow or another.
	Follow(ctx context.Context, back time.Duration, f Follower) error
}

// A Follower is told what a [Bus] hears. Its functions return soon and never
// block for long. All three are required.
type Follower struct {
	// Ended: this was published.
	Ended func(Ending)

	// CaughtUp: every ending that was published before asOf, by this node's clock,
	// has been told. For a Bus that asks a store that is the time just before the
	// question went out which was answered with no more. A Bus calls it when it has
	// told the first endings, and from then on at least once a second for as long as
	// it hears from the store: a registry that has not been told for too long refuses
	// tickets, since it cannot know whose session has ended.
	CaughtUp func(asOf time.Time)

	// Missed: there may have been endings that were not told and never will be. The
	// store has lost them, or keeps them for less long than this follower was away.
	// The Bus goes on with those that it finds.
	Missed func(why error)
}
