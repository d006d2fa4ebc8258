package gateway

import (
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// guard is single use, and what comes with the store that keeps it.
type guard interface {
	// replay is what verifiers ask.
	replay() wsticket.ReplayGuard
	// ReadyAt is from when on no fresh ticket is refused.
	ReadyAt() time.Time
	// since is when what is remembered of ended sessions began; zero means now.
	since() time.Time
	// bus tells the other nodes of ended sessions; nil where there are none.
	bus() live.Bus
	// noteEnding remembers that a session ended here, and says whether it could before
	// the memory was saved. ended are those that did in the process before.
	noteEnding(live.Ending) bool
	ended() []live.Ending
	// save keeps what is remembered for the next process.
	save() error
	Close()
}
