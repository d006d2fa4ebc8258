package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
	"github.com/wsticket/wsticket/client"
	"github.com/wsticket/wsticket/live"
)

//go:embed demo.html
var demoPage string

// A demoServer serves the page, mints, and echoes behind the Gate. What a gateway
// keeps to itself, the code of each refusal, it tells under /attempts: seeing it
// is what the demo is for.
type demoServer struct {
	mux         http.ServeMux
	gate        *wsticket.Gate
	connections *live.Registry
	page        []byte
	csp         string
	mu          sync.Mutex
	last        []attempt           // the newest last, at most maxAttempts
	n           int                 // attempts so far
	conns       map[net.Conn]string // to the name of the attempt
	sessions    []string            // who is logged in, the newest last, at most maxSessions
}

const (
	maxAttempts   = 50
	maxMessage    = 64 << 10
	idleSocket    = 5 * time.Minute
	maxSessions   = 100
	sessionLength = 12 * time.Second // from each ticket on
)

// An attempt is a request for a connection and what became of it. It holds
// nothing of the ticket.
type attempt struct {
	N      int       `json:"n"`
	Name   string    `json:"name"` // what the page calls it, so that it finds it again
	At     time.Time `json:"at"`
	Code   string    `json:"code"`
	Class  string    `json:"class,omitempty"`
	Micros float64   `json:"micros"` // what the Gate took
}

type attemptKey struct{}

func newDemoServer(keys *wsticket.Keyring, replay wsticket.ReplayGuard, since time.Time) (*demoServer, error) {
	d := &demoServer{conns: make(map[net.Conn]string)}
	var err error
	if d.connections, err = live.New(live.Config{Since: since}); err != nil {
		return nil, err
	}
	signer, err := wsticket.NewSigner(wsticket.SignerConfig{Keys: keys})
	if err != nil {
		return nil, err
	}
	minter, err := wsticket.NewMintHandler(wsticket.MintConfig{
		Signer:       signer,
		Authenticate: d.authenticate,
	})
	if err != nil {
		return nil, err
	}
	verifier, err := wsticket.NewVerifier(wsticket.VerifierConfig{Keys: keys, Replay: replay})
	if err != nil {
		return nil, err
	}
	d.gate, err = wsticket.NewGate(wsticket.GateConfig{
		Verifier:  verifier,
		Authorize: func(_ *http.Request, t *wsticket.Ticket) error { return d.connections.Admit(t) },
		OnRefuse:  func(r *http.Request, refusal wsticket.Refusal) { d.record(r, refusal.Code) },
	})
	if err != nil {
		return nil, err
	}
	d.page, d.csp = readPage(demoPage)
	d.mux.HandleFunc("GET /{$}", d.servePage)
	d.mux.Handle("GET /wsticket.js", client.Handler())
	d.mux.Handle("/ticket", minter)
	d.mux.Handle("/ws", d.timed(d.gate.Wrap(http.HandlerFunc(d.echo))))
	d.mux.HandleFunc("GET /stats", d.serveStats)
	d.mux.HandleFunc("GET /attempts", d.serveAttempts)
	own := http.NewCrossOriginProtection() // only the demo's page presses its buttons
	d.mux.Handle("POST /drop", own.Handler(http.HandlerFunc(d.drop)))
	d.mux.Handle("POST /session", own.Handler(http.HandlerFunc(d.login)))
	d.mux.Handle("POST /logout", own.Handler(http.HandlerFunc(d.logout)))
	return d, nil
}

func (d *demoServer) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.mux.ServeHTTP(w, r) }

// timed notes when the Gate begins.
func (d *demoServer) timed(gate http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := attempt{Name: attemptName(r), At: time.Now()}
		gate.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), attemptKey{}, started)))
	})
}

// attemptName is what the page calls its attempt, or nothing.
func attemptName(r *http.Request) string {
	name := r.URL.Query().Get("attempt")
	if len(name) > 16 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return ""
	}
	return name
}

