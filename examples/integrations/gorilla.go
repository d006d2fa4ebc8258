package integrations

import (
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// Gorilla is a handler for behind a Gate: an echo by gorilla/websocket that ends with
// its session.
func Gorilla(connections *live.Registry, protocols []string) http.Handler {
	upgrader := websocket.Upgrader{
		Subprotocols: protocols,
		CheckOrigin:  func(*http.Request) bool { return true }, // the Gate has
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ticket, _ := wsticket.TicketFrom(r.Context())
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetReadLimit(64 << 10)
		end := func(cause live.Cause) { // the one write that may go beside others
			bye := websocket.FormatCloseMessage(int(cause.CloseCode()), cause.Reason())
			time.AfterFunc(time.Second, func() { conn.Close() }) // a client that stays, or does not read
			conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second))
		}
		session, err := connections.Add(ticket, end)
		if err != nil {
			cause, _ := live.CauseOf(err)
			end(cause)
			conn.ReadMessage() // until it leaves, for a second at most
			return
		}
		defer session.Remove()
		for {
			kind, message, err := conn.ReadMessage()
			if err != nil {
				return
			}
			conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
			if conn.WriteMessage(kind, message) != nil {
				return
			}
		}
	})
}
