package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/wsticket/wsticket"
)

// A world is a backend, a gateway in front of it, and a client of both.
type world struct {
	*testing.T
	g       *Gateway
	addr    string
	backend *backend
	logs    *syncBuffer
	stop    func()
	signer  *wsticket.Signer
}

// A backend answers /me, and upgrades everything that asks for it.
type backend struct {
	*httptest.Server
	mu      sync.Mutex
	seen    []*http.Request
	upgrade func(w http.ResponseWriter, r *http.Request) // nil echoes
	me      func(w http.ResponseWriter, r *http.Request)
}

func (b *backend) requests() []*http.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*http.Request(nil), b.seen...)
}

func (b *backend) serve(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.seen = append(b.seen, r)
	upgrade, me := b.upgrade, b.me
	b.mu.Unlock()
	if r.URL.Path == "/me" {
		me(w, r)
		return
	}
	if upgrade != nil {
		upgrade(w, r)
		return
	}
	echo(w, r)
}

func echo(w http.ResponseWriter, r *http.Request) {
	upgrader := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "app.v1" }}
	conn, rw, _, err := upgrader.Upgrade(r, w)
	if err != nil {
		return
	}
	defer conn.Close()
	client := struct {
		io.Reader
		io.Writer
	}{rw, conn}
	for {
		message, op, err := wsutil.ReadClientData(client)
		if err != nil {
			return
		}
		if wsutil.WriteServerMessage(conn, op, message) != nil {
			return
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := &world{T: t, logs: &syncBuffer{}}
	w.backend = &backend{me: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"sub":"ada","sid":"s3"}`)
	}}
	w.backend.Server = httptest.NewServer(http.HandlerFunc(w.backend.serve))
	t.Cleanup(w.backend.Close)
	config := Default()
	config.Keys = filepath.Join(t.TempDir(), "keys.json")
	write(t, config.Keys, `{"keys":[{"kty":"oct","kid":"k1","alg":"HS256","k":"`+base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))+`"}]}`)
	config.Listen, config.Upstream, config.MintAuth = "127.0.0.1:0", w.backend.URL, w.backend.URL+"/me"
	config.Drain, config.Timeout, config.LogLevel = 2*time.Second, 2*time.Second, "debug"
	config.since = time.Unix(0, 0) // no ticket of these keys was used before this test
	if change != nil {
		change(&config)
	}
	w.start(config)
	keys, err := wsticket.LoadKeyring(config.Keys)
	if err != nil {
		t.Fatal(err)
	}
	if w.signer, err = wsticket.NewSigner(wsticket.SignerConfig{Keys: keys}); err != nil {
		t.Fatal(err)
	}
	return w
}

// start serves a configuration until stop is called.
func (w *world) start(config Config) {
	w.Helper()
	g, err := New(w.Context(), config, w.logs)
	if err != nil {
		w.Fatal(err)
	}
	w.g = g
	ctx, cancel := context.WithCancel(context.Background())
	addr, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- g.Serve(ctx, func(a string) { addr <- a }) }()
	select {
	case w.addr = <-addr:
	case err := <-ended:
		w.Fatal(err)
	}
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.Error(err)
		}
	})
	w.Cleanup(func() {
		w.stop()
		if w.Failed() {
			w.Logf("the log:\n%s", w.logs)
		}
	})
}

func (w *world) ticket(c wsticket.Claims) string {
	w.Helper()
	if c.Subject == "" {
		c.Subject = "ada"
	}
	ticket, err := w.signer.Sign(&c)
	if err != nil {
		w.Fatal(err)
	}
	return ticket
}

type dialed struct {
	net.Conn
	io.Reader // with what came behind the 101
	protocol  string
}

func (d *dialed) Read(p []byte) (int, error) { return d.Reader.Read(p) }

func (w *world) dial(target string, header http.Header, protocols ...string) (*dialed, error) {
	d := ws.Dialer{Protocols: protocols, Header: ws.HandshakeHeaderHTTP(header), Timeout: 10 * time.Second}
	conn, early, hs, err := d.Dial(context.Background(), "ws://"+w.addr+target)
	if err != nil {
		return nil, err
	}
	w.Cleanup(func() { conn.Close() })
	out := &dialed{Conn: conn, Reader: conn, protocol: hs.Protocol}
	if early != nil {
		out.Reader = early
	}
	return out, nil
}

func (w *world) mustDial(target string, header http.Header, protocols ...string) *dialed {
	w.Helper()
	conn, err := w.dial(target, header, protocols...)
	if err != nil {
		w.Fatal(err)
	}
	return conn
}

func (w *world) echoes(conn *dialed) {
	w.Helper()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if err := wsutil.WriteClientText(conn, []byte("hello")); err != nil {
		w.Fatal(err)
	}
	if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != "hello" {
		w.Fatalf("%q, %v", got, err)
	}
}

func (w *world) wantStatus(err error, want int) {
	w.Helper()
	var status ws.StatusError
	if !errors.As(err, &status) || int(status) != want {
		w.Errorf("%v, want status %d", err, want)
	}
}

func (w *world) wantClosed(conn *dialed, code ws.StatusCode) {
	w.Helper()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	var closed wsutil.ClosedError
	if _, err := wsutil.ReadServerText(conn); !errors.As(err, &closed) || closed.Code != code {
		w.Errorf("closed by %v, want %d", err, code)
	}
}

// TestGateway: mint by asking, connect, replay refused, identity at the backend.
func TestGateway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	response, err := http.Post("http://"+w.addr+"/ticket", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var minted struct{ Ticket string }
	if err := json.NewDecoder(response.Body).Decode(&minted); err != nil || response.StatusCode != 200 {
		t.Fatal(response.Status, err)
	}
	response.Body.Close()
	target := "/ws/room%207?a=1&ticket=" + minted.Ticket + "&b=2"
	conn := w.mustDial(target, http.Header{"X-Mine": {"1"}, "Ticket-Subject": {"eve"}, "Ticket_Session": {"forged"}, "X-Forwarded-For": {"6.6.6.6"}})
	w.echoes(conn)
	_, err = w.dial(target, nil)
	w.wantStatus(err, 401)

	seen := w.backend.requests()
	if len(seen) != 2 { // /me and the handshake: the replay caused nothing
		t.Fatalf("%d requests at the backend", len(seen))
	}
	r := seen[1]
	if r.RequestURI != "/ws/room%207?a=1&b=2" || r.Host != w.addr || r.Header.Get("X-Mine") != "1" {
		t.Errorf("%s %s %v", r.Host, r.RequestURI, r.Header)
	}
	for name, want := range map[string]string{"Ticket-Subject": "ada", "Ticket-Session": "s3", "Ticket-Scope": "", "Ticket-Audience": "",
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": w.addr} {
		if lines := r.Header[name]; len(lines) != 1 || lines[0] != want {
			t.Errorf("%s: %q, want %q", name, lines, want)
		}
	}
	if r.Header.Get("Ticket-Id") == "" {
		t.Errorf("%v", r.Header)
	}
	for name := range r.Header {
		if strings.Contains(name, "_") {
			t.Errorf("the backend gets %s", name)
		}
	}
	payload, err := base64.RawURLEncoding.DecodeString(r.Header.Get("Ticket-Claims"))
	var claims struct{ Sub, Sid string }
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Sub != "ada" || claims.Sid != "s3" {
		t.Errorf("%s, %v", payload, err)
	}
	if log := w.logs.String(); !strings.Contains(log, `"code":"replayed"`) || strings.Contains(log, minted.Ticket[len(minted.Ticket)-20:]) {
		t.Errorf("the log:\n%s", log)
	}
	for _, path := range []string{"/", "/ws", "/me", "/metrics", "/verify"} {
		response, err := http.Get("http://" + w.addr + path)
		if err != nil || response.StatusCode != 404 {
			t.Errorf("%s: %v, %v", path, response.StatusCode, err)
		}
		response.Body.Close()
	}
}

func TestSubprotocols(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Protocols = []string{"app.v1"} })
	conn := w.mustDial("/ws", nil, "app.v1", "ticket."+w.ticket(wsticket.Claims{}))
	if conn.protocol != "app.v1" {
		t.Errorf("it selects %q", conn.protocol)
	}
	w.echoes(conn)
	if got := w.backend.requests()[0].Header["Sec-Websocket-Protocol"]; len(got) != 1 || got[0] != "app.v1" {
		t.Errorf("the backend is offered %q", got)
	}
}

// TestBytesPassUnchanged sends random bytes both ways: the gateway reads no frame of
// the client, and changes none of either.
func TestBytesPassUnchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	random := make([]byte, 5<<20)
	for i := range random {
		random[i] = byte(i * i >> 7)
	}
	done := make(chan error, 2)
	w.backend.upgrade = func(rw http.ResponseWriter, r *http.Request) {
		conn, buffered, _, err := ws.UpgradeHTTP(r, rw)
		if err != nil {
			done <- err
			return
		}
		go func() {
			conn.Write(random)
			conn.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(buffered)
		if !bytes.Equal(got, random) {
			err = fmt.Errorf("%d bytes arrive, %v", len(got), err)
		}
		conn.Close()
		done <- err
	}
	conn := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
	go func() {
		conn.Write(random)
		conn.Conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if !bytes.Equal(got, random) {
		t.Errorf("%d bytes come back, %v", len(got), err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestWrongUpstream: what is no right 101 is an answer, or a 502, and never a pipe.
func TestWrongUpstream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Timeout = 500 * time.Millisecond })
	raw := func(answer string) func(http.ResponseWriter, *http.Request) {
		return func(rw http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(rw).Hijack()
			if err != nil {
				return
			}
			key := r.Header.Get("Sec-WebSocket-Key")
			io.WriteString(conn, strings.ReplaceAll(strings.ReplaceAll(answer, "\n", "\r\n"), "ACCEPT", acceptFor(key)))
			conn.Close()
		}
	}
	const right = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: ACCEPT\n"
	for name, c := range map[string]struct {
		upgrade func(http.ResponseWriter, *http.Request)
		status  int
	}{
		"no":                  {raw("HTTP/1.1 403 Forbidden\nContent-Length: 2\nSet-Cookie: a=b\n\nno"), 403},
		"cut body":            {raw("HTTP/1.1 404 Not Found\nContent-Length: 200\n\nno"), 0}, // broken off, as it came
		"accept":              {raw("HTTP/1.1 101 S\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: " + acceptFor("x") + "\n\nsecret"), 502},
		"no accept":           {raw("HTTP/1.1 101 S\nUpgrade: websocket\nConnection: Upgrade\n\nsecret"), 502},
		"no upgrade":          {raw("HTTP/1.1 101 S\nConnection: Upgrade\nSec-WebSocket-Accept: ACCEPT\n\nsecret"), 502},
		"other upgrade":       {raw("HTTP/1.1 101 S\nUpgrade: h2c\nConnection: Upgrade\nSec-WebSocket-Accept: ACCEPT\n\nsecret"), 502},
		"no connection":       {raw("HTTP/1.1 101 S\nUpgrade: websocket\nSec-WebSocket-Accept: ACCEPT\n\nsecret"), 502},
		"protocol":            {raw(right + "Sec-WebSocket-Protocol: other\n\nsecret"), 502},
		"extension":           {raw(right + "Sec-WebSocket-Extensions: permessage-deflate\n\nsecret"), 502},
		"two accepts":         {raw(right + "Sec-WebSocket-Accept: ACCEPT\n\nsecret"), 502},
		"body":                {raw(right + "Content-Length: 6\n\nsecret"), 502},
		"chunks":              {raw(right + "Transfer-Encoding: chunked\n\n6\nsecret\n0\n\n"), 502},
		"nothing":             {raw(""), 502},
		"half a head":         {raw("HTTP/1.1 101 Switching"), 502},
		"not http":            {raw("SSH-2.0-x\n\n"), 502},
		"folded":              {raw("HTTP/1.1 101 S\nUpgrade: websocket\n Connection: Upgrade\nSec-WebSocket-Accept: ACCEPT\n\n"), 502},
		"long head":           {raw("HTTP/1.1 101 S\nX: " + strings.Repeat("x", 10<<20) + "\n\n"), 502},
		"many informational":  {raw(strings.Repeat("HTTP/1.1 103 Early Hints\nX: y\n\n", 100)), 502},
		"never answers":       {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 504},
		"informational first": {raw("HTTP/1.1 100 Continue\n\nHTTP/1.1 103 Early Hints\n\nHTTP/1.1 410 Gone\nContent-Length: 0\n\n"), 410},
	} {
		t.Run(name, func(t *testing.T) {
			w.backend.mu.Lock()
			w.backend.upgrade = c.upgrade
			w.backend.mu.Unlock()
			conn, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			// A request that a pipe would carry to the backend as the client's next.
			fmt.Fprintf(conn, "GET /ws?ticket=%s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", w.ticket(wsticket.Claims{}), w.addr)
			before := len(w.backend.requests())
			response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: "GET"})
			if c.status == 0 {
				if err == nil {
					t.Error("it looks whole")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			if response.StatusCode != c.status || bytes.Contains(body, []byte("secret")) {
				t.Errorf("%s %s", response.Status, body)
			}
			fmt.Fprintf(conn, "GET /smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			io.Copy(io.Discard, conn)
			for _, r := range w.backend.requests()[before:] {
				if r.URL.Path == "/smuggled" {
					t.Error("a request reached the backend through the pipe")
				}
			}
		})
	}
	if taken := w.g.seats.taken.Load(); taken != 0 {
		t.Errorf("%d seats are taken", taken)
	}
	w.backend.Close()
	_, err := w.dial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
	w.wantStatus(err, 502)
}

func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	conn := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
	w.echoes(conn)
	go w.stop()
	w.wantClosed(conn, ws.StatusGoingAway)
	w.stop()
	if _, err := net.Dial("tcp", w.addr); err == nil {
		t.Error("it still listens")
	}
}

// TestEndOfSession: a call to the admin address closes the connections of a session,
// and refuses its unspent ticket.
func TestEndOfSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Admin = "127.0.0.1:0" })
	admin := httptest.NewServer(w.g.admin())
	defer admin.Close()
	mine := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{SessionID: "s3"}), nil)
	other := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{SessionID: "s4"}), nil)
	unspent := w.ticket(wsticket.Claims{SessionID: "s3"})
	w.echoes(mine)
	w.echoes(other)
	response, err := http.Post(admin.URL+"/close", "application/json", strings.NewReader(`{"sid":"s3"}`))
	if err != nil || response.StatusCode != 200 {
		t.Fatal(response, err)
	}
	w.wantClosed(mine, 3000)
	w.echoes(other)
	_, err = w.dial("/ws?ticket="+unspent, nil)
	w.wantStatus(err, 401)
	for _, body := range []string{``, `{}`, `{"sid":"a","sub":"b"}`, `{"sid":7}`, `{"nope":1}`, `{"all":true,"spread":"x"}`, `{"sid":"a","cause":"x"}`, `{"sid":"a"}{"sub":"b"}`, `{"sid":"a"},`} {
		response, err := http.Post(admin.URL+"/close", "application/json", strings.NewReader(body))
		if err != nil || response.StatusCode != 400 {
			t.Errorf("%s: %v, %v", body, response.Status, err)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.MaxConnections = 2; c.MaxPerSubject = 1 })
	ada := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{}), nil)
	w.echoes(ada)
	second := w.ticket(wsticket.Claims{})
	_, err := w.dial("/ws?ticket="+second, nil)
	var status ws.StatusError
	if !errors.As(err, &status) {
		t.Errorf("a second of one subject: %v", err)
	}
	bob := w.mustDial("/ws?ticket="+w.ticket(wsticket.Claims{Subject: "bob"}), nil)
	third := w.ticket(wsticket.Claims{Subject: "cy"})
	_, err = w.dial("/ws?ticket="+third, nil)
	w.wantStatus(err, 503)
	bob.Close()
	deadline := time.Now().Add(5 * time.Second)
	for w.g.seats.taken.Load() > 1 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond) // the backend and the tunnel end on their own goroutines
	}
	w.echoes(w.mustDial("/ws?ticket="+third, nil)) // it was not spent
	ada.Close()
	for w.g.seats.taken.Load() > 1 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	w.echoes(w.mustDial("/ws?ticket="+second, nil))
}
