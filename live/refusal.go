package live

import (
	"errors"

	"github.com/wsticket/wsticket"
)

// Why a ticket is not let in. Each is also a refusal code ([wsticket.CodeOf]), so
// that Authorize of an Upgrader or a Gate may return it, and a [Cause], for a close
// frame after the handshake ([CauseOf]).
var (
	// ErrEnded: the session has ended, or the subject's connections were ended after
	// the ticket was minted. Its code is expired.
	ErrEnded error = &refusal{"the session has ended", wsticket.ErrExpired, Ended}

	// ErrExpired: session_exp has passed. Its code is expired.
	ErrExpired error = &refusal{"the session has expired", wsticket.ErrExpired, Expired}

	// ErrForgotten: the ticket is so old that its session may have ended without
	// this registry knowing, or knowing any more: see Config.Since and MaxEnded. A
	// new ticket gets in. Its code is issued_before_start.
	ErrForgotten error = &refusal{"the ticket was minted before the registry began to remember which sessions ended", wsticket.ErrIssuedBeforeStart, Ended}

	// ErrLimit: the subject has as many connections as it may, or the registry has.
	// Its code is overloaded.
	ErrLimit error = &refusal{"too many connections", wsticket.ErrOverloaded, Busy}

	// ErrUnheard: the Bus has been silent for longer than MaxSilence, so nobody
	// knows whether the session has ended. Its code is replay_unavailable.
	ErrUnheard error = &refusal{"the bus is silent: nobody knows which sessions have ended; call Follow, and see that the store is up", wsticket.ErrReplayUnavailable, Busy}

	// ErrShutdown: the registry was shut down. Its code is replay_unavailable.
	ErrShutdown error = &refusal{"the server is about to stop", wsticket.ErrReplayUnavailable, GoingAway}

	errAnother error = &refusal{"the ticket is of another subject or session than the connection", wsticket.ErrUnauthorized, Forbidden}
)

type refusal struct {
	text  string
	code  wsticket.Error
	cause Cause
}

func (r *refusal) Error() string { return "live: " + r.text }

// Reason is for wsticket.ReasonOf.
func (r *refusal) Reason() string { return r.text }

// Unwrap returns the code and the cause.
func (r *refusal) Unwrap() []error { return []error{r.code, r.cause} }

// CauseOf returns the cause in err's tree, such as that of a context's cause or of
// a refusal, and false when there is none.
func CauseOf(err error) (Cause, bool) {
	var c Cause
	if errors.As(err, &c) {
		return c, c.valid()
	}
	return 0, false
}
