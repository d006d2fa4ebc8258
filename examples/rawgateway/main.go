// Command rawgateway is a WebSocket gateway on raw connections: it accepts them
// itself, lets in who brings a ticket, and echoes what they say.
//
//	wsticket keys generate > keys.json
//	rawgateway -keys keys.json -origin https://app.example
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "listen on `ADDRESS`")
	keys := flag.String("keys", "keys.json", "read the keyring from `FILE`, and again when it changes")
	var origins []string
	flag.Func("origin", "let pages of `ORIGIN` connect, such as https://app.example; repeatable; none means the host's own", func(o string) error {
		origins = append(origins, o)
		return nil
	})
	flag.Parse()
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *keys, origins); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr, keyfile string, origins []string) error {
	keys, err := wsticket.LoadKeyring(keyfile)
	if err != nil {
		return err
	}
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 1000})
	if err != nil {
		return err
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: cache})
	if err != nil {
		return err
	}
	upgrader, err := wsticket.NewUpgrader(wsticket.UpgraderConfig{
		Verifier:  verifier,
		Origins:   origins,
		Carriers:  wsticket.CarrierQuery | wsticket.CarrierSubprotocol | wsticket.CarrierBearer | wsticket.CarrierCookie,
		Protocols: []string{"app.v1"},
		OnRefuse:  func(r wsticket.Refusal) { log.Printf("refused %v: %v, subject %q", r.Remote, r.Err, r.Subject) },
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	log.Printf("accepting on %v", listener.Addr())
	go keys.Watch(ctx, keyfile, 2*time.Second, func(err error) { log.Print(err) })
	// Until then every ticket might be one that was used before a restart.
	defer time.AfterFunc(time.Until(cache.ReadyAt()), func() { fmt.Println("listening") }).Stop()
	defer context.AfterFunc(ctx, func() { listener.Close() })()

	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		conn, err := listener.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // such as too many open files: it may pass
			log.Print(err)
			time.Sleep(10 * time.Millisecond)
		default:
			conns.Go(func() { serve(ctx, upgrader, conn) })
		}
	}
}

// handshakes are used again, so that a handshake allocates nothing.
var handshakes = sync.Pool{New: func() any { return new(wsticket.Handshake) }}

func serve(ctx context.Context, upgrader *wsticket.Upgrader, conn net.Conn) {
	defer conn.Close()
	h := handshakes.Get().(*wsticket.Handshake)
	err := upgrader.Upgrade(ctx, conn, h)
	session, cancel := h.Ticket.Context(ctx) // ends with session_exp, and with the gateway
	defer cancel()
	h.Reset() // who needs more of it than this echo keeps a Ticket.Clone
	handshakes.Put(h)
	if err != nil {
		return
	}
	// The end of the session ends the read that waits for the client.
	defer context.AfterFunc(session, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		message, op, err := wsutil.ReadClientData(conn)
		if err != nil {
			break
		}
		conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if wsutil.WriteServerMessage(conn, op, message) != nil {
			return
		}
	}
	if session.Err() != nil {
		conn.SetWriteDeadline(time.Now().Add(time.Second))
		ws.WriteFrame(conn, ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway, "the session has ended")))
	}
}
