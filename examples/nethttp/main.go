// Command nethttp is a WebSocket server on net/http: a Gate lets in who brings a
// ticket, and the handler behind it echoes what they say.
//
//	wsticket keys generate > keys.json
//	nethttp -keys keys.json -origin https://app.example
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "listen on `ADDRESS`")
	keys := flag.String("keys", "keys.json", "read the keyring from `FILE`")
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

var protocols = []string{"app.v1"}

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
	gate, err := wsticket.NewGate(wsticket.GateConfig{
		Verifier:  verifier,
		Origins:   origins,
		Protocols: protocols,
		OnRefuse:  func(_ *http.Request, r wsticket.Refusal) { log.Printf("refused %v: %v", r.Remote, r.Err) },
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", gate.Wrap(http.HandlerFunc(echo)))
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	log.Printf("accepting on %v", listener.Addr())
	// Until then every ticket might be one that was used before a restart.
	defer time.AfterFunc(time.Until(cache.ReadyAt()), func() { fmt.Println("listening") }).Stop()
	defer context.AfterFunc(ctx, func() { server.Shutdown(context.Background()) })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

var upgrader = ws.HTTPUpgrader{Protocol: ws.SelectFromSlice(protocols)}

func echo(w http.ResponseWriter, r *http.Request) {
	ticket, _ := wsticket.TicketFrom(r.Context())
	conn, buffered, _, err := upgrader.Upgrade(r, w)
	if err != nil {
		return
	}
	defer conn.Close()
	session, cancel := ticket.Context(r.Context()) // ends with session_exp, and with the server
	defer cancel()
	defer context.AfterFunc(session, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	// Frames that came together with the head are in the buffer.
	client := struct {
		io.Reader
		io.Writer
	}{buffered, conn}
	for {
		message, op, err := wsutil.ReadClientData(client)
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
