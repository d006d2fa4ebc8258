// Package setup holds what the example servers have in common: flags, keyring, single
// use, the registry of live connections, and an echo.
package setup

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/live"
)

// A Server is what an example serves with.
type Server struct {
	Listener net.Listener
	Origins  []string

	Keys        *wsticket.Keyring
	Verifier    *wsticket.Verifier
	Connections *live.Registry

	idle time.Duration
}

// The longest message that a client may send.
const maxMessage = 64 << 10

// Main reads the flags and has run serve until a signal comes. Then all connections
// are told, and Main waits until they are gone.
func Main(run func(context.Context, *Server) error) {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var f flags
	f.define(flag.CommandLine)
	flag.Parse()
	if err := f.serve(ctx, run); err != nil {
		log.Fatal(err)
	}
}

type flags struct {
	addr, keys, admin string
	origins           []string
	idle, leeway      time.Duration
}

func (f *flags) define(set *flag.FlagSet) {
	set.StringVar(&f.addr, "addr", "127.0.0.1:8080", "listen on `ADDRESS`")
	set.StringVar(&f.keys, "keys", "keys.json", "read the keyring from `FILE`, and again when it changes")
	set.Func("origin", "let pages of `ORIGIN` connect, such as https://app.example; repeatable; none means the host's own", func(o string) error {
		f.origins = append(f.origins, o)
		return nil
	})
	set.StringVar(&f.admin, "admin", "", "take POST /close?sid=… and /close?sub=… on `ADDRESS`, which must be out of everybody's reach; none means not at all")
	set.DurationVar(&f.idle, "idle", 10*time.Minute, "close a connection when its client has said nothing for so long")
	set.DurationVar(&f.leeway, "leeway", wsticket.DefaultLeeway, "the clocks of those who mint may differ by `TIME`")
}

func (f *flags) serve(ctx context.Context, run func(context.Context, *Server) error) error {
	s := &Server{Origins: f.origins, idle: f.idle}
	var err error
	if s.Keys, err = wsticket.LoadKeyring(f.keys); err != nil {
		return err
	}
	cache, err := wsticket.NewReplayCache(wsticket.ReplayConfig{PeakPerSecond: 1000, Leeway: f.leeway})
	if err != nil {
		return err
	}
	if s.Verifier, err = wsticket.NewVerifier(wsticket.VerifierConfig{Keys: s.Keys, Replay: cache, Leeway: f.leeway}); err != nil {
		return err
	}
	if s.Connections, err = live.New(live.Config{MaxPerSubject: 100, Leeway: f.leeway}); err != nil {
		return err
	}
	wsutil.SetMaxMessageSize(maxMessage)
	if f.admin != "" {
		admin, err := net.Listen("tcp", f.admin)
		if err != nil {
			return err
		}
		log.Printf("admin on %v", admin.Addr())
		server := &http.Server{Handler: s.adminHandler(), ReadHeaderTimeout: 5 * time.Second}
		go server.Serve(admin)
		defer server.Close()
	}
	if s.Listener, err = net.Listen("tcp", f.addr); err != nil {
		return err
	}
	defer s.Listener.Close()
	log.Printf("accepting on %v", s.Listener.Addr())
	go s.Keys.Watch(ctx, f.keys, 2*time.Second, func(err error) { log.Print(err) })
	// Until then every ticket might be one that was used before a restart.
	defer time.AfterFunc(time.Until(cache.ReadyAt()), func() { fmt.Println("listening") }).Stop()

	if err := run(ctx, s); err != nil {
		return err
	}
	// A second in which the clients go, not all at once, and a while for the slow ones.
	last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return s.Connections.Shutdown(last, time.Second)
}

// adminHandler ends sessions and subjects, as an application does after a logout.
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /close", func(w http.ResponseWriter, r *http.Request) {
		var err error
		switch sid, sub := r.FormValue("sid"), r.FormValue("sub"); {
		case sid != "":
			err = s.Connections.CloseSession(r.Context(), sid)
		case sub != "":
			err = s.Connections.CloseSubject(r.Context(), sub)
		default:
			err = errors.New("give sid or sub")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	return mux
}

// A Client is read from one thing and written to another, as where a server has read
// ahead.
type Client struct {
	io.Reader
	io.Writer
}

// Echo says back what the client says, until it leaves, says too much or nothing, or
// its session ends. early is what came before, where the server has read ahead.
func (s *Server) Echo(socket *live.Socket, early *bufio.Reader) {
	client := Client{Reader: socket, Writer: socket}
	if early != nil {
		client.Reader = early
	}
	for {
		socket.SetReadDeadline(time.Now().Add(s.idle))
		message, op, err := wsutil.ReadClientData(client)
		socket.SetWriteDeadline(time.Now().Add(10 * time.Second))
		switch {
		case errors.Is(err, wsutil.ErrMessageTooLarge):
			farewell(socket, ws.StatusMessageTooBig, "say less at a time")
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			farewell(socket, ws.StatusGoingAway, "idle for too long")
			return
		case err != nil:
			return
		}
		if wsutil.WriteServerMessage(socket, op, message) != nil {
			return
		}
	}
}

// farewell sends a close frame, and reads on for a moment: a connection that is closed
// with unread bytes is reset, and the client might never see the frame.
func farewell(socket *live.Socket, code ws.StatusCode, reason string) {
	socket.SetDeadline(time.Now().Add(time.Second))
	if ws.WriteFrame(socket, ws.NewCloseFrame(ws.NewCloseFrameBody(code, reason))) == nil {
		io.CopyN(io.Discard, socket, 2*maxMessage)
	}
}
