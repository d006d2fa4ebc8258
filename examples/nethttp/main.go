// Command nethttp is a WebSocket server on net/http: a Gate lets in who brings a
// ticket, and the handler behind it echoes what they say for as long as their session
// lasts.
//
//	wsticket keys generate > keys.json
//	nethttp -keys keys.json -origin https://app.example
package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"time"

	"github.com/gobwas/ws"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/examples/internal/setup"
)

func main() { setup.Main(run) }

var protocols = []string{"app.v1"}

func run(ctx context.Context, s *setup.Server) error {
	gate, err := wsticket.NewGate(wsticket.GateConfig{
		Verifier:  s.Verifier,
		Origins:   s.Origins,
		Protocols: protocols,
		// A user with too many connections, or whose session has ended, keeps the
		// ticket.
		Authorize: func(_ *http.Request, t *wsticket.Ticket) error { return s.Connections.Admit(t) },
		OnRefuse:  func(_ *http.Request, r wsticket.Refusal) { log.Printf("refused %v: %v", r.Remote, r.Err) },
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { echo(s, w, r) })))
	server := &http.Server{Handler: wsticket.Conceal(mux), ReadHeaderTimeout: 5 * time.Second}
	// Connections that were upgraded no longer belong to the server: they are those of
	// the registry, which setup.Main shuts down.
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() { stopped <- server.Shutdown(context.Background()) })
	if err := server.Serve(s.Listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

var upgrader = ws.HTTPUpgrader{Protocol: ws.SelectFromSlice(protocols)}

func echo(s *setup.Server, w http.ResponseWriter, r *http.Request) {
	ticket, _ := wsticket.TicketFrom(r.Context())
	conn, buffered, _, err := upgrader.Upgrade(r, w)
	if conn != nil { // also with an error, where it came after the hijacking
		defer conn.Close()
	}
	if err != nil {
		return
	}
	socket, err := s.Connections.Socket(ticket, conn)
	if err != nil {
		return // the client has been told
	}
	defer socket.Close()
	s.Echo(socket, buffered.Reader) // which may hold frames that came with the head
}
