package integrations

import (
	"bufio"
	"context"
	"net"
	"net/http"

	"github.com/lxzan/gws"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// GWS upgrades a raw connection with wsticket, without an allocation, and reads and
// writes its frames with gws, until the session ends.
func GWS(ctx context.Context, up *wsticket.Upgrader, h *wsticket.Handshake, frames *gws.Upgrader, connections *live.Registry, conn net.Conn) {
	defer conn.Close()
	if up.Upgrade(ctx, conn, h) != nil {
		return
	}
	socket, err := connections.Socket(&h.Ticket, conn)
	if err != nil {
		return
	}
	defer socket.Close()
	// gws takes connections with their handshake only. It gets to read one of its kind,
	// and its answer goes nowhere, for the client has one.
	request := &http.Request{Method: "GET", Header: http.Header{
		"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {string(h.Header("Sec-WebSocket-Key"))},
	}}
	ws, err := frames.UpgradeFromConn(&answered{Conn: socket}, bufio.NewReader(socket), request)
	if err != nil {
		return
	}
	ws.Session().Store("subject", string(h.Ticket.Subject()))
	h.Reset()
	ws.ReadLoop()
}

// answered is a connection on which the first Write is the answer to a handshake that
// was answered before.
type answered struct {
	net.Conn
	once bool
}

func (a *answered) Write(p []byte) (int, error) {
	if !a.once {
		a.once = true
		return len(p), nil
	}
	return a.Conn.Write(p)
}
