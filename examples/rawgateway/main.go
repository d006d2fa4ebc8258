// Command rawgateway is a WebSocket gateway on raw connections: it accepts them
// itself, lets in who brings a ticket, and echoes what they say for as long as their
// session lasts.
//
//	wsticket keys generate > keys.json
//	rawgateway -keys keys.json -origin https://app.example
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"sync"
	"time"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/examples/internal/setup"
	"github.com/wsticket/wsticket/live"
)

func main() { setup.Main(run) }

func run(ctx context.Context, s *setup.Server) error {
	upgrader, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{
		Verifier:  s.Verifier,
		Origins:   s.Origins,
		Carriers:  wsticket.CarrierQuery | wsticket.CarrierSubprotocol | wsticket.CarrierBearer | wsticket.CarrierCookie,
		Protocols: []string{"app.v1"},
		// A user with too many connections, or whose session has ended, keeps the
		// ticket.
		Authorize: func(_ context.Context, h *wsticket.Handshake) error { return s.Connections.Admit(&h.Ticket) },
		OnRefuse:  func(r wsticket.Refusal) { log.Printf("refused %v: %v, subject %q", r.Remote, r.Err, r.Subject) },
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { s.Listener.Close() })()
	for {
		conn, err := s.Listener.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // such as too many open files: it may pass
			log.Print(err)
			time.Sleep(10 * time.Millisecond)
		default:
			go serve(ctx, s, upgrader, conn)
		}
	}
}

// handshakes are used again, so that a handshake allocates nothing.
var handshakes = sync.Pool{New: func() any { return new(wsticket.Handshake) }}

func serve(ctx context.Context, s *setup.Server, upgrader *wsticket.Upgrader, conn net.Conn) {
	defer conn.Close()
	socket, err := enter(ctx, s.Connections, upgrader, conn)
	if err != nil {
		return // the client has been told
	}
	defer socket.Close()
	s.Echo(socket, nil)
}

func enter(ctx context.Context, connections *live.Registry, upgrader *wsticket.Upgrader, conn net.Conn) (*live.Socket, error) {
	h := handshakes.Get().(*wsticket.Handshake)
	defer handshakes.Put(h)
	if err := upgrader.Upgrade(ctx, conn, h); err != nil {
		return nil, err
	}
	defer h.Reset() // a program that needs more of it than this echo keeps a Ticket.Clone
	return connections.Socket(&h.Ticket, conn)
}
