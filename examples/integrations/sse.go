package integrations

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// SSE is a handler for behind a Gate with AnyRequest: an event stream (EventSource in a
// page) that ends with its session. An EventSource that is cut off connects again by
// itself, with the ticket that is used up, and stops at the 401; the page closes it at
// the event "end", mints, and opens another.
func SSE(connections *live.Registry, every time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticket, _ := wsticket.TicketFrom(r.Context())
		ctx, conn, err := connections.Context(r.Context(), ticket)
		if err != nil {
			http.Error(w, "mint once more", http.StatusUnauthorized)
			return
		}
		defer conn.Remove()
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		stream := http.NewResponseController(w)
		say := func(event, data string) error {
			stream.SetWriteDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, data)
			return stream.Flush()
		}
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for err = say("hello", conn.Subject()); err == nil; {
			select {
			case <-ctx.Done():
				if cause, ok := live.CauseOf(context.Cause(ctx)); ok {
					say("end", cause.String())
				}
				return
			case now := <-ticker.C:
				err = say("time", now.UTC().Format(time.RFC3339))
			}
		}
	})
}
