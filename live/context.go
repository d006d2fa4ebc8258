package live

import (
	"context"

	"github.com/wsticket/wsticket"
)

// Context is Add for a handler that waits for a context, as those of net/http do: the
// context that it returns ends with ctx, with Remove, or with the connection's cause,
// which [CauseOf] finds in context.Cause. TicketFrom still finds the ticket.
//
//	ctx, conn, err := connections.Context(r.Context(), ticket)
//	if err != nil { … }
//	defer conn.Remove()
//
// A handler that has hijacked its connection and returns must give a context that
// does not end with the request.
func (r *Registry) Context(ctx context.Context, t *wsticket.Ticket) (context.Context, *Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	c, err := r.add(t, func(cause Cause) {
		if cause.valid() {
			cancel(cause)
		} else {
			cancel(context.Canceled)
		}
	}, isCtx)
	if err != nil {
		cancel(err)
		return nil, nil, err
	}
	return ctx, c, nil
}
