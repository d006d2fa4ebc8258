package integrations

import (
	"context"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// Coder is a handler for behind a Gate: an echo by coder/websocket that ends with its
// session. Origins are the hosts of GateConfig.Origins: the library checks once more.
func Coder(connections *live.Registry, origins, protocols []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticket, _ := wsticket.TicketFrom(r.Context())
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{OriginPatterns: origins, Subprotocols: protocols})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(64 << 10)
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		end := func(cause live.Cause) {
			time.AfterFunc(time.Second, cancel) // a client that stays: Close would wait for five
			conn.Close(websocket.StatusCode(cause.CloseCode()), cause.Reason())
		}
		session, err := connections.Add(ticket, end)
		if err != nil {
			cause, _ := live.CauseOf(err)
			go end(cause)
			for err = nil; err == nil; { // until it leaves, for a second at most
				_, _, err = conn.Read(ctx)
			}
			return
		}
		defer session.Remove()
		for {
			kind, message, err := conn.Read(ctx)
			if err != nil {
				return
			}
			if conn.Write(ctx, kind, message) != nil {
				return
			}
		}
	})
}
