package integrations

import (
	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// Fasthttp is an echo on fasthttp that ends with its session. In a fiber handler it is
//
//	app.Get("/ws", func(c fiber.Ctx) error { handler(c.RequestCtx()); return nil })
func Fasthttp(finder *wsticket.Finder, verifier *wsticket.Verifier, connections *live.Registry, protocols []string) fasthttp.RequestHandler {
	upgrader := websocket.FastHTTPUpgrader{Subprotocols: protocols, CheckOrigin: func(*fasthttp.RequestCtx) bool { return true }} // the Finder has
	return func(ctx *fasthttp.RequestCtx) {
		ticket := new(wsticket.Ticket)
		if err := redeem(ctx, finder, verifier, ticket); err != nil {
			answer := wsticket.AnswerTo(err)
			for _, line := range answer.Header {
				ctx.Response.Header.Set(line[0], line[1])
			}
			ctx.SetStatusCode(answer.Status)
			ctx.SetBodyString(answer.Body)
			return
		}
		upgrader.Upgrade(ctx, func(conn *websocket.Conn) { fasthttpEcho(conn, ticket, connections) })
	}
}

func fasthttpEcho(conn *websocket.Conn, ticket *wsticket.Ticket, connections *live.Registry) {
	end := &fasthttpEnd{conn: conn}
	defer end.returns()
	session, err := connections.Add(ticket, end.tell)
	if err != nil {
		cause, _ := live.CauseOf(err)
		end.tell(cause)
		conn.ReadMessage() // until it leaves, for a second at most
		return
	}
	defer session.Remove()
	conn.SetReadLimit(64 << 10)
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil || conn.WriteMessage(kind, message) != nil {
			return
		}
	}
}