// record notes the verdict on r.
func (d *demoServer) record(r *http.Request, err error) {
	a, ok := r.Context().Value(attemptKey{}).(attempt)
	if !ok {
		return
	}
	a.Micros = math.Round(float64(time.Since(a.At).Nanoseconds())/100) / 10
	a.Code = "accepted"
	if code, refused := wsticket.CodeOf(err); refused {
		a.Code, a.Class = code.Code(), string(code.Class())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	a.N = d.n
	if len(d.last) == maxAttempts {
		d.last = append(d.last[:0], d.last[1:]...)
	}
	d.last = append(d.last, a)
}

// echo sends back what it receives.
func (d *demoServer) echo(w http.ResponseWriter, r *http.Request) {
	d.record(r, nil)
	conn, buffered, _, err := ws.HTTPUpgrader{
		Timeout:  5 * time.Second,
		Protocol: func(string) bool { return true }, // the Gate has taken the ticket out of the list
	}.Upgrade(r, w)
	if err != nil {
		if conn != nil {
			conn.Close()
		}
		return
	}
	defer conn.Close()
	ticket, _ := wsticket.TicketFrom(r.Context())
	socket, err := d.connections.Socket(ticket, conn)
	if err != nil {
		return
	}
	defer socket.Close()
	d.opened(conn, attemptName(r))
	defer d.closed(conn)
	control := wsutil.ControlFrameHandler(socket, ws.StateServerSide)
	reader := wsutil.Reader{
		Source:         buffered,
		State:          ws.StateServerSide,
		CheckUTF8:      true,
		MaxMessageSize: maxMessage,
		OnIntermediate: control,
	}
	for {
		socket.SetDeadline(time.Now().Add(idleSocket))
		header, err := reader.NextFrame()
		if err != nil {
			return
		}
		if header.OpCode.IsControl() {
			if control(header, &reader) != nil {
				return
			}
			continue
		}
		message, err := io.ReadAll(&reader)
		if err != nil || wsutil.WriteServerMessage(socket, header.OpCode, message) != nil {
			return
		}
	}
}

// opened keeps conn, so that it can be dropped by its name.
func (d *demoServer) opened(conn net.Conn, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns[conn] = name
}

func (d *demoServer) closed(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, conn)
}

// drop ends the connection of an attempt as a server does that has crashed.
func (d *demoServer) drop(w http.ResponseWriter, r *http.Request) {
	name := attemptName(r)
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn, of := range d.conns {
		if of == name && name != "" {
			conn.Close()
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// authenticate gives a ticket to anybody who asks. If the request names a session, it
// gives one only while that session lasts. A real application looks at its cookie here.
func (d *demoServer) authenticate(r *http.Request) (*wsticket.Claims, error) {
	claims := &wsticket.Claims{Subject: "demo"}
	if id := r.URL.Query().Get("session"); id != "" {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !slices.Contains(d.sessions, id) {
			return nil, wsticket.ErrUnauthenticated
		}
		claims.SessionID, claims.SessionExpires = id, time.Now().Add(sessionLength)
	}
	return claims, nil
}

// login begins a session. In a real application its id is no secret, and is not what
// authenticates; a cookie is.
func (d *demoServer) login(w http.ResponseWriter, _ *http.Request) {
	id := rand.Text()
	d.mu.Lock()
	if d.sessions = append(d.sessions, id); len(d.sessions) > maxSessions {
		d.sessions = slices.Delete(d.sessions, 0, 1)
	}
	d.mu.Unlock()
	writeJSON(w, map[string]string{"session": id})
}

// logout ends a session: first its tickets, then its connections.
func (d *demoServer) logout(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("session")
	d.mu.Lock()
	known := slices.Contains(d.sessions, id)
	d.sessions = slices.DeleteFunc(d.sessions, func(other string) bool { return other == id })
	d.mu.Unlock()
	if known {
		if err := d.connections.CloseSession(r.Context(), id); err != nil {
			http.Error(w, "the session could not be ended everywhere; try again", http.StatusServiceUnavailable)
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (d *demoServer) serveStats(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, d.gate.Stats().Map())
}

func (d *demoServer) serveAttempts(w http.ResponseWriter, _ *http.Request) {
	d.mu.Lock()
	last := append([]attempt{}, d.last...)
	d.mu.Unlock()
	writeJSON(w, map[string]any{"attempts": last})
}

func writeJSON(w http.ResponseWriter, v any) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	json.NewEncoder(w).Encode(v)
}

func (d *demoServer) servePage(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", d.csp+sockets(r.Host))
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	w.Write(d.page)
}

// readPage fills in what the page must know of the server, and writes the policy
// that lets its own script, the client and its style run and nothing else.
func readPage(page string) (text []byte, csp string) {
	page = strings.NewReplacer("{{leeway}}", fmt.Sprint(int(wsticket.DefaultLeeway/time.Second)),
		"{{session}}", fmt.Sprint(int(sessionLength/time.Second))).Replace(page)
	return []byte(page), fmt.Sprintf("default-src 'none'; script-src 'self' %s; style-src %s; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'",
		hashOf(page, `<script type="module">`, "</script>"), hashOf(page, "<style>", "</style>"))
}

// hashOf is the source expression of what stands between the page's one pair of tags.
func hashOf(page, opening, closing string) string {
	_, rest, _ := strings.Cut(page, opening)
	text, _, _ := strings.Cut(rest, closing)
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// sockets adds the WebSocket URLs of the page's host to connect-src, for browsers
// in which 'self' does not mean them.
func sockets(host string) string {
	for i := range len(host) {
		switch c := host[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '.', c == ':', c == '-', c == '[', c == ']':
		default:
			return ""
		}
	}
	if host == "" {
		return ""
	}
	return " ws://" + host + " wss://" + host
}
