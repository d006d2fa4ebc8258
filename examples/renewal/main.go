// Command renewal keeps a connection for as long as its user is logged in, though
// every ticket says that the session ends soon: the page sends a new ticket over the
// connection before the old one's session_exp. A logout ends the connection.
//
//	wsticket keys generate > keys.json
//	renewal -keys keys.json          and open http://127.0.0.1:8080
package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/client"
	"github.com/wsticket/wsticket/examples/internal/setup"
	"github.com/wsticket/wsticket/live"
)

//go:embed page.html
var page []byte

func main() {
	length := flag.Duration("session", 30*time.Second, "a ticket lets a connection last for `TIME`")
	setup.Main(func(ctx context.Context, s *setup.Server) error { return run(ctx, s, *length) })
}

func run(ctx context.Context, s *setup.Server, length time.Duration) error {
	users := &logins{sessions: map[string]string{}, connections: s.Connections}
	signer, err1 := wsticket.NewSigner(wsticket.SignerConfig{Keys: s.Keys})
	mint, err2 := wsticket.NewMintHandler(wsticket.MintConfig{Signer: signer, Authenticate: func(r *http.Request) (*wsticket.Claims, error) {
		session, user := users.of(r)
		if user == "" {
			return nil, wsticket.ErrUnauthenticated
		}
		return &wsticket.Claims{Subject: user, SessionID: session, SessionExpires: time.Now().Add(length)}, nil
	}})
	gate, err3 := wsticket.NewGate(wsticket.GateConfig{Verifier: s.Verifier, Origins: s.Origins,
		Authorize: func(_ *http.Request, t *wsticket.Ticket) error { return s.Connections.Admit(t) }})
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { w.Write(page) })
	mux.Handle("GET /wsticket.js", client.Handler())
	mux.HandleFunc("POST /login", users.login)
	mux.HandleFunc("POST /logout", users.logout)
	mux.Handle("/ticket", mint)
	mux.Handle("/ws", gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(s, w, r) })))
	server := &http.Server{Handler: wsticket.Conceal(mux), ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() { stopped <- server.Shutdown(context.Background()) })
	if err := server.Serve(s.Listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

func serve(s *setup.Server, w http.ResponseWriter, r *http.Request) {
	ticket, _ := wsticket.TicketFrom(r.Context())
	conn, buffered, _, err := ws.UpgradeHTTP(r, w)
	if conn != nil {
		defer conn.Close()
	}
	if err != nil {
		return
	}
	socket, err := s.Connections.Socket(ticket, conn)
	if err != nil {
		return
	}
	defer socket.Close()
	client := setup.Client{Reader: buffered.Reader, Writer: socket}
	say := func(v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		socket.SetWriteDeadline(time.Now().Add(10 * time.Second))
		return wsutil.WriteServerText(client, text)
	}
	type until struct {
		Until int64 `json:"until"`
	}
	err = say(until{ticket.SessionExpires().Unix()})
	for err == nil {
		var text []byte
		if text, err = wsutil.ReadClientText(client); err != nil {
			return
		}
		var message struct{ Renew string }
		if json.Unmarshal(text, &message) != nil || message.Renew == "" {
			continue // of the application
		}
		fresh, refusal := renew(s, r, socket.Live(), ticket, message.Renew)
		if refusal != nil {
			code, _ := wsticket.CodeOf(refusal)
			err = say(map[string]wsticket.Class{"refused": code.Class()})
			continue
		}
		ticket = fresh
		err = say(until{ticket.SessionExpires().Unix()})
	}
}

// renew redeems a ticket for a connection. What the handshake showed counts for it too.
func renew(s *setup.Server, r *http.Request, conn *live.Conn, ticket *wsticket.Ticket, text string) (*wsticket.Ticket, error) {
	request := wsticket.Request{Ticket: []byte(text), Origin: []byte(r.Header.Get("Origin")), Path: []byte(r.URL.EscapedPath())}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		request.Addr = peer.Addr()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fresh := new(wsticket.Ticket)
	if err := s.Verifier.Renew(ctx, request, ticket, fresh); err != nil {
		return nil, err
	}
	return fresh, conn.Renewed(fresh)
}

// logins are what an application has already: who is logged in, by a cookie. The
// cookie is a secret and the session id in the ticket is not, so they are two.
type logins struct {
	mu          sync.Mutex
	sessions    map[string]string // session ids by cookie
	connections *live.Registry
}

const cookieName = "example-session"

func (l *logins) of(r *http.Request) (session, user string) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return "", ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if session = l.sessions[cookie.Value]; session == "" {
		return "", ""
	}
	return session, "ada"
}

func (l *logins) login(w http.ResponseWriter, r *http.Request) {
	secret := rand.Text()
	l.mu.Lock()
	l.sessions[secret] = rand.Text()
	l.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: secret, HttpOnly: true, SameSite: http.SameSiteStrictMode, Path: "/"})
}

// logout first sees to it that no more tickets are minted, then ends the session's
// connections and refuses its tickets that are still unspent.
func (l *logins) logout(w http.ResponseWriter, r *http.Request) {
	session, _ := l.of(r)
	if session == "" {
		return
	}
	l.mu.Lock()
	for secret, other := range l.sessions {
		if other == session {
			delete(l.sessions, secret)
		}
	}
	l.mu.Unlock()
	if err := l.connections.CloseSession(r.Context(), session); err != nil {
		http.Error(w, "the logout has not reached every server; try again", http.StatusServiceUnavailable)
	}
}
