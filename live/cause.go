package live

import (
	"fmt"
)

// A Cause says why a connection ends. It is an error, so that it can be the cause
// of a context ([context.Cause]); it is a metrics label ([Cause.String]); and it is
// what the client gets to read in a close frame ([Cause.CloseCode],
// [Cause.Reason]). The zero Cause is none.
type Cause uint8

// The causes. What a page does follows from the close code.
const (
	_ Cause = iota

	// Expired: session_exp of the ticket has passed. 3000: the page asks for a new
	// ticket, once.
	Expired

	// Ended: the session is over, as after a logout. 3000: the page asks for a new
	// ticket, once, and learns at the mint endpoint that it must log in.
	Ended

	// Forbidden: an administrator ended it. 3003: the page gives up.
	Forbidden

	// GoingAway: the server is about to stop, or to hand its connections to others.
	// 1001: the page backs off, a random while, and connects with a new ticket.
	GoingAway

	// Busy: there is no room, or the server cannot tell whether the session still
	// goes on. 1013: the page backs off and connects with a new ticket.
	Busy

	causeEnd
)

var causes = [causeEnd]struct {
	name   string
	code   uint16
	reason string
}{
	0:         {"none", 1011, "internal error"},
	Expired:   {"expired", 3000, "session expired"},
	Ended:     {"ended", 3000, "session ended"},
	Forbidden: {"forbidden", 3003, "ended by an administrator"},
	GoingAway: {"going_away", 1001, "going away"},
	Busy:      {"busy", 1013, "try again later"},
}

// Causes returns every cause, in order.
func Causes() []Cause {
	all := make([]Cause, 0, causeEnd-1)
	for c := Cause(1); c < causeEnd; c++ {
		all = append(all, c)
	}
	return all
}

func (c Cause) valid() bool { return c > 0 && c < causeEnd }

func (c Cause) row() int {
	if c.valid() {
		return int(c)
	}
	return 0
}

// CloseCode is the status code of the close frame (RFC 6455 section 7.4): one of
// the registry that IANA keeps.
func (c Cause) CloseCode() uint16 { return causes[c.row()].code }

// Reason is the text of the close frame. The client may read it.
func (c Cause) Reason() string { return causes[c.row()].reason }

// String is the name of the cause, such as "going_away": a metrics label, a log
// field.
func (c Cause) String() string { return causes[c.row()].name }

// Error names the package and the cause.
func (c Cause) Error() string { return "live: " + causes[c.row()].name + ": " + causes[c.row()].reason }

// MarshalText writes the name.
func (c Cause) MarshalText() ([]byte, error) {
	if !c.valid() {
		return nil, fmt.Errorf("live: %d is no cause", uint8(c))
	}
	return []byte(c.String()), nil
}

// UnmarshalText reads a name.
func (c *Cause) UnmarshalText(text []byte) error {
	for cause := Cause(1); cause < causeEnd; cause++ {
		if causes[cause].name == string(text) {
			*c = cause
			return nil
		}
	}
	return fmt.Errorf("live: %q is no cause; give one of %v", text, Causes())
}
