package integrations

import (
	"net/http"

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
		end := func(cause live.Cause) { conn.Close(websocket.StatusCode(cause.CloseCode()), cause.Reason()) }
		session, err := connections.Add(ticket, end)
		if err != nil {
			cause, _ := live.CauseOf(err)
			end(cause)
			return
		}
		defer session.Remove()
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if conn.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	})
}
