package wsticket

import (
	"bytes"
	"context"
	"time"

	"github.com/wsticket/wsticket/internal/claims"
)

// Renew redeems a ticket for a connection that is there: the page asks for a new one
// before session_exp and sends it as a message. live is the ticket that opened the
// connection, or the last that renewed it. r is what the handshake showed, with the
// text of the new ticket in r.Ticket. The new ticket is checked as if the handshake had
// brought it, bindings included.
//
// nil means that the new ticket is in fresh, and is spent. The application uses it in
// place of live from then on: session_exp counts (see Conn.Renewed of package live),
// and scope, which may have become less.
//
// Beyond the refusals of Redeem it returns ErrUnauthorized where the ticket is of
// another subject, of another session (or of none where live has one, or the other way
// round), or of no subject at all; it is then unspent. After a refusal the connection
// may go on as before, until its session_exp.
func (v *Verifier) Renew(ctx context.Context, r Request, live, fresh *Ticket) error {
	return v.RenewAt(ctx, time.Now(), r, live, fresh)
}

// RenewAt is Renew at a given time.
func (v *Verifier) RenewAt(ctx context.Context, now time.Time, r Request, live, fresh *Ticket) error {
	if live == fresh { // fresh is emptied first
		return errRenewedByItself
	}
	r.atGateway = true
	err := v.judge(now.Unix(), &r, fresh)
	if err == nil {
		err = renews(live, fresh)
	}
	if err == nil {
		err = v.spend(ctx, now.Unix(), fresh)
	}
	if err != nil {
		fresh.reset()
	}
	return err
}

// renews says whether fresh is of the same subject and session as live.
func renews(live, fresh *Ticket) error {
	const who = claims.Subject | claims.SessionID
	switch {
	case live == nil || live.set.Has&claims.Subject == 0:
		return errRenewsNobody
	case live.set.Has&who != fresh.set.Has&who, !bytes.Equal(live.Subject(), fresh.Subject()), !bytes.Equal(live.SessionID(), fresh.SessionID()):
		return errRenewsAnother
	}
	return nil
}

var (
	errRenewedByItself = newHandshakeError(ErrUnauthorized, "Renew needs two Tickets, one of the connection and one to be filled")
	errRenewsNobody    = newHandshakeError(ErrUnauthorized, "the connection's ticket names no subject, so nobody can renew it")
	errRenewsAnother   = newHandshakeError(ErrUnauthorized, "the ticket is of another subject or session than the connection")
)
